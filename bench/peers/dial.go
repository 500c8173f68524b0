package main

import (
	"net/netip"

	"github.com/godwit-im/godwit/bench/fleet"
)

// dialler opens the connections of a loop, a few at a time: the backlog of a
// listener is short, and a connection that it drops comes a second later.
type dialler struct {
	loop    *fleet.Loop
	server  *server
	waiting []dial
	// failed is told of a connection that cannot be dialled.
	failed func(error)
}

type dial struct {
	link   link
	source netip.Addr
	owner  owner
}

// dialsAtOnce is how many connections of a loop may be on their way.
const dialsAtOnce = 32

func (d *dialler) start() {
	for range dialsAtOnce {
		d.next()
	}
}

// next is called by each owner that was opened.
func (d *dialler) next() {
	if len(d.waiting) == 0 {
		return
	}
	job := d.waiting[0]
	d.waiting = d.waiting[1:]
	c, err := d.server.dialect(job.link, job.owner)
	if err == nil {
		_, err = d.loop.Dial(fleet.Dialing{Addr: d.server.addr, Source: job.source}, c)
	}
	if err != nil {
		d.failed(err)
	}
}

// source is the local address of the ith connection: one address has ports for
// some 28,000.
func source(i int) netip.Addr { return netip.AddrFrom4([4]byte{127, 0, 0, byte(1 + i%8)}) }
