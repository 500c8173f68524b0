package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/godwit-im/godwit/bench"
	"github.com/godwit-im/godwit/bench/ceiling"
	"github.com/godwit-im/godwit/bench/fill"
	"github.com/godwit-im/godwit/bench/report"
)

// stopTimeout is how long a server may take to stop in good order.
const stopTimeout = 30 * time.Second

// serving returns what starts a server on a data directory, over and over.
func (s *scenario) serving(data string) func(ctx context.Context) (*bench.Served, error) {
	return func(ctx context.Context) (*bench.Served, error) {
		// All come at once, and from one machine.
		args := slices.Concat([]string{"--accept-rate=100000"}, s.serverArgs)
		began := time.Now()
		child, err := startChild(context.WithoutCancel(ctx), s.program, data, "127.0.0.1:0", args...)
		if err != nil {
			return nil, err
		}
		took := time.Since(began)
		found, err := load(data, child.instance)
		if err != nil {
			return nil, errors.Join(err, child.kill())
		}
		return &bench.Served{Target: found.target, Took: took, Stop: child.stop}, nil
	}
}

// stop ends the process in good order, with SIGKILL if that takes too long.
func (c *child) stop(ctx context.Context) error {
	if err := c.cmd.Process.Signal(os.Interrupt); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, stopTimeout)
	defer cancel()
	select {
	case <-c.exited:
		return nil
	case <-ctx.Done():
		return errors.Join(fmt.Errorf("the server did not stop within %v", stopTimeout), c.kill())
	}
}

// offline runs a scenario that starts its servers itself, on a data directory
// that is not there yet or, without --data, goes in the end.
func (s *scenario) offline(cmd *cobra.Command, f func(ctx context.Context, data string) (*report.Report, error)) error {
	return s.alone(cmd, func(ctx context.Context) (*report.Report, []string, error) {
		r, err := inDir(s.data, func(data string) (*report.Report, error) { return f(ctx, data) })
		return r, s.serverArgs, err
	})
}

// inDir calls f with dir or, where that is "", with a directory that goes in
// the end.
func inDir(dir string, f func(dir string) (*report.Report, error)) (r *report.Report, err error) {
	if dir == "" {
		if dir, err = os.MkdirTemp("", "godwit-bench-"); err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	}
	return f(dir)
}

// hasStore reports whether there is a store in a data directory.
func hasStore(data string) (bool, error) {
	_, err := os.Stat(storeDir(data))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

func newBenchSync(program string) *cobra.Command {
	var (
		s   = scenario{program: program}
		cfg bench.SyncConfig
	)
	cmd := &cobra.Command{
		Use:   "sync",
		Short: "Users come back after a while, and pull what they missed",
		Long: `Users who were there once come back: those who missed messages pull them all,
the others learn that there is nothing new. Between the two visits the server is
stopped and the messages are written into its store, by 'bench fill'. The same
number of messages, read and sent by bare Pebble and gnet in pages as large, is
the ceiling that the report compares with.

The server's store is --data, which must not be there yet, and stays; without
--data it is a directory that goes in the end.`,
		Example: `  godwit bench sync
  godwit bench sync --users 100000 --away 20000 --data /srv/bench`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return s.offline(cmd, func(ctx context.Context, data string) (*report.Report, error) {
				if there, err := hasStore(data); err != nil || there {
					return nil, errors.Join(err, usagef("%s has a store already; choose a directory that has none", data))
				}
				cfg.StoreDir, cfg.Serve, cfg.Progress = storeDir(data), s.serving(data), cmd.ErrOrStderr()
				cfg.Ceiling = func(ctx context.Context, p fill.Plan, concurrency int) (float64, error) {
					return scanAndSend(ctx, data, p, concurrency)
				}
				return bench.Sync(ctx, cfg)
			})
		},
	}
	fs := cmd.Flags()
	planFlags(fs, &cfg.Plan, 10_000, 2)
	fs.IntVar(&cfg.Concurrency, "concurrency", 256, "users on their way at a time")
	fs.IntVar(&cfg.Loops, "loops", 0, "event loops of the load; 0 = half of the processors")
	s.flags(fs)
	return cmd
}

// scanAndSend is how many messages a second bare Pebble and gnet read and send,
// on the file system of dir, in pages as a server's by default.
func scanAndSend(ctx context.Context, dir string, p fill.Plan, concurrency int) (float64, error) {
	each := p.Old + p.Missed
	page := min(newSettings().server.Delivery.PullLimit, p.Missed)
	r, err := ceiling.Scan(ctx, ceiling.ScanConfig{
		Dir: dir, Messages: max(each, min(p.MissedMessages(), 2_000_000)), Each: each, Page: page, Size: p.Size, Conns: concurrency,
	})
	return r.Sent, err
}

func newBenchStart(program string) *cobra.Command {
	var (
		s    = scenario{program: program}
		cfg  bench.StartConfig
		plan fill.Plan
	)
	cmd := &cobra.Command{
		Use:   "start",
		Short: "How long a server takes to start on a full store, and its memory then",
		Long: `Start servers in turn on a store full of messages and on an empty one. A --data
directory that has a store is started on as it is; else one is filled there.`,
		Example: `  godwit bench start
  godwit bench start --users 1000 --conversations 100 --old 100 --data ./full`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return s.offline(cmd, func(ctx context.Context, data string) (*report.Report, error) {
				there, err := hasStore(data)
				if err != nil {
					return nil, err
				}
				if !there {
					if _, err := fill.Old(ctx, fill.Config{Dir: storeDir(data), Progress: cmd.ErrOrStderr()}, plan); err != nil {
						return nil, err
					}
				}
				empty, err := os.MkdirTemp("", "godwit-bench-empty-")
				if err != nil {
					return nil, err
				}
				cfg.Full, cfg.Empty, cfg.Progress = s.serving(data), s.serving(empty), cmd.ErrOrStderr()
				r, err := bench.Start(ctx, cfg)
				return r, errors.Join(err, os.RemoveAll(empty))
			})
		},
	}
	fs := cmd.Flags()
	planFlags(fs, &plan, 1000, 100)
	fs.IntVar(&cfg.Runs, "runs", 5, "starts on each store")
	fs.DurationVar(&cfg.Settle, "settle", time.Second, "how long to wait before memory is read")
	s.flags(fs)
	return cmd
}
