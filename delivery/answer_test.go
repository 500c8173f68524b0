package delivery

import (
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/godwit-im/godwit/chat"
	"github.com/godwit-im/godwit/protocol"
	"github.com/godwit-im/godwit/protocol/pb"
)

// Every operation has its answer.
func TestAnswers(t *testing.T) {
	n := newNode(t)
	ann := n.connect("ann", "phone")
	group := &pb.Group{Conversation: "g:ann:x", Name: "club", Version: 3}
	for _, tc := range []struct {
		op     chat.Op
		result chat.Result
		is     protocol.Type
		want   proto.Message
	}{
		{chat.OpSend, chat.Result{Seq: 1, ID: 2, TimeMs: 3, Duplicate: true}, protocol.TypeSent, &pb.Sent{Seq: 1, Id: 2, TimeMs: 3, Duplicate: true}},
		{chat.OpMark, chat.Result{ReadSeq: 1, DeliveredSeq: 2, Count: chat.Count{Unread: 3, MentionSeq: 4, HeadSeq: 5, TimeMs: 6}}, protocol.TypeMarked, &pb.Marked{ReadSeq: 1, DeliveredSeq: 2, Unread: 3, MentionSeq: 4, HeadSeq: 5, CountedMs: 6}},
		{
			chat.OpGroup,
			chat.Result{Seq: 7, Group: group, Standing: pb.Standing_STANDING_ACTIVE},
			protocol.TypeGrouped,
			&pb.Grouped{Conversation: "g:ann:x", Seq: 7, Group: group, Standing: pb.Standing_STANDING_ACTIVE},
		},
		{chat.OpSettings, chat.Result{Settings: &pb.Settings{Muted: true}}, protocol.TypeSet, &pb.Set{Settings: &pb.Settings{Muted: true}}},
		{chat.OpDelete, chat.Result{ClearedSeq: 4}, protocol.TypeDeleted, &pb.Deleted{ClearedSeq: 4}},
		{chat.OpContact, chat.Result{Contact: &pb.Contact{User: "bob", Blocked: true}}, protocol.TypeContacted, &pb.Contacted{Contact: &pb.Contact{User: "bob", Blocked: true}}},
		{chat.OpAccount, chat.Result{Account: &pb.Account{Presence: pb.Audience_AUDIENCE_NOBODY}}, protocol.TypeAccounted, &pb.Accounted{Account: &pb.Account{Presence: pb.Audience_AUDIENCE_NOBODY}}},
		{chat.OpGroup, chat.Result{Err: errNotAMember}, protocol.TypeError, &pb.Error{Code: pb.Code_CODE_NOT_A_MEMBER, Text: errNotAMember.Text}},
	} {
		if err := ann.Begin(0); err != nil {
			t.Fatal(err)
		}
		n.Deliver([]chat.Outcome{{
			Proposal: &chat.Proposal{Origin: ann.Session, Request: 9, Command: chat.Command{Op: tc.op, Conversation: "g:ann:x"}},
			Result:   tc.result,
		}})
		frames := ann.wire.take()
		if len(frames) != 1 || frames[0].Request != 9 {
			t.Errorf("op %d: answered with %v", tc.op, frames)
			continue
		}
		got := tc.is.NewBody()
		decode(t, frames[0], tc.is, got)
		if !proto.Equal(got, tc.want) {
			t.Errorf("op %d: %v, want %v", tc.op, got, tc.want)
		}
	}
}

// A STATE goes to all sessions of its user but the one that asked, and one that
// is missed is told of as a receipt is. A notice goes to who caused it too:
// GROUPED doesn't have it.
func TestStateAndNotice(t *testing.T) {
	n := newNode(t)
	club := newClub()
	n.members = club
	club.admit("ann")
	phone, tablet, watch := n.attach("ann", "phone", 0), n.attach("ann", "tablet", 0), n.attach("ann", "watch", 0)
	for _, c := range []*client{phone, tablet, watch} {
		c.loaded(club.appliedNow)
	}
	watch.wire.setRoom(0)
	watch.PushReceipt("d:ann:bob", protocol.AppendProto(nil, protocol.TypeReceipt, 0, &pb.Receipt{})) // fills it
	if err := phone.Begin(0); err != nil {
		t.Fatal(err)
	}
	state := &pb.State{State: &pb.ConversationState{Conversation: club.conversation, HeadSeq: 1}}
	o := club.outcome(1, chat.Effect{
		Kind: chat.EffectState, Conversation: club.conversation, Users: []string{"ann"},
		Frame: protocol.AppendProto(nil, protocol.TypeState, 0, state),
	})
	o.Proposal = &chat.Proposal{Origin: phone.Session, Request: 1, Command: chat.Command{Op: chat.OpGroup}}
	n.Deliver([]chat.Outcome{o})

	want := func(c *client, types ...protocol.Type) {
		t.Helper()
		frames := c.wire.take()
		if len(frames) != len(types) {
			t.Fatalf("%s got %v, want %v", c.Device, frames, types)
		}
		for i, is := range types {
			if frames[i].Type != is {
				t.Errorf("%s got %v, want %v", c.Device, frames[i], is)
			}
		}
	}
	want(phone, protocol.TypeGrouped, protocol.TypeMessage)
	want(tablet, protocol.TypeState, protocol.TypeMessage)
	want(watch, protocol.TypeReceipt)
	watch.Drained()
	_, heads := messages(t, watch.wire.take())
	if len(heads) != 2 || heads[0].Seq != 0 || heads[1].Seq != 1 {
		t.Errorf("HEADS %v, want one for the state and one for the notice", heads)
	}
}
