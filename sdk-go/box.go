package godwit

import (
	"slices"
	"time"
)

// The bounds of one conversation's gap buffer. A message that does not fit is
// forgotten, for it can be pulled.
const (
	maxGapMessages = 64
	maxGapBytes    = 256 << 10
)

// gapPatience is how long a hole is left to close by itself before it is
// pulled. Within a conversation the server pushes and acks in order, so a hole
// is nearly always real; but a short wait turns a burst of pushes after it
// into one pull.
const gapPatience = 20 * time.Millisecond

// box is one conversation: the sequence box that turns pushes, acks and pulls,
// repeated and in any order, into each message once and in seq order, and what
// else is known of the conversation. Client.mu guards it.
//
// The habit of one such box per log, with a gap buffer and then a difference
// pull, is that of gotd/td's telegram/updates.
type box struct {
	id   string // the conversation
	peer string // the other member of a direct conversation

	// The sequence. Every message below next was queued for the handler; the
	// one at next is not here yet. gap holds some of those above it.
	next     uint64
	lastID   uint64 // message id at next-1; 0 if it is not known
	gap      map[uint64]Message
	gapBytes int
	// head is the newest seq known to exist, so there is something to pull
	// while next ≤ head.
	head uint64
	// started is false until next is known: with Options.StartAtHead, until
	// the first SYNC has told the head.
	started bool
	// epoch is the one that next and lastID were learned under. While it is
	// not the account's the box is in doubt: nothing is queued, and a PULL
	// compares the past.
	epoch uint64

	// How far the handler has come, to be stored.
	handed, handedID, handedEpoch uint64

	// The peer's cursors, and those of the user as far as the server has
	// confirmed them. They only rise, but for reset.
	peerRead, peerDelivered   uint64
	readKnown, deliveredKnown uint64
	unread                    uint64
	peerReceipt, ownReceipt   bool // queued for the handler, with the values of when it is handed
	waiters                   map[*waiter]struct{}
	// Of the members of a small group, to be told to the handler.
	memberReceipts map[string]Receipt

	// The user's cursors as they should be. A MARK is owed while one of them
	// is ahead of what is known.
	readWant, deliveredWant uint64
	unmark                  bool // and Settings.MarkedUnread is to be taken away

	view view

	// The messages to be sent, in their order; those before firstUnsent are in
	// flight, and some after it may be, after a refusal.
	out         []*Outgoing
	firstUnsent int
	flight      int
	// held keeps everything back after a retryable refusal, for as long as it
	// takes and until what is in flight is answered. Then the first message
	// goes alone, as a probe, before others are pipelined.
	held, probe bool
	heldUntil   time.Time
	refusals    int // in a row

	sessionPart boxSession
}

// boxSession is what a session knows of a box: the zero value when it begins.
type boxSession struct {
	pulling    bool // a PULL is in flight
	pullQueued bool // waits in session.pulls
	gapTimed   bool // a timer will look at the gap
	marking    bool // a MARK is in flight
	markTimed  bool // a timer will look at the marks
	ready      bool // waits in session.ready
	reported   bool // by the SYNC that is under way
	infoQueued bool // waits in session.infos
	informing  bool // an INFO is in flight
	// statedAt is the newest request that had been made when the user's row was
	// told of last other than in an answer to SYNC or INFO: answers to requests up to
	// it may be older than that.
	statedAt uint32
	informed []*call // wait for an INFO
	// catching is set until next is past target, the head at the session's
	// first SYNC.
	catching bool
	target   uint64
}

// behind reports whether the message at next exists and is not here.
func (b *box) behind() bool {
	if b.head < b.next {
		return false
	}
	_, here := b.gap[b.next]
	return !here
}

// owesMark reports whether the server should be told of a cursor.
func (b *box) owesMark() bool {
	return b.unmark || b.readWant > b.readKnown || b.deliveredWant > max(b.deliveredKnown, b.readKnown)
}

// stash keeps a message that is ahead of next, if there is room.
func (b *box) stash(m Message) {
	if _, here := b.gap[m.Seq]; here || len(b.gap) >= maxGapMessages || b.gapBytes+len(m.Body) > maxGapBytes {
		return
	}
	if b.gap == nil {
		b.gap = make(map[uint64]Message)
	}
	b.gap[m.Seq] = m
	b.gapBytes += len(m.Body)
}

// take removes the message at next from the gap buffer.
func (b *box) take() (m Message, ok bool) {
	if m, ok = b.gap[b.next]; ok {
		delete(b.gap, b.next)
		b.gapBytes -= len(m.Body)
		if len(b.gap) == 0 {
			b.gap = nil
		}
	}
	return m, ok
}

// advance moves next past m, which must be the message at next.
func (b *box) advance(m *Message) {
	if m.Seq != b.next {
		panic("godwit: messages out of order")
	}
	b.next++
	b.lastID = m.ID
}

// skipTo moves next to seq, over messages that are no more.
func (b *box) skipTo(seq uint64) {
	b.next, b.lastID = seq, 0
	for s, m := range b.gap {
		if s < seq {
			delete(b.gap, s)
			b.gapBytes -= len(m.Body)
		}
	}
}

// holeEnd is the last seq of the hole at next, as far as the gap buffer tells;
// 0 if it is open.
func (b *box) holeEnd() uint64 {
	var first uint64
	for s := range b.gap {
		if first == 0 || s < first {
			first = s
		}
	}
	if first == 0 {
		return 0
	}
	return first - 1
}

// clearGap empties the gap buffer.
func (b *box) clearGap() { b.gap, b.gapBytes = nil, 0 }

// startAt begins a box that was not started: at its head, but before such
// messages up to the head as have arrived live.
func (b *box) startAt(head, headID uint64) {
	next, lastID := head+1, headID
	for b.gap[next-1].Seq != 0 {
		next, lastID = next-1, 0
	}
	b.skipTo(next)
	b.lastID = lastID
	b.started = true
	b.handed, b.handedID, b.handedEpoch = b.next-1, b.lastID, b.epoch
	b.view.skipTo(b.next)
}

// position is what is stored of the box.
func (b *box) position() Position {
	p := Position{
		Conversation: b.id,
		Epoch:        b.handedEpoch, Seq: b.handed, ID: b.handedID,
		HeadSeq:     b.head,
		PeerReadSeq: b.peerRead, PeerDeliveredSeq: b.peerDelivered,
	}
	if b.readWant > b.readKnown {
		p.OwedReadSeq = b.readWant
	}
	if b.deliveredWant > b.deliveredKnown {
		p.OwedDeliveredSeq = b.deliveredWant
	}
	return p
}

// putOut appends a message that is to be sent.
func (b *box) putOut(o *Outgoing) { b.out = append(b.out, o) }

// nextOut is the first message that is not in flight, nil if there is none or
// if it must not go yet. No more than pipeline may be in flight.
func (b *box) nextOut(pipeline int) *Outgoing {
	if b.held || b.flight >= pipeline || b.probe && b.flight > 0 {
		return nil
	}
	for b.firstUnsent < len(b.out) {
		o := b.out[b.firstUnsent]
		if o.inFlight {
			b.firstUnsent++
			continue
		}
		if o.entry.Kind == KindReaction && b.reacting(o.entry.Target) {
			return nil
		}
		return o
	}
	return nil
}

// reacting reports whether a reaction to target is in flight. The next one waits
// for its answer: a reaction that changes nothing leaves no trace, so the server
// would take it for a new one when it is sent again, and it would undo the next.
func (b *box) reacting(target uint64) bool {
	return b.flight > 0 && slices.ContainsFunc(b.out, func(o *Outgoing) bool {
		return o.inFlight && o.entry.Kind == KindReaction && o.entry.Target == target
	})
}

// dropOut removes a message that was answered for good.
func (b *box) dropOut(o *Outgoing) {
	for i := range b.out {
		if b.out[i] != o {
			continue
		}
		if i == 0 {
			b.out[0] = nil
			b.out = b.out[1:]
		} else {
			b.out = append(b.out[:i], b.out[i+1:]...)
		}
		if b.firstUnsent > i {
			b.firstUnsent--
		}
		break
	}
	if len(b.out) == 0 {
		b.out = nil
	}
}

// land takes a message out of flight.
func (b *box) land(o *Outgoing) {
	o.inFlight = false
	b.flight--
}

// endSession forgets what was asked on a connection that is no more.
func (b *box) endSession() {
	b.sessionPart = boxSession{}
	for _, o := range b.out {
		o.inFlight = false
	}
	b.firstUnsent, b.flight = 0, 0
	b.held, b.probe, b.refusals = false, false, 0
}
