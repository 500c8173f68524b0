package ceiling

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/godwit-im/godwit/bench/fleet"
	"github.com/godwit-im/godwit/bench/report"
	"github.com/godwit-im/godwit/protocol"
)

// RelayConfig is the shape of a direct load.
type RelayConfig struct {
	Pairs  int // default 1; at most 4,000
	Window int // frames under way per pair; default 1
	Size   int // body in bytes, at least 16; default 256
	Loops  Loops
	Timing
	// Store, where not "", is a directory on the file system of the server's
	// data. The relay then has Pebble store and sync the messages before it
	// acks and pushes them, one batch after the other; what is written is
	// removed.
	Store string
	// CPUProfile is a file for the profile of the server; "" = none.
	CPUProfile string
}

func (c *RelayConfig) withDefaults() error {
	set(&c.Pairs, 1)
	set(&c.Window, 1)
	set(&c.Size, 256)
	if c.Pairs < 0 || c.Pairs > 4000 || c.Window < 0 || c.Size < stampSize || c.Size > maxBody/2 {
		return errors.New("ceiling: want 1 to 4,000 pairs, a window, and bodies of 16 B to 128 KiB")
	}
	return c.Timing.withDefaults()
}

// RelayResult is what a relay does.
type RelayResult struct {
	Pairs, Window, Size int
	// Rate is messages per second: each came in as a SEND and went out as a
	// SENT and a MESSAGE.
	Rate float64
	// Ack is from the write of SEND to the reading of SENT, Delivery to the
	// reading of MESSAGE, on the same clock.
	Ack, Delivery report.Latency
	Cost          Cost
}

// Relay measures a bare gnet relay, in a process of its own, under the load
// that the direct scenario puts on Godwit: pairs, of which one side sends to
// the other; a frame goes out when one of the pair's window was both acked and
// delivered. A frame that is lost, doubled, out of order or of another length
// is an error.
//
// With cfg.Store it measures what gnet and Pebble can do together on these
// processors, the bound for a server that stores.
func Relay(ctx context.Context, cfg RelayConfig) (r RelayResult, err error) {
	if cfg.Store == "" {
		return relayBy(ctx, cfg, roleRelay)
	}
	if cfg.Store, err = os.MkdirTemp(cfg.Store, "ceiling-"); err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(cfg.Store)) }()
	return relayBy(ctx, cfg, roleStore)
}

func relayBy(ctx context.Context, cfg RelayConfig, role string) (RelayResult, error) {
	if err := cfg.withDefaults(); err != nil {
		return RelayResult{}, err
	}
	j := job{Role: role, Tail: tailOf(cfg.Pairs-1, cfg.Size), Dir: cfg.Store, CPUProfile: cfg.CPUProfile}
	l, cost, err := run(ctx, j, cfg.Timing, cfg.Loops, "send → ack", "send → delivery", cfg.Pairs, func(l *load, i int) flow {
		frame := sendFrame(i, cfg.Size)
		return &pair{
			load:    l,
			number:  i,
			window:  uint64(cfg.Window),
			size:    cfg.Size,
			frame:   frame,
			pushed:  len(frame) - protocol.HeaderSize + j.Tail,
			ackSize: len(sentFrame()) - protocol.HeaderSize,
			times:   make([]time.Duration, cfg.Window),
		}
	})
	if err != nil {
		return RelayResult{}, err
	}
	r := RelayResult{Pairs: cfg.Pairs, Window: cfg.Window, Size: cfg.Size, Ack: l.first.Latency(), Delivery: l.second.Latency(), Cost: cost}
	if r.Ack.Count != r.Delivery.Count {
		return RelayResult{}, fmt.Errorf("ceiling: %d acks and %d deliveries", r.Ack.Count, r.Delivery.Count)
	}
	r.Rate = float64(r.Delivery.Count) / cfg.For.Seconds()
	return r, nil
}

// pair is a flow: a sender and a receiver on one loop.
type pair struct {
	load    *load
	tally   tally
	number  int
	window  uint64
	size    int    // of a body
	frame   []byte // the next SEND
	pushed  int    // the length of a MESSAGE's body
	ackSize int    // the length of a SENT's body

	loop                   *fleet.Loop
	sender                 *fleet.Conn
	out, acked, delivered  uint64
	times                  []time.Duration // of what is not acked, by number modulo the window
	senderReady, exhausted bool
}

func (p *pair) open(loop *fleet.Loop) error {
	p.loop, p.tally = loop, p.load.tallies[loop]
	_, err := loop.Dial(fleet.Dialing{Addr: p.load.addr}, (*receiverEnd)(p))
	return err
}

func (p *pair) begin(now time.Duration) { p.fill(now) }

func (p *pair) sent() uint64 { return p.out }

// fill sends what the window has room for.
func (p *pair) fill(now time.Duration) {
	free := min(p.acked, p.delivered) + p.window
	if now >= p.load.until {
		if !p.exhausted && free == p.out+p.window {
			p.exhausted = true
			p.load.done <- struct{}{}
		}
		return
	}
	if p.out == free {
		return
	}
	b := p.sender.Buffer()
	for ; p.out < free; p.out++ {
		p.times[p.out%p.window] = now
		stamp(p.frame, p.size, p.out, now)
		b = append(b, p.frame...)
	}
	p.sender.Wrote(b)
}

// hello is the first frame of an end.
func (p *pair) hello(c *fleet.Conn, who byte) {
	c.Write(protocol.AppendFrame(nil, protocol.TypeConnect, uint32(p.number), []byte{who}))
}

// receiverEnd is the pair as the handler of its receiver's connection.
type receiverEnd pair

func (e *receiverEnd) OnOpen(c *fleet.Conn) { (*pair)(e).hello(c, helloReceiver) }

func (e *receiverEnd) OnData(_ *fleet.Conn, b []byte) int {
	p, now := (*pair)(e), e.loop.Now()
	taken, err := eachFrame(b, func(f protocol.Frame) error { return p.received(f, now) })
	if err != nil {
		return p.load.abandoned(b, fmt.Errorf("pair %d, receiver: %w", p.number, err))
	}
	if p.out > 0 {
		p.fill(now)
	}
	return taken
}

func (e *receiverEnd) OnClose(_ *fleet.Conn, err error) {
	e.load.closed(fmt.Sprintf("the receiver of pair %d", e.number), err)
}

func (p *pair) received(f protocol.Frame, now time.Duration) error {
	switch {
	case f.Type == protocol.TypeConnected && p.sender == nil:
		var err error
		p.sender, err = p.loop.Dial(fleet.Dialing{Addr: p.load.addr}, (*senderEnd)(p))
		return err
	case f.Type != protocol.TypeMessage || len(f.Body) != p.pushed || p.delivered == p.out:
		return fmt.Errorf("an unexpected %s of %d B", f.Type, len(f.Body))
	}
	at, err := stamped(f.Body[len(p.frame)-protocol.HeaderSize-p.size:], p.delivered)
	if err != nil {
		return err
	}
	p.delivered++
	if p.load.measured(at) {
		p.tally.second.Record(now - at)
	}
	return nil
}

// senderEnd is the pair as the handler of its sender's connection.
type senderEnd pair

func (e *senderEnd) OnOpen(c *fleet.Conn) { (*pair)(e).hello(c, helloSender) }

func (e *senderEnd) OnData(_ *fleet.Conn, b []byte) int {
	p, now := (*pair)(e), e.loop.Now()
	taken, err := eachFrame(b, func(f protocol.Frame) error { return p.answered(f, now) })
	if err != nil {
		return p.load.abandoned(b, fmt.Errorf("pair %d, sender: %w", p.number, err))
	}
	if p.out > 0 {
		p.fill(now)
	}
	return taken
}

func (e *senderEnd) OnClose(_ *fleet.Conn, err error) {
	e.load.closed(fmt.Sprintf("the sender of pair %d", e.number), err)
}

func (p *pair) answered(f protocol.Frame, now time.Duration) error {
	switch {
	case f.Type == protocol.TypeConnected && !p.senderReady:
		p.senderReady = true
		p.load.ready <- struct{}{}
		return nil
	case f.Type != protocol.TypeSent || len(f.Body) != p.ackSize || p.acked == p.out:
		return fmt.Errorf("an unexpected %s of %d B", f.Type, len(f.Body))
	case f.Request != request(p.acked):
		return fmt.Errorf("the ack of request %d came where that of %d was due", f.Request, request(p.acked))
	}
	at := p.times[p.acked%p.window]
	p.acked++
	if p.load.measured(at) {
		p.tally.first.Record(now - at)
	}
	return nil
}
