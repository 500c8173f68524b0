package godwit

import (
	"maps"
	"slices"
	"time"
)

// event is something to tell the application.
type event struct {
	what     eventKind
	box      *box    // nil for a stateEvent
	message  Message // messageEvent
	state    State   // stateEvent
	from, to uint64  // gapEvent; resetEvent: from is where the box begins again
	known    bool    // gapEvent: the application is not to be told
	change   *MessageChange
	user     string // presenceEvent
	signal   *Signal
}

type eventKind int

const (
	messageEvent eventKind = iota
	peerReceiptEvent
	ownReceiptEvent
	memberReceiptEvent
	stateEvent
	gapEvent
	resetEvent
	changeEvent   // of a message, but for those that are messageEvents
	viewEvent     // the conversation changed, and with it perhaps the group and the contact
	presenceEvent // of a user
	signalEvent
)

// maxStateEvents is how many State events may wait for a slow handler; past
// it the newest replaces the one before.
const maxStateEvents = 16

// enqueue adds an event for the handler. Events other than messages are
// bounded by nature: a receipt is queued once for each box and carries the
// cursors of when it is handed, and so are views and presences; a gap or a reset
// comes with a pull, a change with a request of the user or with the end of a
// message that is watched. Signals have a bound.
func (a *account) enqueue(e event) {
	a.events = append(a.events, e)
	a.handlerBell.ring()
}

// enqueueMessage adds the message at the box's next for the handler.
func (a *account) enqueueMessage(b *box, m Message) {
	b.advance(&m)
	a.see(b, &m)
	if _, deleted := b.view.deleted[m.Seq]; deleted {
		delete(b.view.deleted, m.Seq)
		// An event can't be deleted: whoever asks for it could not know that it
		// is one.
		if !m.IsEvent() {
			c := MessageChange{Conversation: b.id, Seq: m.Seq, Type: ChangeDeleted}
			m.Apply(c)
			a.applyToPreview(b, c)
		}
	}
	a.backlog++
	a.backlogBytes += len(m.Body)
	a.enqueue(event{what: messageEvent, box: b, message: m})
}

// setState changes the state and tells the handler.
func (a *account) setState(s State) {
	a.state = s
	if a.states >= maxStateEvents {
		for i := len(a.events) - 1; i >= 0; i-- {
			if a.events[i].what == stateEvent {
				a.events = append(a.events[:i], a.events[i+1:]...)
				a.states--
				break
			}
		}
	}
	a.states++
	a.enqueue(event{what: stateEvent, state: s})
}

// unqueued notes that the handler has gone through a message.
func (a *account) unqueued(m *Message) {
	a.backlog--
	a.backlogBytes -= len(m.Body)
	if a.backlogIsHigh && a.backlogRoom() {
		a.sessionBell.ring()
	}
}

// handle runs the application's callbacks until the client closes. When it
// ends by itself instead, what is queued is handed first.
func (c *Client) handle() {
	timer := time.NewTimer(time.Hour) // to the end of the next message that expires
	defer timer.Stop()
	var batch []event
	for {
		c.mu.Lock()
		clear(batch)
		batch, c.account.events = c.account.events, batch[:0]
		c.account.states = 0
		var next time.Time
		if len(batch) == 0 {
			// What expires is queued behind all that was there before.
			next = c.account.expire(time.Now())
		}
		ended := c.final != nil
		c.mu.Unlock()

		for i := range batch {
			select {
			case <-c.closing:
				return
			default:
			}
			c.hand(&batch[i])
		}
		if len(batch) > 0 {
			continue
		}
		if ended {
			return
		}
		wait := time.Hour
		if !next.IsZero() {
			wait = max(time.Until(next), 0)
		}
		timer.Reset(wait)
		select {
		case <-c.account.handlerBell:
		case <-timer.C:
		case <-c.closing:
			return
		}
	}
}

// hand calls the callback for e and notes that it did.
func (c *Client) hand(e *event) {
	h, b := &c.opts.Handler, e.box
	switch e.what {
	case messageEvent:
		if e.message.IsEvent() {
			if h.OnMessageChanged != nil {
				h.OnMessageChanged(e.message.Change())
			}
		} else if h.OnMessage != nil {
			h.OnMessage(e.message)
		}
		c.mu.Lock()
		c.account.handed(b, &e.message, time.Now())
		ahead := c.account.unsaved >= maxUnsaved
		c.mu.Unlock()
		if ahead {
			c.awaitSave()
		}
	case peerReceiptEvent, ownReceiptEvent:
		c.mu.Lock()
		r := Receipt{Conversation: b.id, User: b.peer, ReadSeq: b.peerRead, DeliveredSeq: b.peerDelivered}
		if e.what == ownReceiptEvent {
			b.ownReceipt = false
			r = Receipt{
				Conversation: b.id, User: c.account.user,
				ReadSeq: b.readKnown, DeliveredSeq: b.deliveredKnown, Unread: b.unread,
			}
		} else {
			b.peerReceipt = false
		}
		c.mu.Unlock()
		if h.OnReceipt != nil {
			h.OnReceipt(r)
		}
	case memberReceiptEvent:
		c.mu.Lock()
		receipts := b.memberReceipts
		b.memberReceipts = nil
		c.mu.Unlock()
		for _, user := range slices.Sorted(maps.Keys(receipts)) {
			if h.OnReceipt != nil {
				h.OnReceipt(receipts[user])
			}
		}
	case stateEvent:
		if h.OnState != nil {
			h.OnState(e.state)
		}
	case changeEvent:
		if h.OnMessageChanged != nil {
			h.OnMessageChanged(*e.change)
		}
		c.mu.Lock()
		c.account.told(b, e.change)
		c.mu.Unlock()
	case viewEvent:
		c.handView(b)
	case presenceEvent:
		c.mu.Lock()
		delete(c.account.subscription.queued, e.user)
		c.mu.Unlock()
		if p, known := c.Presence(e.user); known && h.OnPresence != nil {
			h.OnPresence(p)
		}
	case signalEvent:
		c.mu.Lock()
		c.account.signals--
		c.mu.Unlock()
		if h.OnSignal != nil {
			h.OnSignal(*e.signal)
		}
	case gapEvent:
		if h.OnGap != nil && !e.known {
			h.OnGap(b.id, e.from, e.to)
		}
		c.mu.Lock()
		b.handed, b.handedID = e.to, 0
		c.account.touch(b)
		c.mu.Unlock()
	case resetEvent:
		if h.OnReset != nil {
			h.OnReset(b.id)
		}
		c.mu.Lock()
		b.handed, b.handedID, b.handedEpoch = e.from-1, 0, b.epoch
		c.account.touch(b)
		c.mu.Unlock()
	}
}

// handView tells what changed of a conversation since it was told last.
func (c *Client) handView(b *box) {
	h := &c.opts.Handler
	c.mu.Lock()
	v := &b.view
	newGroup, newContact := v.newGroup, v.newContact
	v.queued, v.newGroup, v.newContact = false, false, false
	conversation := b.conversation()
	contact, _ := b.contact()
	c.mu.Unlock()
	if newGroup && conversation.Group != nil && h.OnGroupChanged != nil {
		h.OnGroupChanged(*conversation.Group)
	}
	if newContact && contact.User != "" && h.OnContact != nil {
		h.OnContact(contact)
	}
	if h.OnConversation != nil {
		h.OnConversation(conversation)
	}
}
