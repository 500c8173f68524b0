package delivery

import (
	"errors"
	"fmt"

	"google.golang.org/protobuf/proto"

	"github.com/godwit-im/godwit/chat"
	"github.com/godwit-im/godwit/msgstore"
	"github.com/godwit-im/godwit/protocol"
	"github.com/godwit-im/godwit/protocol/pb"
)

// Bounds for the encodings of an element of each list, in bytes, tag and length
// included: ids are of MaxID bytes at the most, and numbers of 10.
const (
	userSize    = 2 + protocol.MaxID
	memberSize  = 3 + userSize + 2 + (2 + protocol.MaxNick) + 2*11
	contactSize = 3 + userSize + 2 + 2 + (3 + protocol.MaxText) + 11
)

// listLimit is how many elements of so many bytes a list may have for which the
// client wishes for so many: no more than fit a frame, with room for the rest.
func (d *Delivery) listLimit(wanted uint32, size int) int {
	return min(limit(wanted, d.cfg.PullLimit, d.cfg.MaxPull), (d.cfg.MaxFrame-64)/size)
}

// checkAfter checks where a list is to go on.
func checkAfter(user string) error {
	if user == "" {
		return nil
	}
	return protocol.CheckID("after", user)
}

// memberList is a page of who is in a group, or has asked to be.
func (d *Delivery) memberList(user string, req *pb.Members) (proto.Message, error) {
	// The group before its members: a page that is newer than its version says so
	// on the next one.
	g, me, err := d.group(user, req.Conversation)
	if err != nil {
		return nil, err
	}
	if !chat.MayList(g, me.Role, req.Requests) {
		return nil, errNotAllowed
	}
	if err := checkAfter(req.After); err != nil {
		return nil, err
	}
	list := &pb.MemberList{MembersVersion: g.MembersVersion}
	list.More, err = d.store.GroupMembers(req.Conversation, req.Requests, req.After, d.listLimit(req.Limit, memberSize), func(user string, row msgstore.Member) error {
		m := row.Membership
		list.Members = append(list.Members, &pb.Member{
			User: user, Role: m.GetRole(), Nick: m.GetNick(), MutedUntilMs: m.GetMutedUntilMs(), JoinedMs: m.GetJoinedMs(),
		})
		return nil
	})
	if err != nil {
		return nil, err
	}
	return list, d.still(user, req.Conversation)
}

// readerList is who of a group has read a message. Those who can't see it,
// because they came later, don't count.
func (d *Delivery) readerList(user string, req *pb.Readers) (proto.Message, error) {
	g, _, err := d.group(user, req.Conversation)
	if err != nil {
		return nil, err
	}
	if !chat.ShowsReceipts(g, d.cfg.Rules) {
		return nil, protocol.Errorf(pb.Code_CODE_GROUP_TOO_LARGE, "read cursors are shown in groups of up to %d members, and in no broadcast", d.cfg.Rules.ReceiptMembers)
	}
	m, err := d.readable(user, req.Conversation, req.Seq)
	if err != nil {
		return nil, err
	}
	list := &pb.ReaderList{}
	room := d.listLimit(uint32(d.cfg.MaxPull), userSize)
	// So many at the most, even if some have joined since.
	_, err = d.store.GroupMembers(req.Conversation, false, "", d.cfg.Rules.ReceiptMembers, func(member string, row msgstore.Member) error {
		if member == m.Sender || row.Membership.GetFromSeq() > req.Seq {
			return nil
		}
		list.Members++
		if row.DeliveredSeq >= req.Seq {
			list.Delivered++
		}
		if row.ReadSeq >= req.Seq {
			list.Read++
			if len(list.Readers) < room {
				list.Readers = append(list.Readers, member)
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return list, d.still(user, req.Conversation)
}

// reactorList is a page of who has a reaction to a message.
func (d *Delivery) reactorList(user string, req *pb.Reactors) (proto.Message, error) {
	if err := checkAfter(req.After); err != nil {
		return nil, err
	}
	if req.Key == "" || len(req.Key) > protocol.MaxReaction {
		return nil, protocol.Errorf(pb.Code_CODE_BAD_ARGUMENT, "a reaction is 1 to %d bytes, not %d", protocol.MaxReaction, len(req.Key))
	}
	m, err := d.readable(user, req.Conversation, req.Seq)
	if err != nil {
		return nil, err
	}
	if m.State != pb.MessageState_MESSAGE_STATE_NORMAL {
		return nil, errNotFound
	}
	list := &pb.ReactorList{}
	list.Users, list.More, err = d.store.Reactors(req.Conversation, req.Seq, req.Key, req.After, d.listLimit(req.Limit, userSize))
	if err == nil && protocol.KindOf(req.Conversation) == protocol.Group {
		// Who has left keeps the messages, and hears no more of who likes them.
		err = d.still(user, req.Conversation)
	}
	if err != nil {
		return nil, err
	}
	return list, nil
}

// readable returns a message as user is to see it. The refusals are those of a
// PULL and, for what is no longer there or was never theirs, NOT_FOUND.
func (d *Delivery) readable(user, conversation string, seq uint64) (m *pb.Message, err error) {
	for {
		if m, err = d.tryReadable(user, conversation, seq); !errors.Is(err, errMoved) {
			return m, err
		}
	}
}

// tryReadable is readable, which may fail with errMoved.
func (d *Delivery) tryReadable(user, conversation string, seq uint64) (*pb.Message, error) {
	x, err := d.extract(user, conversation)
	switch {
	case err != nil:
		return nil, err
	case seq > x.last:
		return nil, protocol.Errorf(pb.Code_CODE_SEQ_OUT_OF_RANGE, "seq is %d, the head is %d", seq, x.last)
	case seq < x.first:
		return nil, errNotFound
	}
	wire, kept, err := d.store.Message(conversation, seq)
	if err != nil {
		return nil, err
	}
	if !kept {
		return nil, errNotFound
	}
	if err := d.settle(x); err != nil {
		return nil, err
	}
	wire, err = d.shown(x, seq, wire)
	switch {
	case errors.Is(err, chat.ErrNotKept):
		return nil, errNotFound
	case err != nil:
		return nil, err
	}
	m := &pb.Message{}
	if err := proto.Unmarshal(wire, m); err != nil {
		return nil, fmt.Errorf("message %d of %q: %w", seq, conversation, err)
	}
	return m, nil
}

// contactList is a page of those who are something to user.
func (d *Delivery) contactList(user string, req *pb.Contacts) (proto.Message, error) {
	if err := checkAfter(req.After); err != nil {
		return nil, err
	}
	list := &pb.ContactList{}
	var err error
	list.More, err = d.store.Contacts(user, req.After, d.listLimit(req.Limit, contactSize), func(peer string, m *pb.Membership) error {
		list.Contacts = append(list.Contacts, chat.NewContact(peer, m))
		return nil
	})
	return list, err
}
