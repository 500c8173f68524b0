package fanout

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/godwit-im/godwit/bench/report"
)

// Config describes a run. The zero value takes the defaults.
type Config struct {
	// Sessions is how many sessions get every message. Default 10,000.
	Sessions int
	// Users is how many users they belong to, in equal parts. Default 1: all
	// are devices of one.
	Users int
	// Group makes the users members of a group, which the messages are for, and
	// has two more users chat directly beside it. Users is then one for each
	// session by default.
	Group bool
	// Size is a message's body, in bytes. Default 256.
	Size int
	// Bursts are the numbers of messages that are committed together and so
	// pushed in a row; each is measured by itself. Default 1 and 16.
	Bursts []int
	// For is how long each burst is measured, both sides together. Default 6 s.
	For time.Duration
	// Loops is the number of event loops of each server; 0 = GOMAXPROCS.
	Loops int
	// CPUProfile, where not empty, is a file that gets a CPU profile of the
	// Godwit server.
	CPUProfile string
	// Progress, where not nil, gets a line for every step.
	Progress io.Writer
}

// maxSessions keeps a process below the usual hard limit of 20,000 descriptors.
const maxSessions = 19_000

func (c *Config) withDefaults() error {
	if c.Sessions == 0 {
		c.Sessions = 10_000
	}
	if c.Users == 0 && c.Group {
		c.Users = c.Sessions
	}
	if c.Users == 0 {
		c.Users = 1
	}
	if c.Size == 0 {
		c.Size = 256
	}
	if c.Bursts == nil {
		c.Bursts = []int{1, 16}
	}
	if c.For == 0 {
		c.For = 6 * time.Second
	}
	if c.Progress == nil {
		c.Progress = io.Discard
	}
	switch {
	case c.Sessions < 1 || c.Sessions > maxSessions:
		return fmt.Errorf("fanout: want 1 to %d sessions, got %d", maxSessions, c.Sessions)
	case c.Users < 1 || c.Sessions%c.Users != 0:
		return fmt.Errorf("fanout: %d sessions can't belong to %d users in equal parts", c.Sessions, c.Users)
	case c.Size < 1 || c.Size > 32<<10:
		return fmt.Errorf("fanout: want a body of 1 to 32768 bytes, got %d", c.Size)
	case len(c.Bursts) == 0 || slices.Min(c.Bursts) < 1:
		return errors.New("fanout: want bursts of at least 1 message")
	case slices.Max(c.Bursts)*(c.Size+128) > 128<<10:
		return errors.New("fanout: a burst must stay below 128 KiB: past a session's bound bodies stop and nothing is measured")
	case c.For < 0 || c.Loops < 0:
		return errors.New("fanout: want no negative numbers")
	}
	return nil
}

// burst is what was measured with bursts of one size. A round is one burst to
// every session.
type burst struct {
	messages int
	rounds   int // of each side
	sides    [2]sideResult
	// direct is how long Godwit's direct messages took, while the bare server
	// pushed and while Godwit did: what the machine does, and what Godwit does.
	// nil without a pair.
	direct [2]*report.Histogram
}

// sideResult is how one of the servers did.
type sideResult struct {
	// perSecond is the median over the rounds of deliveries per second, from
	// the order to push until the last session has the last message.
	perSecond float64
	// cpu is the server process's, in microseconds per delivery; the kernel's
	// part of it includes the way to the receiver's socket.
	cpu float64
	// took is how long the rounds took.
	took *report.Histogram
}

// wantRatio is how much of the bare fan-out's rate Godwit's should be, and
// wantDirect how long a direct message may take beside it at the 99th percentile,
// in ms.
const (
	wantRatio  = 0.7
	wantDirect = 20
)

func (b *burst) addTo(r *report.Report) {
	bare, godwit := b.sides[0], b.sides[1]
	of := fmt.Sprintf(", bursts of %d", b.messages)
	r.Add(
		report.Higher("deliveries"+of, "/s", godwit.perSecond).AsHeadline().OfCeiling("bare gnet", bare.perSecond).WantRatio(wantRatio),
		report.Lower("server's processor time per delivery"+of, "µs", godwit.cpu).OfCeiling("bare gnet", bare.cpu),
		report.Higher("rounds of each"+of, "", float64(b.rounds)),
	)
	r.AddHistogram(godwit.took)
	r.AddHistogram(bare.took)
	if b.direct[1] != nil {
		beside, alone := float64(b.direct[1].Latency().P99)/1e3, float64(b.direct[0].Latency().P99)/1e3
		r.Add(report.Lower("direct message beside it, p99"+of, "ms", beside).AsHeadline().OfCeiling("while bare gnet pushes", alone).Want(wantDirect))
		r.AddHistogram(b.direct[1])
		r.AddHistogram(b.direct[0])
	}
}

// Run measures. The report has Godwit's rate as a ratio of the bare one's, for
// each size of burst. An error is a setup that failed or a message that was
// missing, doubled or out of order.
func Run(ctx context.Context, cfg Config) (*report.Report, error) {
	if err := cfg.withDefaults(); err != nil {
		return nil, err
	}
	r := report.New("fanout")
	r.Durability = "nothing is stored"
	ctx, cancel := context.WithCancel(ctx)
	var sides []*side
	defer func() { // whatever happened, no process is left
		cancel()
		for _, s := range sides {
			_ = s.end() // what it was killed for is known, or all was well
		}
	}()
	for _, name := range []string{roleBare, roleGodwit} {
		s := &side{name: name}
		sides = append(sides, s)
		if err := s.start(ctx, cfg); err != nil {
			return nil, fmt.Errorf("fanout: %s: %w", name, err)
		}
		fmt.Fprintf(cfg.Progress, "%s holds %d sessions\n", name, cfg.Sessions)
	}
	for _, messages := range cfg.Bursts {
		b, err := measure(ctx, sides, cfg, messages)
		if err != nil {
			return nil, err
		}
		b.addTo(r)
		fmt.Fprintf(cfg.Progress, "bursts of %d: %.0f deliveries/s bare, %.0f Godwit\n", messages, b.sides[0].perSecond, b.sides[1].perSecond)
		for i, s := range sides {
			if b.direct[i] != nil {
				l := b.direct[i].Latency()
				fmt.Fprintf(cfg.Progress, "%d direct messages while %s pushed: p50 %d µs, p99 %d µs, max %d µs\n", l.Count, s.name, l.P50, l.P99, l.Max)
			}
		}
	}
	for _, s := range sides {
		if err := s.end(); err != nil {
			return nil, fmt.Errorf("fanout: %s: %w", s.name, err)
		}
	}
	r.Notef("%d sessions of %d users; the servers and the receivers share the processors", cfg.Sessions, cfg.Users)
	r.Duration = time.Since(r.Start)
	return r, nil
}

// warmup is how many rounds of each side are not counted.
const warmup = 3

// measure runs rounds of one size, bare and Godwit in turn.
func measure(ctx context.Context, sides []*side, cfg Config, messages int) (*burst, error) {
	b := &burst{messages: messages}
	rates := make([][]float64, len(sides))
	cpu := make([]time.Duration, len(sides))
	recorders := make([]*report.Recorder, len(sides))
	for i, s := range sides {
		b.sides[i].took = report.NewHistogram(fmt.Sprintf("%s: bursts of %d, until all sessions have them", s.name, messages))
		recorders[i] = b.sides[i].took.Recorder()
	}
	directs := make([]*report.Recorder, len(sides)) // nil without a pair
	talk := sides[1].pair
	if talk != nil {
		for i, s := range sides {
			b.direct[i] = report.NewHistogram(fmt.Sprintf("direct messages while %s pushes bursts of %d", s.name, messages))
			directs[i] = b.direct[i].Recorder()
		}
	}
	began := time.Now()
	for round := 0; round <= warmup || time.Since(began) < cfg.For; round++ {
		for i, s := range sides {
			before, err := s.cpu()
			if err != nil {
				return nil, err
			}
			if round >= warmup {
				if err := talk.record(directs[i]); err != nil {
					return nil, fmt.Errorf("fanout: direct messages: %w", err)
				}
			}
			took, err := s.round(ctx, messages, cfg.Sessions*messages)
			if err != nil {
				return nil, fmt.Errorf("fanout: %s: %w", s.name, err)
			}
			after, err := s.cpu()
			if err != nil {
				return nil, err
			}
			if round >= warmup {
				rates[i] = append(rates[i], float64(cfg.Sessions*messages)/took.Seconds())
				recorders[i].Record(took)
				cpu[i] += after - before
			}
		}
	}
	if err := talk.record(nil); err != nil {
		return nil, fmt.Errorf("fanout: direct messages: %w", err)
	}
	b.rounds = len(rates[0])
	n := float64(b.rounds * cfg.Sessions * messages)
	for i := range sides {
		b.sides[i].perSecond = median(rates[i])
		b.sides[i].cpu = float64(cpu[i].Nanoseconds()) / 1e3 / n
	}
	return b, nil
}

func median(v []float64) float64 {
	slices.Sort(v)
	return v[len(v)/2]
}
