package chat

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"github.com/godwit-im/godwit/msgstore"
	"github.com/godwit-im/godwit/protocol"
	"github.com/godwit-im/godwit/protocol/pb"
)

// told is a group as its notices tell it, to one who has heard them all.
type told struct {
	group   *pb.Group // what the notices say of its data
	members map[string]*pb.Membership
	former  map[string]uint64 // who left, and the last seq that is theirs
	online  map[string]bool   // who gets messages, by the effects
}

func newTold() *told {
	return &told{group: &pb.Group{}, members: map[string]*pb.Membership{}, former: map[string]uint64{}, online: map[string]bool{}}
}

// hear takes a notice in.
func (d *told) hear(seq uint64, n *pb.Notice) error {
	d.group.MembersVersion, d.group.Members = n.MembersVersion, n.Members
	if n.Group != nil {
		d.group = n.Group
	}
	from := seq
	if d.group.History == pb.HistoryPolicy_HISTORY_POLICY_ALL {
		from = 1
	}
	switch n.Type {
	case pb.NoticeType_NOTICE_TYPE_GROUP_CREATED, pb.NoticeType_NOTICE_TYPE_MEMBERS_ADDED, pb.NoticeType_NOTICE_TYPE_MEMBERS_JOINED:
		for _, user := range n.Users {
			d.members[user] = &pb.Membership{Role: pb.Role_ROLE_MEMBER, FromSeq: from}
			if user == n.Actor && n.Type == pb.NoticeType_NOTICE_TYPE_GROUP_CREATED {
				d.members[user].Role = pb.Role_ROLE_OWNER
			}
			delete(d.former, user)
		}
	case pb.NoticeType_NOTICE_TYPE_MEMBER_LEFT, pb.NoticeType_NOTICE_TYPE_MEMBERS_REMOVED:
		for _, user := range n.Users {
			delete(d.members, user)
			d.former[user] = seq
		}
	case pb.NoticeType_NOTICE_TYPE_ROLE_CHANGED:
		for _, user := range n.Users {
			d.member(user).Role = n.Member.Role
		}
	case pb.NoticeType_NOTICE_TYPE_OWNER_CHANGED:
		for _, m := range d.members {
			if m.Role == pb.Role_ROLE_OWNER {
				m.Role = pb.Role_ROLE_MEMBER
			}
		}
		d.member(n.Users[0]).Role = pb.Role_ROLE_OWNER
	case pb.NoticeType_NOTICE_TYPE_GROUP_CHANGED:
	case pb.NoticeType_NOTICE_TYPE_MEMBERS_MUTED, pb.NoticeType_NOTICE_TYPE_NICK_CHANGED:
		for _, user := range n.Users {
			if d.members[user] == nil {
				return fmt.Errorf("%v of %s, who is no member", n.Type, user)
			}
		}
	case pb.NoticeType_NOTICE_TYPE_GROUP_DISSOLVED:
		d.group.DissolvedSeq = seq
	default:
		return fmt.Errorf("%v in a group", n.Type)
	}
	return nil
}

// member is what is known of a member. Of a follower that is nothing.
func (d *told) member(user string) *pb.Membership {
	if d.members[user] == nil {
		d.members[user] = &pb.Membership{}
	}
	return d.members[user]
}

// compare looks whether what is stored of a group fits together, and with what
// was told.
func (d *told) compare(store *msgstore.Store, conversation string, users []string) error {
	g, found, err := store.Group(conversation)
	switch {
	case err != nil:
		return err
	case !found && len(d.members) == 0:
		return nil
	case !found:
		return errors.New("there is no such group")
	}
	var admins, active, requested []string
	for _, user := range users {
		row, _, err := store.Member(user, conversation)
		if err != nil {
			return err
		}
		m := row.Membership
		switch m.GetStanding() {
		case pb.Standing_STANDING_ACTIVE:
			active = append(active, user)
		case pb.Standing_STANDING_REQUESTED:
			requested = append(requested, user)
		}
		if m.GetRole() == pb.Role_ROLE_ADMIN {
			admins = append(admins, user)
		}
		if (m.GetRole() == pb.Role_ROLE_OWNER) != (user == g.Owner) && g.DissolvedSeq == 0 {
			return fmt.Errorf("%s owns it and %s is %v", g.Owner, user, m.GetRole())
		}
		if err := d.compareMember(g, user, m); err != nil {
			return err
		}
	}
	listed := func(requests bool) (list []string) {
		_, err = store.GroupMembers(conversation, requests, "", 1000, func(user string, _ msgstore.Member) error {
			list = append(list, user)
			return nil
		})
		return list
	}
	lists, asks := listed(false), listed(true)
	over := g.DissolvedSeq > 0 // its data stays as it was
	switch {
	case err != nil:
		return err
	case !slices.Equal(lists, active), !slices.Equal(asks, requested):
		return fmt.Errorf("listed are %v and %v, by the rows it is %v and %v", lists, asks, active, requested)
	case !over && !slices.Equal(g.Admins, admins), !over && int(g.Members) != len(active):
		return fmt.Errorf("there are %v, admins %v, and the group is %v", active, admins, g)
	case g.Version != d.group.Version, g.MembersVersion != d.group.MembersVersion, g.DissolvedSeq != d.group.DissolvedSeq:
		return fmt.Errorf("the group is %v, and was told to be %v", g, d.group)
	}
	return nil
}

// compareMember compares a row with what was told of its user.
func (d *told) compareMember(g *pb.Group, user string, m *pb.Membership) error {
	active := m.GetStanding() == pb.Standing_STANDING_ACTIVE
	if active && m.UntilSeq > 0 || !active && m.GetRole() != pb.Role_ROLE_UNSPECIFIED {
		return fmt.Errorf("%s has the row %v", user, m)
	}
	want := d.members[user]
	switch {
	case g.Kind == pb.GroupKind_GROUP_KIND_BROADCAST:
		if role := want.GetRole(); role > pb.Role_ROLE_MEMBER && g.DissolvedSeq == 0 && role != m.GetRole() {
			return fmt.Errorf("%s is %v, and was called %v", user, m.GetRole(), role)
		}
	case g.DissolvedSeq > 0:
		if until := m.GetUntilSeq(); want != nil && !active && until != g.DissolvedSeq {
			return fmt.Errorf("%s may read a dissolved group up to %d", user, until)
		}
	case active != (want != nil), m.GetUntilSeq() != d.former[user]:
		return fmt.Errorf("%s has the row %v, and was told to be %v, to have left at %d", user, m, want, d.former[user])
	case active && (m.Role != want.Role || m.FromSeq != want.FromSeq):
		return fmt.Errorf("%s has the row %v, and was told to be %v", user, m, want)
	}
	return nil
}

// take takes the effects of a command in, in their order.
func (d *told) take(effects []Effect) error {
	for _, e := range effects {
		switch e.Kind {
		case EffectJoined:
			for _, user := range e.Users {
				d.online[user] = true
			}
		case EffectLeft:
			for _, user := range e.Users {
				delete(d.online, user)
			}
		case EffectDissolve:
			clear(d.online)
		case EffectMessage:
			m := &pb.Message{}
			if err := proto.Unmarshal(e.Frame[protocol.HeaderSize:], m); err != nil {
				return err
			}
			if m.Kind != pb.Kind_KIND_NOTICE {
				continue
			}
			n := &pb.Notice{}
			if err := proto.Unmarshal(m.Body, n); err != nil {
				return err
			}
			if err := d.hear(m.Seq, n); err != nil {
				return err
			}
			// Whoever is named, and is in or was, gets the notice itself.
			for _, user := range n.Users {
				if !d.online[user] {
					return fmt.Errorf("%v of %s is not for them", n.Type, user)
				}
			}
		}
	}
	return nil
}

// TestGroupsFitTogether takes groups through random commands. After each one
// it compares all that there is of the group: the rows, the lists, its data, what
// the notices said and who gets messages; and it counts by hand what is unread.
func TestGroupsFitTogether(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		store, err := msgstore.Open(storeOptions(vfs.NewMem()))
		if err != nil {
			t.Fatal(err)
		}
		defer store.Close()
		groups, pasts := map[string]*told{}, pasts{}
		commands := append(newGroups(), rapid.SliceOfN(rapid.Custom(drawInGroup), 20, 80).Draw(t, "commands")...)
		for i := range commands {
			c := &commands[i]
			c.MessageID = uint64(1000 + i)
			if c.Op == OpExpire {
				c.ExpiresMs = expiresMs(t, store, c.Conversation, c.Seq)
				c.TimeMs = max(c.TimeMs, c.ExpiresMs)
			}
			tx := store.Begin()
			p := store.PartitionOf(c.Conversation)
			index := store.Applied(p) + 1
			r, effects, err := Apply(tx, index, c, nil)
			if err != nil {
				t.Fatal(err)
			}
			tx.SetApplied(p, index)
			if err := tx.Commit(); err != nil {
				t.Fatal(err)
			}
			if r.Err != nil && len(effects) > 0 {
				t.Fatalf("command %d was refused, %v, and has effects", i, r.Err)
			}
			d := groups[c.Conversation]
			if d == nil {
				d = newTold()
				groups[c.Conversation] = d
			}
			if err := pasts.follow(store, c.Conversation, drawnUsers); err != nil {
				t.Fatalf("after command %d, %s: %v", i, c.User, err)
			}
			err = cmp.Or(
				d.take(effects),
				d.compare(store, c.Conversation, drawnUsers),
				d.compareOnline(store, c.Conversation),
				compareUnread(store, c.Conversation),
			)
			if err != nil {
				t.Fatalf("after command %d, %s", i, fmt.Errorf("%v of %s: %w", c.Group, c.User, err))
			}
		}
	})
}

// drawInGroup draws what is done with one of the drawn groups, or in it.
func drawInGroup(t *rapid.T) Command {
	c := drawCommand(t)
	switch c.Op {
	case OpSend, OpMark, OpTrim, OpExpire, OpSettings, OpDelete:
		if rapid.Bool().Draw(t, "in") {
			c.Conversation = rapid.SampledFrom(drawnGroups).Draw(t, "group")
			return c
		}
	}
	c.User = rapid.SampledFrom(drawnUsers).Draw(t, "member")
	drawGroupCommand(t, &c)
	return c
}

// compareOnline: messages go to the members, as long as there is a group.
func (d *told) compareOnline(store *msgstore.Store, conversation string) error {
	var want []string
	if d.group.DissolvedSeq == 0 {
		_, err := store.GroupMembers(conversation, false, "", 1000, func(user string, _ msgstore.Member) error {
			want = append(want, user)
			return nil
		})
		if err != nil {
			return err
		}
	}
	if got := slices.Sorted(maps.Keys(d.online)); !slices.Equal(got, want) {
		return fmt.Errorf("messages go to %v, the members are %v", got, want)
	}
	return nil
}

// compareUnread counts by hand what users have not read of what they may.
func compareUnread(store *msgstore.Store, conversation string) error {
	head, _, err := store.Head(conversation)
	if err != nil {
		return err
	}
	read := func(conversation string, seq uint64) ([]byte, error) {
		wire, found, err := store.Message(conversation, seq)
		if err == nil && !found {
			err = errors.New("no such message")
		}
		return wire, err
	}
	for _, user := range drawnUsers {
		row, _, err := store.Member(user, conversation)
		if err != nil {
			return err
		}
		if !inside(row.Membership) {
			continue
		}
		first, last := Bounds(head, row.Membership)
		want := uint64(0)
		for seq := max(first, row.ReadSeq+1); seq <= last; seq++ {
			m, err := readMessage(read, conversation, seq)
			if err != nil {
				return err
			}
			if counts(m) && m.State == pb.MessageState_MESSAGE_STATE_NORMAL && m.ExpiresMs == 0 {
				if m.Sender == user {
					return fmt.Errorf("%s has not read their own message %d", user, seq)
				}
				want++
			}
		}
		got, err := Unread(read, store.GoneBetween, head, row, conversation, user, math.MaxInt64)
		if err != nil {
			return err
		}
		if got != want {
			return fmt.Errorf("%d unread of %s, want %d", got, user, want)
		}
	}
	return nil
}
