package chat

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"google.golang.org/protobuf/proto"

	"github.com/godwit-im/godwit/msgstore"
	"github.com/godwit-im/godwit/protocol"
	"github.com/godwit-im/godwit/protocol/pb"
)

// The power-loss test: a real log on a real store on a file system that can
// lose what was not synced, under concurrent senders who resend. The power
// fails at many points. After each, the store is opened again and held to the
// promises: what was acked is there as it was acked, the seqs are dense from 1,
// no client message id has two, whoever resends gets the first ack, and every
// message is what the events that are there make of it: neither an edit, a recall
// or a reaction without its effect, nor the effect without the event.

const crashesPerRun = 25

// TestPowerLoss is the proof, at crashPoints points.
func TestPowerLoss(t *testing.T) {
	total := 0
	for run := range crashPoints / crashesPerRun {
		violations, acks := powerLoss(t, uint64(run), healthy)
		total += acks
		if len(violations) > 0 {
			t.Fatalf("run %d: %d violations:\n%s", run, len(violations), strings.Join(violations[:min(10, len(violations))], "\n"))
		}
	}
	t.Logf("%d crashes, %d acks checked", crashPoints, total)
	if total < 20*crashPoints {
		t.Errorf("only %d acks were out at %d crashes: this shows little", total, crashPoints)
	}
}

// TestPowerLossNotices proves that the test above can fail: it has to notice
// each of these defects.
func TestPowerLossNotices(t *testing.T) {
	for name, defect := range map[string]struct {
		change func(*crashRig)
		text   string // what the violation must say
	}{
		"sync off": {
			func(r *crashRig) { r.disk.noSync.Store(true) },
			"is gone",
		},
		"ack before commit": {
			func(r *crashRig) {
				r.steps.settle = func(tx *msgstore.Tx, sink Sink, outcomes []Outcome) error {
					sink.Deliver(outcomes)
					return tx.Commit()
				}
			},
			"is gone",
		},
		"dedup off": {
			func(r *crashRig) { r.steps.apply = applyWithoutDedup },
			"has the seqs",
		},
		"events without effect": {
			func(r *crashRig) { r.steps.apply = applyWithoutEffect },
			"its events make it",
		},
	} {
		t.Run(name, func(t *testing.T) {
			for run := range uint64(10) {
				violations, _ := powerLoss(t, run, defect.change)
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

func healthy(*crashRig) {}

// applyWithoutDedup is Apply with a defect: it takes every SEND for a new one.
func applyWithoutDedup(tx *msgstore.Tx, index uint64, cmd *Command, effects []Effect) (Result, []Effect, error) {
	peer, _ := protocol.Peer(cmd.Conversation, cmd.User)
	return post(tx, index, cmd, &sender{users: []string{cmd.User, peer}}, effects)
}

// applyWithoutEffect is Apply with a defect: it leaves an event's target alone.
func applyWithoutEffect(tx *msgstore.Tx, index uint64, cmd *Command, effects []Effect) (Result, []Effect, error) {
	if _, resent, err := tx.FindByClientID(cmd.Conversation, cmd.User, cmd.ClientID); resent || err != nil || !isEvent(cmd.Kind) {
		return Apply(tx, index, cmd, effects)
	}
	head, _, err := tx.Head(cmd.Conversation)
	if err != nil {
		return Result{}, effects, err
	}
	peer, _ := protocol.Peer(cmd.Conversation, cmd.User)
	from := &sender{users: []string{cmd.User, peer}}
	m := &pb.Message{}
	fill(m, cmd, &head, from)
	return push(tx, index, m, from, effects)
}

// crashRig is what a defect may be built into, after the store was opened and
// before the log is.
type crashRig struct {
	disk  *diskFS
	steps steps
}

// messageKey names a message by promise 3.
type messageKey struct{ conversation, sender, clientID string }

func keyOf(c *Command) messageKey { return messageKey{c.Conversation, c.User, c.ClientID} }

// ack is what a sender was told, and what of.
type ack struct {
	seq, id uint64
	timeMs  int64
	cmd     Command
}

// journal is the Sink of the test: it notes every ack, as the world outside the
// server would, and cuts the power now and then the moment after one.
type journal struct {
	memory *vfs.MemFS

	mu      sync.Mutex // guards what follows
	random  *rand.Rand
	acks    []ack
	errs    []string
	crashes []crash
}

// crash is a disk as a power cut left it, with the number of acks that were out
// by then.
type crash struct {
	disk *vfs.MemFS
	acks int
}

func (j *journal) Deliver(outcomes []Outcome) {
	j.mu.Lock()
	for _, o := range outcomes {
		c := &o.Proposal.Command
		if o.Result.Err != nil {
			j.errs = append(j.errs, fmt.Sprintf("%v was refused: %v", keyOf(c), o.Result.Err))
			continue
		}
		j.acks = append(j.acks, ack{o.Result.Seq, o.Result.ID, o.Result.TimeMs, *c})
	}
	cut := j.random.IntN(4) == 0
	j.mu.Unlock()
	if cut {
		j.cutPower()
	}
	for _, o := range outcomes {
		o.Proposal.Origin.(chan ack) <- ack{seq: o.Result.Seq, cmd: o.Proposal.Command}
	}
}

// acksPerCrash is how many more acks must be out at each power cut than at the one
// before: on a machine on which the senders hardly run, cuts that come by the clock
// would show little.
const acksPerCrash = 4

// cutPower notes what the disk would hold if the power failed now, with a
// random part of what is not synced. Senders and writers go on meanwhile.
func (j *journal) cutPower() {
	j.mu.Lock()
	if len(j.crashes) == crashesPerRun || len(j.acks) < acksPerCrash*len(j.crashes) {
		j.mu.Unlock()
		return
	}
	acks := len(j.acks)
	percent := []int{0, 30, 60, 100}[j.random.IntN(4)]
	random := rand.New(rand.NewPCG(j.random.Uint64(), 0))
	j.mu.Unlock()
	disk := j.memory.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: percent, RNG: random})
	j.mu.Lock()
	j.crashes = append(j.crashes, crash{disk, acks})
	j.mu.Unlock()
}

func (j *journal) done() bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return len(j.crashes) >= crashesPerRun
}

// powerLoss runs a log until the power was cut crashesPerRun times. It returns
// the violations that were found, and how many acks were looked at.
func powerLoss(t *testing.T, seed uint64, change func(*crashRig)) (violations []string, acks int) {
	memory := vfs.NewCrashableMem()
	rig := crashRig{disk: &diskFS{FS: memory}}
	store := openStoreNow(t, rig.disk)
	rig.steps = defaultSteps(store)
	change(&rig)
	j := &journal{memory: memory, random: rand.New(rand.NewPCG(seed, 1))}
	cfg := testConfig(t)
	e, err := newEmbedded(cfg, store, j, rig.steps)
	if err != nil {
		t.Fatal(err)
	}
	var senders sync.WaitGroup
	for s := range 6 {
		senders.Go(func() { sendUntil(t, e, j.done, fmt.Sprintf("u%d", s), rand.New(rand.NewPCG(seed, uint64(100+s)))) })
	}
	// Power cuts at any other moment, too.
	for random := rand.New(rand.NewPCG(seed, 2)); !j.done(); {
		time.Sleep(time.Duration(random.IntN(400)) * time.Microsecond) //nolint:forbidigo // chooses the moment; nothing waits for it
		j.cutPower()
	}
	senders.Wait()
	closeLog(t, e)
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	violations = j.errs
	for _, c := range j.crashes {
		violations = append(violations, checkCrash(t, c.disk, j.acks[:c.acks])...)
		acks += c.acks
	}
	return violations, acks
}

// openStoreNow opens a store that the caller closes.
func openStoreNow(t *testing.T, fs vfs.FS) *msgstore.Store {
	store, err := msgstore.Open(storeOptions(fs))
	if err != nil {
		t.Fatal(err)
	}
	return store
}

// checkCrash opens what a crash left and returns how it breaks the promises
// about acks.
func checkCrash(t *testing.T, disk vfs.FS, acks []ack) (violations []string) {
	store, err := msgstore.Open(storeOptions(disk))
	if err != nil {
		return []string{fmt.Sprintf("the store does not open: %v", err)}
	}
	defer store.Close()
	report := func(format string, args ...any) { violations = append(violations, fmt.Sprintf(format, args...)) }

	kept := map[messageKey]*pb.Message{}
	for p := range store.Partitions() {
		err := store.Conversations(p, func(conversation string, _ uint64) error {
			return readBack(store, conversation, kept, report)
		})
		if err != nil {
			report("reading partition %d: %v", p, err)
		}
	}
	for i := range acks {
		a := &acks[i]
		m, ok := kept[keyOf(&a.cmd)]
		switch {
		case !ok:
			report("%v, acked at seq %d, is gone", keyOf(&a.cmd), a.seq)
		case m.Seq != a.seq || m.Id != a.id || m.TimeMs != a.timeMs || !makes(&a.cmd, m):
			report("%v was acked as %d/%d/%d and is stored as %v", keyOf(&a.cmd), a.seq, a.id, a.timeMs, m)
		}
	}
	if len(violations) > 0 {
		return violations
	}
	resend(t, store, acks, report)
	return violations
}

// readBack adds the messages of a conversation to kept and checks that they are
// dense, in order and unique, and what the events among them make of them.
func readBack(store *msgstore.Store, conversation string, kept map[messageKey]*pb.Message, report func(string, ...any)) error {
	r, err := store.Range(conversation, 1, 0, false, 1<<30, 1<<30, nil)
	if err != nil {
		return err
	}
	var page pb.Pulled
	if err := proto.Unmarshal(r.Encoded, &page); err != nil {
		return err
	}
	last := &pb.Message{}
	for _, m := range page.Messages {
		key := messageKey{m.Conversation, m.Sender, m.ClientId}
		if m.Seq != last.Seq+1 || m.TimeMs < last.TimeMs || m.Conversation != conversation {
			report("%s: seq %d at %d ms follows seq %d at %d ms", conversation, m.Seq, m.TimeMs, last.Seq, last.TimeMs)
		}
		if twin, ok := kept[key]; ok {
			report("%v has the seqs %d and %d", key, twin.Seq, m.Seq)
		}
		kept[key] = m
		last = m
	}
	gone, err := store.GoneBetween(conversation, "", 0, last.Seq, msgstore.Moment{Stamp: math.MaxUint64})
	if err != nil {
		return err
	}
	if want := checkEvents(page.Messages, report); gone != want {
		report("%s: %d messages are counted as gone, its events make it %d", conversation, gone, want)
	}
	return nil
}

// resend sends everything that was acked again: each must get its first ack.
func resend(t *testing.T, store *msgstore.Store, acks []ack, report func(string, ...any)) {
	sink := newCollector()
	e, err := NewEmbedded(testConfig(t), store, sink)
	if err != nil {
		t.Fatal(err)
	}
	for i := range acks {
		p := &Proposal{Command: acks[i].cmd, Origin: &acks[i]}
		submit(t, e, p)
	}
	for _, o := range sink.wait(t, len(acks)) {
		a := o.Proposal.Origin.(*ack)
		r := o.Result
		if r.Err != nil || !r.Duplicate || r.Seq != a.seq || r.ID != a.id || r.TimeMs != a.timeMs {
			report("%v was acked as %d/%d/%d and, sent again, as %+v", keyOf(&a.cmd), a.seq, a.id, a.timeMs, r)
		}
	}
	closeLog(t, e)
}
