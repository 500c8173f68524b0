package chat

import (
	"github.com/godwit-im/godwit/msgstore"
	"github.com/godwit-im/godwit/protocol"
	"github.com/godwit-im/godwit/protocol/pb"
)

var errNotYours = protocol.Errorf(pb.Code_CODE_NOT_ALLOWED, "only the server writes into a system conversation")

// sender is who sends a message, and to whom.
type sender struct {
	users []string // both, in a direct conversation

	group *pb.Group       // in a group: its data
	row   msgstore.Member // the sender's, in a group and, for an event, in a direct conversation
}

// senderOf returns the sender of cmd's message, or why nothing can come from
// there: they are not in the conversation, or are not welcome in it.
func senderOf(tx *msgstore.Tx, cmd *Command) (sender, *protocol.Error, error) {
	switch protocol.KindOf(cmd.Conversation) {
	case protocol.Direct:
		peer, member := protocol.Peer(cmd.Conversation, cmd.User)
		if !member {
			return sender{}, errNotAMember, nil
		}
		refusal, err := refuseDirect(tx, cmd, peer)
		from := sender{users: []string{cmd.User, peer}}
		if err == nil && refusal == nil && isEvent(cmd.Kind) {
			from.row, _, err = tx.Member(cmd.User, cmd.Conversation)
		}
		return from, refusal, err
	case protocol.Group:
		g, found, err := tx.Group(cmd.Conversation)
		if err != nil || !found || g.DissolvedSeq > 0 {
			return sender{}, errNotAMember, err
		}
		row, _, err := tx.Member(cmd.User, cmd.Conversation)
		if err != nil || row.Membership.GetStanding() != pb.Standing_STANDING_ACTIVE {
			return sender{}, errNotAMember, err
		}
		return sender{group: g, row: row}, nil, nil
	}
	if cmd.Conversation == protocol.SystemID(cmd.User) {
		return sender{}, errNotYours, nil
	}
	return sender{}, errNotAMember, nil
}

// refuse is why the sender may not do what r says; nil if they may. In a direct
// conversation both may do what members may.
func (s *sender) refuse(r right, nowMs int64) *protocol.Error {
	if s.group == nil {
		return nil
	}
	return refuse(s.group, s.row.Membership, r, nowMs)
}

// read moves the sender's cursors to their own message m: who writes in a group
// has read what is before. So a member's unread count needs no count of their
// own messages, and a message costs this one row, however large the group is.
func (s *sender) read(tx *msgstore.Tx, index uint64, cmd *Command, m *pb.Message) error {
	row := s.row
	row.ReadSeq, row.DeliveredSeq, row.ReadOthers = m.Seq, m.Seq, m.Count
	if row.Membership.GetSettings().GetMarkedUnread() {
		row.Membership = withoutMark(row.Membership)
	}
	return tx.PutMember(index, cmd.User, cmd.Conversation, row)
}

// ShowsReceipts reports whether a group's members see who has read what.
func ShowsReceipts(g *pb.Group, rules *Rules) bool {
	return g.GetKind() == pb.GroupKind_GROUP_KIND_GROUP && int(g.GetMembers()) <= rules.ReceiptMembers
}

// refuseSend is why the sender may not send cmd's message; nil if they may.
// Whether an event may change its target is looked at later.
func (s *sender) refuseSend(cmd *Command) *protocol.Error {
	var refusal *protocol.Error
	switch cmd.Kind {
	case pb.Kind_KIND_RECALL:
	case pb.Kind_KIND_REACTION:
		refusal = s.refuse(rightReact, cmd.TimeMs)
	default:
		refusal = s.refuse(rightPost, cmd.TimeMs)
	}
	if refusal == nil && cmd.MentionAll {
		refusal = s.refuse(rightMentionAll, cmd.TimeMs)
	}
	return refusal
}

// first is the first seq that the sender of an event may read.
func (s *sender) first() uint64 {
	return max(s.row.Membership.GetFromSeq(), s.row.Membership.GetClearedSeq()+1)
}

// mayRecall reports whether the sender may recall what user wrote, at any time.
func (s *sender) mayRecall(user string, nowMs int64) bool {
	return s.group != nil && s.refuse(rightRecallOthers, nowMs) == nil &&
		(user != s.group.Owner || s.row.Membership.GetRole() == pb.Role_ROLE_OWNER)
}
