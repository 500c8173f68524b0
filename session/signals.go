package session

import (
	"time"

	"github.com/godwit-im/godwit/protocol"
	"github.com/godwit-im/godwit/protocol/pb"
)

// AdmitSignal counts a SIGNAL that came at now, a time of Manager.Nanos, or
// refuses it with RATE_LIMITED. Loop only.
//
// It is a token bucket in one number, the generic cell rate algorithm (ITU-T
// I.371, annex A): signals is when the bucket would be full again. Each signal
// moves that on by what one costs, and may not move it further ahead than a
// whole bucket.
func (s *Session) AdmitSignal(now int64) error {
	cost := int64(time.Second) / int64(s.m.cfg.SignalRate)
	full := max(s.signals, now) + cost
	if wait := full - now - cost*int64(s.m.cfg.SignalBurst); wait > 0 {
		return errSignals.After(time.Duration(wait))
	}
	s.signals = full
	return nil
}

var errSignals = protocol.Errorf(pb.Code_CODE_RATE_LIMITED, "too many signals")
