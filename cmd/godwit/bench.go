package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/godwit-im/godwit/bench"
	"github.com/godwit-im/godwit/bench/node"
	"github.com/godwit-im/godwit/bench/report"
)

// newBench makes the command; program is what the user typed to run us.
func newBench(program string) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "bench",
		Short: "Load a server on this machine and check and measure what it does",
		Long: `Load a server on this machine and check and measure what it does. Every message
is checked to arrive once, in order and as it was sent; a run in which one was
not has failed, whatever its speed.

The server is the one that runs on --data with a development key. Where --data
is left out and none runs on the default directory, a server is started on a
directory of its own, which is removed in the end.`,
	}
	cmd.AddCommand(
		newBenchDirect(program), newBenchConnect(program), newBenchStorm(program), newBenchSlow(program), newBenchGroup(program), newBenchMixed(program),
		newBenchSync(program), newBenchStart(program), newBenchFill(),
		newBenchCeiling(), newBenchFanout(), newBenchSessions(), newBenchWorker(),
	)
	return cmd
}

// scenario is what the scenarios' commands have in common.
type scenario struct {
	program    string
	data       string
	serverArgs []string
	rules      string // of a server that is started; "" = its defaults
	asJSON     bool
	html       string
	against    string
}

func (s *scenario) flags(fs *pflag.FlagSet) {
	fs.StringVar(&s.data, "data", "", "data `directory` of the server to load (default: "+envPrefix+"DATA, else "+defaultData+")")
	fs.StringArrayVar(&s.serverArgs, "server", nil, "a `flag` for the server that is started, as in --server=--durability=interval; may be repeated")
	s.reportFlags(fs)
}

// reportFlags are those of a scenario without a server.
func (s *scenario) reportFlags(fs *pflag.FlagSet) {
	fs.BoolVar(&s.asJSON, "json", false, "print the report as JSON")
	fs.StringVar(&s.html, "html", "", "write the report with its charts to this `file`, one page that needs nothing else")
	fs.StringVar(&s.against, "against", "", "compare with the report in this `file`, which --json has written")
	fs.SortFlags = false
}

// run runs a scenario that needs so many connections and prints its report.
func (s *scenario) run(cmd *cobra.Command, connections int, f func(context.Context, bench.Target, io.Writer) (*report.Report, error)) error {
	return s.alone(cmd, func(ctx context.Context) (*report.Report, []string, error) {
		progress := cmd.ErrOrStderr()
		found, stop, err := s.findServer(ctx, connections, progress)
		if err != nil {
			return nil, nil, err
		}
		r, err := f(ctx, found.target, progress)
		return r, found.Settings, errors.Join(err, stop())
	})
}

// alone runs a scenario that finds or starts its server itself, if it needs
// one, and prints its report. f returns the server's settings with it.
func (s *scenario) alone(cmd *cobra.Command, f func(context.Context) (*report.Report, []string, error)) error {
	base, err := s.base()
	if err != nil {
		return err
	}
	// A server and processes that were started must not outlive the command.
	ctx, stopSignals := signal.NotifyContext(cmd.Context(), syscall.SIGINT, syscall.SIGTERM)
	defer stopSignals()
	r, settings, err := f(ctx)
	if ctx.Err() != nil {
		return errors.Join(errors.New("interrupted"), err)
	}
	if err != nil {
		return err
	}
	r.Flags = reportFlags(cmd.Flags(), settings)
	if err := s.write(cmd.OutOrStdout(), r, base); err != nil {
		return err
	}
	return r.Err()
}

// base reads the report to compare with; nil if there is none.
func (s *scenario) base() (*report.Report, error) {
	if s.against == "" {
		return nil, nil
	}
	f, err := os.Open(s.against)
	if err != nil {
		return nil, usageError{err}
	}
	defer f.Close()
	base, err := report.ReadJSON(f)
	if err != nil {
		return nil, usagef("%s: %w", s.against, err)
	}
	return base, nil
}

func (s *scenario) write(out io.Writer, r, base *report.Report) error {
	if s.html != "" {
		if err := writeHTML(s.html, r, base); err != nil {
			return err
		}
	}
	if s.asJSON {
		return r.WriteJSON(out)
	}
	if err := r.WriteTable(out); err != nil || base == nil {
		return err
	}
	say(out, "\n")
	return report.Diff(base, r).WriteTable(out)
}

func writeHTML(path string, r, base *report.Report) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	reports := []*report.Report{r}
	if base != nil {
		reports = []*report.Report{base, r}
	}
	return errors.Join(report.WriteHTML(f, reports...), f.Close())
}

// reportFlags are all flags of the command, and what the server was given.
func reportFlags(fs *pflag.FlagSet, server []string) (flags []report.Flag) {
	fs.VisitAll(func(f *pflag.Flag) {
		if f.Name != "help" {
			flags = append(flags, report.Flag{Name: f.Name, Value: f.Value.String(), Default: !f.Changed})
		}
	})
	for _, setting := range server {
		flags = append(flags, report.Flag{Name: "server", Value: setting})
	}
	return flags
}

// loaded is the server under load.
type loaded struct {
	instance
	target bench.Target
}

// findServer finds the server of the data directory, or starts one where none
// was named. stop ends one that was started.
func (s *scenario) findServer(ctx context.Context, connections int, progress io.Writer) (found loaded, stop func() error, err error) {
	data := firstOf(s.data, os.Getenv(envPrefix+"DATA"))
	running, there, err := lookUp(firstOf(data, defaultData))
	switch {
	case err != nil:
		return loaded{}, nil, err
	case !there && data == "":
		return s.startServer(ctx, connections, progress)
	case !there:
		return loaded{}, nil, usagef("no server runs on %s; start one with 'godwit serve --dev', or leave --data out", data)
	case len(s.serverArgs) > 0:
		return loaded{}, nil, usagef("--server is for a server that is started, and one runs on %s already", firstOf(data, defaultData))
	}
	found, err = load(firstOf(data, defaultData), running)
	return found, func() error { return nil }, err
}

// load is a running server as the target of a load.
func load(data string, running instance) (loaded, error) {
	keys, err := loadDevKeys(data)
	if err != nil {
		return loaded{}, err
	}
	if keys == nil {
		return loaded{}, usagef("the server on %s has no development key, and the load needs a token for every user it makes up; start it with 'godwit serve --dev'", data)
	}
	exe, err := os.Executable()
	if err != nil {
		return loaded{}, err
	}
	return loaded{running, bench.Target{
		Addr:       running.Listen,
		Token:      func(user string) (string, error) { return keys.sign(running, user, time.Hour) },
		PID:        running.PID,
		MetricsURL: "http://" + running.Admin + "/metrics",
		DataDir:    data,
		Durability: running.Durability,
		Worker: func(ctx context.Context) *exec.Cmd {
			return exec.CommandContext(ctx, exe, "bench", "worker", "--data", data)
		},
	}}, nil
}

// startServer starts a server on a directory of its own.
func (s *scenario) startServer(ctx context.Context, connections int, progress io.Writer) (loaded, func() error, error) {
	dir, err := os.MkdirTemp("", "godwit-bench-")
	if err != nil {
		return loaded{}, nil, err
	}
	remove := func() error { return os.RemoveAll(dir) }
	args := slices.Clone(s.serverArgs)
	// At the front, so that --server may still say otherwise.
	if s.rules != "" {
		args = slices.Insert(args, 0, "--rules="+s.rules)
	}
	if most := newSettings().server.Net.MaxConns; connections > most {
		args = slices.Insert(args, 0, fmt.Sprintf("--max-connections=%d", connections))
	}
	addr, err := node.FreeAddr()
	if err != nil {
		return loaded{}, nil, errors.Join(err, remove())
	}
	child, err := startChild(ctx, s.program, dir, addr, args...)
	if err != nil {
		return loaded{}, nil, errors.Join(err, remove())
	}
	stop := func() error { return errors.Join(child.kill(), remove()) }
	say(progress, "started a server on %s (%s), process %d\n", dir, report.LoadDisk(dir).FileSystem, child.PID)
	found, err := load(dir, child.instance)
	if err != nil {
		return loaded{}, nil, errors.Join(err, stop())
	}
	found.target.Restart = func(context.Context) (bench.Target, error) {
		err := child.kill()
		if err != nil {
			return bench.Target{}, err
		}
		again, err := startChild(ctx, s.program, dir, addr, args...)
		if err != nil {
			return bench.Target{}, err
		}
		child = again
		found, err := load(dir, child.instance)
		return found.target, err
	}
	return found, stop, nil
}

// newBenchWorker makes the command of the processes that a load is spread over.
func newBenchWorker() *cobra.Command {
	var data string
	cmd := &cobra.Command{
		Use:    "worker",
		Short:  "Be one of several processes of a load (started by the others)",
		Hidden: true,
		Args:   cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			running, err := readInstance(instanceFile(data))
			if err != nil {
				return err
			}
			found, err := load(data, running)
			if err != nil {
				return err
			}
			return bench.ServeWorker(cmd.Context(), found.target, bench.Stdio())
		},
	}
	cmd.Flags().StringVar(&data, "data", "", "data directory of the server")
	return cmd
}

func newBenchDirect(program string) *cobra.Command {
	var (
		s      = scenario{program: program}
		cfg    bench.LadderConfig
		ladder bool
		beside bool // its ceilings
		rounds int
	)
	cmd := &cobra.Command{
		Use:   "direct",
		Short: "Pairs of users: one sends, the other receives",
		Long: `Pairs of users, one sending to the other. Without --rate that is a closed loop:
the next message goes out when one of the window was both acked and received.
With --rate messages leave when they are meant to, and their latencies count
from then on, whether or not the server kept up. --ladder finds the highest rate
at which the p99 of delivery stays under --p99.

--ceiling measures in turn what this machine does at best with the same pairs
and windows: gnet that relays and stores nothing, gnet and Pebble that store and
sync but understand nothing, Pebble's synced commits alone, and fdatasync. The
report has Godwit as a ratio of each.`,
		Example: `  godwit bench direct --pairs 64 --window 8
  godwit bench direct --pairs 64 --window 8 --ceiling
  godwit bench direct --pairs 512 --rate 20000 --sessions 10000
  godwit bench direct --pairs 512 --ladder --p99 5ms --html ladder.html`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			switch {
			case beside && (ladder || cfg.Rate != 0):
				return usagef("--ceiling is for a closed loop, without --rate and --ladder")
			case (ladder || beside) && !cmd.Flags().Changed("for"):
				cfg.For = 3 * time.Second
			}
			return s.run(cmd, 2*cfg.Pairs+cfg.Sessions, func(ctx context.Context, target bench.Target, progress io.Writer) (*report.Report, error) {
				cfg.Target, cfg.Progress = target, progress
				switch {
				case ladder:
					return bench.Ladder(ctx, cfg)
				case beside:
					return bench.Beside(ctx, bench.BesideConfig{DirectConfig: cfg.DirectConfig, Rounds: rounds})
				}
				return bench.Direct(ctx, cfg.DirectConfig)
			})
		},
	}
	fs := cmd.Flags()
	fs.IntVar(&cfg.Pairs, "pairs", 1, "sending users")
	fs.IntVar(&cfg.Window, "window", 0, "messages under way per pair (default 1; at a rate 4,096 over all, at most 64 each)")
	fs.IntVar(&cfg.Size, "size", 256, "body in bytes")
	fs.Float64Var(&cfg.Rate, "rate", 0, "messages a second over all pairs; 0 = as many as the windows allow")
	fs.BoolVar(&cfg.Even, "even", false, "space the messages of --rate evenly, not at random")
	fs.BoolVar(&ladder, "ladder", false, "find the highest rate; --rate is where to begin (default 2000)")
	fs.DurationVar(&cfg.P99, "p99", 5*time.Millisecond, "what the p99 of delivery may be with --ladder")
	fs.BoolVar(&beside, "ceiling", false, "measure what this machine does at best, too, and compare")
	fs.IntVar(&rounds, "rounds", 3, "how often each is measured with --ceiling; the medians count")
	fs.IntVar(&cfg.Sessions, "sessions", 0, "users beside the pairs who are online and silent")
	fs.Float64Var(&cfg.PerSecond, "per-second", 2000, "connections a second at the beginning")
	fs.DurationVar(&cfg.Heartbeat, "heartbeat", time.Minute, "interval that sessions ask for")
	fs.DurationVar(&cfg.Warmup, "warmup", time.Second, "time before measuring")
	fs.DurationVar(&cfg.For, "for", 10*time.Second, "time measured (with --ladder for each step, with --ceiling in each turn; default 3s)")
	spread(fs, &cfg.Loops, &cfg.Processes)
	s.flags(fs)
	return cmd
}

// spread adds the flags that spread a load over this machine.
func spread(fs *pflag.FlagSet, loops, processes *int) {
	fs.IntVar(loops, "loops", 0, "event loops of the load in each process; 0 = half of the processors")
	fs.IntVar(processes, "processes", 0, "processes of the load; 0 = as many as the limit of open files makes necessary")
}

func newBenchConnect(program string) *cobra.Command {
	var (
		s   = scenario{program: program}
		cfg bench.ConnectConfig
	)
	cmd := &cobra.Command{
		Use:     "connect",
		Short:   "Many idle sessions: how fast they connect and what they cost",
		Example: `  godwit bench connect --sessions 10000`,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return s.run(cmd, cfg.Sessions, func(ctx context.Context, target bench.Target, progress io.Writer) (*report.Report, error) {
				cfg.Target, cfg.Progress = target, progress
				return bench.Connect(ctx, cfg)
			})
		},
	}
	fs := cmd.Flags()
	fs.IntVar(&cfg.Sessions, "sessions", 1000, "users to connect")
	fs.Float64Var(&cfg.PerSecond, "per-second", 2000, "connection attempts a second")
	fs.DurationVar(&cfg.Heartbeat, "heartbeat", time.Minute, "interval that sessions ask for")
	fs.DurationVar(&cfg.Hold, "hold", 10*time.Second, "how long to hold them while the server's processor time is taken; its memory is read then")
	spread(fs, &cfg.Loops, &cfg.Processes)
	s.flags(fs)
	return cmd
}
