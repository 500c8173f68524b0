package chat

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/godwit-im/godwit/msgstore"
	"github.com/godwit-im/godwit/protocol"
	"github.com/godwit-im/godwit/protocol/pb"
)

// The power-loss test of follow-ups: users ask each other to be contacts, and
// the power fails before and after commits, of the requests, of the notices that
// follow from them and of what forgets them. After each failure the store is
// opened again and its log gets the time to end what was begun. Then every
// request that was ever committed must have its notice, once, and every one that
// was acked must be there.

// TestFollowUpsSurvivePowerLoss is the proof.
func TestFollowUpsSurvivePowerLoss(t *testing.T) {
	var total outboxTally
	for run := 0; run < max(1, crashPoints/crashesPerRun/4) || !total.met() && run < 50; run++ {
		violations, tally := outboxPowerLoss(t, uint64(run), func(*crashRig) {})
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

// TestFollowUpsPowerLossNotices proves that the test above can fail.
func TestFollowUpsPowerLossNotices(t *testing.T) {
	for name, defect := range map[string]struct {
		apply func(*msgstore.Tx, uint64, *Command, []Effect) (Result, []Effect, error)
		text  string // what the violation must say
	}{
		"outbox off": {
			func(tx *msgstore.Tx, index uint64, c *Command, effects []Effect) (Result, []Effect, error) {
				r, effects, err := Apply(tx, index, c, effects)
				if err == nil && c.Op == OpContact {
					err = tx.DropFollowUp(index, c.Conversation, index, 0)
				}
				return r, effects, err
			},
			"has 0 notices",
		},
		"dedup off": {
			func(tx *msgstore.Tx, index uint64, c *Command, effects []Effect) (Result, []Effect, error) {
				if c.Op == OpNotify {
					c.ClientID = fmt.Sprintf("f%d", c.MessageID)
				}
				return Apply(tx, index, c, effects)
			},
			"has 2 notices",
		},
	} {
		t.Run(name, func(t *testing.T) {
			for run := range uint64(10) {
				violations, _ := outboxPowerLoss(t, run, func(r *crashRig) { r.steps.apply = defect.apply })
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

// outboxTally says in which state the follow-ups were that crashes left.
type outboxTally struct {
	acks    int // that were looked at
	waiting int // no notice yet
	doubled int // the notice is there, and so is the row
	done    int
}

// met reports whether each stage was, without which the crashes show little.
func (a *outboxTally) met() bool { return a.waiting > 0 && a.doubled > 0 && a.done > 0 }

func (a *outboxTally) add(b outboxTally) {
	a.acks += b.acks
	a.waiting += b.waiting
	a.doubled += b.doubled
	a.done += b.done
}

// outboxJournal is what the world outside the server knows.
type outboxJournal struct {
	powerCuts
	room  chan struct{} // holds one for each request under way
	acked []noticeKey   // powerCuts.mu guards it
}

// powerCuts cuts the power now and then, until it was cut crashesPerRun times.
type powerCuts struct {
	memory *vfs.MemFS

	mu      sync.Mutex // guards what follows
	random  *rand.Rand
	acks    int // that are out
	crashes []crash
}

func (j *outboxJournal) Deliver(outcomes []Outcome) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, o := range outcomes {
		if c := &o.Proposal.Command; c.Op == OpContact {
			j.acked = append(j.acked, noticeKey{c.User, c.Contact.User})
			j.acks++
			<-j.room
		}
	}
}

// cutPower notes, now and then, what the disk would hold if the power failed now.
func (c *powerCuts) cutPower() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.crashes) == crashesPerRun || c.random.IntN(6) > 0 {
		return
	}
	disk := c.memory.CrashClone(vfs.CrashCloneCfg{
		UnsyncedDataPercent: []int{0, 50, 100}[c.random.IntN(3)],
		RNG:                 rand.New(rand.NewPCG(c.random.Uint64(), 0)),
	})
	c.crashes = append(c.crashes, crash{disk, c.acks})
}

func (c *powerCuts) done() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.crashes) == crashesPerRun
}

// settle is the log's step of that name, with power cuts before and after each
// part of it.
func (c *powerCuts) settle(tx *msgstore.Tx, sink Sink, outcomes []Outcome) error {
	c.cutPower()
	if err := tx.Commit(); err != nil {
		return err
	}
	c.cutPower()
	sink.Deliver(outcomes)
	c.cutPower()
	return nil
}

// outboxPowerLoss runs a log until the power was cut crashesPerRun times.
func outboxPowerLoss(t *testing.T, seed uint64, change func(*crashRig)) (violations []string, tally outboxTally) {
	memory := vfs.NewCrashableMem()
	rig := crashRig{disk: &diskFS{FS: memory}}
	store := openStoreNow(t, rig.disk)
	j := &outboxJournal{
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
	for n := 0; !j.done(); n++ {
		j.room <- struct{}{}
		submit(t, e, contactRequest(fmt.Sprintf("u%d", n), fmt.Sprintf("v%d", n%7)))
	}
	closeLog(t, e)
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	for _, c := range j.crashes {
		found, left := checkOutbox(t, c.disk, j.acked[:c.acks], rig.steps.apply)
		violations = append(violations, found...)
		tally.add(left)
	}
	return violations, tally
}

// checkOutbox opens what a crash left, lets a log end what was begun, and returns
// how that breaks the promises.
func checkOutbox(t *testing.T, disk vfs.FS, acked []noticeKey, apply func(*msgstore.Tx, uint64, *Command, []Effect) (Result, []Effect, error)) (violations []string, tally outboxTally) {
	store, err := msgstore.Open(storeOptions(disk))
	if err != nil {
		return []string{fmt.Sprintf("the store does not open: %v", err)}, tally
	}
	defer store.Close()
	committed := map[noticeKey]bool{}
	for p := range store.Partitions() {
		err := store.Conversations(p, func(conversation string, _ uint64) error {
			if protocol.KindOf(conversation) != protocol.Direct {
				return nil
			}
			user, peer, err := protocol.ParseDirect(conversation) // u... comes before v...
			if err != nil {
				return err
			}
			row, _, err := store.Member(user, conversation)
			if row.Membership.GetContact() == pb.ContactState_CONTACT_STATE_REQUESTED {
				committed[noticeKey{user, peer}] = true
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, key := range acked {
		if !committed[key] {
			violations = append(violations, fmt.Sprintf("%v was acked and is gone", key))
		}
	}
	before, waiting := noticesIn(t, store), waitingIn(t, store)
	tally = outboxTally{acks: len(acked), waiting: len(committed) - len(before), done: len(committed) - waiting}
	tally.doubled = len(committed) - tally.waiting - tally.done

	s := defaultSteps(store)
	s.apply = apply
	e, err := newEmbedded(testConfig(t), store, newCollector(), s)
	if err != nil {
		t.Fatal(err)
	}
	closeLog(t, e)
	after := noticesIn(t, store)
	for key := range committed {
		if n := after[key]; n != 1 {
			violations = append(violations, fmt.Sprintf("%v has %d notices", key, n))
		}
	}
	if len(after) > len(committed) {
		violations = append(violations, fmt.Sprintf("%d notices for %d requests", len(after), len(committed)))
	}
	if n := waitingIn(t, store); n > 0 {
		violations = append(violations, fmt.Sprintf("%d follow-ups are still in the store", n))
	}
	return violations, tally
}
