package main

import (
	"net/netip"

	"github.com/godwit-im/godwit/bench/fleet"
)

// link says what a connection is for.
type link struct {
	user string // whose session it is
	to   string // the user that Publish sends to; "" where it does not send
	// receives has the session take what is sent to user, kept by the server
	// while the user is away.
	receives bool
}

// client speaks a peer's protocol on one connection. It belongs to the
// connection's loop, and tells its owner what happens.
type client interface {
	fleet.Handler
	// Publish sends message n, counted from 0 by the caller; body is copied.
	// The server's acknowledgement is told to the owner as acked(n).
	Publish(n uint64, body []byte)
	// Ping asks the server for an answer behind everything that it has sent
	// so far; the owner is told ponged.
	Ping()
}

// owner is told of a client's events, on its loop.
type owner interface {
	// opened: the session is established, and subscribed where it receives.
	opened(c client)
	acked(n uint64)
	// delivered: a message came; body is valid until the call returns. Where
	// the protocol wants one, the client acknowledges it afterwards.
	delivered(body []byte)
	ponged()
	// failed: the connection is of no use any more. Where it is called again,
	// the first error is the reason.
	failed(err error)
}

// server is a peer that runs.
type server struct {
	process
	addr netip.AddrPort
	// dialect returns a client of it for a new connection.
	dialect func(l link, o owner) (client, error)
}

// process is an operating system process that was started here.
type process interface {
	PID() int
	// Kill ends it and waits until it is gone. That it had ended by itself is
	// an error.
	Kill() error
}
