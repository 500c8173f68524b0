package netpoll

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/godwit-im/godwit/protocol"
	"github.com/godwit-im/godwit/protocol/pb"
)

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
	var sdks sync.WaitGroup
	defer sdks.Wait()
	for _, p := range peers {
		if f := p.mustNext(); f.Type != protocol.TypeGoAway {
			t.Fatalf("got %v, want GOAWAY", f.Type)
		}
		sdks.Go(func() {
			if f, err := p.next(); err != nil || f.Type != protocol.TypeError {
				t.Errorf("got %v, %v, want ERROR", f.Type, err)
			}
			_ = p.Close()
		})
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

// TestStop ends everything at once, as the clock that stands still shows: no time
// limit is waited for. What is called afterwards does nothing.
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
	stop(t, s)
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
		if now := within(t, "tick", ticks); !now.Equal(ck.now()) {
			t.Fatalf("a tick at %v, not by the server's clock", now)
		}
	}
}
