package netpoll

import (
	"bytes"
	"errors"
	"io"
	"runtime"
	"sync/atomic"
	"testing"

	"github.com/godwit-im/godwit/protocol"
	"github.com/godwit-im/godwit/protocol/pb"
)

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
