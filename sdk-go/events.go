package godwit

import "time"

// event is something to tell the application.
type event struct {
	what     eventKind
	box      *box    // nil for a stateEvent
	message  Message // messageEvent
	state    State   // stateEvent
	from, to uint64  // gapEvent; resetEvent: from is where the box begins again
}

type eventKind int

const (
	messageEvent eventKind = iota
	peerReceiptEvent
	ownReceiptEvent
	stateEvent
	gapEvent
	resetEvent
)

// maxStateEvents is how many State events may wait for a slow handler; past
// it the newest replaces the one before.
const maxStateEvents = 16

// enqueue adds an event for the handler. Events other than messages are
// bounded by nature: a receipt is queued once for each box and carries the
// cursors of when it is handed, a gap or a reset comes with a pull.
func (a *account) enqueue(e event) {
	a.events = append(a.events, e)
	a.handlerBell.ring()
}

// enqueueMessage adds the message at the box's next for the handler.
func (a *account) enqueueMessage(b *box, m Message) {
	b.advance(&m)
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
	var batch []event
	for {
		c.mu.Lock()
		clear(batch)
		batch, c.account.events = c.account.events, batch[:0]
		c.account.states = 0
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
		select {
		case <-c.account.handlerBell:
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
	case stateEvent:
		if h.OnState != nil {
			h.OnState(e.state)
		}
	case gapEvent:
		if h.OnGap != nil {
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
