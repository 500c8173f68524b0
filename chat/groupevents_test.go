package chat

import (
	"fmt"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/godwit-im/godwit/protocol"
	"github.com/godwit-im/godwit/protocol/pb"
)

// TestEventsInAGroup takes events through a group with its rights: each line is
// applied to what those before it left.
func TestEventsInAGroup(t *testing.T) {
	store := openStore(t, storeOptions(vfs.NewMem()))
	rules := DefaultRules()
	const group = "g:ann:club"
	n := 0
	apply := func(c Command) Result {
		t.Helper()
		n++
		c.Conversation, c.Rules, c.TimeMs, c.MessageID = group, &rules, int64(1000*n), uint64(n)
		if c.Op == OpSend {
			c.ClientID = fmt.Sprintf("c%d", n)
		}
		p := store.PartitionOf(group)
		tx := store.Begin()
		r, _, err := Apply(tx, store.Applied(p)+1, &c, nil)
		if err != nil {
			t.Fatal(err)
		}
		tx.SetApplied(p, store.Applied(p)+1)
		if err := tx.Commit(); err != nil {
			t.Fatal(err)
		}
		return r
	}
	done := func(user string, request *pb.GroupRequest) {
		t.Helper()
		request.Conversation = group
		if request.GetCreate() != nil {
			request.Conversation = ""
		}
		if r := apply(Command{Op: OpGroup, User: user, Group: request}); r.Err != nil {
			t.Fatal(r.Err)
		}
	}
	done("ann", &pb.GroupRequest{Action: &pb.GroupRequest_Create{Create: &pb.CreateGroup{
		ClientId: "club", Kind: pb.GroupKind_GROUP_KIND_GROUP, Name: "Club",
		Join: pb.JoinPolicy_JOIN_POLICY_INVITE, History: pb.HistoryPolicy_HISTORY_POLICY_ALL,
		Users: []string{"bob", "cid", "dan"},
	}}})
	done("ann", &pb.GroupRequest{Action: &pb.GroupRequest_Role{Role: &pb.SetRole{Users: []string{"bob"}, Role: pb.Role_ROLE_ADMIN}}})

	send := func(user string, c Command) Result {
		t.Helper()
		c.Op, c.User = OpSend, user
		return apply(c)
	}
	text := func(user string) uint64 {
		t.Helper()
		r := send(user, Command{Kind: pb.Kind_KIND_TEXT, Body: []byte("x")})
		if r.Err != nil {
			t.Fatal(r.Err)
		}
		return r.Seq
	}
	owners, first, second, third := text("ann"), text("cid"), text("cid"), text("cid")
	event := func(kind pb.Kind, target uint64) Command {
		c := Command{Kind: kind, Target: target}
		if kind != pb.Kind_KIND_RECALL {
			c.Body = []byte("+1")
		}
		return c
	}
	const edit, recall, react = pb.Kind_KIND_EDIT, pb.Kind_KIND_RECALL, pb.Kind_KIND_REACTION
	expect := func(user string, c Command, want protocol.Code) {
		t.Helper()
		got := protocol.Code(0)
		r := send(user, c)
		if r.Err != nil {
			got = protocol.CodeOf(r.Err)
		}
		if got != want {
			t.Errorf("%s, %v of %d: %v, want %s", user, c.Kind, c.Target, r.Err, want.Name())
		}
	}
	expect("dan", event(react, first), 0)
	expect("dan", event(edit, first), pb.Code_CODE_NOT_ALLOWED)
	expect("dan", event(recall, first), pb.Code_CODE_NOT_ALLOWED)
	expect("eve", event(react, first), pb.Code_CODE_NOT_A_MEMBER)
	expect("bob", event(recall, owners), pb.Code_CODE_NOT_ALLOWED)
	expect("bob", event(edit, first), pb.Code_CODE_NOT_ALLOWED)
	expect("bob", event(recall, first), 0)
	expect("cid", event(edit, first), pb.Code_CODE_NOT_FOUND)
	expect("cid", event(recall, 1), pb.Code_CODE_NOT_FOUND) // a notice
	all := event(edit, second)
	all.MentionAll = true
	expect("cid", all, pb.Code_CODE_NOT_ALLOWED)

	// Who may not write may not edit or react either, but take back.
	done("bob", &pb.GroupRequest{Action: &pb.GroupRequest_Mute{Mute: &pb.MuteMembers{Users: []string{"cid"}, UntilMs: 1 << 40}}})
	expect("cid", event(edit, second), pb.Code_CODE_MUTED)
	expect("cid", event(react, owners), pb.Code_CODE_MUTED)
	expect("cid", event(recall, second), 0)

	// An event leaves its sender's cursor where it is, and what they have not
	// read unread, but for what was recalled.
	row, _, err := store.Member("dan", group)
	if err != nil || row.ReadSeq >= owners {
		t.Fatalf("dan has read up to %d, %v", row.ReadSeq, err)
	}
	head, _, err := store.Head(group)
	if err != nil {
		t.Fatal(err)
	}
	read := func(conversation string, seq uint64) ([]byte, error) {
		wire, _, err := store.Message(conversation, seq)
		return wire, err
	}
	if unread, err := Unread(read, store.GoneBetween, head, row, group, "dan", 0); unread != 2 || err != nil {
		t.Errorf("%d unread, %v, want the owner's and message %d", unread, err, third)
	}
}
