package server_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/godwit-im/godwit/protocol"
	"github.com/godwit-im/godwit/protocol/pb"
	"github.com/godwit-im/godwit/server"
)

func (c *client) pulled(req *pb.Pull) *pb.Pulled {
	c.t.Helper()
	m := new(pb.Pulled)
	c.call(protocol.TypePull, req, protocol.TypePulled, m)
	return m
}

func (c *client) info(conversation string) *pb.ConversationState {
	c.t.Helper()
	m := new(pb.Informed)
	c.call(protocol.TypeInfo, &pb.Info{Conversation: conversation}, protocol.TypeInformed, m)
	return m.State
}

func (c *client) synced(cursor []byte) *pb.Synced {
	c.t.Helper()
	m := new(pb.Synced)
	c.call(protocol.TypeSync, &pb.Sync{Cursor: cursor}, protocol.TypeSynced, m)
	return m
}

func seqs(messages []*pb.Message) (list []uint64) {
	for _, m := range messages {
		list = append(list, m.Seq)
	}
	return list
}

func TestPullAroundAndFromATime(t *testing.T) {
	n := startNode(t, nil)
	alice := n.login("alice", "phone")
	var times []int64
	for i := range 9 {
		sent := alice.send(aliceBob, clientID(i), "hi")
		times = append(times, sent.TimeMs)
		now := time.Now().UnixMilli()
		eventually(t, "a later time", func() bool { return time.Now().UnixMilli() > now })
	}
	const after = int64(1) << 50
	for name, tc := range map[string]struct {
		req  *pb.Pull
		want []uint64
		more bool
	}{
		"around":                {&pb.Pull{From: 5, Around: true, Limit: 4}, []uint64{4, 5, 6, 7}, true},
		"an odd number":         {&pb.Pull{From: 5, Around: true, Limit: 3}, []uint64{4, 5, 6}, true},
		"around one":            {&pb.Pull{From: 5, Around: true, Limit: 1}, []uint64{5}, true},
		"around the first":      {&pb.Pull{From: 1, Around: true, Limit: 4}, []uint64{1, 2, 3}, true},
		"around the last":       {&pb.Pull{From: 9, Around: true, Limit: 4}, []uint64{8, 9}, true},
		"around all":            {&pb.Pull{From: 5, Around: true}, []uint64{1, 2, 3, 4, 5, 6, 7, 8, 9}, false},
		"from a time":           {&pb.Pull{FromTimeMs: times[6]}, []uint64{7, 8, 9}, false},
		"from between":          {&pb.Pull{FromTimeMs: times[6] + 1, Limit: 1}, []uint64{8}, true},
		"from before all":       {&pb.Pull{FromTimeMs: 1, Limit: 2}, []uint64{1, 2}, true},
		"from after all":        {&pb.Pull{FromTimeMs: after}, nil, false},
		"backward from a time":  {&pb.Pull{FromTimeMs: times[2], Backward: true}, []uint64{1, 2, 3}, false},
		"backward from the end": {&pb.Pull{FromTimeMs: after, Backward: true, Limit: 2}, []uint64{8, 9}, true},
		"around a time":         {&pb.Pull{FromTimeMs: times[4], Around: true, Limit: 2}, []uint64{5, 6}, true},
		"from a time until":     {&pb.Pull{FromTimeMs: times[6], Until: 8}, []uint64{7, 8}, false},
	} {
		tc.req.Conversation = aliceBob
		page := alice.pulled(tc.req)
		if got := seqs(page.Messages); !slices.Equal(got, tc.want) || page.More != tc.more || page.HeadSeq != 9 || page.MinSeq != 1 {
			t.Errorf("%s: %v more=%t, want %v more=%t", name, got, page.More, tc.want, tc.more)
		}
	}
	for name, req := range map[string]*pb.Pull{
		"around nothing":       {Around: true},
		"around, backward":     {From: 5, Around: true, Backward: true},
		"around, until":        {From: 5, Around: true, Until: 7},
		"a seq and a time":     {From: 5, FromTimeMs: times[4]},
		"a time before 1970":   {FromTimeMs: -1},
		"until before a time":  {FromTimeMs: times[6], Until: 6},
		"until, the wrong way": {FromTimeMs: times[2], Backward: true, Until: 4},
	} {
		req.Conversation = aliceBob
		f := alice.answer(alice.request(protocol.TypePull, req))
		var e pb.Error
		if alice.decode(f, protocol.TypeError, &e); e.Code != pb.Code_CODE_BAD_ARGUMENT {
			t.Errorf("%s: %v", name, &e)
		}
	}
	alice.refused(protocol.TypePull, &pb.Pull{Conversation: aliceBob, From: 11, Around: true}, pb.Code_CODE_SEQ_OUT_OF_RANGE)
}

// What a member may read begins where they joined and ends where they left, in
// PULL, INFO and SYNC alike; and nobody else can tell a group from none.
func TestBoundsOfAMember(t *testing.T) {
	n := startNode(t, nil)
	alice, bob := n.login("alice", "phone"), n.login("bob", "phone")
	group := alice.create(&pb.CreateGroup{ClientId: "club", Name: "club", Join: pb.JoinPolicy_JOIN_POLICY_OPEN}).Conversation // 1
	alice.send(group, "m1", "before")                                                                                         // 2
	cursor := bob.synced(nil).Cursor
	bob.grouped(join(group))          // 3
	alice.send(group, "m2", "during") // 4
	page := bob.synced(cursor)
	if len(page.Conversations) != 1 {
		t.Fatalf("bob's SYNC: %v", page)
	}
	c := page.Conversations[0]
	if c.HeadSeq != 4 || c.MinSeq != 3 || c.Unread != 1 || c.Last.GetSeq() != 4 || c.HeadId != c.Last.GetId() ||
		c.Membership.GetStanding() != pb.Standing_STANDING_ACTIVE || c.Group.GetName() != "club" {
		t.Errorf("bob's SYNC: %v", c)
	}
	cursor = page.Cursor
	alice.send(group, "m3", "more") // 5
	if page = bob.synced(cursor); len(page.Conversations) != 1 || page.Conversations[0].Group != nil || page.Conversations[0].Unread != 2 {
		t.Errorf("the group's data was told again: %v", page)
	}
	cursor = page.Cursor
	bob.grouped(leave(group))         // 6
	alice.send(group, "m4", "after")  // 7
	alice.send(group, "m5", "after2") // 8
	page = bob.synced(cursor)
	if len(page.Conversations) != 1 {
		t.Fatalf("bob's SYNC after: %v", page)
	}
	c = page.Conversations[0]
	if c.HeadSeq != 6 || c.Last.GetSeq() != 6 || c.Unread != 2 || c.Membership.GetStanding() != pb.Standing_STANDING_LEFT || c.Group != nil {
		t.Errorf("bob's SYNC after: %v", c)
	}
	again := bob.info(group)
	if again.CountedMs < c.CountedMs {
		t.Errorf("INFO counted at %d, SYNC before it at %d", again.CountedMs, c.CountedMs)
	}
	again.CountedMs = c.CountedMs
	if !proto.Equal(again, c) {
		t.Errorf("INFO says %v, SYNC said %v", again, c)
	}
	if again := bob.synced(page.Cursor); len(again.Conversations) != 0 {
		t.Errorf("a group that goes on without bob is news: %v", again)
	}
	for name, req := range map[string]*pb.Pull{
		"forward": {}, "backward": {Backward: true}, "until": {From: 1, Until: 9}, "around": {From: 4, Around: true}, "from a time": {FromTimeMs: 1},
	} {
		req.Conversation = group
		if page := bob.pulled(req); !slices.Equal(seqs(page.Messages), []uint64{3, 4, 5, 6}) || page.MinSeq != 3 || page.HeadSeq != 6 || page.More {
			t.Errorf("%s: %v", name, page)
		}
	}
	bob.refused(protocol.TypePull, &pb.Pull{Conversation: group, From: 8}, pb.Code_CODE_SEQ_OUT_OF_RANGE)

	carol := n.login("carol", "phone")
	var refusals []string
	for _, id := range []string{group, "g:alice:none"} {
		for _, req := range []struct {
			typ protocol.Type
			m   proto.Message
		}{
			{protocol.TypePull, &pb.Pull{Conversation: id}},
			{protocol.TypeInfo, &pb.Info{Conversation: id}},
			{protocol.TypeMembers, &pb.Members{Conversation: id}},
			{protocol.TypeMembers, &pb.Members{Conversation: id, Requests: true}},
			{protocol.TypeReaders, &pb.Readers{Conversation: id, Seq: 1}},
			{protocol.TypeReactors, &pb.Reactors{Conversation: id, Seq: 1, Key: "+"}},
		} {
			f := carol.answer(carol.request(req.typ, req.m))
			var e pb.Error
			if carol.decode(f, protocol.TypeError, &e); e.Code != pb.Code_CODE_NOT_A_MEMBER {
				t.Errorf("%s of %s: %v", req.typ, id, &e)
			}
			refusals = append(refusals, e.Text)
		}
	}
	if half := len(refusals) / 2; !slices.Equal(refusals[:half], refusals[half:]) {
		t.Errorf("a group and none are told apart: %q", refusals)
	}
	// Those who have left are no members either.
	for typ, m := range map[protocol.Type]proto.Message{
		protocol.TypeMembers: &pb.Members{Conversation: group},
		protocol.TypeReaders: &pb.Readers{Conversation: group, Seq: 4},
	} {
		bob.refused(typ, m, pb.Code_CODE_NOT_A_MEMBER)
	}
}

func TestMembersInPages(t *testing.T) {
	n := startNode(t, nil)
	alice, bob := n.login("alice", "phone"), n.login("bob", "phone")
	others := []string{"bob"}
	for i := range 6 {
		others = append(others, fmt.Sprintf("m%d", i))
	}
	made := alice.create(&pb.CreateGroup{ClientId: "club", Users: others, Join: pb.JoinPolicy_JOIN_POLICY_APPROVAL})
	group := made.Conversation
	bob.grouped(&pb.GroupRequest{Conversation: group, Action: &pb.GroupRequest_Nick{Nick: "Bobby"}})
	list := func(c *client, req *pb.Members) *pb.MemberList {
		t.Helper()
		req.Conversation = group
		m := new(pb.MemberList)
		c.call(protocol.TypeMembers, req, protocol.TypeMemberList, m)
		return m
	}
	var users []string
	after := ""
	for more := true; more; {
		page := list(bob, &pb.Members{After: after, Limit: 3})
		for _, m := range page.Members {
			users = append(users, m.User)
			switch {
			case m.JoinedMs == 0, m.User == "alice" != (m.Role == pb.Role_ROLE_OWNER), m.User == "bob" != (m.Nick == "Bobby"):
				t.Errorf("listed %v", m)
			}
		}
		if len(page.Members) > 3 || page.MembersVersion == made.Group.MembersVersion {
			t.Errorf("a page of %d, version %d", len(page.Members), page.MembersVersion)
		}
		after, more = users[len(users)-1], page.More
	}
	if want := append([]string{"alice"}, others...); !slices.Equal(users, want) {
		t.Errorf("listed %v, want %v", users, want)
	}

	// Who asks to be let in is the admins' business.
	n.login("carol", "phone").grouped(join(group))
	if asked := list(alice, &pb.Members{Requests: true}); len(asked.Members) != 1 || asked.Members[0].User != "carol" {
		t.Errorf("asked have %v", asked)
	}
	bob.refused(protocol.TypeMembers, &pb.Members{Conversation: group, Requests: true}, pb.Code_CODE_NOT_ALLOWED)
	bob.refused(protocol.TypeMembers, &pb.Members{Conversation: aliceBob}, pb.Code_CODE_BAD_ARGUMENT)
	bob.refused(protocol.TypeMembers, &pb.Members{Conversation: group, After: "a b"}, pb.Code_CODE_BAD_ID)

	// Followers of a broadcast aren't told of one another.
	news := alice.create(&pb.CreateGroup{ClientId: "news", Kind: pb.GroupKind_GROUP_KIND_BROADCAST}).Conversation
	bob.grouped(join(news))
	bob.refused(protocol.TypeMembers, &pb.Members{Conversation: news}, pb.Code_CODE_NOT_ALLOWED)
	group = news
	if all := list(alice, &pb.Members{}); len(all.Members) != 2 {
		t.Errorf("the broadcast has %v", all)
	}
}

func TestReaders(t *testing.T) {
	n := startNode(t, func(c *server.Config) { c.Chat.Rules.ReceiptMembers = 4 })
	alice, bob, carol := n.login("alice", "phone"), n.login("bob", "phone"), n.login("carol", "phone")
	group := alice.create(&pb.CreateGroup{ClientId: "club", Users: []string{"bob", "carol"}, Join: pb.JoinPolicy_JOIN_POLICY_OPEN}).Conversation // 1
	alice.send(group, "m1", "one")                                                                                                               // 2
	alice.send(group, "m2", "two")                                                                                                               // 3
	var marked pb.Marked
	bob.call(protocol.TypeMark, &pb.Mark{Conversation: group, ReadSeq: 2, DeliveredSeq: 3}, protocol.TypeMarked, &marked)
	dave := n.login("dave", "phone")
	dave.grouped(join(group)) // 4: can't see what was before
	readers := func(c *client, seq uint64) *pb.ReaderList {
		t.Helper()
		m := new(pb.ReaderList)
		c.call(protocol.TypeReaders, &pb.Readers{Conversation: group, Seq: seq}, protocol.TypeReaderList, m)
		return m
	}
	for seq, want := range map[uint64]*pb.ReaderList{
		2: {Read: 1, Delivered: 1, Members: 2, Readers: []string{"bob"}},
		3: {Delivered: 1, Members: 2},
	} {
		if got := readers(carol, seq); !proto.Equal(got, want) {
			t.Errorf("%d was read by %v, want %v", seq, got, want)
		}
	}
	dave.refused(protocol.TypeReaders, &pb.Readers{Conversation: group, Seq: 3}, pb.Code_CODE_NOT_FOUND)
	bob.refused(protocol.TypeReaders, &pb.Readers{Conversation: group, Seq: 5}, pb.Code_CODE_SEQ_OUT_OF_RANGE)
	bob.refused(protocol.TypeReaders, &pb.Readers{Conversation: group}, pb.Code_CODE_NOT_FOUND)
	bob.refused(protocol.TypeReaders, &pb.Readers{Conversation: aliceBob, Seq: 1}, pb.Code_CODE_BAD_ARGUMENT)
	n.login("erin", "phone").grouped(join(group))
	bob.refused(protocol.TypeReaders, &pb.Readers{Conversation: group, Seq: 2}, pb.Code_CODE_GROUP_TOO_LARGE)
}

func TestReactors(t *testing.T) {
	n := startNode(t, nil)
	alice, bob := n.login("alice", "phone"), n.login("bob", "phone")
	alice.send(aliceBob, "m1", "hi")
	react := func(c *client, clientID, key string) {
		t.Helper()
		var sent pb.Sent
		c.call(protocol.TypeSend, &pb.Send{
			Conversation: aliceBob, ClientId: clientID, Kind: pb.Kind_KIND_REACTION, Target: 1, Body: []byte(key),
		}, protocol.TypeSent, &sent)
	}
	react(alice, "r1", "+")
	react(bob, "r2", "+")
	react(bob, "r3", "!")
	var list pb.ReactorList
	reactors := func(req *pb.Reactors) []string {
		t.Helper()
		req.Conversation, req.Seq = aliceBob, 1
		list.Reset()
		bob.call(protocol.TypeReactors, req, protocol.TypeReactorList, &list)
		return list.Users
	}
	if got := reactors(&pb.Reactors{Key: "+"}); !slices.Equal(got, []string{"alice", "bob"}) || list.More {
		t.Errorf("+ by %v", &list)
	}
	if got := reactors(&pb.Reactors{Key: "+", Limit: 1}); !slices.Equal(got, []string{"alice"}) || !list.More {
		t.Errorf("the first +: %v", &list)
	}
	if got := reactors(&pb.Reactors{Key: "+", After: "alice"}); !slices.Equal(got, []string{"bob"}) || list.More {
		t.Errorf("the other +: %v", &list)
	}
	if got := reactors(&pb.Reactors{Key: "?"}); len(got) != 0 {
		t.Errorf("? by %v", got)
	}
	bob.refused(protocol.TypeReactors, &pb.Reactors{Conversation: aliceBob, Seq: 1}, pb.Code_CODE_BAD_ARGUMENT)
	bob.refused(protocol.TypeReactors, &pb.Reactors{Conversation: aliceBob, Key: "+"}, pb.Code_CODE_NOT_FOUND)
	bob.refused(protocol.TypeReactors, &pb.Reactors{Conversation: aliceBob, Seq: 9, Key: "+"}, pb.Code_CODE_SEQ_OUT_OF_RANGE)
	// For bob it is gone, and so are its reactions; for alice they are there.
	var deleted pb.Deleted
	bob.call(protocol.TypeDelete, &pb.Delete{Conversation: aliceBob, Seqs: []uint64{1}}, protocol.TypeDeleted, &deleted)
	bob.refused(protocol.TypeReactors, &pb.Reactors{Conversation: aliceBob, Seq: 1, Key: "+"}, pb.Code_CODE_NOT_FOUND)
	bob = alice
	if got := reactors(&pb.Reactors{Key: "+"}); len(got) != 2 {
		t.Errorf("+ to alice: %v", got)
	}
}

func TestContactsInPages(t *testing.T) {
	n := startNode(t, nil)
	alice := n.login("alice", "phone")
	contact := func(user string, action pb.ContactAction, text string) {
		t.Helper()
		var m pb.Contacted
		alice.call(protocol.TypeContact, &pb.ContactRequest{User: user, Action: action, Text: text}, protocol.TypeContacted, &m)
	}
	contact("bob", pb.ContactAction_CONTACT_ACTION_REQUEST, "hi")
	contact("zoe", pb.ContactAction_CONTACT_ACTION_BLOCK, "")
	contact("carol", pb.ContactAction_CONTACT_ACTION_REMARK, "C.")
	alice.send("d:alice:dave", "m1", "nothing to her")
	var all []*pb.Contact
	for more := true; more; {
		req := &pb.Contacts{Limit: 2}
		if len(all) > 0 {
			req.After = all[len(all)-1].User
		}
		var page pb.ContactList
		alice.call(protocol.TypeContacts, req, protocol.TypeContactList, &page)
		all, more = append(all, page.Contacts...), page.More
	}
	if len(all) != 3 || all[0].User != "bob" || all[0].State != pb.ContactState_CONTACT_STATE_REQUESTED || all[0].TimeMs == 0 ||
		all[1].User != "carol" || all[1].Remark != "C." || all[2].User != "zoe" || !all[2].Blocked {
		t.Errorf("alice's contacts: %v", all)
	}
	alice.refused(protocol.TypeContacts, &pb.Contacts{After: "a b"}, pb.Code_CODE_BAD_ID)

	// A conversation without a message is reported, to whom there is something to
	// say: not to the one who is blocked.
	c := alice.info("d:alice:zoe")
	if c.HeadSeq != 0 || c.Last != nil || !c.Membership.GetBlocked() {
		t.Errorf("the one with zoe: %v", c)
	}
	if page := alice.synced(nil); !slices.ContainsFunc(page.Conversations, func(c *pb.ConversationState) bool { return c.Conversation == "d:alice:zoe" }) {
		t.Errorf("alice's SYNC: %v", page)
	}
	zoe := n.login("zoe", "phone")
	if page := zoe.synced(nil); len(page.Conversations) != 0 {
		t.Errorf("zoe was told of %v", page)
	}
	zoe.refused(protocol.TypeInfo, &pb.Info{Conversation: "d:alice:zoe"}, pb.Code_CODE_NOT_A_MEMBER)
	zoe.refused(protocol.TypePull, &pb.Pull{Conversation: "d:alice:zoe"}, pb.Code_CODE_NOT_A_MEMBER)
}

// A new device learns of all there is: groups one is in, was in, or is asked
// into, and the system conversation.
func TestANewDevice(t *testing.T) {
	n := startNode(t, nil)
	alice, bob := n.login("alice", "phone"), n.login("bob", "phone")
	in := alice.group("in", "bob")
	was := alice.group("was", "bob")
	bob.grouped(leave(was))
	asked := alice.group("asked")
	alice.grouped(invite(asked, "bob"))
	refused := alice.group("refused")
	alice.grouped(invite(refused, "bob"))
	var notice pb.Message
	bob.push(protocol.TypeMessage, &notice)
	for notice.Conversation != "s:bob" || notice.Seq < 2 {
		bob.push(protocol.TypeMessage, &notice)
	}
	alice.send(in, "m1", "hi")
	var sent pb.Sent
	alice.call(protocol.TypeSend, &pb.Send{
		Conversation: in, ClientId: "m2", Kind: pb.Kind_KIND_TEXT, Body: []byte("bob!"), Mentions: []string{"bob"},
	}, protocol.TypeSent, &sent)
	cursor := bob.synced(nil).Cursor
	bob.grouped(&pb.GroupRequest{Conversation: refused, Action: &pb.GroupRequest_Refuse{Refuse: &pb.Nothing{}}})
	if page := bob.synced(cursor); len(page.Conversations) != 1 || page.Conversations[0].Membership.GetStanding() != 0 {
		t.Errorf("an invitation that was refused: %v", page)
	}

	standing := map[string]pb.Standing{}
	for _, c := range n.login("bob", "tablet").synced(nil).Conversations {
		standing[c.Conversation] = c.Membership.GetStanding()
		ok := true
		switch c.Conversation {
		case in:
			ok = c.HeadSeq == 3 && c.Unread == 2 && c.MentionSeq == sent.Seq && c.Group != nil
		case was:
			ok = c.HeadSeq == 2 && c.Last.GetSeq() == 2 && c.Group == nil
		case asked:
			ok = c.HeadSeq == 0 && c.MinSeq == 1 && c.Last == nil && c.Group == nil && c.Membership.GetInvitedBy() == "alice"
		case "s:bob":
			ok = c.HeadSeq == 2 && c.Unread == 2 && c.Last.GetSeq() == 2
		}
		if !ok {
			t.Errorf("reported: %v", c)
		}
	}
	if len(standing) != 4 || standing[in] != pb.Standing_STANDING_ACTIVE || standing[was] != pb.Standing_STANDING_LEFT || standing[asked] != pb.Standing_STANDING_INVITED {
		t.Errorf("reported: %v", standing)
	}
	bob.refused(protocol.TypePull, &pb.Pull{Conversation: asked}, pb.Code_CODE_NOT_A_MEMBER)
	if c := bob.info(asked); c.Membership.GetStanding() != pb.Standing_STANDING_INVITED {
		t.Errorf("INFO: %v", c)
	}
	bob.refused(protocol.TypeInfo, &pb.Info{Conversation: refused}, pb.Code_CODE_NOT_A_MEMBER)
	if page := bob.pulled(&pb.Pull{Conversation: "s:bob"}); !slices.Equal(seqs(page.Messages), []uint64{1, 2}) {
		t.Errorf("bob's system conversation: %v", page)
	}
	alice.refused(protocol.TypePull, &pb.Pull{Conversation: "s:bob"}, pb.Code_CODE_NOT_A_MEMBER)
}
