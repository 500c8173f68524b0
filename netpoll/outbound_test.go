package netpoll

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/godwit-im/godwit/protocol"
	"github.com/godwit-im/godwit/protocol/pb"
)

// accept makes a handler that hands out the connections and what they end with.
func accept() (h *handler, conns chan *Conn, ends chan error) {
	conns, ends = make(chan *Conn, 4096), make(chan error, 4096) // more than a test has connections
	return &handler{
		open:   func(c *Conn) { conns <- c },
		closed: func(_ *Conn, err error) { ends <- err },
	}, conns, ends
}

// numbered is a frame whose body begins with n.
func numbered(n uint64, size int) []byte {
	b := frameOf(protocol.TypeMessage, 0, max(size, 8), byte(n))
	binary.BigEndian.PutUint64(b[protocol.HeaderSize:], n)
	return b
}

func number(f protocol.Frame) uint64 { return binary.BigEndian.Uint64(f.Body) }

func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// clog pushes to a peer that doesn't read until nothing moves any more: the
// kernel's buffers are full, and so are gnet's and the queue. It returns how
// many frames, numbered from 0, were accepted.
func clog(t *testing.T, s *Server, c *Conn, size int) (accepted uint64) {
	t.Helper()
	eventually(t, "the connection is clogged", func() bool {
		sent := s.Stats().BytesOut.Load()
		for c.Push(numbered(accepted, size)) {
			accepted++
		}
		clogged := false
		s.Each(func(c *Conn) {
			c.flush()
			clogged = c.watched && c.outbound() > s.cfg.Lag && s.Stats().BytesOut.Load() == sent
		})
		return clogged
	})
	return accepted
}

// clock is a clock that tests set ahead. It goes on by itself, too.
type clock struct{ ahead atomic.Int64 }

func (c *clock) now() time.Time          { return time.Now().Add(time.Duration(c.ahead.Load())) }
func (c *clock) advance(d time.Duration) { c.ahead.Add(int64(d)) }

// TestSilentReader pushes 400 MB at a peer that reads nothing: memory stays
// within the budget, the peer is told once there is room, and what was
// accepted arrives whole and in order.
func TestSilentReader(t *testing.T) {
	const size, total = 4 << 10, 400 << 20
	h, conns, _ := accept()
	const farewell = 1 << 40
	drained := make(chan struct{}, 10)
	var reading atomic.Bool
	h.drained = func(c *Conn) {
		if reading.Load() {
			c.Reply(numbered(farewell, 0))
		}
		drained <- struct{}{}
	}
	s := start(t, h)
	p := dial(t, s)
	c := within(t, "connection", conns)

	before := heap()
	accepted := clog(t, s, c, size)
	for len(drained) > 0 { // while the kernel's buffers filled
		<-drained
	}
	refused := s.Stats().PushRefused.Load()
	budget := s.cfg.Lag + protocol.HeaderSize + size + frameOverhead
	frame := numbered(accepted, size)
	for pushed := 0; pushed < total; pushed += size {
		if c.Push(frame) {
			accepted++
			frame = numbered(accepted, size)
		} else {
			refused++
		}
		if n := c.Outbound(); n > budget {
			t.Fatalf("%d bytes outbound, the budget is %d", n, budget)
		}
	}
	if pushed := uint64(total / size); refused < pushed*9/10 {
		t.Fatalf("%d of %d were refused", refused, pushed)
	}
	if n := s.Stats().PushRefused.Load(); n != refused {
		t.Errorf("PushRefused is %d, want %d", n, refused)
	}
	if grown := int64(heap()) - int64(before); grown > 4<<20 {
		t.Errorf("the heap grew by %d bytes", grown)
	}
	s.Each(func(c *Conn) { c.flush() })
	if len(drained) > 0 {
		t.Error("OnDrained before anything was read")
	}
	reading.Store(true)
	for i := range accepted {
		if f := p.mustNext(); number(f) != i {
			t.Fatalf("frame %d arrived, want %d", number(f), i)
		}
	}
	within(t, "OnDrained", drained)
	if f := p.mustNext(); number(f) != farewell {
		t.Errorf("frame %d arrived, want the one sent in OnDrained", number(f))
	}
	eventually(t, "nothing is outbound", func() bool { return c.Outbound() == 0 })
	if !c.Push(numbered(0, size)) {
		t.Error("Push refused on an empty connection")
	}
	p.mustNext()
	if n := len(drained); n > 0 {
		t.Errorf("%d more OnDrained, want 1 in all", n)
	}
	eventually(t, "the connection is watched no more", func() bool { return s.Stats().Watched.Load() == 0 })
}

// TestPushLargerThanLag: a frame that is longer than the lag limit still gets
// through, alone.
func TestPushLargerThanLag(t *testing.T) {
	h, conns, _ := accept()
	s := start(t, h, func(cfg *Config) { cfg.Lag = 1000 })
	p := dial(t, s)
	c := within(t, "connection", conns)
	frame := numbered(7, s.cfg.MaxFrame)
	if !c.Push(frame) {
		t.Fatal("refused")
	}
	if f := p.mustNext(); len(f.Body) != s.cfg.MaxFrame {
		t.Errorf("a body of %d bytes", len(f.Body))
	}
}

// TestReplyPastCap closes with SLOW_CONSUMER; the peer, once it reads, finds
// whole frames, the reason and the end.
func TestReplyPastCap(t *testing.T) {
	for _, size := range []int{8, 1000, 200 << 10} {
		h, conns, ends := accept()
		s := start(t, h)
		p := dial(t, s)
		c := within(t, "connection", conns)
		before := heap()
		pong := numbered(0, size)
		for i := 0; s.Stats().SlowClosed.Load() == 0; i++ {
			c.Reply(pong)
			if n := c.Outbound(); n > s.cfg.Cap {
				t.Fatalf("%d bytes outbound, the cap is %d", n, s.cfg.Cap)
			}
		}
		if grown := int64(heap()) - int64(before); grown > 4<<20 {
			t.Errorf("body of %d: the heap grew by %d bytes", size, grown)
		}
		if c.Push(pong) {
			t.Error("Push after the end was accepted")
		}
		p.wantError(pb.Code_CODE_SLOW_CONSUMER)
		if err := within(t, "OnClose", ends); protocol.CodeOf(err) != pb.Code_CODE_SLOW_CONSUMER {
			t.Errorf("OnClose got %v", err)
		}
	}
}

// TestTinyFramesAreCharged: the cap bounds memory also where the frames are a
// header alone.
func TestTinyFramesAreCharged(t *testing.T) {
	c := detached(quiet{})
	for !c.closing.Load() {
		c.Reply(frameOf(protocol.TypePong, 1, 0, 0))
	}
	if n := int(c.loop.s.cfg.Cap) / (protocol.HeaderSize + 24); cap(c.queue.frames) > n {
		t.Errorf("room for %d frames, want at most %d", cap(c.queue.frames), n)
	}
}

func TestStall(t *testing.T) {
	var ck clock
	h, conns, ends := accept()
	s := start(t, h, func(cfg *Config) { cfg.Now = ck.now })
	dial(t, s)
	c := within(t, "connection", conns)
	clog(t, s, c, 4<<10)
	if len(ends) > 0 {
		t.Fatal("closed too early")
	}
	ck.advance(s.cfg.StallTimeout)
	if err := within(t, "OnClose", ends); protocol.CodeOf(err) != pb.Code_CODE_SLOW_CONSUMER {
		t.Errorf("OnClose got %v", err)
	}
	if st := s.Stats(); st.SlowClosed.Load() != 1 || st.Cut.Load() != 1 {
		t.Errorf("SlowClosed %d, Cut %d, want 1 and 1", st.SlowClosed.Load(), st.Cut.Load())
	}
	eventually(t, "the connection is watched no more", func() bool { return s.Stats().Watched.Load() == 0 })
}

// TestSlowIsNotStalled: a peer that takes a little within every timeout stays,
// though it never catches up.
func TestSlowIsNotStalled(t *testing.T) {
	var ck clock
	h, conns, ends := accept()
	s := start(t, h, func(cfg *Config) { cfg.Now, cfg.Lag, cfg.Cap = ck.now, 16<<20, 20<<20 })
	p := dial(t, s)
	c := within(t, "connection", conns)
	clog(t, s, c, 4<<10)
	for round := range 8 {
		for c.Push(benchFrame) {
		}
		sent := s.Stats().BytesOut.Load()
		ck.advance(s.cfg.StallTimeout * 3 / 4)
		// Enough for the peer's kernel to open its window, and ours to send.
		for s.Stats().BytesOut.Load() == sent {
			if _, err := io.CopyN(io.Discard, p, 16<<10); err != nil {
				t.Fatalf("round %d: %v", round, err)
			}
		}
		s.Each(func(c *Conn) { c.loop.look(s.elapsed()) })
		if c.Outbound() == 0 {
			t.Fatalf("round %d: the peer has caught up, which is not what is tested", round)
		}
	}
	if len(ends) > 0 {
		t.Error("closed")
	}
}

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
				p.write(frameOf(protocol.TypePing, 1, 0, 0))
				for range 2 {
					if _, err := p.next(); err != nil {
						t.Errorf("round %d: %v", i, err)
						return
					}
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

// TestSharedFrame sends one frame to many connections whose sockets take it in
// pieces; nobody changes it.
func TestSharedFrame(t *testing.T) {
	const n = 10
	h, conns, _ := accept()
	s := start(t, h)
	small, large := numbered(1, 100), numbered(2, 200<<10)
	keptSmall, keptLarge := bytes.Clone(small), bytes.Clone(large)
	var peers []*peer
	for range n {
		peers = append(peers, dial(t, s))
		c := within(t, "connection", conns)
		for range 3 {
			c.Reply(small)
			c.Reply(large)
		}
	}
	for _, p := range peers {
		for range 3 {
			for _, want := range [][]byte{keptSmall, keptLarge} {
				if f := p.mustNext(); !bytes.Equal(f.Body, want[protocol.HeaderSize:]) {
					t.Fatal("a frame arrived changed")
				}
			}
		}
	}
	if !bytes.Equal(small, keptSmall) || !bytes.Equal(large, keptLarge) {
		t.Error("a shared frame was changed")
	}
}

// TestReplyAllocatesNothing: the way of an answer through the queue to gnet
// costs no allocation once the queue's vector has been made.
func TestReplyAllocatesNothing(t *testing.T) {
	if raceEnabled {
		t.Log("sync.Pool drops at random under the race detector")
		return
	}
	h, conns, _ := accept()
	h.open = func(c *Conn) { c.Authenticated(); conns <- c }
	s := start(t, h)
	p := dial(t, s)
	go func() { _, _ = io.Copy(io.Discard, p) }()
	within(t, "connection", conns)
	s.Each(func(c *Conn) {
		n := testing.AllocsPerRun(1000, func() {
			c.scheduled.Store(true) // as in OnTraffic
			for range 10 {
				c.Reply(benchFrame)
			}
			c.flush()
		})
		if n != 0 {
			t.Errorf("%v allocations for 10 answers in a turn, want 0", n)
		}
	})
}

// TestResetWhileWriting: the peer is gone while output is queued; the
// connection ends once, with the socket's error or the end of the stream.
func TestResetWhileWriting(t *testing.T) {
	h, conns, ends := accept()
	s := start(t, h)
	p := dial(t, s)
	c := within(t, "connection", conns)
	clog(t, s, c, 4<<10)
	_ = p.SetLinger(0)
	_ = p.Close()
	if err := within(t, "OnClose", ends); err == nil || errors.Is(err, ErrStopped) {
		t.Errorf("OnClose got %v", err)
	}
	if n := c.Outbound(); n != 0 {
		t.Errorf("%d bytes outbound on a closed connection", n)
	}
	if n := s.Stats().Cut.Load(); n != 1 {
		t.Errorf("Cut is %d, want 1", n)
	}
}
