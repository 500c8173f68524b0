package main

import (
	"context"
	"io"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/godwit-im/godwit/bench"
	"github.com/godwit-im/godwit/bench/report"
)

func newBenchStorm(program string) *cobra.Command {
	var (
		s   = scenario{program: program}
		cfg bench.StormConfig
	)
	cmd := &cobra.Command{
		Use:   "storm",
		Short: "All sessions are lost at once: how soon they are back, and that nothing is lost",
		Long: `All sessions are lost at once and come back: the network was gone, or with
--restart the server, which is killed and started again. They connect with their
tokens and sync from where they were, each after a random wait, and not before
the server's delay when it turns them away. A share of them is written to all
the while and must get every message once and in order; a few pairs chat beside
them, whose latencies show what others notice.`,
		Example: `  godwit bench storm --sessions 19000
  godwit bench storm --restart`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return s.run(cmd, cfg.Connections(), func(ctx context.Context, target bench.Target, progress io.Writer) (*report.Report, error) {
				cfg.Target, cfg.Progress = target, progress
				return bench.Storm(ctx, cfg)
			})
		},
	}
	fs := cmd.Flags()
	fs.IntVar(&cfg.Sessions, "sessions", 10_000, "users who lose their connections")
	fs.BoolVar(&cfg.Restart, "restart", false, "kill the server and start it again; only with a server that was started for the run")
	fs.DurationVar(&cfg.Away, "away", time.Second, "how long the network is gone")
	fs.DurationVar(&cfg.Slack, "slack", 500*time.Millisecond, "the most that a user waits before the first attempt to return")
	fs.Float64Var(&cfg.Addressed, "addressed", 0.25, "share of the users who are written to")
	fs.Float64Var(&cfg.Rate, "rate", 500, "messages a second to them")
	fs.IntVar(&cfg.Pairs, "pairs", 8, "pairs who chat beside them")
	fs.Float64Var(&cfg.PairRate, "pair-rate", 10, "messages a second of each pair")
	fs.DurationVar(&cfg.Calm, "calm", 3*time.Second, "time before the storm and after it")
	fs.DurationVar(&cfg.Patience, "patience", time.Minute, "how long the return may take")
	liveSessions(fs, &cfg.Size, 256, &cfg.PerSecond, &cfg.Heartbeat, &cfg.Loops)
	s.flags(fs)
	return cmd
}

// liveSessions adds the flags of the scenarios whose users come and go.
func liveSessions(fs *pflag.FlagSet, size *int, body int, perSecond *float64, heartbeat *time.Duration, loops *int) {
	fs.IntVar(size, "size", body, "body in bytes")
	fs.Float64Var(perSecond, "per-second", 2000, "connection attempts a second at the start")
	fs.DurationVar(heartbeat, "heartbeat", time.Minute, "interval that sessions ask for")
	fs.IntVar(loops, "loops", 0, "event loops of the load; 0 = one for every two processors")
}

func newBenchSlow(program string) *cobra.Command {
	var (
		s   = scenario{program: program}
		cfg bench.SlowConfig
	)
	cmd := &cobra.Command{
		Use:   "slow",
		Short: "Some receivers stop reading for a while: what that costs the server and the others",
		Long: `Pairs of users chat at a set rate. The receivers of some stop reading for a
while and then go on: the server's memory must stay within bounds meanwhile, the
others must not notice, and the slow ones must get every message once and in
order.`,
		Example: `  godwit bench slow --slow 0.5 --stall 40s`,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return s.run(cmd, cfg.Connections(), func(ctx context.Context, target bench.Target, progress io.Writer) (*report.Report, error) {
				cfg.Target, cfg.Progress = target, progress
				return bench.Slow(ctx, cfg)
			})
		},
	}
	fs := cmd.Flags()
	fs.IntVar(&cfg.Pairs, "pairs", 200, "pairs of users")
	fs.Float64Var(&cfg.Rate, "rate", 2000, "messages a second of all together")
	fs.Float64Var(&cfg.Slow, "slow", 0.1, "share of the pairs whose receivers stall")
	fs.DurationVar(&cfg.Stall, "stall", 20*time.Second, "how long they stall")
	fs.DurationVar(&cfg.Calm, "calm", 15*time.Second, "time before that, and after they have caught up")
	fs.IntVar(&cfg.ReceiveBuffer, "receive-buffer", 4<<10, "of the slow ones' sockets, in bytes")
	fs.DurationVar(&cfg.Patience, "patience", time.Minute, "how long they may take to catch up")
	liveSessions(fs, &cfg.Size, 4<<10, &cfg.PerSecond, &cfg.Heartbeat, &cfg.Loops)
	s.flags(fs)
	return cmd
}

func newBenchMixed(program string) *cobra.Command {
	var (
		s   = scenario{program: program}
		cfg bench.MixedConfig
	)
	cmd := &cobra.Command{
		Use:   "mixed",
		Short: "An ordinary day: chats, groups, events, read marks, presence, connections that come and go",
		Long: `Users chat with friends and in groups, small ones and a large one; edit, recall and
react to messages, mark what they have read, look who is online and are told
when friends come and go, say that they are typing, leave drafts, lose their
connections and come back, all at set rates and random times. A latency begins
when a thing was meant to happen, whether the load got to it or not. In groups
too every message and event must come once, in order and as it was sent or
changed.

A server of yours (--data) needs rules that let one user make the large group at
once: --rules invites-per-minute=1000000.`,
		Example: `  godwit bench mixed --people 5000 --messages 5000 --for 1m`,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			s.rules = cfg.ServerRules()
			return s.run(cmd, cfg.Connections(), func(ctx context.Context, target bench.Target, progress io.Writer) (*report.Report, error) {
				cfg.Target, cfg.Progress = target, progress
				return bench.Mixed(ctx, cfg)
			})
		},
	}
	fs := cmd.Flags()
	fs.IntVar(&cfg.People, "people", 1000, "users who do things")
	fs.IntVar(&cfg.Friends, "friends", 6, "friends of each, an even number")
	fs.IntVar(&cfg.Idle, "idle", 1000, "users who are only connected")
	fs.Float64Var(&cfg.Messages, "messages", 1000, "messages a second to friends, of all together")
	fs.IntVar(&cfg.Groups, "groups", 0, "small groups; 0 = one for every 20 users, -1 = none")
	fs.IntVar(&cfg.GroupSize, "group-size", 20, "members of each")
	fs.IntVar(&cfg.Large, "large", 0, "members of the large group; 0 = all users, -1 = there is none")
	fs.Float64Var(&cfg.GroupMessages, "group-messages", 50, "messages a second in the small groups together")
	fs.Float64Var(&cfg.LargeMessages, "large-messages", 1, "messages a second in the large group")
	fs.Float64Var(&cfg.Events, "events", 25, "edits, recalls and reactions a second in the small groups together")
	fs.Float64Var(&cfg.Typing, "typing", 50, "typing signals a second of all together")
	fs.Float64Var(&cfg.Settings, "settings", 10, "drafts a second of all together")
	fs.Float64Var(&cfg.Looks, "looks", 100, "looks a second at who is online, of all together")
	fs.Float64Var(&cfg.Marks, "marks", 0.3, "share of messages after which the receiver marks the conversation as read")
	fs.Float64Var(&cfg.Returns, "returns", 0.5, "share of users who lose the connection in a minute")
	fs.DurationVar(&cfg.Slack, "slack", 500*time.Millisecond, "the most that they wait before they come back")
	fs.DurationVar(&cfg.Warmup, "warmup", 2*time.Second, "time before measuring")
	fs.DurationVar(&cfg.For, "for", 30*time.Second, "time measured")
	liveSessions(fs, &cfg.Size, 256, &cfg.PerSecond, &cfg.Heartbeat, &cfg.Loops)
	s.flags(fs)
	return cmd
}
