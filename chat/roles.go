package chat

import (
	"slices"

	"google.golang.org/protobuf/proto"

	"github.com/godwit-im/godwit/protocol"
	"github.com/godwit-im/godwit/protocol/pb"
)

// What members are to a group, and called in it.

// lower returns those of users who are members, for something that may be done
// to members of a lower role than one's own. all: it is refused if one isn't a
// member.
func (a *groupAct) lower(r right, users []string, all bool) ([]string, *protocol.Error, error) {
	if !a.may(r) {
		return nil, errNotAllowed, nil
	}
	members := make([]string, 0, len(users))
	for _, user := range users {
		row, err := a.row(user)
		switch {
		case err != nil:
			return nil, nil, err
		case row.Membership.Standing == pb.Standing_STANDING_ACTIVE && row.Membership.Role >= a.me.Role:
			return nil, errNotAllowed, nil
		case row.Membership.Standing == pb.Standing_STANDING_ACTIVE:
			members = append(members, user)
		case all:
			return nil, errTheyAreNot, nil
		}
	}
	return members, nil, nil
}

func (a *groupAct) setRole(req *pb.SetRole) (*protocol.Error, error) {
	users, refusal, err := a.lower(rightRole, req.Users, true)
	if err != nil || refusal != nil {
		return refusal, err
	}
	admins := slices.DeleteFunc(slices.Clone(a.g.Admins), func(admin string) bool { return slices.Contains(users, admin) })
	if req.Role == pb.Role_ROLE_ADMIN {
		admins = append(admins, users...)
		slices.Sort(admins)
		admins = slices.Compact(admins)
	}
	switch {
	case len(admins) > protocol.MaxAdmins:
		return errTooManyAdmins, nil
	case slices.Equal(admins, a.g.Admins):
		return nil, nil
	}
	a.g.Admins = admins
	for _, user := range users {
		if err := a.changeRow(user, func(m *pb.Membership) { m.Role = req.Role }); err != nil {
			return nil, err
		}
	}
	return nil, a.tellMembers(&pb.Notice{
		Type: pb.NoticeType_NOTICE_TYPE_ROLE_CHANGED, Users: users, Member: &pb.Member{Role: req.Role},
	}, false)
}

// transfer gives the group away. Who had it is a member then.
func (a *groupAct) transfer(to string) (*protocol.Error, error) {
	if to == a.cmd.User && a.may(rightTransfer) {
		return nil, nil
	}
	users, refusal, err := a.lower(rightTransfer, []string{to}, true)
	if err != nil || refusal != nil {
		return refusal, err
	}
	a.g.Owner = to
	a.g.Admins = slices.DeleteFunc(slices.Clone(a.g.Admins), func(admin string) bool { return admin == to })
	if err := a.changeRow(a.cmd.User, func(m *pb.Membership) { m.Role = pb.Role_ROLE_MEMBER }); err != nil {
		return nil, err
	}
	if err := a.changeRow(to, func(m *pb.Membership) { m.Role = pb.Role_ROLE_OWNER }); err != nil {
		return nil, err
	}
	return nil, a.tellMembers(&pb.Notice{Type: pb.NoticeType_NOTICE_TYPE_OWNER_CHANGED, Users: users}, false)
}

func (a *groupAct) mute(req *pb.MuteMembers) (*protocol.Error, error) {
	users, refusal, err := a.lower(rightMute, req.Users, true)
	if err != nil || refusal != nil {
		return refusal, err
	}
	for _, user := range users {
		if err := a.changeRow(user, func(m *pb.Membership) { m.MutedUntilMs = req.UntilMs }); err != nil {
			return nil, err
		}
	}
	named := a.named(users)
	if len(a.changed) == 0 || len(named) == 0 {
		return nil, nil
	}
	return nil, a.tellMembers(&pb.Notice{
		Type: pb.NoticeType_NOTICE_TYPE_MEMBERS_MUTED, Users: named, Member: &pb.Member{MutedUntilMs: req.UntilMs},
	}, false)
}

func (a *groupAct) nick(nick string) (*protocol.Error, error) {
	if !a.may(rightNick) {
		return errNotAllowed, nil
	}
	if err := a.changeRow(a.cmd.User, func(m *pb.Membership) { m.Nick = nick }); err != nil || len(a.changed) == 0 {
		return nil, err
	}
	return nil, a.tellMembers(&pb.Notice{
		Type: pb.NoticeType_NOTICE_TYPE_NICK_CHANGED, Users: []string{a.cmd.User}, Member: &pb.Member{Nick: nick},
	}, true)
}

// changeRow changes a user's row, unless the change is none.
func (a *groupAct) changeRow(user string, change func(m *pb.Membership)) error {
	row, err := a.row(user)
	if err != nil {
		return err
	}
	before := proto.Clone(row.Membership)
	if change(row.Membership); proto.Equal(before, row.Membership) {
		return nil
	}
	a.changed = append(a.changed, user)
	return a.put(user, row)
}
