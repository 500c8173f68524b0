package godwit

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/godwit-im/godwit/protocol/pb"
)

// Outgoing is a handle on a message that was sent. Its methods are safe for
// concurrent use. It needs no closing and may be dropped at any time.
type Outgoing struct {
	client *Client
	entry  Entry // without the Draft once it was answered

	answered chan struct{} // closed once ack or err is set

	// Client.mu guards the rest; ack and err may be read after answered.
	box      *box
	inStore  bool
	inFlight bool
	isSent   bool
	ack      Ack
	err      error
}

// ClientID is the message's client message id.
func (o *Outgoing) ClientID() string { return o.entry.ClientID }

// Conversation is where it was sent to.
func (o *Outgoing) Conversation() string { return o.entry.Conversation }

// Status is how far the message has come.
func (o *Outgoing) Status() Status {
	o.client.mu.Lock()
	defer o.client.mu.Unlock()
	switch {
	case o.err != nil:
		return StatusFailed
	case !o.isSent:
		return StatusQueued
	case o.ack.Seq == 0:
		return StatusSent
	case o.box.peerRead >= o.ack.Seq:
		return StatusRead
	case o.box.peerDelivered >= o.ack.Seq:
		return StatusDelivered
	}
	return StatusSent
}

// Sent waits until the server has stored the message and returns its place,
// or until it is certain that it won't: a *SendError. It also returns when
// ctx ends, and with ErrClosed when the client does; the message is then
// still in the outbox.
func (o *Outgoing) Sent(ctx context.Context) (Ack, error) {
	if err := await(ctx, o.client, o.answered); err != nil {
		return Ack{}, err
	}
	return o.ack, o.err
}

// Delivered waits until the message has reached a device of the peer. Its
// errors are those of Sent.
func (o *Outgoing) Delivered(ctx context.Context) error { return o.reached(ctx, false) }

// Read waits until the peer has read the message. Its errors are those of
// Sent.
func (o *Outgoing) Read(ctx context.Context) error { return o.reached(ctx, true) }

func (o *Outgoing) reached(ctx context.Context, read bool) error {
	ack, err := o.Sent(ctx)
	if err != nil {
		return err
	}
	w := &waiter{seq: ack.Seq, read: read, reached: make(chan struct{})}
	o.client.mu.Lock()
	w.check(o.box)
	o.client.mu.Unlock()
	err = await(ctx, o.client, w.reached)
	o.client.mu.Lock()
	delete(o.box.waiters, w)
	o.client.mu.Unlock()
	return err
}

// waiter waits for a peer's cursor to come to a seq.
type waiter struct {
	seq     uint64
	read    bool
	reached chan struct{}
}

// check ends the wait, or has it go on.
func (w *waiter) check(b *box) {
	cursor := b.peerDelivered
	if w.read {
		cursor = b.peerRead
	}
	if cursor >= w.seq {
		delete(b.waiters, w)
		close(w.reached)
		return
	}
	if b.waiters == nil {
		b.waiters = make(map[*waiter]struct{})
	}
	b.waiters[w] = struct{}{}
}

// queue accepts a message for the outbox. It is sent once the store has it.
func (c *Client) queue(conversation string, d Draft) (*Outgoing, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.closedErr(); err != nil {
		return nil, err
	}
	if err := d.check(conversation, c.maxBody); err != nil {
		return nil, fmt.Errorf("godwit: send: %w", err)
	}
	a := &c.account
	if a.outbox >= c.opts.OutboxLimit {
		return nil, ErrOutboxFull
	}
	a.lastOrder++
	o := c.outgoing(Entry{
		Order:        a.lastOrder,
		ClientID:     newClientID(),
		Conversation: conversation,
		Draft:        d.clone(),
		Time:         time.Now(),
	})
	a.dirty.put = append(a.dirty.put, o)
	a.saverBell.ring()
	return o, nil
}

// outgoing counts a message into the outbox.
func (c *Client) outgoing(e Entry) *Outgoing {
	c.account.outbox++
	return &Outgoing{
		client:   c,
		entry:    e,
		answered: make(chan struct{}),
		box:      c.account.box(e.Conversation),
	}
}

// stored makes a message ready to be sent.
func (a *account) stored(o *Outgoing) {
	o.inStore = true
	o.box.putOut(o)
	if a.session != nil {
		a.session.wantSend(o.box)
		a.sessionBell.ring()
	}
}

// acked ends a message's stay in the outbox: it has its place, where the
// application will meet it.
func (a *account) acked(o *Outgoing, ack Ack, duplicate bool, now time.Time) {
	m := o.entry.message(a.user, ack)
	m.expire(now.Add(a.skew)) // it may have been stored long ago, and the ack lost
	o.ack, o.isSent = ack, true
	a.settle(o)
	if duplicate && m.IsEvent() {
		// The seq may be another event's, after which this one would have
		// changed nothing. What is there will be pulled.
		a.existsHere(o.box, ack.Seq, now)
		return
	}
	a.offer(o.box, m, viaAck, now)
}

// message is the message that the server made of an entry.
func (e *Entry) message(sender string, ack Ack) Message {
	m := Message{
		Conversation: e.Conversation,
		Seq:          ack.Seq, ID: ack.ID, Time: ack.Time,
		Sender: sender, ClientID: e.ClientID,
		Kind: e.Kind, ContentType: e.ContentType, Body: e.Body,
		Reply: e.Reply, Mentions: e.Mentions, MentionAll: e.MentionAll, Flags: e.Flags,
		Target: e.Target, Remove: e.Remove,
	}
	if e.TTL > 0 {
		m.Expires = ack.Time.Add(e.TTL.Truncate(time.Millisecond))
	}
	m.decode()
	return m
}

// send is the entry's SEND.
func (e *Entry) send() *pb.Send {
	return &pb.Send{
		Conversation: e.Conversation, ClientId: e.ClientID,
		Kind: e.Kind, ContentType: e.ContentType, Body: e.Body,
		ReplySeq: e.Reply, Mentions: e.Mentions, MentionAll: e.MentionAll,
		TtlMs: e.TTL.Milliseconds(), Flags: uint32(e.Flags),
		Target: e.Target, Remove: e.Remove,
	}
}

// draftFromWire is the opposite of it.
func draftFromWire(m *pb.Send) Draft {
	return Draft{
		Kind: m.Kind, ContentType: m.ContentType, Body: m.Body,
		Reply: m.ReplySeq, Mentions: m.Mentions, MentionAll: m.MentionAll,
		TTL: time.Duration(m.TtlMs) * time.Millisecond, Flags: Flags(m.Flags),
		Target: m.Target, Remove: m.Remove,
	}
}

// refused ends a message's stay in the outbox for good.
func (a *account) refused(o *Outgoing, err error) {
	o.err = &SendError{Conversation: o.entry.Conversation, ClientID: o.entry.ClientID, Err: err}
	a.settle(o)
}

// waiting returns the messages in the outbox, in the order of their Sends.
func (a *account) waiting() []*Outgoing {
	waiting := slices.Concat(a.storing, a.dirty.put)
	for _, b := range a.boxes {
		waiting = append(waiting, b.out...)
	}
	slices.SortFunc(waiting, func(x, y *Outgoing) int { return cmp.Compare(x.entry.Order, y.entry.Order) })
	return waiting
}

func (a *account) settle(o *Outgoing) {
	o.entry.Draft = Draft{}
	o.box.dropOut(o)
	a.outbox--
	a.removeFromStore(o.entry.Order)
	close(o.answered)
}
