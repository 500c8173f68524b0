package desk

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/godwit-im/godwit/protocol"
	"github.com/godwit-im/godwit/session"
)

// Config configures a Desk. Start from DefaultConfig; Server, Auth.Keys and Agents
// have no default.
type Config struct {
	// Server is the address of the Godwit server, and PublicServer the one that
	// visitors are told, if it is another.
	Server, PublicServer string
	// Listen is the address for visits, "host:port". There is no encryption, so it
	// is the loopback's unless a proxy is in front.
	Listen string

	// User is the desk's own user. It needs no rights on the server.
	User string
	// Name tells the visits of this desk from those of others with the same User.
	Name string
	// Agents are the users who serve visitors, protocol.MaxSubscribe at most. Of
	// those with the same load the first one gets the next visit.
	Agents []string

	// Auth signs and verifies tokens, with keys that can do both.
	Auth session.AuthConfig

	// TokenTTL is how long a visitor's token is good. A visit ends with it, unless
	// the visitor asks for a new token before.
	TokenTTL time.Duration
	// RateWindow is how long a visit that the agent closed waits to be rated, or to
	// be opened again by the visitor writing something.
	RateWindow time.Duration

	// VisitsPerMinute bounds how many tokens are given out in a minute, and
	// VisitsPerAddress those to one address of the network; 0 = no bound of its own,
	// for a desk behind a proxy. The server bounds how many users the desk may add
	// to groups in a minute (invites-per-minute); a visit needs two, and one more
	// each time that it is handed over.
	VisitsPerMinute, VisitsPerAddress int
	// MaxOpen is how many visits may be open at a time. The server's bound of groups
	// of a user must allow it.
	MaxOpen int

	// CallTimeout bounds each request to the server. What failed is tried again
	// after Retry.
	CallTimeout, Retry time.Duration

	Logger *slog.Logger // nil = slog.Default()
}

// DefaultConfig returns the defaults.
func DefaultConfig() Config {
	return Config{
		Listen:           "127.0.0.1:7420",
		User:             "desk.support",
		Name:             "support",
		Auth:             session.DefaultAuthConfig(),
		TokenTTL:         time.Hour,
		RateWindow:       5 * time.Minute,
		VisitsPerMinute:  60,
		VisitsPerAddress: 10,
		MaxOpen:          1000,
		CallTimeout:      10 * time.Second,
		Retry:            2 * time.Second,
	}
}

// Validate reports what is wrong with c.
func (c *Config) Validate() error {
	var errs []error
	wrong := func(format string, args ...any) { errs = append(errs, fmt.Errorf("desk: "+format, args...)) }
	if c.Server == "" {
		wrong("the server's address is missing")
	}
	if c.Listen == "" {
		wrong("the address to listen on is missing")
	}
	for what, id := range map[string]string{"user": c.User, "name": c.Name} {
		if err := protocol.CheckID(what, id); err != nil {
			wrong("%w", err)
		}
	}
	if n := len(c.Agents); n < 1 || n > protocol.MaxSubscribe {
		wrong("there must be 1 to %d agents, got %d", protocol.MaxSubscribe, n)
	}
	for i, agent := range c.Agents {
		switch err := protocol.CheckID("agent", agent); {
		case err != nil:
			wrong("%w", err)
		case agent == c.User || isVisitor(agent):
			wrong("%s can't be an agent", agent)
		case slices.Contains(c.Agents[:i], agent):
			wrong("%s is named twice", agent)
		}
	}
	for _, limit := range []struct {
		name            string
		value, min, max int
	}{
		{"visits per minute", c.VisitsPerMinute, 1, 1_000_000},
		{"visits per address", c.VisitsPerAddress, 0, 1_000_000},
		{"open visits", c.MaxOpen, 1, 100_000},
	} {
		if limit.value < limit.min || limit.value > limit.max {
			wrong("%s must be %d to %d, got %d", limit.name, limit.min, limit.max, limit.value)
		}
	}
	for _, d := range []struct {
		name     string
		value    time.Duration
		min, max time.Duration
	}{
		{"the life of a token", c.TokenTTL, time.Second, c.Auth.MaxLifetime},
		{"the time to rate", c.RateWindow, time.Millisecond, 24 * time.Hour},
		{"the time for a call", c.CallTimeout, time.Millisecond, time.Hour},
		{"the time to a retry", c.Retry, time.Millisecond, time.Hour},
	} {
		if d.value < d.min || d.value > d.max {
			wrong("%s must be %s to %s, got %s", d.name, d.min, d.max, d.value)
		}
	}
	return errors.Join(append(errs, c.Auth.Validate())...)
}
