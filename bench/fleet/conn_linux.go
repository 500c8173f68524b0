package fleet

import (
	"errors"
	"net/netip"
	"os"

	"golang.org/x/sys/unix"
)

type state uint8

const (
	stateDialing state = iota
	stateOpen
	stateClosed
)

// Conn is a connection of a fleet.
type Conn struct {
	// Handler may be exchanged in a call of it, say once a handshake is over.
	Handler Handler

	loop       *Loop
	fd         int
	generation int32 // tells it from others that have or had its descriptor
	state      state
	dirty      bool
	paused     bool
	interest   uint32
	partial    []byte // came and was not taken yet
	out        []byte // to be written
}

// Loop is the connection's loop.
func (c *Conn) Loop() *Loop { return c.loop }

// IsOpen reports whether the connection is established and not closed.
func (c *Conn) IsOpen() bool { return c.state == stateOpen }

// Write has b, which is copied, written when the turn is over. On a connection
// that is not open it does nothing.
func (c *Conn) Write(b []byte) {
	c.out = append(c.Buffer(), b...)
	c.Wrote(c.out)
}

// Buffer and Wrote are Write without the copy: what is appended to Buffer() and
// given to Wrote is written. Nothing else may be called on c between the two.
func (c *Conn) Buffer() []byte { return c.out }

// Wrote takes what was appended to Buffer.
func (c *Conn) Wrote(b []byte) {
	if c.state != stateOpen {
		c.out = nil
		return
	}
	c.out = b
	if !c.dirty {
		c.dirty = true
		c.loop.dirty = append(c.loop.dirty, c)
	}
}

// Unwritten is how many bytes wait for the socket to take them.
func (c *Conn) Unwritten() int { return len(c.out) }

// Pause stops reading from the connection: what comes stays in the kernel, and
// then with the peer. Resume goes on.
func (c *Conn) Pause() {
	c.paused = true
	c.want()
}

// Resume ends what Pause began.
func (c *Conn) Resume() {
	c.paused = false
	c.want()
}

// Close closes the connection. What was not written yet is written as far as
// the socket takes it at once.
func (c *Conn) Close() {
	if c.state == stateOpen && len(c.out) > 0 {
		_, _ = unix.Write(c.fd, c.out)
	}
	c.closed(nil)
}

// Reset closes the connection with a reset, so that neither side keeps
// anything of it: no TIME_WAIT holds its port.
func (c *Conn) Reset() {
	if c.state == stateClosed {
		return
	}
	_ = unix.SetsockoptLinger(c.fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
	c.closed(nil)
}

// closed ends the connection for everybody.
func (c *Conn) closed(err error) {
	if c.state == stateClosed {
		return
	}
	c.state = stateClosed
	c.loop.conns[c.fd] = nil
	c.loop.open--
	_ = unix.Close(c.fd) // which takes it out of the epoll instance
	c.partial, c.out = nil, nil
	c.Handler.OnClose(c, err)
}

// ready is told what the socket is ready for.
func (c *Conn) ready(events uint32) {
	if c.state == stateDialing {
		c.dialled()
		return
	}
	if events&unix.EPOLLOUT != 0 {
		c.flush()
	}
	if c.state == stateOpen && events&(unix.EPOLLIN|unix.EPOLLHUP|unix.EPOLLERR) != 0 {
		c.read()
	}
}

func (c *Conn) dialled() {
	errno, err := unix.GetsockoptInt(c.fd, unix.SOL_SOCKET, unix.SO_ERROR)
	if err == nil && errno != 0 {
		err = os.NewSyscallError("connect", unix.Errno(errno))
	}
	if err != nil {
		c.closed(err)
		return
	}
	c.state = stateOpen
	c.want()
	c.Handler.OnOpen(c)
}

// read reads once and hands on what is there. The loop's buffer is everybody's;
// a connection has one of its own only for the beginning of a frame.
func (c *Conn) read() {
	buf := c.loop.buf
	kept := copy(buf, c.partial)
	n, err := unix.Read(c.fd, buf[kept:])
	if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EINTR) {
		return
	}
	if err := eof(n, err); err != nil {
		c.closed(err)
		return
	}
	b := buf[:kept+n]
	taken := c.Handler.OnData(c, b)
	if c.state != stateOpen {
		return
	}
	rest := b[taken:]
	switch {
	case len(rest) == len(buf):
		c.closed(ErrTooMuch)
	case len(rest) == 0:
		c.partial = nil
	default:
		c.partial = append(c.partial[:0], rest...)
	}
}

// flush writes what the socket takes.
func (c *Conn) flush() {
	if len(c.out) == 0 {
		c.want()
		return
	}
	n, err := unix.Write(c.fd, c.out)
	if err != nil && !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.EINTR) {
		c.closed(err)
		return
	}
	c.out = c.out[:copy(c.out, c.out[max(n, 0):])]
	if len(c.out) == 0 && cap(c.out) > keepOut {
		c.out = nil
	}
	c.want()
}

// keepOut is the largest output buffer that an idle connection keeps, in bytes.
const keepOut = 16 << 10

// want tells epoll what the connection waits for, where that has changed.
func (c *Conn) want() {
	if c.state != stateOpen {
		return
	}
	var interest uint32
	if !c.paused {
		interest |= unix.EPOLLIN
	}
	if len(c.out) > 0 && !c.dirty {
		interest |= unix.EPOLLOUT
	}
	if interest == c.interest {
		return
	}
	c.interest = interest
	_ = unix.EpollCtl(c.loop.epoll, unix.EPOLL_CTL_MOD, c.fd, c.event()) // the descriptor is there
}

// event is what epoll is told of the connection.
func (c *Conn) event() *unix.EpollEvent {
	return &unix.EpollEvent{Events: c.interest, Fd: int32(c.fd), Pad: c.generation}
}

func sockaddr(a netip.Addr, port uint16) unix.Sockaddr {
	if a.Is6() {
		return &unix.SockaddrInet6{Addr: a.As16(), Port: int(port)}
	}
	return &unix.SockaddrInet4{Addr: a.As4(), Port: int(port)}
}
