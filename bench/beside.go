package bench

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/godwit-im/godwit/bench/ceiling"
	"github.com/godwit-im/godwit/bench/report"
)

// BesideConfig describes a closed loop of pairs beside what this machine does
// at best with the same pairs and windows.
type BesideConfig struct {
	// DirectConfig is the load. Each measurement takes its Warmup and For, which
	// is 3 s by default; it has no Rate. The Target has a DataDir: on its file
	// system the ceilings write, in directories that they remove.
	DirectConfig
	// Rounds is how often everything is measured in turn; default 3.
	Rounds int
}

func (c *BesideConfig) withDefaults() error {
	set(&c.Rounds, 3)
	set(&c.For, 3*time.Second)
	set(&c.Pairs, 1)
	switch {
	case c.Rounds < 0:
		return errors.New("bench: want a positive number of rounds")
	case c.Rate != 0:
		return errors.New("bench: the ceilings are closed loops; leave out the rate")
	case c.DataDir == "":
		return errors.New("bench: the ceilings need the server's data directory, for its file system")
	}
	if c.Processes == 0 && c.Pairs > 0 { // this process has the relays' connections too
		var err error
		if c.Processes, err = c.processesFor(4*c.Pairs + c.Sessions); err != nil {
			return err
		}
	}
	return c.DirectConfig.withDefaults()
}

// Beside runs rounds of a bare relay, the load of Direct, a relay that stores,
// Pebble's synced commits and fdatasync, so that whatever else the machine does
// meets all of them. The report is Direct's for the round with the median rate,
// with ratios to the medians of the others. Godwit's sessions stay connected,
// and silent, during the others' turns.
func Beside(ctx context.Context, cfg BesideConfig) (*report.Report, error) {
	if err := cfg.withDefaults(); err != nil {
		return nil, err
	}
	r := cfg.report(ctx, "direct")
	run, err := cfg.start(ctx, r.Start)
	if err != nil {
		return nil, err
	}
	defer run.close()
	b := &beside{cfg: &cfg, run: run}
	for i := 0; i < cfg.Rounds && err == nil; i++ {
		err = b.round(ctx, i)
	}
	r.Duration = time.Since(r.Start)
	if err := violated(r, err); err != nil {
		return nil, err
	}
	if err == nil {
		b.addTo(r)
		r.AddHistogram(run.handshake)
	}
	return r, nil
}

// beside is what the rounds found.
type beside struct {
	cfg            *BesideConfig
	run            *directRun
	relay, storing []ceiling.RelayResult
	godwit         []*measured
	commits        []ceiling.CommitResult
	syncs          []ceiling.SyncResult
}

func (b *beside) round(ctx context.Context, i int) error {
	cfg := b.cfg
	timing := ceiling.Timing{Warmup: cfg.Warmup, For: cfg.For}
	relay := ceiling.RelayConfig{
		Pairs: cfg.Pairs, Window: cfg.Window, Size: cfg.Size, Loops: ceiling.Loops{Load: cfg.Loops}, Timing: timing,
	}
	storing := relay
	storing.Store = cfg.DataDir
	commit := ceiling.CommitConfig{Dir: cfg.DataDir, Depth: cfg.depth(), Size: cfg.Size, Timing: timing}
	for _, part := range []struct {
		name    string
		measure func() error
	}{
		{"bare relay", func() error { return taken(&b.relay)(ceiling.Relay(ctx, relay)) }},
		{"Godwit", func() error { return taken(&b.godwit)(b.run.measure(ctx, 0)) }},
		{"storing relay", func() error { return taken(&b.storing)(ceiling.Relay(ctx, storing)) }},
		{"synced commits", func() error { return taken(&b.commits)(ceiling.Commit(ctx, commit)) }},
		{"fdatasync", func() error {
			return taken(&b.syncs)(ceiling.Sync(ctx, ceiling.SyncConfig{Dir: cfg.DataDir, Timing: timing}))
		}},
	} {
		fmt.Fprintf(orDiscard(cfg.Progress), "round %d of %d: %s\n", i+1, cfg.Rounds, part.name)
		if err := part.measure(); err != nil {
			return err
		}
	}
	return nil
}

// depth is how many messages are under way.
func (c *DirectConfig) depth() int { return c.Pairs * c.Window }

// taken returns a function that keeps a result where there is no error.
func taken[T any](into *[]T) func(T, error) error {
	return func(result T, err error) error {
		if err == nil {
			*into = append(*into, result)
		}
		return err
	}
}

// middle is the result with the median value; of two in the middle the lower.
func middle[T any](results []T, value func(T) float64) T {
	sorted := slices.SortedFunc(slices.Values(results), func(a, b T) int { return cmp.Compare(value(a), value(b)) })
	return sorted[(len(sorted)-1)/2]
}

// The targets of a closed loop, as ratios to the ceilings.
const (
	wantOfRelay   = 0.7 // of a relay that stores nothing
	wantOfCommits = 0.5 // of commits as deep as messages are under way, in the first shape
	wantOfSync    = 2   // a single message's ack, of an fdatasync
)

func (b *beside) addTo(r *report.Report) {
	cfg := b.cfg
	rate := func(r ceiling.RelayResult) float64 { return r.Rate }
	m := middle(b.godwit, (*measured).perSecond)
	relay, storing := middle(b.relay, rate), middle(b.storing, rate)
	commit := middle(b.commits, func(c ceiling.CommitResult) float64 { return c.Rate })
	sync := float64(middle(b.syncs, func(s ceiling.SyncResult) float64 { return float64(s.Sync.P50) }).Sync.P50)
	r.Machine.Disk.SyncP50 = sync

	ofRelay := m.rateFigure(cfg.shape()).OfCeiling("bare relay", relay.Rate)
	ofCommits := report.Higher("beside synced commits: rate, "+cfg.shape(), "msgs/s", m.perSecond()).
		OfCeiling(fmt.Sprintf("Pebble, synced commits of %d", cfg.depth()), commit.Rate)
	// A message alone waits for the disk, which the relay doesn't; its target
	// is the ack's.
	if !cfg.single() {
		ofRelay = ofRelay.WantRatio(wantOfRelay)
	}
	if cfg.Pairs == ceiling.RelayShapes[0].Pairs && cfg.Window == ceiling.RelayShapes[0].Window {
		ofCommits = ofCommits.WantRatio(wantOfCommits)
	}
	r.Add(ofRelay,
		report.Higher("beside a relay that stores: rate, "+cfg.shape(), "msgs/s", m.perSecond()).OfCeiling("storing relay", storing.Rate),
		ofCommits)
	if cfg.single() {
		r.Add(report.Lower("ack p50, "+cfg.shape(), "µs", float64(m.ack.Latency().P50)).
			AsHeadline().OfCeiling("fdatasync", sync).WantRatio(wantOfSync))
	}
	r.Add(cfg.targets(m)...)
	m.addTo(r)
	r.Latencies = append(r.Latencies, named("bare relay: ", relay.Ack), named("bare relay: ", relay.Delivery),
		named("storing relay: ", storing.Ack), named("storing relay: ", storing.Delivery))
	r.Notef("medians of %d rounds in turn; latencies and series are of Godwit's round with the median rate", cfg.Rounds)
}

// named is a latency whose name says first of what.
func named(of string, l report.Latency) report.Latency {
	l.Name = of + l.Name
	return l
}
