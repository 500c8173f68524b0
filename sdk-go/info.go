package godwit

import (
	"time"

	"github.com/godwit-im/godwit/protocol"
	"github.com/godwit-im/godwit/protocol/pb"
)

// stated notes that the user's row of a conversation was just told of.
func (a *account) stated(b *box) {
	if a.session != nil {
		b.sessionPart.statedAt = a.session.lastRequest
	}
}

// wantInfo has the server asked how a conversation stands, now or when there is
// a connection.
func (a *account) wantInfo(b *box) {
	b.view.infoWanted = true
	if s := a.session; s != nil && !b.sessionPart.infoQueued && !b.sessionPart.informing {
		b.sessionPart.infoQueued = true
		s.infos.push(b)
		a.sessionBell.ring()
	}
}

// inform has a call be done after an INFO.
func (s *session) inform(b *box, c *call) {
	b.sessionPart.informed = append(b.sessionPart.informed, c)
	s.account.stated(b) // so one that is in flight does not do
	s.account.wantInfo(b)
}

func (s *session) appendInfo(out []byte, now time.Time) []byte {
	b, ok := s.infos.pop()
	if !ok {
		return out
	}
	b.sessionPart.infoQueued, b.sessionPart.informing = false, true
	b.view.infoWanted = false
	return s.request(out, request{kind: protocol.TypeInfo, box: b}, &pb.Info{Conversation: b.id}, now)
}

// informed takes the answer to an INFO.
func (s *session) informed(r request, m *pb.Informed) error {
	a, b := s.account, r.box
	b.sessionPart.informing = false
	if m.State == nil || m.State.Conversation != b.id {
		return protocolError("INFORMED of another conversation")
	}
	a.learn(b, m.State)
	s.wantPull(b)
	if b.view.infoWanted || b.sessionPart.statedAt >= r.id {
		a.wantInfo(b)
		return nil
	}
	s.endInforms(b)
	return nil
}

// infoFailed takes the refusal of one.
func (s *session) infoFailed(b *box, e *protocol.Error, retryable bool, now time.Time) {
	a := s.account
	b.sessionPart.informing = false
	if retryable {
		b.view.infoWanted = true
		s.timers.add(now.Add(e.RetryAfter+retryDelay), b, infoTimer)
		return
	}
	if e.Code == pb.Code_CODE_NOT_A_MEMBER && isGroup(b.id) {
		// Nothing is between the user and the group any more.
		b.view.membership = new(pb.Membership)
		a.changed(b)
	} else {
		a.log.Warn("conversation is not told of", "conv", b.id, "code", e.Code.Name(), "text", e.Text)
	}
	b.view.infoWanted = false
	s.endInforms(b)
}

func (s *session) endInforms(b *box) {
	for _, c := range b.sessionPart.informed {
		c.finish(c.answer, nil)
	}
	b.sessionPart.informed = nil
}
