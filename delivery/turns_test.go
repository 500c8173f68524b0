package delivery

import (
	"fmt"
	"runtime"
	"slices"
	"sync"
	"testing"

	"github.com/godwit-im/godwit/protocol"
	"github.com/godwit-im/godwit/protocol/pb"
)

// hold occupies a worker until the returned function is called.
func (n *node) hold(c *client) (release func()) {
	n.t.Helper()
	begun, end := make(chan struct{}), make(chan struct{})
	if err := c.Begin(inFlight); err != nil {
		n.t.Fatal(err)
	}
	err := n.turns.add(c.Session, job{inFlight: inFlight, read: func() ([]byte, error) {
		close(begun)
		<-end
		return protocol.AppendFrame(nil, protocol.TypePong, 0, nil), nil
	}})
	if err != nil {
		n.t.Fatal(err)
	}
	<-begun
	return sync.OnceFunc(func() { close(end) })
}

// ask queues a read and does not wait.
func (c *client) ask() error {
	c.request++
	if err := c.Begin(inFlight); err != nil {
		return err
	}
	if err := c.node.idle(c.Session, c.request, inFlight); err != nil {
		c.End(inFlight)
		return err
	}
	return nil
}

// TestFairness: a session with many reads delays itself and nobody else, and
// gets its answers in order.
func TestFairness(t *testing.T) {
	n := newNode(t, func(c *nodeConfig) { c.delivery.Workers = 1 })
	greedy, modest, late := n.connect("ann", "d"), n.connect("bob", "d"), n.connect("cid", "d")
	var (
		mu    sync.Mutex // guards order
		order []string
	)
	ask := func(c *client, name string) {
		if err := c.Begin(inFlight); err != nil {
			t.Fatal(err)
		}
		c.request++
		request := c.request
		err := n.turns.add(c.Session, job{request: request, inFlight: inFlight, read: func() ([]byte, error) {
			mu.Lock()
			defer mu.Unlock()
			order = append(order, name)
			return protocol.AppendFrame(nil, protocol.TypePong, request, nil), nil
		}})
		if err != nil {
			t.Fatal(err)
		}
	}
	release := n.hold(n.connect("dan", "d"))
	for i := range 20 {
		ask(greedy, fmt.Sprintf("greedy %d", i))
	}
	ask(modest, "modest 0")
	ask(modest, "modest 1")
	ask(late, "late 0")
	release()
	greedy.wire.answer(t, greedy.request)
	want := []string{"greedy 0", "modest 0", "late 0", "greedy 1", "modest 1", "greedy 2", "greedy 3"}
	mu.Lock()
	defer mu.Unlock()
	if !slices.Equal(order[:len(want)], want) {
		t.Errorf("the turns were %q, want %q first", order, want)
	}
	if !slices.IsSorted(order[len(want) : len(want)+3]) {
		t.Errorf("one session's reads were done out of order: %q", order)
	}
}

// TestQueuePerSession: past its bound a session's next read is refused with a
// delay; others are not.
func TestQueuePerSession(t *testing.T) {
	n := newNode(t, func(c *nodeConfig) { c.delivery.Workers, c.delivery.QueuePerSession = 1, 3 })
	greedy, modest := n.connect("ann", "d"), n.connect("bob", "d")
	release := n.hold(n.connect("cid", "d"))
	for range 3 {
		if err := greedy.ask(); err != nil {
			t.Fatal(err)
		}
	}
	err := greedy.ask()
	if protocol.CodeOf(err) != pb.Code_CODE_BUSY || protocol.AsError(err).RetryAfter <= 0 {
		t.Errorf("the fourth read got %v, want BUSY with a delay", err)
	}
	if err := modest.ask(); err != nil {
		t.Errorf("another session was refused: %v", err)
	}
	if waiting := n.Stats().Waiting; waiting != 4 {
		t.Errorf("%d reads wait, want 4", waiting)
	}
	release()
	greedy.wire.answer(t, 4)
	modest.wire.answer(t, modest.request)
}

// TestPace: a session whose connection is behind waits for its reads, without
// keeping a worker, and gets them when it has caught up.
func TestPace(t *testing.T) {
	n := newNode(t, func(c *nodeConfig) { c.delivery.Workers, c.delivery.MaxOutbound = 1, 1000 })
	clogged, other := n.connect("ann", "d"), n.connect("bob", "d")
	looked := clogged.wire.setOutbound(1001)
	for range 3 {
		if err := clogged.ask(); err != nil {
			t.Fatal(err)
		}
	}
	<-looked
	<-looked // twice: it is looked at again
	other.idle()
	if frames := clogged.wire.take(); len(frames) > 0 {
		t.Fatalf("a session that is behind was answered: %v", frames)
	}
	clogged.wire.setOutbound(1000)
	clogged.wire.answer(t, clogged.request)
	if frames := clogged.wire.take(); len(frames) != 2 || frames[0].Request > frames[1].Request {
		t.Errorf("the other answers are %v", frames)
	}
}

// TestClose: what waits is answered, what comes later is refused.
func TestClose(t *testing.T) {
	n := newNode(t, func(c *nodeConfig) { c.delivery.Workers = 1 })
	c := n.connect("ann", "d")
	release := n.hold(n.connect("bob", "d"))
	for range 3 {
		if err := c.ask(); err != nil {
			t.Fatal(err)
		}
	}
	closed := make(chan struct{})
	go func() {
		n.Close()
		close(closed)
	}()
	accepted := c.request
	for { // Close has begun once it refuses
		err := c.ask()
		if protocol.CodeOf(err) == pb.Code_CODE_DRAINING {
			break
		}
		if err == nil {
			accepted = c.request
		}
		runtime.Gosched()
	}
	release()
	<-closed
	for request := uint32(2); request <= accepted; request++ {
		c.wire.answer(t, request)
	}
}

// TestInFlight: every request gives back what it took of its session's window,
// before the client can know of the answer.
func TestInFlight(t *testing.T) {
	n := newNode(t, func(c *nodeConfig) { c.session.MaxInFlight = 1 })
	ann := n.connect("ann", "d")
	for i := range 50 { // each Begin fails unless the one before has ended
		ann.send("bob", fmt.Sprintf("c%d", i), "x")
		ann.mark("bob", uint64(i), 0)
		ann.mark("bob", 1000, 0) // refused
		ann.synced(nil, 0)
		ann.pulled(&pb.Pull{Conversation: "d:ann:bob"})
		wantError(t, ann.pull(&pb.Pull{Conversation: "d:ann:cid"}), pb.Code_CODE_NOT_A_MEMBER)
		ann.idle()
	}
}

// What follows an answer comes after it and before the session's next read, and
// doesn't follow an ERROR.
func TestThen(t *testing.T) {
	n := newNode(t)
	ann := n.connect("ann", "d")
	presence := protocol.AppendProto(nil, protocol.TypePresence, 0, &pb.Presence{User: "bob"})
	for request, err := range []error{errBadCursor, nil, nil} {
		if err := ann.Begin(inFlight); err != nil {
			t.Fatal(err)
		}
		then := func() { ann.Offer(presence) }
		if request == 2 {
			then = nil
		}
		read := func() ([]byte, error) {
			return protocol.AppendHeader(nil, protocol.TypePong, uint32(request), 0), err
		}
		if err := n.Do(ann.Session, uint32(request), inFlight, read, then); err != nil {
			t.Fatal(err)
		}
	}
	ann.wire.answer(t, 2)
	var got []protocol.Type
	for _, f := range ann.wire.take() {
		got = append(got, f.Type)
	}
	if want := []protocol.Type{protocol.TypeError, protocol.TypePong, protocol.TypePresence}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v and then the last answer", got, want)
	}
}
