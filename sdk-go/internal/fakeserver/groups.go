package fakeserver

import (
	"slices"

	"google.golang.org/protobuf/proto"

	"github.com/godwit-im/godwit/protocol"
	"github.com/godwit-im/godwit/protocol/pb"
)

// manages reports whether user is the owner or an admin of the group.
func (c *conversation) manages(user string) bool {
	return c.group != nil && (user == c.group.Owner || slices.Contains(c.group.Admins, user))
}

// mayWrite returns why user can't write, if they can read.
func (s *Server) mayWrite(c *conversation, user string) *protocol.Error {
	switch {
	case protocol.KindOf(c.id) == protocol.System:
		return protocol.Errorf(pb.Code_CODE_NOT_ALLOWED, "a system conversation is the server's")
	case protocol.KindOf(c.id) == protocol.Direct:
		peer, _ := protocol.Peer(c.id, user)
		contacts := c.members[user].row.GetContact() == pb.ContactState_CONTACT_STATE_CONTACT
		if c.members[peer].row.GetBlocked() || !contacts && s.takes(peer) == pb.Audience_AUDIENCE_CONTACTS {
			return protocol.Errorf(pb.Code_CODE_NOT_ALLOWED, "not allowed to write here")
		}
		return nil
	}
	return c.mayAct(user)
}

// takes is whom a user takes messages from. Server.mu is held.
func (s *Server) takes(user string) pb.Audience {
	c := s.conversations[protocol.SystemID(user)]
	if c == nil {
		return pb.Audience_AUDIENCE_UNSPECIFIED
	}
	return c.members[user].row.GetAccount().GetMessages()
}

func (c *conversation) mayAct(user string) *protocol.Error {
	row := c.members[user].row
	switch {
	case row.GetStanding() != pb.Standing_STANDING_ACTIVE || c.group.DissolvedSeq != 0:
		return protocol.Errorf(pb.Code_CODE_NOT_A_MEMBER, "not a member any more")
	case c.group.Kind == pb.GroupKind_GROUP_KIND_BROADCAST && !c.manages(user):
		return protocol.Errorf(pb.Code_CODE_NOT_ALLOWED, "only admins write here")
	case c.group.Muted && !c.manages(user), row.GetMutedUntilMs() > 0:
		return protocol.Errorf(pb.Code_CODE_MUTED, "muted")
	}
	return nil
}

// notice appends a notice to a conversation and pushes it.
func (s *Server) notice(c *conversation, n *pb.Notice, shown bool) uint64 {
	if c.group != nil {
		n.MembersVersion, n.Members = c.group.MembersVersion, c.group.Members
	}
	body, err := proto.Marshal(n)
	if err != nil {
		panic(err)
	}
	m := &pb.Message{Conversation: c.id, Kind: pb.Kind_KIND_NOTICE, Body: body}
	if !shown {
		m.ShownSeq = 1 // put sets it
	}
	s.put(c, m)
	return m.Seq
}

// tell puts a notice into a user's system conversation.
func (s *Server) tell(user string, n *pb.Notice) {
	c, err := s.conversation(protocol.SystemID(user), user, true)
	if err != nil {
		panic(err)
	}
	seq := s.notice(c, n, true)
	s.pushMessage(c.messages[seq-1], nil)
}

// changeGroup makes the group another one, for a change of what is its own or
// of its members.
func (s *Server) changeGroup(c *conversation, change func(g *pb.Group)) {
	g := &pb.Group{Conversation: c.id}
	if c.group != nil {
		g = proto.Clone(c.group).(*pb.Group)
	}
	change(g)
	g.Members = 0
	for _, m := range c.members {
		if m.row.GetStanding() == pb.Standing_STANDING_ACTIVE {
			g.Members++
		}
	}
	c.group = g
	s.touch(c)
	c.groupAt = s.stamp
}

// join makes user a member from seq on, or from the beginning.
func (c *conversation) join(user string, role pb.Role, seq uint64, now int64) {
	row := c.member(user).set()
	row.Standing, row.Role, row.FromSeq, row.UntilSeq, row.JoinedMs = pb.Standing_STANDING_ACTIVE, role, 1, 0, now
	if c.group.GetHistory() != pb.HistoryPolicy_HISTORY_POLICY_ALL {
		row.FromSeq = seq
	}
	row.InvitedBy = ""
	c.member(user).read = max(c.member(user).read, row.FromSeq-1, seq-1)
}

// part ends a membership with the notice at seq.
func (c *conversation) part(user string, standing pb.Standing, seq uint64) {
	row := c.members[user].set()
	row.Standing, row.UntilSeq, row.Role = standing, seq, 0
}

func (s *Server) createGroup(user string, m *pb.CreateGroup, origin *conn) *pb.Grouped {
	id := protocol.GroupID(user, m.ClientId)
	c := s.conversations[id]
	if c == nil {
		c = newConversation(id)
		s.conversations[id] = c
		now := s.now().UnixMilli()
		users := append([]string{user}, m.Users...)
		for _, u := range users {
			role := pb.Role_ROLE_MEMBER
			if u == user {
				role = pb.Role_ROLE_OWNER
			}
			c.join(u, role, 1, now)
		}
		s.changeGroup(c, func(g *pb.Group) {
			g.Kind, g.Owner, g.Name, g.Avatar, g.Notice = max(m.Kind, pb.GroupKind_GROUP_KIND_GROUP), user, m.Name, m.Avatar, m.Notice
			g.Attributes, g.Join, g.History, g.MembersInvite = m.Attributes, m.Join, m.History, m.MembersInvite
			g.Version, g.MembersVersion, g.CreatedMs = 1, 1, now
		})
		seq := s.notice(c, &pb.Notice{Type: pb.NoticeType_NOTICE_TYPE_GROUP_CREATED, Actor: user, Users: m.Users, Group: c.group}, true)
		s.pushMessage(c.messages[seq-1], origin)
		for _, u := range users {
			s.touchMember(c, u, origin)
		}
	}
	return &pb.Grouped{Conversation: id, Seq: 1, Group: c.group, Standing: pb.Standing_STANDING_ACTIVE}
}

// grouped answers GROUP.
func (s *Server) grouped(user string, m *pb.GroupRequest, origin *conn) (*pb.Grouped, *protocol.Error) {
	if create := m.GetCreate(); create != nil {
		return s.createGroup(user, create, origin), nil
	}
	none := protocol.Errorf(pb.Code_CODE_NOT_A_MEMBER, "not a member of this conversation")
	c := s.conversations[m.Conversation]
	if c == nil || c.group == nil || c.group.DissolvedSeq != 0 {
		return nil, none
	}
	row := c.member(user).row
	switch m.Action.(type) {
	case *pb.GroupRequest_Join, *pb.GroupRequest_Refuse:
	default:
		if row.GetStanding() != pb.Standing_STANDING_ACTIVE {
			return nil, none
		}
	}
	g := &grouping{s: s, c: c, user: user, origin: origin, now: s.now().UnixMilli()}
	if err := g.act(m); err != nil {
		return nil, err
	}
	answer := &pb.Grouped{Conversation: c.id, Seq: g.seq, Group: c.group, Standing: c.member(user).row.GetStanding()}
	return answer, nil
}

// grouping is one thing that is done with a group.
type grouping struct {
	s      *Server
	c      *conversation
	user   string
	origin *conn
	now    int64
	seq    uint64 // of the notice
}

// do changes the group, appends a notice and pushes both; rows are the users
// whose own rows changed. f sees the seq that the notice will have.
func (g *grouping) do(n *pb.Notice, rows []string, members bool, f func(seq uint64, group *pb.Group)) {
	audience, before := g.c.active(), g.c.group
	g.s.changeGroup(g.c, func(group *pb.Group) {
		f(g.c.head()+1, group)
		if members {
			group.MembersVersion++
		} else {
			group.Version++
		}
	})
	n.Actor = g.user
	if !members {
		n.Group = g.c.group
	}
	shown := n.Type != pb.NoticeType_NOTICE_TYPE_NICK_CHANGED
	if n.Type == pb.NoticeType_NOTICE_TYPE_GROUP_CHANGED {
		shown = !sameButAttributes(before, g.c.group)
	}
	g.seq = g.s.notice(g.c, n, shown)
	m := g.c.messages[g.seq-1]
	g.s.pushMessage(m, g.origin)
	for _, user := range audience { // those too who are no members any more
		if !slices.Contains(g.c.active(), user) {
			g.s.pushTo(user, m, g.origin)
		}
	}
	for _, user := range rows {
		g.s.touchMember(g.c, user, g.origin)
	}
}

// sameButAttributes reports whether nothing but attributes, and the version, tells
// two states of a group apart.
func sameButAttributes(before, after *pb.Group) bool {
	after = proto.Clone(after).(*pb.Group)
	after.Attributes, after.Version = before.Attributes, before.Version
	return proto.Equal(before, after)
}

// pushTo pushes m to user's sessions. Server.mu is held.
func (s *Server) pushTo(user string, m *pb.Message, origin *conn) {
	for _, session := range s.sessions {
		if session.user == user && session != origin {
			s.push(session, protocol.TypeMessage, m)
		}
	}
}

func (g *grouping) act(m *pb.GroupRequest) *protocol.Error {
	c := g.c
	notAllowed := protocol.Errorf(pb.Code_CODE_NOT_ALLOWED, "the role does not allow it")
	switch action := m.Action.(type) {
	case *pb.GroupRequest_Refuse, *pb.GroupRequest_Join, *pb.GroupRequest_Leave, *pb.GroupRequest_Nick:
		return g.actSelf(m)
	case *pb.GroupRequest_Invite:
		if !c.manages(g.user) && !c.group.MembersInvite {
			return notAllowed
		}
		for _, user := range action.Invite.Users {
			row := c.member(user).set()
			if c.reads(user) {
				continue // one who was a member keeps that: the fake knows one thing at a time
			}
			row.Standing, row.InvitedBy = pb.Standing_STANDING_INVITED, g.user
			g.s.touchMember(c, user, g.origin)
			g.s.tell(user, &pb.Notice{Type: pb.NoticeType_NOTICE_TYPE_GROUP_INVITED, Actor: g.user, Conversation: c.id, Group: c.group})
		}
		return nil
	}
	if !c.manages(g.user) {
		return notAllowed
	}
	switch action := m.Action.(type) {
	case *pb.GroupRequest_Add:
		g.let(action.Add.Users, pb.NoticeType_NOTICE_TYPE_MEMBERS_ADDED)
	case *pb.GroupRequest_Admit:
		for _, user := range action.Admit.Users {
			if c.member(user).row.GetStanding() != pb.Standing_STANDING_REQUESTED {
				return protocol.Errorf(pb.Code_CODE_NOT_FOUND, "%s did not ask", user)
			}
		}
		g.let(action.Admit.Users, pb.NoticeType_NOTICE_TYPE_MEMBERS_JOINED)
		for _, user := range action.Admit.Users {
			g.s.tell(user, &pb.Notice{Type: pb.NoticeType_NOTICE_TYPE_JOIN_ACCEPTED, Actor: g.user, Conversation: c.id, Group: c.group})
		}
	case *pb.GroupRequest_Decline:
		for _, user := range action.Decline.Users {
			c.member(user).set().Standing = pb.Standing_STANDING_UNSPECIFIED
			g.s.touchMember(c, user, g.origin)
			g.s.tell(user, &pb.Notice{Type: pb.NoticeType_NOTICE_TYPE_JOIN_REFUSED, Actor: g.user, Conversation: c.id})
		}
	case *pb.GroupRequest_Remove:
		users := g.members(action.Remove.Users)
		if len(users) == 0 {
			return nil
		}
		g.do(&pb.Notice{Type: pb.NoticeType_NOTICE_TYPE_MEMBERS_REMOVED, Users: users}, users, true, func(seq uint64, group *pb.Group) {
			for _, user := range users {
				c.part(user, pb.Standing_STANDING_REMOVED, seq)
				group.Admins = slices.DeleteFunc(group.Admins, func(a string) bool { return a == user })
			}
		})
	case *pb.GroupRequest_Role:
		users, role := g.members(action.Role.Users), action.Role.Role
		if len(users) == 0 {
			return nil
		}
		n := &pb.Notice{Type: pb.NoticeType_NOTICE_TYPE_ROLE_CHANGED, Users: users, Member: &pb.Member{Role: role}}
		g.do(n, users, true, func(_ uint64, group *pb.Group) {
			for _, user := range users {
				c.members[user].set().Role = role
				group.Admins = slices.DeleteFunc(group.Admins, func(a string) bool { return a == user })
				if role == pb.Role_ROLE_ADMIN {
					group.Admins = append(group.Admins, user)
				}
			}
		})
	case *pb.GroupRequest_Transfer:
		to := action.Transfer
		if c.group.Owner != g.user || len(g.members([]string{to})) == 0 {
			return notAllowed
		}
		n := &pb.Notice{Type: pb.NoticeType_NOTICE_TYPE_OWNER_CHANGED, Users: []string{to}}
		g.do(n, []string{g.user, to}, true, func(_ uint64, group *pb.Group) {
			c.members[g.user].set().Role, c.members[to].set().Role = pb.Role_ROLE_MEMBER, pb.Role_ROLE_OWNER
			group.Owner = to
			group.Admins = slices.DeleteFunc(group.Admins, func(a string) bool { return a == to })
		})
	case *pb.GroupRequest_Change:
		g.do(&pb.Notice{Type: pb.NoticeType_NOTICE_TYPE_GROUP_CHANGED}, nil, false, func(_ uint64, group *pb.Group) {
			changeGroup(group, action.Change)
		})
	case *pb.GroupRequest_Mute:
		users, until := g.members(action.Mute.Users), action.Mute.UntilMs
		if len(users) == 0 {
			return nil
		}
		n := &pb.Notice{Type: pb.NoticeType_NOTICE_TYPE_MEMBERS_MUTED, Users: users, Member: &pb.Member{MutedUntilMs: until}}
		g.do(n, users, true, func(uint64, *pb.Group) {
			for _, user := range users {
				c.members[user].set().MutedUntilMs = until
			}
		})
	case *pb.GroupRequest_Dissolve:
		users := c.active()
		g.do(&pb.Notice{Type: pb.NoticeType_NOTICE_TYPE_GROUP_DISSOLVED}, users, false, func(seq uint64, group *pb.Group) {
			group.DissolvedSeq = seq
			for _, user := range users {
				c.part(user, pb.Standing_STANDING_LEFT, seq)
			}
		})
	}
	return nil
}

// members are those of users who are members, but for the owner.
func (g *grouping) members(users []string) []string {
	return slices.DeleteFunc(slices.Clone(users), func(user string) bool {
		return user == g.c.group.Owner || g.c.member(user).row.GetStanding() != pb.Standing_STANDING_ACTIVE
	})
}

// actSelf is what a user does with their own membership.
func (g *grouping) actSelf(m *pb.GroupRequest) *protocol.Error {
	c := g.c
	me := []string{g.user}
	switch action := m.Action.(type) {
	case *pb.GroupRequest_Refuse:
		if c.member(g.user).row.GetStanding() != pb.Standing_STANDING_INVITED {
			return protocol.Errorf(pb.Code_CODE_NOT_A_MEMBER, "not a member of this conversation")
		}
		c.member(g.user).set().Standing = pb.Standing_STANDING_UNSPECIFIED
		g.s.touchMember(c, g.user, g.origin)
	case *pb.GroupRequest_Join:
		if c.member(g.user).row.GetStanding() == pb.Standing_STANDING_ACTIVE {
			return nil
		}
		invited := c.member(g.user).row.GetStanding() == pb.Standing_STANDING_INVITED
		switch {
		case invited || c.group.Join == pb.JoinPolicy_JOIN_POLICY_OPEN:
			g.let(me, pb.NoticeType_NOTICE_TYPE_MEMBERS_JOINED)
		case c.group.Join == pb.JoinPolicy_JOIN_POLICY_APPROVAL && !c.reads(g.user):
			c.member(g.user).set().Standing = pb.Standing_STANDING_REQUESTED
			g.s.touchMember(c, g.user, g.origin)
			for _, admin := range append([]string{c.group.Owner}, c.group.Admins...) {
				g.s.tell(admin, &pb.Notice{
					Type: pb.NoticeType_NOTICE_TYPE_JOIN_REQUESTED, Actor: g.user, Conversation: c.id, Text: action.Join.Text,
				})
			}
		default:
			return protocol.Errorf(pb.Code_CODE_NOT_A_MEMBER, "not a member of this conversation")
		}
	case *pb.GroupRequest_Leave:
		if c.group.Owner == g.user {
			return protocol.Errorf(pb.Code_CODE_NOT_ALLOWED, "the owner cannot leave")
		}
		g.do(&pb.Notice{Type: pb.NoticeType_NOTICE_TYPE_MEMBER_LEFT, Users: me}, me, true, func(seq uint64, _ *pb.Group) {
			c.part(g.user, pb.Standing_STANDING_LEFT, seq)
		})
	case *pb.GroupRequest_Nick:
		n := &pb.Notice{Type: pb.NoticeType_NOTICE_TYPE_NICK_CHANGED, Users: me, Member: &pb.Member{Nick: action.Nick}}
		g.do(n, me, true, func(uint64, *pb.Group) { c.members[g.user].set().Nick = action.Nick })
	}
	return nil
}

// let makes users members.
func (g *grouping) let(users []string, t pb.NoticeType) {
	users = slices.DeleteFunc(slices.Clone(users), func(user string) bool {
		return g.c.member(user).row.GetStanding() == pb.Standing_STANDING_ACTIVE
	})
	if len(users) == 0 {
		return
	}
	g.do(&pb.Notice{Type: t, Users: users, Member: &pb.Member{Role: pb.Role_ROLE_MEMBER, JoinedMs: g.now}}, users, true,
		func(seq uint64, _ *pb.Group) {
			for _, user := range users {
				g.c.join(user, pb.Role_ROLE_MEMBER, seq, g.now)
			}
		})
}

func changeGroup(group *pb.Group, change *pb.ChangeGroup) {
	for _, field := range []struct{ to, from *string }{
		{&group.Name, change.Name}, {&group.Avatar, change.Avatar}, {&group.Notice, change.Notice},
	} {
		if field.from != nil {
			*field.to = *field.from
		}
	}
	for _, a := range change.Attributes {
		group.Attributes = slices.DeleteFunc(group.Attributes, func(old *pb.Attribute) bool { return old.Key == a.Key })
		if len(a.Value) > 0 {
			group.Attributes = append(group.Attributes, a)
		}
	}
	if change.Join != nil {
		group.Join = *change.Join
	}
	if change.History != nil {
		group.History = *change.History
	}
	if change.MembersInvite != nil {
		group.MembersInvite = *change.MembersInvite
	}
	if change.Muted != nil {
		group.Muted = *change.Muted
	}
}

// memberList answers MEMBERS.
func (s *Server) memberList(user string, m *pb.Members) (*pb.MemberList, *protocol.Error) {
	c := s.conversations[m.Conversation]
	if c == nil || c.group == nil || c.members[user] == nil || c.members[user].row.GetStanding() != pb.Standing_STANDING_ACTIVE {
		return nil, protocol.Errorf(pb.Code_CODE_NOT_A_MEMBER, "not a member of this conversation")
	}
	standing := pb.Standing_STANDING_ACTIVE
	if m.Requests {
		standing = pb.Standing_STANDING_REQUESTED
	}
	var users []string
	for u, member := range c.members {
		if member.row.GetStanding() == standing && u > m.After {
			users = append(users, u)
		}
	}
	slices.Sort(users)
	list := &pb.MemberList{MembersVersion: c.group.MembersVersion}
	users, list.More = s.page(users, m.Limit)
	for _, u := range users {
		row := c.members[u].row
		list.Members = append(list.Members, &pb.Member{
			User: u, Role: row.Role, Nick: row.Nick, MutedUntilMs: row.MutedUntilMs, JoinedMs: row.JoinedMs,
		})
	}
	return list, nil
}

// page cuts a list to what one answer holds.
func (s *Server) page(users []string, limit uint32) (page []string, more bool) {
	n := s.cfg.PullLimit
	if limit > 0 {
		n = min(n, int(limit))
	}
	return users[:min(n, len(users))], n < len(users)
}

func (s *Server) readerList(user string, m *pb.Readers) (*pb.ReaderList, *protocol.Error) {
	c, err := s.conversation(m.Conversation, user, false)
	if err != nil {
		return nil, err
	}
	if _, last := c.bounds(user); m.Seq == 0 || m.Seq > last {
		return nil, protocol.Errorf(pb.Code_CODE_SEQ_OUT_OF_RANGE, "no message at %d", m.Seq)
	}
	list := new(pb.ReaderList)
	for _, u := range c.active() {
		if u == c.messages[m.Seq-1].Sender {
			continue
		}
		list.Members++
		if c.members[u].delivered >= m.Seq {
			list.Delivered++
		}
		if c.members[u].read >= m.Seq {
			list.Read++
			list.Readers = append(list.Readers, u)
		}
	}
	return list, nil
}

func (s *Server) reactorList(user string, m *pb.Reactors) (*pb.ReactorList, *protocol.Error) {
	c, err := s.conversation(m.Conversation, user, false)
	if err != nil {
		return nil, err
	}
	if _, last := c.bounds(user); m.Seq == 0 || m.Seq > last {
		return nil, protocol.Errorf(pb.Code_CODE_SEQ_OUT_OF_RANGE, "no message at %d", m.Seq)
	}
	list := new(pb.ReactorList)
	for _, r := range c.messages[m.Seq-1].Reactions {
		if r.Key != m.Key {
			continue
		}
		users := slices.DeleteFunc(slices.Sorted(slices.Values(r.Users)), func(u string) bool { return u <= m.After })
		list.Users, list.More = s.page(users, m.Limit)
	}
	return list, nil
}
