package chat

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"google.golang.org/protobuf/proto"

	"github.com/godwit-im/godwit/msgstore"
	"github.com/godwit-im/godwit/protocol/pb"
)

// The power-loss test of groups and broadcasts: they are made, written in, joined, left, invited
// to; members are added, admitted, removed and given roles; and the power fails
// before and after commits. After each failure every group must be what the first
// so many of its commands make it, those that were acked among them: its data, the
// rows and the lists of members, and its log, all as of the same command. Then a
// log ends what was begun, and each notice that those commands owe to a system
// conversation is there once, and no other.

// TestGroupsSurvivePowerLoss is the proof.
func TestGroupsSurvivePowerLoss(t *testing.T) {
	var total groupTally
	for run := 0; run < max(1, crashPoints/crashesPerRun/4) || !total.met() && run < 50; run++ {
		violations, tally := modelPowerLoss(t, uint64(run), newGroupModel, func(*crashRig) {})
		total.add(tally)
		if len(violations) > 0 {
			t.Fatalf("run %d: %d violations:\n%s", run, len(violations), strings.Join(violations[:min(10, len(violations))], "\n"))
		}
	}
	t.Logf("%+v", total)
	if !total.met() {
		t.Errorf("the crashes left %+v", total)
	}
}

// TestGroupsPowerLossNotices proves that the test above can fail.
func TestGroupsPowerLossNotices(t *testing.T) {
	type applied = func(tx *msgstore.Tx, index uint64, c *Command) error
	after := func(f applied) func(*crashRig) {
		return func(r *crashRig) {
			r.steps.apply = func(tx *msgstore.Tx, index uint64, c *Command, effects []Effect) (Result, []Effect, error) {
				result, effects, err := Apply(tx, index, c, effects)
				if err == nil && result.Err == nil {
					err = f(tx, index, c)
				}
				return result, effects, err
			}
		}
	}
	for name, defect := range map[string]struct {
		change func(*crashRig)
		text   string // what the violation must say
	}{
		"sync off": {
			func(r *crashRig) { r.disk.noSync.Store(true) },
			"no state after",
		},
		"ack before commit": {
			func(r *crashRig) {
				settle := r.steps.settle
				r.steps.settle = func(tx *msgstore.Tx, sink Sink, outcomes []Outcome) error {
					sink.Deliver(outcomes)
					return settle(tx, sinkFunc(func([]Outcome) {}), outcomes)
				}
			},
			"no state after",
		},
		"outbox off": {
			after(func(tx *msgstore.Tx, index uint64, c *Command) error {
				if c.Group.GetInvite() == nil {
					return nil
				}
				return tx.DropFollowUp(index, c.Conversation, index, 0)
			}),
			"0 notices",
		},
		"who left is a member": {
			after(func(tx *msgstore.Tx, index uint64, c *Command) error {
				if c.Group.GetLeave() == nil {
					return nil
				}
				row, _, err := tx.Member(c.User, c.Conversation)
				if err != nil {
					return err
				}
				row.Membership = proto.Clone(row.Membership).(*pb.Membership)
				row.Membership.Standing = pb.Standing_STANDING_ACTIVE
				return tx.PutMember(index, c.User, c.Conversation, row)
			}),
			"no state after",
		},
	} {
		t.Run(name, func(t *testing.T) {
			for run := range uint64(10) {
				violations, _ := modelPowerLoss(t, run, newGroupModel, defect.change)
				for _, v := range violations {
					if strings.Contains(v, defect.text) {
						return
					}
				}
			}
			t.Error("not noticed")
		})
	}
}

// groupTally says what the crashes left.
type groupTally struct {
	acked, unacked int // commands that were committed
	notices        int // owed by them
	waiting        int // notices that were not there yet
	expired        int // messages, of those with a time to live
}

// met reports whether each stage was, without which the crashes show little.
func (a *groupTally) met() bool {
	return a.acked > 0 && a.unacked > 0 && a.notices > 0 && a.waiting > 0
}

func (a *groupTally) add(b groupTally) {
	a.acked += b.acked
	a.unacked += b.unacked
	a.notices += b.notices
	a.waiting += b.waiting
	a.expired += b.expired
}

// modelJournal is what the world outside the server knows.
type modelJournal struct {
	powerCuts
	room chan struct{} // holds one for each command under way

	// powerCuts.mu guards these.
	models  []crashModel
	acked   []*crashStep
	refused []string
}

func (j *modelJournal) Deliver(outcomes []Outcome) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, o := range outcomes {
		step, ours := o.Proposal.Origin.(*crashStep)
		if !ours {
			continue // a notice, or what forgets it
		}
		if o.Result.Err != nil {
			j.refused = append(j.refused, fmt.Sprintf("command %d of %s was refused: %v", step.n, step.log.id, o.Result.Err))
		}
		j.acked = append(j.acked, step)
		j.acks++
		<-j.room
	}
}

func newGroupModel(owner string, n int) crashModel { return newCrashGroup(owner, n) }

// modelPowerLoss runs a log with models until the power was cut crashesPerRun times.
func modelPowerLoss(t *testing.T, seed uint64, newModel func(owner string, n int) crashModel, change func(*crashRig)) (violations []string, tally groupTally) {
	memory := vfs.NewCrashableMem()
	rig := crashRig{disk: &diskFS{FS: memory}}
	store := openStoreNow(t, rig.disk)
	j := &modelJournal{
		powerCuts: powerCuts{memory: memory, random: rand.New(rand.NewPCG(seed, 1))},
		room:      make(chan struct{}, 16),
	}
	rig.steps = defaultSteps(store)
	rig.steps.settle = j.settle
	change(&rig)
	e, err := newEmbedded(testConfig(t), store, j, rig.steps)
	if err != nil {
		t.Fatal(err)
	}
	var owners sync.WaitGroup
	for n := range 3 {
		owners.Go(func() {
			random := rand.New(rand.NewPCG(seed, uint64(100+n)))
			for made := n; !j.done(); made += 3 {
				m := newModel(fmt.Sprintf("o%d", n), made)
				j.mu.Lock()
				j.models = append(j.models, m)
				j.mu.Unlock()
				for steps := 20 + random.IntN(60); steps > 0 && !j.done(); steps-- {
					j.room <- struct{}{}
					submit(t, e, m.next(random))
				}
			}
		})
	}
	owners.Wait()
	closeLog(t, e)
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	violations = j.refused
	for _, c := range j.crashes {
		found, left := checkModels(t, c.disk, j.models, j.acked[:c.acks], rig.steps.apply)
		violations = append(violations, found...)
		tally.add(left)
	}
	return violations, tally
}

// checkModels opens what a crash left, lets a log end what was begun, and returns
// how that breaks the promises.
func checkModels(t *testing.T, disk vfs.FS, models []crashModel, acked []*crashStep, apply func(*msgstore.Tx, uint64, *Command, []Effect) (Result, []Effect, error)) (violations []string, tally groupTally) {
	store, err := msgstore.Open(storeOptions(disk))
	if err != nil {
		return []string{fmt.Sprintf("the store does not open: %v", err)}, tally
	}
	defer store.Close()
	least := map[*crashLog]int{}
	for _, step := range acked {
		least[step.log] = max(least[step.log], step.n)
	}
	owed := map[noticeFor]int{}
	for _, m := range models {
		l := m.log()
		n, violation := checkModel(t, store, m, least[l])
		if violation != "" {
			violations = append(violations, violation)
			continue
		}
		tally.acked += least[l]
		tally.unacked += n - least[l]
		for _, step := range l.steps[:n] {
			for _, notice := range step.notices {
				owed[notice]++
				tally.notices++
			}
		}
	}
	if len(violations) > 0 {
		return violations, tally
	}
	tally.waiting = tally.notices
	eachNotice(t, store, func(string, *pb.Notice) { tally.waiting-- })

	s := defaultSteps(store)
	s.apply = apply
	e, err := newEmbedded(testConfig(t), store, newCollector(), s)
	if err != nil {
		t.Fatal(err)
	}
	closeLog(t, e)
	found := map[noticeFor]int{}
	eachNotice(t, store, func(user string, n *pb.Notice) { found[noticeFor{user, n.Conversation, n.Type}]++ })
	for notice, n := range owed {
		if found[notice] != n {
			violations = append(violations, fmt.Sprintf("%v: %d notices, %d are owed", notice, found[notice], n))
		}
	}
	if len(found) > len(owed) {
		violations = append(violations, fmt.Sprintf("there are notices that nobody is owed: %v", found))
	}
	if n := waitingIn(t, store); n > 0 {
		violations = append(violations, fmt.Sprintf("%d follow-ups are still in the store", n))
	}
	expired, want := expirePairs(t, store, models)
	if tally.expired = expired; expired != want {
		violations = append(violations, fmt.Sprintf("%d messages have expired, %d were to expire", expired, want))
	}
	return violations, tally
}

// checkModel returns how many of m's commands are in the store, which are no less
// than least, or what is wrong with it.
func checkModel(t *testing.T, store *msgstore.Store, m crashModel, least int) (n int, violation string) {
	view, err := m.viewIn(store)
	if err != nil {
		t.Fatal(err)
	}
	g := m.log()
	after := slices.IndexFunc(g.steps[max(least-1, 0):], func(s *crashStep) bool { return s.view == view })
	switch {
	case view == "" && least == 0:
		return 0, ""
	case after < 0:
		return 0, fmt.Sprintf("%s is in no state after %d to %d commands: %s", g.id, least, len(g.steps), view)
	}
	n = max(least-1, 0) + after + 1
	var want []string
	for _, step := range g.steps[:n] {
		if step.message != "" {
			want = append(want, step.message)
		}
	}
	if got, err := g.messagesIn(store); err != nil {
		t.Fatal(err)
	} else if !slices.Equal(got, want) {
		return 0, fmt.Sprintf("%s has after %d commands the messages %q, want %q", g.id, n, got, want)
	}
	return n, ""
}
