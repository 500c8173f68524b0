package ceiling

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/godwit-im/godwit/bench/report"
)

// Config is for a short run of everything.
type Config struct {
	// Dir is on the file system to be measured, such as the parent of the
	// server's data directory. What is written there is removed.
	Dir string
	// Timing is of each of some twenty measurements; by default they take
	// 1.5 s and the warm-up.
	Timing
	// Messages are in the log that is scanned; default 300,000.
	Messages int
	// Progress, where not nil, gets a line before each measurement.
	Progress io.Writer
}

// RelayShapes are the pairs and windows of the direct scenario's targets.
var RelayShapes = []RelayConfig{
	{Pairs: 64, Window: 8},
	{Pairs: 512, Window: 1},
	{Pairs: 512, Window: 8},
	{Pairs: 1, Window: 1},
}

// Heartbeats is how many a second 19,000 idle sessions send that have a
// heartbeat of a minute.
const Heartbeats = 19_000 / 60

// CommitDepths are how many messages are under way in those, and in between.
var CommitDepths = []int{1, 64, 512, 4096}

// All measures everything briefly, one after the other, some 40 s in all with
// the defaults.
func All(ctx context.Context, cfg Config) (*report.Report, error) {
	set(&cfg.For, 1500*time.Millisecond)
	set(&cfg.Messages, 300_000)
	if cfg.Progress == nil {
		cfg.Progress = io.Discard
	}
	if cfg.Dir == "" {
		return nil, errors.New("ceiling: want a directory")
	}
	r := report.New("ceiling")
	r.Subject = "this machine"
	r.Durability = "a sync before each commit returns"
	disk := report.LoadDisk(cfg.Dir)
	all := &all{Config: cfg, r: r}
	for _, part := range []func(context.Context) error{all.echoes, all.relays, all.commits, all.scans, all.syncs} {
		if err := part(ctx); err != nil {
			return nil, err
		}
	}
	disk.SyncP50 = all.syncP50
	r.Machine.Disk = &disk
	r.Duration = time.Since(r.Start)
	return r, nil
}

// all is a run of All.
type all struct {
	Config
	r       *report.Report
	syncP50 float64 // µs
}

func (a *all) progress(format string, args ...any) {
	fmt.Fprintf(a.Progress, format+"\n", args...)
}

// latency adds a distribution under a name that says of what.
func (a *all) latency(of string, l report.Latency) {
	l.Name = of + ", " + l.Name
	a.r.Latencies = append(a.r.Latencies, l)
}

// cost adds the processor time of a server per frame.
func (a *all) cost(of string, c Cost) {
	a.r.Add(report.Lower(of+", server's processor time per frame", "µs", float64(c.Server.Nanoseconds())/1000))
}

func (a *all) echoes(ctx context.Context) error {
	for _, window := range []int{1, 16} {
		name := fmt.Sprintf("echo, 64 connections × %d", window)
		a.progress("%s", name)
		e, err := Echo(ctx, EchoConfig{Conns: 64, Window: window, Timing: a.Timing})
		if err != nil {
			return err
		}
		a.r.Add(report.Higher(name, "frames/s", e.Rate))
		a.latency(name, e.RoundTrip)
	}
	name := fmt.Sprintf("gnet answering %d heartbeats a second", Heartbeats)
	a.progress("%s", name)
	e, err := Echo(ctx, EchoConfig{Conns: Heartbeats, Every: time.Second, Size: stampSize, Timing: a.Timing})
	if err != nil {
		return err
	}
	a.r.Add(report.Lower(name+", processor use", "%", 100*e.Rate*e.Cost.Server.Seconds()))
	return nil
}

func (a *all) relays(ctx context.Context) error {
	for i, shape := range slices.Concat(RelayShapes, RelayShapes) {
		name := fmt.Sprintf("relay, %d pairs × %d", shape.Pairs, shape.Window)
		if i >= len(RelayShapes) {
			name = "storing " + name
			shape.Store = a.Dir
		}
		a.progress("%s", name)
		shape.Timing = a.Timing
		e, err := Relay(ctx, shape)
		if err != nil {
			return err
		}
		f := report.Higher(name, "msgs/s", e.Rate)
		if i%len(RelayShapes) == 0 {
			f = f.AsHeadline()
		}
		a.r.Add(f)
		a.cost(name, e.Cost)
		a.latency(name, e.Ack)
		a.latency(name, e.Delivery)
	}
	return nil
}

func (a *all) commits(ctx context.Context) error {
	for _, depth := range CommitDepths {
		name := fmt.Sprintf("synced commits of %d", depth)
		a.progress("%s", name)
		c, err := Commit(ctx, CommitConfig{Dir: a.Dir, Depth: depth, Timing: a.Timing})
		if err != nil {
			return err
		}
		f := report.Higher(name, "msgs/s", c.Rate)
		if depth == 512 {
			f = f.AsHeadline()
		}
		a.r.Add(f)
		a.latency(name, c.Batch)
	}
	return nil
}

func (a *all) scans(ctx context.Context) error {
	a.progress("scan of %d messages", a.Messages)
	s, err := Scan(ctx, ScanConfig{Dir: a.Dir, Messages: a.Messages, Timing: a.Timing})
	if err != nil {
		return err
	}
	a.r.Add(
		report.Higher("scan, an iterator for each page", "msgs/s", s.Fresh),
		report.Higher("scan, one iterator", "msgs/s", s.Reused),
		report.Higher("scan and send", "msgs/s", s.Sent).AsHeadline(),
	)
	a.latency("scan and send", s.SentPage)
	return nil
}

func (a *all) syncs(ctx context.Context) error {
	for _, size := range []int{512, 4096} {
		for _, overwrite := range []bool{false, true} {
			name := fmt.Sprintf("fdatasync of %d B appended", size)
			if overwrite {
				name = fmt.Sprintf("fdatasync of %d B overwritten", size)
			}
			a.progress("%s", name)
			s, err := Sync(ctx, SyncConfig{Dir: a.Dir, Size: size, Overwrite: overwrite, Timing: a.Timing})
			if err != nil {
				return err
			}
			a.r.Add(report.Lower(name+", p50", "µs", float64(s.Sync.P50)))
			a.latency(name, s.Sync)
			if size == 512 && !overwrite {
				a.syncP50 = float64(s.Sync.P50)
			}
		}
	}
	return nil
}
