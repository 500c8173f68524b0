package main

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/godwit-im/godwit/bench/fleet"
	"github.com/godwit-im/godwit/bench/report"
)

// shape is a load of pairs.
type shape struct {
	Pairs int `json:"pairs"`
	// Window is how many messages of a pair may be under way.
	Window int `json:"window"`
	// Rate is how many messages all pairs together are to send a second. 0: the
	// next one goes when one of the window is through.
	Rate float64 `json:"rate,omitempty"`
}

func (s shape) String() string {
	if s.Rate > 0 {
		return fmt.Sprintf("%.0f/s over %d pairs", s.Rate, s.Pairs)
	}
	return fmt.Sprintf("%d × %d", s.Pairs, s.Window)
}

// measurement is what a run of a shape measured.
type measurement struct {
	// PerSecond counts the messages that were acknowledged and delivered.
	PerSecond float64        `json:"messages_per_second"`
	Ack       report.Latency `json:"send_to_ack"`
	Delivery  report.Latency `json:"send_to_delivery"`
	// Overloaded: the server was still busy with what it had been sent long
	// after the end.
	Overloaded bool `json:"overloaded,omitempty"`
	// Violations are messages that were lost, doubled, out of order or not what
	// was sent.
	Violations []string `json:"violations,omitempty"`
}

// Bounds of a run.
const (
	// loops of the load: one per processor of the machines that this is meant
	// for, which leave the server its half of the time.
	loops = 2
	// A run that makes no progress for stalled after its end has lost messages.
	stalled = 20 * time.Second
	// What is not through in patience after the end of a run is given up.
	patience = time.Minute
	// How long all connections together may take to open.
	openTimeout = 60 * time.Second
	// maxViolations is how many are listed.
	maxViolations = 10
)

// load is a run of a shape.
type load struct {
	shape
	// What is sent from from on is measured, and nothing is sent from until on,
	// by the fleet's clock. Set before anything is sent.
	began, from, until time.Duration

	opening  countdown // connections
	draining countdown // pairs

	lanes      []*lane
	acks       *report.Histogram
	deliveries *report.Histogram
	fail       context.CancelCauseFunc

	mu         sync.Mutex // guards the next two
	violations []string
	more       int // violations that are not listed
}

// lane is a loop's part of a load.
type lane struct {
	load    *load
	loop    *fleet.Loop
	dialler dialler
	pairs   []*pair

	acks, deliveries *report.Recorder
	total            atomic.Int64 // messages that are through
	measured         atomic.Int64 // those that were so between from and until
}

func (l *lane) ack(sent time.Duration) {
	if sent >= l.load.from {
		l.acks.Record(l.loop.Now() - sent)
	}
}

func (l *lane) delivery(sent time.Duration) {
	if sent >= l.load.from {
		l.deliveries.Record(l.loop.Now() - sent)
	}
}

func (l *lane) through(n int64) {
	l.total.Add(n)
	if now := l.loop.Now(); now >= l.load.from && now < l.load.until {
		l.measured.Add(n)
	}
}

func (r *load) violated(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.violations) == maxViolations {
		r.more++
		return
	}
	r.violations = append(r.violations, err.Error())
}

func (r *load) total() (n int64) {
	for _, l := range r.lanes {
		n += l.total.Load()
	}
	return n
}

// runs counts the loads of this process, so that no two have a user in common.
var runs atomic.Uint64

// direct puts a server under a load: warmup, then measured for the time given.
// The error is of a run that could not be made; a server that breaks a promise
// is not one.
func direct(ctx context.Context, s *server, sh shape, warmup, measure time.Duration) (measurement, error) {
	f, err := fleet.New(loops)
	if err != nil {
		return measurement{}, err
	}
	defer f.Close()
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	r := &load{shape: sh, acks: report.NewHistogram("send → ack"), deliveries: report.NewHistogram("send → delivery"), fail: fail}
	r.prepare(f, s)
	f.Each(func(l *fleet.Loop) { r.laneOf(l).dialler.start() })
	if err := r.opening.wait(ctx, openTimeout, "connections were not open"); err != nil {
		return measurement{}, err
	}
	r.began = f.Now()
	if r.Rate > 0 {
		r.began += 10 * time.Millisecond // so that the first ones are not late
	}
	r.from = r.began + warmup
	r.until = r.from + measure
	f.Each(func(l *fleet.Loop) {
		for _, p := range r.laneOf(l).pairs {
			p.start()
		}
	})
	overloaded, err := r.drain(ctx, r.until-f.Now())
	if err != nil {
		return measurement{}, err
	}
	if !overloaded {
		f.Each(func(l *fleet.Loop) { r.laneOf(l).findLost() })
	}
	return r.measurement(measure, overloaded), nil
}

// prepare spreads the pairs over the loops.
func (r *load) prepare(f *fleet.Fleet, s *server) {
	run := runs.Add(1)
	r.opening.start(2 * r.Pairs)
	r.draining.start(r.Pairs)
	for _, l := range f.Loops() {
		r.lanes = append(r.lanes, &lane{
			load: r, loop: l, acks: r.acks.Recorder(), deliveries: r.deliveries.Recorder(),
			dialler: dialler{loop: l, server: s, failed: r.fail},
		})
	}
	for i := range r.Pairs {
		l := r.lanes[i%len(r.lanes)]
		p := &pair{lane: l, checker: checker{pair: run<<32 | uint64(i)}, times: make([]time.Duration, r.Window)}
		if r.Rate > 0 {
			p.interval = float64(time.Second) * float64(r.Pairs) / r.Rate
			p.first = time.Duration(p.interval * float64(i) / float64(r.Pairs))
			p.timer = l.loop.NewTimer(p.pump)
		}
		l.pairs = append(l.pairs, p)
		from, to := fmt.Sprintf("r%d-p%d-from", run, i), fmt.Sprintf("r%d-p%d-to", run, i)
		l.dialler.waiting = append(l.dialler.waiting,
			dial{link: link{user: from, to: to}, source: source(i), owner: end{pair: p, sends: true}},
			dial{link: link{user: to, receives: true}, source: source(i), owner: end{pair: p}})
	}
}

func (r *load) laneOf(loop *fleet.Loop) *lane {
	for _, l := range r.lanes {
		if l.loop == loop {
			return l
		}
	}
	panic("peers: a loop of another fleet")
}

// drain waits until everything that was sent is through, and reports whether
// it gave up on a server that was still at it.
func (r *load) drain(ctx context.Context, left time.Duration) (overloaded bool, err error) {
	select {
	case <-time.After(left):
	case <-ctx.Done():
		return false, context.Cause(ctx)
	}
	ticker := time.NewTicker(100 * time.Millisecond)
	defer ticker.Stop()
	over := time.Now()
	last, at := r.total(), over
	for {
		select {
		case <-r.draining.zero:
			return false, nil
		case <-ctx.Done():
			return false, context.Cause(ctx)
		case now := <-ticker.C:
			if total := r.total(); total != last {
				last, at = total, now
			}
			switch {
			case now.Sub(at) > stalled:
				return false, nil
			case now.Sub(over) > patience:
				return true, nil
			}
		}
	}
}

// findLost records what did not come.
func (l *lane) findLost() {
	for _, p := range l.pairs {
		if lost := p.sent - p.checker.delivered; lost > 0 {
			l.load.violated(fmt.Errorf("pair %#x: %d of %d messages did not come", p.checker.pair, lost, p.sent))
		}
		if lost := p.sent - p.acked; lost > 0 {
			l.load.violated(fmt.Errorf("pair %#x: %d of %d messages were not acknowledged", p.checker.pair, lost, p.sent))
		}
	}
}

func (r *load) measurement(measured time.Duration, overloaded bool) measurement {
	m := measurement{Ack: r.acks.Latency(), Delivery: r.deliveries.Latency(), Overloaded: overloaded}
	m.Ack.Curve, m.Delivery.Curve = nil, nil
	for _, l := range r.lanes {
		m.PerSecond += float64(l.measured.Load()) / measured.Seconds()
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	m.Violations = r.violations
	if r.more > 0 {
		m.Violations = append(m.Violations, fmt.Sprintf("and %d more", r.more))
	}
	return m
}

// countdown closes zero when Done was called as often as start said.
type countdown struct {
	left atomic.Int64
	zero chan struct{}
}

func (c *countdown) start(n int) {
	c.left.Store(int64(n))
	c.zero = make(chan struct{})
}

// Done may be called from any goroutine.
func (c *countdown) Done() {
	if c.left.Add(-1) == 0 {
		close(c.zero)
	}
}

// wait waits for a countdown, for at most timeout.
func (c *countdown) wait(ctx context.Context, timeout time.Duration, what string) error {
	select {
	case <-c.zero:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(timeout):
		return fmt.Errorf("%d %s after %v", c.left.Load(), what, timeout)
	}
}
