package client

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/godwit-im/godwit/bench/fleet"
	"github.com/godwit-im/godwit/protocol"
	"github.com/godwit-im/godwit/protocol/pb"
)

// Handler is told what happens to devices. It must not block.
type Handler interface {
	// OnConnected is called when the server has accepted the device.
	OnConnected(d *Device)
	// OnFrame is given what comes after that, heartbeats apart; f is valid until
	// it returns. An error closes the connection and is passed to OnClosed.
	OnFrame(d *Device, f protocol.Frame) error
	// OnClosed is called when a connection is lost that was connected, or can't
	// be established: err is nil after Close and Reset, a *protocol.Error where
	// the server gave one. The device may Connect again. A server that asks to
	// come back later is not told of: the device does so.
	OnClosed(d *Device, err error)
}

// Device is a user's device, connected or not.
type Device struct {
	User, Name string
	Handler    Handler
	// FirstFlight, where not nil, is called when CONNECT is about to be written,
	// to add requests that leave with it: it may call Request. When the CONNECT
	// is refused they are not answered, and those of the next attempt are new.
	FirstFlight func(d *Device)
	// ReceiveBuffer is that of the connections' sockets, see fleet.Dialing.
	ReceiveBuffer int
	// Accepted is the server's answer to CONNECT; nil before the first.
	Accepted *pb.Connected
	// Attempts counts the dials so far, with those that were refused.
	Attempts int

	pool      *Pool
	conn      *fleet.Conn // nil = none
	connected bool
	token     string
	retry     *fleet.Timer
	losses    int           // handshakes in a row that ended without a word
	dialled   time.Duration // the last dial's time
	wrote     time.Duration // the last frame's
	waiting   bool          // a heartbeat's PONG is due
	paused    bool
	cause     error  // why this side closes the connection
	request   uint32 // the last one's id
}

const (
	// handshakeTimeout is how long the server may take to answer CONNECT.
	handshakeTimeout = time.Minute
	// leastRetry is the least time before a device comes back that was refused.
	leastRetry = 10 * time.Millisecond
	// maxLosses is how many handshakes in a row may end without a word: the
	// server's refusal may be lost when it closes the connection at once.
	maxLosses = 5
	// heartbeatRequest is the request id of the PINGs that keep a device alive.
	heartbeatRequest = 1 << 31
	clientName       = "godwit-bench"
)

// Pool is the device's pool.
func (d *Device) Pool() *Pool { return d.pool }

// Now is the loop's clock.
func (d *Device) Now() time.Duration { return d.pool.loop.Now() }

// Dialled is when the connection, or the attempt at it, was begun, by the
// loop's clock.
func (d *Device) Dialled() time.Duration { return d.dialled }

// IsConnected reports whether the server has accepted the device and the
// connection is not lost.
func (d *Device) IsConnected() bool { return d.connected }

// Conn is the device's connection; nil when there is none.
func (d *Device) Conn() *fleet.Conn { return d.conn }

// Connect begins to connect. The handler hears how it ends.
func (d *Device) Connect() {
	if d.token == "" {
		token, err := d.pool.server.Token(d.User)
		if err != nil {
			d.Handler.OnClosed(d, fmt.Errorf("token for %s: %w", d.User, err))
			return
		}
		d.token = token
	}
	d.losses = 0
	d.dial()
}

func (d *Device) dial() {
	d.dialled = d.Now()
	d.cause = nil
	d.Attempts++
	conn, err := d.pool.loop.Dial(fleet.Dialing{Addr: d.pool.server.Addr, Source: d.pool.source(), ReceiveBuffer: d.ReceiveBuffer}, d)
	if err != nil {
		d.Handler.OnClosed(d, err)
		return
	}
	d.conn = conn
}

// OnOpen implements fleet.Handler.
func (d *Device) OnOpen(*fleet.Conn) {
	d.write(protocol.AppendProto(d.conn.Buffer(), protocol.TypeConnect, d.NextRequest(), &pb.Connect{
		MinVersion:  protocol.Version,
		MaxVersion:  protocol.Version,
		Token:       d.token,
		Device:      d.Name,
		Platform:    "bench",
		HeartbeatMs: uint32(d.pool.server.Heartbeat.Milliseconds()),
		Client:      clientName,
	}), d.Now())
	if d.FirstFlight != nil {
		d.FirstFlight(d)
	}
}

// OnData implements fleet.Handler.
func (d *Device) OnData(c *fleet.Conn, b []byte) (taken int) {
	limit := protocol.PreAuthMaxFrame
	if d.Accepted != nil {
		limit = max(limit, int(d.Accepted.MaxFrame))
	}
	for c.IsOpen() {
		f, n, err := protocol.Parse(b[taken:], limit)
		if n == 0 && err == nil {
			break
		}
		taken += n
		switch {
		case err != nil:
		case !d.connected:
			err = d.answered(f)
			limit = max(limit, int(d.Accepted.GetMaxFrame()))
		case f.Request == heartbeatRequest && f.Type == protocol.TypePong:
			d.waiting = false
		default:
			err = d.Handler.OnFrame(d, f)
		}
		if err != nil {
			d.Abort(err)
		}
	}
	return taken
}

// answered takes the server's answer to CONNECT.
func (d *Device) answered(f protocol.Frame) error {
	if err := Expect(f, protocol.TypeConnected); err != nil {
		return err
	}
	accepted := new(pb.Connected)
	if err := protocol.Decode(f, accepted); err != nil {
		return err
	}
	if accepted.User != d.User {
		return violation("%s was connected as %s", d.User, accepted.User)
	}
	d.Accepted = accepted
	d.connected = true
	d.waiting, d.paused = false, false
	if given := time.Duration(accepted.HeartbeatMs) * time.Millisecond; given > 0 {
		d.pool.heartbeat = min(d.pool.heartbeat, given)
	}
	d.Handler.OnConnected(d)
	return nil
}

// OnClose implements fleet.Handler.
func (d *Device) OnClose(_ *fleet.Conn, err error) {
	connected := d.connected
	d.conn, d.connected = nil, false
	if d.cause != nil {
		err = d.cause
	}
	if !connected && err != nil {
		if wait, again := d.comeBack(err); again {
			d.pool.refused.Add(1)
			// Up to a half longer, so that those who were refused together don't
			// return together.
			d.retry.Set(d.Now() + wait + rand.N(wait/2))
			return
		}
	}
	if errors.Is(err, io.EOF) && connected {
		err = fmt.Errorf("the server closed the connection of %s without a word: %w", d.User, err)
	}
	d.Handler.OnClosed(d, err)
}

// comeBack tells whether a handshake that failed is worth another attempt, and
// when.
func (d *Device) comeBack(err error) (wait time.Duration, again bool) {
	var refusal *protocol.Error
	if errors.As(err, &refusal) {
		d.losses = 0
		return max(refusal.RetryAfter, leastRetry), refusal.Code.Retryable()
	}
	if !lost(err) || d.losses >= maxLosses {
		return 0, false
	}
	d.losses++
	return leastRetry << d.losses, true
}

// NextRequest returns an id for the next request.
func (d *Device) NextRequest() uint32 {
	d.request++
	if d.request >= heartbeatRequest {
		d.request = 1
	}
	return d.request
}

// Buffer and Wrote are for frames that are encoded in place: what is appended
// to Buffer() and given to Wrote is written at the end of the loop's turn. now
// is the loop's clock. The device must be connected.
func (d *Device) Buffer() []byte { return d.conn.Buffer() }

// Wrote takes what was appended to Buffer.
func (d *Device) Wrote(b []byte, now time.Duration) { d.write(b, now) }

func (d *Device) write(b []byte, now time.Duration) {
	d.wrote = now
	d.conn.Wrote(b)
}

// Request sends a request and returns its id. The device must be connected.
func (d *Device) Request(t protocol.Type, m proto.Message) uint32 {
	id := d.NextRequest()
	if m == nil {
		d.write(protocol.AppendHeader(d.conn.Buffer(), t, id, 0), d.Now())
	} else {
		d.write(protocol.AppendProto(d.conn.Buffer(), t, id, m), d.Now())
	}
	return id
}

// Close closes the connection as far as there is one, and stops coming back.
// The handler is told of a connection; its err is nil.
func (d *Device) Close() {
	d.retry.Stop()
	if d.conn != nil {
		d.conn.Close()
	}
}

// Reset is Close with a reset, as if the network were gone: the server learns
// of it at once, no TIME_WAIT keeps the port.
func (d *Device) Reset() {
	d.retry.Stop()
	if d.conn != nil {
		d.conn.Reset()
	}
}

// Abort closes the connection, for which err is the reason.
func (d *Device) Abort(err error) {
	d.cause = err
	d.Close()
}

// Pause stops reading, so that what the server sends piles up; Resume goes on.
// A new connection reads. The device must be connected.
func (d *Device) Pause() {
	d.paused = true
	d.conn.Pause()
}

// Resume ends what Pause began.
func (d *Device) Resume() {
	d.paused, d.waiting = false, false
	d.conn.Resume()
}

// beat is a visit: it keeps the device alive and finds out when the server is
// not.
func (d *Device) beat(now, spoke time.Duration) {
	switch {
	case d.conn == nil:
	case !d.connected:
		if now-d.dialled > handshakeTimeout {
			d.Abort(fmt.Errorf("%s: no answer to CONNECT after %v", d.User, handshakeTimeout))
		}
	case now-d.wrote < spoke:
	case d.waiting && !d.paused: // one that is paused does not see the PONG
		d.Abort(fmt.Errorf("%s: no answer to PING since %v", d.User, (now - d.wrote).Round(time.Millisecond)))
	default:
		d.waiting = true
		d.write(protocol.AppendHeader(d.conn.Buffer(), protocol.TypePing, heartbeatRequest, 0), now)
	}
}
