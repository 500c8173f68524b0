package bench

import (
	"fmt"
	"slices"
	"time"

	"github.com/godwit-im/godwit/bench/client"
	"github.com/godwit-im/godwit/protocol"
	"github.com/godwit-im/godwit/protocol/pb"
)

// planGroups names the groups and their members. Those of a small one are
// neighbours on a loop; the large one has everybody up to its size.
func (m *mixed) planGroups() {
	cfg := &m.cfg
	people := func(first, n int) (users []string) {
		for i := range n {
			users = append(users, userName(first+i))
		}
		return users
	}
	m.small = make([][]*group, cfg.Loops)
	for i := range cfg.Loops {
		first, n := split(cfg.People, cfg.Loops, i)
		_, groups := split(cfg.Groups, cfg.Loops, i)
		for k := range groups {
			size := min(cfg.GroupSize, n)
			at := 0
			if n > size {
				at = k * size % (n - size + 1)
			}
			m.small[i] = append(m.small[i], newGroup(m.town.runID, len(m.all()), people(first+at, size)))
		}
	}
	if cfg.Large > 0 {
		m.large = newGroup(m.town.runID, len(m.all()), people(0, cfg.Large))
	}
}

// all are the groups that there are.
func (m *mixed) all() []*group {
	groups := slices.Concat(m.small...)
	if m.large != nil {
		groups = append(groups, m.large)
	}
	return groups
}

// makeGroups makes the groups, one after the other, and gives them to the people.
func (m *mixed) makeGroups() error {
	for n, g := range m.all() {
		f := &founder{load: m.town.load, gone: newCountdown(1), users: g.users[1:], create: &pb.CreateGroup{
			ClientId: groupName(m.town.runID, n), Kind: pb.GroupKind_GROUP_KIND_GROUP, Name: fmt.Sprintf("group %d", n),
		}}
		if err := f.run(g.users[0]); err != nil {
			return err
		}
		if f.group != g.id {
			return broken("a group was made as %s and has the id %s", g.id, f.group)
		}
		g.head.Store(f.head)
	}
	m.town.each(func(l *townLoop) {
		part := m.parts[l.number]
		for _, g := range m.small[l.number] {
			part.small = append(part.small, l.newRoom(g, part.named(g.users)))
		}
		if m.large != nil {
			part.large = l.newRoom(m.large, part.named(m.large.users))
		}
	})
	return nil
}

// named are those of the loop's people who have one of these names.
func (part *mixedLoop) named(users []string) (people []*person) {
	members := make(map[string]bool, len(users))
	for _, user := range users {
		members[user] = true
	}
	for _, p := range part.active {
		if members[p.device.User] {
			people = append(people, p)
		}
	}
	return people
}

// anyOf is one of several, nobody's choice.
func anyOf[T any](part *mixedLoop, of []T) T { return of[part.loop.random.IntN(len(of))] }

// beginGroups begins what people do in groups.
func (part *mixedLoop) beginGroups(add func(perSecond float64, f func(due time.Duration))) {
	cfg := &part.run.cfg
	if len(part.small) > 0 {
		share := float64(len(part.small)) / float64(cfg.Groups)
		add(cfg.GroupMessages*share, func(due time.Duration) { part.write(anyOf(part, part.small).chats, due) })
		add(cfg.Events*share, func(due time.Duration) { part.change(anyOf(part, part.small), due) })
	}
	if part.large != nil && len(part.large.chats) > 0 {
		share := float64(len(part.large.members)) / float64(cfg.Large)
		add(cfg.LargeMessages*share, func(due time.Duration) { part.write(part.large.chats, due) })
	}
	share := float64(len(part.active)) / float64(cfg.People)
	add(cfg.Typing*share, func(due time.Duration) { part.typing(anyOf(part, part.active), due) })
	add(cfg.Settings*share, func(due time.Duration) { part.set(anyOf(part, part.active), due) })
}

// reactions are those that people have.
var reactions = []string{"👍", "❤️", "😂"}

// change has somebody edit or recall their last message in a room, or react to
// somebody's. Of ten events six are reactions, three edits and one a recall.
func (part *mixedLoop) change(r *room, due time.Duration) {
	var c *chat
	for range 4 { // not everybody has written
		if c = anyOf(part, r.chats); c.last != 0 && len(c.due) == 0 {
			break
		}
	}
	if c.last == 0 || len(c.due) > 0 {
		return
	}
	done := func(late bool) {
		if late {
			part.run.late.Add(1)
		}
		part.measure(event, due)
	}
	part.events++
	n := part.events*part.run.cfg.Loops + part.loop.number
	p, kind, body := c.from, pb.Kind_KIND_REACTION, []byte(anyOf(part, reactions))
	switch part.loop.random.IntN(10) {
	case 0:
		kind, body = pb.Kind_KIND_RECALL, nil
	case 1, 2, 3:
		kind, body = pb.Kind_KIND_EDIT, client.EditedBody(p.device.User, c.count-1, due, part.loop.town.size)
	default:
		p = anyOf(part, r.members)
	}
	if p.isBack() {
		c.event(p, kind, n, body, done)
	}
}

// typing has p tell a friend or a small group that it is typing.
func (part *mixedLoop) typing(p *person, due time.Duration) {
	c := anyOf(part, p.chats)
	if !p.device.IsConnected() || c.room != nil && c.room == part.large {
		return
	}
	p.ask(protocol.TypeSignal, &pb.Signal{Conversation: c.conv.ID, Type: typingSignal}, func(f protocol.Frame) error {
		err := client.Expect(f, protocol.TypeSignalled)
		switch {
		case err == nil:
			part.measure(signal, due)
		// The first message is what makes a conversation.
		case protocol.CodeOf(err) == pb.Code_CODE_NOT_A_MEMBER && c.room == nil && c.conv.Next == 1:
			err = nil
		default: // it is too late to say it again
			_, err = p.again(err)
		}
		return err
	})
}

// typingSignal is the type of the signals.
const typingSignal = "typing"

// set has p leave a draft in a conversation that it has.
func (part *mixedLoop) set(p *person, due time.Duration) {
	c := anyOf(part, p.chats)
	if !p.device.IsConnected() || c.conv.Next == 1 {
		return
	}
	part.drafts++
	draft := fmt.Sprintf("draft %d", part.drafts)
	p.ask(protocol.TypeSettings, &pb.SetSettings{Conversation: c.conv.ID, Draft: &draft}, func(f protocol.Frame) error {
		if err := client.Expect(f, protocol.TypeSet); err != nil {
			wait, err := p.again(err)
			if err == nil {
				p.later(wait, func() { part.set(p, due) })
			}
			return err
		}
		var set pb.Set
		if err := protocol.Decode(f, &set); err != nil {
			return err
		}
		if got := set.Settings.GetDraft(); got != draft {
			return broken("%s: %s set the draft %q and was told that it is %q", c.conv.ID, p.device.User, draft, got)
		}
		part.measure(settings, due)
		return nil
	})
}

// subscribe has p be told of its friends' presence, for as long as it is
// connected.
func (part *mixedLoop) subscribe(p *person) {
	var friends []string
	for _, c := range p.chats {
		if c.to != nil {
			friends = append(friends, c.to.device.User)
		}
	}
	if len(friends) == 0 {
		return
	}
	due := p.now()
	p.ask(protocol.TypeSubscribe, &pb.Subscribe{Users: friends}, func(f protocol.Frame) error {
		if err := client.Expect(f, protocol.TypeSubscribed); err != nil {
			wait, err := p.again(err)
			if err == nil {
				p.later(wait, func() { part.subscribe(p) })
			}
			return err
		}
		var subscribed pb.Subscribed
		if err := protocol.Decode(f, &subscribed); err != nil {
			return err
		}
		for _, presence := range subscribed.Presences {
			if !slices.Contains(friends, presence.User) {
				return broken("%s: the server tells of the presence of %s, who was not asked for", p.device.User, presence.User)
			}
		}
		part.measure(subscription, due)
		return nil
	})
}
