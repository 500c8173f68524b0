package netpoll

import (
	"context"
	"time"

	"github.com/panjf2000/gnet/v2"

	"github.com/godwit-im/godwit/protocol"
)

// readBuffer is the size of a loop's read buffer, so the most that one read
// brings; in bytes.
const readBuffer = 64 << 10

// pollEvery is how often connections with waiting output are looked at, at
// least: gnet doesn't tell when its buffer has drained.
const pollEvery = 20 * time.Millisecond

// events receives gnet's callbacks.
type events struct {
	s *Server

	// Owned by gnet's ticker goroutine.
	polls int
}

// OnBoot keeps the handle by which the engine is stopped. The loops don't
// exist yet.
func (e *events) OnBoot(eng gnet.Engine) gnet.Action {
	e.s.engine = eng
	return gnet.None
}

// OnTick runs on a goroutine of its own, for the first time when all loops
// have been started.
func (e *events) OnTick() (time.Duration, gnet.Action) {
	if e.polls == 0 {
		close(e.s.booted)
	}
	e.polls++
	perTick := (e.s.cfg.Tick + pollEvery - 1) / pollEvery
	tick := e.polls%int(perTick) == 0
	for _, l := range *e.s.loops.Load() {
		if tick || l.watching.Load() {
			l.poll(tick)
		}
	}
	return e.s.cfg.Tick / perTick, gnet.None
}

// OnShutdown runs when the engine has been told to end, before its loops are.
func (e *events) OnShutdown(gnet.Engine) { e.s.forbidDoorbells() }

// OnOpen admits or refuses a connection.
func (e *events) OnOpen(gc gnet.Conn) ([]byte, gnet.Action) {
	if b, ok := gc.Context().(*bell); ok {
		b.hung.Store(true)
		return nil, gnet.None
	}
	s := e.s
	l := s.loopOf(gc.EventLoop())
	c := newConn(s.lastID.Add(1), l, gc)
	if refusal := s.admit(); refusal != nil {
		s.log.Debug("connection refused", "conn", c.id, "remote", c.RemoteAddr(), "reason", refusal.Code.Name())
		_, err := gc.Write(protocol.AppendError(nil, 0, refusal.After(s.cfg.RetryAfter)))
		if err != nil || !c.seeOff() {
			return nil, gnet.Close
		}
		gc.SetContext(c)
		return nil, gnet.None
	}
	gc.SetContext(c)
	l.open(c)
	c.scheduled.Store(true) // what is sent in OnOpen is written by the flush below
	s.handler.OnOpen(c)
	c.flush()
	return nil, gnet.None
}

// OnTraffic takes what one read has brought.
func (e *events) OnTraffic(gc gnet.Conn) gnet.Action {
	b, _ := gc.Next(-1)
	if _, ok := gc.Context().(*bell); ok {
		_ = e.s.loopOf(gc.EventLoop()).Run(context.Background())
		return gnet.None
	}
	c, _ := gc.Context().(*Conn)
	if c == nil || c.phase != phaseOpen {
		return gnet.None
	}
	c.scheduled.Store(true) // what is sent in OnFrame is written by the flush below
	c.feed(b)
	c.flush()
	return gnet.None
}

// OnClose runs before gnet closes the descriptor, whoever wanted it.
func (e *events) OnClose(gc gnet.Conn, err error) gnet.Action {
	if c, _ := gc.Context().(*Conn); c != nil {
		c.closed(err)
	}
	return gnet.None
}
