package fakeserver

import (
	"time"

	"github.com/godwit-im/godwit/protocol"
	"github.com/godwit-im/godwit/protocol/pb"
)

// Faults says how often the server or the network misbehaves. The numbers are
// probabilities from 0 to 1 for each occasion; the zero value is a server that
// works. Every fault is one that the protocol lets a client survive.
type Faults struct {
	// Cut cuts the connection when a frame comes in, before it is handled;
	// CutAnswer after it was, in place of the answer: a lost ack.
	Cut, CutAnswer float64

	// LosePush, DuplicatePush and ReorderPush do so to MESSAGE and RECEIPT.
	LosePush, DuplicatePush, ReorderPush float64

	// Heads sends HEADS in place of a MESSAGE; EmptyHeads an empty one, which
	// asks for a SYNC.
	Heads, EmptyHeads float64

	// Refuse answers a request with RefuseCode (BUSY if unset) and
	// RefuseAfter.
	Refuse      float64
	RefuseCode  protocol.Code
	RefuseAfter time.Duration

	// RefuseConnect answers CONNECT with TOO_MANY_CONNECTIONS.
	RefuseConnect float64

	// Delay is the longest time that output waits before it is written.
	Delay time.Duration
}

// SetFaults changes the faults, for the connections that are open too.
func (s *Server) SetFaults(f Faults) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = f
}

// happens draws. Server.mu is held.
func (s *Server) happens(p float64) bool { return p > 0 && s.rng.Float64() < p }

// refusal draws whether a request is refused. Server.mu is held.
func (s *Server) refusal() *protocol.Error {
	if !s.happens(s.faults.Refuse) {
		return nil
	}
	code := s.faults.RefuseCode
	if code == pb.Code_CODE_UNSPECIFIED {
		code = pb.Code_CODE_BUSY
	}
	return &protocol.Error{Code: code, Text: "refused on demand", RetryAfter: s.faults.RefuseAfter}
}

// Say stores a message from one user to another, as if a client had sent it,
// and returns its seq.
func (s *Server) Say(from, to, text string) uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.said++
	_, m, err := s.append(from, &pb.Send{
		Conversation: protocol.DirectID(from, to),
		ClientId:     "said-" + itoa(s.said), Kind: pb.Kind_KIND_TEXT, Body: []byte(text),
	})
	if err != nil {
		panic(err)
	}
	s.pushMessage(m, nil)
	return m.Seq
}

// Read moves a user's cursors in the conversation with peer, as if a client
// had marked it.
func (s *Server) Read(user, peer string, read, delivered uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, err := s.markAndPush(user, &pb.Mark{
		Conversation: protocol.DirectID(user, peer), ReadSeq: read, DeliveredSeq: delivered,
	}, nil); err != nil {
		panic(err)
	}
}

// Cut cuts the user's connections, without a word.
func (s *Server) Cut(user string) {
	s.each(user, func(c *conn) { c.cut() })
}

// Kick ends the user's sessions with an ERROR.
func (s *Server) Kick(user string, why *protocol.Error) {
	s.each(user, func(c *conn) { c.closeWith(why) })
}

// GoAway tells the user's clients to leave and come back after a while.
func (s *Server) GoAway(user string, after time.Duration) {
	s.each(user, func(c *conn) {
		c.queue(protocol.AppendProto(nil, protocol.TypeGoAway, 0, &pb.GoAway{
			Code: pb.Code_CODE_DRAINING, Text: "on demand", ReconnectAfterMs: uint32(after.Milliseconds()),
		}))
		c.goingAway = true
	})
}

// Hang has the user's connections neither read nor write any more, as if the
// network had lost them.
func (s *Server) Hang(user string) {
	s.each(user, func(c *conn) { c.hang() })
}

// Retain removes the messages below seq from a conversation.
func (s *Server) Retain(conversation string, seq uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.conversations[conversation]
	c.min = max(c.min, seq)
	s.touch(c)
}

// Restore takes the server back to an older state, in which each conversation
// has no more than the messages that keep returns; 0 removes it. The store has
// another epoch from then on, and every connection is cut.
func (s *Server) Restore(keep func(conversation string, head uint64) uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.epoch++
	s.goBack(keep)
}

// Lose is Restore without a new epoch: the server has lost what it had said
// was safe, and may know it only by cursors that are ahead of it.
func (s *Server) Lose(keep func(conversation string, head uint64) uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stamp = 0
	s.goBack(keep)
}

func (s *Server) goBack(keep func(conversation string, head uint64) uint64) {
	for id, c := range s.conversations {
		n := keep(id, c.head())
		if n == 0 {
			delete(s.conversations, id)
			continue
		}
		c.messages = c.messages[:min(n, c.head())]
		c.min = min(c.min, c.head()+1)
		for key, seq := range c.byClient {
			if seq > c.head() {
				delete(c.byClient, key)
			}
		}
		for _, m := range c.members {
			m.read = min(m.read, c.head())
			m.delivered = min(m.delivered, c.head())
		}
		s.touch(c)
	}
	for _, c := range s.sessions {
		c.cut()
	}
}

func (s *Server) each(user string, f func(*conn)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.sessions {
		if c.user == user {
			f(c)
		}
	}
}
