package delivery

import (
	"github.com/godwit-im/godwit/msgstore"
	"github.com/godwit-im/godwit/protocol"
	"github.com/godwit-im/godwit/protocol/pb"
)

// own returns the head of a conversation of which user may read something, and
// their row of it. For all others there is no such conversation: NOT_A_MEMBER.
// The row is as new as the head or newer, so whoever was put out of a group is
// not taken for a member beside a message that came after.
func (d *Delivery) own(user, conversation string) (msgstore.Head, msgstore.Member, error) {
	if err := protocol.CheckConversation(conversation); err != nil {
		return msgstore.Head{}, msgstore.Member{}, err
	}
	if !maybeOwn(user, conversation) {
		return msgstore.Head{}, msgstore.Member{}, errNotAMember
	}
	head, exists, err := d.store.Head(conversation)
	if err != nil {
		return msgstore.Head{}, msgstore.Member{}, err
	}
	row, found, err := d.store.Member(user, conversation)
	switch {
	case err != nil:
		return msgstore.Head{}, msgstore.Member{}, err
	case !exists || !found || !inside(conversation, row.Membership):
		return msgstore.Head{}, msgstore.Member{}, errNotAMember
	}
	return head, row, nil
}

// maybeOwn reports whether a conversation may be user's, by what its id says.
func maybeOwn(user, conversation string) bool {
	switch protocol.KindOf(conversation) {
	case protocol.Direct:
		_, member := protocol.Peer(conversation, user)
		return member
	case protocol.System:
		return conversation == protocol.SystemID(user)
	}
	return true
}

// inside reports whether the user whose row m is may read something of the
// conversation: in a group, who is or was a member.
func inside(conversation string, m *pb.Membership) bool {
	return protocol.KindOf(conversation) != protocol.Group || active(m) || m.GetUntilSeq() > 0
}

// active reports whether m is the row of a member of a group.
func active(m *pb.Membership) bool { return m.GetStanding() == pb.Standing_STANDING_ACTIVE }

// still returns NOT_A_MEMBER unless user is a member of a group that lives. After
// what is told of the group was read it says that it may be told.
func (d *Delivery) still(user, conversation string) error {
	_, _, err := d.group(user, conversation)
	return err
}

// group returns a group that lives and of which user is a member, with their
// row. NOT_A_MEMBER: there is none, or they are not.
func (d *Delivery) group(user, conversation string) (*pb.Group, *pb.Membership, error) {
	if err := protocol.CheckConversation(conversation); err != nil {
		return nil, nil, err
	}
	if protocol.KindOf(conversation) != protocol.Group {
		return nil, nil, errNotAGroup
	}
	g, found, err := d.store.Group(conversation)
	if err != nil {
		return nil, nil, err
	}
	row, _, err := d.store.Member(user, conversation)
	switch {
	case err != nil:
		return nil, nil, err
	case !found || g.DissolvedSeq > 0 || !active(row.Membership):
		return nil, nil, errNotAMember
	}
	return g, row.Membership, nil
}
