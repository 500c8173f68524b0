package ceiling

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/godwit-im/godwit/bench/fleet"
	"github.com/godwit-im/godwit/bench/report"
	"github.com/godwit-im/godwit/protocol"
)

// EchoConfig is the shape of an echo load.
type EchoConfig struct {
	Conns  int // default 64; at most 4,000
	Window int // frames under way per connection; default 1
	Size   int // body of the SEND in bytes, at least 16; default 256
	// Every, where not 0, has each connection send a frame that long after the
	// one before, within its window, and not when that has come back. With small
	// bodies that is what heartbeats cost a server which does nothing else.
	Every time.Duration
	Loops Loops
	Timing
	// CPUProfile is a file for the profile of the server; "" = none.
	CPUProfile string
}

func (c *EchoConfig) withDefaults() error {
	set(&c.Conns, 64)
	set(&c.Window, 1)
	set(&c.Size, 256)
	if c.Conns < 0 || c.Conns > 4000 || c.Window < 0 || c.Every < 0 || c.Size < stampSize || c.Size > maxBody/2 {
		return errors.New("ceiling: want 1 to 4,000 connections, a window, and bodies of 16 B to 128 KiB")
	}
	return c.Timing.withDefaults()
}

// EchoResult is what an echo does.
type EchoResult struct {
	Conns, Window int
	FrameSize     int     // bytes, with the header
	Rate          float64 // frames per second
	RoundTrip     report.Latency
	Cost          Cost
}

// Echo measures a bare gnet echo, in a process of its own, with frames of the
// size of a SEND. A frame that is lost, doubled, out of order or of another
// length is an error.
func Echo(ctx context.Context, cfg EchoConfig) (EchoResult, error) {
	return echoBy(ctx, cfg, roleEcho)
}

func echoBy(ctx context.Context, cfg EchoConfig, role string) (EchoResult, error) {
	if err := cfg.withDefaults(); err != nil {
		return EchoResult{}, err
	}
	frameSize := 0
	l, cost, err := run(ctx, job{Role: role, CPUProfile: cfg.CPUProfile}, cfg.Timing, cfg.Loops, "round trip", "", cfg.Conns, func(l *load, _ int) flow {
		frame := sendFrame(cfg.Conns-1, cfg.Size)
		frameSize = len(frame)
		return &caller{load: l, window: uint64(cfg.Window), every: cfg.Every, size: cfg.Size, frame: frame}
	})
	if err != nil {
		return EchoResult{}, err
	}
	r := EchoResult{Conns: cfg.Conns, Window: cfg.Window, FrameSize: frameSize, RoundTrip: l.first.Latency(), Cost: cost}
	r.Rate = float64(r.RoundTrip.Count) / cfg.For.Seconds()
	return r, nil
}

// caller is a flow: a connection that gets back what it sends.
type caller struct {
	load   *load
	tally  tally
	window uint64
	every  time.Duration
	timer  *fleet.Timer // where every isn't 0
	size   int          // of a body
	frame  []byte       // the next one

	conn      *fleet.Conn
	out, back uint64
}

func (c *caller) open(loop *fleet.Loop) (err error) {
	c.tally = c.load.tallies[loop]
	c.conn, err = loop.Dial(fleet.Dialing{Addr: c.load.addr}, c)
	return err
}

func (c *caller) begin(now time.Duration) {
	if c.every == 0 {
		c.fill(now)
		return
	}
	c.timer = c.conn.Loop().NewTimer(func() {
		now := c.conn.Loop().Now()
		c.fill(now)
		if now < c.load.until {
			c.timer.Set(min(now+c.every, c.load.until))
		}
	})
	c.timer.Set(min(now+rand.N(c.every), c.load.until)) // not all at once
}

func (c *caller) sent() uint64 { return c.out }

func (c *caller) fill(now time.Duration) {
	if now >= c.load.until {
		if c.back == c.out && c.window > 0 {
			c.window = 0 // said
			c.load.done <- struct{}{}
		}
		return
	}
	b := c.conn.Buffer()
	last := c.back + c.window
	if c.every > 0 {
		last = min(last, c.out+1)
	}
	for ; c.out < last; c.out++ {
		stamp(c.frame, c.size, c.out, now)
		b = append(b, c.frame...)
	}
	c.conn.Wrote(b)
}

// OnOpen implements fleet.Handler.
func (c *caller) OnOpen(*fleet.Conn) { c.load.ready <- struct{}{} }

// OnData implements fleet.Handler.
func (c *caller) OnData(conn *fleet.Conn, b []byte) int {
	now := conn.Loop().Now()
	taken, err := eachFrame(b, func(f protocol.Frame) error { return c.echoed(f, now) })
	if err != nil {
		return c.load.abandoned(b, err)
	}
	if c.every == 0 || now >= c.load.until {
		c.fill(now)
	}
	return taken
}

// OnClose implements fleet.Handler.
func (c *caller) OnClose(_ *fleet.Conn, err error) { c.load.closed("a connection", err) }

func (c *caller) echoed(f protocol.Frame, now time.Duration) error {
	if c.back == c.out || f.Type != protocol.TypeSend || f.Request != request(c.back) || len(f.Body) != len(c.frame)-protocol.HeaderSize {
		return fmt.Errorf("an unexpected %s of %d B, request %d", f.Type, len(f.Body), f.Request)
	}
	at, err := stamped(f.Body[len(f.Body)-c.size:], c.back)
	if err != nil {
		return err
	}
	c.back++
	if c.load.measured(at) {
		c.tally.first.Record(now - at)
	}
	return nil
}
