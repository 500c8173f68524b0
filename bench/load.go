package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/godwit-im/godwit/bench/client"
	"github.com/godwit-im/godwit/bench/fleet"
	"github.com/godwit-im/godwit/bench/report"
)

// load is a fleet with a pool of devices on each of its loops, and the first
// thing that went wrong.
type load struct {
	fleet  *fleet.Fleet
	pools  []*client.Pool
	ctx    context.Context // ends with the load; its cause is what went wrong
	cancel context.CancelCauseFunc
}

// defaultLoops leaves half of the processors to the server.
func defaultLoops() int { return max(1, runtime.GOMAXPROCS(0)/2) }

// startLoad makes an idle load of so many loops. It makes room for so many
// connections.
func startLoad(ctx context.Context, t *Target, loops, connections int, heartbeat time.Duration) (*load, error) {
	server, err := t.server(heartbeat)
	if err != nil {
		return nil, err
	}
	if err := fleet.RaiseFileLimit(connections + spareFiles); err != nil {
		return nil, err
	}
	f, err := fleet.New(loops)
	if err != nil {
		return nil, err
	}
	l := &load{fleet: f}
	l.ctx, l.cancel = context.WithCancelCause(ctx)
	for _, loop := range f.Loops() {
		l.pools = append(l.pools, client.NewPool(loop, server))
	}
	return l, nil
}

// spareFiles are what a process opens beside its connections.
const spareFiles = 64

// close ends the load and its connections; handlers are not told.
func (l *load) close() {
	l.cancel(errors.New("the load has ended"))
	l.fleet.Close()
}

// fail ends the run: the first err is its cause. Any goroutine may call it.
func (l *load) fail(err error) { l.cancel(err) }

// failure is what went wrong, nil if nothing did.
func (l *load) failure() error { return context.Cause(l.ctx) }

// lost fails the run for a device that should be connected.
func (l *load) lost(d *client.Device, err error) {
	if err != nil { // nil = this side closed it
		l.fail(fmt.Errorf("%s: %w", d.User, err))
	}
}

// each runs f on every loop, with the loop's number and pool, and returns when
// all have.
func (l *load) each(f func(i int, p *client.Pool)) {
	byLoop := map[*fleet.Loop]int{}
	for i, p := range l.pools {
		byLoop[p.Loop()] = i
	}
	l.fleet.Each(func(loop *fleet.Loop) {
		i := byLoop[loop]
		f(i, l.pools[i])
	})
}

// refused counts the attempts to connect that were turned away for the moment.
func (l *load) refused() (n int64) {
	for _, p := range l.pools {
		n += p.Refused()
	}
	return n
}

// wait waits until the countdown is over or the load has failed.
func (l *load) wait(c *countdown) error {
	select {
	case <-c.zero:
		return nil
	case <-l.ctx.Done():
		return l.failure()
	}
}

// sleep waits for a time to pass, or ctx to end; the error is ctx's cause.
func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// countdown tells when so many things are done. Any goroutine may call done.
type countdown struct {
	left atomic.Int64
	zero chan struct{} // closed
}

func newCountdown(n int) *countdown {
	c := &countdown{zero: make(chan struct{})}
	c.left.Store(int64(n))
	if n == 0 {
		close(c.zero)
	}
	return c
}

func (c *countdown) done() {
	if c.left.Add(-1) == 0 {
		close(c.zero)
	}
}

// pace calls f with 0 to n-1, so many times a second and evenly spread. It is
// called on the loop, and so is f.
func pace(loop *fleet.Loop, perSecond float64, n int, f func(i int)) {
	start, next := loop.Now(), 0
	var timer *fleet.Timer
	timer = loop.NewTimer(func() {
		for now := loop.Now(); next < n; next++ {
			due := start + time.Duration(float64(next)/perSecond*float64(time.Second))
			if due > now {
				timer.Set(due)
				return
			}
			f(next)
		}
	})
	timer.Set(start)
}

// userName is short, as the ids of real users are.
func userName(n int) string { return fmt.Sprintf("u%07d", n) }

// deviceName is that of all devices of the load.
const deviceName = "bench"

// broken is a promise that the server broke.
func broken(format string, args ...any) error {
	return &client.Violation{Text: fmt.Sprintf(format, args...)}
}

// violated puts an error that is a broken promise into the report, whose run
// then has a result, namely that; others it returns.
func violated(r *report.Report, err error) error {
	var v *client.Violation
	if errors.As(err, &v) {
		r.Violatef("%v", err)
		return nil
	}
	return err
}

// every calls f once a period on a goroutine of its own until stop is called,
// which waits for a call that is under way.
func every(period time.Duration, f func()) (stop func()) {
	done := make(chan struct{})
	var running sync.WaitGroup
	running.Go(func() {
		ticker := time.NewTicker(period)
		defer ticker.Stop()
		for {
			select {
			case <-ticker.C:
				f()
			case <-done:
				return
			}
		}
	})
	return func() {
		close(done)
		running.Wait()
	}
}

// orDiscard is where progress goes.
func orDiscard(w io.Writer) io.Writer {
	if w == nil {
		return io.Discard
	}
	return w
}

// split is the ith of n shares of total, and the total of those before it.
func split(total, n, i int) (first, size int) {
	first = total * i / n
	return first, total*(i+1)/n - first
}

// set gives an option that was left out its default.
func set[T comparable](option *T, fallback T) {
	var zero T
	if *option == zero {
		*option = fallback
	}
}
