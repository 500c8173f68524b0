package fleet

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Loop is one goroutine's share of a fleet.
type Loop struct {
	fleet *Fleet
	epoll int
	bell  int // an eventfd

	// Owned by the loop's goroutine.
	conns   []*Conn // by descriptor; nil where there is none
	open    int
	dialled int32   // counts the connections, and wraps
	dirty   []*Conn // have output that was not written yet
	timers  timers
	buf     []byte
	events  []unix.EpollEvent
	stopped bool

	mu     sync.Mutex // guards posted and ended
	posted []func()
	ended  bool
}

func newLoop(f *Fleet) (*Loop, error) {
	epoll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("epoll_create1", err)
	}
	bell, err := unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC)
	if err != nil {
		_ = unix.Close(epoll)
		return nil, os.NewSyscallError("eventfd", err)
	}
	l := &Loop{fleet: f, epoll: epoll, bell: bell, buf: make([]byte, readBuffer), events: make([]unix.EpollEvent, 1024)}
	if err := unix.EpollCtl(epoll, unix.EPOLL_CTL_ADD, bell, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(bell)}); err != nil {
		_ = unix.Close(bell)
		_ = unix.Close(epoll)
		return nil, os.NewSyscallError("epoll_ctl", err)
	}
	return l, nil
}

// Now is the fleet's clock: the time since New.
func (l *Loop) Now() time.Duration { return l.fleet.Now() }

// Open is the number of connections of the loop, those included that are being
// established.
func (l *Loop) Open() int { return l.open }

// Post runs f on the loop soon. It may be called from any goroutine, on the
// loop too; after Close f never runs.
func (l *Loop) Post(f func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ended {
		return
	}
	l.posted = append(l.posted, f)
	if len(l.posted) == 1 {
		one := [8]byte{1}
		_, _ = unix.Write(l.bell, one[:]) // fails only when it was rung already
	}
}

// run is the loop.
func (l *Loop) run() {
	defer l.end()
	for !l.stopped {
		n := l.wait()
		for _, ev := range l.events[:n] {
			if int(ev.Fd) == l.bell {
				l.runPosted()
				continue
			}
			// An earlier event of this turn may have closed it, and the
			// descriptor may already be another connection's.
			if c := l.conns[ev.Fd]; c != nil && c.generation == ev.Pad {
				c.ready(ev.Events)
			}
		}
		l.fire(l.Now())
		l.flush()
		if n == len(l.events) {
			l.events = make([]unix.EpollEvent, 2*n)
		}
	}
}

// wait waits for events, or for the first timer. Its clock has nanoseconds,
// unlike epoll_wait's: a load that is sent at a rate needs them.
func (l *Loop) wait() int {
	var timeout *unix.Timespec
	if len(l.timers) > 0 {
		left := max(0, l.timers[0].when-l.Now())
		ts := unix.NsecToTimespec(int64(left))
		timeout = &ts
	}
	n, _, errno := unix.Syscall6(unix.SYS_EPOLL_PWAIT2, uintptr(l.epoll), uintptr(unsafe.Pointer(&l.events[0])),
		uintptr(len(l.events)), uintptr(unsafe.Pointer(timeout)), 0, 0)
	switch errno {
	case 0:
		return int(n)
	case unix.EINTR:
		return 0
	}
	panic(fmt.Sprintf("fleet: epoll_pwait2: %v", errno)) // a defect of this package
}

func (l *Loop) runPosted() {
	var count [8]byte
	_, _ = unix.Read(l.bell, count[:]) // empties it
	l.mu.Lock()
	posted := l.posted
	l.posted = nil
	l.mu.Unlock()
	for _, f := range posted {
		f()
	}
}

// flush writes what the turn has left to write. What a handler writes while it
// is told of a failure is written too.
func (l *Loop) flush() {
	for i := 0; i < len(l.dirty); i++ {
		c := l.dirty[i]
		c.dirty = false
		if c.state == stateOpen {
			c.flush()
		}
	}
	clear(l.dirty)
	l.dirty = l.dirty[:0]
}

// stop ends the loop after this turn.
func (l *Loop) stop() { l.stopped = true }

// end closes everything that is open, without a word to the handlers.
func (l *Loop) end() {
	l.mu.Lock()
	l.ended = true
	l.posted = nil
	l.mu.Unlock()
	for fd, c := range l.conns {
		if c != nil {
			c.state = stateClosed
			_ = unix.Close(fd)
		}
	}
	_ = unix.Close(l.bell)
	_ = unix.Close(l.epoll)
}

// Dial begins to connect. The error is that of a socket that can't be made;
// that the connection can't be established is told to the handler, by OnClose.
func (l *Loop) Dial(d Dialing, h Handler) (*Conn, error) {
	fd, err := dial(d)
	if err != nil {
		return nil, err
	}
	// A connection that is established at once is told of in the next turn
	// like the others: its socket is writable.
	l.dialled++
	c := &Conn{Handler: h, loop: l, fd: fd, generation: l.dialled, state: stateDialing, interest: unix.EPOLLOUT}
	if err := unix.EpollCtl(l.epoll, unix.EPOLL_CTL_ADD, fd, c.event()); err != nil {
		_ = unix.Close(fd)
		return nil, os.NewSyscallError("epoll_ctl", err)
	}
	if fd >= len(l.conns) {
		grown := make([]*Conn, max(fd+1, 2*len(l.conns)))
		copy(grown, l.conns)
		l.conns = grown
	}
	l.conns[fd] = c
	l.open++
	return c, nil
}

// dial makes a socket and begins to connect it.
func dial(d Dialing) (fd int, err error) {
	family := unix.AF_INET
	if d.Addr.Addr().Is6() {
		family = unix.AF_INET6
	}
	fd, err = unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, os.NewSyscallError("socket", err)
	}
	defer func() {
		if err != nil {
			_ = unix.Close(fd)
		}
	}()
	if err = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1); err != nil {
		return 0, os.NewSyscallError("setsockopt", err)
	}
	if d.ReceiveBuffer > 0 {
		if err = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, d.ReceiveBuffer); err != nil {
			return 0, os.NewSyscallError("setsockopt", err)
		}
	}
	if d.Source.IsValid() {
		// The port is chosen by connect, which knows the other end: two
		// connections may then have one port if they go to different places.
		if err = unix.SetsockoptInt(fd, unix.SOL_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1); err != nil {
			return 0, os.NewSyscallError("setsockopt", err)
		}
		if err = unix.Bind(fd, sockaddr(d.Source, 0)); err != nil {
			return 0, fmt.Errorf("fleet: bind to %v: %w", d.Source, os.NewSyscallError("bind", err))
		}
	}
	err = unix.Connect(fd, sockaddr(d.Addr.Addr(), d.Addr.Port()))
	if err == nil || errors.Is(err, unix.EINPROGRESS) {
		return fd, nil
	}
	return 0, fmt.Errorf("fleet: connect to %v: %w", d.Addr, os.NewSyscallError("connect", err))
}

// eof is what a read of no bytes means.
func eof(n int, err error) error {
	if n == 0 && err == nil {
		return io.EOF
	}
	return err
}
