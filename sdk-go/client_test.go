package godwit_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/godwit-im/godwit/protocol"
	"github.com/godwit-im/godwit/protocol/pb"
	godwit "github.com/godwit-im/godwit/sdk-go"
	"github.com/godwit-im/godwit/sdk-go/internal/fakeserver"
)

func TestSendAndReceive(t *testing.T) {
	s := startServer(t, fakeserver.Config{})
	alice, bob := newApp(t, s, "alice"), newApp(t, s, "bob")
	a, b := alice.dial(), bob.dial()

	out, err := a.SendText(within(t), "bob", "hello")
	if err != nil {
		t.Fatal(err)
	}
	ack, err := out.Sent(within(t))
	if err != nil || ack.Seq != 1 || ack.ID == 0 || ack.Time.IsZero() {
		t.Fatalf("ack %+v, %v", ack, err)
	}
	conv := direct("alice", "bob")
	bob.untilSeqs(conv, 1, 1)
	alice.untilSeqs(conv, 1, 1)
	for _, one := range []*app{alice, bob} {
		m := one.received(conv)[0]
		if m.Sender != "alice" || m.Text() != "hello" || m.ID != ack.ID || m.ClientID != out.ClientID() ||
			!m.Time.Equal(ack.Time) || m.Kind != godwit.KindText {
			t.Errorf("got %+v", m)
		}
	}
	if err := out.Delivered(within(t)); err != nil {
		t.Fatal(err)
	}
	if st := out.Status(); st != godwit.StatusDelivered {
		t.Errorf("status %v", st)
	}
	if err := b.MarkRead(conv, 1); err != nil {
		t.Fatal(err)
	}
	if err := out.Read(within(t)); err != nil {
		t.Fatal(err)
	}
	if st := out.Status(); st != godwit.StatusRead {
		t.Errorf("status %v", st)
	}
}

func TestCustomContent(t *testing.T) {
	s := startServer(t, fakeserver.Config{})
	bob := newApp(t, s, "bob")
	a := newApp(t, s, "alice").dial()
	bob.dial()
	body := []byte{0xff, 0x00, 0xd8}
	if _, err := a.Send(within(t), direct("alice", "bob"), godwit.Draft{
		Kind: godwit.KindCustom, ContentType: "image/jpeg", Body: body,
	}); err != nil {
		t.Fatal(err)
	}
	body[0] = 0 // Send has copied it
	bob.untilSeqs(direct("alice", "bob"), 1, 1)
	m := bob.received(direct("alice", "bob"))[0]
	if m.Kind != godwit.KindCustom || m.ContentType != "image/jpeg" || string(m.Body) != "\xff\x00\xd8" {
		t.Errorf("got %+v", m)
	}
}

func TestSendRefusesWhatNoServerTakes(t *testing.T) {
	s := startServer(t, fakeserver.Config{MaxBody: 100})
	a := newApp(t, s, "alice").dial()
	conv := direct("alice", "bob")
	for name, test := range map[string]struct {
		conversation string
		draft        godwit.Draft
		code         godwit.Code
	}{
		"no conversation":   {"", godwit.Draft{}, pb.Code_CODE_BAD_ID},
		"long conversation": {strings.Repeat("x", 200), godwit.Draft{}, pb.Code_CODE_BAD_ID},
		"odd conversation":  {"d:a\nb", godwit.Draft{}, pb.Code_CODE_BAD_ID},
		"not UTF-8":         {conv, godwit.Draft{Body: []byte{0xff}}, pb.Code_CODE_BAD_ARGUMENT},
		"content type":      {conv, godwit.Draft{ContentType: strings.Repeat("x", 200)}, pb.Code_CODE_BAD_ARGUMENT},
		"body":              {conv, godwit.Draft{Body: make([]byte, 101)}, pb.Code_CODE_BODY_TOO_LARGE},
	} {
		if _, err := a.Send(within(t), test.conversation, test.draft); godwit.CodeOf(err) != test.code {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := a.SendText(within(t), "no user", "x"); godwit.CodeOf(err) != pb.Code_CODE_BAD_ID {
		t.Errorf("bad user: %v", err)
	}
	if err := a.MarkRead("\n", 1); godwit.CodeOf(err) != pb.Code_CODE_BAD_ID {
		t.Errorf("bad mark: %v", err)
	}
	if n := s.Requests(protocol.TypeSend); n > 0 {
		t.Errorf("%d SENDs", n)
	}
}

func TestFinalRefusal(t *testing.T) {
	s := startServer(t, fakeserver.Config{})
	a := newApp(t, s, "alice").dial()
	out, err := a.Send(within(t), direct("bob", "carol"), godwit.Draft{Body: []byte("let me in")})
	if err != nil {
		t.Fatal(err)
	}
	after, err := a.SendText(within(t), "bob", "the next")
	if err != nil {
		t.Fatal(err)
	}
	_, err = out.Sent(within(t))
	var refused *godwit.SendError
	if !errors.As(err, &refused) || refused.ClientID != out.ClientID() || godwit.CodeOf(err) != pb.Code_CODE_NOT_A_MEMBER {
		t.Errorf("got %v", err)
	}
	if err := out.Read(within(t)); godwit.CodeOf(err) != pb.Code_CODE_NOT_A_MEMBER {
		t.Errorf("Read: %v", err)
	}
	if out.Status() != godwit.StatusFailed {
		t.Errorf("status %v", out.Status())
	}
	if _, err := after.Sent(within(t)); err != nil {
		t.Errorf("the next message: %v", err)
	}
	if left := a.Outbox(); len(left) > 0 {
		t.Errorf("%d messages in the outbox", len(left))
	}
}

// TestLimitShrank sends what was accepted under a higher limit to a server
// that has a lower one now.
func TestLimitShrank(t *testing.T) {
	big := startServer(t, fakeserver.Config{})
	small := startServer(t, fakeserver.Config{MaxFrame: 10_000})
	alice := newApp(t, big, "alice")
	alice.opts.Store = godwit.NewMemoryStore()
	a := alice.dial()
	big.Close()
	ctx, cancel := context.WithCancel(within(t))
	if _, err := a.SendText(ctx, "bob", strings.Repeat("x", 20_000)); err != nil {
		t.Fatal(err)
	}
	cancel()
	a.Close()

	alice.opts.Addr = small.Addr()
	a = alice.dial()
	after, err := a.SendText(within(t), "bob", "small")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := after.Sent(within(t)); err != nil {
		t.Error(err)
	}
	if n := len(a.Outbox()); n > 0 {
		t.Errorf("%d messages in the outbox", n)
	}
}

func TestLostAckIsAskedForAgain(t *testing.T) {
	s := startServer(t, fakeserver.Config{})
	alice := newApp(t, s, "alice")
	a := alice.dial()
	alice.untilPhase(godwit.Online)
	s.SetFaults(fakeserver.Faults{CutAnswer: 1})
	out, err := a.SendText(within(t), "bob", "once")
	if err != nil {
		t.Fatal(err)
	}
	s.Until(patience, func() bool { return len(s.Messages(direct("alice", "bob"))) == 1 })
	s.SetFaults(fakeserver.Faults{})
	ack, err := out.Sent(within(t))
	if err != nil || ack.Seq != 1 {
		t.Fatalf("ack %+v, %v", ack, err)
	}
	if n := len(s.Messages(direct("alice", "bob"))); n != 1 || s.Duplicates.Load() == 0 {
		t.Errorf("%d messages, %d resends", n, s.Duplicates.Load())
	}
	alice.untilSeqs(direct("alice", "bob"), 1, 1)
}

// TestOrderSurvivesRefusals pipelines messages of one conversation into a
// server that refuses every third of them for the moment.
func TestOrderSurvivesRefusals(t *testing.T) {
	t.Parallel()
	for _, code := range []godwit.Code{pb.Code_CODE_BUSY, pb.Code_CODE_STORAGE_FULL} {
		s := startServer(t, fakeserver.Config{Seed: uint64(code)})
		a := newApp(t, s, "alice").dial()
		s.SetFaults(fakeserver.Faults{Refuse: 0.3, RefuseCode: code})
		const n = 30
		var last *godwit.Outgoing
		for i := range n {
			out, err := a.SendText(within(t), "bob", fmt.Sprint(i))
			if err != nil {
				t.Fatal(err)
			}
			last = out
			if i == n/2 {
				s.Cut("alice")
			}
		}
		if ack, err := last.Sent(within(t)); err != nil || ack.Seq != n {
			t.Errorf("%v: %+v, %v", code, ack, err)
		}
		for i, m := range s.Messages(direct("alice", "bob")) {
			if string(m.Body) != fmt.Sprint(i) {
				t.Fatalf("%v: message %d is %q", code, i, m.Body)
			}
		}
		a.Close()
	}
}

// TestRefusalHoldsOneConversation checks that a conversation that is refused
// does not hold up the others.
func TestRefusalHoldsOneConversation(t *testing.T) {
	s := startServer(t, fakeserver.Config{})
	alice := newApp(t, s, "alice")
	a := alice.dial()
	alice.untilPhase(godwit.Online)
	s.SetFaults(fakeserver.Faults{Refuse: 1, RefuseAfter: time.Hour})
	held, err := a.SendText(within(t), "bob", "held back")
	if err != nil {
		t.Fatal(err)
	}
	if !s.Until(patience, func() bool { return s.Requests(protocol.TypeSend) == 1 }) {
		t.Fatal("not sent")
	}
	s.SetFaults(fakeserver.Faults{})
	out, err := a.SendText(within(t), "carol", "goes through")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := out.Sent(within(t)); err != nil {
		t.Error(err)
	}
	// Neither does a new message of the conversation pass the one that waits.
	if _, err := a.SendText(within(t), "bob", "behind it"); err != nil {
		t.Fatal(err)
	}
	if _, err := a.Online(within(t), "carol"); err != nil {
		t.Fatal(err)
	}
	if n := s.Requests(protocol.TypeSend); held.Status() != godwit.StatusQueued || n != 2 {
		t.Errorf("status %v after %d SENDs", held.Status(), n)
	}
	s.Cut("alice") // another connection need not wait
	if _, err := held.Sent(within(t)); err != nil {
		t.Error(err)
	}
}

func TestOutboxFull(t *testing.T) {
	s := startServer(t, fakeserver.Config{})
	alice := newApp(t, s, "alice")
	alice.opts.OutboxLimit = 3
	a := alice.dial()
	alice.untilPhase(godwit.Online)
	s.SetFaults(fakeserver.Faults{Refuse: 1})
	for i := range 3 {
		if _, err := a.SendText(within(t), "bob", fmt.Sprint(i)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := a.SendText(within(t), "bob", "one too many"); !errors.Is(err, godwit.ErrOutboxFull) {
		t.Errorf("got %v", err)
	}
	waiting := a.Outbox()
	if len(waiting) != 3 || waiting[0].Status() != godwit.StatusQueued {
		t.Fatalf("outbox %v", waiting)
	}
	s.SetFaults(fakeserver.Faults{})
	for _, out := range waiting {
		if _, err := out.Sent(within(t)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := a.SendText(within(t), "bob", "there is room again"); err != nil {
		t.Error(err)
	}
}

// TestOutboxSurvivesRestart sends while the server is away, ends the program
// and starts another on the same file, which finds the messages and sends them.
func TestOutboxSurvivesRestart(t *testing.T) {
	gone, back := startServer(t, fakeserver.Config{}), startServer(t, fakeserver.Config{})
	path := t.TempDir() + "/store"
	store, err := godwit.OpenFileStore(path)
	if err != nil {
		t.Fatal(err)
	}
	alice := newApp(t, gone, "alice")
	alice.opts.Store = store
	a := alice.dial()
	gone.Close()
	var ids []string
	for i := range 5 {
		out, err := a.SendText(within(t), "bob", fmt.Sprint(i))
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, out.ClientID())
	}
	a.Close()
	store.Close()

	if store, err = godwit.OpenFileStore(path); err != nil {
		t.Fatal(err)
	}
	alice.opts.Store, alice.opts.Addr = store, back.Addr()
	back.SetFaults(fakeserver.Faults{Refuse: 1})
	a = alice.dial()
	t.Cleanup(func() { store.Close() })
	waiting := a.Outbox()
	back.SetFaults(fakeserver.Faults{})
	if len(waiting) != 5 {
		t.Fatalf("%d messages in the outbox", len(waiting))
	}
	for i, out := range waiting {
		ack, err := out.Sent(within(t))
		if err != nil || ack.Seq != uint64(i+1) || out.ClientID() != ids[i] || out.Conversation() != direct("alice", "bob") {
			t.Errorf("message %d: %+v, %v", i, ack, err)
		}
	}
	a.Close()
}

// TestWindowOfBytes pipelines large messages: the fake notices when more bytes
// are in flight than it allows.
func TestWindowOfBytes(t *testing.T) {
	s := startServer(t, fakeserver.Config{MaxInFlightBytes: 30_000})
	s.SetFaults(fakeserver.Faults{Delay: 5 * time.Millisecond})
	alice := newApp(t, s, "alice")
	alice.opts.Pipeline = 100
	a := alice.dial()
	var last *godwit.Outgoing
	for i := range 40 {
		out, err := a.SendText(within(t), fmt.Sprint("peer", i%3), strings.Repeat("x", 3000+i*400))
		if err != nil {
			t.Fatal(err)
		}
		last = out
	}
	for _, out := range append(a.Outbox(), last) {
		if _, err := out.Sent(within(t)); err != nil {
			t.Fatal(err)
		}
	}
}

// TestWindowOfRequests pipelines more than the server allows: the fake notices
// when too many are in flight.
func TestWindowOfRequests(t *testing.T) {
	s := startServer(t, fakeserver.Config{MaxInFlight: 5})
	s.SetFaults(fakeserver.Faults{Delay: 5 * time.Millisecond})
	alice := newApp(t, s, "alice")
	alice.opts.Pipeline = 100
	a := alice.dial()
	var last *godwit.Outgoing
	for i := range 60 {
		out, err := a.SendText(within(t), "bob", fmt.Sprint(i))
		if err != nil {
			t.Fatal(err)
		}
		last = out
	}
	if _, err := last.Sent(within(t)); err != nil {
		t.Fatal(err)
	}
}

// TestPipelineKeepsOrder has many messages of one conversation in flight when
// connections break.
func TestPipelineKeepsOrder(t *testing.T) {
	s := startServer(t, fakeserver.Config{Seed: 5})
	alice := newApp(t, s, "alice")
	alice.opts.Pipeline = 50
	a := alice.dial()
	s.SetFaults(fakeserver.Faults{Cut: 0.02, CutAnswer: 0.02})
	const n = 300
	var last *godwit.Outgoing
	for i := range n {
		out, err := a.SendText(within(t), "bob", fmt.Sprint(i))
		if err != nil {
			t.Fatal(err)
		}
		last = out
	}
	if ack, err := last.Sent(within(t)); err != nil || ack.Seq != n {
		t.Fatalf("%+v, %v", ack, err)
	}
	for i, m := range s.Messages(direct("alice", "bob")) {
		if string(m.Body) != fmt.Sprint(i) {
			t.Fatalf("message %d is %q", i, m.Body)
		}
	}
}

// TestPipelineWithRefusals has some of many messages in flight refused for the
// moment: all of them are stored in the end, each once.
func TestPipelineWithRefusals(t *testing.T) {
	s := startServer(t, fakeserver.Config{Seed: 6})
	alice := newApp(t, s, "alice")
	alice.opts.Pipeline = 20
	a := alice.dial()
	s.SetFaults(fakeserver.Faults{Refuse: 0.2})
	const n = 60
	var handles []*godwit.Outgoing
	for i := range n {
		out, err := a.SendText(within(t), "bob", fmt.Sprint(i))
		if err != nil {
			t.Fatal(err)
		}
		handles = append(handles, out)
	}
	for _, out := range handles {
		if _, err := out.Sent(within(t)); err != nil {
			t.Fatal(err)
		}
	}
	if stored := len(s.Messages(direct("alice", "bob"))); stored != n {
		t.Errorf("%d messages", stored)
	}
	if connects := s.Connects("alice"); connects != 1 {
		t.Errorf("%d connections", connects)
	}
}

// TestManySenders sends from many goroutines at once.
func TestManySenders(t *testing.T) {
	s := startServer(t, fakeserver.Config{MaxInFlight: 20})
	alice, bob := newApp(t, s, "alice"), newApp(t, s, "bob")
	a := alice.dial()
	bob.dial()
	const senders, each = 30, 20
	errs := make(chan error, senders)
	for i := range senders {
		go func() {
			var last uint64
			for j := range each {
				out, err := a.SendText(within(t), "bob", fmt.Sprint(i, "/", j))
				if err == nil {
					var ack godwit.Ack
					if ack, err = out.Sent(within(t)); ack.Seq <= last {
						err = errors.Join(err, fmt.Errorf("seq %d after %d", ack.Seq, last))
					}
					last = ack.Seq
				}
				if err != nil {
					errs <- err
					return
				}
			}
			errs <- nil
		}()
	}
	for range senders {
		if err := <-errs; err != nil {
			t.Fatal(err)
		}
	}
	bob.untilSeqs(direct("alice", "bob"), 1, senders*each)
	alice.untilSeqs(direct("alice", "bob"), 1, senders*each)
}
