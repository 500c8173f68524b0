package client

import (
	"context"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/godwit-im/godwit/bench/fleet"
	"github.com/godwit-im/godwit/protocol"
	"github.com/godwit-im/godwit/protocol/pb"
)

// fakeServer answers each frame of a connection by a call of answer, the nth
// connection being told by n, from 0. A nil answer closes it.
func fakeServer(t *testing.T, answer func(n int, f protocol.Frame) []byte) *net.TCPAddr {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for n := 0; ; n++ {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				for r := protocol.NewReader(c, protocol.MaxBody); ; {
					f, err := r.ReadFrame()
					if err != nil {
						return
					}
					b := answer(n, f)
					if b == nil {
						return
					}
					if _, err := c.Write(b); err != nil {
						return
					}
				}
			}()
		}
	}()
	t.Cleanup(func() {
		ln.Close()
		<-ended
	})
	return ln.Addr().(*net.TCPAddr)
}

func connected(f protocol.Frame, user string) []byte {
	return protocol.AppendProto(nil, protocol.TypeConnected, f.Request, &pb.Connected{Version: 1, User: user, HeartbeatMs: 200, MaxFrame: 1 << 16})
}

// events passes on what a handler is told.
type events struct {
	connected chan *Device
	closed    chan error
}

func (e *events) OnConnected(d *Device)                     { e.connected <- d }
func (e *events) OnFrame(_ *Device, f protocol.Frame) error { return Expect(f, protocol.TypePong) }
func (e *events) OnClosed(_ *Device, err error)             { e.closed <- err }

// dial has bob connect to a server and returns what he is told.
func dial(t *testing.T, server *net.TCPAddr, heartbeat time.Duration, change ...func(*Device)) (e *events, pool *Pool) {
	t.Helper()
	f, err := fleet.New(1)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(f.Close)
	e = &events{connected: make(chan *Device, 10), closed: make(chan error, 10)}
	f.Each(func(l *fleet.Loop) {
		pool = NewPool(l, Server{Addr: server.AddrPort(), Token: func(string) (string, error) { return "token", nil }, Heartbeat: heartbeat})
		bob := pool.Add("bob", "phone", e)
		for _, f := range change {
			f(bob)
		}
		bob.Connect()
	})
	return e, pool
}

func wait[T any](t *testing.T, ch <-chan T) (v T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	select {
	case v = <-ch:
	case <-ctx.Done():
		t.Fatal("nothing came")
	}
	return v
}

// TestRefusedForNow has a server turn bob away twice, once with an error and
// once without a word.
func TestRefusedForNow(t *testing.T) {
	e, pool := dial(t, fakeServer(t, func(n int, f protocol.Frame) []byte {
		switch n {
		case 0:
			return protocol.AppendError(nil, 0, protocol.Errorf(pb.Code_CODE_RATE_LIMITED, "later").After(20*time.Millisecond))
		case 1:
			return nil
		}
		return connected(f, "bob")
	}), time.Hour)
	wait(t, e.connected)
	if n := pool.Refused(); n != 2 {
		t.Errorf("refused %d times", n)
	}
}

// TestFirstFlight has a server that refuses bob once, and then says nothing
// until his PING has come as well.
func TestFirstFlight(t *testing.T) {
	var connect protocol.Frame
	e, pool := dial(t, fakeServer(t, func(n int, f protocol.Frame) []byte {
		switch {
		case n == 0:
			return protocol.AppendError(nil, 0, protocol.Errorf(pb.Code_CODE_RATE_LIMITED, "later"))
		case f.Type == protocol.TypeConnect:
			connect = protocol.Frame{Request: f.Request}
			return []byte{}
		}
		return protocol.AppendHeader(connected(connect, "bob"), protocol.TypePong, f.Request, 0)
	}), time.Hour, func(bob *Device) {
		bob.FirstFlight = func(d *Device) { d.Request(protocol.TypePing, nil) }
	})
	bob := wait(t, e.connected)
	attempts := make(chan int, 1)
	pool.Loop().Post(func() { attempts <- bob.Attempts })
	if n := wait(t, attempts); n != 2 {
		t.Errorf("%d attempts, want 2", n)
	}
}

// TestRefusedForGood has a server turn bob away in ways that he must not answer
// by coming back.
func TestRefusedForGood(t *testing.T) {
	for name, answer := range map[string]func(f protocol.Frame) []byte{
		"token": func(protocol.Frame) []byte {
			return protocol.AppendError(nil, 0, protocol.Errorf(pb.Code_CODE_TOKEN_EXPIRED, "too old"))
		},
		"always without a word": func(protocol.Frame) []byte { return nil },
		"as somebody else":      func(f protocol.Frame) []byte { return connected(f, "alice") },
	} {
		t.Run(name, func(t *testing.T) {
			e, _ := dial(t, fakeServer(t, func(_ int, f protocol.Frame) []byte { return answer(f) }), time.Hour)
			if err := wait(t, e.closed); err == nil {
				t.Error("closed without an error")
			}
		})
	}
}

// TestHeartbeat has the server give a heartbeat of 200 ms, and not answer.
func TestHeartbeat(t *testing.T) {
	var pings atomic.Int64
	e, pool := dial(t, fakeServer(t, func(_ int, f protocol.Frame) []byte {
		if f.Type == protocol.TypeConnect {
			return connected(f, "bob")
		}
		pings.Add(1)
		return []byte{}
	}), time.Hour)
	start := pool.Loop().Now()
	wait(t, e.connected)
	err := wait(t, e.closed)
	took := pool.Loop().Now() - start
	if err == nil || pings.Load() > 1 {
		t.Errorf("%d pings, then %v", pings.Load(), err)
	}
	if least := 2 * 100 * time.Millisecond; took < least {
		t.Errorf("that took %v, less than %v", took, least)
	}
}

// TestBeat visits bob, who is silent for a heartbeat at a time.
func TestBeat(t *testing.T) {
	const interval = time.Second
	e, pool := dial(t, fakeServer(t, func(_ int, f protocol.Frame) []byte {
		if f.Type == protocol.TypeConnect {
			return protocol.AppendProto(nil, protocol.TypeConnected, f.Request, &pb.Connected{Version: 1, User: "bob", MaxFrame: 1 << 16})
		}
		return []byte{}
	}), time.Hour) // so that the pool leaves him alone
	bob := wait(t, e.connected)
	visited := make(chan struct{})
	pool.Loop().Post(func() {
		defer close(visited)
		now := bob.wrote + interval
		for range 3 {
			bob.beat(now, interval)
			if !bob.waiting || bob.wrote != now {
				t.Error("no PING")
			}
			bob.beat(now+interval-1, interval)
			if bob.cause != nil {
				t.Errorf("visited too soon: %v", bob.cause)
			}
			bob.OnData(bob.conn, protocol.AppendHeader(nil, protocol.TypePong, heartbeatRequest, 0))
			if bob.waiting {
				t.Error("the PONG did not count")
			}
			now += interval
		}
		bob.beat(now, interval)
		bob.Pause()
		bob.beat(now+interval, interval)
		if bob.cause != nil {
			t.Errorf("one that does not read: %v", bob.cause)
		}
		bob.paused = false
		bob.beat(now+2*interval, interval)
		if bob.cause == nil {
			t.Error("the server does not answer, and that is fine")
		}
	})
	wait(t, visited)
}
