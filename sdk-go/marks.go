package godwit

import (
	"time"

	"github.com/godwit-im/godwit/protocol"
	"github.com/godwit-im/godwit/protocol/pb"
)

// wantMark has the marks that the box owes sent at the given time, together
// with those that come until then. After a MARK's answer it is looked at again.
func (s *session) wantMark(b *box, at time.Time) {
	p := &b.sessionPart
	if b.owesMark() && !p.marking && !p.markTimed {
		p.markTimed = true
		s.timers.add(at, b, markTimer)
		s.account.sessionBell.ring()
	}
}

func (s *session) appendMark(out []byte, now time.Time) []byte {
	for s.marks.len() > 0 && s.marking < maxMarks {
		b, _ := s.marks.pop()
		// A cursor of messages that are not the server's would say nothing.
		if b.sessionPart.marking || !b.owesMark() || s.account.inDoubt(b) {
			continue
		}
		b.sessionPart.marking = true
		s.marking++
		mark := &pb.Mark{Conversation: b.id}
		if b.readWant > b.readKnown || b.unmark {
			mark.ReadSeq = b.isRead()
			b.unmark = false
		}
		if b.deliveredWant > b.deliveredKnown {
			mark.DeliveredSeq = b.deliveredWant
		}
		return s.request(out, request{kind: protocol.TypeMark, box: b, from: mark.ReadSeq}, mark, now)
	}
	return out
}

// marked takes the answer to a MARK.
func (s *session) marked(r request, m *pb.Marked, now time.Time) {
	b := r.box
	s.marking--
	b.sessionPart.marking = false
	if r.from > 0 {
		b.unmarkUnread()
		s.account.stated(b)
	}
	s.account.hearUnread(b, count{
		read: m.ReadSeq, delivered: m.DeliveredSeq, head: m.HeadSeq, at: timeOf(m.CountedMs),
		unread: m.Unread, mention: m.MentionSeq,
	})
	s.account.changed(b)
	s.wantMark(b, now.Add(markDelay))
}

// markFailed takes the refusal of a MARK.
func (s *session) markFailed(b *box, m *pb.Error, now time.Time) {
	s.marking--
	b.sessionPart.marking = false
	e := fromError(m)
	if m.Retryable {
		s.wantMark(b, now.Add(e.RetryAfter+retryDelay))
		return
	}
	s.account.log.Warn("mark refused", "conv", b.id, "code", e.Code.Name(), "text", e.Text)
	s.account.touch(b)
	last := b.next - 1
	if e.Code == pb.Code_CODE_SEQ_OUT_OF_RANGE && max(b.readWant, b.deliveredWant) > last {
		b.readWant, b.deliveredWant = min(b.readWant, last), min(b.deliveredWant, last)
		s.wantMark(b, now)
	} else {
		b.readWant, b.deliveredWant = 0, 0
	}
	if !b.owesMark() {
		s.account.wantInfo(b) // whether all that was taken for read is so
	}
}
