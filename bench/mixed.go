package bench

import (
	"context"
	"fmt"
	"io"
	"sync/atomic"
	"time"

	"github.com/godwit-im/godwit/bench/client"
	"github.com/godwit-im/godwit/bench/report"
)

// MixedConfig describes what people do on an ordinary day, at a set rate: chat
// with friends, mark what they have read, look who is online, lose the
// connection and come back. Everything happens at random times (Poisson
// processes), and a latency begins when the thing was meant to happen, so that
// a server that stalls is not spared.
//
// There are direct conversations, small groups of neighbours, and a large group.
type MixedConfig struct {
	Target
	People  int // who do things; default 1,000
	Friends int // of each, with whom there is a conversation; even, default 6
	Idle    int // who are only there; default 1,000
	// Messages, Looks are how many a second, of all people together; defaults
	// 1,000 and 100.
	Messages, Looks float64
	// Groups is how many small groups there are, GroupSize their members; defaults
	// one for every 20 people, and 20. Large is how many are in the large group;
	// default all. A negative number leaves them out.
	Groups, GroupSize, Large int
	// GroupMessages and LargeMessages are how many a second, in the small groups
	// together and in the large one; defaults 50 and 1. Events is how many edits,
	// recalls and reactions, in small groups; default 25.
	GroupMessages, LargeMessages, Events float64
	// Typing and Settings are how many signals, and changes of settings, a second;
	// defaults 50 and 10.
	Typing, Settings float64
	// Marks is the share of messages after which the receiver marks the
	// conversation as read; default 0.3.
	Marks float64
	// Returns is the share of people who lose the connection in a minute and
	// come back after up to Slack, or, a tenth of them, after some seconds;
	// defaults 0.5 and 500 ms.
	Returns float64
	Slack   time.Duration

	Size        int           // of bodies in bytes; default 256
	PerSecond   float64       // connections, at the start; default 2,000
	Heartbeat   time.Duration // default 60 s
	Warmup, For time.Duration // defaults 2 s and 30 s
	Loops       int           // default half of the processors
	// Progress, where not nil, gets a line a second.
	Progress io.Writer
}

func (c *MixedConfig) withDefaults() error {
	set(&c.Loops, defaultLoops())
	set(&c.People, 1000)
	set(&c.Friends, 6)
	set(&c.Idle, 1000)
	set(&c.Messages, 1000)
	set(&c.Looks, 100)
	set(&c.Groups, max(1, c.People/20))
	set(&c.GroupSize, 20)
	c.GroupSize = min(c.GroupSize, c.People/max(1, c.Loops)) // its members are on one loop
	set(&c.Large, c.People)
	c.Groups, c.Large = max(0, c.Groups), max(0, c.Large)
	set(&c.GroupMessages, 50)
	set(&c.LargeMessages, 1)
	set(&c.Events, 25)
	set(&c.Typing, 50)
	set(&c.Settings, 10)
	set(&c.Marks, 0.3)
	set(&c.Returns, 0.5)
	set(&c.Slack, 500*time.Millisecond)
	set(&c.Size, 256)
	set(&c.PerSecond, 2000)
	set(&c.Heartbeat, time.Minute)
	set(&c.Warmup, 2*time.Second)
	set(&c.For, 30*time.Second)
	switch {
	case c.Messages < 0 || c.Looks < 0 || c.Returns < 0 || c.Slack < 0 || c.Idle < 0 || c.PerSecond < 0 || c.Heartbeat < 0 ||
		c.Warmup < 0 || c.For < 0 || c.Loops < 1 || c.Size < client.StampSize:
		return fmt.Errorf("bench: want positive numbers and bodies of at least %d bytes", client.StampSize)
	case c.GroupMessages < 0 || c.LargeMessages < 0 || c.Events < 0 || c.Typing < 0 || c.Settings < 0:
		return fmt.Errorf("bench: want positive rates")
	case c.GroupSize < 2 || c.Large == 1 || c.Large > c.People:
		return fmt.Errorf("bench: want groups of at least 2 members, and the large one of the people there are")
	case c.Marks < 0 || c.Marks > 1:
		return fmt.Errorf("bench: want a share of messages that are marked from 0 to 1")
	case c.Friends < 2 || c.Friends%2 != 0 || c.Friends > maxFriends || c.People/c.Loops <= c.Friends:
		return fmt.Errorf("bench: want an even number of friends up to %d, and more people than that on each loop", maxFriends)
	}
	return nil
}

// Connections is how many the run holds.
func (c *MixedConfig) Connections() int {
	d := *c
	_ = d.withDefaults() // what is wrong is found when it runs
	return d.People + d.Idle
}

// ServerRules are the rules that a server needs for the groups to be made at
// once, as its flag takes them.
func (c *MixedConfig) ServerRules() string { return "invites-per-minute=1000000" }

// maxFriends is how many users a WHO may name.
const maxFriends = 100

// isIdle is the group of people who do nothing.
const isIdle = 1

// mixed is a run.
type mixed struct {
	cfg   MixedConfig
	town  town
	parts []*mixedLoop
	begun time.Time
	kinds []*report.Histogram // by kind
	done  [kinds]atomic.Int64 // what was measured of each kind
	small [][]*group          // by loop
	large *group              // nil = there is none
	late  atomic.Int64        // events that came when their message had been recalled
	usage report.Usage
}

// The kinds of what is done.
const (
	sendToAck = iota
	sendToDelivery
	mark
	look
	comeback
	sendToMember // in a group
	event
	signal
	settings
	subscription
	kinds
)

// mixedLoop is a loop's part.
type mixedLoop struct {
	run     *mixed
	loop    *townLoop
	active  []*person
	small   []*room
	large   *room // nil = there is none
	events  int   // so far
	drafts  int
	kinds   [kinds]*report.Recorder
	traffic []*arrivals
	// What was meant to happen in [from, until) is measured.
	from, until time.Duration
	lost        map[*person]time.Duration // when
	left        map[*person]bool          // who went for long, the last time
}

// Mixed runs it.
func Mixed(ctx context.Context, cfg MixedConfig) (*report.Report, error) {
	if err := cfg.withDefaults(); err != nil {
		return nil, err
	}
	m := &mixed{cfg: cfg, begun: time.Now(), parts: make([]*mixedLoop, cfg.Loops)}
	for _, name := range []string{
		"send → ack", "send → delivery", "MARK → MARKED", "WHO → PRESENT", "lost → connected and synced", "group: send → delivery",
		"event → ack", "SIGNAL → SIGNALLED", "SETTINGS → SET", "SUBSCRIBE → SUBSCRIBED",
	} {
		m.kinds = append(m.kinds, report.NewHistogram(name))
	}
	m.town = town{size: cfg.Size, heartbeat: cfg.Heartbeat, slack: cfg.Slack}
	if err := startTown(ctx, &m.cfg.Target, &m.town, cfg.Loops, cfg.Connections(), m.populate); err != nil {
		return nil, err
	}
	defer m.town.load.close()
	r := cfg.report(ctx, "mixed")
	sampler := cfg.sample(m.begun)
	stop := every(time.Second, m.progress)
	err := m.run()
	stop()
	m.usage = sampler.Stop()
	if err := violated(r, err); err != nil {
		return nil, err
	}
	r.Duration = time.Since(m.begun)
	m.fill(r)
	return r, nil
}

// populate makes a loop's people. Friends are the next ones in a circle, which
// gives everybody as many on either side.
func (m *mixed) populate(l *townLoop) {
	part := &mixedLoop{run: m, loop: l, lost: map[*person]time.Duration{}, left: map[*person]bool{}}
	for i, h := range m.kinds {
		part.kinds[i] = h.Recorder()
	}
	m.parts[l.number] = part
	first, n := split(m.cfg.People, m.cfg.Loops, l.number)
	for i := range n {
		part.active = append(part.active, l.newPerson(first+i))
	}
	for i, p := range part.active {
		for k := range m.cfg.Friends / 2 {
			friend := part.active[(i+k+1)%n]
			p.writesTo(friend)
			friend.writesTo(p)
		}
	}
	first, n = split(m.cfg.Idle, m.cfg.Loops, l.number)
	for i := range n {
		l.newPerson(idleUsers + first + i).group = isIdle
	}
	l.on.acked, l.on.delivered, l.on.caughtUp = part.onAcked, part.onDelivered, part.onCaughtUp
}

// measures records how long something took that was meant to happen at due.
func (part *mixedLoop) measure(kind int, due time.Duration) {
	if due >= part.from && due < part.until {
		part.kinds[kind].Record(part.loop.pool.Loop().Now() - due)
		part.run.done[kind].Add(1)
	}
}

func (part *mixedLoop) onAcked(_ *chat, due time.Duration) { part.measure(sendToAck, due) }

func (part *mixedLoop) onDelivered(p *person, c *client.Conversation, got client.Delivery) {
	kind := sendToDelivery
	if c.Peer == "" {
		kind = sendToMember
	}
	if !part.left[p] || got.Sent >= p.connected { // else p was not there to be reached
		part.measure(kind, got.Sent)
	}
	if part.loop.random.Float64() < part.run.cfg.Marks && p.device.IsConnected() {
		part.mark(p, c, p.now())
	}
}

func (part *mixedLoop) onCaughtUp(p *person) {
	if p.group != isIdle {
		part.subscribe(p)
	}
	if due, was := part.lost[p]; was {
		delete(part.lost, p)
		part.measure(comeback, due)
	}
}

// begin begins the day.
func (part *mixedLoop) begin() {
	l, cfg := part.loop, &part.run.cfg
	part.from = l.pool.Loop().Now() + cfg.Warmup
	part.until = part.from + cfg.For
	share := float64(len(part.active)) / float64(cfg.People)
	add := func(perSecond float64, f func(due time.Duration)) {
		part.traffic = append(part.traffic, l.arrivals(perSecond, f))
	}
	anybody := func() *person { return part.active[l.random.IntN(len(part.active))] }
	add(cfg.Messages*share, func(due time.Duration) { part.write(l.chats, due) })
	part.beginGroups(add)
	add(cfg.Looks*share, func(due time.Duration) { part.look(anybody(), due) })
	add(cfg.Returns*float64(len(part.active))/60, func(due time.Duration) {
		p := anybody()
		if !p.device.IsConnected() {
			return
		}
		p.losses = 0 // the network's doing, which says nothing of the server
		if l.random.Float64() < longAway {
			part.leave(p)
		} else {
			delete(part.left, p)
			part.lost[p] = due
			p.device.Reset()
		}
	})
}

// longAway is the share of those who lose the connection, or leave, for so long
// that their friends are told: for awayTime.
const (
	longAway = 0.1
	awayTime = 5 * time.Second
)

// write has one of those who are not away write in one of their chats.
func (part *mixedLoop) write(chats []*chat, due time.Duration) {
	if c := anyOf(part, chats); !c.from.held {
		c.write(due)
	}
}

// leave has p leave, and come back later.
func (part *mixedLoop) leave(p *person) {
	p.held, part.left[p] = true, true
	p.device.Close()
	part.loop.pool.Loop().NewTimer(func() {
		p.held = false
		p.comeBack(0)
	}).Set(p.now() + awayTime)
}

// run goes through the day.
func (m *mixed) run() error {
	m.planGroups()
	if err := m.makeGroups(); err != nil {
		return err
	}
	if err := m.town.gather(m.cfg.PerSecond); err != nil {
		return err
	}
	each := func(f func(part *mixedLoop)) { m.town.each(func(l *townLoop) { f(m.parts[l.number]) }) }
	each((*mixedLoop).begin)
	if err := sleep(m.town.load.ctx, m.cfg.Warmup+m.cfg.For); err != nil {
		return err
	}
	each(func(part *mixedLoop) {
		for _, a := range part.traffic {
			a.stop()
		}
	})
	return m.town.settled(settleTime)
}

func (m *mixed) progress() {
	t := time.Since(m.begun)
	for _, h := range m.kinds {
		h.Tick(t)
	}
	count := func(of func(l *townLoop) *atomic.Int64) int64 { return m.town.count(of) }
	fmt.Fprintf(orDiscard(m.cfg.Progress), "%4.0fs  %6d connected  %9d messages written  %9d delivered\n", t.Seconds(), m.town.connected(),
		count(func(l *townLoop) *atomic.Int64 { return &l.written }), count(func(l *townLoop) *atomic.Int64 { return &l.delivered }))
}

// fill adds what was seen to the report.
func (m *mixed) fill(r *report.Report) {
	perSecond := func(kind int) float64 { return float64(m.done[kind].Load()) / m.cfg.For.Seconds() }
	delivery := m.kinds[sendToDelivery].Latency()
	r.Add(
		report.Higher("messages delivered", "msgs/s", perSecond(sendToDelivery)).AsHeadline(),
		report.Lower("p99 from send to delivery", "ms", float64(delivery.P99)/1000).AsHeadline(),
		report.Higher("messages delivered in groups", "msgs/s", perSecond(sendToMember)),
		report.Lower("p99 from send to delivery in groups", "ms", float64(m.kinds[sendToMember].Latency().P99)/1000),
		report.Higher("edits, recalls and reactions", "/s", perSecond(event)),
		report.Higher("typing signals", "/s", perSecond(signal)),
		report.Higher("settings changed", "/s", perSecond(settings)),
		report.Higher("marks", "/s", perSecond(mark)),
		report.Higher("looks who is online", "/s", perSecond(look)),
		report.Higher("returns", "/s", perSecond(comeback)),
		report.Lower("events on messages just recalled", "", float64(m.late.Load())),
		report.Higher("signals received", "", float64(m.town.count(func(l *townLoop) *atomic.Int64 { return &l.signals }))),
		report.Higher("presence told", "", float64(m.town.count(func(l *townLoop) *atomic.Int64 { return &l.presences }))),
		report.Lower("of all messages pulled", "", float64(m.town.count(func(l *townLoop) *atomic.Int64 { return &l.pulled }))),
		report.Lower("requests refused for the moment", "", float64(m.town.count(func(l *townLoop) *atomic.Int64 { return &l.repeated }))),
	)
	for _, h := range m.kinds {
		r.AddHistogram(h)
	}
	m.usage.AddTo(r)
}
