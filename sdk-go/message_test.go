package godwit_test

import (
	"fmt"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/godwit-im/godwit/protocol"
	"github.com/godwit-im/godwit/protocol/pb"
	godwit "github.com/godwit-im/godwit/sdk-go"
	"github.com/godwit-im/godwit/sdk-go/internal/fakeserver"
)

// sent waits for the ack of what was just sent.
func sent(t testing.TB) func(*godwit.Outgoing, error) godwit.Ack {
	return func(o *godwit.Outgoing, err error) godwit.Ack {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		ack, err := o.Sent(within(t))
		if err != nil {
			t.Fatal(err)
		}
		return ack
	}
}

// present is the conversation as the application knows it: what it was handed,
// with all changes applied.
func (a *app) present(conversation string) []godwit.Message {
	a.mu.Lock()
	defer a.mu.Unlock()
	all := slices.Clone(a.messages[conversation])
	for _, change := range a.changes {
		for i := range all {
			all[i].Apply(change)
		}
	}
	return all
}

// TestWhatAMessageCarries sends what a message may carry, and looks at it as
// the sender's own device, the peer and History see it.
func TestWhatAMessageCarries(t *testing.T) {
	s := startServer(t, fakeserver.Config{})
	alice, bob := newApp(t, s, "alice"), newApp(t, s, "bob")
	a := alice.dial()
	bob.dial()
	bob.untilPhase(godwit.Online)
	conv := direct("alice", "bob")

	sent(t)(a.SendText(within(t), "bob", "hello"))
	sent(t)(a.SendText(within(t), conv, "again", godwit.Reply(1), godwit.Mention("bob"), godwit.Mention("alice"),
		godwit.WithFlags(godwit.Silent), godwit.WithFlags(godwit.Uncounted), godwit.TTL(time.Hour)))
	sent(t)(a.SendCustom(within(t), "bob", "application/json", []byte(`{}`)))
	media := godwit.Media{
		ObjectKey: "o/1", ContentType: "image/jpeg", Size: 1 << 40, Name: "x.jpg", Width: 3, Height: 4,
		Duration: time.Second, Thumbnail: []byte("tiny"), SHA256: []byte("hash"),
	}
	sent(t)(a.SendMedia(within(t), "bob", media))

	alice.untilSeqs(conv, 1, 4)
	bob.untilSeqs(conv, 1, 4)
	history, err := a.History(within(t), conv, 0, 10)
	if err != nil {
		t.Fatal(err)
	}
	if got := bob.received(conv); !reflect.DeepEqual(got, history) || !reflect.DeepEqual(alice.received(conv), history) {
		t.Errorf("bob was handed %+v,\nalice %+v,\nHistory has %+v", got, alice.received(conv), history)
	}
	m := history[1]
	if m.Reply != 1 || !slices.Equal(m.Mentions, []string{"bob", "alice"}) || m.Flags != godwit.Silent|godwit.Uncounted ||
		!m.Expires.Equal(m.Time.Add(time.Hour)) || !m.Mentioned("bob") || m.Mentioned("carol") {
		t.Errorf("message %+v", m)
	}
	if m := history[3]; m.Kind != godwit.KindMedia || m.Media == nil || !reflect.DeepEqual(*m.Media, media) {
		t.Errorf("media %+v", m.Media)
	}
}

// TestEvents edits, recalls and reacts, with one device there and another one
// away, and compares their views with the server's.
func TestEvents(t *testing.T) {
	s := startServer(t, fakeserver.Config{})
	conv := direct("alice", "bob")
	alice, bob, away := newApp(t, s, "alice"), newApp(t, s, "bob"), newApp(t, s, "bob")
	away.opts.Device, away.opts.Store = "bob-2", godwit.NewMemoryStore()
	a, b := alice.dial(), bob.dial()
	bob.untilPhase(godwit.Online)
	for i := range 4 {
		sent(t)(a.SendText(within(t), "bob", fmt.Sprint("text ", i+1)))
	}
	d := away.dial()
	away.untilSeqs(conv, 1, 4)
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	bob.untilSeqs(conv, 1, 4)

	if ack := sent(t)(a.EditText(within(t), conv, 1, "edited")); ack.Seq != 5 {
		t.Errorf("the edit has seq %d", ack.Seq)
	}
	sent(t)(a.Recall(within(t), conv, 2))
	sent(t)(b.React(within(t), conv, 3, "+1"))
	sent(t)(a.React(within(t), conv, 3, "+1"))
	sent(t)(b.React(within(t), conv, 3, "heart"))
	if ack := sent(t)(b.React(within(t), conv, 3, "heart")); ack.Seq != 9 {
		t.Errorf("a reaction that was there has seq %d, want that of the newest change", ack.Seq)
	}
	sent(t)(b.Unreact(within(t), conv, 3, "+1"))
	sent(t)(a.EditText(within(t), conv, 1, "edited again"))
	sent(t)(a.SendText(within(t), "bob", "the end"))

	await := func(who *app) []godwit.Message {
		who.until("the end", func() bool { all := who.messages[conv]; return len(all) > 0 && all[len(all)-1].Seq == 12 })
		return who.present(conv)
	}
	want := await(bob)
	if m := want[0]; m.Text() != "edited again" || m.Version != 11 || m.Edited.IsZero() {
		t.Errorf("edited: %+v", m)
	}
	if m := want[1]; m.State != godwit.MessageRecalled || m.Body != nil || m.RecalledBy != "alice" {
		t.Errorf("recalled: %+v", m)
	}
	if m := want[2]; !reflect.DeepEqual(m.Reactions, []godwit.Reaction{
		{Key: "+1", Count: 1, Users: []string{"alice"}}, {Key: "heart", Count: 1, Users: []string{"bob"}},
	}) {
		t.Errorf("reactions: %+v", m.Reactions)
	}
	fresh := newApp(t, s, "bob")
	fresh.opts.Device = "bob-3"
	fresh.dial()
	away.dial()
	history, err := a.History(within(t), conv, 0, 20)
	if err != nil {
		t.Fatal(err)
	}
	history = slices.DeleteFunc(history, func(m godwit.Message) bool { return m.IsEvent() })
	for name, view := range map[string][]godwit.Message{
		"alice": await(alice), "away": await(away), "fresh": await(fresh), "the server": history,
	} {
		if !reflect.DeepEqual(view, want) {
			t.Errorf("%s sees %+v,\nbob %+v", name, view, want)
		}
	}
	types := func(who *app) (all []string) {
		who.record(func() {
			for _, c := range who.changes {
				all = append(all, fmt.Sprint(c.Event.Seq, c.Type, c.Seq))
			}
		})
		return all
	}
	all := []string{"5 edited 1", "6 recalled 2", "7 reacted 3", "8 reacted 3", "9 reacted 3", "10 reacted 3", "11 edited 1"}
	for name, who := range map[string]*app{"alice": alice, "bob": bob, "away": away, "fresh": fresh} {
		if got := types(who); !slices.Equal(got, all) {
			t.Errorf("%s was told %q, want %q", name, got, all)
		}
	}
	if n := s.Requests(protocol.TypePull); n > 5 {
		t.Errorf("%d PULLs", n)
	}
}

// TestRepeatedEventIsPulled has the ack of an event lost, so that its resend is
// answered as a duplicate, which may name another event.
func TestRepeatedEventIsPulled(t *testing.T) {
	s := startServer(t, fakeserver.Config{})
	conv := direct("alice", "bob")
	alice := newApp(t, s, "alice")
	a := alice.dial()
	alice.untilPhase(godwit.Online)
	sent(t)(a.SendText(within(t), "bob", "hello"))
	s.SetFaults(fakeserver.Faults{CutAnswer: 1})
	out, err := a.React(within(t), conv, 1, "+1")
	if err != nil {
		t.Fatal(err)
	}
	if !s.Until(patience, func() bool { return len(s.Messages(conv)) == 2 }) {
		t.Fatal("the reaction did not arrive")
	}
	s.SetFaults(fakeserver.Faults{})
	if ack := sent(t)(out, nil); ack.Seq != 2 {
		t.Errorf("ack %+v", ack)
	}
	alice.until("the change", func() bool { return len(alice.changes) == 1 && alice.changes[0].Event.Sender == "alice" })
}

func TestDraftsThatNoServerTakes(t *testing.T) {
	s := startServer(t, fakeserver.Config{})
	a := newApp(t, s, "alice").dial()
	conv := direct("alice", "bob")
	for name, test := range map[string]struct {
		draft godwit.Draft
		code  godwit.Code
	}{
		"notice":          {godwit.Draft{Kind: godwit.KindNotice}, pb.Code_CODE_BAD_ARGUMENT},
		"no reaction":     {godwit.Draft{Kind: godwit.KindReaction, Target: 1}, pb.Code_CODE_BAD_ARGUMENT},
		"event":           {godwit.Draft{Kind: godwit.KindRecall}, pb.Code_CODE_BAD_ARGUMENT},
		"target":          {godwit.Draft{Target: 1}, pb.Code_CODE_BAD_ARGUMENT},
		"time to live":    {godwit.Draft{TTL: -1}, pb.Code_CODE_BAD_ARGUMENT},
		"mention":         {godwit.Draft{Mentions: []string{"?"}}, pb.Code_CODE_BAD_ID},
		"mentions":        {godwit.Draft{Mentions: slices.Repeat([]string{"bob"}, protocol.MaxMentions+1)}, pb.Code_CODE_TOO_MANY_MENTIONS},
		"custom":          {godwit.Draft{Kind: godwit.KindCustom}, pb.Code_CODE_BAD_ARGUMENT},
		"text, not UTF-8": {godwit.Draft{Body: []byte{0xff}}, pb.Code_CODE_BAD_ARGUMENT},
	} {
		if _, err := a.Send(within(t), conv, test.draft); godwit.CodeOf(err) != test.code {
			t.Errorf("%s: %v", name, err)
		}
	}
}
