package main

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"github.com/godwit-im/godwit/bench/ceiling"
	"github.com/godwit-im/godwit/bench/fanout"
	"github.com/godwit-im/godwit/bench/report"
	"github.com/godwit-im/godwit/bench/sessions"
)

func newBenchCeiling() *cobra.Command {
	var (
		s   scenario
		cfg ceiling.Config
	)
	cmd := &cobra.Command{
		Use:   "ceiling",
		Short: "What this machine does at best: bare gnet, bare Pebble and the disk",
		Long: `Measure the least work that has the shape of Godwit's: gnet that echoes and
relays, Pebble that syncs and scans, and fdatasync. No Godwit server takes part.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return s.alone(cmd, func(ctx context.Context) (*report.Report, []string, error) {
				cfg.Progress = cmd.ErrOrStderr()
				r, err := inDir(cfg.Dir, func(dir string) (*report.Report, error) {
					in := cfg
					in.Dir = dir
					return ceiling.All(ctx, in)
				})
				return r, nil, err
			})
		},
	}
	fs := cmd.Flags()
	fs.StringVar(&cfg.Dir, "dir", "", "a `directory` on the disk to be measured (default: that of temporary files)")
	fs.DurationVar(&cfg.Warmup, "warmup", 300*time.Millisecond, "time before each measurement")
	fs.DurationVar(&cfg.For, "for", 1500*time.Millisecond, "time of each of some twenty measurements")
	fs.IntVar(&cfg.Messages, "messages", 300_000, "messages in the store that is scanned")
	s.reportFlags(fs)
	return cmd
}

func newBenchFanout() *cobra.Command {
	var (
		s   scenario
		cfg fanout.Config
	)
	cmd := &cobra.Command{
		Use:   "fanout",
		Short: "Live delivery to thousands of sessions, beside bare gnet",
		Long: `Push messages to thousands of sessions on real sockets, each message encoded once
and nothing stored, by Godwit's delivery path and by bare gnet in turn. With --group
the sessions are members of a group, and two more users chat beside it. For a
group of a whole server see 'bench group'.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return s.alone(cmd, func(ctx context.Context) (*report.Report, []string, error) {
				cfg.Progress = cmd.ErrOrStderr()
				r, err := fanout.Run(ctx, cfg)
				return r, nil, err
			})
		},
	}
	fs := cmd.Flags()
	fs.IntVar(&cfg.Sessions, "sessions", 10_000, "sessions that get every message")
	fs.IntVar(&cfg.Users, "users", 0, "users whom they belong to, in equal parts; 0 = one, with --group as many as sessions")
	fs.BoolVar(&cfg.Group, "group", false, "push to the users as members of a group, with a direct chat beside it")
	fs.IntVar(&cfg.Size, "size", 256, "body in bytes")
	fs.IntSliceVar(&cfg.Bursts, "bursts", []int{1, 16}, "messages that are pushed in a row; each is measured by itself")
	fs.DurationVar(&cfg.For, "for", 6*time.Second, "time of each of these, for both servers together")
	fs.IntVar(&cfg.Loops, "loops", 0, "event loops of each server; 0 = all processors")
	s.reportFlags(fs)
	return cmd
}

func newBenchSessions() *cobra.Command {
	var (
		s   scenario
		cfg sessions.Config
	)
	cmd := &cobra.Command{
		Use:   "sessions",
		Short: "A million sessions without sockets: what each takes, and what finding it does",
		Long: `Make session objects, with their timers and registry entries, on transports
without sockets, and hold them for some heartbeats of simulated time: what one
process would hold past the number of sockets that it may open.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return s.alone(cmd, func(ctx context.Context) (*report.Report, []string, error) {
				cfg.Progress = cmd.ErrOrStderr()
				r, err := sessions.Run(ctx, cfg)
				return r, nil, err
			})
		},
	}
	fs := cmd.Flags()
	fs.IntVar(&cfg.Sessions, "sessions", 1_000_000, "sessions, of as many users")
	fs.DurationVar(&cfg.Heartbeat, "heartbeat", time.Minute, "how often each of them is heard of")
	fs.IntVar(&cfg.Loops, "loops", 0, "timing wheels that share them; 0 = all processors")
	fs.IntVar(&cfg.Turns, "turns", 3, "heartbeats of simulated time, at least 2")
	fs.IntVar(&cfg.Lookups, "lookups", 2_000_000, "lookups by user on every processor")
	s.reportFlags(fs)
	return cmd
}
