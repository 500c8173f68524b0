package netpoll

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/panjf2000/gnet/v2"
	"golang.org/x/sys/unix"

	"github.com/godwit-im/godwit/protocol"
	"github.com/godwit-im/godwit/protocol/pb"
)

const (
	// closeTimeout is how long a closed connection may take to send what was
	// queued before it is cut.
	closeTimeout = 5 * time.Second
	// lingerTimeout is how long a peer has to close its side when everything
	// was sent and ours is closed.
	lingerTimeout = time.Second
	// maxLingering bounds how many connections wait for that at a time, so
	// that a storm of refusals costs no descriptors; the next ones are closed
	// at once and may lose the reason on the way.
	maxLingering = 256
)

type phase uint8

const (
	phaseOpen      phase = iota // between OnOpen and OnClose
	phaseLingering              // over for the handler; our side is shut, the peer's isn't yet
	phaseGone
)

// Conn is a connection. Methods that are not said to belong to the loop may be
// called from any goroutine, at any time, also after the connection is gone.
type Conn struct {
	id     uint64
	loop   *loop
	remote netip.AddrPort

	scheduled atomic.Bool // a flush is to come: it is in the ready list, or in its own event
	closing   atomic.Bool // nothing is taken in or queued any more; set under mu

	mu       sync.Mutex // guards the next five, and setting closing
	queue    *queue     // what gnet has not got yet; nil = nothing
	buffered int        // what gnet's buffer held when last measured, in bytes
	lagging  bool       // Push has refused; OnDrained is owed
	decided  bool       // this side ended it, because of cause
	cause    error

	// Owned by the loop.
	phase    phase
	authed   bool
	watched  bool
	slot     int32
	gc       gnet.Conn
	state    any
	partial  []byte        // the beginning of an incomplete frame
	moved    time.Duration // when waiting output last moved
	deadline time.Duration // closing: when it is cut; lingering: when it is closed
}

func newConn(id uint64, l *loop, gc gnet.Conn) *Conn {
	c := &Conn{id: id, loop: l, gc: gc}
	if a, ok := gc.RemoteAddr().(*net.TCPAddr); ok {
		// A copy: gnet recycles the address with the connection.
		ap := a.AddrPort()
		c.remote = netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
	}
	return c
}

// ID is unique among the connections of a Server and never 0.
func (c *Conn) ID() uint64 { return c.id }

// Loop is the number of the connection's event loop, from 0.
func (c *Conn) Loop() int { return c.loop.id }

// RemoteAddr is the peer's address and port.
func (c *Conn) RemoteAddr() string { return c.remote.String() }

// SetState keeps a value of the handler's with the connection until OnClose
// has returned. It belongs to the loop.
func (c *Conn) SetState(v any) { c.state = v }

// State returns the value given to SetState. It belongs to the loop.
func (c *Conn) State() any { return c.state }

// Authenticated raises the frame limit to Config.MaxFrame, from the next frame
// on, and takes the connection out of the count of unauthenticated ones. It
// belongs to the loop.
func (c *Conn) Authenticated() {
	if c.authed || c.phase != phaseOpen {
		return
	}
	c.authed = true
	c.loop.s.stats.Unauthenticated.Add(-1)
}

// Reply sends a frame, or several in one slice, whole and of at most
// Config.MaxFrame and a header together. The slice may be shared between
// connections and must not be changed any more. What one goroutine sends with
// Reply and Push keeps its order. A slice that would take the connection past
// Config.Cap closes it with SLOW_CONSUMER. Reply never blocks; after Close it
// does nothing.
func (c *Conn) Reply(frame []byte) {
	c.mu.Lock()
	if c.closing.Load() {
		c.mu.Unlock()
		return
	}
	overflow := c.outbound()+len(frame)+frameOverhead > c.loop.s.cfg.Cap
	if overflow {
		c.giveUp()
	} else {
		c.push(frame)
	}
	c.mu.Unlock()
	c.schedule()
	if overflow {
		c.noteSlow("cap")
	}
}

// Push is Reply for frames that the connection can do without: when more than
// Config.Lag is waiting already it queues nothing and returns false, and
// Handler.OnDrained is called once there is room again. After Close it returns
// false and OnDrained doesn't follow.
func (c *Conn) Push(frame []byte) bool {
	c.mu.Lock()
	if c.closing.Load() {
		c.mu.Unlock()
		return false
	}
	if c.outbound() > c.loop.s.cfg.Lag {
		c.lagging = true
		c.mu.Unlock()
		c.loop.tally.pushRefused.Add(1)
		return false
	}
	c.push(frame)
	c.mu.Unlock()
	c.schedule()
	return true
}

// Close ends the connection once everything queued has been sent. If err isn't
// nil an ERROR frame goes last, with the code of the *protocol.Error that err
// is or wraps, or INTERNAL. What arrives from now on is dropped. A connection
// that doesn't take its output within a few seconds is cut. Only the first
// Close counts.
func (c *Conn) Close(err error) {
	if err == nil {
		c.end(nil, nil)
		return
	}
	c.end(err, protocol.AppendError(nil, 0, err))
}

// end closes because of cause, with last as the last bytes.
func (c *Conn) end(cause error, last []byte) {
	c.mu.Lock()
	if c.closing.Load() {
		c.mu.Unlock()
		return
	}
	if last != nil {
		c.push(last)
	}
	c.decide(cause)
	c.mu.Unlock()
	c.schedule()
}

// decide makes this side the one that ends the connection. The caller holds mu.
func (c *Conn) decide(cause error) {
	c.decided, c.cause = true, cause
	c.lagging = false
	c.closing.Store(true)
}

// giveUp drops what is queued, but for the frames that are being handed over,
// and closes with SLOW_CONSUMER. The caller holds mu.
func (c *Conn) giveUp() {
	err := protocol.Errorf(pb.Code_CODE_SLOW_CONSUMER, "more than %d bytes are waiting to be read", c.loop.s.cfg.Cap)
	c.queue.truncate()
	c.push(protocol.AppendError(nil, 0, err))
	c.decide(err)
}

// noteSlow counts and logs a slow consumer.
func (c *Conn) noteSlow(reason string) {
	c.loop.s.stats.SlowClosed.Add(1)
	c.loop.s.log.Debug("slow consumer", "conn", c.id, "reason", reason)
}

// Outbound is how many bytes are waiting to be sent, with a small charge for
// each frame: the queue, and gnet's buffer as it was when last measured, at
// most some 20 ms ago.
func (c *Conn) Outbound() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.outbound()
}

// outbound is Outbound for a caller who holds mu.
func (c *Conn) outbound() int { return c.queue.size() + c.buffered }

// push queues a frame. The caller holds mu.
func (c *Conn) push(frame []byte) {
	if c.queue == nil {
		c.queue = queues.Get().(*queue)
	}
	c.queue.push(frame)
}

// schedule sees to it that the connection is flushed.
func (c *Conn) schedule() {
	if !c.scheduled.Load() && c.scheduled.CompareAndSwap(false, true) {
		c.loop.enqueue(c)
	}
}

// look is the periodic visit to a watched connection, on the loop. It returns
// whether there is to be another one.
func (c *Conn) look(now time.Duration) bool {
	s := c.loop.s
	if c.phase == phaseOpen {
		c.flush()
	}
	switch {
	case c.phase == phaseGone:
		return false
	case c.phase == phaseLingering:
		if now >= c.deadline {
			c.drop()
		}
	case c.Outbound() == 0:
		return false
	case c.closing.Load():
		if c.deadline == 0 {
			c.deadline = now + closeTimeout
		}
		if now >= c.deadline {
			c.cut()
		}
	case now-c.moved >= s.cfg.StallTimeout:
		err := protocol.Errorf(pb.Code_CODE_SLOW_CONSUMER, "nothing was read for %v", s.cfg.StallTimeout)
		c.noteSlow("stall")
		c.end(err, nil)
		c.cut()
	}
	return c.phase != phaseGone
}

// finish ends a connection whose output is all sent, on the loop.
func (c *Conn) finish() {
	lingers := c.seeOff()
	c.over(nil)
	if !lingers {
		c.drop()
	}
}

// seeOff closes our side and waits for the peer to close its own, so that what
// was sent last arrives: closing a socket with unread input makes the kernel
// reset the connection and throw away what is on its way. It returns false if
// the connection should be closed at once instead.
func (c *Conn) seeOff() bool {
	s := c.loop.s
	if !countIn(&s.stats.Lingering, maxLingering) {
		return false
	}
	if err := unix.Shutdown(c.gc.Fd(), unix.SHUT_WR); err != nil {
		s.stats.Lingering.Add(-1)
		return false
	}
	c.phase = phaseLingering
	c.deadline = s.elapsed() + lingerTimeout
	c.loop.watch(c)
	return true
}

// cut ends a connection that doesn't take its output, on the loop. The reset
// frees what the kernel holds for it.
func (c *Conn) cut() {
	_ = c.gc.SetLinger(0)
	c.drop()
}

// drop closes the socket, on the loop; gnet calls closed on the way.
func (c *Conn) drop() { _ = c.loop.ev.Close(c.gc) }

// closed is told that the socket is being closed, by whomever, on the loop.
func (c *Conn) closed(err error) {
	was := c.phase
	if was == phaseOpen {
		c.over(err)
	}
	c.phase = phaseGone
	if was == phaseLingering {
		c.loop.s.stats.Lingering.Add(-1)
	}
	c.loop.s.noteEnd()
}

// over ends an open connection for the handler. err is what gnet reported.
func (c *Conn) over(err error) {
	s := c.loop.s
	c.mu.Lock()
	if c.outbound() > 0 {
		s.stats.Cut.Add(1)
	}
	switch {
	case c.decided:
		err = c.cause
	case err == nil:
		err = ErrStopped
	case errors.Is(err, io.EOF):
		err = io.EOF
	}
	c.closing.Store(true)
	c.buffered, c.lagging = 0, false
	if c.queue != nil {
		c.queue.release()
		c.queue = nil
	}
	c.mu.Unlock()
	if c.phase == phaseOpen {
		c.phase = phaseGone
	}
	c.partial = nil
	c.loop.remove(c)
	if !c.authed {
		s.stats.Unauthenticated.Add(-1)
	}
	s.stats.Open.Add(-1)
	s.handler.OnClose(c, err)
	c.state = nil
}
