package server

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/godwit-im/godwit/netpoll"
	"github.com/godwit-im/godwit/protocol"
	"github.com/godwit-im/godwit/protocol/pb"
	"github.com/godwit-im/godwit/session"
)

// lastMoment is what the listeners get to end, once the sessions are gone or
// the time for that is up: a profile that is being taken must not hold the stop. It
// is also all that noting who was there is worth.
const lastMoment = 3 * time.Second

// Shutdown drains the server and stops it, within ctx and Config.Drain.Timeout:
//
//  1. New connections and new messages are refused with DRAINING, and /readyz
//     fails, so that a balancer looks elsewhere.
//  2. Every session is told GOAWAY with a reconnect delay of its own.
//  3. What was accepted is stored and acked, and that everybody was there until now.
//  4. Connections are closed at Config.Drain.PerSecond, each after its pending
//     output.
//  5. The store is closed.
//
// When ctx ends first, the rest happens at once; what was acked is safe in any
// case. Only the first call of Shutdown or Close does the work; the others wait
// for it.
func (s *Server) Shutdown(ctx context.Context) error {
	s.stop.Do(func() {
		ctx, cancel := context.WithTimeout(ctx, s.cfg.Drain.Timeout)
		defer cancel()
		start := time.Now()
		s.logger.Info("draining", "sessions", s.sessions.Len())
		s.gateway.draining.Store(true)
		s.net.Refuse()
		s.net.Each(s.goAway)
		leave, cancelLeave := context.WithTimeout(ctx, lastMoment)
		s.presence.Leave(leave)
		cancelLeave()
		flushed := s.log.Close(ctx)
		if err := s.net.CloseAll(ctx, s.cfg.Drain.PerSecond, nil); err != nil {
			s.logger.Warn("the drain took too long; cutting the connections that are left", "err", err)
		}
		last, cancelLast := context.WithTimeout(context.WithoutCancel(ctx), lastMoment)
		defer cancelLast()
		s.finish(errors.Join(flushed, s.closeAll(last)))
		s.logger.Info("stopped", "took", time.Since(start).Round(time.Millisecond))
	})
	<-s.stopped
	return s.err
}

// goAway tells one connection to come back later. It runs on its loop.
func (s *Server) goAway(c *netpoll.Conn) {
	sess, ok := c.State().(*session.Session)
	if !ok {
		c.Close(draining())
		return
	}
	after := s.cfg.Drain.ReconnectAfter + rand.N(s.cfg.Drain.ReconnectAfter)
	sess.Reply(protocol.AppendProto(nil, protocol.TypeGoAway, 0, &pb.GoAway{
		Code:             pb.Code_CODE_DRAINING,
		Text:             "the server is shutting down",
		ReconnectAfterMs: uint32(after.Milliseconds()),
	}))
}
