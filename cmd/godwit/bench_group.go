package main

import (
	"context"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/godwit-im/godwit/bench"
	"github.com/godwit-im/godwit/bench/report"
)

func newBenchGroup(program string) *cobra.Command {
	var (
		s   = scenario{program: program}
		cfg bench.GroupConfig
	)
	cmd := &cobra.Command{
		Use:   "group",
		Short: "One group whose members are all online, beside bare gnet and beside a direct chat",
		Long: `Make a group, connect all of its members, and have some of them write bursts of
messages: the next burst goes out when every member has all of it. In turn with
it bare gnet, which stores nothing, pushes bursts as large to as many sessions:
the report has Godwit's rate as a ratio of that. All the while two users chat
directly, who should not notice; in a third turn they are alone. Every member must get every message once and in
order; what HEADS alone told of is pulled.

With --rate messages leave when they are meant to, and their latencies count
from then on; bare gnet then takes no part.

In the end the group alone is written to, and the report says what the server's
store does for a message: compare runs with few and many --members.

A server of yours (--data) needs rules that let one user add so many at once:
--rules members=100000,invites-per-minute=1000000.`,
		Example: `  godwit bench group
  godwit bench group --members 2 --bursts 16
  godwit bench group --members 1000 --rate 200 --for 10s`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			s.rules = cfg.ServerRules()
			return s.run(cmd, cfg.Connections(), func(ctx context.Context, target bench.Target, progress io.Writer) (*report.Report, error) {
				cfg.Target, cfg.Progress = target, progress
				return bench.Group(ctx, cfg)
			})
		},
	}
	fs := cmd.Flags()
	fs.IntVar(&cfg.Members, "members", 10_000, "members, all online")
	fs.IntVar(&cfg.Senders, "senders", 1, "of them, who write in turn; the bursts of several come to the server in pieces")
	fs.IntSliceVar(&cfg.Bursts, "bursts", []int{1, 16}, "messages that are written at once; each is measured by itself")
	fs.Float64Var(&cfg.Rate, "rate", 0, "messages a second, instead of bursts")
	fs.Float64Var(&cfg.DirectRate, "direct-rate", 200, "messages a second of the direct chat beside it")
	fs.IntVar(&cfg.Rounds, "rounds", 3, "turns of each burst, and as many of bare gnet; the medians count")
	fs.DurationVar(&cfg.For, "for", 2*time.Second, "time of each turn; with --rate of the whole")
	liveSessions(fs, &cfg.Size, 256, &cfg.PerSecond, &cfg.Heartbeat, &cfg.Loops)
	fs.Lookup("loops").Usage = "event loops of the members; 0 = all processors, as bare gnet's receiver"
	s.flags(fs)
	return cmd
}
