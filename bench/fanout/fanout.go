package fanout

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"text/tabwriter"
	"time"
)

// Config describes a run. The zero value takes the defaults.
type Config struct {
	// Sessions is how many sessions get every message. Default 10,000.
	Sessions int
	// Users is how many users they belong to, in equal parts. Default 1: all
	// are devices of one.
	Users int
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

// Report is what a run measured.
type Report struct {
	Sessions int     `json:"sessions"`
	Users    int     `json:"users"`
	Size     int     `json:"body_bytes"`
	Bursts   []Burst `json:"bursts"`
}

// Burst is one size of burst. A round is one burst to every session.
type Burst struct {
	Messages int  `json:"messages"`
	Rounds   int  `json:"rounds"` // of each side
	Bare     Side `json:"bare"`
	Godwit   Side `json:"godwit"`
	// Ratio is Godwit's rate by the bare one's.
	Ratio float64 `json:"ratio"`
}

// Side is how one of the servers did.
type Side struct {
	// PerSecond is the median over the rounds of deliveries per second, from
	// the order to push until the last session has the last message.
	PerSecond float64 `json:"deliveries_per_second"`
	// CPU is the server process's, in microseconds per delivery; the kernel's
	// part of it includes the way to the receiver's socket.
	CPU float64 `json:"server_cpu_us_per_delivery"`
}

// Run measures. An error is a setup that failed or a message that was missing,
// doubled or out of order.
func Run(ctx context.Context, cfg Config) (*Report, error) {
	if err := cfg.withDefaults(); err != nil {
		return nil, err
	}
	report := &Report{Sessions: cfg.Sessions, Users: cfg.Users, Size: cfg.Size}
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
		report.Bursts = append(report.Bursts, *b)
		fmt.Fprintf(cfg.Progress, "bursts of %d: %.0f deliveries/s bare, %.0f Godwit\n", messages, b.Bare.PerSecond, b.Godwit.PerSecond)
	}
	for _, s := range sides {
		if err := s.end(); err != nil {
			return nil, fmt.Errorf("fanout: %s: %w", s.name, err)
		}
	}
	return report, nil
}

// warmup is how many rounds of each side are not counted.
const warmup = 3

// measure runs rounds of one size, bare and Godwit in turn.
func measure(ctx context.Context, sides []*side, cfg Config, messages int) (*Burst, error) {
	b := &Burst{Messages: messages}
	rates := make([][]float64, len(sides))
	cpu := make([]time.Duration, len(sides))
	began := time.Now()
	for round := 0; round <= warmup || time.Since(began) < cfg.For; round++ {
		for i, s := range sides {
			before, err := s.cpu()
			if err != nil {
				return nil, err
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
				cpu[i] += after - before
			}
		}
	}
	b.Rounds = len(rates[0])
	result := func(i int) Side {
		n := float64(b.Rounds * cfg.Sessions * messages)
		return Side{PerSecond: median(rates[i]), CPU: float64(cpu[i].Nanoseconds()) / 1e3 / n}
	}
	b.Bare, b.Godwit = result(0), result(1)
	b.Ratio = b.Godwit.PerSecond / b.Bare.PerSecond
	return b, nil
}

func median(v []float64) float64 {
	slices.Sort(v)
	return v[len(v)/2]
}

// WriteTable writes the report for people.
func (r *Report) WriteTable(w io.Writer) {
	fmt.Fprintf(w, "%d sessions of %d users, bodies of %d bytes, each message pushed to all; deliveries a second\n", r.Sessions, r.Users, r.Size)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "messages in a burst\trounds\tbare gnet\tGodwit\tratio\tbare CPU\tGodwit CPU\t")
	for _, b := range r.Bursts {
		fmt.Fprintf(t, "%d\t%d\t%.0f\t%.0f\t%.0f%%\t%.2f µs\t%.2f µs\t\n",
			b.Messages, b.Rounds, b.Bare.PerSecond, b.Godwit.PerSecond, 100*b.Ratio, b.Bare.CPU, b.Godwit.CPU)
	}
	t.Flush()
}
