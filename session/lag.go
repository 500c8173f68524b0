package session

import (
	"cmp"
	"slices"

	"github.com/godwit-im/godwit/protocol"
	"github.com/godwit-im/godwit/protocol/pb"
)

// lag is what a session missed since a Push was refused.
type lag struct {
	heads map[missed]uint64 // the highest seq missed; 0 for receipts and states
	many  bool              // more than MaxLagged were missed; heads is nil
}

// missed keeps receipts and states apart from messages: a client that pulls up to
// a head has not learnt of a moved cursor.
type missed struct {
	conversation string
	receipt      bool
}

// maxHeadSize bounds the encoding of one entry of HEADS: tag and length (3),
// the conversation with tag and length (3), the seq with tag (11).
const maxHeadSize = 3 + 3 + protocol.MaxConversationID + 11

// PushMessage pushes the MESSAGE frame of a conversation's message, or those of
// several in one slice of at most MaxFrame bytes, seq being the last one's; or,
// while the session lags, it remembers that they are missing. It may be called
// from any goroutine; the messages of one conversation must come in seq order.
// frame and conversation may be shared and must not be modified.
func (s *Session) PushMessage(conversation string, seq uint64, frame []byte) {
	s.push(missed{conversation: conversation}, seq, frame)
}

// PushReceipt is PushMessage for a RECEIPT frame. A receipt that is missing
// becomes an entry with seq 0 in HEADS: something changed, SYNC.
func (s *Session) PushReceipt(conversation string, frame []byte) {
	s.push(missed{conversation: conversation, receipt: true}, 0, frame)
}

// PushState is PushReceipt for a STATE frame.
func (s *Session) PushState(conversation string, frame []byte) {
	s.PushReceipt(conversation, frame)
}

// push holds mu over the transport's Push: Drained, which follows a refusal on
// another goroutine, must find the lag that the refusal begins, or nobody
// would ever tell the client. TestNoLostWakeUp fails without it.
func (s *Session) push(what missed, seq uint64, frame []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended.Load() != nil {
		return
	}
	if s.lag == nil {
		if s.transport.Push(frame) {
			return
		}
		s.lag = &lag{heads: make(map[missed]uint64)}
		s.m.stats.Lagged.Add(1)
		s.m.stats.Lagging.Add(1)
	}
	s.lag.remember(what, seq, s.m.cfg.MaxLagged)
}

// Offer pushes a frame that is worth something only now, and reports whether it
// did: a session that lags, or has ended, is not told, nor is it told later that
// it missed anything. frame may be shared and must not be modified. Any goroutine.
func (s *Session) Offer(frame []byte) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ended.Load() == nil && s.lag == nil && s.transport.Push(frame)
}

func (l *lag) remember(what missed, seq uint64, limit int) {
	if l.many {
		return
	}
	last, known := l.heads[what]
	if !known && len(l.heads) == limit {
		l.heads, l.many = nil, true
		return
	}
	l.heads[what] = max(last, seq)
}

// frame is the HEADS frame for l, sorted by conversation.
func (l *lag) frame() []byte {
	list := make([]*pb.Head, 0, len(l.heads))
	for what, seq := range l.heads {
		list = append(list, &pb.Head{Conversation: what.conversation, Seq: seq})
	}
	slices.SortFunc(list, func(a, b *pb.Head) int {
		return cmp.Or(cmp.Compare(a.Conversation, b.Conversation), cmp.Compare(a.Seq, b.Seq))
	})
	return protocol.AppendProto(nil, protocol.TypeHeads, 0, &pb.Heads{Heads: list})
}

// Drained tells the session that its transport has room again: what was missed
// is named in one HEADS, and pushes go on. Where even that is refused the
// session goes on lagging, and Drained comes again.
func (s *Session) Drained() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.lag == nil || s.ended.Load() != nil || !s.transport.Push(s.lag.frame()) {
		return
	}
	s.lag = nil
	s.m.stats.Lagging.Add(-1)
	s.m.stats.HeadsSent.Add(1)
}

// forget drops the lag of a session whose connection has closed.
func (s *Session) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.lag != nil {
		s.lag = nil
		s.m.stats.Lagging.Add(-1)
	}
}
