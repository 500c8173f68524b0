//go:build linux

package fleet

import (
	"bytes"
	"io"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const patience = time.Minute

func start(t *testing.T) *Fleet {
	t.Helper()
	f, err := New(1)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(f.Close)
	return f
}

// echo is a server that sends everything back.
func echo(t *testing.T) netip.AddrPort {
	t.Helper()
	return serve(t, func(c net.Conn) { _, _ = io.Copy(c, c) })
}

// serve accepts connections and gives each to a goroutine of its own.
func serve(t *testing.T, f func(net.Conn)) netip.AddrPort {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				f(c)
			}()
		}
	}()
	t.Cleanup(func() {
		ln.Close()
		<-ended
	})
	return ln.Addr().(*net.TCPAddr).AddrPort()
}

// recorder is a Handler that keeps what it is told.
type recorder struct {
	open   func(*Conn)
	data   func(*Conn, []byte) int
	got    []byte
	closed chan error
}

func newRecorder() *recorder { return &recorder{closed: make(chan error, 1)} }

func (r *recorder) OnOpen(c *Conn) {
	if r.open != nil {
		r.open(c)
	}
}

func (r *recorder) OnData(c *Conn, b []byte) int {
	if r.data != nil {
		return r.data(c, b)
	}
	r.got = append(r.got, b...)
	return len(b)
}

func (r *recorder) OnClose(_ *Conn, err error) { r.closed <- err }

func dialOn(t *testing.T, f *Fleet, d Dialing, h Handler) {
	t.Helper()
	failed := make(chan error, 1)
	f.Loops()[0].Post(func() {
		_, err := f.Loops()[0].Dial(d, h)
		failed <- err
	})
	if err := <-failed; err != nil {
		t.Fatal(err)
	}
}

func wait[T any](t *testing.T, ch <-chan T) (v T) {
	t.Helper()
	select {
	case v = <-ch:
	case <-time.After(patience):
		t.Fatal("nothing came")
	}
	return v
}

// TestPartialFrames has a handler take three bytes at a time, so that the rest
// of each read must come again.
func TestPartialFrames(t *testing.T) {
	f := start(t)
	sent := bytes.Repeat([]byte("0123456789"), 100_000)
	r := newRecorder()
	r.open = func(c *Conn) { c.Write(sent) }
	r.data = func(c *Conn, b []byte) int {
		n := len(b) / 3 * 3
		r.got = append(r.got, b[:n]...)
		if len(r.got) == len(sent)-1 {
			r.got = append(r.got, b[n:]...)
			n = len(b)
		}
		if len(r.got) == len(sent) {
			c.Close()
		}
		return n
	}
	dialOn(t, f, Dialing{Addr: echo(t), Source: netip.MustParseAddr("127.0.0.7")}, r)
	if err := wait(t, r.closed); err != nil {
		t.Error(err)
	}
	if !bytes.Equal(r.got, sent) {
		t.Errorf("%d bytes came back of %d", len(r.got), len(sent))
	}
}

func TestRefusedAndEnded(t *testing.T) {
	f := start(t)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := ln.Addr().(*net.TCPAddr).AddrPort()
	ln.Close()
	refused := newRecorder()
	dialOn(t, f, Dialing{Addr: nobody}, refused)
	if err := wait(t, refused.closed); err == nil || err == io.EOF {
		t.Errorf("a refused connection ended with %v", err)
	}
	ended := newRecorder()
	dialOn(t, f, Dialing{Addr: serve(t, func(c net.Conn) { _, _ = c.Write([]byte("bye")) })}, ended)
	if err := wait(t, ended.closed); err != io.EOF || string(ended.got) != "bye" {
		t.Errorf("ended with %v after %q", err, ended.got)
	}
}

// TestDescriptorIsUsedAgain has two connections close in one turn, each of
// which dials again from OnClose and so gets a descriptor for which an event
// of the old connection is still in hand.
func TestDescriptorIsUsedAgain(t *testing.T) {
	f := start(t)
	const rounds = 200
	release := make(chan struct{})
	addr := serve(t, func(c net.Conn) {
		<-release // all at once
		_, _ = c.Write([]byte("x"))
	})
	l := f.Loops()[0]
	done := make(chan struct{})
	dials, closes := 0, 0
	var again func()
	again = func() {
		dials++
		r := newRecorder()
		h := &closer{recorder: r, closed: func(err error) {
			if err != io.EOF {
				t.Errorf("a connection ended with %v", err)
			}
			if closes++; closes == rounds {
				close(done)
			}
			if dials < rounds {
				again()
			}
		}}
		if _, err := l.Dial(Dialing{Addr: addr}, h); err != nil {
			t.Error(err)
		}
	}
	l.Post(func() {
		for range 20 {
			again()
		}
	})
	close(release)
	wait(t, done)
}

type closer struct {
	*recorder
	closed func(error)
}

func (c *closer) OnClose(_ *Conn, err error) {
	if string(c.got) != "x" {
		c.closed(io.ErrUnexpectedEOF)
		return
	}
	c.closed(err)
}

// TestPause stops reading until the peer can send no more, and goes on.
func TestPause(t *testing.T) {
	f := start(t)
	const size = 32 << 20
	blocked := make(chan struct{})
	addr := serve(t, func(c net.Conn) {
		_ = c.SetWriteDeadline(time.Now().Add(50 * time.Millisecond))
		n, err := c.Write(make([]byte, size))
		if err == nil {
			t.Error("a paused connection took everything")
		}
		close(blocked)
		_ = c.SetWriteDeadline(time.Time{})
		_, _ = c.Write(make([]byte, size-n))
	})
	r := newRecorder()
	var conn *Conn
	r.open = func(c *Conn) {
		conn = c
		c.Pause()
	}
	dialOn(t, f, Dialing{Addr: addr, ReceiveBuffer: 16 << 10}, r)
	wait(t, blocked)
	f.Loops()[0].Post(func() {
		if len(r.got) > 0 {
			t.Errorf("%d bytes came while reading was paused", len(r.got))
		}
		conn.Resume()
	})
	if err := wait(t, r.closed); err != io.EOF || len(r.got) != size {
		t.Errorf("%d of %d bytes, then %v", len(r.got), size, err)
	}
}

func TestTooMuch(t *testing.T) {
	f := start(t)
	r := newRecorder()
	r.open = func(c *Conn) { c.Write(make([]byte, 2*readBuffer)) }
	r.data = func(*Conn, []byte) int { return 0 }
	dialOn(t, f, Dialing{Addr: echo(t)}, r)
	if err := wait(t, r.closed); err != ErrTooMuch {
		t.Errorf("closed with %v", err)
	}
}

func TestTimers(t *testing.T) {
	f := start(t)
	l := f.Loops()[0]
	var fired []int
	done := make(chan struct{})
	l.Post(func() {
		now := l.Now()
		set := func(n int, after time.Duration) *Timer {
			timer := l.NewTimer(func() { fired = append(fired, n) })
			timer.Set(now + after)
			return timer
		}
		set(3, 3*time.Millisecond)
		set(1, time.Millisecond)
		set(4, 2*time.Millisecond).Set(now + 4*time.Millisecond) // moved
		set(9, 2*time.Millisecond).Stop()
		set(2, 2*time.Millisecond)
		l.NewTimer(func() { close(done) }).Set(now + 5*time.Millisecond)
	})
	wait(t, done)
	f.Each(func(*Loop) {
		if !slices.Equal(fired, []int{1, 2, 3, 4}) {
			t.Errorf("fired in the order %v", fired)
		}
	})
}

// TestCloseTellsNobody: Close ends everything without a call of a handler.
func TestCloseTellsNobody(t *testing.T) {
	f, err := New(2)
	if err != nil {
		t.Fatal(err)
	}
	r := newRecorder()
	opened := make(chan struct{})
	r.open = func(*Conn) { close(opened) }
	dialOn(t, f, Dialing{Addr: echo(t)}, r)
	wait(t, opened)
	f.Close()
	f.Loops()[0].Post(func() { t.Error("a function was run after Close") })
	if len(r.closed) > 0 {
		t.Error("OnClose was called")
	}
}

func TestFileLimit(t *testing.T) {
	limit, err := FileLimit()
	if err != nil {
		t.Fatal(err)
	}
	if err := RaiseFileLimit(limit); err != nil {
		t.Error(err)
	}
	if err := RaiseFileLimit(1 << 31); err == nil {
		t.Error("a limit beyond the hard one was granted")
	}
}
