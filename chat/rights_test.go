package chat

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/godwit-im/godwit/msgstore"
	"github.com/godwit-im/godwit/protocol"
	"github.com/godwit-im/godwit/protocol/pb"
)

// court is a store on which commands about groups are tried.
type court struct {
	t     *testing.T
	store *msgstore.Store
	rules Rules
	n     int
}

func newCourt(t *testing.T) *court {
	return &court{t: t, store: openStore(t, storeOptions(vfs.NewMem())), rules: DefaultRules()}
}

func (c *court) try(cmd Command) Result {
	c.t.Helper()
	c.n++
	cmd.Rules, cmd.TimeMs, cmd.MessageID = &c.rules, int64(1000*c.n), uint64(c.n)
	if cmd.Op == OpSend {
		cmd.ClientID = fmt.Sprint("c", c.n)
	}
	p := c.store.PartitionOf(cmd.Conversation)
	tx := c.store.Begin()
	r, _, err := Apply(tx, c.store.Applied(p)+1, &cmd, nil)
	if err == nil {
		tx.SetApplied(p, c.store.Applied(p)+1)
		err = tx.Commit()
	}
	if err != nil {
		c.t.Fatal(err)
	}
	return r
}

func (c *court) must(cmd Command) Result {
	c.t.Helper()
	r := c.try(cmd)
	if r.Err != nil {
		c.t.Fatalf("op %d of %s: %v", cmd.Op, cmd.User, r.Err)
	}
	return r
}

func groupCommand(user, group string, req *pb.GroupRequest) Command {
	req.Conversation = group
	return Command{Op: OpGroup, Conversation: group, User: user, Group: req}
}

func usersOf(users ...string) *pb.Users { return &pb.Users{Users: users} }

// The roles, and those who have none.
const (
	aMember = iota
	anAdmin
	theOwner
	aStranger
	oneInvited
	oneWhoAsked
	oneWhoLeft
	oneRemoved
	everyKind
)

// found makes a group in which there is somebody of every kind, named by it, and
// a second member. It returns the group and the seqs of a message of the second
// member's and of the owner's.
func (c *court) found(kind pb.GroupKind) (group string, theirs, owners uint64) {
	c.n++
	group = protocol.GroupID(person(theOwner), fmt.Sprint("group", c.n))
	do := func(user string, req *pb.GroupRequest) {
		c.t.Helper()
		c.must(groupCommand(user, group, req))
	}
	owner := person(theOwner)
	do(owner, &pb.GroupRequest{Action: &pb.GroupRequest_Create{Create: &pb.CreateGroup{
		ClientId: fmt.Sprint("group", c.n), Kind: kind, Join: pb.JoinPolicy_JOIN_POLICY_APPROVAL,
		Users: []string{person(aMember), person(anAdmin), person(oneWhoLeft), person(oneRemoved), "second"},
	}}})
	do(owner, &pb.GroupRequest{Action: &pb.GroupRequest_Role{Role: &pb.SetRole{Users: []string{person(anAdmin), "second"}, Role: pb.Role_ROLE_ADMIN}}})
	text := func(user string) uint64 {
		return c.must(Command{Op: OpSend, Conversation: group, User: user, Kind: pb.Kind_KIND_TEXT, Body: []byte("x")}).Seq
	}
	theirs, owners = text("second"), text(owner)
	do(owner, &pb.GroupRequest{Action: &pb.GroupRequest_Role{Role: &pb.SetRole{Users: []string{"second"}, Role: pb.Role_ROLE_MEMBER}}})
	do(person(oneWhoLeft), &pb.GroupRequest{Action: &pb.GroupRequest_Leave{}})
	do(owner, &pb.GroupRequest{Action: &pb.GroupRequest_Remove{Remove: usersOf(person(oneRemoved))}})
	do(person(oneWhoAsked), &pb.GroupRequest{Action: &pb.GroupRequest_Join{}})
	do("asks-too", &pb.GroupRequest{Action: &pb.GroupRequest_Join{}})
	do(owner, &pb.GroupRequest{Action: &pb.GroupRequest_Invite{Invite: usersOf(person(oneInvited))}})
	return group, theirs, owners
}

func person(kind int) string {
	return [...]string{"member", "admin", "owner", "stranger", "invited", "asked", "left", "removed"}[kind]
}

// attempt is what somebody does who wants to use a right.
func attempt(r right, user, group string, theirs uint64) Command {
	send := Command{Op: OpSend, Conversation: group, User: user, Kind: pb.Kind_KIND_TEXT, Body: []byte("y")}
	switch r {
	case rightPost:
		return send
	case rightMentionAll:
		send.MentionAll = true
		return send
	case rightReact:
		send.Kind, send.Target = pb.Kind_KIND_REACTION, theirs
		return send
	case rightRecallOthers:
		send.Kind, send.Target, send.Body = pb.Kind_KIND_RECALL, theirs, nil
		return send
	}
	req := &pb.GroupRequest{}
	switch r {
	case rightAdd:
		req.Action = &pb.GroupRequest_Add{Add: usersOf("new")}
	case rightInvite:
		req.Action = &pb.GroupRequest_Invite{Invite: usersOf("new")}
	case rightAdmit:
		req.Action = &pb.GroupRequest_Admit{Admit: usersOf("asks-too")}
	case rightRemove:
		req.Action = &pb.GroupRequest_Remove{Remove: usersOf("second")}
	case rightMute:
		req.Action = &pb.GroupRequest_Mute{Mute: &pb.MuteMembers{Users: []string{"second"}, UntilMs: 1 << 40}}
	case rightChange:
		name := "new name"
		req.Action = &pb.GroupRequest_Change{Change: &pb.ChangeGroup{Name: &name}}
	case rightRole:
		req.Action = &pb.GroupRequest_Role{Role: &pb.SetRole{Users: []string{"second"}, Role: pb.Role_ROLE_ADMIN}}
	case rightTransfer:
		req.Action = &pb.GroupRequest_Transfer{Transfer: "second"}
	case rightDissolve:
		req.Action = &pb.GroupRequest_Dissolve{}
	case rightLeave:
		req.Action = &pb.GroupRequest_Leave{}
	case rightNick:
		req.Action = &pb.GroupRequest_Nick{Nick: "nick"}
	}
	return groupCommand(user, group, req)
}

// TestRights tries every cell of the table, and everybody without a role at
// every row.
func TestRights(t *testing.T) {
	c := newCourt(t)
	for _, kind := range []pb.GroupKind{pb.GroupKind_GROUP_KIND_GROUP, pb.GroupKind_GROUP_KIND_BROADCAST} {
		for i, grant := range rights {
			if grant.right != right(i) {
				t.Fatalf("row %d of the table is about right %d", i, grant.right)
			}
			if grant.right == rightList {
				continue // a read
			}
			for who := range everyKind {
				group, theirs, _ := c.found(kind)
				verdicts := grant.group
				if kind == pb.GroupKind_GROUP_KIND_BROADCAST {
					verdicts = grant.broadcast
				}
				want := pb.Code_CODE_NOT_A_MEMBER
				if who <= theOwner {
					want = pb.Code_CODE_NOT_ALLOWED
					if v := verdicts[who]; v == yes || v == unlessMuted {
						want = 0
					}
				}
				check := func(when string, want pb.Code) {
					t.Helper()
					r := c.try(attempt(grant.right, person(who), group, theirs))
					got := pb.Code(0)
					if r.Err != nil {
						got = r.Err.Code
					}
					if got != want {
						t.Errorf("%v: %s%s by %s: %v, want %v", kind, grant.name, when, person(who), got, want)
					}
				}
				if who <= theOwner && verdicts[who] == unlessMuted && who != theOwner {
					c.must(groupCommand(person(theOwner), group, &pb.GroupRequest{Action: &pb.GroupRequest_Mute{
						Mute: &pb.MuteMembers{Users: []string{person(who)}, UntilMs: 1 << 40},
					}}))
					check(" while muted", pb.Code_CODE_MUTED)
					c.must(groupCommand(person(theOwner), group, &pb.GroupRequest{Action: &pb.GroupRequest_Mute{
						Mute: &pb.MuteMembers{Users: []string{person(who)}},
					}}))
				}
				check("", want)
				if who <= theOwner && verdicts[who] == ifInviting {
					yes := true
					c.must(groupCommand(person(theOwner), group, &pb.GroupRequest{Action: &pb.GroupRequest_Change{Change: &pb.ChangeGroup{MembersInvite: &yes}}}))
					check(" where members invite", 0)
				}
			}
		}
	}
}

// Rights over others end at one's own role.
func TestRightsOverOthers(t *testing.T) {
	c := newCourt(t)
	for _, test := range []struct {
		who, whom int
		want      pb.Code
	}{
		{anAdmin, aMember, 0},
		{anAdmin, anAdmin, pb.Code_CODE_NOT_ALLOWED},
		{anAdmin, theOwner, pb.Code_CODE_NOT_ALLOWED},
		{theOwner, aMember, 0},
		{theOwner, anAdmin, 0},
		{theOwner, theOwner, pb.Code_CODE_NOT_ALLOWED},
	} {
		for name, req := range map[string]*pb.GroupRequest{
			"remove": {Action: &pb.GroupRequest_Remove{Remove: usersOf(person(test.whom))}},
			"mute":   {Action: &pb.GroupRequest_Mute{Mute: &pb.MuteMembers{Users: []string{person(test.whom)}, UntilMs: 1 << 40}}},
		} {
			group, _, _ := c.found(pb.GroupKind_GROUP_KIND_GROUP)
			got := pb.Code(0)
			if r := c.try(groupCommand(person(test.who), group, req)); r.Err != nil {
				got = r.Err.Code
			}
			if got != test.want {
				t.Errorf("%s of %s by %s: %v, want %v", name, person(test.whom), person(test.who), got, test.want)
			}
		}
	}
	group, _, owners := c.found(pb.GroupKind_GROUP_KIND_GROUP)
	if r := c.try(attempt(rightRecallOthers, person(anAdmin), group, owners)); r.Err == nil || r.Err.Code != pb.Code_CODE_NOT_ALLOWED {
		t.Errorf("an admin recalls what the owner wrote: %v", r.Err)
	}
}

// MayList is the one right that is used without a command.
func TestMayList(t *testing.T) {
	for _, kind := range []pb.GroupKind{pb.GroupKind_GROUP_KIND_GROUP, pb.GroupKind_GROUP_KIND_BROADCAST} {
		g := &pb.Group{Kind: kind}
		for i, role := range []pb.Role{pb.Role_ROLE_MEMBER, pb.Role_ROLE_ADMIN, pb.Role_ROLE_OWNER} {
			list, admit := rights[rightList].group[i], rights[rightAdmit].group[i]
			if kind == pb.GroupKind_GROUP_KIND_BROADCAST {
				list, admit = rights[rightList].broadcast[i], rights[rightAdmit].broadcast[i]
			}
			if MayList(g, role, false) != (list == yes) || MayList(g, role, true) != (admit == yes) {
				t.Errorf("%v, %v: %v, %v", kind, role, MayList(g, role, false), MayList(g, role, true))
			}
		}
		if MayList(g, pb.Role_ROLE_UNSPECIFIED, false) {
			t.Error("somebody without a role may list members")
		}
	}
}

// docs/PROTOCOL.md has the same table.
func TestRightsDocs(t *testing.T) {
	cell := map[verdict]string{no: "no", yes: "yes", unlessMuted: "unless muted", ifInviting: "if the group says so"}
	var table strings.Builder
	table.WriteString("| | Member | Admin | Owner | In a broadcast: member | Admin | Owner |\n| --- | --- | --- | --- | --- | --- | --- |\n")
	for _, g := range rights {
		fmt.Fprintf(&table, "| %s |", g.name)
		for _, v := range append(g.group[:], g.broadcast[:]...) {
			fmt.Fprintf(&table, " %s |", cell[v])
		}
		table.WriteString("\n")
	}
	doc, err := os.ReadFile("../docs/PROTOCOL.md")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(doc), table.String()) {
		t.Errorf("docs/PROTOCOL.md must contain:\n%s", table.String())
	}
}
