package netpoll

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/godwit-im/godwit/protocol"
	"github.com/godwit-im/godwit/protocol/pb"
)

func portOf(s *Server) int { return s.Addr().(*net.TCPAddr).Port }

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

func TestEach(t *testing.T) {
	const n = 20
	h, conns, _ := accept()
	s := start(t, h)
	want := make(map[*Conn]bool)
	for range n {
		dial(t, s)
		want[within(t, "connection", conns)] = true
	}
	var mu sync.Mutex
	inLoop := make([]int, s.Loops())
	ids := make(map[uint64]bool)
	s.Each(func(c *Conn) {
		mu.Lock()
		defer mu.Unlock()
		if !want[c] {
			t.Errorf("conn %d visited twice or unknown", c.ID())
		}
		delete(want, c)
		inLoop[c.Loop()]++
		ids[c.ID()] = true
		if c.ID() == 0 || !strings.HasPrefix(c.RemoteAddr(), "127.0.0.1:") {
			t.Errorf("conn %d from %s", c.ID(), c.RemoteAddr())
		}
	})
	if len(want) > 0 || len(ids) != n {
		t.Errorf("%d connections were left out, %d ids", len(want), len(ids))
	}
}

// TestGoAway tells everybody something and closes them at a pace, as a server
// does when it drains.
func TestGoAway(t *testing.T) {
	const n, pace = 60, 200
	h, conns, ends := accept()
	s := start(t, h)
	var peers []*peer
	for range n {
		peers = append(peers, dial(t, s))
		within(t, "connection", conns)
	}
	s.Refuse()
	wantRefused(t, s, pb.Code_CODE_DRAINING)
	s.Each(func(c *Conn) { c.Reply(frameOf(protocol.TypeGoAway, 0, 10, 0)) })
	for _, p := range peers {
		if f := p.mustNext(); f.Type != protocol.TypeGoAway {
			t.Fatalf("got %v, want GOAWAY", f.Type)
		}
		go func() { // what an SDK does
			p.wantError(pb.Code_CODE_DRAINING)
			_ = p.Close()
		}()
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	began := time.Now()
	if err := s.CloseAll(ctx, pace, protocol.Errorf(pb.Code_CODE_DRAINING, "restarting")); err != nil {
		t.Fatal(err)
	}
	if took, least := time.Since(began), time.Second*(n-pace/50)/pace; took < least {
		t.Errorf("took %v, want at least %v", took, least)
	}
	if len(ends) != n {
		t.Errorf("%d OnClose, want %d", len(ends), n)
	}
	if st := s.Stats(); st.Open.Load() != 0 || st.Lingering.Load() != 0 {
		t.Errorf("%d are open and %d linger", st.Open.Load(), st.Lingering.Load())
	}
	wantRefusals(t, s, refusals{accepted: n, draining: 1})
}

// TestCloseAllGivesUp: the context ends before the pace allows.
func TestCloseAllGivesUp(t *testing.T) {
	h, conns, _ := accept()
	s := start(t, h)
	for range 10 {
		dial(t, s)
		within(t, "connection", conns)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	if err := s.CloseAll(ctx, 1, nil); err == nil {
		t.Error("no error")
	}
	if n := s.Stats().Open.Load(); n < 8 {
		t.Errorf("%d are open, want most of 10", n)
	}
}

// TestStop ends everything at once; what is called afterwards does nothing.
func TestStop(t *testing.T) {
	h, conns, ends := accept()
	s := start(t, h)
	var all []*Conn
	for range 10 {
		dial(t, s)
		all = append(all, within(t, "connection", conns))
	}
	for all[0].Push(numbered(0, 4<<10)) {
	}
	began := time.Now()
	stop(t, s)
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("took %v", took)
	}
	for range all {
		if err := within(t, "OnClose", ends); !errors.Is(err, ErrStopped) {
			t.Errorf("OnClose got %v, want %v", err, ErrStopped)
		}
	}
	within(t, "Done", s.Done())
	if err := s.Err(); err != nil {
		t.Errorf("Err is %v", err)
	}
	for _, c := range all {
		c.Reply(benchFrame)
		c.Close(nil)
		if c.Push(benchFrame) || c.Outbound() != 0 {
			t.Error("a stopped server takes frames")
		}
	}
	s.Each(func(*Conn) { t.Error("visited a connection of a stopped server") })
	if err := s.CloseAll(context.Background(), 0, nil); err != nil {
		t.Error(err)
	}
	stop(t, s)
	if _, err := net.Dial("tcp", s.Addr().String()); err == nil {
		t.Error("still listening")
	}
}

func TestStopBeforeStart(t *testing.T) {
	s, err := New(testConfig(), &handler{t: t})
	if err != nil {
		t.Fatal(err)
	}
	stop(t, s)
}

// TestStopUnderLoad: doorbells ring until the very end.
func TestStopUnderLoad(t *testing.T) {
	for range 20 {
		h, conns, _ := accept()
		h.t = t
		s, err := New(testConfig(), h)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Start(); err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		for range 4 {
			p := dial(t, s)
			c := within(t, "connection", conns)
			wg.Go(func() {
				for {
					select {
					case <-s.Done():
						return
					default:
						c.Push(benchFrame)
						s.Each(func(*Conn) {})
					}
				}
			})
			go func() { _, _ = io.Copy(io.Discard, p) }()
		}
		stop(t, s)
		wg.Wait()
		if n := h.unclosed(); n > 0 {
			t.Fatalf("%d connections had no OnClose", n)
		}
	}
}

// TestUnexpectedEnd: the engine ends and nobody asked it to.
func TestUnexpectedEnd(t *testing.T) {
	h, conns, ends := accept()
	s := start(t, h)
	dial(t, s)
	within(t, "connection", conns)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_ = s.engine.Stop(ctx) // behind the server's back
	within(t, "Done", s.Done())
	if err := s.Err(); !errors.Is(err, ErrEngineEnded) {
		t.Errorf("Err is %v, want %v", err, ErrEngineEnded)
	}
	if err := within(t, "OnClose", ends); !errors.Is(err, ErrStopped) {
		t.Errorf("OnClose got %v", err)
	}
}

// TestOutOfDescriptors is what gnet does not survive, and what Start's check
// and the caps are there to prevent: Err tells the reason.
func TestOutOfDescriptors(t *testing.T) {
	h, _, _ := accept()
	s := start(t, h)
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Close(fd) }()

	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	low := limit
	low.Cur = 0 // nothing can be opened; what is open stays open
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &low); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
			t.Error(err)
		}
	}()
	_ = unix.Connect(fd, &unix.SockaddrInet4{Port: portOf(s), Addr: [4]byte{127, 0, 0, 1}})
	within(t, "Done", s.Done())
	if err := s.Err(); !errors.Is(err, ErrEngineEnded) || !strings.Contains(err.Error(), "too many open files") {
		t.Errorf("Err is %v", err)
	}
}

func TestDescriptorLimit(t *testing.T) {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	for _, v := range []struct {
		conns uint64
		ok    bool
	}{{limit.Cur - descriptorReserve, true}, {limit.Cur - descriptorReserve + 1, false}} {
		cfg := testConfig()
		cfg.MaxConns = int(v.conns)
		s, err := New(cfg, &handler{t: t})
		if err != nil {
			t.Fatal(err)
		}
		err = s.Start()
		if (err == nil) != v.ok {
			t.Errorf("MaxConns %d with a limit of %d: %v", v.conns, limit.Cur, err)
		}
		if err != nil && !strings.Contains(err.Error(), "ulimit") {
			t.Errorf("the error doesn't say what to do: %v", err)
		}
		stop(t, s)
	}
}

// TestAddressInUse: although the loops share a port, two servers don't.
func TestAddressInUse(t *testing.T) {
	s := start(t, &handler{})
	for _, addr := range []string{s.Addr().String(), "256.0.0.1:1", "127.0.0.1:http-alt-no"} {
		cfg := testConfig()
		cfg.Addr = addr
		other, err := New(cfg, &handler{t: t})
		if err != nil {
			t.Fatal(err)
		}
		if err := other.Start(); err == nil {
			t.Errorf("listening on %s", addr)
			stop(t, other)
		} else if addr == s.Addr().String() && !errors.Is(err, os.NewSyscallError("bind", unix.EADDRINUSE)) && !errors.Is(err, unix.EADDRINUSE) {
			t.Errorf("listening on %s: %v", addr, err)
		}
	}
	// And a port is free again at once, with connections of the last owner in
	// TIME_WAIT.
	h, conns, _ := accept()
	first := start(t, h)
	p := dial(t, first)
	within(t, "connection", conns)
	stop(t, first)
	p.wantEnd()
	again := start(t, &handler{}, func(cfg *Config) { cfg.Addr = first.Addr().String() })
	dial(t, again)
}

// TestSocketOptions: the send buffer bounds what the kernel holds, and Nagle's
// delay would add to every answer.
func TestSocketOptions(t *testing.T) {
	h, conns, _ := accept()
	s := start(t, h, func(cfg *Config) { cfg.SendBuffer = 50 << 10 })
	dial(t, s)
	within(t, "connection", conns)
	s.Each(func(c *Conn) {
		// The kernel doubles what is asked for.
		if n, err := unix.GetsockoptInt(c.gc.Fd(), unix.SOL_SOCKET, unix.SO_SNDBUF); err != nil || n != 2*s.cfg.SendBuffer {
			t.Errorf("SO_SNDBUF is %d, %v", n, err)
		}
		if n, err := unix.GetsockoptInt(c.gc.Fd(), unix.IPPROTO_TCP, unix.TCP_NODELAY); err != nil || n == 0 {
			t.Errorf("TCP_NODELAY is %d, %v", n, err)
		}
	})
}

func TestListenAddresses(t *testing.T) {
	for _, v := range []struct{ listen, dial string }{
		{"127.0.0.1:0", "127.0.0.1"},
		{"localhost:0", "localhost"},
		{"[::1]:0", "::1"},
		{":0", "127.0.0.1"},
		{":0", "::1"},
	} {
		t.Run(v.listen+" from "+v.dial, func(t *testing.T) {
			h, conns, _ := accept()
			s := start(t, h, func(cfg *Config) { cfg.Addr = v.listen })
			_, port, _ := net.SplitHostPort(s.Addr().String())
			p, err := net.Dial("tcp", net.JoinHostPort(v.dial, port))
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = p.Close() }()
			if c := within(t, "connection", conns); c.RemoteAddr() != p.LocalAddr().String() {
				t.Errorf("RemoteAddr is %s, want %s", c.RemoteAddr(), p.LocalAddr())
			}
		})
	}
}

func TestTicks(t *testing.T) {
	var ck clock
	ck.advance(time.Hour)
	h, conns, _ := accept()
	ticks := make(chan time.Time, 1000)
	ids := make(chan int, 1000)
	h.tick = func(loop int, now time.Time) {
		select {
		case ids <- loop:
			ticks <- now
		default:
		}
	}
	s := start(t, h, func(cfg *Config) { cfg.Tick, cfg.Now = 5*time.Millisecond, ck.now })
	loops := make(map[int]bool)
	for len(loops) < s.Loops() {
		dial(t, s)
		loops[within(t, "connection", conns).Loop()] = true
	}
	for seen := make(map[int]int); len(seen) < len(loops) || seen[0] < 3; {
		loop := within(t, "tick", ids)
		if !loops[loop] {
			t.Fatalf("a tick of loop %d", loop)
		}
		seen[loop]++
		if now := within(t, "tick", ticks); now.Before(time.Now().Add(59 * time.Minute)) {
			t.Fatalf("a tick at %v, not by the server's clock", now)
		}
	}
}

func TestValidate(t *testing.T) {
	good := DefaultConfig()
	if err := good.Validate(); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*Config){
		"Addr":               func(c *Config) { c.Addr = "7410" },
		"Loops":              func(c *Config) { c.Loops = -1 },
		"MaxConns":           func(c *Config) { c.MaxConns = 0 },
		"MaxUnauthenticated": func(c *Config) { c.MaxUnauthenticated = c.MaxConns + 1 },
		"AcceptRate":         func(c *Config) { c.AcceptRate = 0 },
		"AcceptBurst":        func(c *Config) { c.AcceptBurst = 0 },
		"MaxFrame":           func(c *Config) { c.MaxFrame = MaxFrameLimit + 1 },
		"Lag":                func(c *Config) { c.Lag = 0 },
		"Cap":                func(c *Config) { c.Cap = c.Lag + c.MaxFrame },
		"StallTimeout":       func(c *Config) { c.StallTimeout = 0 },
		"SendBuffer":         func(c *Config) { c.SendBuffer = 100 },
		"Tick":               func(c *Config) { c.Tick = 0 },
		"RetryAfter":         func(c *Config) { c.RetryAfter = -1 },
	} {
		c := good
		change(&c)
		if _, err := New(c, &handler{t: t}); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
