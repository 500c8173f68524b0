package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/godwit-im/godwit/bench/report"
)

// StartConfig describes starts of a server on a store that holds much, and on
// one that holds nothing.
type StartConfig struct {
	// Full and Empty start a server as SyncConfig.Serve does.
	Full, Empty func(ctx context.Context) (*Served, error)
	// Runs of each, in turn; default 5. The figures are the medians.
	Runs int
	// Settle is how long to wait before memory is read; default 1 s.
	Settle time.Duration
	// Progress, where not nil, gets a line for each start.
	Progress io.Writer
}

func (c *StartConfig) withDefaults() error {
	set(&c.Runs, 5)
	set(&c.Settle, time.Second)
	if c.Progress == nil {
		c.Progress = io.Discard
	}
	if c.Full == nil || c.Empty == nil || c.Runs < 1 || c.Settle < 0 {
		return errors.New("bench: want two servers and positive numbers")
	}
	return nil
}

// started is what a start took.
type started struct{ seconds, rss []float64 }

// Start starts servers and measures how long it takes until they listen, and
// their memory.
func Start(ctx context.Context, cfg StartConfig) (*report.Report, error) {
	if err := cfg.withDefaults(); err != nil {
		return nil, err
	}
	var (
		r           *report.Report
		full, empty started
	)
	for range cfg.Runs {
		if err := cfg.start(ctx, "empty", cfg.Empty, &empty, &r); err != nil {
			return nil, err
		}
		if err := cfg.start(ctx, "full", cfg.Full, &full, &r); err != nil {
			return nil, err
		}
	}
	r.Add(
		report.Lower("start with a full store", "s", median(full.seconds)).AsHeadline().Want(1),
		report.Lower("start with an empty store", "s", median(empty.seconds)),
		report.Lower("server RSS more than empty", "B", median(full.rss)-median(empty.rss)).AsHeadline().Want(64<<20),
		report.Lower("server RSS, full store", "B", median(full.rss)),
		report.Lower("server RSS, empty store", "B", median(empty.rss)),
	)
	r.Duration = time.Since(r.Start)
	return r, nil
}

// start starts a server once, and makes the report where there is none yet.
func (c *StartConfig) start(ctx context.Context, name string, serve func(context.Context) (*Served, error), s *started, r **report.Report) (err error) {
	server, err := serve(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, server.Stop(context.WithoutCancel(ctx))) }()
	if *r == nil {
		*r = server.report(ctx, "start")
	}
	if err := sleep(ctx, c.Settle); err != nil {
		return err
	}
	p, err := report.ReadProcess(server.PID)
	if err != nil {
		return err
	}
	s.seconds = append(s.seconds, server.Took.Seconds())
	s.rss = append(s.rss, float64(p.RSS))
	// The progress is not worth a failure.
	_, _ = fmt.Fprintf(c.Progress, "%s: ready after %v, %d KiB\n", name, server.Took.Round(time.Millisecond), p.RSS>>10)
	return nil
}

// median of at least one number.
func median(v []float64) float64 {
	v = slices.Sorted(slices.Values(v))
	return (v[(len(v)-1)/2] + v[len(v)/2]) / 2
}
