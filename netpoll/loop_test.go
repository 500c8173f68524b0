package netpoll

import (
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/godwit-im/godwit/protocol"
)

// TestOrder has many goroutines send on one connection; each one's frames
// arrive complete and in its order.
func TestOrder(t *testing.T) {
	const senders, each = 8, 2000
	h, conns, _ := accept()
	s := start(t, h)
	p := dial(t, s)
	c := within(t, "connection", conns)
	for i := range uint64(senders) {
		go func() {
			r := rand.New(rand.NewPCG(i, 0))
			for n := range uint64(each) {
				frame := numbered(i<<32|n, r.IntN(500))
				if n%2 == 0 {
					for c.Outbound() > s.cfg.Cap/2 {
						runtime.Gosched()
					}
					c.Reply(frame)
					continue
				}
				for !c.Push(frame) {
					runtime.Gosched()
				}
			}
		}()
	}
	var next [senders]uint64
	for range senders * each {
		n := number(p.mustNext())
		if i := n >> 32; next[i] != n&0xffffffff {
			t.Fatalf("sender %d: frame %d, want %d", i, n&0xffffffff, next[i])
		}
		next[n>>32]++
	}
}

// TestReplyInOnDrained: what is sent while a flush finishes gets a flush of
// its own.
func TestReplyInOnDrained(t *testing.T) {
	h, conns, _ := accept()
	h.drained = func(c *Conn) { c.Reply(numbered(100, 0)) }
	s := start(t, h, func(cfg *Config) { cfg.Lag = 100 })
	p := dial(t, s)
	within(t, "connection", conns)
	s.Each(func(c *Conn) {
		c.scheduled.Store(true) // as in OnTraffic
		n := uint64(0)
		for c.Push(numbered(n, 0)) {
			n++
		}
		c.flush()
	})
	for number(p.mustNext()) != 100 {
	}
}

// TestNoLostWakeUp answers one frame on the loop and one from elsewhere at the
// same time, again and again: neither answer may stay behind.
func TestNoLostWakeUp(t *testing.T) {
	const rounds = 2000
	elsewhere := make(chan *Conn, 10)
	t.Cleanup(func() { close(elsewhere) }) // after the server has stopped
	go func() {
		for c := range elsewhere {
			c.Reply(numbered(2, 0))
		}
	}()
	s := start(t, &handler{frame: func(c *Conn, f protocol.Frame) error {
		elsewhere <- c
		c.Reply(numbered(1, 0))
		for end := time.Now().Add(rand.N(20 * time.Microsecond)); time.Now().Before(end); {
			// Returning at any moment of the other answer's way.
		}
		return nil
	}})
	var wg sync.WaitGroup
	for range 4 {
		p := dial(t, s)
		wg.Go(func() {
			for i := range rounds {
				_, err := p.Write(frameOf(protocol.TypePing, 1, 0, 0))
				for answers := 0; answers < 2 && err == nil; answers++ {
					_, err = p.next()
				}
				if err != nil {
					t.Errorf("round %d: %v", i, err)
					return
				}
			}
		})
	}
	wg.Wait()
}

// TestOneWritePerTurn: what is answered while a read is worked off leaves in
// one write, without a doorbell.
func TestOneWritePerTurn(t *testing.T) {
	s := start(t, &handler{frame: func(c *Conn, f protocol.Frame) error {
		c.Reply(frameOf(protocol.TypePong, f.Request, 0, 0))
		return nil
	}}, func(cfg *Config) { cfg.Tick = time.Hour })
	p := dial(t, s)
	b, frames := stream(make([]int, 100)...)
	p.write(b)
	for i := range frames {
		if f := p.mustNext(); f.Request != uint32(i+1) {
			t.Fatalf("answer %d, want %d", f.Request, i+1)
		}
	}
	st := s.Stats()
	if w, d := st.Writes.Load(), st.Doorbells.Load(); w != 1 || d != 0 {
		t.Errorf("%d writes and %d doorbells for %d answers, want 1 and 0", w, d, len(frames))
	}
}

// TestOneDoorbellPerLoop: however much other goroutines send while a loop is
// busy, it is woken once and writes once per connection.
func TestOneDoorbellPerLoop(t *testing.T) {
	h, conns, _ := accept()
	busy, goOn := make(chan struct{}), make(chan struct{})
	h.frame = func(*Conn, protocol.Frame) error {
		close(busy)
		<-goOn
		return nil
	}
	s := start(t, h, func(cfg *Config) { cfg.Loops, cfg.Tick = 1, time.Hour })
	peers := make([]*peer, 10)
	targets := make([]*Conn, len(peers))
	for i := range peers {
		peers[i] = dial(t, s)
		targets[i] = within(t, "connection", conns)
	}
	peers[0].write(frameOf(protocol.TypePing, 1, 0, 0))
	<-busy
	var wg sync.WaitGroup
	for _, c := range targets {
		wg.Go(func() {
			for n := range uint64(100) {
				c.Push(numbered(n, 0))
			}
		})
	}
	wg.Wait()
	close(goOn)
	for i, p := range peers {
		for n := range uint64(100) {
			if f := p.mustNext(); number(f) != n {
				t.Fatalf("peer %d: frame %d, want %d", i, number(f), n)
			}
		}
	}
	st := s.Stats()
	if w, d := st.Writes.Load(), st.Doorbells.Load(); w != uint64(len(peers)) || d != 1 {
		t.Errorf("%d writes and %d doorbells, want %d and 1", w, d, len(peers))
	}
}

// TestMoreReadyThanATurn: more connections have output than a loop serves
// before it looks at its sockets, and more comes in between.
func TestMoreReadyThanATurn(t *testing.T) {
	const n = 2*serveMax + 100
	h, conns, _ := accept()
	s := start(t, h, func(cfg *Config) { cfg.Loops = 1 })
	var peers []*peer
	var targets []*Conn
	for range n {
		peers = append(peers, dial(t, s))
		targets = append(targets, within(t, "connection", conns))
	}
	targets[0].loop.call(func() { // nothing is flushed meanwhile
		for i := range uint64(3) {
			for _, c := range targets {
				c.Push(numbered(i, 0))
			}
		}
	})
	go func() {
		for _, c := range targets {
			c.Reply(numbered(100, 0))
		}
	}()
	for i, p := range peers {
		next := uint64(0)
		for range 4 {
			switch got := number(p.mustNext()); got {
			case 100:
			case next:
				next++
			default:
				t.Fatalf("peer %d: frame %d, want %d", i, got, next)
			}
		}
	}
}

// TestReadsGoOnUnderDoorbells: work for a loop that never ends doesn't keep it
// from its sockets. gnet alone would serve it for ever.
func TestReadsGoOnUnderDoorbells(t *testing.T) {
	h, conns, _ := accept()
	h.frame = func(c *Conn, f protocol.Frame) error {
		c.Reply(frameOf(protocol.TypePong, f.Request, 0, 0))
		return nil
	}
	s := start(t, h)
	p := dial(t, s)
	l := within(t, "connection", conns).loop
	var over atomic.Bool
	ended := make(chan struct{})
	var again func()
	again = func() {
		if over.Load() {
			close(ended)
			return
		}
		l.call(again)
	}
	l.call(again)
	for i := range uint32(20) {
		p.write(frameOf(protocol.TypePing, i+1, 0, 0))
		if f := p.mustNext(); f.Request != i+1 {
			t.Fatalf("answer %d, want %d", f.Request, i+1)
		}
	}
	over.Store(true)
	within(t, "end of the work", ended)
}

// TestPost: work that goes on and on in pieces, each of which posts the next,
// keeps its loop neither from its sockets nor from writing.
func TestPost(t *testing.T) {
	h, conns, _ := accept()
	var heard atomic.Bool
	h.frame = func(c *Conn, _ protocol.Frame) error {
		heard.Store(true)
		c.Reply(numbered(2, 0))
		return nil
	}
	s := start(t, h, func(cfg *Config) { cfg.Loops = 1 })
	told := dial(t, s)
	c := within(t, "connection", conns)
	asking := dial(t, s)
	within(t, "connection", conns)
	ended := make(chan struct{})
	pieces := 0 // the loop's
	var piece func()
	piece = func() {
		if heard.Load() {
			close(ended)
			return
		}
		if pieces++; pieces == 1 {
			c.Reply(numbered(1, 0))
		}
		s.Post(c.Loop(), piece)
	}
	s.Post(c.Loop(), piece)
	if got := number(told.mustNext()); got != 1 {
		t.Errorf("frame %d, want 1", got)
	}
	asking.write(numbered(0, 0))
	if got := number(asking.mustNext()); got != 2 {
		t.Errorf("frame %d, want 2", got)
	}
	within(t, "end of the pieces", ended)
}
