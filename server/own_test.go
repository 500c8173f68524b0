package server_test

import (
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/godwit-im/godwit/protocol"
	"github.com/godwit-im/godwit/protocol/pb"
	"github.com/godwit-im/godwit/server"
)

func TestSettingsReachTheOtherDevices(t *testing.T) {
	n := startNode(t, nil)
	phone, tablet := n.login("alice", "phone"), n.login("alice", "tablet")
	phone.send(aliceBob, "m1", "hi")
	var set pb.Set
	phone.call(protocol.TypeSettings, &pb.SetSettings{
		Conversation: aliceBob, Muted: proto.Bool(true), Draft: proto.String("so far"),
	}, protocol.TypeSet, &set)
	if !set.Settings.GetMuted() || set.Settings.GetDraft() != "so far" || set.Settings.GetDraftMs() == 0 {
		t.Errorf("set %v", &set)
	}
	var state pb.State
	if tablet.push(protocol.TypeState, &state); !proto.Equal(state.State.GetMembership().GetSettings(), set.Settings) {
		t.Errorf("the tablet was told %v", &state)
	}
}

func TestDeleteForOneself(t *testing.T) {
	n := startNode(t, func(c *server.Config) { c.Chat.Rules.MaxDeleted = 1 })
	alice := n.login("alice", "phone")
	for i := range 3 {
		alice.send(aliceBob, clientID(i), "hi")
	}
	var deleted pb.Deleted
	alice.call(protocol.TypeDelete, &pb.Delete{Conversation: aliceBob, Seqs: []uint64{2}}, protocol.TypeDeleted, &deleted)
	alice.refused(protocol.TypeDelete, &pb.Delete{Conversation: aliceBob, Seqs: []uint64{3}}, pb.Code_CODE_TOO_MANY_DELETED)
	alice.refused(protocol.TypeDelete, &pb.Delete{Conversation: aliceBob, ClearSeq: 4}, pb.Code_CODE_SEQ_OUT_OF_RANGE)
	alice.call(protocol.TypeDelete, &pb.Delete{Conversation: aliceBob, ClearSeq: 2}, protocol.TypeDeleted, &deleted)
	if deleted.ClearedSeq != 2 {
		t.Errorf("deleted %v", &deleted)
	}
}

func TestContacts(t *testing.T) {
	n := startNode(t, func(c *server.Config) { c.Chat.Rules.MaxContacts, c.Chat.Rules.ContactsOnly = 2, true })
	alice, bob := n.login("alice", "phone"), n.login("bob", "phone")
	contact := func(c *client, user string, action pb.ContactAction) *pb.Contact {
		t.Helper()
		var m pb.Contacted
		c.call(protocol.TypeContact, &pb.ContactRequest{User: user, Action: action}, protocol.TypeContacted, &m)
		return m.Contact
	}
	alice.refused(protocol.TypeSend, textTo(aliceBob, "m1", "hi"), pb.Code_CODE_NOT_ALLOWED)
	if c := contact(alice, "bob", pb.ContactAction_CONTACT_ACTION_REQUEST); c.State != pb.ContactState_CONTACT_STATE_REQUESTED {
		t.Errorf("alice asked: %v", c)
	}
	var notice pb.Message
	if bob.push(protocol.TypeMessage, &notice); notice.Conversation != "s:bob" {
		t.Errorf("bob was told %v", &notice)
	}
	if c := contact(bob, "alice", pb.ContactAction_CONTACT_ACTION_ACCEPT); c.State != pb.ContactState_CONTACT_STATE_CONTACT {
		t.Errorf("bob accepted: %v", c)
	}
	alice.send(aliceBob, "m1", "hi")
	// Whoever has as many as they may have can neither ask, nor be asked, nor
	// block or name a stranger.
	contact(alice, "carol", pb.ContactAction_CONTACT_ACTION_BLOCK)
	full := func(c *client, user string, action pb.ContactAction) {
		t.Helper()
		c.refused(protocol.TypeContact, &pb.ContactRequest{User: user, Action: action, Text: "x"}, pb.Code_CODE_TOO_MANY_CONTACTS)
	}
	full(alice, "dave", pb.ContactAction_CONTACT_ACTION_REQUEST)
	full(alice, "dave", pb.ContactAction_CONTACT_ACTION_BLOCK)
	full(alice, "dave", pb.ContactAction_CONTACT_ACTION_REMARK)
	full(n.login("dave", "phone"), "alice", pb.ContactAction_CONTACT_ACTION_REQUEST)
	contact(alice, "carol", pb.ContactAction_CONTACT_ACTION_UNBLOCK)
	contact(alice, "dave", pb.ContactAction_CONTACT_ACTION_BLOCK)
}

func TestAccount(t *testing.T) {
	n := startNode(t, nil)
	alice := n.login("alice", "phone")
	var m pb.Accounted
	alice.call(protocol.TypeAccount, &pb.SetAccount{Presence: pb.Audience_AUDIENCE_NOBODY.Enum()}, protocol.TypeAccounted, &m)
	if m.Account.GetPresence() != pb.Audience_AUDIENCE_NOBODY {
		t.Errorf("set %v", &m)
	}
	alice.call(protocol.TypeAccount, &pb.SetAccount{}, protocol.TypeAccounted, &m)
	if m.Account.GetPresence() != pb.Audience_AUDIENCE_NOBODY {
		t.Errorf("a change of nothing set %v", &m)
	}
	bob := n.login("bob", "phone")
	bob.send(aliceBob, "m1", "hi")
	alice.call(protocol.TypeAccount, &pb.SetAccount{Messages: pb.Audience_AUDIENCE_CONTACTS.Enum()}, protocol.TypeAccounted, &m)
	if m.Account.GetPresence() != pb.Audience_AUDIENCE_NOBODY || m.Account.GetMessages() != pb.Audience_AUDIENCE_CONTACTS {
		t.Errorf("set %v", &m)
	}
	bob.refused(protocol.TypeSend, textTo(aliceBob, "m2", "hi"), pb.Code_CODE_NOT_ALLOWED)
	alice.refused(protocol.TypeAccount, &pb.SetAccount{Messages: pb.Audience_AUDIENCE_NOBODY.Enum()}, pb.Code_CODE_BAD_ARGUMENT)
}

// What one does to a conversation for oneself, the other one can't see: no SYNC of
// theirs reports it. What they may know, that one has read, it does.
func TestOwnIsNoNewsToTheOther(t *testing.T) {
	n := startNode(t, nil)
	alice, bob := n.login("alice", "phone"), n.login("bob", "phone")
	bob.send(aliceBob, "m1", "hi")
	cursor := bob.synced(nil).Cursor
	reported := func() int { return len(bob.synced(cursor).Conversations) }
	set := func(typ protocol.Type, req proto.Message, want protocol.Type, resp proto.Message) {
		t.Helper()
		alice.call(typ, req, want, resp)
		if reported() != 0 {
			t.Errorf("after %v bob's SYNC reports the conversation", req)
		}
	}
	own := func() {
		t.Helper()
		block := &pb.ContactRequest{User: "bob", Action: pb.ContactAction_CONTACT_ACTION_BLOCK}
		set(protocol.TypeContact, block, protocol.TypeContacted, new(pb.Contacted))
		unblock := &pb.ContactRequest{User: "bob", Action: pb.ContactAction_CONTACT_ACTION_UNBLOCK}
		set(protocol.TypeContact, unblock, protocol.TypeContacted, new(pb.Contacted))
		set(protocol.TypeSettings, &pb.SetSettings{Conversation: aliceBob, Draft: proto.String("well")}, protocol.TypeSet, new(pb.Set))
		set(protocol.TypeSettings, &pb.SetSettings{Conversation: aliceBob, Draft: proto.String("")}, protocol.TypeSet, new(pb.Set))
	}
	own()
	alice.call(protocol.TypeMark, &pb.Mark{Conversation: aliceBob, ReadSeq: 1}, protocol.TypeMarked, new(pb.Marked))
	if reported() != 1 {
		t.Error("bob's SYNC does not report that alice has read")
	}
	cursor = bob.synced(cursor).Cursor
	own()
}

// TestMarkLeavesMuchThatIsGoneUncounted: what one has not read, and is gone, is
// without end; a command looks at a bounded part of it, for it holds up others.
// INFO looks at all.
func TestMarkLeavesMuchThatIsGoneUncounted(t *testing.T) {
	n := startNode(t, nil)
	const gone = 1030
	alice, bob := n.login("alice", "phone"), n.login("bob", "phone")
	for i := range gone {
		m := textTo(aliceBob, clientID(i), "hi")
		m.TtlMs = 1
		alice.call(protocol.TypeSend, m, protocol.TypeSent, new(pb.Sent))
	}
	last := alice.send(aliceBob, "last", "hi").Seq
	mark := func(m *pb.Mark) (marked pb.Marked) {
		m.Conversation = aliceBob
		bob.call(protocol.TypeMark, m, protocol.TypeMarked, &marked)
		return
	}
	if m := mark(&pb.Mark{DeliveredSeq: last}); m.CountedMs != 0 || m.Unread != 0 || m.HeadSeq != last {
		t.Errorf("MARKED %v, want no count", &m)
	}
	var informed pb.Informed
	bob.call(protocol.TypeInfo, &pb.Info{Conversation: aliceBob}, protocol.TypeInformed, &informed)
	if s := informed.State; s.CountedMs == 0 || s.Unread != 1 {
		t.Errorf("INFORMED %v, want one unread", &informed)
	}
	if m := mark(&pb.Mark{ReadSeq: 20}); m.CountedMs == 0 || m.Unread != 1 {
		t.Errorf("MARKED %v, want one unread", &m)
	}
}
