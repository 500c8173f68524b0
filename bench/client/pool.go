package client

import (
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/godwit-im/godwit/bench/fleet"
)

// Server is what devices connect to.
type Server struct {
	Addr netip.AddrPort
	// Token returns a signed token for a user. All loops call it.
	Token func(user string) (string, error)
	// Sources are the local addresses to connect from, in turn; none leaves the
	// choice to the kernel. Each has some 28,000 ports.
	Sources []netip.Addr
	// Heartbeat is the interval that devices ask for, and keep.
	Heartbeat time.Duration
}

// Loopback returns the source addresses 127.0.0.1 to 127.0.0.n, n up to 254,
// for a server that listens on such an address; none for another.
func Loopback(server netip.Addr, n int) []netip.Addr {
	if !server.Is4() || !server.IsLoopback() {
		return nil
	}
	sources := make([]netip.Addr, n)
	for i := range sources {
		sources[i] = netip.AddrFrom4([4]byte{127, 0, 0, byte(i + 1)})
	}
	return sources
}

// Pool holds the devices of one loop.
type Pool struct {
	server  Server
	loop    *fleet.Loop
	devices []*Device
	dials   int // counts them, for the sources' turns

	sweep     *fleet.Timer
	heartbeat time.Duration // the shortest that the server gave, at first what is asked for
	visited   int           // devices that had their visit in this round
	debt      float64       // of visits

	refused atomic.Int64
}

// NewPool returns an empty pool. It may be called before the loop runs
// anything; all else happens on the loop.
func NewPool(loop *fleet.Loop, server Server) *Pool {
	p := &Pool{server: server, loop: loop, heartbeat: server.Heartbeat}
	p.sweep = loop.NewTimer(p.visit)
	return p
}

// Loop is the pool's loop.
func (p *Pool) Loop() *fleet.Loop { return p.loop }

// Refused counts the attempts to connect that the server turned away for the
// moment. Any goroutine may ask.
func (p *Pool) Refused() int64 { return p.refused.Load() }

// Add makes a device of a user, not connected yet.
func (p *Pool) Add(user, name string, h Handler) *Device {
	d := &Device{User: user, Name: name, Handler: h, pool: p}
	d.retry = p.loop.NewTimer(d.dial)
	p.devices = append(p.devices, d)
	if len(p.devices) == 1 {
		p.sweep.Set(p.loop.Now() + sweepStep)
	}
	return d
}

// Devices returns the pool's devices, in the order of Add. Not to be changed.
func (p *Pool) Devices() []*Device { return p.devices }

// source is the local address of the next connection.
func (p *Pool) source() netip.Addr {
	p.dials++
	if len(p.server.Sources) == 0 {
		return netip.Addr{}
	}
	return p.server.Sources[p.dials%len(p.server.Sources)]
}

const (
	// sweepStep is how often some of the devices are visited.
	sweepStep = 50 * time.Millisecond
	// A round of visits takes roundShare of a heartbeat. A visit passes over
	// a device that has written in the last tenth of one, so that nobody is
	// silent for longer than the whole.
	roundShare = 0.9
	spokeShare = 0.1
)

// visit looks after the next few devices: all of them in the course of a
// round. It stands for a timer per device, of which there are too many.
func (p *Pool) visit() {
	now := p.loop.Now()
	p.sweep.Set(now + sweepStep)
	round := time.Duration(roundShare * float64(p.heartbeat))
	p.debt += float64(len(p.devices)) * float64(sweepStep) / float64(round)
	p.debt = min(p.debt, float64(len(p.devices)))
	for ; p.debt >= 1; p.debt-- {
		p.visited++
		if p.visited >= len(p.devices) {
			p.visited = 0
		}
		p.devices[p.visited].beat(now, time.Duration(spokeShare*float64(p.heartbeat)))
	}
}
