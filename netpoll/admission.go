package netpoll

import (
	"sync/atomic"

	"github.com/godwit-im/godwit/protocol"
	"github.com/godwit-im/godwit/protocol/pb"
)

// admit counts one more connection in, or returns why it can't come in.
func (s *Server) admit() *protocol.Error {
	refused := &s.stats.Refused
	if s.refusing.Load() {
		refused.Draining.Add(1)
		return protocol.Errorf(pb.Code_CODE_DRAINING, "the server is going away")
	}
	if !countIn(&s.stats.Open, s.cfg.MaxConns) {
		refused.Total.Add(1)
		return protocol.Errorf(pb.Code_CODE_TOO_MANY_CONNECTIONS, "the server holds as many connections as it can")
	}
	if !countIn(&s.stats.Unauthenticated, s.cfg.MaxUnauthenticated) {
		s.stats.Open.Add(-1)
		refused.Unauthenticated.Add(1)
		return protocol.Errorf(pb.Code_CODE_TOO_MANY_CONNECTIONS, "too many connections are waiting to be authenticated")
	}
	if !s.accepts.AllowN(s.cfg.Now(), 1) {
		s.stats.Unauthenticated.Add(-1)
		s.stats.Open.Add(-1)
		refused.Rate.Add(1)
		return protocol.Errorf(pb.Code_CODE_RATE_LIMITED, "too many new connections at the moment")
	}
	s.stats.Accepted.Add(1)
	return nil
}

// countIn adds 1 to n unless that would exceed limit.
func countIn(n *atomic.Int64, limit int) bool {
	for {
		v := n.Load()
		if v >= int64(limit) {
			return false
		}
		if n.CompareAndSwap(v, v+1) {
			return true
		}
	}
}
