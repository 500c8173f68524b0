package netpoll

import (
	"errors"
	"io"
	"sync"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/godwit-im/godwit/protocol"
	"github.com/godwit-im/godwit/protocol/pb"
)

// TestCloseFlushes closes with much queued for a peer that has sent what
// nobody will read: all of it arrives, then the reason, then the end.
func TestCloseFlushes(t *testing.T) {
	const n, size = 60, 10 << 10
	h, conns, ends := accept()
	s := start(t, h)
	p := dial(t, s)
	c := within(t, "connection", conns)
	for i := range uint64(n) {
		c.Reply(numbered(i, size))
	}
	why := protocol.Errorf(pb.Code_CODE_REPLACED, "another connection of this device")
	c.Close(why)
	c.Close(io.ErrUnexpectedEOF) // only the first counts
	c.Reply(numbered(n, size))
	if c.Push(numbered(n, size)) {
		t.Error("Push after Close was accepted")
	}
	p.write(make([]byte, 100<<10))
	for i := range uint64(n) {
		if f := p.mustNext(); number(f) != i {
			t.Fatalf("frame %d, want %d", number(f), i)
		}
	}
	p.wantError(pb.Code_CODE_REPLACED)
	if err := within(t, "OnClose", ends); err != why {
		t.Errorf("OnClose got %v, want %v", err, why)
	}
	_ = p.Close()
	eventually(t, "nobody lingers", func() bool { return s.Stats().Lingering.Load() == 0 })
}

func TestCloseWithoutReason(t *testing.T) {
	h, conns, ends := accept()
	s := start(t, h)
	p := dial(t, s)
	within(t, "connection", conns).Close(nil)
	p.wantEnd()
	if err := within(t, "OnClose", ends); err != nil {
		t.Errorf("OnClose got %v, want nil", err)
	}
}

// TestCloseInOnOpen closes before the peer could say anything.
func TestCloseInOnOpen(t *testing.T) {
	h, _, ends := accept()
	h.open = func(c *Conn) {
		c.Reply(numbered(1, 0))
		c.Close(protocol.Errorf(pb.Code_CODE_BUSY, "not now"))
	}
	s := start(t, h)
	p := dial(t, s)
	if f := p.mustNext(); number(f) != 1 {
		t.Errorf("frame %d, want 1", number(f))
	}
	p.wantError(pb.Code_CODE_BUSY)
	within(t, "OnClose", ends)
}

// TestCloseBeatsFrames: what was pipelined behind the frame that made the
// server close is not handed on.
func TestCloseBeatsFrames(t *testing.T) {
	var after atomic.Int32
	h, _, ends := accept()
	h.frame = func(c *Conn, f protocol.Frame) error {
		switch {
		case f.Request == 5:
			c.Close(nil)
		case f.Request > 5:
			after.Add(1)
		}
		return nil
	}
	s := start(t, h)
	p := dial(t, s)
	b, _ := stream(make([]int, 1000)...)
	p.write(b)
	within(t, "OnClose", ends)
	p.write(b) // read and dropped, until the peer closes
	p.wantEnd()
	if n := after.Load(); n != 0 {
		t.Errorf("%d frames were delivered after Close", n)
	}
}

// TestCloseRaces closes from other goroutines, and from the peer's side, while
// frames and pushes are under way. The handler checks that calls are in order
// and OnClose comes once.
func TestCloseRaces(t *testing.T) {
	h, conns, ends := accept()
	h.frame = func(c *Conn, f protocol.Frame) error {
		c.Reply(frameOf(protocol.TypePong, f.Request, 100, 0))
		return nil
	}
	s := start(t, h)
	b, _ := stream(make([]int, 200)...)
	for i := range 200 {
		p := dial(t, s)
		c := within(t, "connection", conns)
		var wg sync.WaitGroup
		wg.Go(func() { _, _ = p.Write(b) })
		wg.Go(func() {
			for range 50 {
				c.Push(benchFrame)
			}
		})
		for range 2 {
			wg.Go(func() { c.Close(protocol.Errorf(pb.Code_CODE_REPLACED, "")) })
		}
		if i%2 == 0 {
			wg.Go(func() { _ = p.Close() })
		}
		within(t, "OnClose", ends)
		wg.Wait()
		_ = p.Close()
	}
	eventually(t, "all are gone", func() bool { return s.Stats().Open.Load() == 0 })
	if len(ends) != 0 {
		t.Errorf("%d OnClose too many", len(ends))
	}
}

// TestPeerCloses covers the ways in which a peer goes away.
func TestPeerCloses(t *testing.T) {
	for _, v := range []struct {
		name  string
		leave func(p *peer)
		want  error
	}{
		{"closes", func(p *peer) { _ = p.Close() }, io.EOF},
		{"half-closes", func(p *peer) { _ = p.CloseWrite() }, io.EOF},
		{"in mid-frame", func(p *peer) { p.write(benchFrame[:20]); _ = p.Close() }, io.EOF},
		{"resets", func(p *peer) { p.write(benchFrame); _ = p.SetLinger(0); _ = p.Close() }, unix.ECONNRESET},
	} {
		t.Run(v.name, func(t *testing.T) {
			h, conns, ends := accept()
			s := start(t, h)
			p := dial(t, s)
			within(t, "connection", conns)
			v.leave(p)
			// An end that gnet notices by the error flag alone comes as EOF.
			if err := within(t, "OnClose", ends); !errors.Is(err, v.want) && !errors.Is(err, io.EOF) {
				t.Errorf("OnClose got %v, want %v", err, v.want)
			}
			if n := s.Stats().Open.Load(); n != 0 {
				t.Errorf("Open is %d, want 0", n)
			}
		})
	}
}

// TestPeerNeverCloses: the server has said its last word, and the peer keeps
// its side open.
func TestPeerNeverCloses(t *testing.T) {
	var ck clock
	h, conns, ends := accept()
	s := start(t, h, func(cfg *Config) { cfg.Now = ck.now })
	p := dial(t, s)
	within(t, "connection", conns).Close(nil)
	within(t, "OnClose", ends)
	p.wantEnd()
	if n := s.Stats().Lingering.Load(); n != 1 {
		t.Fatalf("Lingering is %d, want 1", n)
	}
	ck.advance(lingerTimeout)
	eventually(t, "it is closed", func() bool { return s.Stats().Lingering.Load() == 0 })
	p.write(benchFrame)
	eventually(t, "the peer is reset", func() bool { _, err := p.Write(benchFrame); return err != nil })
}

// TestCloseManyAtOnce: when more connections end than may linger, the others
// are closed at once, and all of them once.
func TestCloseManyAtOnce(t *testing.T) {
	const n = maxLingering + 50
	h, conns, ends := accept()
	s := start(t, h)
	var peers []*peer
	for range n {
		peers = append(peers, dial(t, s))
		within(t, "connection", conns)
	}
	s.Each(func(c *Conn) { c.Close(protocol.Errorf(pb.Code_CODE_DRAINING, "")) })
	for range n {
		within(t, "OnClose", ends)
	}
	if n := s.Stats().Lingering.Load(); n > maxLingering {
		t.Errorf("%d connections linger, at most %d may", n, maxLingering)
	}
	for _, p := range peers {
		p.wantError(pb.Code_CODE_DRAINING)
	}
}

// TestCloseIsBounded: a peer that doesn't read can't keep a closed connection.
func TestCloseIsBounded(t *testing.T) {
	var ck clock
	h, conns, ends := accept()
	s := start(t, h, func(cfg *Config) { cfg.Now = ck.now })
	dial(t, s)
	c := within(t, "connection", conns)
	clog(t, s, c, 4<<10)
	why := protocol.Errorf(pb.Code_CODE_REPLACED, "")
	c.Close(why)
	eventually(t, "the deadline is set", func() bool {
		set := false
		s.Each(func(c *Conn) { set = c.deadline > 0 })
		return set
	})
	if len(ends) > 0 {
		t.Fatal("closed too early")
	}
	ck.advance(closeTimeout)
	if err := within(t, "OnClose", ends); err != why {
		t.Errorf("OnClose got %v, want %v", err, why)
	}
	if n := s.Stats().Cut.Load(); n != 1 {
		t.Errorf("Cut is %d, want 1", n)
	}
}

func TestState(t *testing.T) {
	type state struct{ frames int }
	last := make(chan int, 1)
	s := start(t, &handler{
		open: func(c *Conn) { c.SetState(&state{}) },
		frame: func(c *Conn, _ protocol.Frame) error {
			c.State().(*state).frames++
			return nil
		},
		closed: func(c *Conn, _ error) { last <- c.State().(*state).frames },
	})
	p := dial(t, s)
	b, _ := stream(0, 0, 0)
	p.write(b)
	_ = p.Close()
	if n := within(t, "OnClose", last); n != 3 {
		t.Errorf("%d frames, want 3", n)
	}
}
