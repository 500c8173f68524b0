package godwit_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/godwit-im/godwit/protocol"
	godwit "github.com/godwit-im/godwit/sdk-go"
	"github.com/godwit-im/godwit/sdk-go/internal/fakeserver"
)

// TestHandlerMayCallTheClient calls everything but Close from callbacks.
func TestHandlerMayCallTheClient(t *testing.T) {
	s := startServer(t, fakeserver.Config{})
	bob := newApp(t, s, "bob")
	client := make(chan *godwit.Client, 1)
	var b *godwit.Client
	const n = 600 // more than the store may lag behind
	bob.onMsg = func(m godwit.Message) {
		if b == nil {
			b = <-client
		}
		if m.Sender == "bob" {
			return
		}
		if _, err := b.SendText(within(t), m.Sender, "echo "+m.Text()); err != nil {
			t.Error(err)
		}
		if err := b.MarkRead(m.Conversation, m.Seq); err != nil {
			t.Error(err)
		}
		if m.Seq == 1 {
			if _, err := b.History(within(t), m.Conversation, 0, 3); err != nil {
				t.Error(err)
			}
			if _, err := b.FetchConversations(within(t)); err != nil {
				t.Error(err)
			}
			b.State()
			b.Outbox()
		}
	}
	client <- bob.dial()
	for i := range n {
		s.Say("alice", "bob", fmt.Sprint(i))
	}
	bob.untilSeqs(direct("alice", "bob"), 1, 2*n)
}

// TestSlowHandlerCostsOnlyItself has the first callback wait for the acks of
// many messages, while more arrive than are kept, over several heartbeats.
func TestSlowHandlerCostsOnlyItself(t *testing.T) {
	t.Parallel()
	s := startServer(t, fakeserver.Config{Heartbeat: 500 * time.Millisecond})
	bob := newApp(t, s, "bob")
	release := make(chan struct{})
	var once sync.Once
	bob.onMsg = func(godwit.Message) { once.Do(func() { <-release }) }
	b := bob.dial()
	const pushed, sent = 5000, 100
	for i := range pushed {
		s.Say("alice", "bob", fmt.Sprint(i))
	}
	for i := range sent {
		out, err := b.SendText(within(t), "alice", fmt.Sprint(i))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := out.Sent(within(t)); err != nil {
			t.Fatal(err)
		}
	}
	if !onOneConnection(s, "bob", protocol.TypePing, 2) {
		t.Error("no heartbeats")
	}
	close(release)
	bob.untilSeqs(direct("alice", "bob"), 1, pushed+sent)
}

// TestCloseFlushes closes right after Send: with a connection, the message is
// sent and the delivery of what was handed is marked.
func TestCloseFlushes(t *testing.T) {
	s := startServer(t, fakeserver.Config{MaxInFlight: 3})
	conv := direct("alice", "bob")
	alice := newApp(t, s, "alice")
	a := alice.dial()
	s.Say("bob", "alice", "hello")
	alice.untilSeqs(conv, 1, 1)
	var last *godwit.Outgoing
	for i := range 50 {
		out, err := a.SendText(within(t), "bob", fmt.Sprint(i))
		if err != nil {
			t.Fatal(err)
		}
		last = out
	}
	if err := a.MarkRead(conv, 1); err != nil {
		t.Fatal(err)
	}
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	if ack, err := last.Sent(context.Background()); err != nil || ack.Seq != 51 {
		t.Errorf("the last message: %+v, %v", ack, err)
	}
	if read, delivered := s.Cursors(conv, "alice"); read != 1 || delivered != 1 {
		t.Errorf("read %d, delivered %d", read, delivered)
	}
	if !s.Until(patience, func() bool { return s.Byes.Load() == 1 }) {
		t.Errorf("%d BYEs", s.Byes.Load())
	}
	if st := a.State(); st.Phase != godwit.Closed || st.Err != nil {
		t.Errorf("state %+v", st)
	}
	if n := s.Connects("alice"); n != 1 {
		t.Errorf("%d connections", n)
	}
}

// TestCloseIsBounded closes while the server does not answer.
func TestCloseIsBounded(t *testing.T) {
	t.Parallel()
	s := startServer(t, fakeserver.Config{})
	a := newApp(t, s, "alice").dial()
	s.Hang("alice")
	out, err := a.SendText(within(t), "bob", "x")
	if err != nil {
		t.Fatal(err)
	}
	closed := make(chan struct{})
	go func() { a.Close(); close(closed) }()
	select {
	case <-closed:
	case <-time.After(patience):
		t.Fatal("Close waits for the server")
	}
	if _, err := out.Sent(within(t)); !errors.Is(err, godwit.ErrClosed) {
		t.Errorf("Sent: %v", err)
	}
}

// TestCloseEndsEverything closes a client that is busy in every way, from
// several goroutines, and checks that nothing runs afterwards.
func TestCloseEndsEverything(t *testing.T) {
	s := startServer(t, fakeserver.Config{})
	alreadyThere := goleak.IgnoreCurrent()
	alice := newApp(t, s, "alice")
	var closed atomic.Bool
	alice.onMsg = func(godwit.Message) {
		if closed.Load() {
			t.Error("a callback after Close")
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	a, err := godwit.Dial(ctx, alice.opts)
	if err != nil {
		t.Fatal(err)
	}
	out, err := a.SendText(ctx, "bob", "first")
	if err != nil {
		t.Fatal(err)
	}
	var waiting sync.WaitGroup
	waiting.Go(func() {
		if err := out.Read(ctx); !errors.Is(err, godwit.ErrClosed) {
			t.Errorf("Read: %v", err)
		}
	})
	for range 3 {
		waiting.Go(func() {
			for {
				if _, err := a.SendText(ctx, "bob", "more"); err != nil {
					if !errors.Is(err, godwit.ErrClosed) && !errors.Is(err, godwit.ErrOutboxFull) {
						t.Errorf("Send: %v", err)
					}
					return
				}
			}
		})
	}
	for i := range 100 {
		s.Say("bob", "alice", fmt.Sprint(i))
	}
	for range 3 {
		waiting.Go(func() { a.Close() })
	}
	a.Close()
	closed.Store(true)
	waiting.Wait()
	if _, err := a.SendText(ctx, "bob", "too late"); !errors.Is(err, godwit.ErrClosed) {
		t.Errorf("Send: %v", err)
	}
	if err := a.MarkRead(direct("alice", "bob"), 1); !errors.Is(err, godwit.ErrClosed) {
		t.Errorf("MarkRead: %v", err)
	}
	if _, err := a.FetchConversations(ctx); !errors.Is(err, godwit.ErrClosed) {
		t.Errorf("Conversations: %v", err)
	}
	if err := goleak.Find(alreadyThere, goleak.IgnoreAnyFunction("github.com/godwit-im/godwit/sdk-go/internal/fakeserver.(*conn).read"),
		goleak.IgnoreAnyFunction("github.com/godwit-im/godwit/sdk-go/internal/fakeserver.(*conn).write")); err != nil {
		t.Error(err)
	}
}

// crashStore is a Store whose process dies at some Save: what comes later is
// lost.
type crashStore struct {
	godwit.Store
	left atomic.Int64 // Saves until the crash
}

func (s *crashStore) Save(b *godwit.Batch) error {
	if s.left.Add(-1) < 0 {
		return nil
	}
	return s.Store.Save(b)
}

// TestCrashWindow kills the process, as far as its store can tell, while
// messages are handed, and starts it again: what is handed again are the last
// few hundred, in order, and nothing is left out.
func TestCrashWindow(t *testing.T) {
	t.Parallel()
	const n, window = 2000, 256
	for _, saves := range []int64{1, 2, 3, 4, 5, 8, 12, 16} {
		s := startServer(t, fakeserver.Config{})
		conv := direct("alice", "bob")
		for i := range n {
			s.Say("bob", "alice", fmt.Sprint(i))
		}
		alice := newApp(t, s, "alice")
		store := &crashStore{Store: godwit.NewMemoryStore()}
		store.left.Store(saves)
		alice.opts.Store = store
		var handed uint64
		alice.onMsg = func(m godwit.Message) {
			if store.left.Load() >= 0 {
				handed = m.Seq // the last that was certainly handed before the crash
			}
		}
		a := alice.dial()
		alice.untilSeqs(conv, 1, n)
		a.Close()

		// Nothing new comes that would show a hole: what the store has must do.
		again := newApp(t, s, "alice")
		again.opts.Store = store.Store
		first := uint64(1)
		if snap, err := store.Load(); err != nil {
			t.Fatal(err)
		} else if len(snap.Positions) > 0 {
			first = snap.Positions[0].Seq + 1
		}
		b := again.dial()
		again.untilPhase(godwit.Online)
		again.mu.Lock()
		if !again.hasSeqs(conv, first, n) {
			t.Errorf("after %d saves: %d messages handed again, want %d to %d", saves, len(again.messages[conv]), first, n)
		}
		again.mu.Unlock()
		if first+window <= handed {
			t.Errorf("after %d saves %d was handed before the crash, and %d is after it", saves, handed, first)
		}
		b.Close()
	}
}

// TestPositionIsSavedAfterTheCallback has something saved while a callback
// runs: the message that it was given is not counted as handed yet.
func TestPositionIsSavedAfterTheCallback(t *testing.T) {
	s := startServer(t, fakeserver.Config{})
	alice := newApp(t, s, "alice")
	store := godwit.NewMemoryStore()
	alice.opts.Store = store
	inside, leave := make(chan struct{}), make(chan struct{})
	alice.onMsg = func(m godwit.Message) {
		if m.Seq == 3 {
			close(inside)
			<-leave
		}
	}
	a := alice.dial()
	for i := range 3 {
		s.Say("bob", "alice", fmt.Sprint(i))
	}
	<-inside
	if _, err := a.SendText(within(t), "carol", "saved"); err != nil {
		t.Fatal(err)
	}
	snap, err := store.Load()
	if err != nil || len(snap.Positions) == 0 {
		t.Fatal(snap, err)
	}
	for _, p := range snap.Positions {
		if p.Conversation == direct("alice", "bob") && p.Seq != 2 {
			t.Errorf("position %d while 3 is being handed", p.Seq)
		}
	}
	close(leave)
}

// badStore fails at some Save.
type badStore struct {
	godwit.Store
	left atomic.Int64
}

var errDisk = errors.New("disk on fire")

func (s *badStore) Save(b *godwit.Batch) error {
	if s.left.Add(-1) < 0 {
		return errDisk
	}
	return s.Store.Save(b)
}

func (s *badStore) Load() (*godwit.Snapshot, error) {
	if s.left.Load() < 0 {
		return nil, errDisk
	}
	return s.Store.Load()
}

func TestFailedStoreEndsTheClient(t *testing.T) {
	s := startServer(t, fakeserver.Config{})
	alice := newApp(t, s, "alice")
	store := &badStore{Store: godwit.NewMemoryStore()}
	store.left.Store(1000)
	alice.opts.Store = store
	a := alice.dial()
	alice.untilPhase(godwit.Online)
	store.left.Store(0)
	if _, err := a.SendText(within(t), "bob", "x"); !errors.Is(err, godwit.ErrStore) || !errors.Is(err, errDisk) {
		t.Errorf("Send: %v", err)
	}
	<-a.Done()
	if err := a.Close(); !errors.Is(err, errDisk) {
		t.Errorf("Close: %v", err)
	}
	if n := len(s.Messages(direct("alice", "bob"))); n > 0 {
		t.Error("a message was sent that was not stored")
	}
	if _, err := godwit.Dial(within(t), alice.opts); !errors.Is(err, errDisk) {
		t.Errorf("Dial: %v", err)
	}
}

// slowStore saves when it is told to.
type slowStore struct {
	godwit.Store
	slow   atomic.Bool
	saving chan struct{} // a Save has begun
	goOn   chan struct{}
}

func (s *slowStore) Save(b *godwit.Batch) error {
	if s.slow.Load() && len(b.Put) > 0 {
		s.saving <- struct{}{}
		<-s.goOn
	}
	return s.Store.Save(b)
}

// TestSendWithoutPatience has the context of a Send end while the store is
// writing: the message is on its way all the same, and the handle tells.
func TestSendWithoutPatience(t *testing.T) {
	s := startServer(t, fakeserver.Config{})
	alice := newApp(t, s, "alice")
	store := &slowStore{Store: godwit.NewMemoryStore(), saving: make(chan struct{}, 10), goOn: make(chan struct{})}
	alice.opts.Store = store
	a := alice.dial()
	store.slow.Store(true)
	ctx, cancel := context.WithCancel(context.Background())
	go func() { <-store.saving; cancel() }()
	out, err := a.SendText(ctx, "bob", "x")
	if !errors.Is(err, context.Canceled) || out == nil {
		t.Fatalf("got %v, %v", out, err)
	}
	if n := len(a.Outbox()); n != 1 {
		t.Errorf("%d messages in the outbox", n)
	}
	if s.Requests(protocol.TypeSend) > 0 {
		t.Error("sent before it was stored")
	}
	close(store.goOn)
	if _, err := out.Sent(within(t)); err != nil {
		t.Error(err)
	}
	if _, err := a.SendText(ctx, "bob", "x"); !errors.Is(err, context.Canceled) {
		t.Errorf("with a context that has ended: %v", err)
	}
}

// TestSeveralClients runs clients of several users in one process, some of
// which end.
func TestSeveralClients(t *testing.T) {
	s := startServer(t, fakeserver.Config{})
	const n = 20
	apps := make([]*app, n)
	var running sync.WaitGroup
	for i := range n {
		one := newApp(t, s, fmt.Sprint("user", i))
		apps[i] = one
		running.Go(func() {
			ctx, cancel := context.WithTimeout(context.Background(), patience)
			defer cancel()
			c, err := godwit.Dial(ctx, one.opts)
			if err != nil {
				t.Error(err)
				return
			}
			if i%5 == 0 {
				defer c.Close()
			} else {
				t.Cleanup(func() { c.Close() })
			}
			out, err := c.SendText(ctx, fmt.Sprint("user", (i+1)%n), "hello")
			if err == nil {
				_, err = out.Sent(ctx)
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
	running.Wait()
	for i, one := range apps {
		if i%5 != 0 {
			one.untilSeqs(direct(fmt.Sprint("user", i), fmt.Sprint("user", (i+n-1)%n)), 1, 1)
		}
	}
}
