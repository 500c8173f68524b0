package bench

import (
	"context"
	"fmt"
	"io"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
)

// DirectConfig describes pairs of users, of whom one sends to the other as
// fast as its window allows: the next message goes out when one of the window
// was both acked and received. That is a closed loop: a server that stalls is
// sent less meanwhile, so the tail of an open system would be longer.
type DirectConfig struct {
	Target
	Pairs  int           // sending users; default 1
	Window int           // messages under way per pair; default 1
	Size   int           // body in bytes, at least 16; default 256
	Warmup time.Duration // at the start, not measured; default 1 s
	For    time.Duration // measured; default 10 s
	// Progress, where not nil, gets a line a second.
	Progress io.Writer
}

func (c *DirectConfig) withDefaults() error {
	set(&c.Pairs, 1)
	set(&c.Window, 1)
	set(&c.Size, 256)
	set(&c.Warmup, time.Second)
	set(&c.For, 10*time.Second)
	if c.Pairs < 0 || c.Window < 0 || c.Size < stampSize || c.Warmup < 0 || c.For < 0 {
		return fmt.Errorf("bench: want positive numbers and bodies of at least %d bytes", stampSize)
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

// DirectReport is what a direct run measured.
type DirectReport struct {
	Pairs    int     `json:"pairs"`
	Window   int     `json:"window"`
	Size     int     `json:"body_bytes"`
	Seconds  float64 `json:"seconds"`
	Messages int64   `json:"messages"`
	Rate     float64 `json:"messages_per_second"`
	// Pulled counts the messages that a receiver had to pull, since the server
	// found it slow; they are in Messages, and in Delivery from send to pull.
	Pulled int64 `json:"pulled"`
	// Ack is from the write of SEND to the reading of SENT, Delivery to the
	// reading of MESSAGE by the receiver, on the same clock.
	Ack      Latency `json:"send_to_ack"`
	Delivery Latency `json:"send_to_delivery"`
}

// Direct runs the load until cfg.For has passed. A message that arrives twice,
// out of order, with another body or not at all ends it with an error.
func Direct(ctx context.Context, cfg DirectConfig) (*DirectReport, error) {
	if err := cfg.withDefaults(); err != nil {
		return nil, err
	}
	run := &directRun{cfg: cfg, clock: time.Now()}
	pairs := make([]*pair, cfg.Pairs)
	defer func() {
		for _, p := range pairs {
			p.close()
		}
	}()
	group, dialling := errgroup.WithContext(ctx)
	group.SetLimit(32) // handshakes at a time
	for i := range pairs {
		group.Go(func() (err error) {
			pairs[i], err = run.newPair(dialling, i)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	return run.measure(ctx, pairs)
}

// directRun is what the pairs of one run share.
type directRun struct {
	cfg      DirectConfig
	clock    time.Time     // all times are durations since
	from     time.Duration // what is sent in [from, until) is measured
	until    time.Duration
	received atomic.Int64 // by all pairs, for the progress
}

func (run *directRun) now() time.Duration { return time.Since(run.clock) }

func (run *directRun) measured(sent time.Duration) bool {
	return sent >= run.from && sent < run.until
}

func (run *directRun) measure(ctx context.Context, pairs []*pair) (*DirectReport, error) {
	run.from = run.now() + run.cfg.Warmup
	run.until = run.from + run.cfg.For
	stopProgress := every(time.Second, func() {
		fmt.Fprintf(orDiscard(run.cfg.Progress), "%4.0fs  %d messages received\n", run.now().Seconds(), run.received.Load())
	})
	defer stopProgress()
	group, ctx := errgroup.WithContext(ctx)
	for _, p := range pairs {
		// The first error cuts every connection, which ends the others' reads.
		stop := context.AfterFunc(ctx, p.close)
		defer stop()
		group.Go(func() error { return p.send(ctx) })
		group.Go(p.readAcks)
		group.Go(p.receive)
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	report := &DirectReport{Pairs: run.cfg.Pairs, Window: run.cfg.Window, Size: run.cfg.Size, Seconds: run.cfg.For.Seconds()}
	ack, delivery := newHistogram(), newHistogram()
	for _, p := range pairs {
		ack.Merge(p.ack)
		delivery.Merge(p.delivery)
		report.Pulled += p.pulled
	}
	report.Messages = delivery.TotalCount()
	report.Rate = float64(report.Messages) / report.Seconds
	report.Ack, report.Delivery = latency(ack), latency(delivery)
	return report, nil
}

// WriteTable writes the report for people.
func (r *DirectReport) WriteTable(w io.Writer) {
	fmt.Fprintf(w, "%d pairs, window %d, bodies of %d B, %.0f s: %d messages, %.0f/s, %d of them pulled\n",
		r.Pairs, r.Window, r.Size, r.Seconds, r.Messages, r.Rate, r.Pulled)
	writeLatencies(w, []string{"send → ack", "send → delivery"}, []Latency{r.Ack, r.Delivery})
}
