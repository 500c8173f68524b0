package session

import (
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/godwit-im/godwit/protocol"
	"github.com/godwit-im/godwit/protocol/pb"
)

// Transport is the connection under a session. Its methods may be called from
// any goroutine and do not block. Frames passed to it are not modified any
// more by anybody.
type Transport interface {
	// Reply queues a frame, or several in one slice. It is never refused; a
	// peer that lets too much pile up is disconnected.
	Reply(frame []byte)
	// Push queues a frame, or several in one slice, unless too much is queued
	// already. After it has returned false, Session.Drained is called once there
	// is room.
	Push(frame []byte) bool
	// Close ends the connection after what is queued: with the ERROR frame of
	// err when that is a *protocol.Error, without a word when it is nil.
	Close(err error)
	ID() uint64
	// Outbound is how many bytes wait to be sent, as last measured.
	Outbound() int
}

// Session is an authenticated device on a connection.
type Session struct {
	// Immutable.
	User, Device     string
	Platform, Client string
	Generation       uint64 // rises with every session of the device
	Heartbeat        time.Duration
	connected        int64 // when it came into being, in Unix milliseconds
	transport        Transport
	m                *Manager

	// Owned by the connection's loop.
	Timer
	seen    int64 // when the last frame came; Manager.Nanos
	expires int64 // when the token ends; Manager.Nanos
	signals int64 // see AdmitSignal; Manager.Nanos

	sibling *Session // the next of the user's sessions; guarded by the registry shard's lock

	// inFlight holds the number of unanswered requests in its upper half and
	// the sum of their bytes in its lower half.
	inFlight atomic.Int64
	// ended is why the session was closed, nil while it wasn't. Whatever still
	// arrives from its connection afterwards changes nothing.
	ended atomic.Pointer[protocol.Error]

	mu  sync.Mutex // guards lag, and the order of pushes around it
	lag *lag       // nil = not lagging
}

// Conn is the id of the session's connection, for logs.
func (s *Session) Conn() uint64 { return s.transport.ID() }

func (s *Session) attrs() []slog.Attr {
	return []slog.Attr{
		slog.Uint64("conn", s.Conn()), slog.String("user", s.User), slog.String("device", s.Device),
		slog.Uint64("generation", s.Generation),
	}
}

// Touch notes that a frame came at now, a time of Manager.Nanos. Loop only.
func (s *Session) Touch(now int64) { s.seen = now }

// Deadline implements Entry: when 1.5 heartbeat intervals of silence are over
// or the token ends, whichever is first.
func (s *Session) Deadline() int64 {
	return min(s.silent(), s.expires)
}

func (s *Session) silent() int64 {
	return s.seen + int64(s.Heartbeat+s.Heartbeat/2)
}

// Expire implements Entry: it closes the session with the code of whichever
// deadline was first.
func (s *Session) Expire() {
	if s.expires <= s.silent() {
		s.m.stats.Expiries.Add(1)
		s.Close(protocol.Errorf(pb.Code_CODE_TOKEN_EXPIRED, "the token expired and was not renewed"))
		return
	}
	s.m.stats.HeartbeatTimeouts.Add(1)
	s.Close(protocol.Errorf(pb.Code_CODE_HEARTBEAT_TIMEOUT, "nothing was heard for 1.5 intervals of %v", s.Heartbeat))
}

// Reply queues the answer to a request, or several answers in one slice, which
// must not be modified afterwards. Any goroutine.
func (s *Session) Reply(frame []byte) { s.transport.Reply(frame) }

// Outbound is how many bytes wait to be sent, as last measured. Any goroutine.
func (s *Session) Outbound() int { return s.transport.Outbound() }

// Close ends the session's connection; see Transport.Close. From now on no
// request is admitted and nothing is pushed. The session stays registered
// until its connection has closed and Manager.Close is called.
func (s *Session) Close(err error) {
	s.end(err)
	s.transport.Close(err)
}

// end notes why the session was closed; the first reason stays.
func (s *Session) end(err error) {
	why := errEnded
	if err != nil {
		why = protocol.AsError(err)
	}
	s.ended.CompareAndSwap(nil, why)
}

// Ended reports whether the session was closed. Any goroutine.
func (s *Session) Ended() bool { return s.ended.Load() != nil }

var (
	errInFlight = protocol.Errorf(pb.Code_CODE_TOO_MANY_IN_FLIGHT, "too many unanswered requests; the limits are in CONNECTED")
	errEnded    = protocol.Errorf(pb.Code_CODE_NOT_CONNECTED, "the session has ended")
)

// Begin admits a request with a body of that many bytes to the in-flight
// window, or says TOO_MANY_IN_FLIGHT. A session that was closed admits none
// and says why it was closed. Every nil answer needs one End with the same
// number. Any goroutine.
func (s *Session) Begin(bytes int) error {
	if why := s.ended.Load(); why != nil {
		return why
	}
	for {
		old := s.inFlight.Load()
		count, sum := int(old>>32), int(old&(1<<32-1))
		if count >= s.m.cfg.MaxInFlight || sum+bytes > s.m.cfg.MaxInFlightBytes {
			return errInFlight
		}
		if s.inFlight.CompareAndSwap(old, old+1<<32+int64(bytes)) {
			return nil
		}
	}
}

// End lets a request go that Begin admitted. Any goroutine.
func (s *Session) End(bytes int) {
	if s.inFlight.Add(-(1<<32 + int64(bytes))) < 0 {
		panic("session: End without Begin")
	}
}
