package ceiling

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/godwit-im/godwit/bench/fleet"
	"github.com/godwit-im/godwit/bench/report"
)

// drainTimeout is how long the last frames of a run may take.
const drainTimeout = 2 * time.Minute

// Timing says how long to measure.
type Timing struct {
	Warmup time.Duration // before, not measured; default 300 ms
	For    time.Duration // default 3 s
}

func (t *Timing) withDefaults() error {
	set(&t.Warmup, 300*time.Millisecond)
	set(&t.For, 3*time.Second)
	if t.Warmup < 0 || t.For < 0 {
		return errors.New("ceiling: want positive durations")
	}
	return nil
}

// set gives an option that was left out its default.
func set[T comparable](option *T, fallback T) {
	var zero T
	if *option == zero {
		*option = fallback
	}
}

// Loops says how many event loops there are; 0 = GOMAXPROCS.
type Loops struct {
	Server, Load int
}

// Cost is the processor time per frame that was sent, warm-up included.
type Cost struct {
	Server, Load time.Duration
}

// flow is a part of a load: it keeps a window of frames under way and checks
// what comes back. Its methods, and all its work, belong to one loop.
type flow interface {
	// open makes the flow's connections; load.ready gets a token when they are.
	open(loop *fleet.Loop) error
	// begin sends the first window. When load.until has come and everything
	// has come back, load.done gets a token.
	begin(now time.Duration)
	// sent is how many frames were sent, for when the load is over.
	sent() uint64
}

// load is a closed loop of flows against a child.
type load struct {
	addr netip.AddrPort
	// What is sent in [from, until) of the fleet's clock is measured, and
	// nothing is sent after. Set before the flows begin.
	from, until time.Duration
	ready, done chan struct{}
	failed      chan error // takes one
	// first and second are the latencies that the kind of flow has.
	first, second *report.Histogram
	tallies       map[*fleet.Loop]tally // not changed once the flows are there
}

// tally is where the flows of one loop record what is sent in the measured
// time.
type tally struct {
	first, second *report.Recorder
}

// run starts a child for j and puts it under the load of so many flows. It
// returns what was measured when all that was sent has come back, and the
// child, which has counted as many frames, is gone.
func run(ctx context.Context, j job, timing Timing, loops Loops, first, second string, n int, flowOf func(l *load, i int) flow) (l *load, cost Cost, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	j.Loops = loops.Server
	server, err := start(ctx, j)
	if err != nil {
		return nil, Cost{}, err
	}
	defer func() { err = errors.Join(err, server.end()) }()
	fl, err := fleet.New(loopsOf(loops.Load))
	if err != nil {
		return nil, Cost{}, err
	}
	defer fl.Close()

	l = &load{
		addr:    server.addr,
		ready:   make(chan struct{}, n),
		done:    make(chan struct{}, n),
		failed:  make(chan error, 1),
		first:   report.NewHistogram(first),
		second:  report.NewHistogram(second),
		tallies: make(map[*fleet.Loop]tally),
	}
	for _, loop := range fl.Loops() {
		l.tallies[loop] = tally{first: l.first.Recorder(), second: l.second.Recorder()}
	}
	flows := make([]flow, n)
	each := func(do func(f flow, loop *fleet.Loop)) {
		for i, f := range flows {
			loop := fl.Loops()[i%len(fl.Loops())]
			loop.Post(func() { do(f, loop) })
		}
	}
	for i := range flows {
		flows[i] = flowOf(l, i)
	}
	each(func(f flow, loop *fleet.Loop) {
		if err := f.open(loop); err != nil {
			l.fail(err)
		}
	})
	if err := l.tokens(ctx, l.ready, n, patience, "connected"); err != nil {
		return nil, Cost{}, err
	}

	before, err := server.usage(ctx)
	if err != nil {
		return nil, Cost{}, err
	}
	ownBefore, err := ownCPU()
	if err != nil {
		return nil, Cost{}, err
	}
	l.from = fl.Now() + timing.Warmup
	l.until = l.from + timing.For
	each(func(f flow, loop *fleet.Loop) { f.begin(loop.Now()) })
	if err := l.tokens(ctx, l.done, n, timing.Warmup+timing.For+drainTimeout, "done"); err != nil {
		return nil, Cost{}, err
	}
	own, err := ownCPU()
	if err != nil {
		return nil, Cost{}, err
	}
	after, err := server.usage(ctx)
	if err != nil {
		return nil, Cost{}, err
	}
	fl.Close() // so that the flows and tallies are ours
	var sent uint64
	for _, f := range flows {
		sent += f.sent()
	}
	if got := after.Frames - before.Frames; got != sent {
		return nil, Cost{}, fmt.Errorf("ceiling: %d frames were sent and the server counted %d", sent, got)
	}
	if l.first.Latency().Count == 0 {
		return nil, Cost{}, fmt.Errorf("ceiling: nothing was sent in %v; the machine is busy, or measure for longer", timing.For)
	}
	per := time.Duration(sent)
	return l, Cost{Server: (after.CPU - before.CPU) / per, Load: (own - ownBefore) / per}, nil
}

// tokens waits for n of them.
func (l *load) tokens(ctx context.Context, from <-chan struct{}, n int, timeout time.Duration, what string) error {
	ctx, cancel := context.WithTimeoutCause(ctx, timeout, fmt.Errorf("ceiling: not all flows were %s after %v", what, timeout))
	defer cancel()
	for range n {
		select {
		case <-from:
		case err := <-l.failed:
			return err
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}

// fail ends the load with err. Any loop.
func (l *load) fail(err error) {
	select {
	case l.failed <- fmt.Errorf("ceiling: %w", err):
	default: // an earlier one is why
	}
}

// closed is told of every connection that is closed: none should be.
func (l *load) closed(what string, err error) { l.fail(fmt.Errorf("%s was closed: %w", what, err)) }

func (l *load) measured(sent time.Duration) bool { return sent >= l.from && sent < l.until }

// abandoned is what a handler returns as taken when the load has failed: all.
func (l *load) abandoned(b []byte, err error) int {
	l.fail(err)
	return len(b)
}
