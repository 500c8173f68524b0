package chat

import (
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"google.golang.org/protobuf/proto"

	"github.com/godwit-im/godwit/protocol"
	"github.com/godwit-im/godwit/protocol/pb"
)

var verdictNames = map[verdict]string{no: "no", yes: "yes", unlessMuted: "unless muted", ifInviting: "if the group says so"}

// documentedRights is the table in docs/PROTOCOL.md: the name of a right, and
// what a member, an admin and the owner may, in a group and in a broadcast.
func documentedRights(t *testing.T) (table [][]string) {
	t.Helper()
	doc, err := os.ReadFile("../docs/PROTOCOL.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, found := strings.Cut(string(doc), "\n### Who may do what\n")
	if !found {
		t.Fatal("no table of rights")
	}
	section, _, _ = strings.Cut(section, "\n#")
	for line := range strings.Lines(section) {
		if !strings.HasPrefix(line, "| ") {
			continue
		}
		cells := strings.Split(strings.Trim(line, "| \n"), "|")
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		table = append(table, cells)
	}
	return table[2:] // without its head
}

// TestRightsAreDocumented compares the table that Apply goes by with the one that
// people do.
func TestRightsAreDocumented(t *testing.T) {
	var want [][]string
	for i, row := range rights {
		if int(row.right) != i {
			t.Errorf("the row %q is not at the place of its right", row.name)
		}
		cells := []string{row.name}
		for _, v := range slices.Concat(row.group[:], row.broadcast[:]) {
			cells = append(cells, verdictNames[v])
		}
		want = append(want, cells)
	}
	got := documentedRights(t)
	for i := range max(len(got), len(want)) {
		switch {
		case i >= len(got):
			t.Errorf("not documented: %v", want[i])
		case i >= len(want):
			t.Errorf("documented, and not there: %v", got[i])
		case !slices.Equal(got[i], want[i]):
			t.Errorf("documented is\n%v, and there is\n%v", got[i], want[i])
		}
	}
}

// cell is a hall with one who tries what a cell of the table is about. Beside
// them and the owner there are two admins and a member, and one who asks to be
// one.
type cell struct {
	*hall
	actor string
	own   uint64 // the seq of a message of theirs; 0 if they can't have written any
}

// The others in a cell's group.
const (
	otherAdmin  = "admin"
	otherMember = "member"
	asking      = "asking"
	outsider    = "outsider"
)

// attempts are the commands that the rows of the table are about.
var attempts = map[string][]func(c *cell) *protocol.Error{
	"write, edit one's own messages": {
		sends(func(*cell) Command { return Command{Kind: pb.Kind_KIND_TEXT, Body: []byte("x")} }),
		sends(func(c *cell) Command {
			return Command{Kind: pb.Kind_KIND_EDIT, Body: []byte("y"), Target: max(c.own, 1)}
		}),
	},
	"mention everybody": {
		sends(func(*cell) Command { return Command{Kind: pb.Kind_KIND_TEXT, MentionAll: true} }),
	},
	"react": {
		sends(func(*cell) Command {
			return Command{Kind: pb.Kind_KIND_REACTION, Body: []byte("+1"), Target: postedByAdmin}
		}),
	},
	"recall others' messages, but the owner's": {
		sends(func(*cell) Command { return Command{Kind: pb.Kind_KIND_RECALL, Target: postedByAdmin} }),
	},
	"add users":    {asks(addUsers(outsider))},
	"invite users": {asks(inviteUsers(outsider))},
	"admit, decline, see who asks": {
		asks(admitUsers(asking)), asks(declineUsers(asking)), lists(true),
	},
	"remove members of a lower role": {asks(removeUsers(otherMember))},
	"mute members of a lower role":   {asks(muteUsers(1<<40, otherMember))},
	"change name, avatar, notice, attributes, policies, mute all": {
		asks(changeGroup(&pb.ChangeGroup{Name: proto.String("new")})),
		asks(changeGroup(&pb.ChangeGroup{Muted: proto.Bool(true)})),
	},
	"make admins and members of each other": {
		asks(setRole(pb.Role_ROLE_ADMIN, otherMember)), asks(setRole(pb.Role_ROLE_MEMBER, otherAdmin)),
	},
	"give the group to another member": {
		asks(&pb.GroupRequest{Action: &pb.GroupRequest_Transfer{Transfer: otherMember}}),
	},
	"dissolve the group": {asks(dissolveGroup)},
	"leave":              {asks(leaveGroup)},
	"have a nick":        {asks(&pb.GroupRequest{Action: &pb.GroupRequest_Nick{Nick: "N."}})},
	"list the members":   {lists(false)},
}

// postedByAdmin is the seq of the other admin's message: it comes after the
// notices of the creation and of the roles.
const postedByAdmin = 3

func sends(f func(c *cell) Command) func(*cell) *protocol.Error {
	return func(c *cell) *protocol.Error { return c.send(c.actor, f(c)).Err }
}

func asks(req *pb.GroupRequest) func(*cell) *protocol.Error {
	return func(c *cell) *protocol.Error { return c.group(c.actor, req).Err }
}

func lists(requests bool) func(*cell) *protocol.Error {
	return func(c *cell) *protocol.Error {
		g, _, err := c.tx.Group(c.id)
		if err != nil {
			c.Fatal(err)
		}
		m := c.membership(c.actor)
		switch {
		case m.Standing != pb.Standing_STANDING_ACTIVE: // nobody else gets as far
			return errNotAMember
		case !MayList(g, m.Role, requests):
			return errNotAllowed
		}
		return nil
	}
}

// circumstances are what some cells depend on.
type circumstances struct {
	name                             string
	userMuted, groupMuted, inviteToo bool
}

var allCircumstances = []circumstances{
	{name: "as it is"},
	{name: "muted", userMuted: true},
	{name: "all muted", groupMuted: true},
	{name: "members invite", inviteToo: true},
}

// want is what a cell's words mean.
func (c circumstances) want(t *testing.T, words string, role pb.Role) protocol.Code {
	t.Helper()
	switch words {
	case "yes":
		return 0
	case "no":
		return pb.Code_CODE_NOT_ALLOWED
	case "if the group says so":
		if c.inviteToo {
			return 0
		}
		return pb.Code_CODE_NOT_ALLOWED
	case "unless muted":
		if c.userMuted || c.groupMuted && role == pb.Role_ROLE_MEMBER {
			return pb.Code_CODE_MUTED
		}
		return 0
	}
	t.Fatalf("what does %q mean?", words)
	return 0
}

// TestRights tries every cell of the documented table, under all circumstances,
// and whether anybody else may do any of it.
func TestRights(t *testing.T) {
	store := openStore(t, storeOptions(vfs.NewMem()))
	kinds := []pb.GroupKind{pb.GroupKind_GROUP_KIND_GROUP, pb.GroupKind_GROUP_KIND_BROADCAST}
	// enter makes a group in which the actor stands, or is what role says.
	enter := func(kind pb.GroupKind, role pb.Role, standing pb.Standing, in circumstances) *cell {
		c := &cell{actor: "actor"}
		c.hall = newHall(t, store, &pb.CreateGroup{
			Kind: kind, Join: pb.JoinPolicy_JOIN_POLICY_APPROVAL, MembersInvite: in.inviteToo,
			Users: []string{otherAdmin, "actor", otherMember},
		})
		admins := []string{otherAdmin}
		if role == pb.Role_ROLE_ADMIN {
			admins = append(admins, "actor")
		}
		c.must(hallOwner, setRole(pb.Role_ROLE_ADMIN, admins...))
		if r := c.send(otherAdmin, Command{Kind: pb.Kind_KIND_TEXT, Body: []byte("x")}); r.Seq != postedByAdmin {
			t.Fatalf("the admin's message: %+v", r)
		}
		c.must(asking, joinGroup)
		if role == pb.Role_ROLE_OWNER {
			c.must(hallOwner, &pb.GroupRequest{Action: &pb.GroupRequest_Transfer{Transfer: "actor"}})
		}
		if role == pb.Role_ROLE_UNSPECIFIED {
			c.actor = "another"
			c.stand(c.actor, standing)
			return c
		}
		c.own = c.send(c.actor, Command{Kind: pb.Kind_KIND_TEXT, Body: []byte("x")}).Seq
		if in.userMuted {
			c.change(c.actor, func(m *pb.Membership) { m.MutedUntilMs = 1 << 40 })
		}
		if in.groupMuted {
			owner := hallOwner
			if role == pb.Role_ROLE_OWNER {
				owner = c.actor
			}
			c.must(owner, changeGroup(&pb.ChangeGroup{Muted: proto.Bool(true)}))
		}
		return c
	}
	tried := map[string]bool{}
	for _, row := range documentedRights(t) {
		name := row[0]
		if len(attempts[name]) == 0 {
			t.Errorf("nothing tries %q", name)
		}
		tried[name] = true
		for _, try := range attempts[name] {
			for i, words := range row[1:] {
				kind, role := kinds[i/3], pb.Role_ROLE_MEMBER+pb.Role(i%3)
				for _, in := range allCircumstances {
					want := in.want(t, words, role)
					if name == "mention everybody" && (in.userMuted || in.groupMuted) {
						continue // it is also writing
					}
					c := enter(kind, role, 0, in)
					c.now += 1 << 30 // nothing of it is recent any more, but what was written is not edited late
					c.rules.EditWindow = 0
					if err := try(c); codeOf(Result{Err: err}) != want {
						t.Errorf("%v, %q by %v, %s: %v, want %s", kind, name, role, in.name, err, want.Name())
					}
					c.tx.Discard()
				}
			}
			for _, kind := range kinds {
				for standing := range pb.Standing_name {
					if pb.Standing(standing) == pb.Standing_STANDING_ACTIVE {
						continue
					}
					c := enter(kind, 0, pb.Standing(standing), circumstances{inviteToo: true})
					if err := try(c); codeOf(Result{Err: err}) != pb.Code_CODE_NOT_A_MEMBER {
						t.Errorf("%v, %q by who is %v: %v", kind, name, pb.Standing(standing), err)
					}
					c.tx.Discard()
				}
			}
		}
	}
	for name := range attempts {
		if !tried[name] {
			t.Errorf("%q is no row of the table", name)
		}
	}
}

// TestRightsOverOthers: what is done to members may be done to those of a lower
// role only, and what they wrote is the owner's to recall, but not the owner's
// anybody else's.
func TestRightsOverOthers(t *testing.T) {
	store := openStore(t, storeOptions(vfs.NewMem()))
	const allowed, refused = protocol.Code(0), pb.Code_CODE_NOT_ALLOWED
	for _, try := range []struct {
		actor, target  string
		remove, recall protocol.Code
	}{
		{"m1", "m2", refused, refused},
		{"m1", "a1", refused, refused},
		{"m1", hallOwner, refused, refused},
		{"a1", "m1", allowed, allowed},
		{"a1", "a2", refused, allowed},
		{"a1", hallOwner, refused, refused},
		{"a1", "a1", refused, allowed},
		{hallOwner, "m1", allowed, allowed},
		{hallOwner, "a1", allowed, allowed},
		{hallOwner, hallOwner, refused, allowed},
		{"m1", "m1", refused, pb.Code_CODE_TOO_LATE},
	} {
		for what, f := range map[string]func(h *hall, seq uint64) (Result, protocol.Code){
			"remove": func(h *hall, _ uint64) (Result, protocol.Code) {
				return h.group(try.actor, removeUsers(try.target)), try.remove
			},
			"mute": func(h *hall, _ uint64) (Result, protocol.Code) {
				return h.group(try.actor, muteUsers(1<<40, try.target)), try.remove
			},
			"recall": func(h *hall, seq uint64) (Result, protocol.Code) {
				return h.send(try.actor, Command{Kind: pb.Kind_KIND_RECALL, Target: seq}), try.recall
			},
		} {
			h := newHall(t, store, &pb.CreateGroup{Users: []string{"m1", "m2", "a1", "a2"}})
			h.must(hallOwner, setRole(pb.Role_ROLE_ADMIN, "a1", "a2"))
			seq := h.send(try.target, Command{Kind: pb.Kind_KIND_TEXT, Body: []byte("x")}).Seq
			h.now += 1 << 30
			r, want := f(h, seq)
			if codeOf(r) != want {
				t.Errorf("%s by %s of %s: %v, want %s", what, try.actor, try.target, r.Err, want.Name())
			}
			h.tx.Discard()
		}
	}
}
