package netpoll

import (
	"context"
	"net"
	"os"
	"sync/atomic"

	"github.com/panjf2000/gnet/v2"
	"golang.org/x/sys/unix"
)

// bell is how a loop with much to do comes back to it after a look at its
// sockets: a socket pair, of which the loop has one end among its own. gnet's
// tasks won't do. It runs them until it finds none, so one that is added before
// it has stopped looking keeps it from the sockets, and if that goes on, for good:
// with other programs on the processors it was half a second (docs/adr/0014).
type bell struct {
	fd   int         // our end; -1 = there is none. Guarded by the loop's mu
	hung atomic.Bool // the loop has the other end
}

// hang makes the bell. It returns at once; until the loop has its end, and if it
// never gets it, the loop does without.
func (l *loop) hang() {
	l.bell.fd = -1
	ends, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		l.s.log.Warn("a loop has no bell", "err", err)
		return
	}
	theirs := os.NewFile(uintptr(ends[1]), "bell")
	c, err := net.FileConn(theirs)
	_ = theirs.Close() // FileConn has made a copy, and gnet makes its own
	if err == nil {
		if _, err = l.ev.Enroll(gnet.NewContext(context.Background(), &l.bell), c); err != nil {
			_ = c.Close()
		}
	}
	if err != nil {
		_ = unix.Close(ends[0])
		l.s.log.Warn("a loop has no bell", "err", err)
		return
	}
	l.bell.fd = ends[0]
}

// comeBack has Run called once the loop has looked at its sockets, on the loop.
func (l *loop) comeBack() {
	if !l.bell.hung.Load() {
		// Another goroutine is a moment later, and mostly that is enough.
		go func() {
			l.mu.Lock()
			l.execute()
			l.mu.Unlock()
		}()
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.bell.fd >= 0 {
		l.tally.doorbells.Add(1)
		_, _ = unix.Write(l.bell.fd, []byte{0}) // a full one is ringing already
	}
}

// silence takes the bell down. The caller holds the loop's mu, and makes no other
// one: gnet is ending.
func (b *bell) silence() {
	if b.fd >= 0 {
		_ = unix.Close(b.fd)
		b.fd = -1
	}
}
