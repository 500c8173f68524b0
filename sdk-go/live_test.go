package godwit_test

import (
	"errors"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"github.com/godwit-im/godwit/protocol"
	"github.com/godwit-im/godwit/protocol/pb"
	godwit "github.com/godwit-im/godwit/sdk-go"
	"github.com/godwit-im/godwit/sdk-go/internal/fakeserver"
)

func done[T any](t testing.TB, call *godwit.Call[T]) T {
	t.Helper()
	result, err := call.Wait(within(t))
	if err != nil {
		t.Fatal(err)
	}
	return result
}

// TestEndedByDevice ends a client from another one, and replaces one.
func TestEndedByDevice(t *testing.T) {
	s := startServer(t, fakeserver.Config{})
	phone, laptop := newApp(t, s, "alice"), newApp(t, s, "alice")
	phone.opts.Device, phone.opts.Platform = "phone", "ios"
	laptop.opts.Device, laptop.opts.Platform = "laptop", "linux"
	p, l := phone.dial(), laptop.dial()
	devices := done(t, p.Devices())
	if len(devices) != 2 || devices[0].Device != "laptop" || devices[0].Self || !devices[1].Self || devices[1].Platform != "ios" {
		t.Errorf("devices %+v", devices)
	}
	if !done(t, p.EndDevice("laptop")) || done(t, p.EndDevice("tablet")) {
		t.Error("not the sessions that there are")
	}
	<-l.Done()
	var ended *godwit.EndedError
	if err := l.Err(); !errors.As(err, &ended) || ended.Device != "phone" || ended.Platform != "ios" ||
		godwit.CodeOf(err) != pb.Code_CODE_DEVICE_ENDED {
		t.Errorf("ended with %v", l.Err())
	}
	if _, err := l.Devices().Wait(within(t)); !errors.Is(err, godwit.ErrClosed) {
		t.Errorf("a call of a client that has ended: %v", err)
	}
	newApp(t, s, "alice").withDevice("phone").dial()
	<-p.Done()
	if err := p.Err(); !errors.As(err, &ended) || ended.Device != "phone" || godwit.CodeOf(err) != pb.Code_CODE_REPLACED {
		t.Errorf("replaced with %v", p.Err())
	}
}

func (a *app) withDevice(device string) *app {
	a.opts.Device = device
	return a
}

// TestMessagesExpire has a message expire on devices that are told of nothing:
// in the preview, the count and History.
func TestMessagesExpire(t *testing.T) {
	t.Parallel()
	s := startServer(t, fakeserver.Config{})
	conv := direct("alice", "bob")
	alice, bob := newApp(t, s, "alice"), newApp(t, s, "bob")
	a, b := alice.dial(), bob.dial()
	bob.untilPhase(godwit.Online)
	sent(t)(a.SendText(within(t), "bob", "stays"))
	const ttl = 2 * time.Second
	began := time.Now()
	sent(t)(a.SendText(within(t), "bob", "goes", godwit.TTL(ttl)))
	bob.untilSeqs(conv, 1, 2)
	if c, _ := b.Conversation(conv); (c.Unread != 2 || c.Last.Text() != "goes") && time.Since(began) < ttl {
		t.Errorf("before: %+v", c)
	}
	for _, who := range []*app{alice, bob} {
		who.until("the change", func() bool {
			return slices.ContainsFunc(who.changes, func(c godwit.MessageChange) bool { return c.Type == godwit.ChangeExpired && c.Seq == 2 })
		})
	}
	if c, _ := b.Conversation(conv); c.Unread != 1 || c.Last.State != godwit.MessageExpired || c.Last.Body != nil {
		t.Errorf("after: %+v, last %+v", c, c.Last)
	}
	if m := bob.present(conv)[1]; m.State != godwit.MessageExpired {
		t.Errorf("the message is %+v", m)
	}
}

// TestSignals sends one to the peer, one to the user's other device, and one
// without a connection.
func TestSignals(t *testing.T) {
	s := startServer(t, fakeserver.Config{})
	got := make(chan godwit.Signal, 4)
	alice, bob, other := newApp(t, s, "alice"), newApp(t, s, "bob"), newApp(t, s, "alice").withDevice("alice-2")
	bob.opts.Handler.OnSignal = func(sig godwit.Signal) { got <- sig }
	other.opts.Handler.OnSignal = func(sig godwit.Signal) { got <- sig }
	a := alice.dial()
	bob.dial()
	if !done(t, a.Signal(godwit.Signal{Conversation: direct("alice", "bob"), User: "bob", Type: "typing", Body: []byte("x")})) {
		t.Error("bob was not reached")
	}
	if sig := <-got; sig.User != "alice" || sig.Device != "alice-1" || sig.Type != "typing" || string(sig.Body) != "x" {
		t.Errorf("got %+v", sig)
	}
	o := other.dial()
	done(t, a.Signal(godwit.Signal{Conversation: a.System(), Type: "answered"}))
	if sig := <-got; sig.Type != "answered" || sig.Conversation != o.System() {
		t.Errorf("got %+v", sig)
	}
	s.SetFaults(fakeserver.Faults{RefuseConnect: 1})
	s.Cut("alice")
	alice.untilPhase(godwit.Waiting)
	if _, err := a.Signal(godwit.Signal{Conversation: a.System(), Type: "typing"}).Wait(within(t)); !errors.Is(err, godwit.ErrNotConnected) {
		t.Errorf("without a connection: %v", err)
	}
	s.SetFaults(fakeserver.Faults{})
}

// TestPresence subscribes, loses the connection, and is told what changed
// meanwhile.
func TestPresence(t *testing.T) {
	s := startServer(t, fakeserver.Config{})
	told := make(chan godwit.Presence, 8)
	alice, bob := newApp(t, s, "alice"), newApp(t, s, "bob")
	alice.opts.Handler.OnPresence = func(p godwit.Presence) { told <- p }
	a := alice.dial()
	if all := done(t, a.Subscribe([]string{"bob"}, false)); len(all) != 1 || all[0].Online() {
		t.Errorf("bob is %+v", all)
	}
	b := bob.dial()
	if p := <-told; p.User != "bob" || !p.Online() {
		t.Errorf("told %+v", p)
	}
	s.SetFaults(fakeserver.Faults{RefuseConnect: 1})
	s.Cut("alice")
	alice.untilPhase(godwit.Waiting)
	if _, known := a.Presence("bob"); known {
		t.Error("presence is known without a connection")
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	s.SetFaults(fakeserver.Faults{})
	if p := <-told; p.User != "bob" || p.Online() || p.LastSeen.IsZero() {
		t.Errorf("told %+v", p)
	}
	if p, known := a.Presence("bob"); !known || p.Online() {
		t.Errorf("presence %+v, %v", p, known)
	}
}

// TestGroupBeginsAndEnds joins late, is removed and comes back, and counts what
// is handed and how often the server is asked.
func TestGroupBeginsAndEnds(t *testing.T) {
	s := startServer(t, fakeserver.Config{})
	alice, bob := newApp(t, s, "alice"), newApp(t, s, "bob")
	a, b := alice.dial(), bob.dial()
	bob.untilPhase(godwit.Online)
	group := done(t, a.CreateGroup(godwit.NewGroup{Name: "us"})).Group.Conversation
	for range 3 {
		sent(t)(a.SendText(within(t), group, "before"))
	}
	done(t, a.AddMembers(group, "bob"))
	sent(t)(a.SendText(within(t), group, "hello bob"))
	bob.untilSeqs(group, 5, 6)
	if bob.messages[group][0].Notice.Type != godwit.NoticeMembersAdded || len(bob.gaps) > 0 {
		t.Errorf("it begins with %+v, gaps %v", bob.messages[group][0], bob.gaps)
	}
	if c, _ := b.Conversation(group); c.Unread != 1 || c.Group == nil || c.Group.Members != 2 || c.Membership.FromSeq != 5 {
		t.Errorf("conversation %+v", c)
	}
	done(t, a.RemoveMembers(group, "bob"))
	sent(t)(a.SendText(within(t), group, "without bob"))
	bob.untilSeqs(group, 5, 7)
	if _, err := b.History(within(t), group, 0, 10); err != nil {
		t.Error(err)
	}
	bob.until("the end of the membership", func() bool {
		c, _ := b.Conversation(group)
		return c.Membership.Standing == godwit.StandingRemoved && c.HeadSeq == 7
	})
	pulls := s.Requests(protocol.TypePull)
	done(t, b.Refresh(group))
	if n := s.Requests(protocol.TypePull) - pulls; n > 0 {
		t.Errorf("%d PULLs of what is not to be had", n)
	}
	done(t, a.AddMembers(group, "bob"))
	sent(t)(a.SendText(within(t), group, "again"))
	bob.until("the rest", func() bool {
		all := bob.messages[group]
		return len(all) == 5 && all[3].Seq == 9 && all[4].Seq == 10
	})
	if want := []string{group + " 8-8"}; !slices.Equal(bob.gaps, want) {
		t.Errorf("gaps %q, want %q", bob.gaps, want)
	}
	if members, err := b.Members(within(t), group); err != nil || len(members) != 2 || members[0].Role != godwit.RoleOwner {
		t.Errorf("members %+v, %v", members, err)
	}
}

// TestOldFile opens a file of a version that stored no states: all is synced
// once, and nothing is handed again.
func TestOldFile(t *testing.T) {
	s := startServer(t, fakeserver.Config{})
	conv := direct("alice", "bob")
	path := filepath.Join(t.TempDir(), "store")
	s.Say("bob", "alice", "hello")
	run := func() (*app, *godwit.FileStore, *godwit.Client) {
		store, err := godwit.OpenFileStore(path)
		if err != nil {
			t.Fatal(err)
		}
		alice := newApp(t, s, "alice")
		alice.opts.Store = store
		c := alice.dial()
		alice.untilPhase(godwit.Online)
		return alice, store, c
	}
	check := func(c *godwit.Client) {
		t.Helper()
		if list := c.Conversations(); len(list) != 1 || list[0].ID != conv || list[0].Unread != 1 || list[0].Last.Text() != "hello" {
			t.Errorf("conversations %+v", list)
		}
	}
	alice, store, c := run()
	alice.untilSeqs(conv, 1, 1)
	check(c)
	if err := errors.Join(c.Close(), store.Close()); err != nil {
		t.Fatal(err)
	}
	db, err := bbolt.Open(path, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(db.Update(func(tx *bbolt.Tx) error { return tx.DeleteBucket([]byte("state")) }), db.Close()); err != nil {
		t.Fatal(err)
	}
	alice, store, c = run()
	check(c)
	if n := len(alice.received(conv)); n > 0 {
		t.Errorf("%d messages are handed again", n)
	}
	if err := errors.Join(c.Close(), store.Close()); err != nil {
		t.Fatal(err)
	}
}

// TestMessagesFromContacts: whoever takes messages from contacts alone gets none
// from others, and keeps what else they have chosen.
func TestMessagesFromContacts(t *testing.T) {
	s := startServer(t, fakeserver.Config{})
	alice, bob := newApp(t, s, "alice").dial(), newApp(t, s, "bob").dial()
	nobody, contacts := godwit.AudienceNobody, godwit.AudienceContacts
	done(t, alice.SetAccount(godwit.AccountChange{Presence: &nobody}))
	want := godwit.Account{Presence: nobody, Messages: contacts}
	if got := done(t, alice.SetAccount(godwit.AccountChange{Messages: &contacts})); got != want || alice.Account() != want {
		t.Errorf("chose %+v, and has %+v; want %+v", got, alice.Account(), want)
	}
	say := func(want pb.Code) {
		t.Helper()
		m, err := bob.SendText(within(t), "alice", "hi")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := m.Sent(within(t)); godwit.CodeOf(err) != want {
			t.Errorf("got %v, want %v", err, want)
		}
	}
	say(pb.Code_CODE_NOT_ALLOWED)
	done(t, bob.RequestContact("alice", ""))
	done(t, alice.AcceptContact("bob"))
	say(0)
}
