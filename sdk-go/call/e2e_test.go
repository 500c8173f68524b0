package call

import (
	"context"
	"errors"
	"path/filepath"
	"testing"
	"time"

	"github.com/godwit-im/godwit/protocol/pb"
	godwit "github.com/godwit-im/godwit/sdk-go"
	"github.com/godwit-im/godwit/server"
	"github.com/godwit-im/godwit/session"
)

// patience is how long a test waits for what must come. No test that passes waits
// it out.
const patience = time.Minute

// node is a server.
type node struct {
	t    *testing.T
	srv  *server.Server
	conf server.Config
}

func startNode(t *testing.T) *node {
	t.Helper()
	keys, err := session.GenerateKeySet(session.EdDSA)
	must(t, err)
	n := &node{t: t, conf: server.DefaultConfig()}
	n.conf.Net.Addr, n.conf.Admin.Addr = "127.0.0.1:0", "127.0.0.1:0"
	n.conf.Store.Dir, n.conf.Store.MinFree = filepath.Join(t.TempDir(), "data"), 0
	n.conf.Auth.Keys = keys
	n.start()
	t.Cleanup(func() { _ = n.srv.Close() })
	return n
}

func (n *node) start() {
	n.t.Helper()
	var err error
	n.srv, err = server.New(n.conf)
	must(n.t, err)
	must(n.t, n.srv.Start())
	n.conf.Net.Addr = n.srv.Addr()
}

// phone is a device with a client. Its time stands still unless it is told.
type phone struct {
	t      *testing.T
	client *godwit.Client
	calls  *Calls
	clock  *fakeClock
	came   chan *Call
	states chan Status
	heard  chan string
	online chan struct{}
}

func (n *node) phone(user, device string) *phone {
	n.t.Helper()
	p := &phone{
		t: n.t, clock: newClock(),
		came: make(chan *Call, 100), states: make(chan Status, 100), heard: make(chan string, 100), online: make(chan struct{}, 100),
	}
	p.calls = New(Options{Clock: p.clock, Handler: Handler{
		OnCall: func(c *Call) {
			p.came <- c
			if err := c.Ring(); err != nil {
				n.t.Errorf("%s/%s does not ring: %v", user, device, err)
			}
		},
		OnState:   func(_ *Call, s Status) { p.states <- s },
		OnPayload: func(_ *Call, b []byte) { p.heard <- string(b) },
	}})
	a := &n.conf.Auth
	var err error
	p.client, err = godwit.Dial(p.context(), godwit.Options{
		Addr: n.srv.Addr(), Device: device, Backoff: godwit.Backoff{Min: time.Millisecond, Max: 20 * time.Millisecond},
		Token: func(context.Context) (string, error) {
			return session.Sign(a.Keys, "", a.Algorithm, a.Issuer, a.Audience, user, time.Hour, time.Now())
		},
		Handler: godwit.Handler{
			OnSignal: func(s godwit.Signal) { p.calls.Handle(s) },
			OnState: func(s godwit.State) {
				if s.Phase == godwit.Online {
					p.online <- struct{}{}
				}
			},
		},
	})
	must(n.t, err)
	n.t.Cleanup(func() {
		p.calls.Close(p.context())
		must(n.t, p.client.Close())
	})
	p.calls.Attach(p.client)
	wait(p, "being online", p.online)
	return p
}

func (p *phone) context() context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	p.t.Cleanup(cancel)
	return ctx
}

// wait is for what must come.
func wait[T any](p *phone, what string, from <-chan T) T {
	p.t.Helper()
	select {
	case v := <-from:
		return v
	case <-time.After(patience):
		p.t.Fatalf("it never came: %s", what)
		panic("unreachable")
	}
}

// becomes waits for the states that a device is told next.
func (p *phone) becomes(want ...string) (s Status) {
	p.t.Helper()
	for _, text := range want {
		if s = wait(p, text, p.states); statusText(s) != text {
			p.t.Fatalf("%s, want %s", statusText(s), text)
		}
	}
	return s
}

// acquainted has alice and bob have written to each other, so that they may call.
func acquainted(t *testing.T) (n *node, alice, bobPhone, bobTablet *phone) {
	n = startNode(t)
	alice, bobPhone, bobTablet = n.phone("alice", "phone"), n.phone("bob", "phone"), n.phone("bob", "tablet")
	out, err := alice.client.SendText(alice.context(), "bob", "may I call?")
	must(t, err)
	_, err = out.Sent(alice.context())
	must(t, err)
	return n, alice, bobPhone, bobTablet
}

// A call over real connections, to a user with two devices.
func TestOverTCP(t *testing.T) {
	_, alice, bob, tablet := acquainted(t)
	c, err := alice.calls.Place("bob", []byte("offer"))
	must(t, err)
	incoming := wait(bob, "the call", bob.came)
	wait(tablet, "the call", tablet.came)
	bob.becomes("ringing")
	tablet.becomes("ringing")
	alice.becomes("ringing")

	must(t, incoming.Accept([]byte("answer")))
	tablet.becomes("Ended: answered elsewhere")
	bob.becomes("accepting", "active")
	if s := alice.becomes("active"); s.Device != "phone" || string(c.Answer()) != "answer" || string(incoming.Offer()) != "offer" {
		t.Errorf("%+v, offer %q, answer %q", s, incoming.Offer(), c.Answer())
	}
	for _, p := range []string{"1", "2", "3"} {
		must(t, c.Send([]byte(p)))
		must(t, incoming.Send([]byte("-"+p)))
	}
	for _, p := range []string{"1", "2", "3"} {
		if got := wait(bob, "a payload", bob.heard); got != p {
			t.Errorf("bob heard %q, want %q", got, p)
		}
		if got := wait(alice, "a payload", alice.heard); got != "-"+p {
			t.Errorf("alice heard %q, want %q", got, p)
		}
	}
	must(t, incoming.HangUp())
	bob.becomes("Ended: hung up")
	alice.becomes("Ended: hung up")

	// And one that nobody answers.
	_, err = alice.calls.Place("bob", nil)
	must(t, err)
	wait(bob, "the call", bob.came)
	bob.becomes("ringing")
	tablet.becomes("ringing")
	alice.becomes("ringing")
	alice.clock.advance(DefaultTimes().Ring, func() {})
	for _, p := range []*phone{alice, bob, tablet} {
		p.becomes("Ended: timed out")
	}
}

// The server goes away while it rings: what was said meanwhile is said again, and
// a call that goes on is not ended by it.
func TestServerRestarts(t *testing.T) {
	n, alice, bob, tablet := acquainted(t)
	c, err := alice.calls.Place("bob", nil)
	must(t, err)
	alice.becomes("ringing")
	incoming := wait(bob, "the call", bob.came)
	bob.becomes("ringing")
	tablet.becomes("ringing")

	must(t, n.srv.Shutdown(t.Context()))
	untilOffline(alice, bob, tablet)
	must(t, incoming.Accept(nil)) // is lost
	bob.becomes("accepting")
	n.start()
	for _, p := range []*phone{alice, bob, tablet} {
		wait(p, "being online again", p.online)
	}
	bob.clock.advance(DefaultTimes().Accept, func() {})
	bob.becomes("active")
	alice.becomes("active")
	tablet.becomes("Ended: answered elsewhere")

	must(t, n.srv.Shutdown(t.Context()))
	untilOffline(alice, bob)
	alice.clock.advance(time.Hour, func() {})
	must(t, c.Send([]byte("later")))
	alice.until("it was not taken", func() bool { return c.flying == 0 })
	n.start()
	wait(alice, "being online again", alice.online)
	wait(bob, "being online again", bob.online)
	alice.clock.advance(DefaultTimes().Alive, func() {})
	if got := wait(bob, "a payload", bob.heard); got != "later" {
		t.Errorf("bob heard %q", got)
	}
	wantStatus(t, c, "active")
	wantStatus(t, incoming, "active")
}

// untilOffline waits until devices know that the server has gone.
func untilOffline(phones ...*phone) {
	for _, p := range phones {
		tick := time.NewTicker(time.Millisecond) // the state is told later than it is
		limit := time.After(patience)
		for p.client.State().Phase != godwit.Waiting && p.client.State().Phase != godwit.Connecting {
			select {
			case <-tick.C:
			case <-limit:
				p.t.Fatal("the server does not go away")
			}
		}
		tick.Stop()
	}
}

// The other device goes without a word.
func TestPeerGoesAwayOverTCP(t *testing.T) {
	_, alice, bob, tablet := acquainted(t)
	c, err := alice.calls.Place("bob", nil)
	must(t, err)
	must(t, wait(bob, "the call", bob.came).Accept(nil))
	alice.becomes("ringing")
	alice.becomes("active")
	tablet.becomes("ringing", "Ended: answered elsewhere")
	must(t, bob.client.Close())
	times := DefaultTimes()
	for i := 1; i < int(times.Lost/times.Alive); i++ {
		alice.clock.advance(times.Alive, func() {})
		alice.until("a sign of life is taken", func() bool { return c.unheard == i })
	}
	wantStatus(t, c, "active")
	alice.clock.advance(times.Alive, func() {})
	alice.becomes("Ended: lost")
}

// until waits until something holds, which is looked at with the lock held.
func (p *phone) until(what string, cond func() bool) {
	p.t.Helper()
	tick := time.NewTicker(time.Millisecond) // nothing tells of it
	defer tick.Stop()
	limit := time.After(patience)
	for {
		p.calls.mu.Lock()
		is := cond()
		p.calls.mu.Unlock()
		if is {
			return
		}
		select {
		case <-tick.C:
		case <-limit:
			p.t.Fatalf("it never came to be: %s", what)
		}
	}
}

// Who may not signal may not call.
func TestStrangersAreRefused(t *testing.T) {
	n := startNode(t)
	alice := n.phone("alice", "phone")
	c, err := alice.calls.Place("carol", nil)
	must(t, err)
	if s := alice.becomes("Ended: refused"); godwit.CodeOf(s.Err) != pb.Code_CODE_NOT_A_MEMBER {
		t.Errorf("%v", s.Err)
	}
	if err := c.HangUp(); !errors.Is(err, ErrState) {
		t.Errorf("%v", err)
	}
}
