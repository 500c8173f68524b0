package netpoll

import (
	"fmt"
	"log/slog"
	"net"
	"time"

	"golang.org/x/sys/unix"

	"github.com/godwit-im/godwit/protocol"
)

// MaxFrameLimit is the largest Config.MaxFrame, in bytes.
const MaxFrameLimit = 1 << 20

// descriptorReserve is how many of the process's file descriptors are kept
// from connections: maxLingering for those that are being seen off, the rest
// for pollers, the store, logs and the admin listener.
const descriptorReserve = maxLingering + 512

// Config is what a Server is made from. Start from DefaultConfig.
type Config struct {
	// Addr is the TCP address to listen on, "127.0.0.1:7410". Port 0 picks one.
	Addr string
	// Loops is the number of event loops; 0 = GOMAXPROCS.
	Loops int

	// MaxConns caps the open connections. Start refuses a number that the
	// process's descriptor limit can't carry.
	MaxConns int
	// MaxUnauthenticated caps those of them on which Authenticated has not been
	// called yet.
	MaxUnauthenticated int
	// AcceptRate and AcceptBurst bound how many connections are admitted per
	// second, all loops together. A lower rate than the machine can serve makes
	// everybody wait after a failure; a higher one than it can verify tokens at
	// lets strangers take the loops. docs/adr/0011 has the figures.
	AcceptRate  float64
	AcceptBurst int
	// RetryAfter is how long a refused connection is asked to wait, at least;
	// up to a half more is added at random.
	RetryAfter time.Duration

	// MaxFrame is the longest frame body that is accepted once a connection is
	// authenticated, in bytes; before that it is protocol.PreAuthMaxFrame.
	MaxFrame int

	// Lag is the number of outbound bytes past which Push refuses.
	Lag int
	// Cap is the number of outbound bytes past which a connection is closed
	// with SLOW_CONSUMER; at least Lag + MaxFrame + a header, so that a Push
	// which was not refused always fits.
	Cap int
	// StallTimeout closes a connection with SLOW_CONSUMER when output has been
	// waiting for that long and none of it could be sent.
	StallTimeout time.Duration
	// SendBuffer is SO_SNDBUF, in bytes (the kernel doubles it). It bounds what
	// the kernel holds for a connection that does not read.
	SendBuffer int

	// Tick is how often Handler.OnTick is called.
	Tick time.Duration

	// Logger gets what gnet reports, and one line per refusal or slow consumer
	// at debug level; nil = slog.Default().
	Logger *slog.Logger
	// Now is the clock; nil = time.Now.
	Now func() time.Time
}

// DefaultConfig returns the configuration for production.
func DefaultConfig() Config {
	return Config{
		Addr:               "127.0.0.1:7410",
		MaxConns:           15000,
		MaxUnauthenticated: 4000,
		AcceptRate:         10000,
		AcceptBurst:        5000,
		RetryAfter:         time.Second,
		MaxFrame:           256 << 10,
		Lag:                256 << 10,
		Cap:                1 << 20,
		StallTimeout:       30 * time.Second,
		SendBuffer:         128 << 10,
		Tick:               100 * time.Millisecond,
	}
}

// Validate reports the first value that makes no sense.
func (c *Config) Validate() error {
	if _, _, err := net.SplitHostPort(c.Addr); err != nil {
		return fmt.Errorf("netpoll: Addr: %w", err)
	}
	for _, v := range []struct {
		name       string
		is, lo, hi int
	}{
		{"Loops", c.Loops, 0, 256},
		{"MaxConns", c.MaxConns, 1, 1 << 30},
		{"MaxUnauthenticated", c.MaxUnauthenticated, 1, c.MaxConns},
		{"AcceptBurst", c.AcceptBurst, 1, 1 << 30},
		{"MaxFrame", c.MaxFrame, protocol.PreAuthMaxFrame, MaxFrameLimit},
		{"Lag", c.Lag, 1, 1 << 30},
		{"Cap", c.Cap, c.Lag + c.MaxFrame + protocol.HeaderSize + frameOverhead, 1 << 30},
		{"SendBuffer", c.SendBuffer, 4 << 10, 1 << 30},
	} {
		if v.is < v.lo || v.is > v.hi {
			return fmt.Errorf("netpoll: %s is %d, want %d to %d", v.name, v.is, v.lo, v.hi)
		}
	}
	if !(c.AcceptRate > 0) {
		return fmt.Errorf("netpoll: AcceptRate is %v, want more than 0", c.AcceptRate)
	}
	if c.RetryAfter < 0 {
		return fmt.Errorf("netpoll: RetryAfter is %v, want 0 or more", c.RetryAfter)
	}
	if c.StallTimeout <= 0 {
		return fmt.Errorf("netpoll: StallTimeout is %v, want more than 0", c.StallTimeout)
	}
	if c.Tick < time.Millisecond {
		return fmt.Errorf("netpoll: Tick is %v, want 1ms or more", c.Tick)
	}
	return nil
}

// checkDescriptors refuses a MaxConns that the process could not hold: an
// accept that finds no descriptor free ends gnet.
func (c *Config) checkDescriptors() error {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return fmt.Errorf("netpoll: descriptor limit: %w", err)
	}
	if need := uint64(c.MaxConns) + descriptorReserve; need > limit.Cur {
		return fmt.Errorf("netpoll: MaxConns is %d and %d descriptors are kept for the rest of the process, which needs a limit of %d open files; it is %d (raise it with ulimit -n or LimitNOFILE, or lower MaxConns)",
			c.MaxConns, descriptorReserve, need, limit.Cur)
	}
	return nil
}
