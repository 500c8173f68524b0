package delivery

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/godwit-im/godwit/chat"
	"github.com/godwit-im/godwit/protocol"
)

// Config configures a Delivery. Start from DefaultConfig.
type Config struct {
	// Workers is the number of goroutines that read the store for clients.
	Workers int
	// QueuePerSession bounds the reads of one session that wait. Past it the
	// next one is answered with BUSY.
	QueuePerSession int

	// How many messages a PULL, or users another list, and how many conversations a
	// SYNC returns: where the client doesn't say, and at the most.
	PullLimit, MaxPull int
	SyncLimit, MaxSync int

	// MaxFrame is the largest frame body that clients accept, in bytes. Answers
	// are cut to it, between two messages or conversations.
	MaxFrame int

	// MaxOutbound is how many bytes may wait to be sent to a session whose next
	// read is begun. Past it the session's reads wait: a client that asks for
	// many pages at once gets them as fast as it takes them, and is not taken
	// for one that doesn't read. With a page on top it must stay well below the
	// connection's cap.
	MaxOutbound int

	// Loops is the number of event loops, and Post has f called on one of them
	// soon, or never if the loops end first; it must not block. The pushes to large
	// groups are spread over the loops of their sessions. 0 = one loop, nil = a
	// goroutine for each f.
	Loops int
	Post  func(loop int, f func())

	// ObserveAck and ObserveDelivery are told how long after its arrival a
	// request was answered and its message pushed (or, to a large group, handed
	// to those that push it), ObserveSync how long a SYNC
	// took from its arrival to the answer. Any may be nil.
	ObserveAck, ObserveDelivery, ObserveSync func(time.Duration)

	// Rules are those of the log; nil = the defaults. They must not be changed.
	Rules *chat.Rules

	Logger *slog.Logger     // nil = slog.Default()
	Now    func() time.Time // nil = time.Now
}

// DefaultConfig returns the defaults.
func DefaultConfig() Config {
	return Config{
		Workers:         4,
		QueuePerSession: 64,
		PullLimit:       200,
		MaxPull:         1000,
		SyncLimit:       100,
		MaxSync:         500,
		MaxFrame:        256 << 10,
		MaxOutbound:     256 << 10,
	}
}

// Validate reports what is wrong with c.
func (c *Config) Validate() error {
	var errs []error
	for _, limit := range []struct {
		name       string
		value, max int
	}{
		{"workers", c.Workers, 1 << 10},
		{"queue per session", c.QueuePerSession, 1 << 20},
		{"max pull", c.MaxPull, 1 << 20},
		{"pull limit", c.PullLimit, c.MaxPull},
		{"max sync", c.MaxSync, 1 << 20},
		{"sync limit", c.SyncLimit, c.MaxSync},
	} {
		if limit.value < 1 || limit.value > limit.max {
			errs = append(errs, fmt.Errorf("delivery: %s must be 1 to %d, got %d", limit.name, limit.max, limit.value))
		}
	}
	if c.MaxFrame < minFrame || c.MaxFrame > protocol.MaxBody {
		errs = append(errs, fmt.Errorf("delivery: max frame must be %d to %d bytes, got %d", minFrame, protocol.MaxBody, c.MaxFrame))
	}
	if c.MaxOutbound < 1 {
		errs = append(errs, fmt.Errorf("delivery: max outbound must be at least 1 byte, got %d", c.MaxOutbound))
	}
	if c.Loops < 0 {
		errs = append(errs, fmt.Errorf("delivery: loops must not be negative, got %d", c.Loops))
	}
	return errors.Join(errs...)
}

// minFrame leaves room for a SYNCED with the longest cursor (two indexes for
// each of 256 partitions) and a conversation with the largest group and the
// largest row (17 KiB and 5 KiB), without its preview and what was deleted in it.
const minFrame = 32 << 10

func (c Config) withDefaults() Config {
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Rules == nil {
		rules := chat.DefaultRules()
		c.Rules = &rules
	}
	if c.Loops == 0 {
		c.Loops = 1
	}
	if c.Post == nil {
		c.Post = func(_ int, f func()) { go f() }
	}
	return c
}
