package fakeserver

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"

	"github.com/godwit-im/godwit/protocol"
	"github.com/godwit-im/godwit/protocol/pb"
)

// conversation is a direct conversation, a group or a user's system
// conversation.
type conversation struct {
	id       string
	messages []*pb.Message // messages[i] has seq i+1; the first min-1 are removed
	min      uint64
	byClient map[string]uint64  // sender + "/" + client id → seq
	members  map[string]*member // by user; those too who are none any more, or not yet
	group    *pb.Group          // of a group
	groupAt  uint64             // the stamp of its last change
	stamp    uint64             // of the last change that concerns all members
	sweptMs  int64              // as of when what has expired is a tombstone
}

// member is what the conversation is to a user.
type member struct {
	read, delivered uint64
	row             *pb.Membership    // nil as long as nothing is set
	deleted         map[uint64]uint64 // seq → stamp
	stamp           uint64            // of the last change that concerns this user alone
}

func (c *conversation) head() uint64 { return uint64(len(c.messages)) }

func (c *conversation) member(user string) *member {
	m := c.members[user]
	if m == nil {
		m = &member{deleted: make(map[uint64]uint64)}
		c.members[user] = m
	}
	return m
}

// set returns the user's row, to be changed.
func (m *member) set() *pb.Membership {
	if m.row == nil {
		m.row = new(pb.Membership)
	}
	return m.row
}

func (m *member) settings() *pb.Settings {
	row := m.set()
	if row.Settings == nil {
		row.Settings = new(pb.Settings)
	}
	return row.Settings
}

// bounds are the first and the last seq that user may read.
func (c *conversation) bounds(user string) (first, last uint64) {
	row := c.members[user].row
	first, last = max(c.min, row.GetFromSeq(), row.GetClearedSeq()+1), c.head()
	if c.group != nil && !c.reads(user) {
		return 1, 0
	}
	if until := row.GetUntilSeq(); until != 0 {
		last = min(last, until)
	}
	return first, last
}

// reads reports whether user is a member or was one.
func (c *conversation) reads(user string) bool {
	m := c.members[user]
	if m == nil {
		return false
	}
	switch m.row.GetStanding() {
	case pb.Standing_STANDING_ACTIVE, pb.Standing_STANDING_LEFT, pb.Standing_STANDING_REMOVED:
		return true
	}
	return c.group == nil
}

// active are the users whom the conversation's news reach.
func (c *conversation) active() (users []string) {
	for user, m := range c.members {
		if c.group == nil || m.row.GetStanding() == pb.Standing_STANDING_ACTIVE {
			users = append(users, user)
		}
	}
	slices.Sort(users)
	return users
}

// view is the message at seq as user sees it.
func (c *conversation) view(user string, seq uint64) *pb.Message {
	m := c.messages[seq-1]
	if _, deleted := c.members[user].deleted[seq]; deleted && m.State == pb.MessageState_MESSAGE_STATE_NORMAL {
		m = tombstone(m, pb.MessageState_MESSAGE_STATE_DELETED)
	}
	return m
}

// tombstone returns a copy of m without what it said.
func tombstone(m *pb.Message, state pb.MessageState) *pb.Message {
	m = proto.Clone(m).(*pb.Message)
	m.State = state
	m.Body, m.ContentType, m.Reactions, m.Mentions, m.MentionAll = nil, "", nil, nil, false
	return m
}

// sweep turns the messages whose time is over into tombstones.
func (s *Server) sweep() {
	if !s.expiring {
		return
	}
	now := s.now().UnixMilli()
	for _, c := range s.conversations {
		c.sweptMs = now
		for i, m := range c.messages {
			if m.ExpiresMs != 0 && m.ExpiresMs <= now && m.State == pb.MessageState_MESSAGE_STATE_NORMAL {
				c.messages[i] = tombstone(m, pb.MessageState_MESSAGE_STATE_EXPIRED)
			}
		}
	}
}

// countedMs is the time that counts are of. It is never 0, which says that there
// is no count.
func (c *conversation) countedMs() int64 { return max(c.sweptMs, 1) }

func (c *conversation) counts(user string, m *pb.Message) bool {
	switch m.Kind {
	case pb.Kind_KIND_TEXT, pb.Kind_KIND_CUSTOM, pb.Kind_KIND_MEDIA:
	case pb.Kind_KIND_NOTICE:
		if protocol.KindOf(c.id) != protocol.System {
			return false
		}
	default:
		return false
	}
	return m.Sender != user && m.State == pb.MessageState_MESSAGE_STATE_NORMAL && m.Flags&uint32(pb.Flag_FLAG_UNCOUNTED) == 0
}

// unread counts what user has not read, and finds the first mention in it.
func (c *conversation) unread(user string) (n, mention uint64) {
	first, last := c.bounds(user)
	for seq := max(c.members[user].read+1, first); seq <= last; seq++ {
		m := c.messages[seq-1]
		if c.counts(user, m) {
			n++
		}
		if mention == 0 && m.Sender != user && (m.MentionAll || slices.Contains(m.Mentions, user)) {
			mention = seq
		}
	}
	return n, mention
}

// conversation returns the conversation with that id, which user must be able
// to read. Server.mu is held, as in all of this file.
func (s *Server) conversation(id, user string, create bool) (*conversation, *protocol.Error) {
	none := protocol.Errorf(pb.Code_CODE_NOT_A_MEMBER, "not a member of this conversation")
	if c := s.conversations[id]; c != nil {
		if !c.reads(user) {
			return nil, none
		}
		return c, nil
	}
	if err := protocol.CheckConversation(id); err != nil {
		return nil, protocol.AsError(err)
	}
	c := newConversation(id)
	switch protocol.KindOf(id) {
	case protocol.Direct:
		a, b, _ := protocol.ParseDirect(id)
		if user != a && user != b || !create {
			return nil, none
		}
		c.member(a)
		c.member(b)
	case protocol.System:
		if id != protocol.SystemID(user) || !create {
			return nil, none
		}
		c.member(user)
	default:
		return nil, none
	}
	s.conversations[id] = c
	return c, nil
}

func newConversation(id string) *conversation {
	return &conversation{id: id, min: 1, byClient: make(map[string]uint64), members: make(map[string]*member)}
}

func (s *Server) touch(c *conversation) {
	s.stamp++
	c.stamp = s.stamp
}

// touchMember notes that what the conversation is to user has changed, and
// tells their sessions but for origin.
func (s *Server) touchMember(c *conversation, user string, origin *conn) {
	s.stamp++
	c.members[user].stamp = s.stamp
	s.pushState(c, user, s.stamp-1, origin)
}

// pushState pushes STATE with the deletions since a stamp.
func (s *Server) pushState(c *conversation, user string, since uint64, origin *conn) {
	state := c.state(user, since)
	state.Last = nil
	if c.reads(user) {
		state.Group = c.group
	}
	for _, session := range s.sessions {
		if session.user == user && session != origin {
			s.push(session, protocol.TypeState, &pb.State{State: state})
		}
	}
}

// append stores a message, or finds the one that it repeats.
func (s *Server) append(user string, m *pb.Send) (sent *pb.Sent, stored *pb.Message, err *protocol.Error) {
	c, err := s.conversation(m.Conversation, user, true)
	switch {
	case err != nil:
		return nil, nil, err
	case len(m.Body) > s.cfg.MaxBody:
		return nil, nil, protocol.Errorf(pb.Code_CODE_BODY_TOO_LARGE, "body of %d bytes, the limit is %d", len(m.Body), s.cfg.MaxBody)
	}
	key := user + "/" + m.ClientId
	if seq := c.byClient[key]; seq != 0 {
		first := c.messages[seq-1]
		if first.State == pb.MessageState_MESSAGE_STATE_NORMAL && first.EditedMs == 0 &&
			(!bytes.Equal(first.Body, m.Body) || first.Kind != m.Kind || first.ContentType != m.ContentType) {
			return nil, nil, protocol.Errorf(pb.Code_CODE_CLIENT_ID_REUSED, "this client message id names another message")
		}
		s.Duplicates.Add(1)
		return &pb.Sent{Seq: first.Seq, Id: first.Id, TimeMs: first.TimeMs, Duplicate: true}, nil, nil
	}
	if err = s.mayWrite(c, user); err != nil {
		return nil, nil, err
	}
	stored = &pb.Message{
		Conversation: c.id, Sender: user, ClientId: m.ClientId, Kind: m.Kind, ContentType: m.ContentType, Body: m.Body,
		ReplySeq: m.ReplySeq, Mentions: m.Mentions, MentionAll: m.MentionAll, Flags: m.Flags,
		Target: m.Target, Remove: m.Remove,
	}
	if m.TtlMs > 0 {
		stored.ExpiresMs = s.now().UnixMilli() + m.TtlMs
		s.expiring = true
	}
	if m.Target != 0 {
		target, err := c.change(user, stored)
		if err != nil {
			return nil, nil, err
		}
		if target == nil {
			old := c.messages[m.Target-1]
			if old.ChangedSeq != 0 {
				old = c.messages[old.ChangedSeq-1]
			}
			return &pb.Sent{Seq: old.Seq, Id: old.Id, TimeMs: old.TimeMs, Duplicate: true}, nil, nil
		}
		s.put(c, stored)
		target.ChangedSeq = stored.Seq
		if target.EditedMs == -1 {
			target.EditedMs = stored.TimeMs
		}
		c.messages[m.Target-1] = target
	} else {
		s.put(c, stored)
	}
	c.byClient[key] = stored.Seq
	if mine := c.members[user]; c.group != nil && stored.Target == 0 {
		mine.read, mine.delivered = stored.Seq, stored.Seq
		if mine.row.GetSettings().GetMarkedUnread() {
			mine.row.Settings.MarkedUnread = false
		}
	}
	return &pb.Sent{Seq: stored.Seq, Id: stored.Id, TimeMs: stored.TimeMs}, stored, nil
}

// put gives a message its place.
func (s *Server) put(c *conversation, m *pb.Message) {
	s.lastID++
	m.Seq, m.Id, m.TimeMs = c.head()+1, s.lastID, s.now().UnixMilli()
	if m.Target != 0 || m.ShownSeq != 0 {
		m.ShownSeq = c.shown()
	}
	c.messages = append(c.messages, m)
	s.touch(c)
}

// shown is the seq of the newest message that is to be shown.
func (c *conversation) shown() uint64 {
	if c.head() == 0 {
		return 0
	}
	if last := c.messages[c.head()-1]; last.ShownSeq != 0 || last.Target != 0 {
		return last.ShownSeq
	}
	return c.head()
}

// change returns what an event makes of its target, nil if it changes nothing.
func (c *conversation) change(user string, event *pb.Message) (*pb.Message, *protocol.Error) {
	first, last := c.bounds(user)
	if event.Target < first || event.Target > last {
		return nil, protocol.Errorf(pb.Code_CODE_SEQ_OUT_OF_RANGE, "no message at %d", event.Target)
	}
	target := proto.Clone(c.messages[event.Target-1]).(*pb.Message)
	if target.State != pb.MessageState_MESSAGE_STATE_NORMAL || target.Target != 0 || target.Kind == pb.Kind_KIND_NOTICE {
		return nil, protocol.Errorf(pb.Code_CODE_NOT_FOUND, "the message at %d is gone", event.Target)
	}
	mine := target.Sender == user || event.Kind == pb.Kind_KIND_RECALL && c.manages(user)
	if event.Kind != pb.Kind_KIND_REACTION && !mine {
		return nil, protocol.Errorf(pb.Code_CODE_NOT_ALLOWED, "another's message")
	}
	switch event.Kind {
	case pb.Kind_KIND_EDIT:
		target.Body, target.ContentType, target.EditedMs = event.Body, event.ContentType, -1
		target.Mentions, target.MentionAll = event.Mentions, event.MentionAll
	case pb.Kind_KIND_RECALL:
		target = tombstone(target, pb.MessageState_MESSAGE_STATE_RECALLED)
		target.RecalledBy = user
	case pb.Kind_KIND_REACTION:
		if !react(target, string(event.Body), user, event.Remove) {
			return nil, nil
		}
	}
	return target, nil
}

func react(m *pb.Message, key, user string, remove bool) bool {
	i := slices.IndexFunc(m.Reactions, func(r *pb.Reaction) bool { return r.Key == key })
	has := i >= 0 && slices.Contains(m.Reactions[i].Users, user)
	switch {
	case has != remove:
		return false
	case remove:
		r := m.Reactions[i]
		r.Count--
		if r.Users = slices.DeleteFunc(r.Users, func(u string) bool { return u == user }); r.Count == 0 {
			m.Reactions = slices.Delete(m.Reactions, i, i+1)
		}
	case i < 0:
		m.Reactions = append(m.Reactions, &pb.Reaction{Key: key, Count: 1, Users: []string{user}})
	default:
		m.Reactions[i].Count++
		m.Reactions[i].Users = append(m.Reactions[i].Users, user)
		slices.Sort(m.Reactions[i].Users)
	}
	return true
}

func (s *Server) mark(user string, m *pb.Mark, origin *conn) (*pb.Marked, bool, *protocol.Error) {
	c, err := s.conversation(m.Conversation, user, false)
	if err != nil {
		return nil, false, err
	}
	if _, last := c.bounds(user); m.ReadSeq > last || m.DeliveredSeq > last {
		return nil, false, protocol.Errorf(pb.Code_CODE_SEQ_OUT_OF_RANGE, "mark past the head at %d", last)
	}
	mine := c.members[user]
	read, delivered := mine.read, mine.delivered
	mine.read = max(mine.read, m.ReadSeq)
	mine.delivered = max(mine.delivered, m.DeliveredSeq, mine.read)
	moved := mine.read != read || mine.delivered != delivered
	if moved {
		s.touch(c)
	}
	if m.ReadSeq > 0 && mine.row.GetSettings().GetMarkedUnread() {
		mine.settings().MarkedUnread = false
		s.touchMember(c, user, origin)
	}
	unread, mention := c.unread(user)
	_, last := c.bounds(user)
	return &pb.Marked{
		ReadSeq: mine.read, DeliveredSeq: mine.delivered,
		Unread: unread, MentionSeq: mention, HeadSeq: last, CountedMs: c.countedMs(),
	}, moved, nil
}

func (s *Server) pull(user string, m *pb.Pull) (*pb.Pulled, *protocol.Error) {
	c, err := s.conversation(m.Conversation, user, false)
	if err != nil {
		return nil, err
	}
	first, last := c.bounds(user)
	from := m.From
	if m.FromTimeMs != 0 {
		for from = first; from <= last && c.messages[from-1].TimeMs < m.FromTimeMs; from++ {
		}
	}
	switch {
	case from > last+1 || from == 0 && !m.Backward:
		return nil, protocol.Errorf(pb.Code_CODE_SEQ_OUT_OF_RANGE, "from %d, the head is at %d", from, last)
	case m.Until != 0 && from != 0 && (m.Until < from) != m.Backward && m.Until != from:
		return nil, protocol.Errorf(pb.Code_CODE_BAD_ARGUMENT, "from %d until %d", from, m.Until)
	}
	limit := s.cfg.PullLimit
	if m.Limit > 0 {
		limit = min(limit, int(m.Limit))
	}
	if m.Around {
		from = max(first, from-min(from, uint64(limit)/2))
	}
	page := &pb.Pulled{HeadSeq: last, MinSeq: first}
	size := 64
	take := func(seq uint64) bool {
		view := c.view(user, seq)
		n := proto.Size(view) + 8
		if len(page.Messages) == limit || size+n > s.cfg.MaxFrame {
			page.More = true
			return false
		}
		size += n
		page.Messages = append(page.Messages, view)
		return true
	}
	if m.Backward {
		if from == 0 {
			from = last
		}
		for seq := min(from, last); seq >= max(first, m.Until, 1) && take(seq); seq-- {
		}
		slices.Reverse(page.Messages)
		return page, nil
	}
	until := last
	if m.Until != 0 {
		until = min(until, m.Until)
	}
	for seq := max(from, first); seq <= until && take(seq); seq++ {
	}
	return page, nil
}

// A cursor is the epoch and the stamp that it stands for, and on all pages but
// the last also the stamp where the SYNC began and the conversations that are
// still to be reported.
func encodeCursor(epoch, stamp, since uint64, rest []string) []byte {
	c := binary.BigEndian.AppendUint64(nil, epoch)
	c = binary.BigEndian.AppendUint64(c, stamp)
	if len(rest) == 0 {
		return c
	}
	c = binary.BigEndian.AppendUint64(c, since)
	return append(c, strings.Join(rest, "\n")...)
}

func (s *Server) sync(user string, m *pb.Sync) (*pb.Synced, *protocol.Error) {
	page := &pb.Synced{Epoch: s.epoch}
	var since, watermark uint64
	var todo []string
	switch {
	case len(m.Cursor) == 0:
	case len(m.Cursor) < 16:
		return nil, protocol.Errorf(pb.Code_CODE_BAD_CURSOR, "cursor of %d bytes", len(m.Cursor))
	case binary.BigEndian.Uint64(m.Cursor) != s.epoch || binary.BigEndian.Uint64(m.Cursor[8:]) > s.stamp:
		page.Reset_ = true
	default:
		since = binary.BigEndian.Uint64(m.Cursor[8:])
		if len(m.Cursor) > 24 {
			watermark, todo = since, strings.Split(string(m.Cursor[24:]), "\n")
			since = binary.BigEndian.Uint64(m.Cursor[16:])
		}
	}
	if todo == nil {
		watermark = s.stamp
		for id, c := range s.conversations {
			m := c.members[user]
			if m == nil || c.group != nil && m.stamp == 0 {
				continue
			}
			if m.stamp > since || c.stamp > since && c.reads(user) {
				todo = append(todo, id)
			}
		}
		slices.SortFunc(todo, func(x, y string) int {
			return cmp.Or(-cmp.Compare(s.lastTime(x), s.lastTime(y)), cmp.Compare(x, y))
		})
	}
	limit := s.cfg.SyncLimit
	if m.Limit > 0 {
		limit = min(limit, int(m.Limit))
	}
	n := min(limit, len(todo))
	for _, id := range todo[:n] {
		if c := s.conversations[id]; c != nil {
			page.Conversations = append(page.Conversations, c.state(user, since))
		}
	}
	page.More = n < len(todo)
	page.Cursor = encodeCursor(s.epoch, watermark, since, todo[n:])
	return page, nil
}

func (s *Server) lastTime(id string) int64 {
	if c := s.conversations[id]; c != nil && len(c.messages) > 0 {
		return c.messages[len(c.messages)-1].TimeMs
	}
	return 0
}

// state is how the conversation stands for user, with the deletions since a
// stamp, and with the group if it changed since.
func (c *conversation) state(user string, since uint64) *pb.ConversationState {
	mine := c.members[user]
	first, last := c.bounds(user)
	st := &pb.ConversationState{
		Conversation: c.id, HeadSeq: last, MinSeq: first,
		ReadSeq: mine.read, DeliveredSeq: mine.delivered, CountedMs: c.countedMs(),
	}
	if mine.row != nil {
		st.Membership = proto.Clone(mine.row).(*pb.Membership)
	}
	st.Unread, st.MentionSeq = c.unread(user)
	if peer, ok := protocol.Peer(c.id, user); ok {
		theirs := c.members[peer]
		st.PeerReadSeq, st.PeerDeliveredSeq = theirs.read, theirs.delivered
	}
	if last > 0 && last <= c.head() {
		st.HeadId = c.messages[last-1].Id
		shown := last
		if m := c.messages[last-1]; m.Target != 0 || m.ShownSeq != 0 {
			shown = m.ShownSeq
		}
		if shown >= first {
			st.Last = c.view(user, shown)
		}
	}
	if c.group != nil && c.groupAt > since && c.reads(user) {
		st.Group = c.group
	}
	for seq, stamp := range mine.deleted {
		if stamp > since {
			st.Deleted = append(st.Deleted, seq)
		}
	}
	slices.Sort(st.Deleted)
	return st
}
