package delivery

import (
	"bytes"
	"slices"
	"sync"
	"time"

	"github.com/godwit-im/godwit/chat"
	"github.com/godwit-im/godwit/msgstore"
	"github.com/godwit-im/godwit/protocol"
	"github.com/godwit-im/godwit/protocol/pb"
	"github.com/godwit-im/godwit/session"
)

// Delivery answers clients and tells them news. All of its methods may be
// called from any goroutine.
type Delivery struct {
	cfg      Config
	store    *msgstore.Store
	sessions *session.Manager
	turns    *turns
	workers  sync.WaitGroup
	stats    counters
	batches  sync.Pool // of *batch
	drafts   sync.Pool // of *[]byte: answers to reads, until their size is known
}

// New starts a Delivery. store and sessions must outlive Close.
func New(cfg Config, store *msgstore.Store, sessions *session.Manager) (*Delivery, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	cfg = cfg.withDefaults()
	d := &Delivery{cfg: cfg, store: store, sessions: sessions, turns: newTurns(cfg.QueuePerSession)}
	d.batches.New = func() any { return new(batch) }
	d.drafts.New = func() any { return new(make([]byte, draftGuess)) }
	for range cfg.Workers {
		d.workers.Go(d.work)
	}
	return d, nil
}

// batch is what one Deliver needs; the slices are used again.
type batch struct {
	sessions []*session.Session
	effects  []*chat.Effect
	frame    []byte
	sent     pb.Sent
}

// Deliver implements chat.Sink. It answers each outcome's origin, which must be
// a *session.Session or nil, ends the request's share of the session's in-flight
// window, and pushes the effects to all other sessions of their users.
func (d *Delivery) Deliver(outcomes []chat.Outcome) {
	b := d.batches.Get().(*batch)
	defer d.batches.Put(b)
	now := d.cfg.Now()
	for len(outcomes) > 0 {
		origin, _ := outcomes[0].Proposal.Origin.(*session.Session)
		n := 1
		for n < min(len(outcomes), maxRun) && outcomes[n].Proposal.Origin == outcomes[0].Proposal.Origin {
			n++
		}
		run := outcomes[:n]
		outcomes = outcomes[n:]
		if origin != nil {
			d.answer(b, origin, run, now)
		}
		d.pushRun(b, origin, run)
		for i := range run {
			if len(run[i].Effects) > 0 && d.cfg.ObserveDelivery != nil {
				d.cfg.ObserveDelivery(now.Sub(run[i].Proposal.Accepted))
			}
		}
	}
	clear(b.sessions[:cap(b.sessions)])
	clear(b.effects[:cap(b.effects)])
}

// maxRun bounds the answers that leave as one slice, so that it stays smaller
// than the frames that a connection is used to.
const maxRun = 128

// answer sends the answers to run, all of which are to's requests. Those of a
// client that pipelines follow one another and leave as one slice, which saves
// the connection most of its work.
//
// Each run has a slice of its own. One slab for the whole batch would save an
// allocation of 32 bytes or so for every run, but then a single slow reader
// would keep the answers to everybody else in memory.
func (d *Delivery) answer(b *batch, to *session.Session, run []chat.Outcome, now time.Time) {
	b.frame = b.frame[:0]
	for i := range run {
		p := run[i].Proposal
		b.frame = b.appendAnswer(b.frame, p, &run[i].Result)
		// Before the answer is on its way: a client that has it may send at once.
		to.End(p.InFlight)
		if d.cfg.ObserveAck != nil {
			d.cfg.ObserveAck(now.Sub(p.Accepted))
		}
	}
	to.Reply(bytes.Clone(b.frame))
}

func (b *batch) appendAnswer(dst []byte, p *chat.Proposal, r *chat.Result) []byte {
	switch {
	case r.Err != nil:
		return protocol.AppendError(dst, p.Request, r.Err)
	case p.Command.Op == chat.OpMark:
		return protocol.AppendProto(dst, protocol.TypeMarked, p.Request, &pb.Marked{
			ReadSeq: r.ReadSeq, DeliveredSeq: r.DeliveredSeq, Unread: r.Unread,
		})
	default:
		b.sent.Seq, b.sent.Id, b.sent.TimeMs, b.sent.Duplicate = r.Seq, r.ID, r.TimeMs, r.Duplicate
		return protocol.SentFrame(dst, p.Request, &b.sent)
	}
}

// maxJoined bounds the messages that are pushed as one slice, in bytes: small
// beside what may wait for a session, which takes or misses them together.
const maxJoined = 16 << 10

// pushRun pushes the effects of run, in order. Messages of a conversation that
// follow one another leave as one slice, which all sessions share: a session
// and its connection are then met once for all of them, and the slice is
// written from where it is.
func (d *Delivery) pushRun(b *batch, origin *session.Session, run []chat.Outcome) {
	b.effects = b.effects[:0]
	for i := range run {
		for j := range run[i].Effects {
			b.effects = append(b.effects, &run[i].Effects[j])
		}
	}
	limit := min(maxJoined, d.cfg.MaxFrame) // what a connection has room for once it takes a push
	for rest := b.effects; len(rest) > 0; {
		n, size := 1, len(rest[0].Frame)
		for n < len(rest) && follows(rest[n], rest[n-1]) && size+len(rest[n].Frame) <= limit {
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
		d.push(b, origin, rest[n-1], frames, n)
		rest = rest[n:]
	}
}

// follows reports whether two effects are messages of the same conversation
// for the same users.
func follows(e, last *chat.Effect) bool {
	return e.Kind == chat.EffectMessage && last.Kind == chat.EffectMessage &&
		e.Conversation == last.Conversation && slices.Equal(e.Users, last.Users)
}

// push tells every session of the effect's users but origin, which has its
// answer. frames are those of the n messages of which e is the last.
func (d *Delivery) push(b *batch, origin *session.Session, e *chat.Effect, frames []byte, n int) {
	told := 0
	for _, user := range e.Users {
		b.sessions = d.sessions.Sessions(b.sessions[:0], user)
		var receipt []byte // one for all sessions of user
		for _, s := range b.sessions {
			if s == origin {
				continue
			}
			told++
			switch e.Kind {
			case chat.EffectMessage:
				s.PushMessage(e.Conversation, e.Seq, frames)
			case chat.EffectReceipt:
				if receipt == nil {
					receipt = receiptFrame(e, user)
				}
				s.PushReceipt(e.Conversation, receipt)
			}
		}
	}
	switch e.Kind {
	case chat.EffectMessage:
		d.stats.messages.Add(uint64(told * n))
	case chat.EffectReceipt:
		d.stats.receipts.Add(uint64(told))
	}
}

// receiptFrame is the RECEIPT for the sessions of user. The unread count is for
// those of the one whose cursors moved.
func receiptFrame(e *chat.Effect, user string) []byte {
	m := &pb.Receipt{Conversation: e.Conversation, User: e.User, ReadSeq: e.ReadSeq, DeliveredSeq: e.DeliveredSeq}
	if user == e.User {
		m.Unread = e.Unread
	}
	return protocol.AppendProto(nil, protocol.TypeReceipt, 0, m)
}

// Close refuses further reads with DRAINING, answers those that wait and ends
// the workers.
func (d *Delivery) Close() {
	d.turns.close()
	d.workers.Wait()
}
