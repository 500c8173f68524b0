package session

import (
	"sync/atomic"

	"github.com/godwit-im/godwit/protocol"
)

// maxCode is above every code, so that refusals can be counted in an array.
const maxCode = 128

// Stats are counters since the start, but for Lagging, which is the present
// number. Read them from any goroutine.
type Stats struct {
	Connects          atomic.Uint64 // sessions that came into being
	Takeovers         atomic.Uint64 // sessions that a newer one replaced
	DevicesEnded      atomic.Uint64 // sessions that another of the user's devices ended
	Renewals          atomic.Uint64 // tokens that RENEW brought
	ConnectTimeouts   atomic.Uint64 // connections without a CONNECT in time
	HeartbeatTimeouts atomic.Uint64 // sessions closed for silence
	Expiries          atomic.Uint64 // sessions closed because their token ran out
	Lagged            atomic.Uint64 // times that a session began to lag
	Lagging           atomic.Int64  // sessions that lag now
	HeadsSent         atomic.Uint64 // HEADS frames

	refused [maxCode]atomic.Uint64
}

// Refused is how many CONNECTs and RENEWs were answered with code.
func (st *Stats) Refused(code protocol.Code) uint64 {
	if code < 0 || code >= maxCode {
		return 0
	}
	return st.refused[code].Load()
}

func (st *Stats) refuse(code protocol.Code) {
	if code >= 0 && code < maxCode {
		st.refused[code].Add(1)
	}
}
