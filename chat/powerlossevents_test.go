package chat

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/godwit-im/godwit/protocol"
	"github.com/godwit-im/godwit/protocol/pb"
)

// crashSender sends as one user, a few messages at a time, and sends some again.
type crashSender struct {
	user     string
	random   *rand.Rand
	answered chan ack
	inFlight int
	sent     []*Proposal
	// own are the latest messages that were acked, but for those that were
	// recalled, so that an event is never refused; known are all.
	own   []*crashTarget
	known map[crashTarget]bool
}

type crashTarget struct {
	conversation string
	seq          uint64
	reacted      bool
}

func sendUntil(t *testing.T, e *Embedded, done func() bool, user string, random *rand.Rand) {
	s := &crashSender{user: user, random: random, answered: make(chan ack, 8), known: map[crashTarget]bool{}}
	for n := 0; !done(); n++ {
		var p *Proposal
		if len(s.sent) > 0 && random.IntN(4) == 0 {
			again := *s.sent[len(s.sent)-1-random.IntN(min(len(s.sent), 20))]
			p = &again
		} else {
			p = s.next(n)
			unsent := *p // Submit gives the proposal away
			s.sent = append(s.sent, &unsent)
		}
		submit(t, e, p)
		if s.inFlight++; s.inFlight == cap(s.answered) {
			s.take()
		}
	}
	for s.inFlight > 0 {
		s.take()
	}
}

// take waits for an answer.
func (s *crashSender) take() {
	a := <-s.answered
	s.inFlight--
	target := crashTarget{conversation: a.cmd.Conversation, seq: a.seq}
	if hasContent(a.cmd.Kind) && !s.known[target] { // else it is the answer to a resend
		s.known[target] = true
		s.own = append(s.own, &target)
		s.own = s.own[max(0, len(s.own)-10):]
	}
}

// next is a new message: every third one an event to one of the last ten.
func (s *crashSender) next(n int) *Proposal {
	body := bytes.Repeat([]byte{byte(n)}, s.random.IntN(200))
	p := send(s.user, protocol.DirectID(s.user, fmt.Sprintf("v%d", s.random.IntN(2))), fmt.Sprintf("c%d", n), string(body))
	p.Origin = s.answered
	c := &p.Command
	c.Kind, c.ContentType = pb.Kind_KIND_CUSTOM, "x"
	if len(s.own) == 0 || n%3 > 0 {
		return p
	}
	i := s.random.IntN(len(s.own))
	target := s.own[i]
	c.Conversation, c.Target = target.conversation, target.seq
	switch s.random.IntN(4) {
	case 0:
		c.Kind, c.ContentType, c.Body = pb.Kind_KIND_RECALL, "", nil
		s.own = slices.Delete(s.own, i, i+1)
	case 1:
		c.Kind, c.ContentType, c.Body, c.Remove = pb.Kind_KIND_REACTION, "", []byte("+1"), target.reacted
		target.reacted = !target.reacted
	default:
		c.Kind = pb.Kind_KIND_EDIT
	}
	return p
}

// checkEvents applies the events among all the messages of a conversation to
// what they leave unsaid, and compares. It returns how many were recalled.
func checkEvents(all []*pb.Message, report func(string, ...any)) (recalled uint64) {
	want := make([]*pb.Message, len(all))
	for i, m := range all {
		want[i] = &pb.Message{Seq: m.Seq, Body: m.Body} // as sent, unless an event says otherwise
		if !isEvent(m.Kind) || m.Target == 0 || m.Target >= m.Seq {
			continue
		}
		target := want[m.Target-1]
		target.ChangedSeq = m.Seq
		switch m.Kind {
		case pb.Kind_KIND_EDIT:
			if target.EditedSeq != 0 {
				empty(want[target.EditedSeq-1], pb.MessageState_MESSAGE_STATE_RECALLED)
			}
			target.Body, target.EditedSeq = m.Body, m.Seq
		case pb.Kind_KIND_RECALL:
			recalled++
			empty(target, pb.MessageState_MESSAGE_STATE_RECALLED)
			if target.EditedSeq != 0 {
				empty(want[target.EditedSeq-1], pb.MessageState_MESSAGE_STATE_RECALLED)
			}
		case pb.Kind_KIND_REACTION:
			target.Reactions = nil
			if !m.Remove {
				target.Reactions = []*pb.Reaction{{Key: string(m.Body), Count: 1, Users: []string{m.Sender}}}
			}
		}
	}
	for i, m := range all {
		w := want[i]
		got := &pb.Message{
			Seq: m.Seq, Body: m.Body, ChangedSeq: m.ChangedSeq, EditedSeq: m.EditedSeq, State: m.State, Reactions: m.Reactions,
		}
		if !proto.Equal(got, w) {
			report("%s: a message is %v and its events make it %v", m.Conversation, got, w)
		}
	}
	return recalled
}
