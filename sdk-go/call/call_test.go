package call

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/godwit-im/godwit/protocol/pb"
	godwit "github.com/godwit-im/godwit/sdk-go"
)

// four is two users with two devices each. All devices of the callee ring.
func four() (n *network, phone, laptop, bobPhone, bobTablet *device) {
	n = newNetwork()
	phone, laptop = n.device("alice", "phone"), n.device("alice", "laptop")
	bobPhone, bobTablet = n.device("bob", "phone"), n.device("bob", "tablet")
	for _, d := range n.devices {
		d.onCall = func(c *Call) { _ = c.Ring() }
	}
	return n, phone, laptop, bobPhone, bobTablet
}

func TestAnsweredElsewhere(t *testing.T) {
	n, alice, laptop, phone, tablet := four()
	c := alice.place(t, "bob", "offer")
	n.settle()
	alice.wantTold(t, "ringing")
	must(t, phone.one(t).Accept([]byte("answer")))
	n.settle()
	alice.wantTold(t, "active")
	phone.wantTold(t, "call from alice", "ringing", "accepting", "active")
	tablet.wantTold(t, "call from alice", "ringing", "Ended: answered elsewhere")
	laptop.wantTold(t)
	if s := c.Status(); s.Device != "phone" || string(c.Answer()) != "answer" || string(phone.one(t).Offer()) != "offer" {
		t.Errorf("%+v, answer %q", s, c.Answer())
	}

	must(t, c.Send([]byte("a")))
	must(t, c.Send([]byte("b")))
	must(t, phone.one(t).Send([]byte("c")))
	n.settle()
	phone.wantTold(t, "payload a", "payload b")
	alice.wantTold(t, "payload c")
	must(t, phone.one(t).HangUp())
	n.settle()
	alice.wantTold(t, "Ended: hung up")
	for _, err := range []error{c.HangUp(), c.Accept(nil), c.Ring(), c.Reject(), c.Busy(), c.Send(nil)} {
		if !errors.Is(err, ErrState) {
			t.Errorf("of a call that is over: %v", err)
		}
	}
	n.pass(time.Hour)
	for _, d := range n.devices {
		if len(n.clock.timers) > 0 || d.calls.ongoing() > 0 {
			t.Errorf("%v has calls: %v", d, d.calls.calls)
		}
	}
}

// Two devices answer at once: the caller takes the first, and the other learns it.
func TestTwoDevicesAnswer(t *testing.T) {
	for _, lost := range []bool{false, true} {
		n, alice, _, phone, tablet := four()
		alice.place(t, "bob", "offer")
		n.settle()
		must(t, tablet.one(t).Accept([]byte("tablet's")))
		if lost {
			n.flying = nil // so the phone's is the first
		}
		must(t, phone.one(t).Accept([]byte("phone's")))
		n.pass(DefaultTimes().Accept)
		winner, loser := tablet, phone
		if lost {
			winner, loser = phone, tablet
		}
		wantStatus(t, winner.one(t), "active")
		wantStatus(t, loser.one(t), "Ended: answered elsewhere")
		if got := string(alice.one(t).Answer()); got != winner.name+"'s" {
			t.Errorf("the caller has the answer of the %q", got)
		}
	}
}

// Both call each other at once: the call with the lesser id stays, and no other.
func TestGlare(t *testing.T) {
	first := make(map[string]bool)
	for range 100 {
		n, alice, laptop, bob, tablet := four()
		mine, theirs := alice.place(t, "bob", "alice's"), bob.place(t, "alice", "bob's")
		stays, goes, callee := mine, theirs, bob
		if theirs.ID() < mine.ID() {
			stays, goes, callee = theirs, mine, alice
		}
		first[stays.User()] = true
		n.settle()
		wantStatus(t, stays, "ringing")
		wantStatus(t, goes, "Ended: replaced")
		in := callee.all[len(callee.all)-1]
		if !in.Mutual() || in.ID() != stays.ID() || string(in.Offer()) != string(stays.Offer()) {
			t.Fatalf("%v has %+v", callee, in)
		}
		must(t, in.Accept(nil))
		n.settle()
		wantStatus(t, stays, "active")
		wantStatus(t, in, "active")
		for _, d := range []*device{laptop, tablet} {
			if d.calls.ongoing() > 0 {
				t.Errorf("%v is still ringing: %q", d, d.told)
			}
		}
		if len(first) == 2 {
			return
		}
	}
	t.Error("the same user's call stays each time")
}

func TestBusy(t *testing.T) {
	n, alice, laptop, phone, tablet := four()
	carol := n.device("carol", "phone")
	alice.place(t, "bob", "offer")
	n.settle()
	must(t, tablet.one(t).Accept(nil))
	n.settle()
	if _, err := tablet.calls.Place("carol", nil); !errors.Is(err, ErrBusy) {
		t.Errorf("a second call: %v", err)
	}

	// One device is busy, and the other rings, and has said so first: it goes on.
	second := carol.place(t, "bob", "offer")
	n.pass(DefaultTimes().Ring - time.Second)
	wantStatus(t, second, "ringing")
	must(t, second.HangUp())
	n.settle()
	wantStatus(t, phone.all[1], "Ended: hung up")

	// All that are there are busy, and the caller is told soon.
	phone.onCall = func(c *Call) { must(t, c.Busy()) }
	third := laptop.place(t, "bob", "offer")
	n.pass(DefaultTimes().Busy - time.Millisecond)
	wantStatus(t, third, "inviting")
	n.pass(time.Millisecond)
	wantStatus(t, third, "Ended: busy")

	// A device that rang, and then is busy, takes longer: it might have been another.
	phone.onCall = func(c *Call) { must(t, c.Ring()) }
	fourth := carol.place(t, "bob", "offer")
	n.settle()
	must(t, phone.all[len(phone.all)-1].Busy())
	n.pass(DefaultTimes().Invite + DefaultTimes().Busy)
	wantStatus(t, fourth, "Ended: busy")
	wantStatus(t, alice.one(t), "active")
}

// What is not of this call, or not of a call at all.
func TestStrangeSignals(t *testing.T) {
	b := newBench(t)
	c := calleeActive(b)
	b.said()
	before := c.Status()
	hangup, err := proto.Marshal(&pb.CallSignal{Call: c.ID()})
	must(t, err)
	noID, err := proto.Marshal(&pb.CallSignal{Call: "no/id"})
	must(t, err)
	good := godwit.Signal{Conversation: "d:alice:bob", User: "bob", Device: "phone", Type: kindHangup, Body: hangup}
	for name, change := range map[string]func(*godwit.Signal){
		"another user's":  func(s *godwit.Signal) { s.User, s.Conversation = "carol", "d:alice:carol" },
		"in a group":      func(s *godwit.Signal) { s.Conversation = "g:bob:x" },
		"a stranger's":    func(s *godwit.Signal) { s.User = "carol" },
		"not this user's": func(s *godwit.Signal) { s.Conversation = "d:bob:carol" },
		"garbage":         func(s *godwit.Signal) { s.Body = []byte{0xff} },
		"without an id":   func(s *godwit.Signal) { s.Body = nil },
		"with a bad id":   func(s *godwit.Signal) { s.Body = noID },
		"of a later type": func(s *godwit.Signal) { s.Type = "call.later" },
	} {
		s := good
		change(&s)
		if !b.calls.Handle(s) {
			t.Errorf("%s: not about a call", name)
		}
		b.net.settle()
		if said := b.said(); c.Status() != before || len(said) > 0 {
			t.Errorf("%s: %+v, says %q", name, c.Status(), said)
		}
	}
	if b.calls.Handle(godwit.Signal{Type: "typing"}) {
		t.Error("typing is no call")
	}
	b.calls.Handle(good)
	wantStatus(t, c, "Ended: hung up")

	// A device that takes no calls.
	none := newCalls(Options{Clock: newClock()})
	none.Handle(good) // before Attach
	none.attach("alice", func(s godwit.Signal, _ func(error)) { t.Errorf("it says %s", s.Type) })
	s := good
	s.Type = kindInvite
	none.Handle(s)
	if none.ongoing() > 0 {
		t.Error("it has a call")
	}
}

func TestPlaceIsRefused(t *testing.T) {
	clock := newClock()
	cs := newCalls(Options{Clock: clock, Max: 2})
	if _, err := cs.Place("bob", nil); !errors.Is(err, godwit.ErrNotConnected) {
		t.Errorf("before Attach: %v", err)
	}
	cs.attach("alice", func(godwit.Signal, func(error)) {})
	for _, user := range []string{"alice", "", "b:b"} {
		if _, err := cs.Place(user, nil); godwit.CodeOf(err) == 0 {
			t.Errorf("to %q: %v", user, err)
		}
	}
	if _, err := cs.Place("bob", nil); err != nil {
		t.Errorf("to one: %v", err)
	}
	if _, err := cs.Place("bob", nil); !errors.Is(err, ErrBusy) {
		t.Errorf("twice to one user: %v", err)
	}
	if _, err := cs.Place("carol", nil); err != nil {
		t.Errorf("to two users: %v", err)
	}
	if _, err := cs.Place("dave", nil); !errors.Is(err, ErrBusy) {
		t.Errorf("past the limit: %v", err)
	}
	clock.now = clock.now.Add(time.Second)
	must(t, cs.Ongoing()[0].HangUp())
	if _, err := cs.Place("dave", nil); err != nil {
		t.Errorf("after one has ended: %v", err)
	}
	all := cs.Ongoing()
	if len(all) != 2 || all[1].User() != "dave" {
		t.Errorf("%d calls go on", len(all))
	}
}

// Close hangs up what goes on, and leaves what rings to the other devices.
func TestClose(t *testing.T) {
	var told []string
	handler := Handler{OnState: func(_ *Call, s Status) { told = append(told, statusText(s)) }, OnCall: func(*Call) {}}
	cs := New(Options{Clock: newClock(), Handler: handler, Max: 2})
	var sent []string
	cs.attach("alice", func(s godwit.Signal, _ func(error)) { sent = append(sent, s.Type) })
	placed, err := cs.Place("bob", nil)
	must(t, err)
	body, err := proto.Marshal(&pb.CallSignal{Call: "c1"})
	must(t, err)
	cs.Handle(godwit.Signal{Conversation: "d:alice:carol", User: "carol", Device: "phone", Type: kindInvite, Body: body})
	cs.Close(context.Background())
	cs.Close(context.Background())
	if want := []string{kindInvite, kindHangup}; !slices.Equal(sent, want) {
		t.Errorf("%q, want %q", sent, want)
	}
	if want := []string{"Ended: hung up", "Ended: hung up"}; !slices.Equal(told, want) {
		t.Errorf("told %q, want %q", told, want)
	}
	wantStatus(t, placed, "Ended: hung up")
	if _, err := cs.Place("bob", nil); !errors.Is(err, godwit.ErrClosed) {
		t.Errorf("%v", err)
	}
	cs.Handle(godwit.Signal{Conversation: "d:alice:carol", User: "carol", Device: "phone", Type: kindAlive, Body: body})
	if len(sent) != 2 {
		t.Errorf("after Close it says %q", sent)
	}
}

// Calls that are over are forgotten in the end.
func TestOverIsBounded(t *testing.T) {
	b := newBench(t)
	for i := range 2 * maxOver {
		b.hears("bob/phone", kindInvite, &pb.CallSignal{Call: fmt.Sprint("c", i)})
		b.hears("bob/phone", kindHangup, &pb.CallSignal{Call: fmt.Sprint("c", i)})
	}
	if len(b.calls.calls) != maxOver || b.calls.ongoing() != 0 {
		t.Errorf("%d calls are kept, %d go on", len(b.calls.calls), b.calls.ongoing())
	}
	b.hears("bob/phone", kindInvite, &pb.CallSignal{Call: fmt.Sprint("c", 2*maxOver-1)})
	if b.calls.ongoing() != 0 {
		t.Error("a late invitation to a call that is over rings")
	}
}

// Nobody can have a device say more than it may.
func TestAnswersAreBounded(t *testing.T) {
	b := newBench(t)
	for range 2 {
		for i := range 10 * maxAnswers {
			b.hears("bob/phone", kindAlive, &pb.CallSignal{Call: fmt.Sprint("c", i)})
		}
		if got := len(b.said()); got != maxAnswers {
			t.Errorf("%d answers", got)
		}
		b.pass(DefaultTimes().Invite)
	}
}
