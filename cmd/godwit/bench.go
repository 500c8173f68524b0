package main

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/godwit-im/godwit/bench"
)

// benchFlags is what the scenarios have in common: a server on this machine
// that runs with a development key, since the load needs a token for every
// user it makes up.
type benchFlags struct {
	data   string
	asJSON bool
}

func (f *benchFlags) add(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.data, "data", "", "data `directory` of the server to load (default: "+envPrefix+"DATA, else "+defaultData+")")
	cmd.Flags().BoolVar(&f.asJSON, "json", false, "print the report as JSON")
}

// target finds the server of the data directory.
func (f *benchFlags) target() (bench.Target, instance, error) {
	data := firstOf(f.data, os.Getenv(envPrefix+"DATA"), defaultData)
	running, found, err := lookUp(data)
	if err != nil {
		return bench.Target{}, instance{}, err
	}
	keys, err := loadDevKeys(data)
	if err != nil {
		return bench.Target{}, instance{}, err
	}
	if !found || keys == nil {
		return bench.Target{}, instance{}, usagef("no server with a development key runs on %s; start one with 'godwit serve --dev'", data)
	}
	return bench.Target{
		Addr:  running.Listen,
		Token: func(user string) (string, error) { return keys.sign(running, user, time.Hour) },
	}, running, nil
}

// report prints what a scenario measured.
func (f *benchFlags) report(out io.Writer, r interface{ WriteTable(io.Writer) }) error {
	if !f.asJSON {
		r.WriteTable(out)
		return nil
	}
	enc := json.NewEncoder(out)
	enc.SetIndent("", "  ")
	return enc.Encode(r)
}

func newBench() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "bench",
		Short: "Load a server on this machine and check and measure what it does",
	}
	cmd.AddCommand(newBenchDirect(), newBenchConnect())
	return cmd
}

func newBenchDirect() *cobra.Command {
	var (
		f   benchFlags
		cfg bench.DirectConfig
	)
	cmd := &cobra.Command{
		Use:   "direct",
		Short: "Pairs of users: one sends, the other receives, each message checked",
		Long: `Pairs of users, one sending to the other in a closed loop: the next message goes
out when one of the window was both acked and received. Every message is checked
to arrive once and in order; a violation ends the run with an error.`,
		Example: `  godwit bench direct --pairs 64 --window 8`,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			target, _, err := f.target()
			if err != nil {
				return err
			}
			cfg.Target, cfg.Progress = target, cmd.ErrOrStderr()
			r, err := bench.Direct(cmd.Context(), cfg)
			if err != nil {
				return benchError(err)
			}
			return f.report(cmd.OutOrStdout(), r)
		},
	}
	f.add(cmd)
	cmd.Flags().IntVar(&cfg.Pairs, "pairs", 1, "sending users")
	cmd.Flags().IntVar(&cfg.Window, "window", 1, "messages under way per pair")
	cmd.Flags().IntVar(&cfg.Size, "size", 256, "body in bytes")
	cmd.Flags().DurationVar(&cfg.Warmup, "warmup", time.Second, "time before measuring")
	cmd.Flags().DurationVar(&cfg.For, "for", 10*time.Second, "time measured")
	return cmd
}

func newBenchConnect() *cobra.Command {
	var (
		f   benchFlags
		cfg bench.ConnectConfig
	)
	cmd := &cobra.Command{
		Use:     "connect",
		Short:   "Many idle sessions: how fast they connect and what they cost in memory",
		Example: `  godwit bench connect --sessions 10000`,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			target, running, err := f.target()
			if err != nil {
				return err
			}
			cfg.Target, cfg.PID, cfg.Progress = target, running.PID, cmd.ErrOrStderr()
			r, err := bench.Connect(cmd.Context(), cfg)
			if err != nil {
				return benchError(err)
			}
			return f.report(cmd.OutOrStdout(), r)
		},
	}
	f.add(cmd)
	cmd.Flags().IntVar(&cfg.Sessions, "sessions", 1000, "users to connect")
	cmd.Flags().Float64Var(&cfg.PerSecond, "per-second", 2000, "connection attempts a second")
	cmd.Flags().DurationVar(&cfg.Settle, "settle", 5*time.Second, "how long to wait before memory is read")
	return cmd
}

// benchError words an interrupt.
func benchError(err error) error {
	if errors.Is(err, context.Canceled) {
		return errors.New("interrupted")
	}
	return err
}
