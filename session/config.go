package session

import (
	"errors"
	"fmt"
	"log/slog"
	"math"
	"runtime"
	"time"

	"github.com/godwit-im/godwit/protocol"
)

// Config bounds sessions. DefaultConfig gives every field but Logger and Now.
type Config struct {
	// MaxDevices is how many sessions a user may have at a time. One more is
	// refused with TOO_MANY_DEVICES.
	MaxDevices int
	// LoginPolicy says which of a user's sessions may be there together.
	LoginPolicy LoginPolicy

	// A client proposes its heartbeat interval; the server keeps it within
	// HeartbeatMin and HeartbeatMax and uses HeartbeatDefault where none was
	// proposed. A session that is silent for 1.5 intervals is closed.
	HeartbeatMin, HeartbeatMax, HeartbeatDefault time.Duration

	// ConnectTimeout is how long an accepted connection has for its CONNECT.
	ConnectTimeout time.Duration

	// MaxInFlight and MaxInFlightBytes bound the requests of a session that
	// are not answered yet, and the sum of their bodies in bytes.
	MaxInFlight      int
	MaxInFlightBytes int

	// MaxLagged is how many entries a lagging session remembers for its
	// HEADS. Past it the client is told to SYNC instead.
	MaxLagged int

	// MaxFrame and MaxBody, in bytes, are announced in CONNECTED: the largest
	// frame body, and the largest body of a message within it.
	MaxFrame, MaxBody int

	// Loops is how many event loops there are, one timing wheel each.
	// 0 = GOMAXPROCS.
	Loops int
	// Tick is the resolution of the wheels: how often Manager.Tick is called
	// for each loop, and so how late a timeout may be.
	Tick time.Duration

	// SignalRate is how many SIGNALs a second a session may send for long,
	// SignalBurst how many at once. More are refused with RATE_LIMITED.
	SignalRate, SignalBurst int

	// Changed, where set, is told of a user whose sessions have changed: one came,
	// or went, or both. It asks for how they are now, since calls for the same
	// user may overtake each other. It is called with no lock held, on any
	// goroutine, event loops among them, and must not block.
	Changed func(user string)

	Logger *slog.Logger     // nil = silent
	Now    func() time.Time // nil = time.Now
}

// DefaultConfig returns the production defaults.
func DefaultConfig() Config {
	return Config{
		MaxDevices:       16,
		HeartbeatMin:     5 * time.Second,
		HeartbeatMax:     10 * time.Minute,
		HeartbeatDefault: time.Minute,
		ConnectTimeout:   10 * time.Second,
		MaxInFlight:      512,
		MaxInFlightBytes: 1 << 20,
		MaxLagged:        256,
		MaxFrame:         256 << 10,
		MaxBody:          64 << 10,
		SignalRate:       20,
		SignalBurst:      40,
		Tick:             100 * time.Millisecond,
	}
}

// Validate names the first field that can't work.
func (c *Config) Validate() error {
	switch {
	case c.MaxDevices < 1:
		return errors.New("session: MaxDevices must be at least 1")
	case c.LoginPolicy > LoginOne:
		return fmt.Errorf("session: LoginPolicy %d is none", c.LoginPolicy)
	case c.Tick < time.Millisecond:
		return errors.New("session: Tick must be at least 1ms")
	case c.HeartbeatMin < c.Tick:
		return fmt.Errorf("session: HeartbeatMin %v must be at least Tick %v", c.HeartbeatMin, c.Tick)
	case c.HeartbeatMax < c.HeartbeatMin || c.HeartbeatMax > maxHeartbeat:
		return fmt.Errorf("session: HeartbeatMax %v must be from HeartbeatMin %v to %v", c.HeartbeatMax, c.HeartbeatMin, maxHeartbeat)
	case c.HeartbeatDefault < c.HeartbeatMin || c.HeartbeatDefault > c.HeartbeatMax:
		return fmt.Errorf("session: HeartbeatDefault %v must be from HeartbeatMin %v to HeartbeatMax %v", c.HeartbeatDefault, c.HeartbeatMin, c.HeartbeatMax)
	case c.ConnectTimeout < c.Tick:
		return fmt.Errorf("session: ConnectTimeout %v must be at least Tick %v", c.ConnectTimeout, c.Tick)
	case c.MaxFrame < protocol.PreAuthMaxFrame || c.MaxFrame > protocol.MaxBody:
		return fmt.Errorf("session: MaxFrame %d must be from %d to %d", c.MaxFrame, protocol.PreAuthMaxFrame, protocol.MaxBody)
	case c.MaxBody < 1 || c.MaxBody > c.MaxFrame-protocol.MessageOverhead:
		return fmt.Errorf("session: MaxBody %d must be from 1 to MaxFrame-%d", c.MaxBody, protocol.MessageOverhead)
	case c.MaxInFlight < 1 || c.MaxInFlight > maxInFlight:
		return fmt.Errorf("session: MaxInFlight %d must be from 1 to %d", c.MaxInFlight, maxInFlight)
	case c.MaxInFlightBytes < c.MaxFrame || c.MaxInFlightBytes > math.MaxInt32:
		return fmt.Errorf("session: MaxInFlightBytes %d must be from MaxFrame %d to %d", c.MaxInFlightBytes, c.MaxFrame, math.MaxInt32)
	case c.MaxLagged < 1 || c.MaxLagged > c.MaxFrame/maxHeadSize:
		return fmt.Errorf("session: MaxLagged %d must be from 1 to MaxFrame/%d", c.MaxLagged, maxHeadSize)
	case c.SignalRate < 1 || c.SignalBurst < 1 || c.SignalRate > maxSignals || c.SignalBurst > maxSignals:
		return fmt.Errorf("session: SignalRate %d and SignalBurst %d must be from 1 to %d", c.SignalRate, c.SignalBurst, maxSignals)
	case c.Loops < 0:
		return errors.New("session: Loops must not be negative")
	}
	return nil
}

// maxHeartbeat fits Connected.heartbeat_ms, and no sane interval is longer.
const maxHeartbeat = 24 * time.Hour

// maxSignals is more than a connection brings.
const maxSignals = 1 << 20

// maxInFlight keeps the count within its half of Session.inFlight.
const maxInFlight = 1 << 20

// withDefaults fills the fields for which the zero value has a meaning.
func (c Config) withDefaults() Config {
	if c.Loops == 0 {
		c.Loops = runtime.GOMAXPROCS(0)
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Changed == nil {
		c.Changed = func(string) {}
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	return c
}
