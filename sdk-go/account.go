package godwit

import (
	"log/slog"
	"time"

	"github.com/godwit-im/godwit/protocol"
	"github.com/godwit-im/godwit/protocol/pb"
)

// The bounds of what has arrived and was not handed to the application yet,
// over all conversations. Past them pushes are forgotten, and nothing is
// pulled until half of it is gone: a slow handler costs its own time, not
// memory, and never stops acks and heartbeats.
const (
	maxBacklogMessages = 2048
	maxBacklogBytes    = 4 << 20
)

// account is what a client knows of its user's conversations, across
// connections. It does no I/O: the goroutines of Client and the session bring
// what happened and take what is to be done. Client.mu guards it.
type account struct {
	log         *slog.Logger
	startAtHead bool
	pipeline    int

	state  State
	user   string
	epoch  uint64 // of the server's store, from the last CONNECTED
	cursor Cursor
	synced bool // the first SYNC has ended, in this process or an earlier one
	boxes  map[string]*box

	// For the handler's goroutine.
	events        []event
	states        int // State events among them
	backlog       int // messages among them
	backlogBytes  int
	handlerBell   bell
	backlogIsHigh bool // half of the backlog must go before there is a pull

	// page is how many messages a PULL asks for. It shrinks when a connection
	// ends with one unanswered, for on a network where connections don't live
	// long a page must fit into what they bring, and grows with every answer.
	page int

	// For the saver's goroutine; see saver.go.
	dirty     changes
	storing   []*Outgoing // on their way into the store
	unsaved   int         // messages handed that the store does not know of
	saverBell bell

	// skew is the server's clock minus this one, from the last CONNECTED.
	skew     time.Duration
	expiries expiryHeap

	subscription subscription
	signals      int // for the handler, among events
	// tellViews is whether the application wants to be told of changes of
	// conversations at all.
	tellViews bool

	outbox    int    // messages that wait for an ack or for the store
	lastOrder uint64 // of the outbox
	calls     []*call

	// session is nil while there is no connection. sessionBell wakes the
	// goroutine that writes for it.
	session     *session
	sessionBell bell
}

// bell wakes the one goroutine that waits on it, now or when it next waits.
type bell chan struct{}

func newBell() bell { return make(bell, 1) }

func (b bell) ring() {
	select {
	case b <- struct{}{}:
	default:
	}
}

func (a *account) init(o *Options, snap *Snapshot) {
	*a = account{
		log:         o.Logger,
		startAtHead: o.StartAtHead,
		pipeline:    o.Pipeline,
		page:        pullLimit,
		user:        snap.User,
		epoch:       snap.Cursor.Epoch,
		cursor:      snap.Cursor,
		synced:      len(snap.Cursor.Sync) > 0,
		boxes:       make(map[string]*box, len(snap.Positions)),
		handlerBell: newBell(),
		saverBell:   newBell(),
		sessionBell: newBell(),
	}
	h := &o.Handler
	a.tellViews = h.OnConversation != nil || h.OnGroupChanged != nil || h.OnContact != nil
	for _, p := range snap.Positions {
		b := a.box(p.Conversation)
		b.started = true
		b.next, b.lastID, b.epoch = p.Seq+1, p.ID, p.Epoch
		b.handed, b.handedID, b.handedEpoch = p.Seq, p.ID, p.Epoch
		b.head = p.HeadSeq
		b.readWant, b.deliveredWant = p.OwedReadSeq, p.OwedDeliveredSeq
		b.peerRead, b.peerDelivered = p.PeerReadSeq, p.PeerDeliveredSeq
	}
	states := make(map[string]bool, len(snap.States))
	for _, r := range snap.States {
		b := a.box(r.Conversation)
		if err := a.restore(b, r.Data); err != nil {
			a.log.Warn("state of a conversation is not read", "conv", r.Conversation, "err", err)
			continue
		}
		// A client of an older version may have gone on from it.
		states[r.Conversation] = b.view.applied >= b.handed
	}
	for _, p := range snap.Positions {
		if !states[p.Conversation] {
			// SYNC is to report all, not what changed.
			a.cursor = Cursor{Epoch: snap.Cursor.Epoch}
			a.boxes[p.Conversation].view.skipTo(p.Seq + 1)
		}
	}
}

// box returns the box of a conversation, which begins to exist with this.
func (a *account) box(conversation string) *box {
	b := a.boxes[conversation]
	if b == nil {
		b = &box{id: conversation, next: 1, epoch: a.epoch, handedEpoch: a.epoch}
		b.peer, _ = protocol.Peer(conversation, a.user)
		b.started = a.synced || !a.startAtHead
		a.boxes[conversation] = b
	}
	return b
}

// connected begins a session.
func (a *account) connected(s *session, user string, epoch uint64) error {
	switch a.user {
	case user:
	case "":
		a.user = user
		a.dirty.user = true
		a.saverBell.ring()
		for _, b := range a.boxes {
			b.peer, _ = protocol.Peer(b.id, user)
		}
	default:
		return ErrOtherUser
	}
	if epoch != a.epoch {
		if len(a.cursor.Sync) > 0 {
			a.log.Info("the server's store has another epoch; what was received is compared with it")
		}
		a.epoch = epoch
	}
	a.session = s
	a.skew = s.renew.skew
	a.handlerBell.ring() // it may be later by the server's clock
	a.resubscribe()
	s.startSync(true)
	for _, b := range a.boxes {
		if b.epoch != epoch {
			a.doubt(b)
		}
		s.wantPull(b)
		s.wantMark(b, s.began)
		s.wantSend(b)
		if b.view.infoWanted || b.view.unsure && !b.owesMark() {
			a.wantInfo(b)
		}
	}
	return nil
}

// disconnected ends the session, if there is one.
func (a *account) disconnected() {
	s := a.session
	if s == nil {
		return
	}
	a.session = nil
	if s.pulling > 0 {
		a.page = max(1, a.page/2)
	}
	a.subscription.current = false
	for _, b := range a.boxes {
		for _, c := range b.sessionPart.informed {
			c.finish(c.answer, nil) // SYNC will tell the rest
		}
		b.endSession()
	}
	a.callsAgain(s)
}

// via is how a message came to be known.
type via int

const (
	viaPush via = iota
	viaAck
	viaPull
)

// offer takes a message that arrived, to be queued for the handler when its
// turn comes.
func (a *account) offer(b *box, m Message, how via, now time.Time) {
	if until := b.until(); until != 0 && m.Seq > until || !b.reads() {
		return // the user does not read it, as far as is known: else STATE will tell
	}
	b.head = max(b.head, m.Seq)
	switch {
	case a.inDoubt(b):
		return // its past is compared first; then it will be pulled
	case m.Seq < b.next && b.started:
		return
	case how != viaPull && a.backlogFull():
		a.backlogIsHigh = true
	case m.Seq > b.next || !b.started:
		a.regap(b, func() { b.stash(m) })
	default:
		a.enqueueMessage(b, m)
		a.drainGap(b)
	}
	if a.session == nil || !b.started || !b.behind() {
		return
	}
	if how == viaPush || how == viaAck {
		a.session.wantPullLater(b, now)
	}
}

// exists notes that there is a message at seq.
func (a *account) exists(b *box, seq uint64) {
	if until := b.until(); b.reads() && (until == 0 || seq <= until) {
		b.head = max(b.head, seq)
	}
}

// existsHere is exists of a message that is about to come by itself, or else is
// to be pulled.
func (a *account) existsHere(b *box, seq uint64, now time.Time) {
	a.exists(b, seq)
	if a.session != nil && !a.inDoubt(b) && b.started && b.behind() {
		a.session.wantPullLater(b, now)
	}
}

// regap changes the box's gap buffer, which counts in the backlog.
func (a *account) regap(b *box, change func()) {
	n, size := len(b.gap), b.gapBytes
	change()
	a.backlog += len(b.gap) - n
	a.backlogBytes += b.gapBytes - size
}

// drainGap queues what the gap buffer holds at next.
func (a *account) drainGap(b *box) {
	for {
		var m Message
		var ok bool
		if a.regap(b, func() { m, ok = b.take() }); !ok {
			break
		}
		a.enqueueMessage(b, m)
	}
	a.progressed(b)
}

// progressed notes that next has moved.
func (a *account) progressed(b *box) {
	if p := &b.sessionPart; p.catching && b.next > p.target && !a.inDoubt(b) {
		p.catching = false
		a.session.behind--
		a.session.checkOnline()
	}
}

// skip passes over messages that retention removed.
func (a *account) skip(b *box, minSeq uint64) {
	if minSeq <= b.next || !b.started || a.inDoubt(b) {
		return
	}
	// A group that nothing was seen of yet begins where the user may read it.
	a.enqueue(event{what: gapEvent, box: b, from: b.next, to: minSeq - 1, known: b.next == 1 && isGroup(b.id)})
	a.skipTo(b, minSeq)
}

// skipTo moves the box on to seq.
func (a *account) skipTo(b *box, seq uint64) {
	a.regap(b, func() { b.skipTo(seq) })
	b.view.skipTo(seq)
	b.head = max(b.head, seq-1)
	a.drainGap(b)
}

// reset begins a conversation anew, since its past on the server is not the
// one that was handed on.
func (a *account) reset(b *box, head, minSeq uint64) {
	a.log.Warn("the server lost part of a conversation; it begins again", "conv", b.id)
	a.regap(b, b.clearGap)
	b.epoch = a.epoch
	b.next, b.lastID = max(minSeq, 1), 0
	b.head = head
	b.peerRead, b.peerDelivered = 0, 0
	b.readKnown, b.deliveredKnown = 0, 0
	b.readWant, b.deliveredWant = 0, 0
	b.unread, b.view = 0, view{queued: b.view.queued}
	a.changed(b)
	a.enqueue(event{what: resetEvent, box: b, from: b.next})
	a.progressed(b)
	if a.session != nil {
		a.session.wantPull(b)
	}
}

// doubt notes that the server's store is not the one that the box was learned
// from, or that it has lost something.
func (a *account) doubt(b *box) {
	a.regap(b, b.clearGap)
	b.head = 0 // to be learned from SYNC
	b.readKnown, b.deliveredKnown = 0, 0
	if b.next > 1 {
		b.epoch = ^a.epoch // no epoch in particular, but not this one
		b.handedEpoch = b.epoch
		return
	}
	b.epoch = a.epoch // it has no past to compare
	if b.handed == 0 {
		b.handedEpoch = a.epoch
	}
}

// inDoubt reports whether the box's past must be compared.
func (a *account) inDoubt(b *box) bool { return b.epoch != a.epoch }

// verified notes that the box's past is the server's too.
func (a *account) verified(b *box) {
	b.epoch, b.handedEpoch = a.epoch, a.epoch
	a.touch(b)
	a.progressed(b)
	a.session.wantMark(b, a.session.began)
}

// raisePeer moves the peer's cursors forward.
func (a *account) raisePeer(b *box, read, delivered uint64) {
	delivered = max(delivered, read)
	if read <= b.peerRead && delivered <= b.peerDelivered {
		return
	}
	b.peerRead = max(b.peerRead, read)
	b.peerDelivered = max(b.peerDelivered, delivered)
	for w := range b.waiters {
		w.check(b)
	}
	if !b.peerReceipt {
		b.peerReceipt = true
		a.enqueue(event{what: peerReceiptEvent, box: b})
	}
	a.touch(b)
}

// memberReceipt takes the cursors of a member of a small group.
func (a *account) memberReceipt(b *box, m *pb.Receipt) {
	if !isGroup(b.id) {
		return
	}
	if len(b.memberReceipts) == 0 {
		b.memberReceipts = make(map[string]Receipt)
		a.enqueue(event{what: memberReceiptEvent, box: b})
	}
	r := b.memberReceipts[m.User]
	b.memberReceipts[m.User] = Receipt{
		Conversation: b.id, User: m.User,
		ReadSeq: max(r.ReadSeq, m.ReadSeq), DeliveredSeq: max(r.DeliveredSeq, m.DeliveredSeq),
	}
}

// raiseOwn moves the user's own cursors, as the server knows them, forward.
func (a *account) raiseOwn(b *box, read, delivered uint64) {
	moved := read > b.readKnown
	owed := b.owesMark()
	b.readKnown = max(b.readKnown, read)
	b.deliveredKnown = max(b.deliveredKnown, delivered, read)
	if moved && !b.ownReceipt {
		b.ownReceipt = true
		a.enqueue(event{what: ownReceiptEvent, box: b})
	}
	if owed {
		a.touch(b)
	}
}

// wantRead notes that the user has read everything up to seq.
func (a *account) wantRead(b *box, seq uint64, now time.Time) {
	marked := b.view.membership.GetSettings().GetMarkedUnread()
	if !marked && seq <= b.isRead() {
		return
	}
	if marked {
		b.unmark = true
		b.unmarkUnread()
	}
	if old := b.isRead(); seq > old {
		b.readWant = seq
		a.readUpTo(b, old)
	}
	a.changed(b)
	if a.session != nil {
		a.session.wantMark(b, now.Add(markDelay))
	}
}

// handed notes that the application has been given m.
func (a *account) handed(b *box, m *Message, now time.Time) {
	a.unqueued(m)
	b.handed, b.handedID = m.Seq, m.ID
	a.touch(b)
	a.countHanded()
	if b.peer == "" || m.Sender == a.user || m.Seq <= b.deliveredWant || b.handedEpoch != b.epoch {
		// Only in direct conversations does anybody look at the delivered cursor: in
		// a group it would cost a MARK for each message and member. The last: it was
		// queued before a reset that is still to come.
		return
	}
	b.deliveredWant = m.Seq
	if a.session != nil {
		a.session.wantMark(b, now.Add(markDelay))
	}
}

// backlogFull reports whether pushes must be forgotten.
func (a *account) backlogFull() bool {
	return a.backlog >= maxBacklogMessages || a.backlogBytes >= maxBacklogBytes
}

// backlogRoom reports whether there may be pulls.
func (a *account) backlogRoom() bool {
	if a.backlogFull() {
		a.backlogIsHigh = true
	} else if a.backlogIsHigh && a.backlog <= maxBacklogMessages/2 && a.backlogBytes <= maxBacklogBytes/2 {
		a.backlogIsHigh = false
	}
	return !a.backlogIsHigh
}
