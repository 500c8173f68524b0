package chat

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/godwit-im/godwit/msgstore"
	"github.com/godwit-im/godwit/protocol"
	"github.com/godwit-im/godwit/protocol/pb"
)

// submit retries while the log is busy.
func submit(t testing.TB, e *Embedded, p *Proposal) {
	for {
		err := e.Submit(p)
		if err == nil {
			return
		}
		if protocol.CodeOf(err) != pb.Code_CODE_BUSY {
			t.Error(err)
			return
		}
		runtime.Gosched()
	}
}

func mustSubmit(t testing.TB, e *Embedded, p *Proposal) {
	t.Helper()
	if err := e.Submit(p); err != nil {
		t.Fatal(err)
	}
}

func wantCode(t testing.TB, err error, code protocol.Code) {
	t.Helper()
	if got := protocol.CodeOf(err); got != code {
		t.Fatalf("got %v, want %s", err, code.Name())
	}
}

// TestEmbeddedAnswers submits from many goroutines and looks at everything that
// comes out.
func TestEmbeddedAnswers(t *testing.T) {
	const senders, each = 8, 200
	sink := newCollector()
	store := openStore(t, storeOptions(vfs.NewMem()))
	e := startLog(t, testConfig(t), store, sink)
	var wg sync.WaitGroup
	for s := range senders {
		wg.Go(func() {
			user := fmt.Sprintf("u%d", s)
			peer := fmt.Sprintf("u%d", s^1)
			for i := range each {
				p := send(user, protocol.DirectID(user, peer), fmt.Sprintf("c%d", i), fmt.Sprintf("%d", i))
				p.Request = uint32(i)
				submit(t, e, p)
			}
		})
	}
	wg.Wait()
	outcomes := sink.wait(t, senders*each)

	next := map[string]uint64{}     // by conversation
	requests := map[string]uint32{} // by sender
	ids := map[uint64]bool{}
	for _, o := range outcomes {
		c := &o.Proposal.Command
		if o.Result.Err != nil {
			t.Fatalf("%s: %v", c.ClientID, o.Result.Err)
		}
		next[c.Conversation]++
		if o.Result.Seq != next[c.Conversation] {
			t.Fatalf("outcomes out of order in %s: seq %d after %d", c.Conversation, o.Result.Seq, next[c.Conversation]-1)
		}
		if o.Proposal.Request != requests[c.User] {
			t.Fatalf("%s: request %d was applied when %d was next", c.User, o.Proposal.Request, requests[c.User])
		}
		requests[c.User]++
		if o.Result.ID == 0 || ids[o.Result.ID] {
			t.Fatalf("message id %d is zero or not unique", o.Result.ID)
		}
		ids[o.Result.ID] = true
		if len(o.Effects) != 1 || o.Effects[0].Seq != o.Result.Seq {
			t.Fatalf("effects %v of the message at %d", o.Effects, o.Result.Seq)
		}
		wire, found, err := store.Message(c.Conversation, o.Result.Seq)
		if err != nil || !found {
			t.Fatalf("acked and not stored: found %v, %v", found, err)
		}
		if frame := o.Effects[0].Frame; string(frame[protocol.HeaderSize:]) != string(wire) {
			t.Fatalf("what was pushed is not what was stored")
		}
	}
	closeLog(t, e) // a batch is counted after its outcomes are told
	if st := e.Stats(); st.Commands != senders*each || st.Messages != senders*each || st.Batches == 0 || st.Batches > st.Commands || st.Waiting != 0 {
		t.Errorf("stats %+v", st)
	}
}

// TestStalledStore: while a sync hangs, Submit answers at once, takes on what
// the bounds allow and no more, and everything is acked when the disk is back.
func TestStalledStore(t *testing.T) {
	disk := &diskFS{FS: vfs.NewMem()}
	sink := newCollector()
	cfg := testConfig(t)
	cfg.QueueCommands = 100
	e := startLog(t, cfg, openStore(t, storeOptions(disk)), sink)
	release := disk.stall()
	defer release()

	// One batch is on its way to the disk, however large; then the queue fills.
	accepted := 0
	var err error
	for err == nil && accepted < 10000 {
		if err = e.Submit(send("ann", "d:ann:bob", fmt.Sprintf("c%d", accepted), "x")); err == nil {
			accepted++
		}
	}
	wantCode(t, err, pb.Code_CODE_BUSY)
	if refusal := protocol.AsError(err); refusal.RetryAfter <= 0 {
		t.Errorf("BUSY without a delay")
	}
	if accepted < cfg.QueueCommands {
		t.Errorf("BUSY after %d proposals, the queue holds %d", accepted, cfg.QueueCommands)
	}
	if n := len(sink.wait(t, 0)); n != 0 {
		t.Fatalf("%d outcomes from a disk that hangs", n)
	}
	// An operator can see how long it has been hanging.
	first := e.Stats().Committing
	eventually(t, func() bool { return e.Stats().Committing > max(first, 0) })
	// Close can't wait for ever, either.
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if err := e.Close(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Close with a hanging disk: %v", err)
	}
	wantCode(t, e.Submit(send("ann", "d:ann:bob", "late", "x")), pb.Code_CODE_DRAINING)

	release()
	for i, o := range sink.wait(t, accepted) {
		if o.Result.Seq != uint64(i+1) {
			t.Fatalf("outcome %d has seq %d", i, o.Result.Seq)
		}
	}
	if st := e.Stats(); st.Busy != 1 {
		t.Errorf("%d BUSY answers were counted", st.Busy)
	}
	eventually(t, func() bool { return e.Stats().Committing == 0 })
}

// TestQueueBounds holds a queue to both of its bounds.
func TestQueueBounds(t *testing.T) {
	fill := func(commands, bytes, body int) (accepted int, q *queue) {
		bell := make(chan struct{}, 1)
		q = newQueue(0, commands, bytes, newColdList(), bell)
		q.release("d:ann:bob") // warm
		for q.accept(send("ann", "d:ann:bob", "c", strings.Repeat("x", body))) == nil {
			accepted++
		}
		return accepted, q
	}
	if n, q := fill(7, 1<<20, 10); n != 7 || q.depth() != 7 {
		t.Errorf("%d commands were accepted, the bound is 7", n)
	}
	const body = 1000
	n, q := fill(1000, 5*(body+proposalOverhead)+1, body)
	if n != 5 {
		t.Errorf("%d commands were accepted where 5 fit", n)
	}
	// What is taken out makes room.
	if taken, bytes := q.take(nil, 2, 1<<20); len(taken) != 2 || bytes != 2*(body+proposalOverhead) {
		t.Errorf("took %d commands of %d bytes", len(taken), bytes)
	}
	for range 2 {
		if err := q.accept(send("ann", "d:ann:bob", "c", strings.Repeat("x", body))); err != nil {
			t.Errorf("there is room for 2, and got %v", err)
		}
	}
	// What alone is too large must still get through.
	n, q = fill(1000, 10, body)
	if n != 1 {
		t.Errorf("%d commands were accepted into an empty queue that is too small for one", n)
	}
	if taken, _ := q.take(nil, 1, 1); len(taken) != 1 || q.depth() != 0 {
		t.Errorf("took %d, left %d", len(taken), q.depth())
	}
	if err := q.accept(send("ann", "d:ann:bob", "c", "x")); err != nil {
		t.Errorf("an empty queue refused: %v", err)
	}
}

// TestCloseDrains: what was accepted is applied, parked or not; nothing is
// accepted afterwards.
func TestCloseDrains(t *testing.T) {
	sink := newCollector()
	release := make(chan struct{})
	store := openStore(t, storeOptions(vfs.NewMem()))
	e := startLog(t, testConfig(t), store, sink, func(s *steps) {
		s.warm = func(*Command) { <-release }
	})
	const n = 50
	for i := range n {
		mustSubmit(t, e, send("ann", protocol.DirectID("ann", fmt.Sprintf("x%d", i%7)), fmt.Sprintf("c%d", i), "x"))
	}
	closed := make(chan error, 1)
	go func() { closed <- e.Close(t.Context()) }()
	for e.Submit(send("ann", "d:ann:bob", "c", "x")) == nil {
		t.Log("submitted before Close")
	}
	for _, q := range e.queues {
		eventually(t, func() bool { return errors.Is(q.accept(send("ann", "d:ann:bob", "c", "x")), errDraining) })
	}
	select {
	case <-closed:
		t.Fatal("closed while commands are parked")
	case <-time.After(50 * time.Millisecond):
	}
	close(release)
	if err := <-closed; err != nil {
		t.Fatal(err)
	}
	if got := len(sink.wait(t, n)); got < n {
		t.Errorf("%d outcomes after Close, %d proposals were accepted", got, n)
	}
	wantCode(t, e.Submit(send("ann", "d:ann:bob", "c", "x")), pb.Code_CODE_DRAINING)
	if err := e.Close(t.Context()); err != nil {
		t.Errorf("closing twice: %v", err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	for range 50 { // which of two things that are ready is seen is chance
		if err := e.Close(ended); err != nil {
			t.Fatalf("closing a log that has drained, without time to wait: %v", err)
		}
	}
}

// TestFatal: after an error of Apply or of a commit nothing is acked and
// nothing is taken on, and the process is told.
func TestFatal(t *testing.T) {
	boom := errors.New("boom")
	for name, change := range map[string]func(*steps){
		"apply": func(s *steps) {
			s.apply = func(_ *msgstore.Tx, _ uint64, _ *Command, effects []Effect) (Result, []Effect, error) {
				return Result{Seq: 1}, effects, boom
			}
		},
		"commit": func(s *steps) {
			s.settle = func(tx *msgstore.Tx, _ Sink, _ []Outcome) error {
				tx.Discard()
				return boom
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			sink := newCollector()
			fatal := make(chan error, 10)
			cfg := testConfig(t)
			cfg.Fatal = func(err error) { fatal <- err }
			store := openStore(t, storeOptions(vfs.NewMem()))
			s := defaultSteps(store)
			change(&s)
			e, err := newEmbedded(cfg, store, sink, s)
			if err != nil {
				t.Fatal(err)
			}
			for i := range 10 {
				_ = e.Submit(send("ann", "d:ann:bob", fmt.Sprintf("c%d", i), "x"))
			}
			if err := <-fatal; !errors.Is(err, boom) {
				t.Errorf("Fatal was told %v", err)
			}
			wantCode(t, e.Submit(send("ann", "d:ann:bob", "late", "x")), pb.Code_CODE_INTERNAL)
			if err := e.Close(t.Context()); !errors.Is(err, boom) {
				t.Errorf("Close: %v", err)
			}
			if n := len(sink.wait(t, 0)); n > 0 {
				t.Errorf("%d outcomes were delivered", n)
			}
			if len(fatal) > 0 {
				t.Errorf("Fatal was called again: %v", <-fatal)
			}
		})
	}
}

// TestStorageFull: what a client wants stored is refused, marks are not.
func TestStorageFull(t *testing.T) {
	o := storeOptions(vfs.NewMem())
	o.MinFree = 1000
	o.FreeSpace = func(string) (uint64, error) { return 999, nil }
	store := openStore(t, o)
	if !store.Full() {
		t.Fatal("the store does not call itself full")
	}
	sink := newCollector()
	e := startLog(t, testConfig(t), store, sink)
	err := e.Submit(send("ann", "d:ann:bob", "c", "x"))
	wantCode(t, err, pb.Code_CODE_STORAGE_FULL)
	if protocol.AsError(err).RetryAfter <= 0 {
		t.Error("STORAGE_FULL without a delay")
	}
	for _, op := range []Op{OpGroup, OpContact, OpSettings, OpDelete, OpAccount} {
		err := e.Submit(&Proposal{Command: Command{Op: op, Conversation: "d:ann:bob", User: "ann"}})
		wantCode(t, err, pb.Code_CODE_STORAGE_FULL)
	}
	mustSubmit(t, e, mark("ann", "d:ann:bob", 1, 0))
	sink.wait(t, 1)
}

// TestFlood: a partition that always has more than a batch does not keep the
// other ones of its writer waiting.
func TestFlood(t *testing.T) {
	store := openStore(t, storeOptions(vfs.NewMem()))
	cfg := testConfig(t)
	cfg.Writers, cfg.BatchCommands = 1, 10
	gate := make(chan struct{})
	var order []string // the writer's
	e := startLog(t, cfg, store, sinkFunc(func(outcomes []Outcome) {
		for _, o := range outcomes {
			order = append(order, o.Proposal.Command.Conversation)
		}
	}), func(s *steps) {
		settle := s.settle
		s.settle = func(tx *msgstore.Tx, sink Sink, outcomes []Outcome) error {
			<-gate
			return settle(tx, sink, outcomes)
		}
	})
	// A conversation in each partition; the first one floods.
	byPartition := map[int]string{}
	for i := 0; len(byPartition) < store.Partitions(); i++ {
		conversation := protocol.DirectID("ann", fmt.Sprintf("x%d", i))
		byPartition[store.PartitionOf(conversation)] = conversation
	}
	for i := range 200 {
		mustSubmit(t, e, send("ann", byPartition[0], fmt.Sprintf("c%d", i), "x"))
	}
	for p := 1; p < store.Partitions(); p++ {
		mustSubmit(t, e, send("ann", byPartition[p], "c", "x"))
	}
	for _, q := range e.queues { // all are warm and in their queues
		eventually(t, func() bool {
			q.mu.Lock()
			defer q.mu.Unlock()
			return len(q.parked) == 0
		})
	}
	close(gate)
	closeLog(t, e)
	last := 0
	for i, conversation := range order {
		if conversation != byPartition[0] {
			last = i
		}
	}
	if last > 3*cfg.BatchCommands {
		t.Errorf("the last of the other partitions came %d-th, behind a flood", last)
	}
}
