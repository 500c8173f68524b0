package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync/atomic"
	"time"

	"github.com/godwit-im/godwit/bench/client"
	"github.com/godwit-im/godwit/bench/report"
)

// StormConfig describes a crowd that loses all its connections at once and
// comes back: the network was gone, or the server. While it is away it is
// written to, and nothing of that may be lost.
//
// People come back as docs/PROTOCOL.md asks for: each after a random wait that
// doubles from one attempt to the next, and not before the server's delay.
type StormConfig struct {
	Target
	Sessions int // that are lost; default 10,000
	// Addressed is the share of them that is written to, all the time, by a few
	// senders; default 0.25. Rate is their messages in a second; default 500.
	Addressed float64
	Rate      float64
	// Pairs are those who chat meanwhile, PairRate messages a second each; they
	// keep their connections. Default 8 and 10.
	Pairs    int
	PairRate float64
	// Away is how long the network is gone, default 1 s. Slack is the most that
	// the first attempt to return waits after that, default 500 ms.
	Away, Slack time.Duration
	// Restart has the storm be the server's: it is killed and started again
	// (Target.Restart), Away does not count, and everybody loses the connection.
	Restart bool

	Size      int           // of bodies in bytes; default 256
	PerSecond float64       // connections, at the start; default 2,000
	Calm      time.Duration // before the storm and after it; default 3 s
	Heartbeat time.Duration // default 60 s
	// Patience is how long the return may take; default a minute.
	Patience time.Duration
	Loops    int // default half of the processors
	// Progress, where not nil, gets a line a second.
	Progress io.Writer
}

func (c *StormConfig) withDefaults() error {
	set(&c.Sessions, 10_000)
	set(&c.Addressed, 0.25)
	set(&c.Rate, 500)
	set(&c.Pairs, 8)
	set(&c.PairRate, 10)
	set(&c.Away, time.Second)
	set(&c.Slack, 500*time.Millisecond)
	set(&c.Size, 256)
	set(&c.PerSecond, 2000)
	set(&c.Calm, 3*time.Second)
	set(&c.Heartbeat, time.Minute)
	set(&c.Patience, time.Minute)
	set(&c.Loops, defaultLoops())
	if c.Sessions < 1 || c.Addressed < 0 || c.Addressed > 1 || c.Rate < 0 || c.Pairs < 0 || c.PairRate < 0 || c.Away < 0 ||
		c.Slack < 0 || c.Size < client.StampSize || c.PerSecond < 0 || c.Calm < 0 || c.Heartbeat < 0 || c.Patience < 0 || c.Loops < 1 {
		return fmt.Errorf("bench: want positive numbers, a share from 0 to 1 and bodies of at least %d bytes", client.StampSize)
	}
	if c.Restart && c.Target.Restart == nil {
		return errors.New("bench: the server was not started by this program, so it can't restart it")
	}
	return nil
}

// Connections is how many the run holds.
func (c *StormConfig) Connections() int {
	d := *c
	_ = d.withDefaults() // what is wrong is found when it runs
	return d.Sessions + 2*d.Pairs + d.Loops
}

// The groups of people in a storm.
const (
	ofStorm   = iota // who lose their connections
	ofWriters        // who write to them
	ofPairs
)

// The phases of a storm, by which the pairs' messages are measured.
const (
	before = iota
	during
	after
)

// Where the groups' users begin.
const (
	firstWriter   = 2_000_000
	firstPairUser = 3_000_000
)

// storm is a run.
type storm struct {
	cfg   StormConfig
	town  town
	parts []*stormLoop
	begun time.Time

	phase     atomic.Int32
	pairs     [3]*report.Histogram // by phase
	handshake *report.Histogram
	returns   [2]*report.Histogram // of those who were lost: from the outage's end to connected, and to synced
	back      [2]atomic.Int64      // how many of them are
	rates     [2]*report.Rate

	outage  time.Duration // the server's, in a restart
	refused int64
	used    used // while they came back
	usage   report.Usage
}

// Storm runs it.
func Storm(ctx context.Context, cfg StormConfig) (*report.Report, error) {
	if err := cfg.withDefaults(); err != nil {
		return nil, err
	}
	s := &storm{cfg: cfg, begun: time.Now(), parts: make([]*stormLoop, cfg.Loops+1)}
	s.handshake = report.NewHistogram("handshake of those who return")
	for i, how := range []string{"connected", "synced"} {
		s.returns[i] = report.NewHistogram("outage → " + how)
		s.rates[i] = report.NewRate(how, "Returns", "/s")
	}
	for i, when := range []string{"before", "during", "after"} {
		s.pairs[i] = report.NewHistogram("send → delivery of others, " + when)
	}
	s.town = town{size: cfg.Size, heartbeat: cfg.Heartbeat, slack: cfg.Slack, mayRestart: cfg.Restart}
	if err := startTown(ctx, &s.cfg.Target, &s.town, cfg.Loops+1, cfg.Connections(), s.populate); err != nil {
		return nil, err
	}
	defer s.town.load.close()
	r := cfg.report(ctx, "storm")
	stop := every(time.Second, s.progress)
	err := s.run()
	stop()
	s.progress() // how it ended
	if err := violated(r, err); err != nil {
		return nil, err
	}
	r.Duration = time.Since(s.begun)
	s.fill(r)
	return r, nil
}

// each runs f on every loop, with its part.
func (s *storm) each(f func(part *stormLoop)) {
	s.town.each(func(l *townLoop) { f(s.parts[l.number]) })
}

// run goes through the phases.
func (s *storm) run() error {
	load := s.town.load
	if err := s.town.gather(s.cfg.PerSecond); err != nil {
		return err
	}
	s.each((*stormLoop).talk)
	if err := sleep(load.ctx, s.cfg.Calm); err != nil {
		return err
	}
	s.phase.Store(during)
	sample := every(ratePeriod, func() {
		for i, rate := range s.rates {
			rate.Sample(time.Since(s.begun), float64(s.back[i].Load()))
		}
	})
	defer sample()
	refused, own := load.refused(), []int{os.Getpid()}
	sampler, err := s.strike()
	if err != nil {
		return err
	}
	defer func() { s.usage = sampler.Stop() }()
	first := s.cfg.use(own)
	if err := s.town.poll(s.cfg.Patience, allAreBack, func(l *townLoop) error {
		return fmt.Errorf("bench: of %d people, %d are connected and %d synced after %v",
			len(l.people), l.connected.Load(), l.caughtUp.Load(), s.cfg.Patience)
	}); err != nil {
		return err
	}
	s.refused = load.refused() - refused
	s.used = s.cfg.use(own).since(first)
	s.phase.Store(after)
	if err := sleep(load.ctx, s.cfg.Calm); err != nil {
		return err
	}
	s.each(func(part *stormLoop) {
		for _, a := range part.traffic {
			a.stop()
		}
	})
	return s.town.settled(settleTime)
}

// ratePeriod is how often the returns are counted.
const ratePeriod = 100 * time.Millisecond

func allAreBack(l *townLoop) bool { return l.caughtUp.Load() == int64(len(l.people)) }

// strike has the connections be lost, and returns when the way back is free. It
// begins to watch the processes: in a restart, once there is the new one.
func (s *storm) strike() (*report.Sampler, error) {
	s.each(func(part *stormLoop) {
		for _, p := range part.loop.people {
			p.tried = p.device.Attempts
		}
	})
	if s.cfg.Restart {
		s.each(func(part *stormLoop) { part.over = part.loop.pool.Loop().Now() })
		struck := time.Now()
		load := s.town.load
		target, err := s.cfg.Target.Restart(load.ctx)
		if failure := load.failure(); failure != nil {
			err = failure // which is why the restart was broken off
		}
		if err != nil {
			return nil, err
		}
		s.outage = time.Since(struck)
		s.cfg.Target = target
		return s.cfg.sample(s.begun), nil
	}
	sampler := s.cfg.sample(s.begun)
	s.each(func(part *stormLoop) {
		for _, p := range part.loop.people {
			if p.group == ofStorm {
				p.held = true
				p.device.Reset()
			}
		}
	})
	err := sleep(s.town.load.ctx, s.cfg.Away)
	s.each(func(part *stormLoop) {
		part.over = part.loop.pool.Loop().Now()
		for _, p := range part.loop.people {
			if p.group == ofStorm {
				p.held, p.losses = false, 0
				p.comeBack(0)
			}
		}
	})
	return sampler, err
}

func (s *storm) progress() {
	t := time.Since(s.begun)
	s.handshake.Tick(t)
	for _, h := range s.returns {
		h.Tick(t)
	}
	for _, h := range s.pairs {
		h.Tick(t)
	}
	fmt.Fprintf(orDiscard(s.cfg.Progress), "%4.0fs  %6d connected  %6d synced  %6d refused so far\n",
		t.Seconds(), s.town.connected(), s.town.caughtUp(), s.town.load.refused())
}

// fill adds what was seen to the report.
func (s *storm) fill(r *report.Report) {
	var last [2]time.Duration
	var tries, most int
	s.each((*stormLoop).sumUp)
	for _, part := range s.parts {
		for i := range last {
			last[i] = max(last[i], part.lastBack[i]-s.outage)
		}
		tries, most = tries+part.tries, max(most, part.most)
	}
	n := float64(s.cfg.Sessions)
	connected := report.Lower("all connected after", "s", last[0].Seconds()).AsHeadline()
	synced := report.Lower("all synced after", "s", last[1].Seconds()).AsHeadline()
	if s.cfg.Sessions >= targetSessions {
		synced = synced.Want(4)
	}
	r.Add(connected, synced,
		report.Higher("returns, mean", "/s", n/last[1].Seconds()).AsHeadline(),
		report.Lower("refused for the moment", "", float64(s.refused)),
		report.Lower("attempts per device, mean", "", float64(tries)/n),
		report.Lower("attempts per device, most", "", float64(most)),
	)
	s.used.addTo(r, int64(s.cfg.Sessions), "return")
	if s.cfg.Restart {
		r.Add(report.Lower("server gone for", "s", s.outage.Seconds()))
		r.Notef("the server was killed and started again: the times until all are back begin when it was ready, the distributions when it was killed")
	}
	count := func(name string, of func(l *townLoop) *atomic.Int64) {
		r.Add(report.Higher(name, "", float64(s.town.count(of))))
	}
	count("messages acked", func(l *townLoop) *atomic.Int64 { return &l.acked })
	count("messages delivered", func(l *townLoop) *atomic.Int64 { return &l.delivered })
	count("of them pulled", func(l *townLoop) *atomic.Int64 { return &l.pulled })
	r.AddHistogram(s.handshake)
	for _, h := range s.returns {
		r.AddHistogram(h)
	}
	for _, h := range s.pairs {
		r.AddHistogram(h)
	}
	for _, rate := range s.rates {
		r.Series = append(r.Series, rate.Series)
	}
	s.usage.AddTo(r)
}

// targetSessions is how many sessions the target for a storm is about: what
// fits one process with a hard limit of 20,000 open files.
const targetSessions = 19_000
