package chat

import (
	"fmt"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"google.golang.org/protobuf/proto"

	"github.com/godwit-im/godwit/msgstore"
	"github.com/godwit-im/godwit/protocol"
	"github.com/godwit-im/godwit/protocol/pb"
)

// hall is a group in a transaction that is never committed.
type hall struct {
	testing.TB
	tx    *msgstore.Tx
	id    string
	index uint64
	now   int64
	rules Rules
}

// hallOwner made the group of every hall.
const hallOwner = "owner"

// newHall returns a hall with the group that create makes, and its owner alone
// in it.
func newHall(t testing.TB, store *msgstore.Store, create *pb.CreateGroup) *hall {
	h := &hall{TB: t, tx: store.Begin(), now: 1_000_000, rules: DefaultRules()}
	create.ClientId = "hall"
	h.id = protocol.GroupID(hallOwner, create.ClientId)
	h.must(hallOwner, &pb.GroupRequest{Action: &pb.GroupRequest_Create{Create: create}})
	return h
}

func (h *hall) apply(c Command) Result {
	h.Helper()
	h.index++
	h.now++
	c.Conversation, c.TimeMs, c.MessageID, c.Rules = h.id, h.now, h.index, &h.rules
	r, _, err := Apply(h.tx, h.index, &c, nil)
	if err != nil {
		h.Fatal(err)
	}
	return r
}

func (h *hall) group(user string, req *pb.GroupRequest) Result {
	h.Helper()
	return h.apply(Command{Op: OpGroup, User: user, Group: req})
}

// must is group for what is not refused.
func (h *hall) must(user string, req *pb.GroupRequest) {
	h.Helper()
	if r := h.group(user, req); r.Err != nil {
		h.Fatalf("%v by %s: %v", req, user, r.Err)
	}
}

func (h *hall) send(user string, c Command) Result {
	h.Helper()
	c.Op, c.User, c.ClientID = OpSend, user, fmt.Sprintf("c%d", h.index)
	return h.apply(c)
}

func (h *hall) membership(user string) *pb.Membership {
	h.Helper()
	row, _, err := h.tx.Member(user, h.id)
	if err != nil {
		h.Fatal(err)
	}
	return ownMembership(row)
}

// change changes a row behind the rules' back.
func (h *hall) change(user string, f func(*pb.Membership)) {
	h.Helper()
	row, _, err := h.tx.Member(user, h.id)
	if err != nil {
		h.Fatal(err)
	}
	m := ownMembership(row)
	f(m)
	row.Membership = m
	h.index++
	if err := h.tx.PutMember(h.index, user, h.id, row); err != nil {
		h.Fatal(err)
	}
}

func addUsers(users ...string) *pb.GroupRequest {
	return &pb.GroupRequest{Action: &pb.GroupRequest_Add{Add: &pb.Users{Users: users}}}
}

func inviteUsers(users ...string) *pb.GroupRequest {
	return &pb.GroupRequest{Action: &pb.GroupRequest_Invite{Invite: &pb.Users{Users: users}}}
}

func admitUsers(users ...string) *pb.GroupRequest {
	return &pb.GroupRequest{Action: &pb.GroupRequest_Admit{Admit: &pb.Users{Users: users}}}
}

func declineUsers(users ...string) *pb.GroupRequest {
	return &pb.GroupRequest{Action: &pb.GroupRequest_Decline{Decline: &pb.Users{Users: users}}}
}

func removeUsers(users ...string) *pb.GroupRequest {
	return &pb.GroupRequest{Action: &pb.GroupRequest_Remove{Remove: &pb.Users{Users: users}}}
}

func muteUsers(untilMs int64, users ...string) *pb.GroupRequest {
	return &pb.GroupRequest{Action: &pb.GroupRequest_Mute{Mute: &pb.MuteMembers{Users: users, UntilMs: untilMs}}}
}

func setRole(role pb.Role, users ...string) *pb.GroupRequest {
	return &pb.GroupRequest{Action: &pb.GroupRequest_Role{Role: &pb.SetRole{Users: users, Role: role}}}
}

func changeGroup(c *pb.ChangeGroup) *pb.GroupRequest {
	return &pb.GroupRequest{Action: &pb.GroupRequest_Change{Change: c}}
}

func createGroup(c *pb.CreateGroup) *pb.GroupRequest {
	return &pb.GroupRequest{Action: &pb.GroupRequest_Create{Create: c}}
}

var (
	joinGroup     = &pb.GroupRequest{Action: &pb.GroupRequest_Join{Join: &pb.Join{}}}
	refuseGroup   = &pb.GroupRequest{Action: &pb.GroupRequest_Refuse{Refuse: &pb.Nothing{}}}
	leaveGroup    = &pb.GroupRequest{Action: &pb.GroupRequest_Leave{Leave: &pb.Nothing{}}}
	dissolveGroup = &pb.GroupRequest{Action: &pb.GroupRequest_Dissolve{Dissolve: &pb.Nothing{}}}
)

func codeOf(r Result) protocol.Code {
	if r.Err == nil {
		return 0
	}
	return r.Err.Code
}

// TestJoinByStanding tries to join, and to refuse, from every standing, under
// every policy.
func TestJoinByStanding(t *testing.T) {
	const (
		nothing   = pb.Standing_STANDING_UNSPECIFIED
		active    = pb.Standing_STANDING_ACTIVE
		left      = pb.Standing_STANDING_LEFT
		removed   = pb.Standing_STANDING_REMOVED
		invited   = pb.Standing_STANDING_INVITED
		requested = pb.Standing_STANDING_REQUESTED
	)
	type outcome struct {
		code     protocol.Code
		standing pb.Standing // after it
	}
	stay := func(s pb.Standing) outcome { return outcome{pb.Code_CODE_NOT_A_MEMBER, s} }
	in, asks := outcome{0, active}, outcome{0, requested}
	store := openStore(t, storeOptions(vfs.NewMem()))
	for _, test := range []struct {
		standing               pb.Standing
		invite, approval, open outcome // of a join, by the group's policy
		refuse                 outcome
	}{
		{nothing, stay(nothing), asks, in, stay(nothing)},
		{invited, in, in, in, outcome{0, nothing}},
		{requested, stay(requested), asks, in, outcome{0, nothing}},
		{left, stay(left), asks, in, stay(left)},
		{removed, stay(removed), asks, in, stay(removed)},
		{active, in, in, in, outcome{pb.Code_CODE_NOT_ALLOWED, active}},
	} {
		for _, try := range []struct {
			policy pb.JoinPolicy
			req    *pb.GroupRequest
			want   outcome
		}{
			{pb.JoinPolicy_JOIN_POLICY_INVITE, joinGroup, test.invite},
			{pb.JoinPolicy_JOIN_POLICY_APPROVAL, joinGroup, test.approval},
			{pb.JoinPolicy_JOIN_POLICY_OPEN, joinGroup, test.open},
			{pb.JoinPolicy_JOIN_POLICY_APPROVAL, refuseGroup, test.refuse},
		} {
			for _, kind := range []pb.GroupKind{pb.GroupKind_GROUP_KIND_GROUP, pb.GroupKind_GROUP_KIND_BROADCAST} {
				h := newHall(t, store, &pb.CreateGroup{Kind: kind, Join: pb.JoinPolicy_JOIN_POLICY_APPROVAL})
				h.stand("user", test.standing)
				h.must(hallOwner, changeGroup(&pb.ChangeGroup{Join: try.policy.Enum()}))
				r := h.group("user", try.req)
				got := outcome{codeOf(r), h.membership("user").Standing}
				if got != try.want {
					t.Errorf("%v: who is %v gets %v and is %v, want %v", kind, test.standing, r.Err, got.standing, try.want)
				}
				if joined := try.req == joinGroup && r.Err == nil; joined && r.Standing != got.standing {
					t.Errorf("%v: who is %v joins and is told %v, is %v", kind, test.standing, r.Standing, got.standing)
				}
				if got.standing != active && r.Group != nil && r.Group.Version != 0 {
					t.Errorf("%v: who is %v sees %v", kind, test.standing, r.Group)
				}
				h.tx.Discard()
			}
		}
	}
}

// stand gives a user a standing in a group that is joined by approval.
func (h *hall) stand(user string, s pb.Standing) {
	h.Helper()
	switch s {
	case pb.Standing_STANDING_ACTIVE, pb.Standing_STANDING_LEFT, pb.Standing_STANDING_REMOVED:
		h.must(hallOwner, addUsers(user))
		if s == pb.Standing_STANDING_LEFT {
			h.must(user, leaveGroup)
		}
		if s == pb.Standing_STANDING_REMOVED {
			h.must(hallOwner, removeUsers(user))
		}
	case pb.Standing_STANDING_INVITED:
		h.must(hallOwner, inviteUsers(user))
	case pb.Standing_STANDING_REQUESTED:
		h.must(user, joinGroup)
	}
	if got := h.membership(user).Standing; got != s {
		h.Fatalf("%s is %v, want %v", user, got, s)
	}
}

// TestCreateOfAnother: a group's id is its creator's, whatever the request says.
func TestCreateOfAnother(t *testing.T) {
	store := openStore(t, storeOptions(vfs.NewMem()))
	h := newHall(t, store, &pb.CreateGroup{})
	defer h.tx.Discard()
	again := createGroup(&pb.CreateGroup{ClientId: "hall"})
	for _, exists := range []bool{true, false} {
		if r := h.group("eve", again); codeOf(r) != pb.Code_CODE_NOT_A_MEMBER || r.Group != nil {
			t.Errorf("where there is one (%v): %v, %v", exists, r.Err, r.Group)
		}
		h.id = protocol.GroupID("nobody", "hall")
	}
}

// TestCreateAgainByWhoLeft: a creator who is no member any more learns no more
// than any other.
func TestCreateAgainByWhoLeft(t *testing.T) {
	store := openStore(t, storeOptions(vfs.NewMem()))
	h := newHall(t, store, &pb.CreateGroup{Users: []string{"heir"}})
	defer h.tx.Discard()
	h.must(hallOwner, &pb.GroupRequest{Action: &pb.GroupRequest_Transfer{Transfer: "heir"}})
	h.must(hallOwner, leaveGroup)
	h.must("heir", changeGroup(&pb.ChangeGroup{Name: proto.String("secret"), Notice: proto.String("secret")}))
	r := h.group(hallOwner, createGroup(&pb.CreateGroup{ClientId: "hall"}))
	want := &pb.Group{Conversation: h.id, Kind: pb.GroupKind_GROUP_KIND_GROUP, CreatedMs: r.Group.GetCreatedMs()}
	if r.Err != nil || r.Standing != pb.Standing_STANDING_LEFT || !proto.Equal(r.Group, want) {
		t.Errorf("%v as %v: %v", r.Err, r.Standing, r.Group)
	}
}

// TestQuietNotices: what a change of the attributes alone appends is for the
// members' programs. It is in the log like all others, and is not shown.
func TestQuietNotices(t *testing.T) {
	store := openStore(t, storeOptions(vfs.NewMem()))
	h := newHall(t, store, &pb.CreateGroup{Name: "a"})
	defer h.tx.Discard()
	shown := uint64(1) // GROUP_CREATED
	for seq, try := range []struct {
		change *pb.ChangeGroup
		quiet  bool
	}{
		{&pb.ChangeGroup{Attributes: attributes(0, 2, 1)}, true},
		{&pb.ChangeGroup{Attributes: attributes(1, 1, 0)}, true}, // it goes
		{&pb.ChangeGroup{Attributes: attributes(2, 1, 1), Name: new("b")}, false},
		{&pb.ChangeGroup{Attributes: attributes(3, 1, 1), Name: new("b")}, true}, // the name is the same
		{&pb.ChangeGroup{Attributes: attributes(3, 1, 1), Muted: new(true)}, false},
		{&pb.ChangeGroup{Notice: new("c")}, false},
	} {
		seq := uint64(seq + 2)
		r := h.group(hallOwner, changeGroup(try.change))
		if r.Err != nil || r.Seq != seq || r.Group.Version != seq {
			t.Fatalf("%d: %+v", seq, r)
		}
		m, err := readMessage(h.tx.Message, h.id, seq)
		if err != nil {
			t.Fatal(err)
		}
		want := uint64(0)
		if try.quiet {
			want = shown
		} else {
			shown = seq
		}
		head, _, err := h.tx.Head(h.id)
		if err != nil || m.ShownSeq != want || head.Seq != seq || head.Shown != shown || m.Count != 0 {
			t.Errorf("%v: %v has shown_seq %d, want %d; the head shows %d, want %d; %v", try.change, m, m.ShownSeq, want, head.Shown, shown, err)
		}
		n := &pb.Notice{}
		if err := proto.Unmarshal(m.Body, n); err != nil || n.Type != pb.NoticeType_NOTICE_TYPE_GROUP_CHANGED || !proto.Equal(n.Group, r.Group) {
			t.Errorf("%v tells %v, %v", try.change, n, err)
		}
	}
}

// TestLargestNotice: the notices of groups are in frames like all messages.
func TestLargestNotice(t *testing.T) {
	store := openStore(t, storeOptions(vfs.NewMem()))
	long := func(n int) string { return strings.Repeat("x", n) }
	users := make([]string, protocol.MaxUsers)
	for i := range users {
		users[i] = fmt.Sprintf("%s%03d", long(protocol.MaxID-3), i)
	}
	var attributes []*pb.Attribute
	for i := range protocol.MaxAttributes {
		key := fmt.Sprintf("%s%02d", long(protocol.MaxAttributeKey-2), i)
		size := protocol.MaxAttributesBytes/protocol.MaxAttributes - protocol.MaxAttributeKey
		attributes = append(attributes, &pb.Attribute{Key: key, Value: []byte(long(size))})
	}
	h := newHall(t, store, &pb.CreateGroup{
		Name: long(protocol.MaxGroupName), Avatar: long(protocol.MaxGroupAvatar), Notice: long(protocol.MaxGroupNotice),
		Attributes: attributes, Users: users,
	})
	defer h.tx.Discard()
	h.must(hallOwner, setRole(pb.Role_ROLE_ADMIN, users[:protocol.MaxAdmins]...))
	h.must(hallOwner, changeGroup(&pb.ChangeGroup{Muted: proto.Bool(true)}))
	for seq := uint64(1); seq <= 3; seq++ {
		wire, err := h.tx.Message(h.id, seq)
		if err != nil {
			t.Fatal(err)
		}
		if len(wire) > protocol.MessageOverhead {
			t.Errorf("notice %d has %d bytes, %d is the limit", seq, len(wire), protocol.MessageOverhead)
		}
	}
}
