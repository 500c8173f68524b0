package chat

import (
	"slices"

	"github.com/godwit-im/godwit/msgstore"
	"github.com/godwit-im/godwit/protocol"
	"github.com/godwit-im/godwit/protocol/pb"
)

// Who is in a group, and as what.

// newMember is the row of a new member, with what is the user's own business
// from m, their row so far. They may read from seq first on.
func (a *groupAct) newMember(m *pb.Membership, first uint64) *pb.Membership {
	return &pb.Membership{
		Role: pb.Role_ROLE_MEMBER, Standing: pb.Standing_STANDING_ACTIVE, FromSeq: first, JoinedMs: a.cmd.TimeMs,
		Nick: m.GetNick(), InvitedBy: m.GetInvitedBy(), ClearedSeq: m.GetClearedSeq(), Settings: m.GetSettings(),
		DeletedSeq: m.GetDeletedSeq(), MutedUntilMs: m.GetMutedUntilMs(), // nobody leaves to be heard again
	}
}

func (a *groupAct) put(user string, row msgstore.Member) error {
	return a.tx.PutMember(a.index, user, a.cmd.Conversation, row)
}

// row returns a user's row in the group, with a membership to be changed.
func (a *groupAct) row(user string) (msgstore.Member, error) {
	row, _, err := a.tx.Member(user, a.cmd.Conversation)
	row.Membership = ownMembership(row)
	return row, err
}

// standings returns those of users whose standing in the group is one of these.
func (a *groupAct) standings(users []string, standings ...pb.Standing) (those []string, err error) {
	for _, user := range users {
		row, _, err := a.tx.Member(user, a.cmd.Conversation)
		if err != nil {
			return nil, err
		}
		if slices.Contains(standings, row.Membership.GetStanding()) {
			those = append(those, user)
		}
	}
	return those, nil
}

// outsiders returns those of users who are not members.
func (a *groupAct) outsiders(users []string) ([]string, error) {
	return a.standings(users, pb.Standing_STANDING_UNSPECIFIED, pb.Standing_STANDING_LEFT, pb.Standing_STANDING_REMOVED,
		pb.Standing_STANDING_INVITED, pb.Standing_STANDING_REQUESTED)
}

// room is why users can't become members; nil if there is room for them.
func (a *groupAct) room(users []string) *protocol.Error {
	most := a.cmd.Rules.MaxMembers
	if a.g.Kind == pb.GroupKind_GROUP_KIND_BROADCAST {
		most = a.cmd.Rules.MaxFollowers
	}
	if int(a.g.Members)+len(users) > most {
		return errTooManyMembers
	}
	for _, user := range users {
		if slices.Contains(a.cmd.Full, user) {
			return errTooManyGroups
		}
	}
	return nil
}

// enter makes users members, who are not. What they find in the group counts as
// read.
func (a *groupAct) enter(users []string, notice pb.NoticeType) error {
	if len(users) == 0 {
		return nil
	}
	head, _, err := a.tx.Head(a.cmd.Conversation)
	if err != nil {
		return err
	}
	first := uint64(1)
	if a.g.History == pb.HistoryPolicy_HISTORY_POLICY_FROM_JOIN {
		first = head.Seq + 1 // the notice's, if there is one
	}
	for _, user := range users {
		row, err := a.row(user)
		if err != nil {
			return err
		}
		if user != a.cmd.User && row.Membership.Standing != pb.Standing_STANDING_INVITED {
			row.Membership.InvitedBy = a.cmd.User
		}
		row.Membership = a.newMember(row.Membership, first)
		row.ReadSeq, row.DeliveredSeq, row.ReadOthers = head.Seq, head.Seq, head.Count
		if err := a.put(user, row); err != nil {
			return err
		}
	}
	a.joined = users
	a.g.Members += uint32(len(users))
	return a.tellMembers(&pb.Notice{Type: notice, Users: a.named(users)}, false)
}

// named returns those of users whom a notice to all may name. The followers of a
// broadcast are not told of one another.
func (a *groupAct) named(users []string) []string {
	if a.g.Kind != pb.GroupKind_GROUP_KIND_BROADCAST {
		return users
	}
	return slices.DeleteFunc(slices.Clone(users), func(user string) bool {
		return user != a.g.Owner && !slices.Contains(a.g.Admins, user)
	})
}

// tellMembers tells all members what changed about n.Users, those whom it may
// name. If there is none, followers came to a broadcast or went, and to all others
// nothing has changed.
func (a *groupAct) tellMembers(n *pb.Notice, hidden bool) error {
	if len(n.Users) == 0 {
		return a.tx.PutFollowers(a.index, a.g)
	}
	a.g.MembersVersion++
	if err := a.notice(n, hidden); err != nil {
		return err
	}
	return a.tx.PutGroup(a.index, a.g)
}

func (a *groupAct) add(users []string) (*protocol.Error, error) {
	switch {
	case !a.may(rightAdd):
		return errNotAllowed, nil
	case a.cmd.Rules.AskFirst:
		return errAskFirst, nil
	}
	users, err := a.outsiders(users)
	if err != nil {
		return nil, err
	}
	if refusal := a.room(users); refusal != nil {
		return refusal, nil
	}
	return nil, a.enter(users, pb.NoticeType_NOTICE_TYPE_MEMBERS_ADDED)
}

// invite asks users. Those who have asked themselves are left to who may admit
// them.
func (a *groupAct) invite(users []string) (*protocol.Error, error) {
	if !a.may(rightInvite) {
		return errNotAllowed, nil
	}
	users, err := a.standings(users, pb.Standing_STANDING_UNSPECIFIED, pb.Standing_STANDING_LEFT, pb.Standing_STANDING_REMOVED)
	if err != nil {
		return nil, err
	}
	return nil, a.inviteAll(users)
}

func (a *groupAct) inviteAll(users []string) error {
	for _, user := range users {
		row, err := a.row(user)
		if err != nil {
			return err
		}
		row.Membership.Standing, row.Membership.InvitedBy = pb.Standing_STANDING_INVITED, a.cmd.User
		if err := a.put(user, row); err != nil {
			return err
		}
		a.changed = append(a.changed, user)
		a.follow = append(a.follow, followNotice{user, &pb.Notice{
			Type: pb.NoticeType_NOTICE_TYPE_GROUP_INVITED, Actor: a.cmd.User, Users: []string{user},
			Conversation: a.g.Conversation, Group: a.outside(), Members: a.g.Members,
		}})
	}
	return nil
}

// outside is what of the group's data may be known to who is not a member.
func (a *groupAct) outside() *pb.Group {
	return &pb.Group{
		Conversation: a.g.Conversation, Kind: a.g.Kind, Owner: a.g.Owner, Name: a.g.Name, Avatar: a.g.Avatar,
		Members: a.g.Members, CreatedMs: a.g.CreatedMs,
	}
}

// join is for who is not a member, and perhaps was told of no such group.
func (a *groupAct) join(req *pb.Join) (*protocol.Error, error) {
	user := a.cmd.User
	a.standing = pb.Standing_STANDING_ACTIVE
	switch {
	case a.me.Standing == pb.Standing_STANDING_ACTIVE:
		return nil, nil
	case a.me.Standing == pb.Standing_STANDING_INVITED, a.g.Join == pb.JoinPolicy_JOIN_POLICY_OPEN:
		if refusal := a.room([]string{user}); refusal != nil {
			return refusal, nil
		}
		return nil, a.enter([]string{user}, pb.NoticeType_NOTICE_TYPE_MEMBERS_JOINED)
	case a.g.Join == pb.JoinPolicy_JOIN_POLICY_APPROVAL:
		a.standing = pb.Standing_STANDING_REQUESTED
		refusal, err := a.request(req)
		a.g = a.outside()
		return refusal, err
	}
	return errNotAMember, nil
}

// request asks the owner and the admins.
func (a *groupAct) request(req *pb.Join) (*protocol.Error, error) {
	user := a.cmd.User
	if a.me.Standing == pb.Standing_STANDING_REQUESTED {
		return nil, nil
	}
	if refusal := a.room([]string{user}); refusal != nil {
		return refusal, nil
	}
	row, err := a.row(user)
	if err != nil {
		return nil, err
	}
	row.Membership.Standing = pb.Standing_STANDING_REQUESTED
	a.changed = append(a.changed, user)
	for _, admin := range slices.Concat([]string{a.g.Owner}, a.g.Admins) {
		a.follow = append(a.follow, followNotice{admin, &pb.Notice{
			Type: pb.NoticeType_NOTICE_TYPE_JOIN_REQUESTED, Actor: user, Users: []string{admin},
			Conversation: a.g.Conversation, Text: req.GetText(), Group: a.outside(),
		}})
	}
	return nil, a.put(user, row)
}

// refuse says no to an invitation, or takes the user's own request back.
func (a *groupAct) refuse() (*protocol.Error, error) {
	switch a.me.Standing {
	case pb.Standing_STANDING_INVITED, pb.Standing_STANDING_REQUESTED:
		a.g = a.outside()
		a.changed = append(a.changed, a.cmd.User)
		return nil, a.outsideAgain(a.cmd.User)
	case pb.Standing_STANDING_ACTIVE:
		return errNotAllowed, nil
	}
	return errNotAMember, nil
}

// outsideAgain puts a user back to where they were before they were asked, or
// asked.
func (a *groupAct) outsideAgain(user string) error {
	row, err := a.row(user)
	if err != nil {
		return err
	}
	m := row.Membership
	m.Standing, m.InvitedBy = pb.Standing_STANDING_UNSPECIFIED, ""
	if m.UntilSeq > 0 {
		m.Standing = pb.Standing_STANDING_LEFT
	}
	return a.put(user, row)
}

// answer lets those in who asked, or doesn't.
func (a *groupAct) answer(users []string, admit bool) (*protocol.Error, error) {
	if !a.may(rightAdmit) {
		return errNotAllowed, nil
	}
	users, err := a.standings(users, pb.Standing_STANDING_REQUESTED)
	if err != nil {
		return nil, err
	}
	told := pb.NoticeType_NOTICE_TYPE_JOIN_REFUSED
	if admit {
		told = pb.NoticeType_NOTICE_TYPE_JOIN_ACCEPTED
		if refusal := a.room(users); refusal != nil {
			return refusal, nil
		}
		if err := a.enter(users, pb.NoticeType_NOTICE_TYPE_MEMBERS_JOINED); err != nil {
			return nil, err
		}
	}
	for _, user := range users {
		if !admit {
			if err := a.outsideAgain(user); err != nil {
				return nil, err
			}
			a.changed = append(a.changed, user)
		}
		a.follow = append(a.follow, followNotice{user, &pb.Notice{
			Type: told, Actor: a.cmd.User, Users: []string{user}, Conversation: a.g.Conversation, Group: a.outside(),
		}})
	}
	return nil, nil
}

func (a *groupAct) leave() (*protocol.Error, error) {
	if !a.may(rightLeave) {
		return errNotAllowed, nil
	}
	return nil, a.exit([]string{a.cmd.User}, pb.Standing_STANDING_LEFT, pb.NoticeType_NOTICE_TYPE_MEMBER_LEFT)
}

func (a *groupAct) remove(users []string) (*protocol.Error, error) {
	users, refusal, err := a.lower(rightRemove, users, false)
	if err != nil || refusal != nil {
		return refusal, err
	}
	return nil, a.exit(users, pb.Standing_STANDING_REMOVED, pb.NoticeType_NOTICE_TYPE_MEMBERS_REMOVED)
}

// exit ends memberships. What there is up to the notice of it stays theirs to
// read.
func (a *groupAct) exit(users []string, standing pb.Standing, notice pb.NoticeType) error {
	if len(users) == 0 {
		return nil
	}
	named := a.named(users)
	a.g.Members -= uint32(len(users))
	a.g.Admins = slices.DeleteFunc(a.g.Admins, func(admin string) bool { return slices.Contains(users, admin) })
	if err := a.tellMembers(&pb.Notice{Type: notice, Users: named}, false); err != nil {
		return err
	}
	if err := a.tx.PutLeft(a.index, a.cmd.Conversation); err != nil {
		return err
	}
	head, _, err := a.tx.Head(a.cmd.Conversation)
	if err != nil {
		return err
	}
	for _, user := range users {
		row, err := a.row(user)
		if err != nil {
			return err
		}
		m := row.Membership
		m.Standing, m.Role, m.UntilSeq = standing, pb.Role_ROLE_UNSPECIFIED, head.Seq
		if err := a.put(user, row); err != nil {
			return err
		}
	}
	a.left = users
	return nil
}
