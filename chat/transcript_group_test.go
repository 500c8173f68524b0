package chat

import (
	"fmt"
	"strings"

	"github.com/cockroachdb/datadriven"
	pbtext "google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"github.com/godwit-im/godwit/msgstore"
	"github.com/godwit-im/godwit/protocol"
	"github.com/godwit-im/godwit/protocol/pb"
)

// groupCommand fills in a GROUP, whose request, in protobuf's text form and
// without the conversation, is in the lines below the command:
//
//	group <user> [in=<group>]
//	<request>
//
// full=(user, ...) names those who are in as many groups as they may be in, and
// rules= one of ask-first, three-members, which no group has more of, and
// receipts-of-two, beyond which there are none for others.
func (tr *transcript) groupCommand(d *datadriven.TestData, c *Command) error {
	c.Op, c.Group = OpGroup, &pb.GroupRequest{}
	if err := pbtext.Unmarshal([]byte(d.Input), c.Group); err != nil {
		return err
	}
	if arg, ok := d.Arg("full"); ok {
		c.Full = arg.Vals
	}
	if c.Group.GetCreate() == nil {
		c.Group.Conversation = c.Conversation
	}
	if err := CheckGroup(c.User, c.Group); err != nil {
		return err
	}
	c.Conversation = c.Group.Conversation
	tr.nextID++
	c.MessageID = tr.nextID
	return nil
}

func showGroupResult(r Result) string {
	s := fmt.Sprintf("grouped: seq=%d", r.Seq)
	if r.Standing != pb.Standing_STANDING_UNSPECIFIED {
		s += fmt.Sprintf(" standing=%s", name(r.Standing, "STANDING_"))
	}
	return s + fmt.Sprintf(" {%s}\n", prototext(r.Group))
}

// groupState renders who is in a group, and asks to be, and its data.
func (tr *transcript) groupState(conversation string) (string, error) {
	g, found, err := tr.store.Group(conversation)
	if err != nil || !found {
		return "", err
	}
	var b strings.Builder
	fmt.Fprintf(&b, "group: %s\n", prototext(g))
	for _, requests := range []bool{false, true} {
		var users []string
		_, err := tr.store.GroupMembers(conversation, requests, "", 100, func(user string, _ msgstore.Member) error {
			users = append(users, user)
			return nil
		})
		if err != nil {
			return "", err
		}
		if !requests {
			fmt.Fprintf(&b, "members: %s\n", strings.Join(users, ", "))
		} else if len(users) > 0 {
			fmt.Fprintf(&b, "who asks: %s\n", strings.Join(users, ", "))
		}
	}
	return b.String(), nil
}

// drawGroupCommand makes c something done with one of the drawn groups.
func drawGroupCommand(t *rapid.T, c *Command) {
	users := func() *pb.Users {
		return &pb.Users{Users: rapid.SliceOfNDistinct(rapid.SampledFrom(drawnUsers), 1, 2, rapid.ID[string]).Draw(t, "users")}
	}
	g := &pb.GroupRequest{}
	c.Op, c.Group = OpGroup, g
	action := drawBits(t, 4, "action")
	switch action {
	case 0, 4, 5, 6, 7, 9: // are for all
	default:
		if rapid.Bool().Draw(t, "by the owner") { // as it is at first
			c.User = "ann"
		}
	}
	switch action {
	case 15:
		create := &pb.CreateGroup{ClientId: "club", Users: users().Users}
		if rapid.Bool().Draw(t, "broadcast") {
			create.ClientId, create.Kind = "news", pb.GroupKind_GROUP_KIND_BROADCAST
		}
		g.Action = &pb.GroupRequest_Create{Create: create}
	case 1, 2:
		g.Action = &pb.GroupRequest_Add{Add: users()}
	case 3:
		g.Action = &pb.GroupRequest_Invite{Invite: users()}
	case 4, 5, 6:
		g.Action = &pb.GroupRequest_Join{Join: &pb.Join{Text: "hello"}}
	case 7:
		g.Action = &pb.GroupRequest_Refuse{Refuse: &pb.Nothing{}}
	case 8:
		g.Action = &pb.GroupRequest_Admit{Admit: users()}
		if rapid.IntRange(0, 2).Draw(t, "decline") == 0 {
			g.Action = &pb.GroupRequest_Decline{Decline: users()}
		}
	case 9:
		g.Action = &pb.GroupRequest_Leave{Leave: &pb.Nothing{}}
	case 10:
		g.Action = &pb.GroupRequest_Remove{Remove: users()}
	case 11:
		role := rapid.SampledFrom([]pb.Role{pb.Role_ROLE_MEMBER, pb.Role_ROLE_ADMIN, pb.Role_ROLE_ADMIN}).Draw(t, "role")
		g.Action = &pb.GroupRequest_Role{Role: &pb.SetRole{Users: users().Users, Role: role}}
	case 12:
		g.Action = &pb.GroupRequest_Transfer{Transfer: rapid.SampledFrom(drawnUsers).Draw(t, "new owner")}
	case 13:
		g.Action = &pb.GroupRequest_Change{Change: drawChange(t)}
	case 14:
		g.Action = &pb.GroupRequest_Mute{Mute: &pb.MuteMembers{Users: users().Users, UntilMs: rapid.Int64Range(0, 1000).Draw(t, "until")}}
	case 0:
		g.Action = &pb.GroupRequest_Nick{Nick: rapid.SampledFrom([]string{"", "nick"}).Draw(t, "nick")}
		if rapid.IntRange(0, 5).Draw(t, "dissolve") == 0 {
			g.Action = &pb.GroupRequest_Dissolve{Dissolve: &pb.Nothing{}}
		}
	}
	if g.GetCreate() == nil {
		g.Conversation = rapid.SampledFrom(drawnGroups).Draw(t, "group")
	}
	if rapid.IntRange(0, 9).Draw(t, "full") == 0 {
		c.Full = users().Users
	}
	if err := CheckGroup(c.User, g); err != nil {
		t.Fatal(err)
	}
	c.Conversation = g.Conversation
}

// drawBits draws a number of so many bits, all equally likely; IntRange prefers
// small ones.
func drawBits(t *rapid.T, bits int, label string) (n int) {
	for _, bit := range rapid.SliceOfN(rapid.Bool(), bits, bits).Draw(t, label) {
		if n <<= 1; bit {
			n++
		}
	}
	return n
}

func drawChange(t *rapid.T) *pb.ChangeGroup {
	change := &pb.ChangeGroup{
		Join:          pb.JoinPolicy(drawBits(t, 2, "join")).Enum(),
		History:       pb.HistoryPolicy(rapid.IntRange(0, 2).Draw(t, "history")).Enum(),
		MembersInvite: proto.Bool(rapid.Bool().Draw(t, "members invite")),
		IfVersion:     rapid.Uint64Range(0, 3).Draw(t, "if version"),
	}
	if rapid.IntRange(0, 3).Draw(t, "mute") == 0 {
		change.Muted = proto.Bool(rapid.Bool().Draw(t, "muted"))
	}
	for _, key := range rapid.SliceOfN(rapid.SampledFrom([]string{"a", "b", "c"}), 0, 2).Draw(t, "keys") {
		change.Attributes = append(change.Attributes, &pb.Attribute{Key: key, Value: []byte(rapid.SampledFrom([]string{"", "v"}).Draw(t, "value"))})
	}
	return change
}

var (
	drawnUsers  = []string{"ann", "bob", "cid", "dan"}
	drawnGroups = []string{protocol.GroupID("ann", "club"), protocol.GroupID("ann", "news"), protocol.GroupID("ann", "team")}
)

// newGroups are commands that make the groups that others are drawn for.
func newGroups() []Command {
	var commands []Command
	for i, create := range []*pb.CreateGroup{
		{ClientId: "club", Users: []string{"bob"}, Join: pb.JoinPolicy_JOIN_POLICY_OPEN},
		{ClientId: "news", Users: []string{"bob"}, Kind: pb.GroupKind_GROUP_KIND_BROADCAST},
		{ClientId: "team", Users: []string{"bob"}, Join: pb.JoinPolicy_JOIN_POLICY_APPROVAL},
	} {
		commands = append(commands, Command{
			Op: OpGroup, Conversation: drawnGroups[i], User: "ann", TimeMs: 1, Rules: rulesOf(""),
			Group: &pb.GroupRequest{Conversation: drawnGroups[i], Action: &pb.GroupRequest_Create{Create: create}},
		})
	}
	return commands
}
