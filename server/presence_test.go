package server_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/godwit-im/godwit/protocol"
	"github.com/godwit-im/godwit/protocol/pb"
	"github.com/godwit-im/godwit/server"
)

// quick makes presence fast enough for a test to wait for it.
func quick(c *server.Config) {
	c.Presence.Delay, c.Presence.Interval, c.Presence.Retry = 100*time.Millisecond, 10*time.Millisecond, 10*time.Millisecond
}

func (c *client) subscribe(users ...string) []*pb.Presence {
	c.t.Helper()
	var m pb.Subscribed
	c.call(protocol.TypeSubscribe, &pb.Subscribe{Users: users}, protocol.TypeSubscribed, &m)
	return m.Presences
}

func TestPresenceIsTold(t *testing.T) {
	n := startNode(t, quick)
	alice := n.loginOn("alice", "phone", "ios")
	alice.send(aliceBob, "m1", "hi")
	if got := alice.subscribe("bob", "eve"); len(got) != 2 || got[0].User != "bob" || len(got[0].Platforms)+len(got[1].Platforms) != 0 {
		t.Fatalf("SUBSCRIBED %v", got)
	}
	n.loginOn("eve", "phone", "ios") // has nothing to do with alice
	phone := n.loginOn("bob", "phone", "android")
	var p pb.Presence
	alice.push(protocol.TypePresence, &p)
	if p.User != "bob" || !slices.Equal(p.Platforms, []string{"android"}) || p.LastSeenMs != 0 {
		t.Errorf("PRESENCE %v", &p)
	}
	before := time.Now().UnixMilli()
	phone.write(protocol.AppendHeader(nil, protocol.TypeBye, 0, 0))
	phone.closed()
	alice.push(protocol.TypePresence, &p)
	if p.User != "bob" || len(p.Platforms) != 0 || p.LastSeenMs < before || p.LastSeenMs > time.Now().UnixMilli() {
		t.Errorf("PRESENCE %v", &p)
	}

	if got := alice.subscribe("bob"); len(got) != 1 || got[0].LastSeenMs != p.LastSeenMs {
		t.Errorf("SUBSCRIBED %v after %v", got, &p)
	}

	// A server that stops notes that bob was there until then.
	n.loginOn("bob", "phone", "android")
	alice.push(protocol.TypePresence, &p)
	stopping := time.Now().UnixMilli()
	if err := n.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	n.start()
	got := n.login("alice", "phone").subscribe("bob")
	if len(got) != 1 || got[0].LastSeenMs < stopping || got[0].LastSeenMs > time.Now().UnixMilli() || len(got[0].Platforms) != 0 {
		t.Errorf("after a restart %v, which began at %d", got, stopping)
	}
}

// A connection that breaks and comes back within the delay is no news.
func TestReconnectingIsNoNews(t *testing.T) {
	clock := newClock()
	n := startNode(t, func(c *server.Config) { c.Presence.Now = clock.now })
	alice, tablet := n.loginOn("alice", "phone", "ios"), n.loginOn("alice", "tablet", "ios")
	alice.send(aliceBob, "m1", "hi")
	n.loginOn("bob", "phone", "android")
	alice.subscribe("bob")
	tablet.subscribe("bob")
	for range 20 {
		phone := n.loginOn("bob", "phone", "android") // replaces the one before
		_ = phone.nc.Close()
	}
	n.loginOn("bob", "phone", "android")
	n.loginOn("bob", "desk", "linux")
	clock.advance(time.Minute) // more than the delay
	// Presence sleeps on a real timer; that a subscription ends wakes it.
	tablet.write(protocol.AppendHeader(nil, protocol.TypeBye, 0, 0))
	var p pb.Presence
	alice.push(protocol.TypePresence, &p)
	if !slices.Equal(p.Platforms, []string{"android", "linux"}) {
		t.Errorf("the first news is %v", &p)
	}
}

func TestPresenceIsForThoseWhoMaySeeIt(t *testing.T) {
	n := startNode(t, quick)
	alice, bob, eve := n.loginOn("alice", "phone", "ios"), n.loginOn("bob", "phone", "ios"), n.login("eve", "phone")
	sees := func(c *client) bool {
		t.Helper()
		var m pb.Present
		c.call(protocol.TypeWho, &pb.Who{Users: []string{"bob"}}, protocol.TypePresent, &m)
		subscribed := len(c.subscribe("bob")[0].Platforms) > 0
		if subscribed != (len(m.Online) == 1) {
			t.Errorf("SUBSCRIBED says %v, PRESENT %v", subscribed, m.Online)
		}
		return subscribed
	}
	want := func(what string, byAlice, byEve bool) {
		t.Helper()
		if a, e := sees(alice), sees(eve); a != byAlice || e != byEve {
			t.Errorf("%s: alice sees bob: %v, eve: %v; want %v, %v", what, a, e, byAlice, byEve)
		}
	}
	contact := func(c *client, user string, action pb.ContactAction) {
		t.Helper()
		c.call(protocol.TypeContact, &pb.ContactRequest{User: user, Action: action}, protocol.TypeContacted, &pb.Contacted{})
	}
	show := func(to pb.Audience) {
		t.Helper()
		bob.call(protocol.TypeAccount, &pb.SetAccount{Presence: to.Enum()}, protocol.TypeAccounted, &pb.Accounted{})
	}
	want("strangers", false, false)
	contact(alice, "bob", pb.ContactAction_CONTACT_ACTION_REQUEST)
	want("asked", false, false)
	contact(bob, "alice", pb.ContactAction_CONTACT_ACTION_ACCEPT)
	want("contacts", true, false)
	show(pb.Audience_AUDIENCE_EVERYBODY)
	want("everybody", true, true)
	contact(bob, "eve", pb.ContactAction_CONTACT_ACTION_BLOCK)
	want("everybody but those who are blocked", true, false)
	eve.refused(protocol.TypeSignal, &pb.Signal{Conversation: "d:bob:eve", Type: "t"}, pb.Code_CODE_NOT_A_MEMBER)

	// What alice may not see any more she is not told.
	var m pb.Subscribed
	alice.call(protocol.TypeSubscribe, &pb.Subscribe{Contacts: true}, protocol.TypeSubscribed, &m)
	if len(m.Presences) != 1 || m.Presences[0].User != "bob" || len(m.Presences[0].Platforms) != 1 {
		t.Fatalf("SUBSCRIBED %v", &m)
	}
	show(pb.Audience_AUDIENCE_NOBODY)
	n.loginOn("bob", "desk", "linux")
	var p pb.Presence
	alice.push(protocol.TypePresence, &p)
	if p.User != "bob" || len(p.Platforms) != 0 || p.LastSeenMs != 0 {
		t.Errorf("PRESENCE %v", &p)
	}
	if alice.signal("d:alice:bob", "", "", "typing", "") {
		t.Error("SIGNALLED says that bob is there")
	}
	bob.wantSignal("alice/phone", "typing", "")
}

func TestSignalsInAGroup(t *testing.T) {
	n := startNode(t, func(c *server.Config) { c.Chat.Rules.SignalMembers = 2 })
	alice, bob, eve := n.login("alice", "phone"), n.login("bob", "phone"), n.login("eve", "phone")
	small, large := alice.group("small", "bob"), alice.group("large", "bob", "eve")
	alice.signal(small, "", "", "typing", "1")
	bob.wantSignal("alice/phone", "typing", "1")
	alice.refused(protocol.TypeSignal, &pb.Signal{Conversation: large, Type: "typing"}, pb.Code_CODE_GROUP_TOO_LARGE)
	alice.signal(large, "eve", "phone", "call.candidate", "2")
	eve.wantSignal("alice/phone", "call.candidate", "2")
	eve.refused(protocol.TypeSignal, &pb.Signal{Conversation: small, Type: "typing"}, pb.Code_CODE_NOT_A_MEMBER)
}

func TestSubscriptionsAreBounded(t *testing.T) {
	n := startNode(t, func(c *server.Config) { c.Chat.Rules.MaxSubscriptions = 2 })
	alice := n.login("alice", "phone")
	alice.refused(protocol.TypeSubscribe, &pb.Subscribe{Users: []string{"a", "b", "c"}}, pb.Code_CODE_TOO_MANY_SUBSCRIPTIONS)
	alice.refused(protocol.TypeSubscribe, &pb.Subscribe{Users: []string{"a b"}}, pb.Code_CODE_BAD_ID)
	alice.refused(protocol.TypeSubscribe, &pb.Subscribe{Users: make([]string, protocol.MaxSubscribe+1)}, pb.Code_CODE_BAD_ARGUMENT)
	alice.subscribe("a", "b", "a", "alice")
}

func (c *client) signal(conversation, user, device, typ, body string) bool {
	c.t.Helper()
	var m pb.Signalled
	c.call(protocol.TypeSignal, &pb.Signal{Conversation: conversation, User: user, Device: device, Type: typ, Body: []byte(body)}, protocol.TypeSignalled, &m)
	return m.Reached
}

// wantSignal waits for the next signal and fails unless it is this one.
func (c *client) wantSignal(from, typ, body string) {
	c.t.Helper()
	var m pb.SignalFrom
	c.push(protocol.TypeSignalFrom, &m)
	if got := m.Sender + "/" + m.Device; got != from || m.Type != typ || string(m.Body) != body || m.TimeMs == 0 {
		c.t.Fatalf("got %v, want %s %q from %s", &m, typ, body, from)
	}
}

// The call of docs/CALLS.md, from the first ring to the end.
func TestACall(t *testing.T) {
	n := startNode(t, func(c *server.Config) { c.Session.SignalBurst = 1 << 20 })
	alice, laptop := n.login("alice", "phone"), n.login("alice", "laptop")
	phone, tablet := n.login("bob", "phone"), n.login("bob", "tablet")
	alice.send(aliceBob, "m1", "may I call?")

	if !alice.signal(aliceBob, "", "", "call.invite", "c1 offer") {
		t.Fatal("nobody was reached")
	}
	for _, c := range []*client{laptop, phone, tablet} { // the laptop knows that alice is in a call
		c.wantSignal("alice/phone", "call.invite", "c1 offer")
	}
	for _, c := range []*client{phone, tablet} {
		c.signal(aliceBob, "alice", "phone", "call.ring", "c1")
	}
	alice.wantSignal("bob/phone", "call.ring", "c1")
	alice.wantSignal("bob/tablet", "call.ring", "c1")

	phone.signal(aliceBob, "", "", "call.accept", "c1 answer")
	alice.wantSignal("bob/phone", "call.accept", "c1 answer")
	tablet.wantSignal("bob/phone", "call.accept", "c1 answer") // answered elsewhere: stops ringing
	laptop.wantSignal("bob/phone", "call.accept", "c1 answer")

	alice.signal(aliceBob, "bob", "phone", "call.confirm", "c1")
	phone.wantSignal("alice/phone", "call.confirm", "c1")
	alice.signal(aliceBob, "bob", "phone", "call.candidate", "c1 a")
	phone.wantSignal("alice/phone", "call.candidate", "c1 a")
	phone.signal(aliceBob, "alice", "phone", "call.candidate", "c1 b")
	alice.wantSignal("bob/phone", "call.candidate", "c1 b")

	alice.signal(aliceBob, "", "", "call.hangup", "c1")
	for _, c := range []*client{phone, tablet, laptop} { // no candidates of others' came in between
		c.wantSignal("alice/phone", "call.hangup", "c1")
	}

	// Nothing of it was stored.
	wantDense(t, phone.pull(aliceBob), 1)
	// Nobody is there: the caller is told at once, and need not wait.
	_ = phone.nc.Close()
	tablet.call(protocol.TypeEnd, &pb.End{Device: "phone"}, protocol.TypeEnded, &pb.Ended{})
	tablet.write(protocol.AppendHeader(nil, protocol.TypeBye, 0, 0))
	tablet.closed()
	alice.until(func() bool { return !alice.signal(aliceBob, "", "", "call.invite", "c2 offer") })
}

// until repeats what the server may take a moment for.
func (c *client) until(done func() bool) {
	c.t.Helper()
	for end := time.Now().Add(patience); !done(); {
		if time.Now().After(end) {
			c.t.Fatal("it never came to be")
		}
	}
}

func TestSignalsAreLimited(t *testing.T) {
	clock := newClock()
	n := startNode(t, func(c *server.Config) { c.Now, c.Session.SignalRate, c.Session.SignalBurst = clock.now, 1, 5 })
	alice, bob := n.login("alice", "phone"), n.login("bob", "phone")
	alice.send(aliceBob, "m1", "hi")
	sent := 0
	for i := range 20 {
		if i == 10 {
			clock.advance(time.Second)
		}
		f := alice.answer(alice.request(protocol.TypeSignal, &pb.Signal{Conversation: aliceBob, Type: "typing", Body: fmt.Append(nil, i)}))
		if f.Type == protocol.TypeSignalled {
			sent++
			bob.wantSignal("alice/phone", "typing", fmt.Sprint(i))
			continue
		}
		alice.wantError(f, pb.Code_CODE_RATE_LIMITED)
	}
	if sent != 6 {
		t.Errorf("%d signals were let through, want a burst of 5 and one for the second that passed", sent)
	}
	alice.send(aliceBob, "m2", "a message is no signal")
	bob.refused(protocol.TypeSignal, &pb.Signal{Conversation: aliceBob, Type: "t", Body: []byte(strings.Repeat("x", protocol.MaxSignal+1))}, pb.Code_CODE_BAD_ARGUMENT)
	bob.refused(protocol.TypeSignal, &pb.Signal{Conversation: aliceBob, Type: "t", Device: "phone"}, pb.Code_CODE_BAD_ARGUMENT)
	bob.refused(protocol.TypeSignal, &pb.Signal{Conversation: "d:bob:eve", Type: "t"}, pb.Code_CODE_NOT_A_MEMBER)
	bob.refused(protocol.TypeSignal, &pb.Signal{Conversation: "g:eve:x", Type: "t"}, pb.Code_CODE_NOT_A_MEMBER)
}
