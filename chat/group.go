package chat

import (
	"cmp"
	"slices"

	"google.golang.org/protobuf/proto"

	"github.com/godwit-im/godwit/msgstore"
	"github.com/godwit-im/godwit/protocol"
	"github.com/godwit-im/godwit/protocol/pb"
)

var (
	errNotAllowed        = protocol.Errorf(pb.Code_CODE_NOT_ALLOWED, "you may not do this in this group")
	errMuted             = protocol.Errorf(pb.Code_CODE_MUTED, "you may not write in this group for now")
	errTheyAreNot        = protocol.Errorf(pb.Code_CODE_NOT_A_MEMBER, "one of the users is not a member of this group")
	errAskFirst          = protocol.Errorf(pb.Code_CODE_NOT_ALLOWED, "users must be invited, and agree, to become members")
	errTooManyMembers    = protocol.Errorf(pb.Code_CODE_TOO_MANY_MEMBERS, "the group would have more members than a group may have")
	errTooManyGroups     = protocol.Errorf(pb.Code_CODE_TOO_MANY_GROUPS, "one of the users is in as many groups as a user may be in")
	errTooManyAdmins     = protocol.Errorf(pb.Code_CODE_TOO_MANY_ADMINS, "the group would have more than %d admins", protocol.MaxAdmins)
	errTooManyAttributes = protocol.Errorf(pb.Code_CODE_TOO_MANY_ATTRIBUTES, "the group would have more than %d attributes or %d bytes of them", protocol.MaxAttributes, protocol.MaxAttributesBytes)
	errOtherVersion      = protocol.Errorf(pb.Code_CODE_OTHER_VERSION, "the group is at another version")
	errUnknownGroupOp    = protocol.Errorf(pb.Code_CODE_BAD_ARGUMENT, "unknown action on a group")
)

// groupAct is one GROUP while it is applied. Nothing is written before it is
// known that nothing refuses it.
type groupAct struct {
	tx    *msgstore.Tx
	index uint64
	cmd   *Command

	g        *pb.Group // a copy, to be changed
	me       *pb.Membership
	standing pb.Standing // for the answer

	// What finish is to tell, and in this order.
	joined    []string // who is a member now
	message   []Effect // the notice, if there is one
	seq       uint64   // its seq
	left      []string // who isn't any more
	dissolved bool
	changed   []string // whose rows changed besides
	follow    []followNotice
}

// followNotice is a notice for a user's system conversation.
type followNotice struct {
	user   string
	notice *pb.Notice
}

func applyGroup(tx *msgstore.Tx, index uint64, cmd *Command, effects []Effect) (Result, []Effect, error) {
	a := &groupAct{tx: tx, index: index, cmd: cmd}
	refusal, err := a.apply()
	if err != nil || refusal != nil {
		return Result{Err: refusal}, effects, err
	}
	if effects, err = a.tell(effects); err != nil {
		return Result{}, effects, err
	}
	return Result{Seq: a.seq, Group: a.g, Standing: a.standing}, effects, nil
}

func (a *groupAct) apply() (*protocol.Error, error) {
	g, found, err := a.tx.Group(a.cmd.Conversation)
	if err != nil {
		return nil, err
	}
	req := a.cmd.Group
	create := req.GetCreate()
	switch {
	case create != nil && a.cmd.Conversation != protocol.GroupID(a.cmd.User, create.ClientId):
		return errNotAMember, nil
	case create != nil && !found:
		return a.create(create)
	case !found:
		return errNotAMember, nil
	}
	row, _, err := a.tx.Member(a.cmd.User, a.cmd.Conversation)
	if err != nil {
		return nil, err
	}
	a.g, a.me = proto.Clone(g).(*pb.Group), ownMembership(row)
	switch {
	case create != nil: // made by the same request, sent before
		if a.standing = a.me.Standing; a.standing != pb.Standing_STANDING_ACTIVE {
			// What never changes, as what it is now is not for who has left.
			a.g = &pb.Group{Conversation: a.g.Conversation, Kind: a.g.Kind, CreatedMs: a.g.CreatedMs}
		}
		return nil, nil
	case a.g.DissolvedSeq > 0:
		return a.afterEnd(req)
	}
	switch req.Action.(type) {
	case *pb.GroupRequest_Join:
		return a.join(req.GetJoin())
	case *pb.GroupRequest_Refuse:
		return a.refuse()
	}
	if a.me.Standing != pb.Standing_STANDING_ACTIVE {
		return errNotAMember, nil
	}
	return a.act(req)
}

// act is what members do.
func (a *groupAct) act(req *pb.GroupRequest) (*protocol.Error, error) {
	switch action := req.Action.(type) {
	case *pb.GroupRequest_Add:
		return a.add(action.Add.GetUsers())
	case *pb.GroupRequest_Invite:
		return a.invite(action.Invite.GetUsers())
	case *pb.GroupRequest_Admit:
		return a.answer(action.Admit.GetUsers(), true)
	case *pb.GroupRequest_Decline:
		return a.answer(action.Decline.GetUsers(), false)
	case *pb.GroupRequest_Leave:
		return a.leave()
	case *pb.GroupRequest_Remove:
		return a.remove(action.Remove.GetUsers())
	case *pb.GroupRequest_Role:
		return a.setRole(action.Role)
	case *pb.GroupRequest_Transfer:
		return a.transfer(action.Transfer)
	case *pb.GroupRequest_Change:
		return a.change(action.Change)
	case *pb.GroupRequest_Mute:
		return a.mute(action.Mute)
	case *pb.GroupRequest_Nick:
		return a.nick(action.Nick)
	case *pb.GroupRequest_Dissolve:
		return a.dissolve()
	}
	return errUnknownGroupOp, nil
}

func (a *groupAct) may(r right) bool { return may(a.g, a.me, r, a.cmd.TimeMs) }

// create makes the group.
func (a *groupAct) create(req *pb.CreateGroup) (*protocol.Error, error) {
	cmd := a.cmd
	a.g = &pb.Group{
		Conversation:  cmd.Conversation,
		Kind:          cmp.Or(req.Kind, pb.GroupKind_GROUP_KIND_GROUP),
		Owner:         cmd.User,
		Name:          req.Name,
		Avatar:        req.Avatar,
		Notice:        req.Notice,
		Join:          cmp.Or(req.Join, pb.JoinPolicy_JOIN_POLICY_INVITE),
		History:       cmp.Or(req.History, pb.HistoryPolicy_HISTORY_POLICY_FROM_JOIN),
		MembersInvite: req.MembersInvite,
		CreatedMs:     cmd.TimeMs,
		Version:       1,
	}
	if a.g.Kind == pb.GroupKind_GROUP_KIND_BROADCAST {
		a.g.Join = cmp.Or(req.Join, pb.JoinPolicy_JOIN_POLICY_OPEN)
		a.g.History = cmp.Or(req.History, pb.HistoryPolicy_HISTORY_POLICY_ALL)
	}
	if !a.setAttributes(req.Attributes) {
		return errTooManyAttributes, nil
	}
	others := slices.DeleteFunc(slices.Clone(req.Users), func(user string) bool { return user == cmd.User })
	members := append([]string{cmd.User}, others...)
	if cmd.Rules.AskFirst {
		members = members[:1]
	}
	if refusal := a.room(members); refusal != nil {
		return refusal, nil
	}
	if err := a.tx.Create(a.index, cmd.Conversation); err != nil {
		return nil, err
	}
	for i, user := range members {
		m := a.newMember(nil, 1)
		if i == 0 {
			m.Role = pb.Role_ROLE_OWNER
		}
		if err := a.put(user, msgstore.Member{Membership: m}); err != nil {
			return nil, err
		}
	}
	a.joined = members
	a.g.Members, a.g.MembersVersion = uint32(len(members)), 1
	if err := a.notice(&pb.Notice{Type: pb.NoticeType_NOTICE_TYPE_GROUP_CREATED, Users: a.named(members), Group: a.g}, false); err != nil {
		return nil, err
	}
	if cmd.Rules.AskFirst {
		if err := a.inviteAll(others); err != nil {
			return nil, err
		}
	}
	a.standing = pb.Standing_STANDING_ACTIVE
	return nil, a.tx.PutGroup(a.index, a.g)
}

// change changes the group's own data.
func (a *groupAct) change(req *pb.ChangeGroup) (*protocol.Error, error) {
	if !a.may(rightChange) {
		return errNotAllowed, nil
	}
	if req.IfVersion != 0 && req.IfVersion != a.g.Version {
		return errOtherVersion, nil
	}
	before := proto.Clone(a.g).(*pb.Group)
	set := func(to *string, from *string) {
		if from != nil {
			*to = *from
		}
	}
	set(&a.g.Name, req.Name)
	set(&a.g.Avatar, req.Avatar)
	set(&a.g.Notice, req.Notice)
	a.g.Join = cmp.Or(req.GetJoin(), a.g.Join)
	a.g.History = cmp.Or(req.GetHistory(), a.g.History)
	if req.MembersInvite != nil {
		a.g.MembersInvite = *req.MembersInvite
	}
	if req.Muted != nil {
		a.g.Muted = *req.Muted
	}
	if !a.setAttributes(req.Attributes) {
		return errTooManyAttributes, nil
	}
	if proto.Equal(before, a.g) {
		return nil, nil
	}
	// What the attributes say is between the members' programs, which may have
	// much to say.
	before.Attributes = a.g.Attributes
	quiet := proto.Equal(before, a.g)
	a.g.Version++
	if err := a.notice(&pb.Notice{Type: pb.NoticeType_NOTICE_TYPE_GROUP_CHANGED, Group: a.g}, quiet); err != nil {
		return nil, err
	}
	return nil, a.tx.PutGroup(a.index, a.g)
}

// setAttributes sets those of the group that are named, in the order of their
// keys, and reports whether it may have so many. Of each it keeps what it counts:
// unknown fields, which may be of any size, would make the group's data too large
// for a frame.
func (a *groupAct) setAttributes(changes []*pb.Attribute) bool {
	byKey := func(x *pb.Attribute, key string) int { return cmp.Compare(x.Key, key) }
	all := slices.Clone(a.g.Attributes)
	for _, change := range changes {
		i, found := slices.BinarySearchFunc(all, change.Key, byKey)
		attribute := &pb.Attribute{Key: change.Key, Value: change.Value}
		switch {
		case len(change.Value) == 0 && found:
			all = slices.Delete(all, i, i+1)
		case len(change.Value) == 0:
		case found:
			all[i] = attribute
		default:
			all = slices.Insert(all, i, attribute)
		}
	}
	size := 0
	for _, attribute := range all {
		size += len(attribute.Key) + len(attribute.Value)
	}
	a.g.Attributes = all
	return len(all) <= protocol.MaxAttributes && size <= protocol.MaxAttributesBytes
}

func (a *groupAct) dissolve() (*protocol.Error, error) {
	if !a.may(rightDissolve) {
		return errNotAllowed, nil
	}
	if err := a.notice(&pb.Notice{Type: pb.NoticeType_NOTICE_TYPE_GROUP_DISSOLVED}, false); err != nil {
		return nil, err
	}
	a.g.DissolvedSeq, a.dissolved = a.seq, true
	return nil, a.tx.PutGroup(a.index, a.g)
}

// afterEnd is what can still be done with a group that was dissolved: to put it,
// or an invitation into it, away.
func (a *groupAct) afterEnd(req *pb.GroupRequest) (*protocol.Error, error) {
	_, leaves := req.Action.(*pb.GroupRequest_Leave)
	_, refuses := req.Action.(*pb.GroupRequest_Refuse)
	switch {
	case refuses && a.me.Standing != pb.Standing_STANDING_ACTIVE:
		return a.refuse()
	case leaves && a.me.Standing == pb.Standing_STANDING_ACTIVE:
		return nil, a.changeRow(a.cmd.User, func(m *pb.Membership) {
			m.Standing, m.Role, m.UntilSeq = pb.Standing_STANDING_LEFT, pb.Role_ROLE_UNSPECIFIED, a.g.DissolvedSeq
		})
	}
	return errNotAMember, nil
}

// notice appends a notice to the group's messages. One that is hidden is there
// for the members' programs alone.
func (a *groupAct) notice(n *pb.Notice, hidden bool) error {
	n.Actor, n.MembersVersion, n.Members = a.cmd.User, a.g.MembersVersion, a.g.Members
	body, err := proto.MarshalOptions{Deterministic: true}.Marshal(n)
	if err != nil {
		return err
	}
	head, _, err := a.tx.Head(a.cmd.Conversation)
	if err != nil {
		return err
	}
	m := &pb.Message{
		Conversation: a.cmd.Conversation,
		Seq:          head.Seq + 1,
		Id:           a.cmd.MessageID,
		TimeMs:       max(a.cmd.TimeMs, head.TimeMs),
		Kind:         pb.Kind_KIND_NOTICE,
		Body:         body,
		Count:        head.Count,
	}
	if hidden {
		m.ShownSeq = head.Shown
	}
	frame := protocol.NewMessageFrame(m)
	a.seq = m.Seq
	a.message = []Effect{{Kind: EffectMessage, Conversation: m.Conversation, Group: true, Seq: m.Seq, Frame: frame}}
	return a.tx.Append(a.index, m, frame[protocol.HeaderSize:])
}

// tell adds the effects: whoever joined is told of the group first and then
// gets its messages, whoever left gets the message that says so as the last one.
func (a *groupAct) tell(effects []Effect) ([]Effect, error) {
	conversation := a.cmd.Conversation
	if len(a.joined) > 0 {
		effects = append(effects, Effect{Kind: EffectJoined, Conversation: conversation, Users: a.joined})
	}
	var err error
	for _, user := range a.joined {
		if effects, err = tellStateWith(a.tx, user, conversation, a.cmd.TimeMs, effects, func(s *pb.ConversationState) { s.Group = a.g }); err != nil {
			return effects, err
		}
	}
	effects = append(effects, a.message...)
	if len(a.left) > 0 {
		effects = append(effects, Effect{Kind: EffectLeft, Conversation: conversation, Users: a.left})
	}
	if a.dissolved {
		effects = append(effects, Effect{Kind: EffectDissolve, Conversation: conversation})
	}
	for _, user := range slices.Concat(a.left, a.changed) {
		if effects, err = tellState(a.tx, user, conversation, a.cmd.TimeMs, nil, effects); err != nil {
			return effects, err
		}
	}
	for n, f := range a.follow {
		if effects, err = followUp(a.tx, a.index, conversation, n, f.user, f.notice, effects); err != nil {
			return effects, err
		}
	}
	return effects, nil
}
