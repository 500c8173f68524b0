package godwit_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/godwit-im/godwit/protocol"
	godwit "github.com/godwit-im/godwit/sdk-go"
	"github.com/godwit-im/godwit/sdk-go/internal/fakeserver"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is how long tests wait for what must happen. It is never waited out by
// a test that passes.
const patience = 2 * time.Minute

// quick is a backoff for tests.
var quick = godwit.Backoff{Min: time.Millisecond, Max: 20 * time.Millisecond}

func startServer(t testing.TB, cfg fakeserver.Config) *fakeserver.Server {
	t.Helper()
	s, err := fakeserver.Start(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		s.Close()
		for _, v := range s.Violations() {
			if cfg.Heartbeat > 0 && strings.Contains(v, "silent") {
				// With an interval that short so is a client on a machine that is busy
				// with others. Tests that set one look at its pings.
				continue
			}
			t.Errorf("the client broke the protocol: %s", v)
		}
	})
	return s
}

func asUser(user string) func(context.Context) (string, error) {
	return func(context.Context) (string, error) { return user, nil }
}

// app is an application: it records what its client's handler is told.
type app struct {
	t    testing.TB
	opts godwit.Options

	mu       sync.Mutex // guards the rest
	messages map[string][]godwit.Message
	changes  []godwit.MessageChange
	receipts []godwit.Receipt
	states   []godwit.State
	gaps     []string
	resets   []string
	changed  chan struct{} // closed, and made anew, with each of these
	onMsg    func(godwit.Message)
}

func newApp(t testing.TB, s *fakeserver.Server, user string) *app {
	a := &app{t: t, messages: make(map[string][]godwit.Message), changed: make(chan struct{})}
	a.opts = godwit.Options{
		Addr: s.Addr(), Token: asUser(user), Device: user + "-1", Backoff: quick, Logger: testLog(),
		Handler: godwit.Handler{
			OnMessage: func(m godwit.Message) {
				a.mu.Lock()
				hook := a.onMsg
				a.mu.Unlock()
				if hook != nil {
					hook(m)
				}
				a.record(func() {
					all := a.messages[m.Conversation]
					if n := len(all); n > 0 && all[n-1].Seq >= m.Seq {
						a.t.Errorf("%s was handed seq %d after %d", user, m.Seq, all[n-1].Seq)
					}
					a.messages[m.Conversation] = append(all, m)
				})
			},
			OnMessageChanged: func(c godwit.MessageChange) { a.record(func() { a.changes = append(a.changes, c) }) },

			OnReceipt: func(r godwit.Receipt) { a.record(func() { a.receipts = append(a.receipts, r) }) },
			OnState:   func(s godwit.State) { a.record(func() { a.states = append(a.states, s) }) },
			OnGap: func(conversation string, from, to uint64) {
				a.record(func() { a.gaps = append(a.gaps, fmt.Sprintf("%s %d-%d", conversation, from, to)) })
			},
			OnReset: func(conversation string) {
				a.record(func() {
					a.resets = append(a.resets, conversation)
					delete(a.messages, conversation)
				})
			},
		},
	}
	return a
}

func testLog() *slog.Logger {
	var w io.Writer = io.Discard
	if os.Getenv("GODWIT_TEST_LOG") != "" {
		w = os.Stderr
	}
	return slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

func (a *app) record(f func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	f()
	close(a.changed)
	a.changed = make(chan struct{})
}

// dial connects, and closes the client at the end of the test.
func (a *app) dial() *godwit.Client {
	a.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	c, err := godwit.Dial(ctx, a.opts)
	if err != nil {
		a.t.Fatal(err)
	}
	a.t.Cleanup(func() { c.Close() })
	return c
}

// until waits until cond, which is called with mu held, holds.
func (a *app) until(what string, cond func() bool) {
	a.t.Helper()
	timeout := time.NewTimer(patience)
	defer timeout.Stop()
	for {
		a.mu.Lock()
		changed, ok := a.changed, cond()
		a.mu.Unlock()
		if ok {
			return
		}
		select {
		case <-changed:
		case <-timeout.C:
			a.t.Fatalf("never happened: %s", what)
		}
	}
}

// hasSeqs reports whether the messages from seq from to seq to were handed, in
// this order, and nothing else. mu is held.
func (a *app) hasSeqs(conversation string, from, to uint64) bool {
	all := a.messages[conversation]
	if uint64(len(all)) != to-from+1 {
		return false
	}
	for i, m := range all {
		if m.Seq != from+uint64(i) {
			a.t.Errorf("seq %d handed in place of %d", m.Seq, from+uint64(i))
		}
	}
	return true
}

func (a *app) untilSeqs(conversation string, from, to uint64) {
	a.t.Helper()
	a.until(fmt.Sprintf("seqs %d to %d of %s", from, to, conversation), func() bool { return a.hasSeqs(conversation, from, to) })
}

// received returns what was handed of a conversation.
func (a *app) received(conversation string) []godwit.Message {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clone(a.messages[conversation])
}

func (a *app) untilPhase(p godwit.Phase) {
	a.t.Helper()
	a.until("phase "+p.String(), func() bool {
		return slices.ContainsFunc(a.states, func(s godwit.State) bool { return s.Phase == p })
	})
}

func within(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

// onOneConnection waits until the only user sends n requests of a type on a
// connection, however many were lost because the machine held one of the two up.
func onOneConnection(s *fakeserver.Server, user string, typ protocol.Type, n int) bool {
	connects, before := -1, 0
	return s.Until(patience, func() bool {
		requests := s.Requests(typ)
		if now := s.Connects(user); now != connects {
			connects, before = now, requests
		}
		return requests >= before+n
	})
}

func direct(a, b string) string { return protocol.DirectID(a, b) }
