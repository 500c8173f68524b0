package netpoll

import "sync/atomic"

// Stats are a Server's counters since it was made; read them from anywhere.
type Stats struct {
	// Gauges.
	Open            atomic.Int64 // connections between OnOpen and OnClose
	Unauthenticated atomic.Int64 // of these, not yet Authenticated
	Lingering       atomic.Int64 // after OnClose or a refusal, until the peer has seen the end
	Watched         atomic.Int64 // with output that waits, or lingering

	Accepted atomic.Uint64 // admitted
	// Refused counts the connections that were not admitted, by reason.
	Refused struct {
		Total           atomic.Uint64 // MaxConns
		Unauthenticated atomic.Uint64 // MaxUnauthenticated
		Rate            atomic.Uint64 // AcceptRate
		Draining        atomic.Uint64 // after Refuse
	}
	BadInput   atomic.Uint64 // connections closed for bytes that are not frames
	SlowClosed atomic.Uint64 // connections closed with SLOW_CONSUMER
	Cut        atomic.Uint64 // connections whose output could not be flushed before the end

	BytesIn     Total
	FramesIn    Total
	BytesOut    Total // handed to gnet: sent, or in a buffer that is sent next
	FramesOut   Total
	Writes      Total // hand-overs, each at most one write by gnet
	Doorbells   Total // times a loop was woken
	PushRefused Total // pushes refused for lag
}

// Total is a counter to which each loop adds in memory of its own, so that
// loops on different processors don't fight for a cache line with every frame.
type Total struct {
	s  *Server
	of func(*tally) *atomic.Uint64
}

// Load is the sum over all loops; that of a zero Total is 0.
func (t *Total) Load() (sum uint64) {
	if t.s == nil {
		return 0
	}
	for _, l := range *t.s.loops.Load() {
		sum += t.of(&l.tally).Load()
	}
	return sum
}

// tally is a loop's part of the Totals.
type tally struct {
	bytesIn, framesIn              atomic.Uint64
	bytesOut, framesOut            atomic.Uint64
	writes, doorbells, pushRefused atomic.Uint64
}

// bind makes the Totals add up s's loops.
func (st *Stats) bind(s *Server) {
	st.BytesIn = Total{s, func(t *tally) *atomic.Uint64 { return &t.bytesIn }}
	st.FramesIn = Total{s, func(t *tally) *atomic.Uint64 { return &t.framesIn }}
	st.BytesOut = Total{s, func(t *tally) *atomic.Uint64 { return &t.bytesOut }}
	st.FramesOut = Total{s, func(t *tally) *atomic.Uint64 { return &t.framesOut }}
	st.Writes = Total{s, func(t *tally) *atomic.Uint64 { return &t.writes }}
	st.Doorbells = Total{s, func(t *tally) *atomic.Uint64 { return &t.doorbells }}
	st.PushRefused = Total{s, func(t *tally) *atomic.Uint64 { return &t.pushRefused }}
}
