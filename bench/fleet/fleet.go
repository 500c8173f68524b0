package fleet

import (
	"errors"
	"net/netip"
	"sync"
	"time"
)

// Handler is told what happens to connections. It must not block.
type Handler interface {
	// OnOpen is called when the connection is established.
	OnOpen(c *Conn)
	// OnData is given what has come and was not taken before, and returns how
	// many bytes of it are done with; the rest comes again with what follows it.
	// b is valid until it returns. It is not called after Conn.Close.
	OnData(c *Conn, b []byte) int
	// OnClose is called once for each Dial that succeeded and is the last call
	// for c: err is nil where this side closed, io.EOF where the peer did, else
	// what the socket reported.
	OnClose(c *Conn, err error)
}

// ErrTooMuch closes a connection whose handler left more than a read buffer
// behind: what it speaks has no frames that long.
var ErrTooMuch = errors.New("fleet: a frame is longer than the read buffer")

// readBuffer is the size of a loop's read buffer, in bytes: the longest frame,
// and the most that one read brings.
const readBuffer = 1 << 20

// Fleet is a set of loops.
type Fleet struct {
	loops   []*Loop
	began   time.Time
	running sync.WaitGroup
}

// New starts a fleet of so many loops.
func New(loops int) (*Fleet, error) {
	f := &Fleet{began: time.Now()}
	for range loops {
		l, err := newLoop(f)
		if err != nil {
			f.Close()
			return nil, err
		}
		f.loops = append(f.loops, l)
		f.running.Go(l.run)
	}
	return f, nil
}

// Loops returns the loops, for spreading connections over them.
func (f *Fleet) Loops() []*Loop { return f.loops }

// Now is the time since New, by the monotonic clock. Any goroutine.
func (f *Fleet) Now() time.Duration { return time.Since(f.began) }

// Close closes all connections, telling no handler, and ends the loops. It
// returns when they have ended. It must not be called on a loop.
func (f *Fleet) Close() {
	for _, l := range f.loops {
		l.Post(l.stop)
	}
	f.running.Wait()
}

// Each runs fn on every loop and returns when all have. It must not be called
// on a loop, or after Close.
func (f *Fleet) Each(fn func(*Loop)) {
	var ran sync.WaitGroup
	for _, l := range f.loops {
		ran.Add(1)
		l.Post(func() {
			defer ran.Done()
			fn(l)
		})
	}
	ran.Wait()
}

// Dialing is how a connection is made.
type Dialing struct {
	Addr netip.AddrPort
	// Source is the local address to connect from; the zero Addr leaves it to
	// the kernel. One source has as many connections to one address as there
	// are ephemeral ports, some 28,000.
	Source netip.Addr
	// ReceiveBuffer is SO_RCVBUF in bytes (the kernel doubles it); 0 leaves it
	// to the kernel.
	ReceiveBuffer int
}
