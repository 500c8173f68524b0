package chat

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"github.com/godwit-im/godwit/msgstore"
	"github.com/godwit-im/godwit/protocol/pb"
)

// pasts are groups as they were when users left, by group and user: all messages
// from the first that was kept on.
type pasts map[[2]string][]*pb.Message

// follow looks at a group after a command. For who has just left it sets aside what
// there is; for who left before it compares what they are shown with that.
func (p pasts) follow(store *msgstore.Store, conversation string, users []string) error {
	head, _, err := store.Head(conversation)
	if err != nil {
		return err
	}
	for _, user := range users {
		row, _, err := store.Member(user, conversation)
		if err != nil {
			return err
		}
		id := [2]string{conversation, user}
		until := row.Membership.GetUntilSeq()
		switch was, left := p[id]; {
		case until == 0:
			delete(p, id)
		case !left:
			for seq := head.MinSeq; seq <= until; seq++ {
				m, err := stored(store, conversation, seq)
				if err != nil {
					return err
				}
				was = append(was, m)
			}
			p[id] = was
			fallthrough
		default:
			if err := compareAsOf(store, head.MinSeq, was, until); err != nil {
				return fmt.Errorf("as %s is shown %s, whose end is %d: %w", user, conversation, until, err)
			}
		}
	}
	return nil
}

func stored(store *msgstore.Store, conversation string, seq uint64) (*pb.Message, error) {
	return readMessage(func(conversation string, seq uint64) ([]byte, error) {
		wire, found, err := store.Message(conversation, seq)
		if err == nil && !found {
			err = errors.New("no such message")
		}
		return wire, err
	}, conversation, seq)
}

// compareAsOf compares what somebody is shown with was, which ended at until.
func compareAsOf(store *msgstore.Store, min uint64, was []*pb.Message, until uint64) error {
	for _, m := range was {
		if m.Seq < min {
			continue
		}
		wire, _, err := store.Message(m.Conversation, m.Seq)
		if err != nil {
			return err
		}
		shown, err := AsOf(store, wire, until, 0)
		if err != nil {
			return err
		}
		got, want := &pb.Message{}, proto.Clone(m).(*pb.Message)
		if err := proto.Unmarshal(shown, got); err != nil {
			return err
		}
		if err := since(store, min, want, until); err != nil {
			return err
		}
		if !proto.Equal(got, want) {
			return fmt.Errorf("message %d is\n%v, want\n%v", m.Seq, got, want)
		}
	}
	return nil
}

// since makes of a message as it was what whose end is until is to know of what
// came since: that it is gone, or that what it changed is.
func since(store *msgstore.Store, min uint64, m *pb.Message, until uint64) error {
	gone := m
	if m.Kind == pb.Kind_KIND_EDIT {
		if m.Target < min {
			empty(m, pb.MessageState_MESSAGE_STATE_RECALLED)
			return nil
		}
		gone = &pb.Message{Conversation: m.Conversation, Seq: m.Target}
	}
	now, err := stored(store, gone.Conversation, gone.Seq)
	if err != nil || now.State == pb.MessageState_MESSAGE_STATE_NORMAL {
		return err
	}
	empty(m, now.State)
	switch {
	case m.Kind == pb.Kind_KIND_EDIT:
	case now.State == pb.MessageState_MESSAGE_STATE_EXPIRED:
		m.ChangedSeq, m.EditedMs, m.EditedSeq = 0, 0, 0
	case now.ChangedSeq > until:
		m.ChangedSeq, m.EditedMs, m.EditedSeq, m.RecalledBy = until, 0, 0, now.RecalledBy
	}
	return nil
}

// TestFormerMembersSee takes a group and a broadcast with few messages through
// events, leaves and joins, and compares what those who have left are shown with what
// there was when they left.
func TestFormerMembersSee(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		store, err := msgstore.Open(storeOptions(vfs.NewMem()))
		if err != nil {
			rt.Fatal(err)
		}
		defer store.Close()
		users := []string{"ann", "bob", "cid"}
		create := &pb.CreateGroup{
			Kind: pb.GroupKind_GROUP_KIND_GROUP, Join: pb.JoinPolicy_JOIN_POLICY_OPEN, Users: users,
			History: rapid.SampledFrom([]pb.HistoryPolicy{pb.HistoryPolicy_HISTORY_POLICY_ALL, pb.HistoryPolicy_HISTORY_POLICY_FROM_JOIN}).Draw(rt, "history"),
		}
		if rapid.Bool().Draw(rt, "broadcast") {
			create.Kind = pb.GroupKind_GROUP_KIND_BROADCAST // where who leaves makes no notice
		}
		h := newHall(t, store, create)
		defer func() { h.tx.Discard() }()
		pasts := pasts{}
		for range rapid.IntRange(10, 40).Draw(rt, "commands") {
			head, _, err := h.tx.Head(h.id)
			if err != nil {
				rt.Fatal(err)
			}
			user := rapid.SampledFrom(users).Draw(rt, "user")
			target := rapid.Uint64Range(head.MinSeq, min(head.Seq, head.MinSeq+4)).Draw(rt, "target")
			ttl := rapid.SampledFrom([]int64{0, 8}).Draw(rt, "ttl")
			body := []byte(rapid.SampledFrom([]string{"a", "b"}).Draw(rt, "body"))
			mentions := rapid.SampledFrom([][]string{nil, nil, {"ann"}}).Draw(rt, "mentions")
			remove := rapid.Bool().Draw(rt, "remove")
			// What is refused changes nothing.
			switch rapid.IntRange(0, 11).Draw(rt, "what") {
			case 0, 1:
				h.send(hallOwner, Command{Kind: pb.Kind_KIND_TEXT, Body: body, TTLMs: ttl})
			case 2, 3, 4:
				h.send(hallOwner, Command{Kind: pb.Kind_KIND_EDIT, Target: target, Body: body, Mentions: mentions})
			case 5, 6, 7:
				h.send(user, Command{Kind: pb.Kind_KIND_REACTION, Target: target, Body: body, Remove: remove})
			case 8, 9:
				h.group(user, []*pb.GroupRequest{joinGroup, leaveGroup}[rapid.IntRange(0, 1).Draw(rt, "joins, leaves")])
			case 10:
				h.send(hallOwner, Command{Kind: pb.Kind_KIND_RECALL, Target: target})
			case 11:
				m, err := readMessage(h.tx.Message, h.id, target)
				if err != nil {
					rt.Fatal(err)
				}
				if m.ExpiresMs == 0 || m.Target > 0 { // what an event says goes with its target
					h.apply(Command{Op: OpTrim, Below: min(head.MinSeq+1, head.Seq)})
					break
				}
				h.now = max(h.now, m.ExpiresMs)
				h.apply(Command{Op: OpExpire, Seq: target, ExpiresMs: m.ExpiresMs})
			}
			h.settle(store)
			if err := pasts.follow(store, h.id, users); err != nil {
				rt.Fatal(err)
			}
		}
	})
}

// settle commits what was done in a hall, for readers, and goes on in another Tx.
func (h *hall) settle(store *msgstore.Store) {
	h.Helper()
	if err := h.tx.Commit(); err != nil {
		h.Fatal(err)
	}
	h.tx = store.Begin()
}

func (h *hall) text(user, body string) uint64 {
	h.Helper()
	return h.done(h.send(user, Command{Kind: pb.Kind_KIND_TEXT, Body: []byte(body)}))
}

func (h *hall) event(kind pb.Kind, user string, target uint64, body string) uint64 {
	h.Helper()
	return h.done(h.send(user, Command{Kind: kind, Target: target, Body: []byte(body)}))
}

func (h *hall) done(r Result) uint64 {
	h.Helper()
	if r.Err != nil {
		h.Fatal(r.Err)
	}
	return r.Seq
}

// versions returns which versions of the content and of the reactions of a message
// are kept.
func (h *hall) versions(store *msgstore.Store, seq, head uint64) (contents, reactions []uint64) {
	h.Helper()
	all := func(part msgstore.Part, version func(m *pb.Message) uint64) (versions []uint64) {
		for after := range head {
			wire, err := store.Replaced(h.id, seq, part, after)
			if err != nil {
				h.Fatal(err)
			}
			was := &pb.Message{}
			if err := proto.Unmarshal(wire, was); err != nil {
				h.Fatal(err)
			}
			if v := version(was); wire != nil && !slices.Contains(versions, v) {
				versions = append(versions, v)
			}
		}
		return versions
	}
	return all(msgstore.Content, (*pb.Message).GetEditedSeq), all(msgstore.Reactions, (*pb.Message).GetChangedSeq)
}

// Versions are kept for those who left while they were the present ones, and for
// nobody else: however many events there are, so many as there were leaves between
// them, at the most.
func TestWhatIsKept(t *testing.T) {
	store := openStore(t, storeOptions(vfs.NewMem()))
	h := newHall(t, store, &pb.CreateGroup{Users: []string{"ann", "bob", "cid", "dan"}})
	defer func() { h.tx.Discard() }()
	check := func(when string, seq, head uint64, contents, reactions []uint64) {
		t.Helper()
		h.settle(store)
		if c, r := h.versions(store, seq, head); !slices.Equal(c, contents) || !slices.Equal(r, reactions) {
			t.Errorf("%s: contents %v and reactions %v are kept, want %v and %v", when, c, r, contents, reactions)
		}
	}
	const react, edit = pb.Kind_KIND_REACTION, pb.Kind_KIND_EDIT
	seq := h.text("ann", "one")
	h.event(react, "ann", seq, "+1")
	h.event(edit, "ann", seq, "two")
	v := h.event(react, "bob", seq, "+1")
	check("nobody left", seq, v, nil, nil)
	h.must("cid", leaveGroup)
	h.event(react, "ann", seq, "-1")
	head := h.event(react, "bob", seq, "-1")
	check("somebody left, and reactions came", seq, head, nil, []uint64{v})
	edited := h.event(edit, "ann", seq, "three")
	// The content that is replaced is what the one who left sees.
	check("then an edit", seq, edited, []uint64{v - 1}, []uint64{v})
	head = h.event(edit, "ann", seq, "four")
	check("then another one", seq, head, []uint64{v - 1}, []uint64{v})
	h.must("dan", leaveGroup)
	head = h.event(edit, "ann", seq, "five")
	check("somebody else left, and it was edited", seq, head, []uint64{v - 1, head - 2}, []uint64{v, head - 2})
	head = h.event(pb.Kind_KIND_RECALL, "ann", seq, "")
	check("it was recalled", seq, head, nil, nil)
}

// What happens to a message between the look at it and at what is kept of it: it is
// a tombstone, or removed, and never what it was after the end.
func TestAsOfWhileItGoes(t *testing.T) {
	store := openStore(t, storeOptions(vfs.NewMem()))
	h := newHall(t, store, &pb.CreateGroup{Users: []string{"ann", "bob"}})
	defer func() { h.tx.Discard() }()
	seq := h.text("ann", "one")
	first := h.event(pb.Kind_KIND_EDIT, "ann", seq, "two")
	h.must("bob", leaveGroup)
	end := h.membership("bob").UntilSeq
	second := h.event(pb.Kind_KIND_EDIT, "ann", seq, "three")
	h.settle(store)
	read := func(seq uint64) []byte {
		wire, _, err := store.Message(h.id, seq)
		if err != nil {
			t.Fatal(err)
		}
		return wire
	}
	shown := func(wire []byte) (*pb.Message, error) {
		m := &pb.Message{}
		wire, err := AsOf(store, wire, end, 0)
		if err == nil {
			err = proto.Unmarshal(wire, m)
		}
		return m, err
	}
	message, edit := read(seq), read(first)
	for _, wire := range [][]byte{message, edit} {
		if m, err := shown(wire); err != nil || string(m.Body) != "two" || m.State != pb.MessageState_MESSAGE_STATE_NORMAL || m.EditedSeq == second {
			t.Errorf("as it was: %v, %v", m, err)
		}
	}
	h.event(pb.Kind_KIND_RECALL, "ann", seq, "")
	h.settle(store)
	for _, wire := range [][]byte{message, edit} {
		m, err := shown(wire)
		if err != nil || len(m.Body) > 0 || m.State != pb.MessageState_MESSAGE_STATE_RECALLED || m.ChangedSeq > end || m.EditedSeq != 0 || m.EditedMs != 0 {
			t.Errorf("recalled: %v, %v", m, err)
		}
	}
	h.index++
	if _, err := h.tx.Trim(h.index, h.id, first); err != nil {
		t.Fatal(err)
	}
	h.settle(store)
	if m, err := shown(message); !errors.Is(err, ErrNotKept) {
		t.Errorf("removed: %v, %v", m, err)
	}
	if m, err := shown(read(first)); err != nil || len(m.Body) > 0 || m.State != pb.MessageState_MESSAGE_STATE_RECALLED {
		t.Errorf("an edit of what is removed: %v, %v", m, err)
	}
}

// A message that is over is told to be so, whether or not it was swept, and of its
// versions nothing: they might be of after the end.
func TestAsOfExpired(t *testing.T) {
	store := openStore(t, storeOptions(vfs.NewMem()))
	h := newHall(t, store, &pb.CreateGroup{Users: []string{"ann", "bob"}})
	defer func() { h.tx.Discard() }()
	seq := h.done(h.send("ann", Command{Kind: pb.Kind_KIND_TEXT, Body: []byte("one"), TTLMs: time.Hour.Milliseconds()}))
	h.must("bob", leaveGroup)
	end := h.membership("bob").UntilSeq
	edit := h.event(pb.Kind_KIND_EDIT, "ann", seq, "two")
	m, err := readMessage(h.tx.Message, h.id, seq)
	if err != nil {
		t.Fatal(err)
	}
	want := &pb.Message{}
	for _, swept := range []bool{false, true} {
		if swept {
			h.now = m.ExpiresMs
			if r := h.apply(Command{Op: OpExpire, Seq: seq, ExpiresMs: m.ExpiresMs}); r.Err != nil {
				t.Fatal(r.Err)
			}
		}
		h.settle(store)
		wire, _, err := store.Message(h.id, seq)
		if err != nil {
			t.Fatal(err)
		}
		if wire, err = AsOf(store, wire, end, m.ExpiresMs); err != nil {
			t.Fatal(err)
		}
		got := &pb.Message{}
		if err := proto.Unmarshal(wire, got); err != nil {
			t.Fatal(err)
		}
		if got.State != pb.MessageState_MESSAGE_STATE_EXPIRED || len(got.Body) > 0 || got.ChangedSeq != 0 || got.EditedSeq == edit || got.EditedMs != 0 {
			t.Errorf("swept %v: %v", swept, got)
		}
		if swept && !proto.Equal(got, want) {
			t.Errorf("it shows whether it was swept: %v, and %v before", got, want)
		}
		want = got
	}
}

// Of who left before it was noted nothing was kept. What has changed since they see
// without what it says.
func TestAsOfBeforeItWasNoted(t *testing.T) {
	store := openStore(t, storeOptions(vfs.NewMem()))
	h := newHall(t, store, &pb.CreateGroup{Users: []string{"ann"}})
	defer func() { h.tx.Discard() }()
	seq := h.text("ann", "one")
	untouched := h.text("ann", "other")
	h.event(pb.Kind_KIND_EDIT, "ann", seq, "two")
	h.settle(store)
	for _, c := range []struct {
		seq   uint64
		body  string
		state pb.MessageState
	}{
		{seq, "", pb.MessageState_MESSAGE_STATE_DELETED},
		{untouched, "other", pb.MessageState_MESSAGE_STATE_NORMAL},
	} {
		wire, _, err := store.Message(h.id, c.seq)
		if err != nil {
			t.Fatal(err)
		}
		if wire, err = AsOf(store, wire, untouched, 0); err != nil {
			t.Fatal(err)
		}
		m := &pb.Message{}
		if err := proto.Unmarshal(wire, m); err != nil {
			t.Fatal(err)
		}
		if string(m.Body) != c.body || m.State != c.state || m.ChangedSeq > untouched || m.EditedSeq != 0 {
			t.Errorf("%v", m)
		}
	}
}
