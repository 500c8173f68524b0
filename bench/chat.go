package bench

import (
	"time"

	"github.com/godwit-im/godwit/bench/client"
	"github.com/godwit-im/godwit/protocol"
)

// chat is one direction of a conversation: what a person writes to another, or
// in a room. One
// SEND of it is under way at a time, which keeps the order even where the
// server refuses one; those that are due meanwhile wait.
type chat struct {
	from, to *person              // to is nil in a room
	room     *room                // nil = a direct conversation
	conv     *client.Conversation // as from has it
	draft    *client.Draft
	count    uint32          // of the first in due
	last     uint64          // in a room, the seq of the message before that; 0 = there is none, or it was recalled
	due      []time.Duration // when those that are not acked were meant to leave; the first may be under way
	underWay bool
	listed   bool // in from.ready
}

// senderWindow is how many SENDs a person has unanswered, fewer than the server
// allows for requests of all kinds.
const senderWindow = 256

// writesTo gives both people their conversation, and returns what p writes in
// it. Neither has connected yet.
func (p *person) writesTo(to *person) *chat {
	conv := p.know(to)
	to.know(p)
	c := &chat{
		from: p, to: to, conv: conv,
		draft: client.NewDraft(conv.ID, p.device.User, p.loop.town.runID, p.loop.town.size),
	}
	p.chats = append(p.chats, c)
	p.loop.chats = append(p.loop.chats, c)
	return c
}

func (p *person) know(peer *person) *client.Conversation {
	if c := p.inbox.Conversation(protocol.DirectID(p.device.User, peer.device.User)); c != nil {
		return c
	}
	return p.inbox.Add(peer.device.User, 1)
}

// write has a message leave as soon as it can, which was meant to at due.
func (c *chat) write(due time.Duration) {
	c.from.loop.written.Add(1)
	c.due = append(c.due, due)
	c.list()
	c.from.flush()
}

// list puts c in line if it has something to send and nothing under way.
func (c *chat) list() {
	if len(c.due) > 0 && !c.underWay && !c.listed {
		c.listed = true
		c.from.ready = append(c.from.ready, c)
	}
}

// flush sends what it may.
func (p *person) flush() {
	if !p.device.IsConnected() {
		return
	}
	n := 0
	for ; n < len(p.ready) && len(p.sends) < senderWindow; n++ {
		p.ready[n].send()
	}
	p.ready = p.ready[:copy(p.ready, p.ready[n:])]
}

func (c *chat) send() {
	c.listed, c.underWay = false, true
	d := c.from.device
	request := d.NextRequest()
	c.from.sends[request] = c
	// The stamp says when it was meant to leave, so that waiting for its turn
	// counts as latency.
	now := d.Now()
	d.Wrote(c.draft.Append(d.Buffer(), request, c.count, c.due[0]), now)
}

// answered takes the answer to the SEND under way.
func (c *chat) answered(f protocol.Frame) error {
	p := c.from
	if err := client.Expect(f, protocol.TypeSent); err != nil {
		wait, err := p.again(err)
		if err == nil {
			p.later(wait, func() {
				c.underWay = false
				c.list()
				p.flush()
			})
		}
		return err
	}
	var sent client.Sent
	if err := sent.Parse(f.Body); err != nil {
		return err
	}
	// One that was sent twice may have come by push or PULL in between, as a
	// message of the user's other connection.
	if !sent.Duplicate || sent.Seq >= c.conv.Next {
		if err := p.inbox.Sent(c.conv, sent.Seq); err != nil {
			return err
		}
	}
	due := c.due[0]
	c.due = c.due[:copy(c.due, c.due[1:])]
	c.count++
	if c.room != nil {
		c.last = sent.Seq
		c.room.group.learn(sent.Seq)
	}
	c.underWay = false
	c.list()
	p.loop.acked.Add(1)
	p.loop.on.acked(c, due)
	p.flush()
	return nil
}

// complete is nil when all that was written was acked and both have it.
func (c *chat) complete() error {
	theirs := c.to.inbox.Conversation(c.conv.ID)
	switch {
	case len(c.due) > 0:
		return broken("%s: message %d, and %d after it, were not acked", c.conv.ID, c.count, len(c.due)-1)
	case c.conv.Next != theirs.Next:
		return broken("%s: %s has it up to seq %d, %s up to %d", c.conv.ID, c.from.device.User, c.conv.Next-1, c.to.device.User, theirs.Next-1)
	}
	return nil
}
