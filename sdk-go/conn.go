package godwit

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/godwit-im/godwit/protocol"
	"github.com/godwit-im/godwit/protocol/pb"
)

const (
	// attemptTimeout bounds a connection attempt: the token, the dial and
	// the handshake.
	attemptTimeout = 20 * time.Second
	// byeTimeout is how long the server's close is awaited after BYE. Closing
	// at once, with bytes unread, would reset the connection, and the BYE
	// with it.
	byeTimeout = 500 * time.Millisecond
	// abandonedFor is how long a CONNECT that was given up without an answer
	// may be on its way and replace the connection that came after it.
	abandonedFor = time.Minute
	// earlierConnects is how many such CONNECTs an earlier process is taken to have
	// left behind. It may be any number, and is seldom one; the bound is for two
	// processes with one store, so that in the end one of them stays.
	earlierConnects = 8
	// clientName is for the server's log.
	clientName = "godwit-go/0.1.0"
)

// endError is why a connection, or an attempt to connect, ended.
type endError struct {
	cause error
	final bool          // there is no use in trying again
	after time.Duration // the server's wish for the delay
}

func (e *endError) Error() string { return e.cause.Error() }
func (e *endError) Unwrap() error { return e.cause }

// ended is the end of a session for an error of the server.
func ended(m *pb.Error) *endError {
	e := fromError(m)
	end := &endError{cause: e, final: !m.Retryable && !e.Code.NeedsToken(), after: e.RetryAfter}
	switch m.Code {
	case pb.Code_CODE_REPLACED, pb.Code_CODE_DEVICE_ENDED:
		end.cause = &EndedError{Device: m.ByDevice, Platform: m.ByPlatform, Err: e}
	}
	return end
}

func protocolError(text string) error { return fmt.Errorf("protocol error: %s", text) }

// connect keeps the client connected until ctx ends or an error is final. One
// goroutine runs it. It writes; a second one reads.
func (c *Client) connect(ctx context.Context) {
	var abandoned []time.Time // when CONNECTs were given up without an answer; each may replace the client once
	if c.livedBefore {
		// An earlier process may have ended while it connected, again and again.
		abandoned = slices.Repeat([]time.Time{time.Now()}, earlierConnects)
	}
	for attempt := 0; ; attempt++ {
		c.setState(State{Phase: Connecting})
		end := c.connectOnce(ctx)
		if ctx.Err() != nil {
			return
		}
		c.lastFailure = end.err
		if end.unanswered {
			abandoned = append(abandoned, time.Now())
		}
		var e endError
		if why := (*endError)(nil); errors.As(end.err, &why) {
			e = *why
		}
		abandoned = slices.DeleteFunc(abandoned, func(at time.Time) bool { return time.Since(at) > abandonedFor })
		var by *EndedError
		if errors.As(end.err, &by) && by.Err.Code == pb.Code_CODE_REPLACED && len(abandoned) > 0 &&
			(by.Device == "" || by.Device == c.opts.Device) {
			// Most likely it was replaced by its own CONNECT, come late.
			e.final, abandoned = false, abandoned[1:]
		}
		if e.final {
			c.log.Error("the client ends", "err", end.err)
			c.fail(end.err)
			return
		}
		if end.lasted >= c.opts.Backoff.Max {
			attempt = 0
		}
		wait := e.after + c.opts.Backoff.wait(attempt)
		c.log.Info("not connected", "err", end.err, "retry_in", wait)
		c.setState(State{Phase: Waiting, Err: end.err, RetryIn: wait})
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return
		}
	}
}

// ending is how a connection, or an attempt to connect, ended.
type ending struct {
	err        error
	unanswered bool          // CONNECT was written and has no answer
	lasted     time.Duration // the session, if there was one
}

func (c *Client) connectOnce(ctx context.Context) ending {
	attempt, cancel := context.WithTimeout(ctx, attemptTimeout)
	defer cancel()
	token, err := c.opts.Token(attempt)
	if err == nil {
		err = checkToken(token)
	}
	if err != nil {
		return ending{err: fmt.Errorf("token: %w", err)}
	}
	raw, err := c.opts.Dialer(attempt, "tcp", c.opts.Addr)
	if err != nil {
		return ending{err: err}
	}
	defer raw.Close()
	stop := context.AfterFunc(attempt, func() { raw.Close() })
	defer stop()

	conn := &deadlineConn{Conn: raw, timeout: attemptTimeout}
	reader := protocol.NewReader(conn, protocol.PreAuthMaxFrame)
	connected, err := c.handshake(conn, reader, token)
	if err != nil {
		var e *protocol.Error
		if attempt.Err() != nil {
			err = fmt.Errorf("no answer to CONNECT for %v", attemptTimeout)
		}
		return ending{err: err, unanswered: !errors.As(err, &e)}
	}
	if !stop() {
		return ending{err: attempt.Err()}
	}
	return c.session(ctx, conn, reader, connected)
}

// handshake sends CONNECT and waits for the answer.
func (c *Client) handshake(conn net.Conn, reader *protocol.Reader, token string) (*pb.Connected, error) {
	const id = 1
	frame := protocol.AppendProto(nil, protocol.TypeConnect, id, &pb.Connect{
		MinVersion: protocol.Version, MaxVersion: protocol.Version,
		Token: token, Device: c.opts.Device, Platform: c.opts.Platform,
		HeartbeatMs: uint32(c.opts.Heartbeat.Milliseconds()),
		Client:      clientName,
	})
	if _, err := conn.Write(frame); err != nil {
		return nil, err
	}
	f, err := reader.ReadFrame()
	if err != nil {
		return nil, err
	}
	m, err := decode(f)
	if err != nil {
		return nil, err
	}
	switch m := m.(type) {
	case *pb.Connected:
		if m.Version != protocol.Version {
			return nil, protocolError(fmt.Sprintf("CONNECTED with version %d", m.Version))
		}
		if m.HeartbeatMs == 0 || m.MaxFrame == 0 || m.User == "" {
			return nil, protocolError("CONNECTED without heartbeat, frame limit or user")
		}
		reader.SetMaxBody(int(m.MaxFrame))
		return m, nil
	case *pb.Error:
		return nil, ended(m)
	case *pb.GoAway:
		return nil, &endError{
			cause: &protocol.Error{Code: m.Code, Text: m.Text},
			after: time.Duration(m.ReconnectAfterMs) * time.Millisecond,
		}
	}
	return nil, protocolError(fmt.Sprintf("%v in answer to CONNECT", f.Type))
}

// session runs a session to its end.
func (c *Client) session(ctx context.Context, conn *deadlineConn, reader *protocol.Reader, connected *pb.Connected) ending {
	now := time.Now()
	c.mu.Lock()
	s := newSession(&c.account, connected, now)
	// A PING goes out after an interval without a write, so within little
	// more than one something comes in, unless the peer is gone.
	conn.timeout = s.heartbeat * 7 / 4
	if err := c.account.connected(s, connected.User, connected.Epoch); err != nil {
		c.mu.Unlock()
		return ending{err: &endError{cause: err, final: true}}
	}
	c.maxBody = int(connected.MaxBody)
	c.account.setState(State{Phase: Syncing})
	c.mu.Unlock()
	c.log.Info("connected", "user", connected.User, "device", c.opts.Device, "generation", connected.Generation, "heartbeat", s.heartbeat)
	c.connectedOnce()

	var helpers sync.WaitGroup
	renewing, cancel := context.WithCancel(context.WithoutCancel(ctx))
	s.renew.fetch = func() {
		helpers.Go(func() {
			token, err := c.opts.Token(renewing)
			if err == nil {
				err = checkToken(token)
			}
			c.mu.Lock()
			s.renewWith(token, err, time.Now())
			c.mu.Unlock()
		})
	}
	readErr := make(chan error, 1)
	helpers.Go(func() { readErr <- c.read(s, reader) })

	err := c.write(ctx, s, conn, readErr)

	c.mu.Lock()
	c.account.disconnected()
	c.mu.Unlock()
	conn.Close()
	cancel()
	helpers.Wait()
	return ending{err: err, lasted: time.Since(now)}
}

// read brings what the server sends to the session, until the connection or
// the session ends.
func (c *Client) read(s *session, reader *protocol.Reader) error {
	for {
		f, err := reader.ReadFrame()
		if err != nil {
			return err
		}
		m, err := decode(f)
		if err != nil {
			return err
		}
		c.mu.Lock()
		if c.account.session != s {
			c.mu.Unlock()
			return net.ErrClosed
		}
		err = s.receive(f.Type, f.Request, m, time.Now())
		c.mu.Unlock()
		if err != nil {
			return err
		}
		if reader.Buffered() == 0 {
			// Not for each frame: the answers to many requests make room for
			// many, in one write.
			c.account.sessionBell.ring()
		}
	}
}

// write sends what the session has to send, until the session ends. When ctx
// ends, the session is ended in order.
func (c *Client) write(ctx context.Context, s *session, conn *deadlineConn, readErr <-chan error) error {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	closing := ctx.Done()
	var buf []byte
	for {
		c.mu.Lock()
		var wake time.Time
		var end error
		buf, wake, end = s.fill(buf[:0], time.Now())
		c.mu.Unlock()
		if len(buf) > 0 {
			if _, err := conn.Write(buf); err != nil {
				return firstReason(readErr, err)
			}
			if end == nil {
				continue
			}
		}
		if end != nil {
			c.bye(conn, readErr)
			return end
		}
		timer.Reset(time.Until(wake))
		select {
		case <-c.account.sessionBell:
		case <-timer.C:
		case err := <-readErr:
			return err
		case <-closing:
			closing = nil
			c.mu.Lock()
			s.close(time.Now())
			c.mu.Unlock()
		}
	}
}

// firstReason prefers what the server said last over a failed write.
func firstReason(readErr <-chan error, writeErr error) error {
	timer := time.NewTimer(byeTimeout)
	defer timer.Stop()
	select {
	case err := <-readErr:
		return err
	case <-timer.C:
		return writeErr
	}
}

// bye ends the session on the wire.
func (c *Client) bye(conn *deadlineConn, readErr <-chan error) {
	if conn.SetWriteDeadline(time.Now().Add(byeTimeout)) != nil {
		return
	}
	if _, err := conn.Conn.Write(protocol.AppendHeader(nil, protocol.TypeBye, 0, 0)); err != nil {
		return
	}
	if half, ok := conn.Conn.(interface{ CloseWrite() error }); ok && half.CloseWrite() == nil {
		timer := time.NewTimer(byeTimeout)
		defer timer.Stop()
		select {
		case err := <-readErr:
			c.log.Debug("connection closed", "err", err)
		case <-timer.C:
		}
	}
}

// deadlineConn is a connection on which every single Read and Write must get
// somewhere within a timeout. The time counts progress, not frames, so that a
// large frame on a slow link is no silence.
type deadlineConn struct {
	net.Conn
	timeout time.Duration // set while nobody reads or writes
}

func (c *deadlineConn) Read(b []byte) (int, error) {
	if err := c.SetReadDeadline(time.Now().Add(c.timeout)); err != nil {
		return 0, err
	}
	return c.Conn.Read(b)
}

// Write writes in pieces, each with the whole timeout.
func (c *deadlineConn) Write(b []byte) (n int, err error) {
	const piece = 16 << 10
	for n < len(b) && err == nil {
		if err = c.SetWriteDeadline(time.Now().Add(c.timeout)); err != nil {
			return n, err
		}
		var m int
		m, err = c.Conn.Write(b[n:min(n+piece, len(b))])
		n += m
	}
	return n, err
}
