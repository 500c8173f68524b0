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

// conversation is a direct conversation.
type conversation struct {
	id       string
	members  [2]string
	messages []*pb.Message // messages[i] has seq i+1; the first min-1 are removed
	min      uint64
	byClient map[string]uint64 // sender + "/" + client id → seq
	cursors  map[string]*cursors
	stamp    uint64 // of the last change
}

// cursors are a member's.
type cursors struct{ read, delivered uint64 }

func (c *conversation) head() uint64 { return uint64(len(c.messages)) }

func (c *conversation) peer(user string) string {
	if user == c.members[0] {
		return c.members[1]
	}
	return c.members[0]
}

func (c *conversation) unread(user string) (n uint64) {
	for seq := max(c.cursors[user].read+1, c.min); seq <= c.head(); seq++ {
		if c.messages[seq-1].Sender != user {
			n++
		}
	}
	return n
}

// conversation returns the direct conversation with that id, which user must
// be a member of. Server.mu is held, as in all of this file.
func (s *Server) conversation(id, user string, create bool) (*conversation, *protocol.Error) {
	if c := s.conversations[id]; c != nil && (user == c.members[0] || user == c.members[1]) {
		return c, nil
	}
	a, b, err := protocol.ParseDirect(id)
	if err != nil {
		return nil, protocol.AsError(err)
	}
	if user != a && user != b || !create {
		return nil, protocol.Errorf(pb.Code_CODE_NOT_A_MEMBER, "not a member of this conversation")
	}
	c := &conversation{
		id: id, members: [2]string{a, b}, min: 1,
		byClient: make(map[string]uint64),
		cursors:  map[string]*cursors{a: {}, b: {}},
	}
	s.conversations[id] = c
	return c, nil
}

func (s *Server) touch(c *conversation) {
	s.stamp++
	c.stamp = s.stamp
}

// append stores a message, or finds the one that it repeats.
func (s *Server) append(user string, m *pb.Send) (sent *pb.Sent, stored *pb.Message, err *protocol.Error) {
	c, err := s.conversation(m.Conversation, user, true)
	if err != nil {
		return nil, nil, err
	}
	if len(m.Body) > s.cfg.MaxBody {
		return nil, nil, protocol.Errorf(pb.Code_CODE_BODY_TOO_LARGE, "body of %d bytes, the limit is %d", len(m.Body), s.cfg.MaxBody)
	}
	key := user + "/" + m.ClientId
	if seq := c.byClient[key]; seq != 0 {
		first := c.messages[seq-1]
		if !bytes.Equal(first.Body, m.Body) || first.Kind != m.Kind || first.ContentType != m.ContentType {
			return nil, nil, protocol.Errorf(pb.Code_CODE_CLIENT_ID_REUSED, "this client message id names another message")
		}
		s.Duplicates.Add(1)
		return &pb.Sent{Seq: first.Seq, Id: first.Id, TimeMs: first.TimeMs, Duplicate: true}, nil, nil
	}
	s.lastID++
	stored = &pb.Message{
		Conversation: c.id, Seq: c.head() + 1, Id: s.lastID, Sender: user, ClientId: m.ClientId,
		TimeMs: s.now().UnixMilli(), Kind: m.Kind, ContentType: m.ContentType, Body: m.Body,
	}
	c.messages = append(c.messages, stored)
	c.byClient[key] = stored.Seq
	s.touch(c)
	return &pb.Sent{Seq: stored.Seq, Id: stored.Id, TimeMs: stored.TimeMs}, stored, nil
}

func (s *Server) mark(user string, m *pb.Mark) (*pb.Marked, bool, *protocol.Error) {
	c, err := s.conversation(m.Conversation, user, false)
	if err != nil {
		return nil, false, err
	}
	if m.ReadSeq > c.head() || m.DeliveredSeq > c.head() {
		return nil, false, protocol.Errorf(pb.Code_CODE_SEQ_OUT_OF_RANGE, "mark past the head at %d", c.head())
	}
	mine := c.cursors[user]
	before := *mine
	mine.read = max(mine.read, m.ReadSeq)
	mine.delivered = max(mine.delivered, m.DeliveredSeq, mine.read)
	moved := *mine != before
	if moved {
		s.touch(c)
	}
	return &pb.Marked{ReadSeq: mine.read, DeliveredSeq: mine.delivered, Unread: c.unread(user)}, moved, nil
}

func (s *Server) pull(user string, m *pb.Pull) (*pb.Pulled, *protocol.Error) {
	c, err := s.conversation(m.Conversation, user, false)
	if err != nil {
		return nil, err
	}
	switch {
	case m.From > c.head()+1 || m.From == 0 && !m.Backward:
		return nil, protocol.Errorf(pb.Code_CODE_SEQ_OUT_OF_RANGE, "from %d, the head is at %d", m.From, c.head())
	case m.Until != 0 && m.From != 0 && (m.Until < m.From) != m.Backward && m.Until != m.From:
		return nil, protocol.Errorf(pb.Code_CODE_BAD_ARGUMENT, "from %d until %d", m.From, m.Until)
	}
	limit := s.cfg.PullLimit
	if m.Limit > 0 {
		limit = min(limit, int(m.Limit))
	}
	page := &pb.Pulled{HeadSeq: c.head(), MinSeq: c.min}
	size := 64
	take := func(seq uint64) bool {
		n := proto.Size(c.messages[seq-1]) + 8
		if len(page.Messages) == limit || size+n > s.cfg.MaxFrame {
			page.More = true
			return false
		}
		size += n
		page.Messages = append(page.Messages, c.messages[seq-1])
		return true
	}
	if m.Backward {
		from := m.From
		if from == 0 {
			from = c.head()
		}
		for seq := min(from, c.head()); seq >= max(c.min, m.Until, 1) && take(seq); seq-- {
		}
		slices.Reverse(page.Messages)
		return page, nil
	}
	until := c.head()
	if m.Until != 0 {
		until = min(until, m.Until)
	}
	for seq := max(m.From, c.min); seq <= until && take(seq); seq++ {
	}
	return page, nil
}

// A cursor is the epoch and the stamp that it stands for, and on all pages but
// the last the conversations that are still to be reported.
func encodeCursor(epoch, stamp uint64, rest []string) []byte {
	c := binary.BigEndian.AppendUint64(nil, epoch)
	c = binary.BigEndian.AppendUint64(c, stamp)
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
		if rest := string(m.Cursor[16:]); rest != "" {
			watermark, todo = since, strings.Split(rest, "\n")
		}
	}
	if todo == nil {
		watermark = s.stamp
		for id, c := range s.conversations {
			if c.cursors[user] != nil && c.stamp > since {
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
			page.Conversations = append(page.Conversations, c.state(user))
		}
	}
	page.More = n < len(todo)
	page.Cursor = encodeCursor(s.epoch, watermark, todo[n:])
	return page, nil
}

func (s *Server) lastTime(id string) int64 {
	if c := s.conversations[id]; c != nil && len(c.messages) > 0 {
		return c.messages[len(c.messages)-1].TimeMs
	}
	return 0
}

func (c *conversation) state(user string) *pb.ConversationState {
	mine, theirs := c.cursors[user], c.cursors[c.peer(user)]
	st := &pb.ConversationState{
		Conversation: c.id, HeadSeq: c.head(), MinSeq: c.min, Unread: c.unread(user),
		ReadSeq: mine.read, DeliveredSeq: mine.delivered,
		PeerReadSeq: theirs.read, PeerDeliveredSeq: theirs.delivered,
	}
	if c.head() >= c.min && c.head() > 0 {
		st.Last = c.messages[c.head()-1]
	}
	return st
}
