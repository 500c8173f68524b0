package server_test

import (
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/godwit-im/godwit/protocol"
	"github.com/godwit-im/godwit/protocol/pb"
	"github.com/godwit-im/godwit/server"
)

// group makes a group of the client's user and others.
func (c *client) group(clientID string, others ...string) string {
	c.t.Helper()
	return c.create(&pb.CreateGroup{ClientId: clientID, Users: others}).Conversation
}

func (c *client) create(req *pb.CreateGroup) *pb.Grouped {
	c.t.Helper()
	m := new(pb.Grouped)
	c.call(protocol.TypeGroup, &pb.GroupRequest{Action: &pb.GroupRequest_Create{Create: req}}, protocol.TypeGrouped, m)
	return m
}

func (c *client) grouped(req *pb.GroupRequest) *pb.Grouped {
	c.t.Helper()
	m := new(pb.Grouped)
	c.call(protocol.TypeGroup, req, protocol.TypeGrouped, m)
	return m
}

func join(group string) *pb.GroupRequest {
	return &pb.GroupRequest{Conversation: group, Action: &pb.GroupRequest_Join{Join: &pb.Join{}}}
}

func leave(group string) *pb.GroupRequest {
	return &pb.GroupRequest{Conversation: group, Action: &pb.GroupRequest_Leave{Leave: &pb.Nothing{}}}
}

func dissolve(group string) *pb.GroupRequest {
	return &pb.GroupRequest{Conversation: group, Action: &pb.GroupRequest_Dissolve{Dissolve: &pb.Nothing{}}}
}

func add(group string, users ...string) *pb.GroupRequest {
	return &pb.GroupRequest{Conversation: group, Action: &pb.GroupRequest_Add{Add: &pb.Users{Users: users}}}
}

func invite(group string, users ...string) *pb.GroupRequest {
	return &pb.GroupRequest{Conversation: group, Action: &pb.GroupRequest_Invite{Invite: &pb.Users{Users: users}}}
}

func TestGroupLife(t *testing.T) {
	n := startNode(t, nil)
	alice, bob, carol := n.login("alice", "phone"), n.login("bob", "phone"), n.login("carol", "phone")
	made := alice.create(&pb.CreateGroup{ClientId: "club", Name: "the club", Users: []string{"bob"}})
	group := made.Conversation
	if group != "g:alice:club" || made.Seq != 1 || made.Group.GetName() != "the club" || made.Standing != pb.Standing_STANDING_ACTIVE {
		t.Fatalf("made %v", made)
	}
	var state pb.State
	if bob.push(protocol.TypeState, &state); state.State.GetConversation() != group || state.State.GetGroup().GetOwner() != "alice" {
		t.Errorf("bob was told %v", &state)
	}
	if again := alice.create(&pb.CreateGroup{ClientId: "club", Name: "another"}); again.Group.GetName() != "the club" {
		t.Errorf("the same client id made %v", again)
	}
	if sent := bob.send(group, "m1", "hi"); sent.Seq != 2 {
		t.Errorf("bob's message is %d", sent.Seq)
	}
	carol.refused(protocol.TypeSend, textTo(group, "m1", "hi"), pb.Code_CODE_NOT_A_MEMBER)
	carol.refused(protocol.TypeGroup, join(group), pb.Code_CODE_NOT_A_MEMBER)
	carol.refused(protocol.TypeGroup, join("g:alice:none"), pb.Code_CODE_NOT_A_MEMBER)
	bob.refused(protocol.TypeGroup, dissolve(group), pb.Code_CODE_NOT_ALLOWED)
	alice.refused(protocol.TypeGroup, leave(group), pb.Code_CODE_NOT_ALLOWED)

	alice.grouped(invite(group, "carol"))
	var notice pb.Message
	if carol.push(protocol.TypeMessage, &notice); notice.Conversation != "s:carol" || notice.Kind != pb.Kind_KIND_NOTICE {
		t.Errorf("carol was told %v", &notice)
	}
	if joined := carol.grouped(join(group)); joined.Standing != pb.Standing_STANDING_ACTIVE || joined.Group.GetMembers() != 3 {
		t.Errorf("carol joined %v", joined)
	}
	carol.send(group, "m2", "hello")
	bob.grouped(leave(group))
	bob.refused(protocol.TypeSend, textTo(group, "m3", "still?"), pb.Code_CODE_NOT_A_MEMBER)
	// What a crash would leave, a restart leaves too.
	n.restart()
	if more := n.login("carol", "phone").send(group, "m3", "again"); more.Seq != 6 {
		t.Errorf("after a restart the group is at %d", more.Seq)
	}
}

func TestGroupLimits(t *testing.T) {
	n := startNode(t, func(c *server.Config) {
		c.Chat.Rules.MaxGroups, c.Chat.Rules.MaxMembers, c.Chat.Rules.InvitesPerMinute = 2, 3, 20
	})
	alice, bob := n.login("alice", "phone"), n.login("bob", "phone")
	first := alice.group("1", "bob")
	second := alice.group("2", "bob")
	// Neither whoever makes one nor whoever is made a member may be in a third.
	alice.refused(protocol.TypeGroup, &pb.GroupRequest{Action: &pb.GroupRequest_Create{Create: &pb.CreateGroup{ClientId: "3"}}}, pb.Code_CODE_TOO_MANY_GROUPS)
	carol := n.login("carol", "phone")
	open := carol.create(&pb.CreateGroup{ClientId: "1", Join: pb.JoinPolicy_JOIN_POLICY_OPEN}).Conversation
	carol.refused(protocol.TypeGroup, add(open, "bob"), pb.Code_CODE_TOO_MANY_GROUPS)
	bob.refused(protocol.TypeGroup, join(open), pb.Code_CODE_TOO_MANY_GROUPS)
	// Whoever has left one has room for another, and a dissolved one doesn't count.
	bob.grouped(leave(first))
	bob.grouped(join(open))
	alice.grouped(dissolve(second))
	alice.group("3")
	carol.refused(protocol.TypeGroup, add(open, "dave", "erin"), pb.Code_CODE_TOO_MANY_MEMBERS)

	// A request for those who are asked to be let in is checked when it is made
	// and when it is granted.
	door := carol.create(&pb.CreateGroup{ClientId: "2", Join: pb.JoinPolicy_JOIN_POLICY_APPROVAL}).Conversation
	frank := n.login("frank", "phone")
	if asked := frank.grouped(join(door)); asked.Standing != pb.Standing_STANDING_REQUESTED {
		t.Fatalf("frank asked: %v", asked)
	}
	frank.group("1")
	frank.group("2")
	carol.refused(protocol.TypeGroup, &pb.GroupRequest{
		Conversation: door, Action: &pb.GroupRequest_Admit{Admit: &pb.Users{Users: []string{"frank"}}},
	}, pb.Code_CODE_TOO_MANY_GROUPS)
}

func TestInvitesAreLimited(t *testing.T) {
	n := startNode(t, func(c *server.Config) { c.Chat.Rules.InvitesPerMinute = 1 })
	alice := n.login("alice", "phone")
	group := alice.group("club")
	limited := func(typ protocol.Type, req proto.Message) bool {
		f := alice.answer(alice.request(typ, req))
		if f.Type != protocol.TypeError {
			return false
		}
		var e pb.Error
		alice.decode(f, protocol.TypeError, &e)
		if e.Code != pb.Code_CODE_RATE_LIMITED || !e.Retryable || e.RetryAfterMs == 0 {
			t.Fatalf("refused with %v", &e)
		}
		return true
	}
	// One passes in a minute. Where a minute ends in between, two do.
	for name, asks := range map[string]func(user string) bool{
		"added": func(user string) bool { return limited(protocol.TypeGroup, add(group, user)) },
		"created": func(user string) bool {
			return limited(protocol.TypeGroup, &pb.GroupRequest{Action: &pb.GroupRequest_Create{Create: &pb.CreateGroup{ClientId: user}}})
		},
		"invited": func(user string) bool { return limited(protocol.TypeGroup, invite(group, user)) },
		"contact": func(user string) bool {
			return limited(protocol.TypeContact, &pb.ContactRequest{User: user, Action: pb.ContactAction_CONTACT_ACTION_REQUEST})
		},
	} {
		refused := false
		for _, user := range []string{"u1", "u2", "u3"} {
			refused = asks(name+user) || refused
		}
		if !refused {
			t.Errorf("%s: three in a row passed", name)
		}
	}
	alice.refused(protocol.TypeGroup, add(group, "v1", "v2"), pb.Code_CODE_BAD_ARGUMENT)
	n.login("bob", "phone").group("other", "carol") // others have their own
}
