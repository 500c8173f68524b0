// Command peers compares Godwit with other servers that store and forward
// messages: the same workloads from the same load generator, one after the
// other on this machine. README.md says what is compared and what cannot be.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/godwit-im/godwit/bench/fleet"
	"github.com/godwit-im/godwit/bench/report"
)

func main() {
	serveInstead()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout, os.Stderr); err != nil {
		if !errors.Is(err, flag.ErrHelp) {
			fmt.Fprintln(os.Stderr, "peers:", err)
		}
		os.Exit(1)
	}
}

// options are the flags.
type options struct {
	rounds         int
	measure        time.Duration
	only           string
	rate           float64
	sessions       []int
	json, markdown string
	godwit, dir    string
}

func parse(args []string, stderr io.Writer) (options, error) {
	var o options
	var sessions string
	fs := flag.NewFlagSet("peers", flag.ContinueOnError)
	fs.SetOutput(stderr)
	fs.IntVar(&o.rounds, "rounds", 3, "how often each column is measured, in turn with the others")
	fs.DurationVar(&o.measure, "for", 2*time.Second, "how long each load is measured, after a warm-up of a quarter of it")
	fs.StringVar(&o.only, "only", "", "measure these `columns` beside godwit, separated by commas: "+strings.Join(columnNames(columns("", "")), ", "))
	fs.Float64Var(&o.rate, "rate", 4000, "messages a second of the load with a rate; 0 leaves it out")
	fs.StringVar(&sessions, "sessions", "5000,15000", "idle sessions whose memory is measured, rising; empty leaves it out")
	fs.StringVar(&o.json, "json", "", "also write everything that was measured to this `file`")
	fs.StringVar(&o.markdown, "markdown", "", "also write the tables to this `file`, in Markdown")
	fs.StringVar(&o.godwit, "godwit", "", "use this `binary` instead of building the source")
	fs.StringVar(&o.dir, "dir", "", "put the servers' data `below` this directory (default: the system's for temporary files)")
	if err := fs.Parse(args); err != nil {
		return o, err
	}
	if fs.NArg() > 0 || o.rounds < 1 || o.measure <= 0 || o.rate < 0 {
		return o, errors.New("want positive numbers and no arguments; --help lists the flags")
	}
	for field := range strings.SplitSeq(sessions, ",") {
		if field == "" {
			continue
		}
		var n int
		if _, err := fmt.Sscan(field, &n); err != nil || n < 1 || len(o.sessions) > 0 && n <= o.sessions[len(o.sessions)-1] {
			return o, fmt.Errorf("--sessions %s: want rising numbers", sessions)
		}
		o.sessions = append(o.sessions, n)
	}
	return o, nil
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	o, err := parse(args, stderr)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp(o.dir, "godwit-peers-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }() // what stays is in a directory for such things
	if err := raiseFileLimit(o.sessions); err != nil {
		return err
	}
	version := "of " + o.godwit
	if o.godwit == "" {
		version = sourceVersion()
		fmt.Fprintln(stderr, "building godwit")
		if o.godwit, err = buildGodwit(ctx, dir); err != nil {
			return err
		}
	}
	var names []string
	if o.only != "" {
		names = strings.Split(o.only, ",")
	}
	chosen, err := choose(columns(o.godwit, version), names)
	if err != nil {
		return err
	}
	b := &comparison{options: o, dir: dir, progress: stderr, result: newResult(o, chosen)}
	if err := b.compare(ctx); err != nil {
		return err
	}
	return b.publish(stdout)
}

// raiseFileLimit lets this process, and those it starts, hold the most
// sessions. That the limit is set, even where it was high enough, is what has
// a Go program pass it on.
func raiseFileLimit(sessions []int) error {
	const rest = 2000 // pairs, files of the stores
	need := rest
	if len(sessions) > 0 {
		need += sessions[len(sessions)-1]
	}
	if err := fleet.RaiseFileLimit(need); err != nil {
		return err
	}
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return os.NewSyscallError("getrlimit", err)
	}
	return os.NewSyscallError("setrlimit", syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit))
}

func newResult(o options, chosen []column) *result {
	r := &result{
		Start: time.Now().Round(0), Machine: report.LoadMachine(), Rounds: o.rounds, For: o.measure,
		Shapes: []shape{{Pairs: 64, Window: 8}, {Pairs: 512, Window: 1}, {Pairs: 1, Window: 1}},
	}
	if o.rate > 0 {
		// As many may be under way as every peer takes: past them, a message
		// that was due waits, and its time runs.
		r.Shapes = append(r.Shapes, shape{Pairs: 64, Window: 256, Rate: o.rate})
	}
	for _, c := range chosen {
		r.Columns = append(r.Columns, &outcome{column: c, Runs: make([][]measurement, len(r.Shapes))})
	}
	return r
}
