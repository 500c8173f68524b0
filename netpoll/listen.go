package netpoll

import (
	"fmt"
	"net"
	"os"

	"golang.org/x/sys/unix"
)

// reservation holds a port between the moment it is chosen and the moment
// gnet's loops listen on it.
type reservation struct {
	fd   int
	addr *net.TCPAddr
}

// reserve binds addr without listening and without SO_REUSEPORT. The loops'
// listeners have that option, so each of them would silently share the port
// with another server's; this bind fails instead when anybody listens there.
// It also settles port 0, which each listener would otherwise pick for itself.
func reserve(addr string) (r reservation, err error) {
	a, err := net.ResolveTCPAddr("tcp", addr)
	if err != nil {
		return reservation{}, fmt.Errorf("netpoll: listen address: %w", err)
	}
	// The same choice of family as gnet's: IPv4 for an IPv4 address, else a
	// dual-stack socket.
	family, sa := unix.AF_INET6, unix.Sockaddr(nil)
	if ip4 := a.IP.To4(); ip4 != nil {
		family, sa = unix.AF_INET, &unix.SockaddrInet4{Port: a.Port, Addr: [4]byte(ip4)}
	} else {
		sa6 := &unix.SockaddrInet6{Port: a.Port}
		copy(sa6.Addr[:], a.IP.To16())
		if ifi, err := net.InterfaceByName(a.Zone); err == nil {
			sa6.ZoneId = uint32(ifi.Index)
		}
		sa = sa6
	}
	fd, err := unix.Socket(family, unix.SOCK_STREAM, 0)
	if err != nil {
		return reservation{}, fmt.Errorf("netpoll: listen on %s: %w", addr, os.NewSyscallError("socket", err))
	}
	defer func() {
		if err != nil {
			_ = unix.Close(fd)
		}
	}()
	unix.CloseOnExec(fd)
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); err != nil {
		return reservation{}, fmt.Errorf("netpoll: listen on %s: %w", addr, os.NewSyscallError("setsockopt", err))
	}
	if err := unix.Bind(fd, sa); err != nil {
		return reservation{}, fmt.Errorf("netpoll: listen on %s: %w", addr, os.NewSyscallError("bind", err))
	}
	bound, err := unix.Getsockname(fd)
	if err != nil {
		return reservation{}, fmt.Errorf("netpoll: listen on %s: %w", addr, os.NewSyscallError("getsockname", err))
	}
	switch b := bound.(type) {
	case *unix.SockaddrInet4:
		a.Port = b.Port
	case *unix.SockaddrInet6:
		a.Port = b.Port
	}
	return reservation{fd: fd, addr: a}, nil
}

func (r reservation) release() { _ = unix.Close(r.fd) }
