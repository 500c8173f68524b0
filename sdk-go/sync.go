package godwit

import (
	"time"

	"github.com/godwit-im/godwit/protocol"
	"github.com/godwit-im/godwit/protocol/pb"
)

// startSync begins a SYNC from the stored cursor, after the one that is under
// way if there is one. first says that the session's way to Online begins.
func (s *session) startSync(first bool) {
	if s.sync.wanted || s.sync.inFlight {
		s.sync.again = true
		return
	}
	s.sync = syncState{wanted: true, first: first || s.sync.first}
	if c := s.account.cursor; c.Epoch == s.account.epoch {
		s.sync.cursor = c.Sync
	}
	for _, b := range s.account.boxes {
		b.sessionPart.reported = false
	}
}

func (s *session) appendSync(out []byte, now time.Time) []byte {
	if !s.sync.wanted {
		return out
	}
	s.sync.wanted, s.sync.inFlight = false, true
	return s.request(out, request{kind: protocol.TypeSync}, &pb.Sync{Cursor: s.sync.cursor}, now)
}

// synced takes a page.
func (s *session) synced(r request, m *pb.Synced) error {
	a := s.account
	s.sync.inFlight = false
	if m.Epoch != a.epoch {
		return protocolError("SYNCED of another epoch than CONNECTED")
	}
	if m.Reset_ {
		a.log.Warn("the server's store has lost something; what was received is compared with it")
		for _, b := range a.boxes {
			a.doubt(b)
		}
	}
	for _, cs := range m.Conversations {
		if cs.Conversation == "" {
			return protocolError("SYNCED without conversation")
		}
		s.conversation(cs, r.id)
	}
	s.sync.cursor = m.Cursor
	if m.More {
		s.sync.wanted = true
		return nil
	}
	for _, b := range a.boxes {
		s.settle(b)
	}
	first := s.sync.first
	s.sync.first = false
	a.synced = true
	a.cursor = Cursor{Epoch: m.Epoch, Sync: m.Cursor}
	a.dirty.cursor = true
	a.saverBell.ring()
	if first {
		s.caughtUp = true
		s.checkOnline()
	}
	if s.sync.again {
		s.sync.again = false
		s.startSync(false)
	}
	return nil
}

// conversation takes what SYNC, by a request, reports of one.
func (s *session) conversation(cs *pb.ConversationState, request uint32) {
	a := s.account
	b := a.box(cs.Conversation)
	b.sessionPart.reported = true
	if !b.started {
		a.start(b, cs.HeadSeq, cs.HeadId)
	}
	if a.inDoubt(b) && cs.HeadSeq < b.next-1 {
		a.reset(b, max(b.head, cs.HeadSeq), cs.MinSeq)
	}
	a.learn(b, cs) // its head goes into the store along with the cursor
	if b.sessionPart.statedAt >= request {
		a.wantInfo(b)
	}
	s.wantPull(b)
}

// settle ends a SYNC for a box.
func (s *session) settle(b *box) {
	a := s.account
	if !b.started {
		a.start(b, 0, 0) // it came to be after the SYNC began
		s.wantPull(b)
	}
	if a.inDoubt(b) && !b.sessionPart.reported {
		a.reset(b, b.head, 1) // the restored server never heard of it
	}
	if s.sync.first && (b.next <= b.head || a.inDoubt(b)) {
		b.sessionPart.catching, b.sessionPart.target = true, b.head
		s.behind++
	}
}

// start begins a box whose position was to be learned from the first SYNC.
func (a *account) start(b *box, head, headID uint64) {
	a.regap(b, func() { b.startAt(head, headID) })
	a.touch(b)
	a.drainGap(b)
}

// syncFailed takes the refusal of a page.
func (s *session) syncFailed(m *pb.Error, now time.Time) error {
	e := fromError(m)
	s.sync.inFlight = false
	switch {
	case m.Retryable:
		s.timers.add(now.Add(e.RetryAfter+retryDelay), nil, syncTimer)
		return nil
	case e.Code == pb.Code_CODE_BAD_CURSOR && len(s.account.cursor.Sync) > 0:
		s.account.log.Warn("the server does not know the sync cursor; everything is synced")
		s.account.cursor = Cursor{}
		s.sync = syncState{wanted: true, first: s.sync.first, again: s.sync.again}
		return nil
	}
	return ended(m)
}

// checkOnline tells the application when it has caught up.
func (s *session) checkOnline() {
	if s.caughtUp && !s.online && s.behind == 0 {
		s.online = true
		s.account.setState(State{Phase: Online})
	}
}

// retryDelay is waited, beyond what the server asks for, before something
// that it could not do at the moment is asked again.
const retryDelay = 250 * time.Millisecond

// wantPull has the box pulled if it is behind, or if its past must be
// compared.
func (s *session) wantPull(b *box) {
	if s.pullable(b) && !b.sessionPart.pullQueued {
		b.sessionPart.pullQueued = true
		s.pulls.push(b)
	}
}

// wantPullLater is wantPull, unless the hole closes before.
func (s *session) wantPullLater(b *box, now time.Time) {
	p := &b.sessionPart
	if !p.gapTimed && !p.pullQueued && !p.pulling {
		p.gapTimed = true
		s.timers.add(now.Add(gapPatience), b, gapTimer)
	}
}

func (s *session) pullable(b *box) bool {
	switch {
	case b.sessionPart.pulling || !b.started:
		return false
	case s.account.inDoubt(b):
		return b.sessionPart.reported
	}
	return b.behind()
}

func (s *session) appendPull(out []byte, now time.Time) []byte {
	for s.pulls.len() > 0 && s.pulling < maxPulls && s.account.backlogRoom() {
		b, _ := s.pulls.pop()
		b.sessionPart.pullQueued = false
		if !s.pullable(b) {
			continue
		}
		b.sessionPart.pulling = true
		s.pulling++
		r := request{kind: protocol.TypePull, box: b, from: b.next}
		pull := &pb.Pull{Conversation: b.id, From: b.next, Until: b.holeEnd(), Limit: uint32(s.account.page)}
		if s.account.inDoubt(b) {
			r.from, r.compare = b.next-1, true
			pull.From, pull.Until = r.from, 0
		}
		return s.request(out, r, pull, now)
	}
	return out
}

// pulled takes a range that was pulled for a box.
func (s *session) pulled(r request, m *pb.Pulled, now time.Time) error {
	a, b := s.account, r.box
	s.pulling--
	b.sessionPart.pulling = false
	a.page = min(2*a.page, pullLimit)
	b.head = max(b.head, m.HeadSeq)
	next := b.next
	if r.compare && a.inDoubt(b) {
		s.compare(b, m)
	}
	a.skip(b, m.MinSeq)
	for _, wire := range m.Messages {
		if wire.Conversation != b.id || wire.Seq == 0 {
			return protocolError("PULLED has a message of another conversation")
		}
		a.offer(b, fromWire(wire), viaPull, now)
	}
	switch {
	case !s.pullable(b):
	case b.next == next && r.from == next:
		// Not a single message of what is said to exist. Not at once again.
		a.log.Warn("a pull brought nothing", "conv", b.id, "seq", next)
		b.sessionPart.gapTimed = true
		s.timers.add(now.Add(retryDelay), b, gapTimer)
	default:
		s.wantPull(b)
	}
	return nil
}

// compare looks whether the last message that was handed on before the
// server's store changed its epoch is still the same one.
func (s *session) compare(b *box, m *pb.Pulled) {
	a, last := s.account, b.next-1
	switch {
	case m.HeadSeq < last:
		a.reset(b, m.HeadSeq, m.MinSeq)
	case m.MinSeq > last:
		// Retention took it. Nothing that is left was handed on.
		a.verified(b)
	case len(m.Messages) > 0 && m.Messages[0].Seq == last && m.Messages[0].Id == b.lastID:
		a.verified(b)
	default:
		a.reset(b, m.HeadSeq, m.MinSeq)
	}
}

// pullFailed takes the refusal of a pull.
func (s *session) pullFailed(r request, m *pb.Error, now time.Time) error {
	a, b, e := s.account, r.box, fromError(m)
	s.pulling--
	b.sessionPart.pulling = false
	switch {
	case m.Retryable:
		b.sessionPart.gapTimed = true
		s.timers.add(now.Add(e.RetryAfter+retryDelay), b, gapTimer)
	case r.compare != a.inDoubt(b):
		s.wantPull(b) // it was asked before the doubt
	case e.Code == pb.Code_CODE_SEQ_OUT_OF_RANGE || r.compare:
		// The server does not have what this client was given.
		a.reset(b, 1, 1) // whether there is a first message, a pull will tell
	default:
		a.log.Warn("conversation cannot be pulled", "conv", b.id, "code", e.Code.Name(), "text", e.Text)
		b.head = b.next - 1
		b.sessionPart.target = min(b.sessionPart.target, b.head)
		a.progressed(b)
	}
	return nil
}
