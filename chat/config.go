package chat

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"runtime"
	"time"
)

// Config configures an Embedded log. The zero value is not usable; start from
// DefaultConfig.
type Config struct {
	// Writers is the number of goroutines that apply and commit; the partitions
	// are dealt out to them. 0 = one for every two processors: the rest of the
	// work, sockets above all, needs the others.
	Writers int

	// QueueCommands and QueueBytes bound what may wait in one partition's queue.
	// Past either, Submit answers BUSY.
	QueueCommands int
	QueueBytes    int

	// BatchCommands and BatchBytes bound what goes into one commit. A batch is
	// whatever came in while the one before it was written; nothing waits for
	// it to fill.
	BatchCommands int
	BatchBytes    int

	// Warmers is the number of goroutines that read a conversation's records
	// into memory before its commands may reach a writer.
	Warmers int

	Retention Retention
	Rules     Rules

	// Fatal is called when applying or committing has failed, from a writer's
	// goroutine, at most once. The log takes nothing on from then on. The
	// default logs the error and ends the process: the store's state is unknown,
	// and a restart reads it anew.
	Fatal func(error)

	// ObserveBatch, where set, is told of every batch: how many commands it held
	// and how long it took to apply, commit and deliver them. Called by writers.
	ObserveBatch func(commands int, took time.Duration)

	Logger *slog.Logger
	Now    func() time.Time
}

// Retention says which messages are kept. What goes leaves a conversation's
// min seq behind; its seqs are never given again.
type Retention struct {
	MaxAge   time.Duration // messages older than this go; 0 = no limit
	MaxCount uint64        // at most this many per conversation stay; 0 = no limit
	Interval time.Duration // from the end of one sweep to the next
}

func (r Retention) enabled() bool { return r.MaxAge > 0 || r.MaxCount > 0 }

// DefaultConfig returns the defaults, with retention off.
func DefaultConfig() Config {
	return Config{
		QueueCommands: 8192,
		QueueBytes:    16 << 20,
		BatchCommands: 4096,
		BatchBytes:    4 << 20,
		Warmers:       4,
		Retention:     Retention{Interval: 10 * time.Minute},
		Rules:         DefaultRules(),
		Logger:        slog.Default(),
		Now:           time.Now,
	}
}

// Validate reports what is wrong with c.
func (c Config) Validate() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf("chat: "+format, args...)) }
	if c.Writers < 0 {
		bad("writers must not be negative, got %d", c.Writers)
	}
	for _, limit := range []struct {
		name  string
		value int
	}{
		{"queue commands", c.QueueCommands},
		{"queue bytes", c.QueueBytes},
		{"batch commands", c.BatchCommands},
		{"batch bytes", c.BatchBytes},
		{"warmers", c.Warmers},
	} {
		if limit.value < 1 {
			bad("%s must be at least 1, got %d", limit.name, limit.value)
		}
	}
	if c.Retention.MaxAge < 0 {
		bad("retention max age must not be negative, got %s", c.Retention.MaxAge)
	}
	if c.Retention.enabled() && c.Retention.Interval <= 0 {
		bad("retention interval must be positive, got %s", c.Retention.Interval)
	}
	errs = append(errs, c.Rules.Validate())
	return errors.Join(errs...)
}

// withDefaults fills in what may be left out.
func (c Config) withDefaults(partitions int) Config {
	if c.Writers == 0 {
		c.Writers = max(1, runtime.GOMAXPROCS(0)/2)
	}
	c.Writers = min(c.Writers, partitions)
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Fatal == nil {
		logger := c.Logger
		c.Fatal = func(err error) {
			logger.Error("the command log has failed; ending the process", "err", err)
			os.Exit(1)
		}
	}
	return c
}
