package bench

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/godwit-im/godwit/bench/client"
	"github.com/godwit-im/godwit/bench/fleet"
	"github.com/godwit-im/godwit/bench/report"
	"github.com/godwit-im/godwit/protocol"
	"github.com/godwit-im/godwit/protocol/pb"
)

// groupUsers is the number of the first member, past the users of the pair.
const groupUsers = 2 * idleUsers

// groupLoop is a loop's part of a group's members, and belongs to the loop.
type groupLoop struct {
	run     *groupRun
	load    *load
	pool    *client.Pool
	log     *client.Log
	members []*member
	senders []*member // on the first loop
	turn    int       // of the sender who writes next
	ready   *countdown

	// left is how many deliveries and acks are due until the order is carried
	// out; less than 0 where they came before the order did.
	left  int
	order *countdown

	// With a rate.
	timer         *fleet.Timer
	gap, next     time.Duration
	written       int
	delivery, ack *report.Recorder // nil = nothing is recorded
}

// member is a member with a device: a client.Handler.
type member struct {
	loop   *groupLoop
	device *client.Device
	inbox  *client.Inbox
	conv   *client.Conversation
	synced bool

	// A sender's.
	draft *client.Draft
	count uint32
	sends map[uint32]time.Duration // when they were meant to leave, by the SENDs that are not acked
}

// gather makes the group and connects its members.
func (g *groupRun) gather(ctx context.Context) error {
	cfg := g.cfg
	var err error
	if g.load, err = startLoad(ctx, &cfg.Target, cfg.Loops, cfg.Members+2, cfg.Heartbeat); err != nil {
		return err
	}
	run := client.RunID(time.Now())
	g.say("making a group of %d members\n", cfg.Members)
	if err := g.found(run); err != nil {
		return err
	}
	g.say("connecting them\n")
	g.loops = make([]*groupLoop, cfg.Loops)
	ready := newCountdown(cfg.Members)
	g.load.each(func(i int, pool *client.Pool) {
		l := &groupLoop{run: g, load: g.load, pool: pool, ready: ready, log: client.NewLog(g.group, g.head+1, cfg.Size)}
		first, n := split(cfg.Members, cfg.Loops, i)
		for k := range n {
			l.members = append(l.members, l.newMember(first+k))
		}
		if i == 0 {
			l.senders = l.members[:cfg.Senders]
			for _, m := range l.senders {
				m.sends = map[uint32]time.Duration{}
				m.draft = client.NewDraft(g.group, m.device.User, run, cfg.Size)
			}
			l.timer = pool.Loop().NewTimer(l.arrive)
		}
		g.loops[i] = l
	})
	g.each(func(l *groupLoop) {
		pace(l.pool.Loop(), cfg.PerSecond/float64(cfg.Loops), len(l.members), func(i int) { l.members[i].device.Connect() })
	})
	patience := time.Duration(float64(cfg.Members)/cfg.PerSecond*float64(time.Second)) + gatherTime
	return g.within(ctx, ready, patience, func() error { return fmt.Errorf("the members were not connected after %v", patience) })
}

// each runs f on every loop, and returns when all have.
func (g *groupRun) each(f func(l *groupLoop)) {
	g.load.each(func(i int, _ *client.Pool) { f(g.loops[i]) })
}

// within waits for a countdown. late makes the error of one that takes too long.
func (g *groupRun) within(ctx context.Context, c *countdown, patience time.Duration, late func() error) error {
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-c.zero:
		return nil
	case <-g.load.ctx.Done():
		return g.load.failure()
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-timer.C:
		return late()
	}
}

func (l *groupLoop) newMember(n int) *member {
	m := &member{loop: l}
	m.device = l.pool.Add(userName(groupUsers+n), deviceName, m)
	m.device.FirstFlight = func(d *client.Device) { d.Request(protocol.TypeSync, &pb.Sync{Limit: 1}) }
	m.inbox = client.NewInbox(m.device, l.run.cfg.Size, m.deliver)
	return m
}

// OnConnected implements client.Handler.
func (m *member) OnConnected(*client.Device) {}

// OnClosed implements client.Handler.
func (m *member) OnClosed(d *client.Device, err error) { m.loop.load.lost(d, err) }

// OnFrame implements client.Handler.
func (m *member) OnFrame(_ *client.Device, f protocol.Frame) error {
	if !m.synced {
		return m.onSynced(f)
	}
	taken, err := m.inbox.OnFrame(f)
	if taken || err != nil {
		return err
	}
	due, sent := m.sends[f.Request]
	if !sent {
		return client.Expect(f, protocol.TypeMessage)
	}
	delete(m.sends, f.Request)
	return m.acked(f, due)
}

// onSynced takes the SYNC of the first flight, before which nothing is written:
// the group is the newest of the member's conversations, and as it was made.
func (m *member) onSynced(f protocol.Frame) error {
	if err := client.Expect(f, protocol.TypeSynced); err != nil {
		return err
	}
	var page pb.Synced
	if err := protocol.Decode(f, &page); err != nil {
		return err
	}
	g := m.loop.run
	if len(page.Conversations) != 1 || page.Conversations[0].Conversation != g.group {
		return broken("%s: SYNC does not begin with the group that the user is a new member of", m.device.User)
	}
	s := page.Conversations[0]
	if s.HeadSeq != g.head || int(s.Group.GetMembers()) != g.cfg.Members || s.Membership.GetStanding() != pb.Standing_STANDING_ACTIVE {
		return broken("%s: SYNC says head %d, %d members, standing %s; want %d, %d, active", m.device.User,
			s.HeadSeq, s.Group.GetMembers(), s.Membership.GetStanding(), g.head, g.cfg.Members)
	}
	m.conv = m.inbox.AddGroup(m.loop.log, g.head+1)
	m.synced = true
	m.loop.ready.done()
	return nil
}

// send has m write a message that is meant to leave at due.
func (m *member) send(now, due time.Duration) {
	request := m.device.NextRequest()
	m.sends[request] = due
	m.device.Wrote(m.draft.Append(m.device.Buffer(), request, m.count, due), now)
	m.count++
}

func (m *member) acked(f protocol.Frame, due time.Duration) error {
	if err := client.Expect(f, protocol.TypeSent); err != nil {
		return fmt.Errorf("%s: SEND: %w", m.device.User, err)
	}
	var sent client.Sent
	if err := sent.Parse(f.Body); err != nil {
		return err
	}
	if sent.Duplicate {
		return broken("%s: seq %d was acked as a duplicate", m.device.User, sent.Seq)
	}
	if m.loop.ack != nil {
		m.loop.ack.Record(m.device.Now() - due)
	}
	m.loop.done()
	return m.inbox.Sent(m.conv, sent.Seq)
}

func (m *member) deliver(_ *client.Conversation, got client.Delivery) {
	if m.loop.delivery != nil {
		m.loop.delivery.Record(m.device.Now() - got.Sent)
	}
	m.loop.done()
}

// done is told of each delivery, and of each ack.
func (l *groupLoop) done() {
	l.left--
	if l.left == 0 {
		l.order.done()
	}
}

// expect is told how many messages are written by the order. Each comes to all
// members but its sender, who is on the first loop and gets an ack.
func (l *groupLoop) expect(messages int, order *countdown) {
	l.order = order
	l.left += messages * len(l.members)
	if l.left == 0 {
		order.done()
	}
}

// await returns when all loops have what so many messages bring.
func (g *groupRun) await(messages int) *countdown {
	order := newCountdown(len(g.loops))
	g.each(func(l *groupLoop) { l.expect(messages, order) })
	return order
}

// roundTime is how long an order may take.
const roundTime = 2 * time.Minute

// until waits for an order.
func (g *groupRun) until(ctx context.Context, order *countdown) error {
	return g.within(ctx, order, roundTime, func() error {
		missing := make([]error, len(g.loops))
		g.load.each(func(i int, _ *client.Pool) { missing[i] = g.loops[i].missing() })
		return cmp.Or(errors.Join(missing...), errors.New("bench: an order is not over, and nobody misses anything"))
	})
}

// missing is what a member of the loop has not got that another has.
func (l *groupLoop) missing() error {
	ahead := l.members[0]
	for _, m := range l.members {
		if len(m.sends) > 0 {
			return broken("%s: %d messages were not acked", m.device.User, len(m.sends))
		}
		if m.conv.Next > ahead.conv.Next {
			ahead = m
		}
	}
	for _, m := range l.members {
		if m.conv.Next != ahead.conv.Next {
			return broken("%s has the group up to seq %d, and %s up to %d", m.device.User, m.conv.Next-1, ahead.device.User, ahead.conv.Next-1)
		}
	}
	return nil
}

// round has the senders write so many messages at once, and returns how long it
// took until every member had them all.
func (g *groupRun) round(ctx context.Context, messages int) (time.Duration, error) {
	began := time.Now()
	order := newCountdown(len(g.loops))
	g.each(func(l *groupLoop) {
		l.expect(messages, order)
		if len(l.senders) == 0 {
			return
		}
		now := l.pool.Loop().Now()
		for range messages {
			l.write(now, now)
		}
	})
	err := g.until(ctx, order)
	return time.Since(began), err
}

// write has the sender whose turn it is write.
func (l *groupLoop) write(now, due time.Duration) {
	l.turn = (l.turn + 1) % len(l.senders)
	l.senders[l.turn].send(now, due)
}

// onFirst runs f on the senders' loop.
func (g *groupRun) onFirst(f func(l *groupLoop)) {
	g.each(func(l *groupLoop) {
		if l == g.loops[0] {
			f(l)
		}
	})
}

// begin has messages leave so many times a second, until end.
func (l *groupLoop) begin(perSecond float64) {
	l.gap = time.Duration(float64(time.Second) / perSecond)
	l.written, l.next = 0, l.pool.Loop().Now()
	l.arrive()
}

func (l *groupLoop) arrive() {
	now := l.pool.Loop().Now()
	for ; l.next <= now; l.next += l.gap {
		l.write(now, l.next)
		l.written++
	}
	l.timer.Set(l.next)
}

// end returns how many have left: all that have been due by now.
func (l *groupLoop) end() int {
	l.arrive()
	l.timer.Stop()
	return l.written
}
