// Package bench puts a running server under load and measures it. It speaks
// the protocol over plain connections rather than through the SDK, so that
// what it measures is the server.
//
// Direct has pairs of users chat and reports throughput and latencies; Connect
// holds idle sessions and reports what each costs the server in memory. The
// load comes from this process: on one machine the two share its processors,
// which the figures include.
package bench

import (
	"context"
	"fmt"
	"net"
	"time"

	"github.com/godwit-im/godwit/protocol"
	"github.com/godwit-im/godwit/protocol/pb"
)

// Target is the server to load.
type Target struct {
	// Addr is the server's host:port.
	Addr string
	// Token returns a signed token for a user. It is called from several
	// goroutines at a time.
	Token func(user string) (string, error)
}

const (
	device           = "bench"
	handshakeTimeout = 30 * time.Second
)

// conn is one authenticated connection. Its reader and writer belong to one
// goroutine each.
type conn struct {
	net.Conn
	r *protocol.Reader
	w *protocol.Writer
	// accepted is the server's answer to CONNECT.
	accepted pb.Connected
}

// connect dials, from the given local address if not nil, and performs the
// handshake. A refusal by the server is a *protocol.Error.
func (t *Target) connect(ctx context.Context, local net.Addr, user string, heartbeat time.Duration) (*conn, error) {
	token, err := t.Token(user)
	if err != nil {
		return nil, fmt.Errorf("token for %s: %w", user, err)
	}
	ctx, cancel := context.WithTimeout(ctx, handshakeTimeout)
	defer cancel()
	dialer := net.Dialer{LocalAddr: local, KeepAlive: -1}
	nc, err := dialer.DialContext(ctx, "tcp", t.Addr)
	if err != nil {
		return nil, err
	}
	c := &conn{Conn: nc, r: protocol.NewReader(nc, protocol.PreAuthMaxFrame), w: protocol.NewWriter(nc)}
	if err := c.handshake(ctx, token, heartbeat); err != nil {
		nc.Close()
		return nil, fmt.Errorf("connect %s: %w", user, err)
	}
	return c, nil
}

func (c *conn) handshake(ctx context.Context, token string, heartbeat time.Duration) error {
	deadline, _ := ctx.Deadline() // connect has set one
	if err := c.SetDeadline(deadline); err != nil {
		return err
	}
	if err := c.w.WriteProto(protocol.TypeConnect, 1, &pb.Connect{
		MinVersion:  protocol.Version,
		MaxVersion:  protocol.Version,
		Token:       token,
		Device:      device,
		Platform:    device,
		HeartbeatMs: uint32(heartbeat.Milliseconds()),
		Client:      "godwit-bench",
	}); err != nil {
		return err
	}
	if err := c.w.Flush(); err != nil {
		return err
	}
	f, err := c.r.ReadFrame()
	if err != nil {
		return err
	}
	if err := expect(f, protocol.TypeConnected); err != nil {
		return err
	}
	if err := protocol.Decode(f, &c.accepted); err != nil {
		return err
	}
	c.r.SetMaxBody(int(c.accepted.MaxFrame))
	return c.SetDeadline(time.Time{})
}

// expect turns a frame of another type into an error: the server's own where
// it is an ERROR.
func expect(f protocol.Frame, want protocol.Type) error {
	if f.Type == want {
		return nil
	}
	if f.Type == protocol.TypeError {
		var e pb.Error
		if err := protocol.Decode(f, &e); err != nil {
			return err
		}
		return &protocol.Error{Code: e.Code, Text: e.Text, RetryAfter: time.Duration(e.RetryAfterMs) * time.Millisecond}
	}
	return fmt.Errorf("the server sent %s where %s was due", f.Type, want)
}
