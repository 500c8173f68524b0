package netpoll

import (
	"errors"
	"net"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestOutOfDescriptors is what gnet does not survive, and what Start's check
// and the caps are there to prevent: Err tells the reason.
func TestOutOfDescriptors(t *testing.T) {
	h, _, _ := accept()
	s := start(t, h)
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Close(fd) }()

	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	low := limit
	low.Cur = 0 // nothing can be opened; what is open stays open
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &low); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
			t.Error(err)
		}
	}()
	_ = unix.Connect(fd, &unix.SockaddrInet4{Port: portOf(s), Addr: [4]byte{127, 0, 0, 1}})
	within(t, "Done", s.Done())
	if err := s.Err(); !errors.Is(err, ErrEngineEnded) || !strings.Contains(err.Error(), "too many open files") {
		t.Errorf("Err is %v", err)
	}
}

func TestDescriptorLimit(t *testing.T) {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	for _, v := range []struct {
		conns uint64
		ok    bool
	}{{limit.Cur - descriptorReserve, true}, {limit.Cur - descriptorReserve + 1, false}} {
		cfg := testConfig()
		cfg.MaxConns = int(v.conns)
		s, err := New(cfg, &handler{t: t})
		if err != nil {
			t.Fatal(err)
		}
		err = s.Start()
		if (err == nil) != v.ok {
			t.Errorf("MaxConns %d with a limit of %d: %v", v.conns, limit.Cur, err)
		}
		if err != nil && !strings.Contains(err.Error(), "ulimit") {
			t.Errorf("the error doesn't say what to do: %v", err)
		}
		stop(t, s)
	}
}

// TestAddressInUse: although the loops share a port, two servers don't.
func TestAddressInUse(t *testing.T) {
	s := start(t, &handler{})
	for _, addr := range []string{s.Addr().String(), "256.0.0.1:1", "127.0.0.1:http-alt-no"} {
		cfg := testConfig()
		cfg.Addr = addr
		other, err := New(cfg, &handler{t: t})
		if err != nil {
			t.Fatal(err)
		}
		if err := other.Start(); err == nil {
			t.Errorf("listening on %s", addr)
			stop(t, other)
		} else if addr == s.Addr().String() && !errors.Is(err, os.NewSyscallError("bind", unix.EADDRINUSE)) && !errors.Is(err, unix.EADDRINUSE) {
			t.Errorf("listening on %s: %v", addr, err)
		}
	}
	// And a port is free again at once, with connections of the last owner in
	// TIME_WAIT.
	h, conns, _ := accept()
	// On an address of its own, where nobody else may take the port in between.
	first := start(t, h, func(cfg *Config) { cfg.Addr = "127.0.0.2:0" })
	p := dial(t, first)
	within(t, "connection", conns)
	stop(t, first)
	p.wantEnd()
	again := start(t, &handler{}, func(cfg *Config) { cfg.Addr = first.Addr().String() })
	dial(t, again)
}

// TestSocketOptions: the send buffer bounds what the kernel holds, and Nagle's
// delay would add to every answer.
func TestSocketOptions(t *testing.T) {
	h, conns, _ := accept()
	s := start(t, h, func(cfg *Config) { cfg.SendBuffer = 50 << 10 })
	dial(t, s)
	within(t, "connection", conns)
	s.Each(func(c *Conn) {
		// The kernel doubles what is asked for.
		if n, err := unix.GetsockoptInt(c.gc.Fd(), unix.SOL_SOCKET, unix.SO_SNDBUF); err != nil || n != 2*s.cfg.SendBuffer {
			t.Errorf("SO_SNDBUF is %d, %v", n, err)
		}
		if n, err := unix.GetsockoptInt(c.gc.Fd(), unix.IPPROTO_TCP, unix.TCP_NODELAY); err != nil || n == 0 {
			t.Errorf("TCP_NODELAY is %d, %v", n, err)
		}
	})
}

func TestListenAddresses(t *testing.T) {
	for _, v := range []struct{ listen, dial string }{
		{"127.0.0.1:0", "127.0.0.1"},
		{"localhost:0", "localhost"},
		{"[::1]:0", "::1"},
		{":0", "127.0.0.1"},
		{":0", "::1"},
	} {
		t.Run(v.listen+" from "+v.dial, func(t *testing.T) {
			h, conns, _ := accept()
			s := start(t, h, func(cfg *Config) { cfg.Addr = v.listen })
			_, port, _ := net.SplitHostPort(s.Addr().String())
			p, err := net.Dial("tcp", net.JoinHostPort(v.dial, port))
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = p.Close() }()
			if c := within(t, "connection", conns); c.RemoteAddr() != p.LocalAddr().String() {
				t.Errorf("RemoteAddr is %s, want %s", c.RemoteAddr(), p.LocalAddr())
			}
		})
	}
}

func TestValidate(t *testing.T) {
	good := DefaultConfig()
	if err := good.Validate(); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*Config){
		"Addr":               func(c *Config) { c.Addr = "7410" },
		"Loops":              func(c *Config) { c.Loops = -1 },
		"MaxConns":           func(c *Config) { c.MaxConns = 0 },
		"MaxUnauthenticated": func(c *Config) { c.MaxUnauthenticated = c.MaxConns + 1 },
		"AcceptRate":         func(c *Config) { c.AcceptRate = 0 },
		"AcceptBurst":        func(c *Config) { c.AcceptBurst = 0 },
		"MaxFrame":           func(c *Config) { c.MaxFrame = MaxFrameLimit + 1 },
		"Lag":                func(c *Config) { c.Lag = 0 },
		"Cap":                func(c *Config) { c.Cap = c.Lag + c.MaxFrame },
		"StallTimeout":       func(c *Config) { c.StallTimeout = 0 },
		"SendBuffer":         func(c *Config) { c.SendBuffer = 100 },
		"Tick":               func(c *Config) { c.Tick = 0 },
		"RetryAfter":         func(c *Config) { c.RetryAfter = -1 },
	} {
		c := good
		change(&c)
		if _, err := New(c, &handler{t: t}); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
