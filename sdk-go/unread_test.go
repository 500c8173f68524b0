package godwit

import (
	"testing"
	"time"

	"github.com/godwit-im/godwit/protocol"
	"github.com/godwit-im/godwit/protocol/pb"
)

// TestAStateBeforeItsMessages counts messages, one of which mentions the user,
// and then brings them.
func TestAStateBeforeItsMessages(t *testing.T) {
	now := time.Unix(1e9, 0)
	a, s := newTestSession(&Snapshot{}, 1, now)
	s.receiveSync(t, now)
	b := a.box("d:alice:bob")
	state := &pb.ConversationState{Conversation: b.id, HeadSeq: 2, MinSeq: 1, Unread: 2, MentionSeq: 2}
	if err := s.receive(protocol.TypeState, 0, &pb.State{State: state}, now); err != nil {
		t.Fatal(err)
	}
	for seq, mentions := range [][]string{nil, {a.user}} {
		a.offer(b, fromWire(&pb.Message{
			Conversation: b.id, Seq: uint64(seq + 1), Sender: "bob", Kind: KindText, Mentions: mentions, Count: uint64(seq + 1),
		}), viaPush, now)
	}
	if got := b.conversation(); got.Unread != 2 || got.MentionSeq != 2 {
		t.Errorf("unread %d, mention %d, want 2 and 2", got.Unread, got.MentionSeq)
	}
}

// TestReadBeforeItArrives reads what the server has counted and what has not
// arrived here: how many of the messages that were read count is not known.
func TestReadBeforeItArrives(t *testing.T) {
	now := time.Unix(1e9, 0)
	a, s := newTestSession(&Snapshot{}, 1, now)
	s.receiveSync(t, now)
	b := a.box("d:alice:bob")
	state := &pb.ConversationState{Conversation: b.id, HeadSeq: 2, MinSeq: 1, Unread: 1}
	if err := s.receive(protocol.TypeState, 0, &pb.State{State: state}, now); err != nil {
		t.Fatal(err)
	}
	a.raiseOwn(b, 1, 1)
	a.readUpTo(b, 0)
	if !b.view.infoWanted {
		t.Errorf("unread %d, and the server is not asked", b.unread)
	}
}

// TestClearedBeforeItArrives clears what has not arrived: the notices among it
// would have said what became of the group.
func TestClearedBeforeItArrives(t *testing.T) {
	now := time.Unix(1e9, 0)
	a, s := newTestSession(&Snapshot{}, 1, now)
	s.receiveSync(t, now)
	b := a.box("g:alice:1")
	a.learn(b, &pb.ConversationState{Conversation: b.id, HeadSeq: 2, MinSeq: 1, Membership: &pb.Membership{Standing: StandingActive}})
	a.forget(b, nil, 0, 2)
	if !b.view.infoWanted {
		t.Error("the server is not asked")
	}
}

// TestDeletedWhileSyncing deletes a message while a SYNC is under way, the answer
// to which still has it for a preview.
func TestDeletedWhileSyncing(t *testing.T) {
	now := time.Unix(1e9, 0)
	a, s := newTestSession(&Snapshot{User: "alice"}, 1, now)
	s.receiveSync(t, now)
	s.lastRequest = 7
	c := &Client{account: *a, done: make(chan struct{}), closing: make(chan struct{})}
	call := c.Delete("d:alice:bob", 1)
	call.call.learn(a, &pb.Deleted{})
	b := a.box("d:alice:bob")
	s.conversation(&pb.ConversationState{Conversation: b.id, HeadSeq: 1, MinSeq: 1, Last: &pb.Message{Conversation: b.id, Seq: 1, Body: []byte("hi")}}, 7)
	if !b.view.infoWanted {
		t.Error("the server is not asked")
	}
}

// TestMentionedByAnEdit reads a message that an edit made mention the user: the
// edit may be a mention itself, so the server is asked.
func TestMentionedByAnEdit(t *testing.T) {
	now := time.Unix(1e9, 0)
	a, s := newTestSession(&Snapshot{User: "alice"}, 1, now)
	s.receiveSync(t, now)
	b := a.box("d:alice:bob")
	a.offer(b, fromWire(&pb.Message{Conversation: b.id, Seq: 1, Sender: "bob", Kind: KindText, Count: 1}), viaPush, now)
	a.offer(b, fromWire(&pb.Message{
		Conversation: b.id, Seq: 2, Sender: "bob", Kind: KindEdit, Target: 1, Mentions: []string{"alice"}, Count: 1, ShownSeq: 1,
	}), viaPush, now)
	a.learn(b, &pb.ConversationState{Conversation: b.id, HeadSeq: 2, MinSeq: 1, Unread: 1, MentionSeq: 1})
	b.view.infoWanted = false
	a.wantRead(b, 1, now)
	a.markedUnread(b, 1, 1, 0)
	if !b.view.infoWanted {
		t.Errorf("mention %d, and the server is not asked", b.view.mention)
	}
}

// TestAnEventIsNotDeleted deletes what turns out to be an edit: it is applied all
// the same, as the server has it.
func TestAnEventIsNotDeleted(t *testing.T) {
	now := time.Unix(1e9, 0)
	a, s := newTestSession(&Snapshot{User: "alice"}, 1, now)
	s.receiveSync(t, now)
	b := a.box("d:alice:bob")
	a.offer(b, fromWire(&pb.Message{Conversation: b.id, Seq: 1, Sender: "bob", Kind: KindText, Body: []byte("one"), Count: 1}), viaPush, now)
	a.forget(b, []uint64{2}, 0, 0)
	a.offer(b, fromWire(&pb.Message{
		Conversation: b.id, Seq: 2, Sender: "bob", Kind: KindEdit, Target: 1, Body: []byte("two"), Count: 1, ShownSeq: 1,
	}), viaPush, now)
	var view Message
	for _, e := range a.events {
		switch {
		case e.what != messageEvent:
		case e.message.IsEvent():
			view.Apply(e.message.Change())
		default:
			view = e.message
		}
	}
	if view.Text() != "two" {
		t.Errorf("the message says %q", view.Text())
	}
}

// TestNoLongerMentioned has an edit take back the only mention: none is shown
// from then on, whatever the server answers later.
func TestNoLongerMentioned(t *testing.T) {
	now := time.Unix(1e9, 0)
	a, s := newTestSession(&Snapshot{User: "alice"}, 1, now)
	s.receiveSync(t, now)
	b := a.box("d:alice:bob")
	a.offer(b, fromWire(&pb.Message{Conversation: b.id, Seq: 1, Sender: "bob", Kind: KindText, Mentions: []string{"alice"}, Count: 1}), viaPush, now)
	if b.view.mention != 1 {
		t.Fatalf("mention %d before the edit", b.view.mention)
	}
	a.offer(b, fromWire(&pb.Message{Conversation: b.id, Seq: 2, Sender: "bob", Kind: KindEdit, Target: 1, Count: 1, ShownSeq: 1}), viaPush, now)
	if b.view.mention != 0 {
		t.Errorf("mention %d after it", b.view.mention)
	}
}
