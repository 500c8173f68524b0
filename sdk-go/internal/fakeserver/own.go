package fakeserver

import (
	"slices"

	"google.golang.org/protobuf/proto"

	"github.com/godwit-im/godwit/protocol"
	"github.com/godwit-im/godwit/protocol/pb"
)

// What a user does with what is their own: settings, deletions, contacts.

func (s *Server) informed(user string, m *pb.Info) (*pb.Informed, *protocol.Error) {
	c := s.conversations[m.Conversation]
	if c == nil || c.members[user] == nil {
		return nil, protocol.Errorf(pb.Code_CODE_NOT_A_MEMBER, "not a member of this conversation")
	}
	return &pb.Informed{State: c.state(user, 0)}, nil
}

func (s *Server) set(user string, m *pb.SetSettings, origin *conn) (*pb.Set, *protocol.Error) {
	c, err := s.conversation(m.Conversation, user, true)
	if err != nil {
		return nil, err
	}
	set, now := c.members[user].settings(), s.now().UnixMilli()
	if m.Pinned != nil {
		set.PinnedMs = 0
		if *m.Pinned {
			set.PinnedMs = now
		}
	}
	for _, field := range []struct{ to, from *bool }{
		{&set.Muted, m.Muted}, {&set.Archived, m.Archived}, {&set.MarkedUnread, m.MarkedUnread},
	} {
		if field.from != nil {
			*field.to = *field.from
		}
	}
	if m.Draft != nil {
		set.Draft, set.DraftMs = *m.Draft, now
	}
	if m.Hidden != nil {
		set.HiddenSeq = 0
		if *m.Hidden {
			set.HiddenSeq = c.head()
		}
	}
	s.touchMember(c, user, origin)
	return &pb.Set{Settings: proto.Clone(set).(*pb.Settings)}, nil
}

func (s *Server) delete(user string, m *pb.Delete, origin *conn) (*pb.Deleted, *protocol.Error) {
	c, err := s.conversation(m.Conversation, user, false)
	if err != nil {
		return nil, err
	}
	mine := c.members[user]
	_, last := c.bounds(user)
	if m.ClearSeq > last {
		return nil, protocol.Errorf(pb.Code_CODE_SEQ_OUT_OF_RANGE, "the head is at %d", last)
	}
	for _, seq := range m.Seqs {
		if seq == 0 || seq > last {
			return nil, protocol.Errorf(pb.Code_CODE_SEQ_OUT_OF_RANGE, "the head is at %d", last)
		}
		mine.deleted[seq] = s.stamp + 1 // touchMember's
	}
	if m.ClearSeq > mine.row.GetClearedSeq() {
		mine.set().ClearedSeq = m.ClearSeq
		mine.read = max(mine.read, m.ClearSeq)
		mine.delivered = max(mine.delivered, mine.read)
		s.touch(c)
		s.pushReceipt(c, user, origin)
	}
	s.touchMember(c, user, origin)
	return &pb.Deleted{ClearedSeq: mine.row.GetClearedSeq()}, nil
}

func contactOf(peer string, row *pb.Membership) *pb.Contact {
	return &pb.Contact{
		User: peer, State: row.GetContact(), Blocked: row.GetBlocked(), Remark: row.GetRemark(), TimeMs: row.GetContactMs(),
	}
}

func (s *Server) contacted(user string, m *pb.ContactRequest, origin *conn) (*pb.Contacted, *protocol.Error) {
	c, err := s.conversation(protocol.DirectID(user, m.User), user, true)
	if err != nil {
		return nil, err
	}
	mine, theirs, now := c.member(user).set(), c.member(m.User).set(), s.now().UnixMilli()
	both := func(to, from pb.ContactState) {
		mine.Contact, theirs.Contact = to, from
		mine.ContactMs, theirs.ContactMs = now, now
		s.touchMember(c, m.User, nil)
	}
	notify := func(t pb.NoticeType) { s.tell(m.User, &pb.Notice{Type: t, Actor: user, Text: m.Text}) }
	const (
		none, requested = pb.ContactState_CONTACT_STATE_NONE, pb.ContactState_CONTACT_STATE_REQUESTED
		pending, mutual = pb.ContactState_CONTACT_STATE_PENDING, pb.ContactState_CONTACT_STATE_CONTACT
	)
	switch m.Action {
	case pb.ContactAction_CONTACT_ACTION_REQUEST:
		switch {
		case theirs.Blocked:
			return nil, protocol.Errorf(pb.Code_CODE_NOT_ALLOWED, "not allowed")
		case mine.Contact == pending:
			both(mutual, mutual)
			notify(pb.NoticeType_NOTICE_TYPE_CONTACT_ACCEPTED)
		case mine.Contact == none:
			both(requested, pending)
			notify(pb.NoticeType_NOTICE_TYPE_CONTACT_REQUESTED)
		}
	case pb.ContactAction_CONTACT_ACTION_ACCEPT, pb.ContactAction_CONTACT_ACTION_REFUSE:
		if mine.Contact != pending {
			return nil, protocol.Errorf(pb.Code_CODE_NOT_FOUND, "no request")
		}
		if m.Action == pb.ContactAction_CONTACT_ACTION_ACCEPT {
			both(mutual, mutual)
			notify(pb.NoticeType_NOTICE_TYPE_CONTACT_ACCEPTED)
		} else {
			both(none, none)
			notify(pb.NoticeType_NOTICE_TYPE_CONTACT_REFUSED)
		}
	case pb.ContactAction_CONTACT_ACTION_REMOVE:
		both(none, none)
	case pb.ContactAction_CONTACT_ACTION_REMARK:
		mine.Remark = m.Text
	case pb.ContactAction_CONTACT_ACTION_BLOCK:
		mine.Blocked = true
	case pb.ContactAction_CONTACT_ACTION_UNBLOCK:
		mine.Blocked = false
	}
	s.touchMember(c, user, origin)
	return &pb.Contacted{Contact: contactOf(m.User, mine)}, nil
}

func (s *Server) contactList(user string, m *pb.Contacts) *pb.ContactList {
	var peers []string
	for id, c := range s.conversations {
		peer, ok := protocol.Peer(id, user)
		if !ok || peer <= m.After {
			continue
		}
		if row := c.members[user].row; row.GetContact() != 0 || row.GetBlocked() || row.GetRemark() != "" {
			peers = append(peers, peer)
		}
	}
	slices.Sort(peers)
	list := new(pb.ContactList)
	peers, list.More = s.page(peers, m.Limit)
	for _, peer := range peers {
		list.Contacts = append(list.Contacts, contactOf(peer, s.conversations[protocol.DirectID(user, peer)].members[user].row))
	}
	return list
}

func (s *Server) accounted(user string, m *pb.SetAccount, origin *conn) *pb.Accounted {
	c, err := s.conversation(protocol.SystemID(user), user, true)
	if err != nil {
		panic(err)
	}
	row := c.members[user].set()
	if row.Account == nil {
		row.Account = new(pb.Account)
	}
	if m.Presence != nil {
		row.Account.Presence = *m.Presence
	}
	if m.Messages != nil {
		row.Account.Messages = *m.Messages
	}
	s.touchMember(c, user, origin)
	return &pb.Accounted{Account: proto.Clone(row.Account).(*pb.Account)}
}
