package netpoll

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"log/slog"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/godwit-im/godwit/protocol"
	"github.com/godwit-im/godwit/protocol/pb"
)

// patience is how long a test waits for what should happen at once.
const patience = 2 * time.Minute

// handler is a Handler of functions; nil ones do nothing. It checks for every
// test what Handler promises: OnClose exactly once per OnOpen, nothing after
// it, and no two calls for a connection at a time.
type handler struct {
	t       testing.TB
	open    func(c *Conn)
	frame   func(c *Conn, f protocol.Frame) error
	drained func(c *Conn)
	closed  func(c *Conn, err error)
	tick    func(loop int, now time.Time)

	mu    sync.Mutex // guards conns
	conns map[uint64]*watch
}

type watch struct {
	busy   bool
	closed bool
}

func (h *handler) enter(c *Conn, what string) *watch {
	h.mu.Lock()
	defer h.mu.Unlock()
	w := h.conns[c.ID()]
	switch {
	case what == "OnOpen":
		if w != nil {
			h.t.Errorf("conn %d: a second OnOpen", c.ID())
		}
		if h.conns == nil {
			h.conns = make(map[uint64]*watch)
		}
		w = &watch{}
		h.conns[c.ID()] = w
	case w == nil:
		h.t.Errorf("conn %d: %s without OnOpen", c.ID(), what)
		w = &watch{}
	case w.closed:
		h.t.Errorf("conn %d: %s after OnClose", c.ID(), what)
	case w.busy:
		h.t.Errorf("conn %d: %s overlaps another call", c.ID(), what)
	}
	w.busy = true
	return w
}

func (h *handler) leave(w *watch, closed bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	w.busy, w.closed = false, closed
}

func (h *handler) OnOpen(c *Conn) {
	defer h.leave(h.enter(c, "OnOpen"), false)
	if h.open != nil {
		h.open(c)
	}
}

func (h *handler) OnFrame(c *Conn, f protocol.Frame) error {
	defer h.leave(h.enter(c, "OnFrame"), false)
	if h.frame != nil {
		return h.frame(c, f)
	}
	return nil
}

func (h *handler) OnDrained(c *Conn) {
	defer h.leave(h.enter(c, "OnDrained"), false)
	if h.drained != nil {
		h.drained(c)
	}
}

func (h *handler) OnClose(c *Conn, err error) {
	defer h.leave(h.enter(c, "OnClose"), true)
	if h.closed != nil {
		h.closed(c, err)
	}
}

func (h *handler) OnTick(loop int, now time.Time) {
	if h.tick != nil {
		h.tick(loop, now)
	}
}

// unclosed is the number of connections that had no OnClose.
func (h *handler) unclosed() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	n := 0
	for _, w := range h.conns {
		if !w.closed {
			n++
		}
	}
	return n
}

func testConfig() Config {
	cfg := DefaultConfig()
	cfg.Addr = "127.0.0.1:0"
	cfg.Loops = 2
	cfg.Logger = slog.New(slog.DiscardHandler)
	return cfg
}

// start serves until the end of the test, and then checks that every
// connection had its OnClose. In a test, as opposed to a benchmark, the server's
// clock stands still, so that no peer is ever too slow for a time limit; a test of
// one sets a clock of its own.
func start(t testing.TB, h *handler, change ...func(*Config)) *Server {
	t.Helper()
	h.t = t
	cfg := testConfig()
	if _, ok := t.(*testing.T); ok {
		cfg.Now = new(clock).now
	}
	for _, f := range change {
		f(&cfg)
	}
	s, err := New(cfg, h)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		stop(t, s)
		if n := h.unclosed(); n > 0 {
			t.Errorf("%d connections had no OnClose", n)
		}
		if n := s.Stats().Open.Load(); n != 0 {
			t.Errorf("%d connections are open after the end", n)
		}
	})
	return s
}

func stop(t testing.TB, s *Server) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := s.Stop(ctx); err != nil {
		t.Fatalf("Stop: %v", err)
	}
	cancel()
	for range 10 { // which of two things that are ready is seen is chance
		if err := s.Stop(ctx); err != nil {
			t.Fatalf("Stop of one that has ended, without time to wait: %v", err)
		}
	}
}

// peer is the client's side of a connection.
type peer struct {
	*net.TCPConn
	t   testing.TB
	buf []byte
}

func dial(t testing.TB, s *Server) *peer {
	t.Helper()
	p, err := tryDial(t, s)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Close() })
	return p
}

// tryDial is dial for goroutines other than the test's own, which close what
// they get.
func tryDial(t testing.TB, s *Server) (*peer, error) {
	c, err := net.Dial("tcp", s.Addr().String())
	if err != nil {
		return nil, err
	}
	_ = c.SetDeadline(time.Now().Add(2 * patience))
	return &peer{TCPConn: c.(*net.TCPConn), t: t}, nil
}

func (p *peer) write(b []byte) {
	p.t.Helper()
	if _, err := p.Write(b); err != nil {
		p.t.Fatalf("write: %v", err)
	}
}

// next reads one frame. The body is valid until the next call.
func (p *peer) next() (protocol.Frame, error) {
	b := slices.Grow(p.buf[:0], protocol.HeaderSize)[:protocol.HeaderSize]
	if _, err := io.ReadFull(p, b); err != nil {
		return protocol.Frame{}, err
	}
	size := wanted(b)
	p.buf = slices.Grow(b, size)
	b = p.buf[:size]
	if _, err := io.ReadFull(p, b[protocol.HeaderSize:]); err != nil {
		return protocol.Frame{}, err
	}
	f, _, err := protocol.Parse(b, protocol.MaxBody)
	return f, err
}

func (p *peer) mustNext() protocol.Frame {
	p.t.Helper()
	f, err := p.next()
	if err != nil {
		p.t.Fatalf("reading a frame: %v", err)
	}
	return f
}

// wantError reads up to an ERROR frame with request id 0 and code, and then
// the end of the stream.
func (p *peer) wantError(code protocol.Code) *pb.Error {
	p.t.Helper()
	for {
		f, err := p.next()
		if err != nil {
			p.t.Fatalf("reading: %v, want an ERROR %s", err, code.Name())
		}
		if f.Type != protocol.TypeError {
			continue
		}
		var e pb.Error
		if err := proto.Unmarshal(f.Body, &e); err != nil {
			p.t.Fatal(err)
		}
		if e.Code != code || f.Request != 0 {
			p.t.Fatalf("got ERROR %s for request %d, want %s for 0: %s", e.Code.Name(), f.Request, code.Name(), e.Text)
		}
		p.wantEnd()
		return &e
	}
}

func (p *peer) wantEnd() {
	p.t.Helper()
	if n, err := p.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		p.t.Fatalf("read %d bytes, %v; want the end of the stream", n, err)
	}
}

// eventually polls for what has no event to wait for.
func eventually(t testing.TB, what string, f func() bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(patience); !f(); <-tick.C {
		if time.Now().After(deadline) {
			t.Fatalf("never: %s", what)
		}
	}
}

// within receives from ch.
func within[T any](t testing.TB, what string, ch <-chan T) T {
	t.Helper()
	select {
	case v := <-ch:
		return v
	case <-time.After(patience):
		t.Fatalf("no %s in time", what)
		panic("unreachable")
	}
}

// pattern is what frames' bodies are cut from.
var pattern = func() []byte {
	b := make([]byte, protocol.MaxBody+256)
	for i := range b {
		b[i] = byte(i * 7 >> (i % 3))
	}
	return b
}()

// frameOf is a frame whose body is n bytes that depend on seed.
func frameOf(t protocol.Type, request uint32, n int, seed byte) []byte {
	return protocol.AppendFrame(nil, t, request, pattern[seed:][:n])
}

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

// clock is a clock that goes when a test sets it ahead, and not by itself.
type clock struct{ ahead atomic.Int64 }

// clocksBegin is what every clock says at first.
var clocksBegin = time.Now()

func (c *clock) now() time.Time { return clocksBegin.Add(time.Duration(c.ahead.Load())) }

func (c *clock) advance(d time.Duration) { c.ahead.Add(int64(d)) }

func portOf(s *Server) int { return s.Addr().(*net.TCPAddr).Port }
