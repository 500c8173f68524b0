package bench

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/godwit-im/godwit/bench/client"
	"github.com/godwit-im/godwit/bench/report"
)

// DirectConfig describes pairs of users, of whom one sends to the other.
//
// Without a rate that is a closed loop: the next message goes out when one of
// the window was both acked and received. It shows what the server can do, but
// one that stalls is sent less meanwhile, so the tail of an open system would
// be longer. With a rate, messages are meant to leave when they are, whatever
// the server does, and their latencies count from then on; one for which the
// window has no room waits.
type DirectConfig struct {
	Target
	Pairs  int // sending users; default 1
	Window int // messages under way per pair; default 1, with a rate as many as make 4,096 over all pairs, at most 64
	Size   int // body in bytes, at least 24; default 256
	// Rate is how many messages are meant to leave in a second, over all pairs;
	// 0 = a closed loop.
	Rate float64
	// Even spaces the messages of a Rate evenly; else they come at random, as a
	// Poisson process.
	Even bool
	// Sessions is how many users are online beside the pairs and silent.
	Sessions  int
	PerSecond float64       // connections while the run begins; default 2000
	Heartbeat time.Duration // that sessions ask for; default 60 s
	Warmup    time.Duration // at the start, not measured; default 1 s
	For       time.Duration // measured; default 10 s
	Loops     int           // event loops per process; default half of the processors
	Processes int           // of the load; default as many as hold the connections
	// Progress, where not nil, gets a line a second.
	Progress io.Writer
}

func (c *DirectConfig) withDefaults() error {
	set(&c.Pairs, 1)
	if c.Rate > 0 && c.Pairs > 0 {
		set(&c.Window, max(1, min(64, 4096/c.Pairs)))
	}
	set(&c.Window, 1)
	set(&c.Size, 256)
	set(&c.PerSecond, 2000)
	set(&c.Heartbeat, time.Minute)
	set(&c.Warmup, time.Second)
	set(&c.For, 10*time.Second)
	set(&c.Loops, defaultLoops())
	if c.Pairs < 0 || c.Window < 0 || c.Sessions < 0 || c.Loops < 0 || c.Processes < 0 || c.Rate < 0 || c.PerSecond < 0 ||
		c.Heartbeat < 0 || c.Warmup < 0 || c.For < 0 || c.Size < client.StampSize {
		return fmt.Errorf("bench: want positive numbers and bodies of at least %d bytes", client.StampSize)
	}
	if c.Pairs > idleUsers/2 {
		return fmt.Errorf("bench: at most %d pairs", idleUsers/2)
	}
	if c.Processes == 0 {
		var err error
		if c.Processes, err = c.processesFor(2*c.Pairs + c.Sessions); err != nil {
			return err
		}
	}
	return nil
}

// shape names the load in the figures: two reports can be compared where it is
// the same.
func (c *DirectConfig) shape() string {
	s := fmt.Sprintf("%d pairs × %d", c.Pairs, c.Window)
	if c.Rate > 0 {
		s = fmt.Sprintf("%d pairs at %.0f/s", c.Pairs, c.Rate)
	}
	if c.Sessions > 0 {
		s += fmt.Sprintf(" + %d idle", c.Sessions)
	}
	return s
}

// Direct runs the load until cfg.For has passed. A message that arrives twice,
// out of order, with another body or not at all is a violation and ends it.
func Direct(ctx context.Context, cfg DirectConfig) (*report.Report, error) {
	if err := cfg.withDefaults(); err != nil {
		return nil, err
	}
	r := cfg.report(ctx, "direct")
	run, err := cfg.start(ctx, r.Start)
	if err != nil {
		return nil, err
	}
	defer run.close()
	m, err := run.measure(ctx, cfg.Rate)
	r.Duration = time.Since(r.Start)
	if err := violated(r, err); err != nil {
		return nil, err
	}
	if m != nil {
		r.Add(m.rateFigure(cfg.shape()))
		r.Add(cfg.targets(m)...)
		m.addTo(r)
		r.AddHistogram(run.handshake)
	}
	return r, nil
}

// Ack and Delivery are the names of the latencies in the reports: from when a
// message was meant to leave until its sender had the ack, or its receiver had
// the message.
const (
	Ack      = "send → ack"
	Delivery = "send → delivery"
)

// directRun leads a direct load.
type directRun struct {
	cfg       *DirectConfig
	began     time.Time
	workers   *workers
	handshake *report.Histogram
	delivered int64 // by the measurements so far
}

// start has the workers connect all users. began is the time 0 of all series.
func (c *DirectConfig) start(ctx context.Context, began time.Time) (*directRun, error) {
	w, err := c.startWorkers(ctx, c.Processes)
	if err != nil {
		return nil, err
	}
	run := &directRun{cfg: c, began: began, workers: w, handshake: report.NewHistogram("handshake")}
	fmt.Fprintf(orDiscard(c.Progress), "connecting %d users\n", 2*c.Pairs+c.Sessions)
	runID := client.RunID(time.Now())
	_, err = call[struct{}](ctx, w, "Direct.Connect", func(i int) any {
		share := DirectShare{
			Window: c.Window, Size: c.Size, Loops: c.Loops, Heartbeat: c.Heartbeat, RunID: runID,
			PerSecond: c.PerSecond / float64(c.Processes),
		}
		share.FirstPair, share.Pairs = split(c.Pairs, c.Processes, i)
		share.FirstIdle, share.Idle = split(c.Sessions, c.Processes, i)
		return share
	})
	if err != nil {
		run.close()
		return nil, err
	}
	return run, nil
}

func (run *directRun) close() { run.workers.stop() }

// measured is what one measurement found.
type measured struct {
	took          time.Duration
	size          int    // of a body
	total         Sample // the counts of it all, and of this step's the latter two
	ack, delivery *report.Histogram
	rate          *report.Rate
	usage         report.Usage
	used          used  // from before the warm-up until nothing was under way
	usedFor       int64 // deliveries in all of that
}

// measure has the workers send for the warm-up and the time that is measured.
// The error may be a violation.
func (run *directRun) measure(ctx context.Context, rate float64) (*measured, error) {
	cfg := run.cfg
	m := &measured{
		took: cfg.For, size: cfg.Size,
		ack: report.NewHistogram(Ack), delivery: report.NewHistogram(Delivery),
		rate: report.NewRate("delivered", "Throughput", "msgs/s"),
	}
	before := cfg.use(run.workers.pids)
	_, err := call[struct{}](ctx, run.workers, "Direct.Begin", func(i int) any {
		_, pairs := split(cfg.Pairs, cfg.Processes, i)
		return DirectStep{
			Rate: rate * float64(pairs) / float64(cfg.Pairs), Even: cfg.Even, Warmup: cfg.Warmup, For: cfg.For,
		}
	})
	if err == nil {
		err = sleep(ctx, cfg.Warmup)
	}
	if err == nil {
		_, err = run.sample(ctx, "Direct.Sample", m)
	}
	if err != nil {
		return nil, err
	}
	sampler := cfg.sample(run.began, run.workers.pids...)
	err = run.watch(ctx, m)
	m.usage = sampler.Stop()
	if err != nil {
		return nil, err
	}
	_, err = run.sample(ctx, "Direct.End", m)
	m.used, m.usedFor = cfg.use(run.workers.pids).since(before), m.total.Delivered-run.delivered
	run.delivered = m.total.Delivered
	return m, err
}

// watch samples the workers once a second while they are measured, and at the end.
func (run *directRun) watch(ctx context.Context, m *measured) error {
	ends := time.Now().Add(run.cfg.For)
	for {
		left := time.Until(ends)
		if err := sleep(ctx, min(left, time.Second)); err != nil {
			return err
		}
		p, err := run.sample(ctx, "Direct.Sample", m)
		if err != nil {
			return err
		}
		fmt.Fprintf(orDiscard(run.cfg.Progress), "%4.0fs  %9.0f msgs/s  delivery p50 %v p99 %v\n",
			p.T, last(m.rate.Points), micros(p.P50), micros(p.P99))
		if left <= time.Second {
			return nil
		}
	}
}

// sample asks the workers what they have seen, by a method that tells.
func (run *directRun) sample(ctx context.Context, method string, m *measured) (report.LatencyPoint, error) {
	samples, err := call[Sample](ctx, run.workers, method, noArgs)
	if err != nil {
		return report.LatencyPoint{}, err
	}
	if m.total, err = sum(samples, run.handshake, m.ack, m.delivery); err != nil {
		return report.LatencyPoint{}, err
	}
	if v := m.total.Violations; len(v) > 0 {
		return report.LatencyPoint{}, broken("%s", v[0])
	}
	t := time.Since(run.began)
	m.rate.Sample(t, float64(m.total.Delivered))
	m.ack.Tick(t)
	return m.delivery.Tick(t), nil
}

// perSecond is how many messages were delivered in a second that was measured.
func (m *measured) perSecond() float64 { return float64(m.total.Counted) / m.took.Seconds() }

// rateFigure is the rate under the name of the load's shape.
func (m *measured) rateFigure(shape string) report.Figure {
	return report.Higher("rate, "+shape, "msgs/s", m.perSecond()).AsHeadline()
}

// The targets of latencies.
const (
	wantP99    = 5.0  // ms, from send to delivery at a rate, beside many sessions
	wantP999   = 20.0 // ms
	wantBehind = 200  // µs between the medians of ack and delivery of a message alone
	wantLog    = 1.6  // bytes of the store's log for each byte of bodies of wantLogAt
	wantLogAt  = 256
)

// targets are the figures of the latencies that should be within a bound.
func (c *DirectConfig) targets(m *measured) []report.Figure {
	d := m.delivery.Latency()
	switch {
	case c.Rate > 0 && c.Sessions > 0:
		return []report.Figure{
			report.Lower("delivery p99, "+c.shape(), "ms", float64(d.P99)/1000).AsHeadline().Want(wantP99),
			report.Lower("delivery p99.9, "+c.shape(), "ms", float64(d.P999)/1000).AsHeadline().Want(wantP999),
		}
	case c.single():
		behind := float64(d.P50 - m.ack.Latency().P50)
		return []report.Figure{report.Lower("delivery p50 behind ack p50, "+c.shape(), "µs", behind).Want(wantBehind)}
	}
	return nil
}

// single reports whether there is one message at a time.
func (c *DirectConfig) single() bool { return c.Rate == 0 && c.Pairs == 1 && c.Window == 1 }

func (m *measured) addTo(r *report.Report) {
	m.used.addTo(r, m.usedFor, "message")
	if n := float64(m.usedFor); m.used.logged > 0 && n > 0 && m.size == wantLogAt {
		r.Add(report.Lower("log per byte of bodies", "×", m.used.logged/n/wantLogAt).Want(wantLog))
	}
	r.Add(report.Lower("pulled, not pushed", "msgs", float64(m.total.Pulled)))
	if m.total.Unsent > 0 {
		r.Notef("%d messages found no room in the window until the end; they count with the time they had waited by then", m.total.Unsent)
	}
	r.AddHistogram(m.ack)
	r.AddHistogram(m.delivery)
	r.Series = append(r.Series, m.rate.Series)
	m.usage.AddTo(r)
}

func last(points []report.Point) float64 {
	if len(points) == 0 {
		return 0
	}
	return points[len(points)-1].Y
}

func micros(us int64) time.Duration { return time.Duration(us) * time.Microsecond }
