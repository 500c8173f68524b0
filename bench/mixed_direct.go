package bench

import (
	"slices"
	"time"

	"github.com/godwit-im/godwit/bench/client"
	"github.com/godwit-im/godwit/protocol"
	"github.com/godwit-im/godwit/protocol/pb"
)

// mark has p have read what it has of a conversation.
func (part *mixedLoop) mark(p *person, c *client.Conversation, due time.Duration) {
	read := c.Next - 1
	p.ask(protocol.TypeMark, &pb.Mark{Conversation: c.ID, ReadSeq: read}, func(f protocol.Frame) error {
		if err := client.Expect(f, protocol.TypeMarked); err != nil {
			wait, err := p.again(err)
			if err == nil {
				p.later(wait, func() { part.mark(p, c, due) })
			}
			return err
		}
		var marked pb.Marked
		if err := protocol.Decode(f, &marked); err != nil {
			return err
		}
		if marked.ReadSeq < read || marked.DeliveredSeq < marked.ReadSeq {
			return broken("%s: %s marked seq %d as read, and has read up to %d of %d delivered",
				c.ID, p.device.User, read, marked.ReadSeq, marked.DeliveredSeq)
		}
		part.measure(mark, due)
		return nil
	})
}

// look has p ask which of its friends are online.
func (part *mixedLoop) look(p *person, due time.Duration) {
	if !p.device.IsConnected() {
		return
	}
	var friends []string
	var here []*person // connected when it asks
	for _, c := range p.chats {
		if c.to == nil {
			continue
		}
		friends = append(friends, c.to.device.User)
		if c.to.device.IsConnected() && c.conv.Next > 1 { // those without a conversation are nobody's business
			here = append(here, c.to)
		}
	}
	since := make([]time.Duration, len(here))
	for i, friend := range here {
		since[i] = friend.connected
	}
	p.ask(protocol.TypeWho, &pb.Who{Users: friends}, func(f protocol.Frame) error {
		if err := client.Expect(f, protocol.TypePresent); err != nil {
			wait, err := p.again(err)
			if err == nil {
				p.later(wait, func() { part.look(p, due) })
			}
			return err
		}
		var present pb.Present
		if err := protocol.Decode(f, &present); err != nil {
			return err
		}
		for _, user := range present.Online {
			if !slices.Contains(friends, user) {
				return broken("%s: the server says that %s is online, about whom it was not asked", p.device.User, user)
			}
		}
		for i, friend := range here {
			// One that has lost the connection since may be gone for the server.
			if friend.connected == since[i] && !slices.Contains(present.Online, friend.device.User) {
				return broken("%s: the server does not say that %s is online", p.device.User, friend.device.User)
			}
		}
		part.measure(look, due)
		return nil
	})
}
