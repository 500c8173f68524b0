package server

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/godwit-im/godwit/chat"
	"github.com/godwit-im/godwit/delivery"
	"github.com/godwit-im/godwit/msgstore"
	"github.com/godwit-im/godwit/netpoll"
	"github.com/godwit-im/godwit/presence"
	"github.com/godwit-im/godwit/protocol"
	"github.com/godwit-im/godwit/server/admin"
	"github.com/godwit-im/godwit/session"
)

// Config is everything a node needs: one struct per package and the drain.
// DefaultConfig fills in all but Auth.Keys and Store.Dir.
//
// New sets the loggers, the observation hooks and what one package has to know
// of another (frame limits, loops, epoch), so those need no attention here.
type Config struct {
	Net      netpoll.Config
	Session  session.Config
	Auth     session.AuthConfig
	Store    msgstore.Options
	Chat     chat.Config
	Delivery delivery.Config
	Presence presence.Config
	Admin    admin.Config
	Drain    DrainConfig
	// Version is what the build info metric shows.
	Version string
	// Logger receives everything; nil = slog.Default().
	Logger *slog.Logger
	// Now is the clock that connections, sessions, tokens and presence go by where
	// their part has none of its own; nil = time.Now. Messages have those of Store
	// and Chat.
	Now func() time.Time
}

// DrainConfig paces Shutdown.
type DrainConfig struct {
	// ReconnectAfter is the least delay that GOAWAY asks for. Each connection
	// is given its own, up to twice this, so that they don't return together.
	// Default 1 s.
	ReconnectAfter time.Duration
	// PerSecond is the pace at which connections are closed. Default 5000.
	PerSecond int
	// Timeout bounds the whole drain. Default 15 s.
	Timeout time.Duration
}

// The default listeners, on loopback: a server that is reachable from
// elsewhere is somebody's decision.
const (
	DefaultAddr      = "127.0.0.1:7410"
	DefaultAdminAddr = "127.0.0.1:7411"
)

// DefaultConfig returns the documented defaults.
func DefaultConfig() Config {
	cfg := Config{
		Net:      netpoll.DefaultConfig(),
		Session:  session.DefaultConfig(),
		Auth:     session.DefaultAuthConfig(),
		Store:    msgstore.DefaultOptions(),
		Chat:     chat.DefaultConfig(),
		Delivery: delivery.DefaultConfig(),
		Presence: presence.DefaultConfig(),
		Admin:    admin.DefaultConfig(),
		Drain:    DrainConfig{ReconnectAfter: time.Second, PerSecond: 5000, Timeout: 15 * time.Second},
	}
	cfg.Net.Addr = DefaultAddr
	cfg.Admin.Addr = DefaultAdminAddr
	return cfg
}

// Validate checks what spans packages; New has each package check its own.
func (c *Config) Validate() error {
	if c.Net.MaxFrame < c.Session.MaxBody+protocol.MessageOverhead {
		return fmt.Errorf("max-frame (%d) must be at least max-body (%d) plus %d bytes, or a stored message would fit no frame",
			c.Net.MaxFrame, c.Session.MaxBody, protocol.MessageOverhead)
	}
	if c.Drain.ReconnectAfter <= 0 || c.Drain.PerSecond <= 0 || c.Drain.Timeout <= 0 {
		return errors.New("the drain settings must be positive")
	}
	return nil
}
