package bench

import (
	"fmt"
	"sync/atomic"

	"github.com/godwit-im/godwit/bench/client"
	"github.com/godwit-im/godwit/protocol"
	"github.com/godwit-im/godwit/protocol/pb"
)

// group is a group of a town.
type group struct {
	id    string
	users []string // the owner first
	// head is the highest seq that anybody knows of: of a message that was acked
	// or, at first, of the notice that made the last user a member.
	head atomic.Uint64
}

// groupName is the client id of the nth group of a run: the id of the group is
// known before it is made.
func groupName(run string, n int) string { return fmt.Sprintf("%s-%d", run, n) }

func newGroup(run string, n int, users []string) *group {
	return &group{id: protocol.GroupID(users[0], groupName(run, n)), users: users}
}

// room is a loop's part of a group, and belongs to the loop.
type room struct {
	group   *group
	members []*person
	chats   []*chat // what each of them writes
	// recalled are the seqs of messages whose recall was asked for.
	recalled map[uint64]bool
}

// newRoom gives members, who have not connected, the group.
func (l *townLoop) newRoom(g *group, members []*person) *room {
	r := &room{group: g, members: members, recalled: map[uint64]bool{}}
	head := g.head.Load()
	log := client.NewLog(g.id, head+1, l.town.size)
	for _, p := range members {
		c := &chat{
			from: p, room: r, conv: p.inbox.AddGroup(log, head+1),
			draft: client.NewDraft(g.id, p.device.User, l.town.runID, l.town.size),
		}
		p.chats = append(p.chats, c)
		r.chats = append(r.chats, c)
	}
	l.rooms = append(l.rooms, r)
	return r
}

// learn is told of a seq that somebody was acked.
func (g *group) learn(seq uint64) {
	for {
		head := g.head.Load()
		if seq <= head || g.head.CompareAndSwap(head, seq) {
			return
		}
	}
}

// complete is nil when all that was written by the loop's members was acked, and
// they have all that anybody was acked.
func (r *room) complete() error {
	head := r.group.head.Load()
	for _, c := range r.chats {
		switch {
		case len(c.due) > 0:
			return broken("%s: message %d of %s, and %d after it, were not acked", r.group.id, c.count, c.from.device.User, len(c.due)-1)
		case c.conv.Next <= head:
			return broken("%s: %s has it up to seq %d of %d", r.group.id, c.from.device.User, c.conv.Next-1, head)
		}
	}
	return nil
}

// event has p change, or react to, the last message that was acked in c. n is a
// number that no other event of p has. done is told whether it came too late: the
// message was recalled meanwhile.
func (c *chat) event(p *person, kind pb.Kind, n int, body []byte, done func(late bool)) {
	conv := p.inbox.Conversation(c.conv.ID)
	target := c.last
	if kind == pb.Kind_KIND_RECALL {
		c.last = 0
		c.room.recalled[target] = true
	}
	send := &pb.Send{
		Conversation: conv.ID, ClientId: fmt.Sprintf("%s-e%d", p.loop.town.runID, n), Kind: kind, Target: target, Body: body,
	}
	p.ask(protocol.TypeSend, send, func(f protocol.Frame) error {
		if err := client.Expect(f, protocol.TypeSent); err != nil {
			switch code := protocol.CodeOf(err); {
			case code == pb.Code_CODE_NOT_FOUND && c.room.recalled[target]:
				done(true)
				return nil
			case code.Retryable(): // nobody minds
				p.loop.repeated.Add(1)
				return nil
			}
			return fmt.Errorf("%s: %s of seq %d: %w", conv.ID, kind, target, err)
		}
		var sent client.Sent
		if err := sent.Parse(f.Body); err != nil {
			return err
		}
		done(false)
		if sent.Duplicate { // p has reacted like that before: nothing was added
			return nil
		}
		c.room.group.learn(sent.Seq)
		return p.inbox.Sent(conv, sent.Seq)
	})
}
