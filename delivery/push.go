package delivery

import (
	"slices"

	"github.com/godwit-im/godwit/chat"
	"github.com/godwit-im/godwit/protocol"
	"github.com/godwit-im/godwit/protocol/pb"
	"github.com/godwit-im/godwit/session"
)

// maxJoined bounds the messages that are pushed as one slice, in bytes: small
// beside what may wait for a session, which takes or misses them together.
const maxJoined = 16 << 10

// effect is an effect of the outcome with the index.
type effect struct {
	*chat.Effect
	index uint64
	// asked is who caused it, if their answer tells them of it; nil = it doesn't.
	asked *session.Session
}

// pushRun acts on the effects of run, in order. Messages of a conversation that
// follow one another leave as one slice, which all sessions share: a session
// and its connection are then met once for all of them, and the slice is
// written from where it is.
func (d *Delivery) pushRun(b *batch, origin *session.Session, run []chat.Outcome) {
	b.effects = b.effects[:0]
	for i := range run {
		b.collect(origin, &run[i])
	}
	limit := min(maxJoined, d.cfg.MaxFrame) // what a connection has room for once it takes a push
	for rest := b.effects; len(rest) > 0; {
		n, size := 1, len(rest[0].Frame)
		for n < len(rest) && follows(&rest[n], &rest[n-1]) && size+len(rest[n].Frame) <= limit {
			size += len(rest[n].Frame)
			n++
		}
		frames := rest[0].Frame
		if n > 1 {
			frames = make([]byte, 0, size)
			for _, e := range rest[:n] {
				frames = append(frames, e.Frame...)
			}
		}
		d.act(b, &rest[n-1], frames, n)
		rest = rest[n:]
	}
}

// collect appends the effects of o. Whoever joins is told what the same command
// tells the group, and so is who leaves.
func (b *batch) collect(origin *session.Session, o *chat.Outcome) {
	from := len(b.effects)
	for i := range o.Effects {
		e := effect{Effect: &o.Effects[i], index: o.Index, asked: origin}
		if e.Kind == chat.EffectMessage && o.Proposal.Command.Op == chat.OpGroup {
			e.asked = nil // GROUPED has the notice's seq only
		}
		b.effects = append(b.effects, e)
	}
	if mine := b.effects[from:]; len(mine) > 1 {
		slices.SortStableFunc(mine, func(x, y effect) int { return turn(x.Kind) - turn(y.Kind) })
	}
}

// turn orders the effects of a command.
func turn(k chat.EffectKind) int {
	switch k {
	case chat.EffectJoined:
		return 0
	case chat.EffectLeft, chat.EffectDissolve:
		return 2
	}
	return 1
}

// follows reports whether two effects are messages of the same conversation
// for the same users.
func follows(e, last *effect) bool {
	return e.Kind == chat.EffectMessage && last.Kind == chat.EffectMessage &&
		e.Conversation == last.Conversation && e.asked == last.asked &&
		e.Group == last.Group && slices.Equal(e.Users, last.Users)
}

// act does what follows from an effect. frames are those of the n messages of
// which e is the last.
func (d *Delivery) act(b *batch, e *effect, frames []byte, n int) {
	switch e.Kind {
	case chat.EffectMessage:
		if e.Group {
			d.tell(b, &news{
				conversation: e.Conversation, origin: e.asked, index: e.index,
				seq: e.Seq, messages: n, frames: frames,
			})
			return
		}
		told := d.each(b, e, func(_ string, s *session.Session) { s.PushMessage(e.Conversation, e.Seq, frames) })
		d.stats.messages.Add(uint64(told * n))
	case chat.EffectReceipt:
		d.receipt(b, e)
	case chat.EffectState:
		d.each(b, e, func(_ string, s *session.Session) { s.PushState(e.Conversation, e.Frame) })
	case chat.EffectJoined:
		for _, user := range e.Users {
			d.present.join(e.Conversation, user)
		}
	case chat.EffectLeft:
		for _, user := range e.Users {
			d.present.leave(e.Conversation, user)
		}
	case chat.EffectDissolve:
		d.present.dissolve(e.Conversation)
	case chat.EffectFollowUp: // the log's own business
	}
}

// each calls push for every session of the effect's users but the one whose
// answer tells it, and returns how many those are.
func (d *Delivery) each(b *batch, e *effect, push func(user string, s *session.Session)) (told int) {
	for _, user := range e.Users {
		b.sessions = d.sessions.Sessions(b.sessions[:0], user)
		for _, s := range b.sessions {
			if s != e.asked {
				push(user, s)
				told++
			}
		}
	}
	return told
}

// receipt tells that a member's cursors moved.
func (d *Delivery) receipt(b *batch, e *effect) {
	if e.Group {
		d.tell(b, &news{
			conversation: e.Conversation, origin: e.asked, index: e.index,
			frames: receiptFrame(e.Effect, false), user: e.User,
		})
		return
	}
	var own, others []byte // each for all sessions of a user
	told := d.each(b, e, func(user string, s *session.Session) {
		frame := &others
		if user == e.User {
			frame = &own
		}
		if *frame == nil {
			*frame = receiptFrame(e.Effect, user == e.User)
		}
		s.PushReceipt(e.Conversation, *frame)
	})
	d.stats.receipts.Add(uint64(told))
}

// receiptFrame is the RECEIPT for the user's own sessions, or for others', whose
// business the unread count isn't.
func receiptFrame(e *chat.Effect, own bool) []byte {
	m := &pb.Receipt{Conversation: e.Conversation, User: e.User, ReadSeq: e.ReadSeq, DeliveredSeq: e.DeliveredSeq}
	if own {
		m.Unread, m.MentionSeq = e.Count.Unread, e.Count.MentionSeq
		m.HeadSeq, m.CountedMs = e.Count.HeadSeq, e.Count.TimeMs
	}
	return protocol.AppendProto(nil, protocol.TypeReceipt, 0, m)
}

// tell tells the audience of n's conversation. A small one is told at once,
// unless the stage has yet to tell it something.
func (d *Delivery) tell(b *batch, n *news) {
	h := d.present.hall(n.conversation)
	h.mu.Lock()
	a := h.audiences[n.conversation]
	if a != nil && (a.size > small || a.busy.Load() > 0) {
		d.stage.add(a, n)
		a = nil
	}
	b.seats = a.appendSeats(b.seats[:0])
	h.mu.Unlock()
	told := 0
	for _, s := range b.seats {
		if n.tell(s) {
			told++
		}
	}
	d.stats.messages.Add(uint64(told * n.messages))
	d.stats.receipts.Add(uint64(told * n.receipts()))
}
