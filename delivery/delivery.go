package delivery

import (
	"bytes"
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
}

// New starts a Delivery. store and sessions must outlive Close.
func New(cfg Config, store *msgstore.Store, sessions *session.Manager) (*Delivery, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	cfg = cfg.withDefaults()
	d := &Delivery{cfg: cfg, store: store, sessions: sessions, turns: newTurns(cfg.QueuePerSession)}
	d.batches.New = func() any { return new(batch) }
	for range cfg.Workers {
		d.workers.Go(d.work)
	}
	return d, nil
}

// batch is what one Deliver needs; the slices are used again.
type batch struct {
	sessions []*session.Session
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
		for i := range run {
			for j := range run[i].Effects {
				d.push(b, origin, &run[i].Effects[j])
			}
			if len(run[i].Effects) > 0 && d.cfg.ObserveDelivery != nil {
				d.cfg.ObserveDelivery(now.Sub(run[i].Proposal.Accepted))
			}
		}
	}
	clear(b.sessions[:cap(b.sessions)])
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

// push tells every session of the effect's users but origin, which has its
// answer.
func (d *Delivery) push(b *batch, origin *session.Session, e *chat.Effect) {
	for _, user := range e.Users {
		b.sessions = d.sessions.Sessions(b.sessions[:0], user)
		var receipt []byte // one for all sessions of user
		for _, s := range b.sessions {
			switch {
			case s == origin:
			case e.Kind == chat.EffectMessage:
				s.PushMessage(e.Conversation, e.Seq, e.Frame)
				d.stats.messages.Add(1)
			case e.Kind == chat.EffectReceipt:
				if receipt == nil {
					receipt = receiptFrame(e, user)
				}
				s.PushReceipt(e.Conversation, receipt)
				d.stats.receipts.Add(1)
			}
		}
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
