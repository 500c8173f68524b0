package call

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/godwit-im/godwit/protocol"
	"github.com/godwit-im/godwit/protocol/pb"
	godwit "github.com/godwit-im/godwit/sdk-go"
)

// A caller invites again and again, and gives up.
func TestNobodyAnswers(t *testing.T) {
	times := DefaultTimes()
	b := newBench(t)
	c := b.place(t, "bob", "offer")
	b.wantSaid("call.invite")
	b.pass(times.Invite - 1)
	b.wantSaid()
	b.pass(1)
	b.wantSaid("call.invite")
	b.hears("bob/phone", kindRing, &pb.CallSignal{Call: c.ID()})
	b.pass(times.Ring - times.Invite - 1)
	wantStatus(t, c, "ringing")
	if got := len(b.said()); got != int(times.Ring/times.Invite)-2 {
		t.Errorf("%d invitations", got)
	}
	b.pass(1)
	wantStatus(t, c, "Ended: timed out")
	b.wantSaid("call.hangup timeout")
	b.pass(time.Hour)
	b.wantSaid()
	b.wantTold(t, "ringing", "Ended: timed out")
}

// A device rings for as long as it is invited.
func TestInvitationsEnd(t *testing.T) {
	times := DefaultTimes()
	b := newBench(t)
	c := calleeRinging(b)
	b.pass(times.Silence - 1)
	b.hears("bob/phone", kindInvite, &pb.CallSignal{Call: c.ID()})
	b.hears("bob/tablet", kindInvite, &pb.CallSignal{Call: c.ID()}) // not the caller's device
	b.pass(times.Silence - 1)
	wantStatus(t, c, "ringing")
	b.pass(1)
	wantStatus(t, c, "Ended: lost")
	b.said()

	// If it was this device that was away, it rings again.
	b.hears("bob/phone", kindInvite, &pb.CallSignal{Call: c.ID()})
	if len(b.all) != 2 || b.all[1] == c {
		t.Fatalf("%d calls", len(b.all))
	}
	wantStatus(t, b.all[1], "invited")
	wantStatus(t, c, "Ended: lost")

	// A caller who never stops is not listened to for ever.
	for range int((times.Ring+times.Silence)/times.Invite) - 1 {
		b.pass(times.Invite)
		b.hears("bob/phone", kindInvite, &pb.CallSignal{Call: c.ID()})
	}
	wantStatus(t, b.all[1], "invited")
	b.pass(times.Invite)
	wantStatus(t, b.all[1], "Ended: timed out")
	b.hears("bob/phone", kindInvite, &pb.CallSignal{Call: c.ID()})
	if len(b.all) != 2 {
		t.Error("and is listened to again")
	}
}

// An acceptance is repeated until it is confirmed, or it is no use.
func TestAcceptIsConfirmed(t *testing.T) {
	times := DefaultTimes()
	b := newBench(t)
	c := calleeAccepting(b)
	b.wantSaid("call.ring to bob/phone", "call.accept")
	b.pass(times.Accept)
	b.wantSaid("call.accept")
	b.hears("bob/phone", kindConfirm, &pb.CallSignal{Call: c.ID()})
	wantStatus(t, c, "active")
	b.pass(times.Alive - 1)
	b.wantSaid()

	b = newBench(t)
	c = calleeAccepting(b)
	b.pass(times.Confirm - 1)
	wantStatus(t, c, "accepting")
	b.said()
	b.pass(1)
	wantStatus(t, c, "Ended: lost")
	b.wantSaid("call.hangup")
	b.pass(time.Hour)
	b.wantSaid()
}

// The other device goes away during a call. It counts only while this one is there.
func TestPeerGoesAway(t *testing.T) {
	times := DefaultTimes()
	for _, place := range []string{"caller Active", "callee Active"} {
		b, c := at(t, place)
		b.pass(times.Alive)
		b.wantSaid("call.alive to bob/phone")
		b.fail = godwit.ErrNotConnected
		b.pass(10 * times.Lost)
		wantStatus(t, c, "active")
		b.said()
		b.fail = nil
		b.pass(times.Lost - 2*times.Alive)
		b.hears("bob/phone", kindAlive, &pb.CallSignal{Call: c.ID()})
		b.hears("bob/tablet", kindAlive, &pb.CallSignal{Call: c.ID()})
		b.pass(times.Lost - times.Alive)
		wantStatus(t, c, "active")
		b.said()
		b.pass(times.Alive)
		wantStatus(t, c, "Ended: lost")
		b.wantSaid("call.alive to bob/phone", "call.hangup")
	}
}

// Two devices of which nothing is lost stay in a call for as long as they like,
// and one whose program is started anew has it end.
func TestLongCall(t *testing.T) {
	n, alice, _, phone, _ := four()
	c := alice.place(t, "bob", "offer")
	n.settle()
	must(t, phone.one(t).Accept(nil))
	n.pass(time.Hour)
	wantStatus(t, c, "active")
	wantStatus(t, phone.one(t), "active")
	phone.start()
	n.pass(DefaultTimes().Alive)
	wantStatus(t, c, "Ended: hung up")
}

// The caller goes away while it rings, and as somebody answers.
func TestCallerGoesAway(t *testing.T) {
	n, alice, _, phone, tablet := four()
	alice.place(t, "bob", "offer")
	n.settle()
	alice.start()
	n.devices = n.devices[1:]
	must(t, phone.one(t).Accept(nil))
	n.flying = nil // the tablet does not hear of it
	n.clock.advance(DefaultTimes().Confirm, func() { n.flying = nil })
	wantStatus(t, phone.one(t), "Ended: lost")
	n.pass(DefaultTimes().Silence - DefaultTimes().Confirm)
	wantStatus(t, tablet.one(t), "Ended: lost")
}

// A hang-up that is lost is made good by whatever the other device says next.
func TestLostHangup(t *testing.T) {
	n, alice, _, phone, tablet := four()
	c := alice.place(t, "bob", "offer")
	n.settle()
	must(t, phone.one(t).Accept(nil))
	n.settle()
	must(t, c.HangUp())
	n.flying = nil
	n.pass(DefaultTimes().Alive)
	wantStatus(t, phone.one(t), "Ended: hung up")

	second := alice.place(t, "bob", "offer")
	n.settle()
	must(t, tablet.all[1].Reject())
	n.flying = nil
	n.pass(DefaultTimes().Invite)
	wantStatus(t, second, "Ended: rejected")
}

// What the server does not let through.
func TestRefused(t *testing.T) {
	final := fmt.Errorf("godwit: %w", protocol.Errorf(pb.Code_CODE_NOT_ALLOWED, "no"))
	for name, tc := range map[string]struct {
		err  error
		want string
	}{
		"blocked":       {final, "Ended: refused"},
		"the client is": {fmt.Errorf("%w: x", godwit.ErrClosed), "Ended: lost"},
		"busy":          {protocol.Errorf(pb.Code_CODE_RATE_LIMITED, "slow"), "inviting"},
		"no connection": {godwit.ErrNotConnected, "inviting"},
	} {
		b := newBench(t)
		b.fail = tc.err
		c := b.place(t, "bob", "offer")
		b.net.settle()
		wantStatus(t, c, tc.want)
		if s := c.Status(); s.State == Ended && !errors.Is(s.Err, tc.err) {
			t.Errorf("%s: %v", name, s.Err)
		}
		b.fail = nil
		b.said()
		b.pass(DefaultTimes().Invite)
		if got := len(b.said()); got != map[bool]int{true: 0, false: 1}[c.Status().State == Ended] {
			t.Errorf("%s: %d signals later", name, got)
		}
	}
	b, c := at(t, "caller Active")
	b.fail = final
	must(t, c.Send([]byte("x")))
	b.net.settle()
	wantStatus(t, c, "Ended: refused")
	b.wantSaid("call.candidate to bob/phone", "call.hangup")
}
