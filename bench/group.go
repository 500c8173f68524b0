package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"slices"
	"sync/atomic"
	"time"

	"github.com/godwit-im/godwit/bench/client"
	"github.com/godwit-im/godwit/bench/fanout"
	"github.com/godwit-im/godwit/bench/report"
)

// GroupConfig describes a group whose members are all online, and a pair who
// chat beside it.
//
// Without a rate that is a closed loop: the senders write a burst, and the next
// one when every member has all of it. In turn with it bare gnet pushes bursts
// as large to as many sessions, and stores nothing: what this machine does at
// best; and then nobody writes but the pair. With a rate, messages are meant to leave when they are, whatever the
// server does, and their latencies count from then on.
type GroupConfig struct {
	Target
	Members int   // default 10,000
	Senders int   // of them, who write in turn; default 1. The bursts of several come to the server in pieces
	Bursts  []int // messages that are written together; each is measured by itself; default 1 and 16
	// Rate is how many messages are meant to leave in a second, evenly spaced;
	// 0 = bursts.
	Rate float64
	// DirectRate is how many messages a second the pair writes; default 200.
	DirectRate float64
	Size       int           // of bodies in bytes; default 256
	Rounds     int           // turns of each burst, and as many of bare gnet; default 3
	For        time.Duration // of a turn, and with a rate of the whole; default 2 s
	PerSecond  float64       // connections while the run begins; default 2,000
	Heartbeat  time.Duration // that sessions ask for; default 60 s
	Loops      int           // event loops of the members; the pair has one of its own. Default all processors, as bare gnet's receiver
	// Progress, where not nil, gets a line for each step.
	Progress io.Writer
}

// maxGroup keeps the load within the usual hard limit of open files.
const maxGroup = 19_000

func (c *GroupConfig) withDefaults() error {
	set(&c.Members, 10_000)
	set(&c.Senders, 1)
	set(&c.DirectRate, 200)
	set(&c.Size, 256)
	set(&c.Rounds, 3)
	set(&c.For, 2*time.Second)
	set(&c.PerSecond, 2000)
	set(&c.Heartbeat, time.Minute)
	set(&c.Loops, max(1, min(runtime.GOMAXPROCS(0), c.Members/max(1, c.Senders))))
	if len(c.Bursts) == 0 {
		c.Bursts = []int{1, 16}
	}
	switch {
	case c.Members < 2 || c.Members > maxGroup:
		return fmt.Errorf("bench: want 2 to %d members", maxGroup)
	case c.Loops < 1 || c.Senders < 1 || c.Senders > c.Members/c.Loops:
		return errors.New("bench: want at least one sender, and no more than there are members on a loop")
	case c.Rate < 0 || c.DirectRate < 0 || c.Rounds < 1 || c.For < 0 || c.PerSecond < 0 || c.Heartbeat < 0 || c.Size < client.StampSize:
		return fmt.Errorf("bench: want positive numbers and bodies of at least %d bytes", client.StampSize)
	case slices.Min(c.Bursts) < 1 || slices.Max(c.Bursts)*(c.Size+128) > maxBurst:
		return fmt.Errorf("bench: want bursts of at least one message and at most %d KiB: what a session may be behind before it is told of heads alone", maxBurst>>10)
	}
	return nil
}

// maxBurst is the size of a burst in bytes, encoded.
const maxBurst = 128 << 10

// Connections is how many the run holds.
func (c *GroupConfig) Connections() int {
	d := *c
	_ = d.withDefaults() // what is wrong is found when it runs
	return d.Members + 2
}

// ServerRules are the rules that a server needs for the group to be made at
// once, as its flag takes them.
func (c *GroupConfig) ServerRules() string {
	return fmt.Sprintf("members=%d,invites-per-minute=1000000", max(maxGroup, c.Members))
}

// groupRun is a run.
type groupRun struct {
	cfg   *GroupConfig
	began time.Time
	load  *load
	loops []*groupLoop
	group string
	head  uint64 // of the group, when all had become members

	pair *directRun
	bare *fanout.Bare // nil with a rate
	// beside is what the pair saw while the group was written to.
	beside *measured
}

// Group runs it. Every member must get every message once, in order and as it
// was sent, what was left out for a while by PULL.
func Group(ctx context.Context, cfg GroupConfig) (*report.Report, error) {
	if err := cfg.withDefaults(); err != nil {
		return nil, err
	}
	r := cfg.report(ctx, "group")
	g := &groupRun{cfg: &cfg, began: r.Start}
	defer g.close()
	// Go's scheduler must not keep the pair's loop waiting for those of the
	// members, which would be the load's doing: each has a processor, one is for
	// the collector, and it is the kernel that shares the real ones.
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(cfg.Loops + 2))
	sampler := cfg.sample(r.Start)
	err := g.run(ctx, r)
	usage := sampler.Stop()
	r.Duration = time.Since(r.Start)
	if err := violated(r, err); err != nil {
		return nil, err
	}
	usage.AddTo(r)
	return r, nil
}

func (g *groupRun) run(ctx context.Context, r *report.Report) error {
	if err := g.gather(ctx); err != nil {
		return err
	}
	if err := g.startPair(ctx); err != nil {
		return err
	}
	if g.cfg.Rate > 0 {
		if err := g.atRate(ctx, r); err != nil {
			return err
		}
	} else {
		var err error
		g.say("bare gnet: connecting %d sessions\n", g.cfg.Members-1)
		g.bare, err = fanout.StartBare(ctx, fanout.Config{Sessions: g.cfg.Members - 1, Size: g.cfg.Size})
		if err != nil {
			return err
		}
		for _, burst := range g.cfg.Bursts {
			if err := g.inTurn(ctx, r, burst); err != nil {
				return err
			}
		}
	}
	return g.writes(ctx, r)
}

func (g *groupRun) close() {
	if g.pair != nil {
		g.pair.close()
	}
	if g.bare != nil {
		_ = g.bare.Close() // what it was ended for is known, or all was well
	}
	if g.load != nil {
		g.load.close()
	}
}

func (g *groupRun) say(format string, args ...any) {
	fmt.Fprintf(orDiscard(g.cfg.Progress), format, args...)
}

// startPair connects the pair, on a loop of its own: on a member's, its messages
// would wait for the load and not for the server.
func (g *groupRun) startPair(ctx context.Context) error {
	cfg := DirectConfig{Target: g.cfg.Target, Pairs: 1, Rate: g.cfg.DirectRate, Size: g.cfg.Size, Heartbeat: g.cfg.Heartbeat, Loops: 1, Processes: 1}
	if err := cfg.withDefaults(); err != nil {
		return err
	}
	var err error
	g.pair, err = cfg.start(ctx, g.began)
	return err
}

// newMeasured is for what the pair sees of one side.
func newMeasured(name string) *measured {
	return &measured{
		ack: report.NewHistogram("direct, " + name + ": " + Ack), delivery: report.NewHistogram("direct, " + name + ": " + Delivery),
		rate: report.NewRate("direct, "+name, "Direct messages", "msgs/s"),
	}
}

// whileChatting has the pair chat while f runs. What it saw is added to m.
func (g *groupRun) whileChatting(ctx context.Context, m *measured, f func() error) error {
	step := DirectStep{Rate: g.cfg.DirectRate, For: time.Hour} // until the end that follows
	if _, err := call[struct{}](ctx, g.pair.workers, "Direct.Begin", func(int) any { return step }); err != nil {
		return err
	}
	err := f()
	_, ended := g.pair.sample(ctx, "Direct.End", m)
	return errors.Join(err, ended)
}

// turns are the rounds of one size of burst, on one side: rates in deliveries a
// second.
type turns struct {
	rates []float64 // a turn's median
	took  *report.Histogram
	cpu   time.Duration // the server's
	n     int           // deliveries
}

// perDelivery is the server's processor time, in µs.
func (t *turns) perDelivery() float64 { return t.cpu.Seconds() * 1e6 / float64(max(1, t.n)) }

// The targets of the group.
const (
	wantOfBare = 0.7 // of bare gnet's rate
	wantDirect = 20  // ms, the p99 of a direct message beside it
)

// inTurn runs rounds of bare gnet and of Godwit in turn, so that whatever else
// the machine does meets both.
func (g *groupRun) inTurn(ctx context.Context, r *report.Report, burst int) error {
	cfg := g.cfg
	of := fmt.Sprintf(", bursts of %d", burst)
	g.beside = newMeasured("beside the group" + of)
	besideBare, alone := newMeasured("while bare gnet pushes"+of), newMeasured("while nobody pushes"+of)
	godwit := &turns{took: report.NewHistogram("group" + of + ": until every member has them")}
	bare := &turns{took: report.NewHistogram("bare gnet" + of + ": until every session has them")}
	sides := []struct {
		turns *turns
		seen  *measured
		round func(context.Context, int) (time.Duration, error)
		cpu   func() (time.Duration, error)
	}{
		{bare, besideBare, g.bare.Push, g.bare.CPU},
		{godwit, g.beside, g.round, g.serverCPU},
	}
	for i := range cfg.Rounds {
		for _, s := range sides {
			if err := g.whileChatting(ctx, s.seen, func() error {
				return s.turns.turn(ctx, cfg.For, burst, burst*(cfg.Members-1), s.round, s.cpu)
			}); err != nil {
				return err
			}
		}
		// What is left of a latency then is the machine's.
		if err := g.whileChatting(ctx, alone, func() error { return sleep(ctx, cfg.For) }); err != nil {
			return err
		}
		lastRate := func(t *turns) float64 { return t.rates[len(t.rates)-1] }
		g.say("bursts of %d, turn %d of %d: %.0f deliveries/s bare, %.0f in the group; direct p99 %v beside it, %v alone\n",
			burst, i+1, cfg.Rounds, lastRate(bare), lastRate(godwit), micros(g.beside.delivery.Latency().P99), micros(alone.delivery.Latency().P99))
	}
	value := func(v float64) float64 { return v }
	p99 := func(m *measured) float64 { return float64(m.delivery.Latency().P99) / 1000 }
	rate := report.Higher("deliveries"+of, "/s", middle(godwit.rates, value)).AsHeadline().OfCeiling("bare gnet", middle(bare.rates, value))
	if cfg.Members >= manySessions { // else what counts is the commit, which the bare server does not have
		rate = rate.WantRatio(wantOfBare)
	}
	r.Add(rate,
		report.Lower("direct message beside it, p99"+of, "ms", p99(g.beside)).AsHeadline().
			OfCeiling("while bare gnet pushes", p99(besideBare)).Want(wantDirect),
		report.Lower("direct message while nobody pushes, p99"+of, "ms", p99(alone)))
	if cfg.PID != 0 {
		r.Add(report.Lower("server's processor time per delivery"+of, "µs", godwit.perDelivery()).OfCeiling("bare gnet", bare.perDelivery()))
	}
	for _, h := range []*report.Histogram{godwit.took, bare.took, g.beside.delivery, besideBare.delivery, alone.delivery} {
		r.AddHistogram(h)
	}
	return nil
}

// turn runs rounds for a time; the first one warms up and does not count.
func (t *turns) turn(ctx context.Context, last time.Duration, burst, deliveries int,
	round func(context.Context, int) (time.Duration, error), cpu func() (time.Duration, error),
) error {
	if _, err := round(ctx, burst); err != nil {
		return err
	}
	before, err := cpu()
	if err != nil {
		return err
	}
	recorder := t.took.Recorder()
	var rates []float64
	for began := time.Now(); len(rates) == 0 || time.Since(began) < last; {
		took, err := round(ctx, burst)
		if err != nil {
			return err
		}
		recorder.Record(took)
		rates = append(rates, float64(deliveries)/took.Seconds())
		t.n += deliveries
	}
	after, err := cpu()
	t.cpu += after - before
	t.rates = append(t.rates, middle(rates, func(v float64) float64 { return v }))
	return err
}

// serverCPU is the processor time that the server has used; 0 where its process
// is not known.
func (g *groupRun) serverCPU() (time.Duration, error) {
	if g.cfg.PID == 0 {
		return 0, nil
	}
	p, err := report.ReadProcess(g.cfg.PID)
	return p.CPU, err
}

// atRate has messages leave at the rate.
func (g *groupRun) atRate(ctx context.Context, r *report.Report) error {
	cfg := g.cfg
	of := fmt.Sprintf(", %g/s", cfg.Rate)
	g.beside = newMeasured("beside the group" + of)
	delivery, ack := report.NewHistogram("group"+of+": "+Delivery), report.NewHistogram("group"+of+": "+Ack)
	g.each(func(l *groupLoop) { l.delivery, l.ack = delivery.Recorder(), ack.Recorder() })
	var written int
	err := g.whileChatting(ctx, g.beside, func() error {
		stop := every(time.Second, func() {
			p := delivery.Tick(time.Since(g.began))
			g.say("%d deliveries, p50 %v p99 %v\n", p.Count, micros(p.P50), micros(p.P99))
		})
		defer stop()
		g.onFirst(func(l *groupLoop) { l.begin(cfg.Rate) })
		if err := sleep(g.load.ctx, cfg.For); err != nil {
			return err
		}
		g.onFirst(func(l *groupLoop) { written = l.end() })
		return g.until(ctx, g.await(written))
	})
	g.each(func(l *groupLoop) { l.delivery, l.ack = nil, nil })
	if err != nil {
		return err
	}
	l := delivery.Latency()
	r.Add(
		report.Higher("deliveries"+of, "/s", float64(l.Count)/cfg.For.Seconds()).AsHeadline(),
		report.Lower("delivery p99"+of, "ms", float64(l.P99)/1000).AsHeadline(),
		report.Lower("direct message beside it, p99"+of, "ms", float64(g.beside.delivery.Latency().P99)/1000).AsHeadline().Want(wantDirect),
	)
	for _, h := range []*report.Histogram{ack, delivery, g.beside.delivery} {
		r.AddHistogram(h)
	}
	return nil
}

// The messages whose writes are counted: so many bursts of so many, whatever
// the run's are, so that runs with groups of any size can be compared.
const (
	countedRounds = 32
	countedBurst  = 16
)

// writes has the group alone be written to, and counts what the store does for
// a message.
func (g *groupRun) writes(ctx context.Context, r *report.Report) error {
	if g.cfg.MetricsURL != "" {
		before, err := report.ReadMetrics(ctx, g.cfg.MetricsURL)
		if err != nil {
			return err
		}
		for range countedRounds {
			if _, err := g.round(ctx, countedBurst); err != nil {
				return err
			}
		}
		after, err := report.ReadMetrics(ctx, g.cfg.MetricsURL)
		if err != nil {
			return err
		}
		per := func(metric string) float64 {
			return (after[metric] - before[metric]) / (countedRounds * countedBurst)
		}
		of := fmt.Sprintf(" per message, %d members", g.cfg.Members)
		r.Add(
			report.Lower("store: records"+of, "", per("godwit_store_committed_records_total")),
			report.Lower("store: committed"+of, "B", per("godwit_store_committed_bytes_total")).AsHeadline(),
			report.Lower("store: log"+of, "B", per(loggedBytes)),
			report.Lower("told of by HEADS alone", "", after["godwit_group_missed_total"]),
		)
	}
	var pulled atomic.Int64
	g.each(func(l *groupLoop) {
		for _, m := range l.members {
			pulled.Add(m.inbox.Pulled)
		}
	})
	r.Add(report.Lower("pulled, not pushed", "msgs", float64(pulled.Load())))
	return nil
}
