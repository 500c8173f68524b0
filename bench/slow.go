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

// SlowConfig describes pairs who chat at a set rate, the receivers of some of
// which stop reading for a while, as a device does whose network is bad. The
// server must not keep for them what it can read from its store, and the others
// must not notice. Past a while it tells them what they have missed, or closes
// the connection; either way they get every message once and in order.
type SlowConfig struct {
	Target
	Pairs int     // default 200
	Rate  float64 // messages in a second of all pairs together; default 2,000
	// Slow is the share of pairs whose receivers stall; default 0.1.
	Slow float64
	// Stall is for how long; default 20 s. Calm is the time before it, which it is
	// compared to and in which the store's own memory fills, and after the slow
	// ones have caught up; default 15 s.
	Stall, Calm time.Duration
	// ReceiveBuffer is that of the slow ones' sockets in bytes, which holds what
	// the server is rid of; the kernel doubles it. Default 4 KiB.
	ReceiveBuffer int
	Size          int           // of bodies in bytes; default 4,096
	PerSecond     float64       // connections, at the start; default 2,000
	Heartbeat     time.Duration // default 60 s
	// Patience is how long the slow ones may take to catch up; default a minute.
	Patience time.Duration
	Loops    int // default half of the processors
	// Progress, where not nil, gets a line a second.
	Progress io.Writer
}

func (c *SlowConfig) withDefaults() error {
	set(&c.Pairs, 200)
	set(&c.Rate, 2000)
	set(&c.Slow, 0.1)
	set(&c.Stall, 20*time.Second)
	set(&c.Calm, 15*time.Second)
	set(&c.ReceiveBuffer, 4<<10)
	set(&c.Size, 4<<10)
	set(&c.PerSecond, 2000)
	set(&c.Heartbeat, time.Minute)
	set(&c.Patience, time.Minute)
	set(&c.Loops, defaultLoops())
	if c.Pairs < 2 || c.Rate < 0 || c.Slow < 0 || c.Slow >= 1 || c.Stall < 0 || c.Calm < 0 || c.ReceiveBuffer < 0 ||
		c.Size < client.StampSize || c.PerSecond < 0 || c.Heartbeat < 0 || c.Patience < 0 || c.Loops < 1 {
		return fmt.Errorf("bench: want positive numbers, two pairs or more, a share of slow ones below 1 and bodies of at least %d bytes", client.StampSize)
	}
	return nil
}

// Connections is how many the run holds.
func (c *SlowConfig) Connections() int {
	d := *c
	_ = d.withDefaults() // what is wrong is found when it runs
	return 2 * d.Pairs
}

// The phases of a slow run, by which the quick pairs' messages are measured.
const (
	allRead = iota
	someStall
	catchingUp
	allReadAgain
	phases
)

// isSlow is the group of people who stall.
const isSlow = 1

// slow is a run.
type slow struct {
	cfg   SlowConfig
	town  town
	parts []*slowLoop
	begun time.Time

	phase   atomic.Int32
	quick   [phases]*report.Histogram // by phase
	rss     [phases]int64             // the server's most, by phase
	caught  *report.Histogram         // from the end of the stall until up to date
	closed  atomic.Int64              // connections of slow ones that the server ended
	pulled  atomic.Int64              // messages that slow ones had to pull
	missing int64                     // what they did not have at the end of the stall
	usage   report.Usage
}

// slowLoop is a loop's part.
type slowLoop struct {
	run     *slow
	loop    *townLoop
	quick   [phases]*report.Recorder
	caught  *report.Recorder
	slow    []*chat
	behind  map[*client.Conversation]uint64 // of slow ones, and the seq that makes them up to date
	resumed time.Duration
	traffic *arrivals
}

// Slow runs it.
func Slow(ctx context.Context, cfg SlowConfig) (*report.Report, error) {
	if err := cfg.withDefaults(); err != nil {
		return nil, err
	}
	s := &slow{cfg: cfg, begun: time.Now(), parts: make([]*slowLoop, cfg.Loops)}
	s.caught = report.NewHistogram("resumed → caught up")
	for i, when := range []string{"all read", "some stall", "they catch up", "all read again"} {
		s.quick[i] = report.NewHistogram("send → delivery of the others, " + when)
	}
	s.town = town{size: cfg.Size, heartbeat: cfg.Heartbeat, slack: 500 * time.Millisecond}
	if err := startTown(ctx, &s.cfg.Target, &s.town, cfg.Loops, cfg.Connections(), s.populate); err != nil {
		return nil, err
	}
	defer s.town.load.close()
	r := cfg.report(ctx, "slow")
	sampler := cfg.sample(s.begun)
	stop := every(time.Second, s.progress)
	err := s.run()
	stop()
	s.usage = sampler.Stop()
	if err := violated(r, err); err != nil {
		return nil, err
	}
	r.Duration = time.Since(s.begun)
	s.fill(r)
	return r, nil
}

func (s *slow) populate(l *townLoop) {
	part := &slowLoop{run: s, loop: l, caught: s.caught.Recorder(), behind: map[*client.Conversation]uint64{}}
	for i, h := range s.quick {
		part.quick[i] = h.Recorder()
	}
	s.parts[l.number] = part
	stalling := int(float64(s.cfg.Pairs) * s.cfg.Slow)
	first, n := split(s.cfg.Pairs, s.cfg.Loops, l.number)
	for i := first; i < first+n; i++ {
		a, b := l.newPerson(2*i), l.newPerson(2*i+1)
		c := a.writesTo(b)
		if (i+1)*stalling/s.cfg.Pairs > i*stalling/s.cfg.Pairs { // spread evenly over the pairs
			b.group, b.mayLose = isSlow, true
			b.device.ReceiveBuffer = s.cfg.ReceiveBuffer
			part.slow = append(part.slow, c)
		}
	}
	l.on.delivered, l.on.lost = part.onDelivered, part.onLost
}

func (part *slowLoop) onDelivered(p *person, c *client.Conversation, got client.Delivery) {
	if p.group != isSlow {
		part.quick[part.run.phase.Load()].Record(p.now() - got.Sent)
		return
	}
	if got.Pulled {
		part.run.pulled.Add(1)
	}
	if until, behind := part.behind[c]; behind && got.Seq >= until {
		delete(part.behind, c)
		part.caught.Record(p.now() - part.resumed)
	}
}

func (part *slowLoop) onLost(*person, error) { part.run.closed.Add(1) }

// talk begins the chats, all of one loop as one process of arrivals.
func (part *slowLoop) talk() {
	l, cfg := part.loop, &part.run.cfg
	share := float64(len(l.chats)) / float64(cfg.Pairs)
	part.traffic = l.arrivals(cfg.Rate*share, func(due time.Duration) {
		l.chats[l.random.IntN(len(l.chats))].write(due)
	})
}

func (part *slowLoop) stall() {
	for _, c := range part.slow {
		c.to.held = true // if the server closes the connection meanwhile, which is soon noticed
		if c.to.device.IsConnected() {
			c.to.device.Pause()
		}
	}
}

// resume has the slow ones read again, and returns how many messages they lack.
func (part *slowLoop) resume() (missing int64) {
	part.resumed = part.loop.pool.Loop().Now()
	for _, c := range part.slow {
		theirs := c.to.inbox.Conversation(c.conv.ID)
		if c.conv.Next > theirs.Next {
			part.behind[theirs] = c.conv.Next - 1
			missing += int64(c.conv.Next - theirs.Next)
		}
		c.to.held = false
		if c.to.device.IsConnected() {
			c.to.device.Resume()
		} else {
			c.to.comeBack(0)
		}
	}
	return missing
}

// each runs f on every loop, with its part.
func (s *slow) each(f func(part *slowLoop)) {
	s.town.each(func(l *townLoop) { f(s.parts[l.number]) })
}

// run goes through the phases.
func (s *slow) run() error {
	load := s.town.load
	if err := s.town.gather(s.cfg.PerSecond); err != nil {
		return err
	}
	s.each((*slowLoop).talk)
	if err := sleep(load.ctx, s.cfg.Calm); err != nil {
		return err
	}
	s.phase.Store(someStall)
	s.each((*slowLoop).stall)
	if err := sleep(load.ctx, s.cfg.Stall); err != nil {
		return err
	}
	s.phase.Store(catchingUp)
	var missing atomic.Int64
	s.each(func(part *slowLoop) { missing.Add(part.resume()) })
	s.missing = missing.Load()
	caughtUp := func(l *townLoop) bool { return len(s.parts[l.number].behind) == 0 }
	if err := s.town.poll(s.cfg.Patience, caughtUp, func(l *townLoop) error {
		return broken("%d people have not caught up %v after they read again", len(s.parts[l.number].behind), s.cfg.Patience)
	}); err != nil {
		return err
	}
	s.phase.Store(allReadAgain)
	if err := sleep(load.ctx, s.cfg.Calm); err != nil {
		return err
	}
	s.each(func(part *slowLoop) { part.traffic.stop() })
	return s.town.settled(settleTime)
}

func (s *slow) progress() {
	t, phase := time.Since(s.begun), s.phase.Load()
	s.caught.Tick(t)
	for _, h := range s.quick {
		h.Tick(t)
	}
	if p, err := report.ReadProcess(s.cfg.PID); s.cfg.PID != 0 && err == nil { // the sampler tells of an error
		s.rss[phase] = max(s.rss[phase], p.RSS)
	}
	written := s.town.count(func(l *townLoop) *atomic.Int64 { return &l.written })
	delivered := s.town.count(func(l *townLoop) *atomic.Int64 { return &l.delivered })
	fmt.Fprintf(orDiscard(s.cfg.Progress), "%4.0fs  %9d written  %9d delivered  %7d under way or missed, %s\n", t.Seconds(), written, delivered, written-delivered,
		[phases]string{"all read", "some stall", "they catch up", "all read again"}[phase])
}

// fill adds what was seen to the report.
func (s *slow) fill(r *report.Report) {
	stalling := 0
	for _, part := range s.parts {
		stalling += len(part.slow)
	}
	with, without := s.quick[someStall].Latency(), s.quick[allRead].Latency()
	ms := func(us int64) float64 { return float64(us) / 1000 }
	r.Add(
		report.Lower("p99 of the others while some stall", "ms", ms(with.P99)).AsHeadline().OfCeiling("p99 while all read", ms(without.P99)),
		report.Lower("p50 of the others while some stall", "ms", ms(with.P50)).OfCeiling("p50 while all read", ms(without.P50)),
		report.Lower("slow ones have caught up after", "s", float64(s.caught.Latency().Max)/1e6).AsHeadline(),
		report.Lower("slow ones", "", float64(stalling)),
		report.Lower("messages that they lacked", "", float64(s.missing)),
		report.Lower("of their messages pulled", "", float64(s.pulled.Load())),
		report.Lower("of their connections closed by the server", "", float64(s.closed.Load())),
	)
	if s.rss[allRead] > 0 && s.rss[someStall] > 0 {
		r.Add(report.Lower("server RSS, peak while some stall", "B", float64(s.rss[someStall])).AsHeadline().OfCeiling("peak while all read", float64(s.rss[allRead])))
		r.Notef("the store's part of the server's memory grows with what is written, whoever reads it: what slow ones cost is the difference to a run with fewer of them")
	}
	for _, h := range s.quick {
		r.AddHistogram(h)
	}
	r.AddHistogram(s.caught)
	s.usage.AddTo(r)
}
