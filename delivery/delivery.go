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
	members  memberships // the store
	sessions *session.Manager
	turns    *turns
	workers  sync.WaitGroup
	stats    counters
	present  *audiences
	stage    *stage
	batches  sync.Pool // of *batch
	drafts   sync.Pool // of *[]byte: answers to reads, until their size is known
}

// New starts a Delivery. store and sessions must outlive Close.
func New(cfg Config, store *msgstore.Store, sessions *session.Manager) (*Delivery, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	cfg = cfg.withDefaults()
	d := &Delivery{
		cfg: cfg, store: store, members: store, sessions: sessions,
		turns: newTurns(cfg.QueuePerSession), present: newAudiences(cfg.Loops),
	}
	d.stage = newStage(cfg.Loops, cfg.Post, d.present, &d.stats)
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
	seats    []*seat
	effects  []effect
	frame    []byte
	sent     pb.Sent
}

// Deliver implements chat.Sink. It answers each outcome's origin, which must be
// a *session.Session or nil, ends the request's share of the session's in-flight
// window, and pushes the effects to all other sessions of their users, or of the
// members of their group.
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
	clear(b.seats[:cap(b.seats)])
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
	if r.Err != nil {
		return protocol.AppendError(dst, p.Request, r.Err)
	}
	switch p.Command.Op {
	case chat.OpMark:
		return protocol.AppendProto(dst, protocol.TypeMarked, p.Request, &pb.Marked{
			ReadSeq: r.ReadSeq, DeliveredSeq: r.DeliveredSeq,
			Unread: r.Count.Unread, MentionSeq: r.Count.MentionSeq, HeadSeq: r.Count.HeadSeq, CountedMs: r.Count.TimeMs,
		})
	case chat.OpGroup:
		return protocol.AppendProto(dst, protocol.TypeGrouped, p.Request, &pb.Grouped{
			Conversation: p.Command.Conversation, Seq: r.Seq, Group: r.Group, Standing: r.Standing,
		})
	case chat.OpSettings:
		return protocol.AppendProto(dst, protocol.TypeSet, p.Request, &pb.Set{Settings: r.Settings})
	case chat.OpDelete:
		return protocol.AppendProto(dst, protocol.TypeDeleted, p.Request, &pb.Deleted{ClearedSeq: r.ClearedSeq})
	case chat.OpContact:
		return protocol.AppendProto(dst, protocol.TypeContacted, p.Request, &pb.Contacted{Contact: r.Contact})
	case chat.OpAccount:
		return protocol.AppendProto(dst, protocol.TypeAccounted, p.Request, &pb.Accounted{Account: r.Account})
	default:
		b.sent.Seq, b.sent.Id, b.sent.TimeMs, b.sent.Duplicate = r.Seq, r.ID, r.TimeMs, r.Duplicate
		return protocol.SentFrame(dst, p.Request, &b.sent)
	}
}

// Close refuses further reads with DRAINING, answers those that wait and ends
// the workers.
func (d *Delivery) Close() {
	d.turns.close()
	d.workers.Wait()
}
