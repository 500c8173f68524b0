package server

import (
	"errors"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/godwit-im/godwit/chat"
	"github.com/godwit-im/godwit/delivery"
	"github.com/godwit-im/godwit/netpoll"
	"github.com/godwit-im/godwit/presence"
	"github.com/godwit-im/godwit/protocol"
	"github.com/godwit-im/godwit/protocol/pb"
	"github.com/godwit-im/godwit/session"
)

// gateway is the netpoll.Handler: it turns the frames of a connection into
// calls on the parts behind it. All its methods run on event loops.
type gateway struct {
	sessions *session.Manager
	log      chat.Log
	delivery *delivery.Delivery
	presence *presence.Presence
	maxBody  int
	limits   limits
	invites  invites
	now      func() time.Time
	logger   *slog.Logger

	// draining is set once, by Shutdown: new messages are refused while those
	// accepted before are stored and acked.
	draining atomic.Bool
}

// OnOpen implements netpoll.Handler. Until CONNECT has succeeded the
// connection's state is the *session.Handshake that times it out, then it is
// the *session.Session.
func (g *gateway) OnOpen(c *netpoll.Conn) {
	h := g.sessions.Accept(c)
	c.SetState(h)
	g.sessions.Watch(c.Loop(), h)
}

// OnFrame implements netpoll.Handler. A returned error ends the connection;
// one that concerns only a request is answered here.
func (g *gateway) OnFrame(c *netpoll.Conn, f protocol.Frame) error {
	s, ok := c.State().(*session.Session)
	if !ok {
		return g.onConnect(c, f)
	}
	now := g.now()
	s.Touch(g.sessions.Nanos(now))
	err := g.dispatch(c, s, f, now)
	if err == nil {
		return nil
	}
	if f.Request == 0 {
		// There is nothing to answer to, so the only way to tell is to end it.
		return err
	}
	s.Reply(protocol.AppendError(nil, f.Request, err))
	return nil
}

// OnDrained implements netpoll.Handler.
func (g *gateway) OnDrained(c *netpoll.Conn) {
	if s, ok := c.State().(*session.Session); ok {
		s.Drained()
	}
}

// OnClose implements netpoll.Handler. It ends only this connection's own
// session: one that has since replaced it is another object in the registry.
func (g *gateway) OnClose(c *netpoll.Conn, err error) {
	switch st := c.State().(type) {
	case *session.Handshake:
		g.sessions.Unwatch(c.Loop(), st)
	case *session.Session:
		g.sessions.Unwatch(c.Loop(), st)
		g.sessions.Close(st)
		g.delivery.Detach(st)
		g.presence.Forget(st)
		g.logger.Debug("connection closed", "conn", c.ID(), "user", st.User, "device", st.Device, "reason", reason(err))
	}
	c.SetState(nil)
}

// OnTick implements netpoll.Handler.
func (g *gateway) OnTick(loop int, now time.Time) {
	g.sessions.Tick(loop, now)
}

// onConnect handles the first frame.
func (g *gateway) onConnect(c *netpoll.Conn, f protocol.Frame) error {
	if f.Type != protocol.TypeConnect {
		return protocol.Errorf(pb.Code_CODE_NOT_CONNECTED, "the first frame must be CONNECT, not %s", f.Type)
	}
	if err := protocol.CheckFromClient(f); err != nil {
		return err
	}
	var req pb.Connect
	if err := protocol.Decode(f, &req); err != nil {
		return err
	}
	if g.draining.Load() {
		return draining()
	}
	s, err := g.sessions.Connect(c, f.Request, &req)
	if err != nil {
		g.logger.Info("connect refused", "conn", c.ID(), "addr", c.RemoteAddr(), "code", protocol.CodeOf(err).Name())
		return err
	}
	g.sessions.Unwatch(c.Loop(), c.State().(*session.Handshake))
	c.SetState(s)
	g.sessions.Watch(c.Loop(), s)
	g.delivery.Attach(s, c.Loop())
	c.Authenticated()
	return nil
}

// draining is the refusal while the server shuts down.
func draining() *protocol.Error {
	return protocol.Errorf(pb.Code_CODE_DRAINING, "the server is shutting down").After(time.Second)
}

// reason is what a log line says about why a connection ended.
func reason(err error) string {
	var e *protocol.Error
	switch {
	case err == nil:
		return "closed by the peer"
	case errors.As(err, &e):
		return e.Code.Name()
	}
	return err.Error()
}
