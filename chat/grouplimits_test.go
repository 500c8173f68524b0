package chat

import (
	"fmt"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/godwit-im/godwit/protocol"
	"github.com/godwit-im/godwit/protocol/pb"
)

// TestGroupLimits comes up to every limit of a group, and one past it.
func TestGroupLimits(t *testing.T) {
	store := openStore(t, storeOptions(vfs.NewMem()))
	approval := pb.JoinPolicy_JOIN_POLICY_APPROVAL
	open := pb.JoinPolicy_JOIN_POLICY_OPEN
	h := func(create *pb.CreateGroup, members int) *hall {
		h := newHall(t, store, create)
		h.rules.MaxMembers, h.rules.MaxFollowers = members, members
		return h
	}
	many := make([]string, protocol.MaxAdmins+1)
	for i := range many {
		many[i] = fmt.Sprintf("user%02d", i)
	}
	for name, try := range map[string]struct {
		hall *hall
		user string
		fits *pb.GroupRequest
		past *pb.GroupRequest
		code protocol.Code
	}{
		"members: add": {
			h(&pb.CreateGroup{Users: []string{"a"}}, 3), hallOwner, addUsers("b", "a"), addUsers("c"),
			pb.Code_CODE_TOO_MANY_MEMBERS,
		},
		"members: several at once": {
			h(&pb.CreateGroup{}, 3), hallOwner, addUsers("a"), addUsers("b", "c"),
			pb.Code_CODE_TOO_MANY_MEMBERS,
		},
		"members: admit": {
			h(&pb.CreateGroup{Join: approval, Users: []string{"a"}}, 3), hallOwner, admitUsers("asks1"), admitUsers("asks2"),
			pb.Code_CODE_TOO_MANY_MEMBERS,
		},
		"members: join": {
			h(&pb.CreateGroup{Join: open, Users: []string{"a"}}, 3), "b", joinGroup, nil,
			pb.Code_CODE_TOO_MANY_MEMBERS,
		},
		"followers": {
			h(&pb.CreateGroup{Kind: pb.GroupKind_GROUP_KIND_BROADCAST, Users: []string{"a"}}, 3), hallOwner, addUsers("b"), addUsers("c"),
			pb.Code_CODE_TOO_MANY_MEMBERS,
		},
		"admins": {
			h(&pb.CreateGroup{Users: many}, 100), hallOwner,
			setRole(pb.Role_ROLE_ADMIN, many[:protocol.MaxAdmins]...), setRole(pb.Role_ROLE_ADMIN, many[protocol.MaxAdmins]),
			pb.Code_CODE_TOO_MANY_ADMINS,
		},
		"attributes": {
			h(&pb.CreateGroup{Attributes: attributes(0, protocol.MaxAttributes-1, 1)}, 3), hallOwner,
			changeGroup(&pb.ChangeGroup{Attributes: attributes(protocol.MaxAttributes-1, 1, 1)}),
			changeGroup(&pb.ChangeGroup{Attributes: attributes(protocol.MaxAttributes, 1, 1)}),
			pb.Code_CODE_TOO_MANY_ATTRIBUTES,
		},
		"bytes of attributes": {
			h(&pb.CreateGroup{Attributes: attributes(0, 1, protocol.MaxAttributesBytes-10)}, 3), hallOwner,
			changeGroup(&pb.ChangeGroup{Attributes: attributes(1, 1, 4)}),
			changeGroup(&pb.ChangeGroup{Attributes: attributes(1, 1, 5)}),
			pb.Code_CODE_TOO_MANY_ATTRIBUTES,
		},
	} {
		t.Run(name, func(t *testing.T) {
			try.hall.TB = t
			defer try.hall.tx.Discard()
			if g, _, _ := try.hall.tx.Group(try.hall.id); g.Join == approval {
				try.hall.must("asks1", joinGroup)
				try.hall.must("asks2", joinGroup)
			}
			try.hall.must(try.user, try.fits)
			before, _, _ := try.hall.tx.Group(try.hall.id)
			before = proto.Clone(before).(*pb.Group)
			user, past := try.user, try.past
			if past == nil { // another one does the same
				user, past = user+"2", try.fits
			}
			if r := try.hall.group(user, past); codeOf(r) != try.code {
				t.Errorf("past the limit: %v, want %s", r.Err, try.code.Name())
			}
			if after, _, _ := try.hall.tx.Group(try.hall.id); !proto.Equal(before, after) {
				t.Errorf("what was refused made\n%v of\n%v", after, before)
			}
		})
	}
}

// attributes are n attributes with keys of 3 bytes from the first-th on, and
// values of size bytes.
func attributes(first, n, size int) (all []*pb.Attribute) {
	for i := range n {
		all = append(all, &pb.Attribute{Key: fmt.Sprintf("a%02d", first+i), Value: []byte(strings.Repeat("v", size))})
	}
	return all
}

// TestCreateLimits: what a group begins with is held to the same limits.
func TestCreateLimits(t *testing.T) {
	store := openStore(t, storeOptions(vfs.NewMem()))
	for name, try := range map[string]struct {
		create *pb.CreateGroup
		full   []string
		code   protocol.Code
	}{
		"fits":                {&pb.CreateGroup{Users: []string{"a", "b"}, Attributes: attributes(0, protocol.MaxAttributes, 1)}, []string{"c"}, 0},
		"members":             {&pb.CreateGroup{Users: []string{"a", "b", "c"}}, nil, pb.Code_CODE_TOO_MANY_MEMBERS},
		"the creator twice":   {&pb.CreateGroup{Users: []string{"a", "b", "x"}}, nil, 0},
		"the creator's":       {&pb.CreateGroup{}, []string{"x"}, pb.Code_CODE_TOO_MANY_GROUPS},
		"a member's":          {&pb.CreateGroup{Users: []string{"a"}}, []string{"a"}, pb.Code_CODE_TOO_MANY_GROUPS},
		"bytes of attributes": {&pb.CreateGroup{Attributes: attributes(0, 2, protocol.MaxAttributesBytes/2)}, nil, pb.Code_CODE_TOO_MANY_ATTRIBUTES},
	} {
		h := newHall(t, store, &pb.CreateGroup{})
		h.rules.MaxMembers = 3
		h.id = protocol.GroupID("x", "new")
		try.create.ClientId = "new"
		r := h.apply(Command{Op: OpGroup, User: "x", Full: try.full, Group: createGroup(try.create)})
		if codeOf(r) != try.code {
			t.Errorf("%s: %v, want %s", name, r.Err, try.code.Name())
		}
		if _, exists, err := h.tx.Group(h.id); err != nil || exists != (r.Err == nil) {
			t.Errorf("%s: %v, and the group exists: %v, %v", name, r.Err, exists, err)
		}
		h.tx.Discard()
	}
}

// TestTooManyGroups: whoever is in as many as they may be in comes into no other,
// on any way.
func TestTooManyGroups(t *testing.T) {
	store := openStore(t, storeOptions(vfs.NewMem()))
	for name, try := range map[string]struct {
		join pb.JoinPolicy
		user string
		req  *pb.GroupRequest
	}{
		"add":      {pb.JoinPolicy_JOIN_POLICY_APPROVAL, hallOwner, addUsers("fine", "full")},
		"join":     {pb.JoinPolicy_JOIN_POLICY_OPEN, "full", joinGroup},
		"ask":      {pb.JoinPolicy_JOIN_POLICY_APPROVAL, "full", joinGroup},
		"invited":  {pb.JoinPolicy_JOIN_POLICY_INVITE, "full", joinGroup},
		"admitted": {pb.JoinPolicy_JOIN_POLICY_APPROVAL, hallOwner, admitUsers("full", "fine")},
	} {
		h := newHall(t, store, &pb.CreateGroup{Join: try.join})
		switch name {
		case "invited":
			h.must(hallOwner, inviteUsers("full"))
		case "admitted":
			h.must("full", joinGroup)
			h.must("fine", joinGroup)
		}
		if r := h.apply(Command{Op: OpGroup, User: try.user, Group: try.req, Full: []string{"full"}}); codeOf(r) != pb.Code_CODE_TOO_MANY_GROUPS {
			t.Errorf("%s: %v", name, r.Err)
		}
		for _, user := range []string{"full", "fine"} {
			if s := h.membership(user).Standing; s == pb.Standing_STANDING_ACTIVE {
				t.Errorf("%s: %s is in", name, user)
			}
		}
		if r := h.group(try.user, try.req); r.Err != nil {
			t.Errorf("%s: with fewer groups: %v", name, r.Err)
		}
		h.tx.Discard()
	}
}

// TestCheckGroup: what is wrong with a request by itself never comes to Apply.
func TestCheckGroup(t *testing.T) {
	long := func(n int) *string { return proto.String(strings.Repeat("x", n)) }
	users := make([]string, protocol.MaxUsers+1)
	for i := range users {
		users[i] = fmt.Sprintf("user%03d", i)
	}
	create := func(f func(c *pb.CreateGroup)) *pb.GroupRequest {
		c := &pb.CreateGroup{ClientId: "club"}
		f(c)
		return createGroup(c)
	}
	const wrong, badID = pb.Code_CODE_BAD_ARGUMENT, pb.Code_CODE_BAD_ID
	for i, try := range []struct {
		req  *pb.GroupRequest
		code protocol.Code
	}{
		{&pb.GroupRequest{}, wrong},
		{addUsers(users[:protocol.MaxUsers]...), 0},
		{addUsers(users...), wrong},
		{addUsers(), wrong},
		{addUsers("a", "b", "a"), wrong},
		{addUsers("not an id"), badID},
		{inviteUsers(), wrong},
		{admitUsers(), wrong},
		{declineUsers(), wrong},
		{removeUsers(), wrong},
		{muteUsers(1), wrong},
		{muteUsers(1, "a"), 0},
		{muteUsers(-1, "a"), wrong},
		{setRole(pb.Role_ROLE_ADMIN), wrong},
		{setRole(pb.Role_ROLE_ADMIN, "a"), 0},
		{setRole(pb.Role_ROLE_MEMBER, "a"), 0},
		{setRole(pb.Role_ROLE_OWNER, "a"), wrong},
		{setRole(pb.Role_ROLE_UNSPECIFIED, "a"), wrong},
		{setRole(77, "a"), wrong},
		{&pb.GroupRequest{Action: &pb.GroupRequest_Transfer{Transfer: "a"}}, 0},
		{&pb.GroupRequest{Action: &pb.GroupRequest_Transfer{}}, badID},
		{&pb.GroupRequest{Action: &pb.GroupRequest_Nick{Nick: *long(protocol.MaxNick)}}, 0},
		{&pb.GroupRequest{Action: &pb.GroupRequest_Nick{Nick: *long(protocol.MaxNick + 1)}}, wrong},
		{&pb.GroupRequest{Action: &pb.GroupRequest_Join{Join: &pb.Join{Text: *long(protocol.MaxText)}}}, 0},
		{&pb.GroupRequest{Action: &pb.GroupRequest_Join{Join: &pb.Join{Text: *long(protocol.MaxText + 1)}}}, wrong},
		{leaveGroup, 0},
		{refuseGroup, 0},
		{dissolveGroup, 0},
		{changeGroup(&pb.ChangeGroup{}), 0},
		{changeGroup(&pb.ChangeGroup{Name: long(protocol.MaxGroupName), Avatar: long(protocol.MaxGroupAvatar), Notice: long(protocol.MaxGroupNotice)}), 0},
		{changeGroup(&pb.ChangeGroup{Name: long(protocol.MaxGroupName + 1)}), wrong},
		{changeGroup(&pb.ChangeGroup{Avatar: long(protocol.MaxGroupAvatar + 1)}), wrong},
		{changeGroup(&pb.ChangeGroup{Notice: long(protocol.MaxGroupNotice + 1)}), wrong},
		{changeGroup(&pb.ChangeGroup{Name: proto.String("\xff")}), wrong},
		{changeGroup(&pb.ChangeGroup{Join: pb.JoinPolicy(9).Enum()}), wrong},
		{changeGroup(&pb.ChangeGroup{History: pb.HistoryPolicy(9).Enum()}), wrong},
		{changeGroup(&pb.ChangeGroup{Attributes: attributes(0, protocol.MaxAttributes, 1)}), 0},
		{changeGroup(&pb.ChangeGroup{Attributes: attributes(0, protocol.MaxAttributes+1, 1)}), pb.Code_CODE_TOO_MANY_ATTRIBUTES},
		{changeGroup(&pb.ChangeGroup{Attributes: []*pb.Attribute{{}}}), badID},
		{create(func(*pb.CreateGroup) {}), 0},
		{create(func(c *pb.CreateGroup) { c.ClientId = "" }), badID},
		{create(func(c *pb.CreateGroup) { c.Kind = 9 }), wrong},
		{create(func(c *pb.CreateGroup) { c.Join = 9 }), wrong},
		{create(func(c *pb.CreateGroup) { c.History = 9 }), wrong},
		{create(func(c *pb.CreateGroup) { c.Name = *long(protocol.MaxGroupName + 1) }), wrong},
		{create(func(c *pb.CreateGroup) { c.Users = users }), wrong},
		{create(func(c *pb.CreateGroup) { c.Users = []string{"a", "a"} }), wrong},
		{create(func(c *pb.CreateGroup) { c.Attributes = []*pb.Attribute{{Key: "no id"}} }), badID},
	} {
		id := "g:ann:club"
		if try.req.GetCreate() == nil {
			try.req.Conversation = id
		}
		if err := CheckGroup("ann", try.req); protocol.CodeOf(err) != try.code {
			t.Errorf("%d, %v: %v, want %s", i, try.req, err, try.code.Name())
		}
		if try.code == 0 && try.req.Conversation != id {
			t.Errorf("%d: the group is %q", i, try.req.Conversation)
		}
		if try.req.GetCreate() != nil {
			continue
		}
		bad := proto.Clone(try.req).(*pb.GroupRequest)
		for conversation, want := range map[string]protocol.Code{"d:ann:bob": wrong, "s:ann": wrong, "": badID, "g:ann": badID} {
			bad.Conversation = conversation
			if err := CheckGroup("ann", bad); protocol.CodeOf(err) != want {
				t.Errorf("%d, in %q: %v", i, conversation, err)
			}
		}
	}
	named := createGroup(&pb.CreateGroup{ClientId: "club"})
	named.Conversation = "g:bob:club"
	if err := CheckGroup("ann", named); protocol.CodeOf(err) != wrong {
		t.Errorf("a new group with an id: %v", err)
	}
}

// TestCheckedIsApplied: each request of the wire has its place in Apply, too.
func TestCheckedIsApplied(t *testing.T) {
	store := openStore(t, storeOptions(vfs.NewMem()))
	oneof := (&pb.GroupRequest{}).ProtoReflect().Descriptor().Oneofs().Get(0).Fields()
	var unknown []string
	for i := range oneof.Len() {
		h := newHall(t, store, &pb.CreateGroup{Users: []string{"a"}})
		req := &pb.GroupRequest{}
		r := req.ProtoReflect()
		field := oneof.Get(i)
		if field.Message() != nil {
			r.Set(field, r.NewField(field))
		} else {
			r.Set(field, field.Default())
		}
		if got := h.group(hallOwner, req); got.Err == errUnknownGroupOp {
			unknown = append(unknown, string(field.Name()))
		}
		h.tx.Discard()
	}
	if len(unknown) > 0 {
		t.Errorf("of %d actions these are unknown to Apply: %v", oneof.Len(), unknown)
	}
}

// What a newer protocol may add to an attribute is bounded by nothing here, so it
// is not kept: the group's data are in a frame with every change of them.
func TestAttributesOfANewerProtocol(t *testing.T) {
	newer := &pb.Attribute{Key: "key", Value: []byte("value")}
	newer.ProtoReflect().SetUnknown(protowire.AppendBytes(
		protowire.AppendTag(nil, 15, protowire.BytesType), make([]byte, 200<<10)))
	store := openStore(t, storeOptions(vfs.NewMem()))
	h := newHall(t, store, &pb.CreateGroup{Attributes: []*pb.Attribute{newer}})
	defer h.tx.Discard()
	h.must(hallOwner, &pb.GroupRequest{Action: &pb.GroupRequest_Change{Change: &pb.ChangeGroup{
		Attributes: []*pb.Attribute{newer},
	}}})
	r := h.group(hallOwner, &pb.GroupRequest{Action: &pb.GroupRequest_Change{Change: &pb.ChangeGroup{
		Name: proto.String("name"), Attributes: []*pb.Attribute{newer},
	}}})
	if want := []*pb.Attribute{{Key: "key", Value: []byte("value")}}; !proto.Equal(&pb.Group{Attributes: r.Group.GetAttributes()}, &pb.Group{Attributes: want}) {
		t.Errorf("the group has attributes of %d bytes", proto.Size(r.Group))
	}
}
