package godwit

import (
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/godwit-im/godwit/protocol"
	"github.com/godwit-im/godwit/protocol/pb"
)

// decode reads the body of a frame from the server. It copies what it keeps.
// The message is nil where the type has none, or is not known: a newer server
// may push what this client need not understand.
func decode(f protocol.Frame) (proto.Message, error) {
	m := f.Type.NewBody()
	if m == nil {
		return nil, nil
	}
	if err := proto.Unmarshal(f.Body, m); err != nil {
		return nil, fmt.Errorf("%v from the server: %w", f.Type, err)
	}
	return m, nil
}

// receive takes a frame from the server. An error ends the session.
func (s *session) receive(kind protocol.Type, id uint32, m proto.Message, now time.Time) error {
	if kind == protocol.TypePing {
		if len(s.pongs) < 16 { // who sends more is not waiting for them
			s.pongs = append(s.pongs, id)
		}
		return nil
	}
	if id == 0 {
		return s.pushed(m, now)
	}
	r, waits := s.requests[id]
	switch {
	case !waits:
		s.account.log.Debug("answer to no request", "type", kind.String())
		return nil
	case kind != protocol.TypeError && kind != r.kind+1: // so are the types numbered
		return protocolError(fmt.Sprintf("%v in answer to %v", kind, r.kind))
	}
	delete(s.requests, id)
	s.flightBytes -= r.size
	if e, refused := m.(*pb.Error); refused {
		return s.failed(r, e, now)
	}
	return s.answered(r, m, now)
}

// pushed takes what nobody asked for.
func (s *session) pushed(m proto.Message, now time.Time) error {
	a := s.account
	switch m := m.(type) {
	case *pb.Message:
		if m.Conversation == "" || m.Seq == 0 {
			return protocolError("MESSAGE without conversation or seq")
		}
		a.offer(a.box(m.Conversation), fromWire(m), viaPush, now)
	case *pb.Receipt:
		if m.Conversation == "" {
			return protocolError("RECEIPT without conversation")
		}
		switch b := a.box(m.Conversation); m.User {
		case a.user:
			a.hearUnread(b, count{
				read: m.ReadSeq, delivered: m.DeliveredSeq, head: m.HeadSeq, at: timeOf(m.CountedMs),
				unread: m.Unread, mention: m.MentionSeq,
			})
			a.changed(b)
		case b.peer:
			a.raisePeer(b, m.ReadSeq, m.DeliveredSeq)
		default:
			a.memberReceipt(b, m)
		}
	case *pb.State:
		if m.State == nil || m.State.Conversation == "" {
			return protocolError("STATE without conversation")
		}
		b := a.box(m.State.Conversation)
		if a.inDoubt(b) {
			return nil // SYNC has it, too
		}
		a.learnWith(b, m.State, a.hearUnread)
		a.stated(b)
		s.wantPull(b)
	case *pb.Presence:
		a.present(m)
	case *pb.SignalFrom:
		a.signalled(m)
	case *pb.Heads:
		if len(m.Heads) == 0 {
			s.startSync(false)
		}
		for _, h := range m.Heads {
			if h.Conversation == "" {
				return protocolError("HEADS without conversation")
			}
			if h.Seq == 0 { // receipts were left out
				s.startSync(false)
				continue
			}
			b := a.box(h.Conversation)
			a.exists(b, h.Seq)
			s.wantPull(b)
		}
	case *pb.GoAway:
		s.leave(&endError{
			cause: &protocol.Error{Code: m.Code, Text: m.Text},
			after: time.Duration(m.ReconnectAfterMs) * time.Millisecond,
		}, now)
	case *pb.Error:
		return ended(m)
	}
	return nil
}

// answered takes the response to a request, of the type that answers it.
func (s *session) answered(r request, m proto.Message, now time.Time) error {
	if r.call != nil {
		s.called(r, m)
		return nil
	}
	switch m := m.(type) {
	case *pb.Sent:
		return s.sent(r.out, m, now)
	case *pb.Pulled:
		return s.pulled(r, m, now)
	case *pb.Synced:
		return s.synced(r, m)
	case *pb.Informed:
		return s.informed(r, m)
	case *pb.Marked:
		s.marked(r, m, now)
	case *pb.Renewed:
		s.expires(m.ExpiresMs, now)
	}
	return nil // and a PONG
}

// sent takes the ack of a message.
func (s *session) sent(o *Outgoing, m *pb.Sent, now time.Time) error {
	event := o.entry.Target > 0
	if m.Seq == 0 && (!event || !m.Duplicate) { // that is a reaction which would have changed nothing
		return protocolError("SENT without seq")
	}
	s.landed(o)
	o.box.probe, o.box.refusals = false, 0
	s.account.acked(o, Ack{Seq: m.Seq, ID: m.Id, Time: time.UnixMilli(m.TimeMs)}, m.Duplicate, now)
	s.wantSend(o.box)
	return nil
}

// failed takes the ERROR in answer to a request.
func (s *session) failed(r request, m *pb.Error, now time.Time) error {
	a, e := s.account, fromError(m)
	if r.call != nil {
		s.callFailed(r.call, e, now)
		return nil
	}
	switch r.kind {
	case protocol.TypeSend:
		b := r.out.box
		s.landed(r.out)
		if m.Retryable {
			s.hold(b, e, now)
			return nil
		}
		a.log.Warn("message refused", "conv", b.id, "code", e.Code.Name(), "text", e.Text)
		a.refused(r.out, e)
		s.wantSend(b)
	case protocol.TypePull:
		return s.pullFailed(r, m, now)
	case protocol.TypeMark:
		s.markFailed(r.box, m, now)
	case protocol.TypeSync:
		return s.syncFailed(m, now)
	case protocol.TypeInfo:
		s.infoFailed(r.box, e, m.Retryable, now)
	case protocol.TypeRenew:
		s.renewWith("", e, now)
	default:
		return ended(m)
	}
	return nil
}

// landed takes a message out of flight.
func (s *session) landed(o *Outgoing) {
	o.box.land(o)
	if b := o.box; b.held && b.flight == 0 {
		s.timers.add(b.heldUntil, b, holdTimer)
	}
}

// hold keeps a conversation's messages back after a refusal that may pass, so
// that they are sent again in their order. Where more than one was in flight
// the server may have accepted some behind the one that it refused: that is
// the price of Options.Pipeline.
func (s *session) hold(b *box, e *protocol.Error, now time.Time) {
	b.firstUnsent = 0
	if !b.held {
		b.held = true
		b.heldUntil = now.Add(e.RetryAfter + resendBackoff.wait(b.refusals))
		b.refusals++
		s.account.log.Debug("sending held back", "conv", b.id, "code", e.Code.Name(), "for", b.heldUntil.Sub(now))
		if b.flight == 0 {
			s.timers.add(b.heldUntil, b, holdTimer)
		}
	}
	b.heldUntil = later(b.heldUntil, now.Add(e.RetryAfter))
}

// fireTimers does what is due.
func (s *session) fireTimers(now time.Time) {
	if s.leaving != nil {
		return
	}
	for {
		t, ok := s.timers.due(now)
		if !ok {
			break
		}
		switch b := t.box; t.what {
		case gapTimer:
			b.sessionPart.gapTimed = false
			s.wantPull(b)
		case markTimer:
			b.sessionPart.markTimed = false
			if b.owesMark() && !b.sessionPart.marking {
				s.marks.push(b)
			}
		case holdTimer:
			if b.held && b.flight == 0 {
				if now.Before(b.heldUntil) {
					s.timers.add(b.heldUntil, b, holdTimer)
					break
				}
				b.held, b.probe = false, true
				s.wantSend(b)
			}
		case infoTimer:
			s.account.wantInfo(b)
		case callTimer: // it is looked at anyhow
		case syncTimer:
			s.sync.wanted = !s.sync.inFlight
		}
	}
	if r := &s.renew; !r.at.IsZero() && !now.Before(r.at) {
		r.at = time.Time{}
		r.fetch()
	}
}

// fromError is an ERROR's body as an error.
func fromError(m *pb.Error) *protocol.Error {
	return &protocol.Error{
		Code: m.Code, Text: m.Text,
		RetryAfter: time.Duration(m.RetryAfterMs) * time.Millisecond,
	}
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
