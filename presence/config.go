package presence

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/godwit-im/godwit/chat"
	"github.com/godwit-im/godwit/protocol"
)

// Config configures a Presence. Start from DefaultConfig.
type Config struct {
	// Delay is how long a user must have been gone for it to be told.
	Delay time.Duration
	// Interval is the least time between two news about a user.
	Interval time.Duration
	// Retry is when a session that was too slow to be told, and a command log
	// that was busy, are tried again.
	Retry time.Duration

	// MaxFrame is the largest frame body that clients accept, in bytes.
	MaxFrame int
	// Rules are those of the conversations: here count MaxSubscriptions,
	// SignalMembers, ContactsOnly and TellBlocked.
	Rules chat.Rules

	Logger *slog.Logger     // nil = slog.Default()
	Now    func() time.Time // nil = time.Now
}

// DefaultConfig returns the defaults.
func DefaultConfig() Config {
	return Config{
		Delay:    3 * time.Second,
		Interval: time.Second,
		Retry:    time.Second,
		MaxFrame: 256 << 10,
		Rules:    chat.DefaultRules(),
	}
}

// Validate reports what is wrong with c.
func (c *Config) Validate() error {
	var errs []error
	for _, d := range []struct {
		name  string
		value time.Duration
	}{{"delay", c.Delay}, {"interval", c.Interval}, {"retry", c.Retry}} {
		if d.value < time.Millisecond || d.value > time.Hour {
			errs = append(errs, fmt.Errorf("presence: %s must be 1ms to 1h, got %s", d.name, d.value))
		}
	}
	if c.MaxFrame < protocol.PreAuthMaxFrame || c.MaxFrame > protocol.MaxBody {
		errs = append(errs, fmt.Errorf("presence: max frame must be %d to %d bytes, got %d", protocol.PreAuthMaxFrame, protocol.MaxBody, c.MaxFrame))
	}
	return errors.Join(append(errs, c.Rules.Validate())...)
}

func (c Config) withDefaults() Config {
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	return c
}
