package session

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"
	"unique"

	"github.com/godwit-im/godwit/protocol"
	"github.com/godwit-im/godwit/protocol/pb"
)

// Manager makes sessions, finds them by user, and times them out.
type Manager struct {
	cfg      Config
	verifier *Verifier
	epoch    uint64
	start    time.Time // with its monotonic reading; see Nanos
	stats    Stats

	registry   *registry
	generation atomic.Uint64

	wheels []*wheel // by loop, each owned by its loop's goroutine
}

// NewManager returns a manager without sessions. epoch is the store's, for
// CONNECTED.
func NewManager(cfg Config, v *Verifier, epoch uint64) (*Manager, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	cfg = cfg.withDefaults()
	m := &Manager{cfg: cfg, verifier: v, epoch: epoch, start: cfg.Now(), registry: newRegistry()}
	// Generations begin with the time, so that they go on rising over restarts.
	m.generation.Store(uint64(m.start.UnixMicro()))
	for range cfg.Loops {
		m.wheels = append(m.wheels, newWheel(cfg.Tick, m.Nanos(m.start)))
	}
	return m, nil
}

// Stats returns the manager's counters.
func (m *Manager) Stats() *Stats { return &m.stats }

// Nanos is the time t as the wheels and Session.Touch count it: nanoseconds
// since the Unix epoch by the clock at the manager's start, and by the
// monotonic clock from there on, so that setting the clock neither closes nor
// keeps sessions.
func (m *Manager) Nanos(t time.Time) int64 {
	return m.start.UnixNano() + int64(t.Sub(m.start))
}

// Handshake is a connection that has not authenticated yet: an Entry that
// closes it with CONNECT_TIMEOUT.
type Handshake struct {
	Timer
	m         *Manager
	transport Transport
	deadline  int64
}

// Accept begins the time that a new connection has for its CONNECT. The caller
// watches the Handshake on the connection's loop, and unwatches it when the
// connection has authenticated or closed.
func (m *Manager) Accept(t Transport) *Handshake {
	return &Handshake{m: m, transport: t, deadline: m.Nanos(m.cfg.Now()) + int64(m.cfg.ConnectTimeout)}
}

// Deadline implements Entry.
func (h *Handshake) Deadline() int64 { return h.deadline }

// Expire implements Entry.
func (h *Handshake) Expire() {
	h.m.stats.ConnectTimeouts.Add(1)
	h.transport.Close(protocol.Errorf(pb.Code_CODE_CONNECT_TIMEOUT, "no CONNECT within %v", h.m.cfg.ConnectTimeout))
}

// Connect does the handshake. On success CONNECTED has been queued on t, the
// session is registered, so that pushes reach it after CONNECTED, and the
// sessions that it replaces, the one of the same device and those that the
// LoginPolicy has no room for, are being closed with REPLACED. On failure nothing has been sent: the error, always a
// *protocol.Error, is for the caller to send before it closes the connection.
func (m *Manager) Connect(t Transport, request uint32, req *pb.Connect) (*Session, error) {
	s, err := m.connect(t, request, req)
	if err != nil {
		m.stats.refuse(protocol.CodeOf(err))
		return nil, err
	}
	return s, nil
}

func (m *Manager) connect(t Transport, request uint32, req *pb.Connect) (*Session, error) {
	if err := check(req); err != nil {
		return nil, err
	}
	claims, err := m.verifier.Verify(req.GetToken())
	if err != nil {
		return nil, err
	}
	now := m.cfg.Now()
	nanos := m.Nanos(now)
	s := &Session{
		User: claims.User, Device: req.GetDevice(),
		Platform: shared(req.GetPlatform()), Client: shared(req.GetClient()),
		Heartbeat: m.heartbeat(req.GetHeartbeatMs()),
		connected: now.UnixMilli(), transport: t, m: m,
		seen: nanos, expires: nanos + int64(claims.Expires.Sub(now)),
	}
	replaced, err := m.register(s, request, now)
	if err != nil {
		return nil, err
	}
	m.stats.Connects.Add(1)
	m.cfg.Logger.LogAttrs(context.Background(), slog.LevelDebug, "session connected", s.attrs()...)
	for _, old := range replaced {
		m.stats.Takeovers.Add(1)
		m.cfg.Logger.LogAttrs(context.Background(), slog.LevelDebug, "session replaced", old.attrs()...)
		text := "the user connected with another device"
		if old.Device == s.Device {
			text = "the device connected again"
		}
		old.Close(protocol.Errorf(pb.Code_CODE_REPLACED, "%s", text).By(s.Device, s.Platform))
	}
	m.cfg.Changed(s.User)
	return s, nil
}

// register makes s known and queues CONNECTED. A push that finds s in the
// registry meanwhile waits for mu, and so comes after CONNECTED.
func (m *Manager) register(s *Session, request uint32, now time.Time) (replaced []*Session, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	replaced, err = m.registry.add(s, m.cfg.MaxDevices, m.cfg.LoginPolicy, func() uint64 { return m.generation.Add(1) })
	if err != nil {
		return nil, err
	}
	s.transport.Reply(protocol.AppendProto(nil, protocol.TypeConnected, request, &pb.Connected{
		Version:          protocol.Version,
		User:             s.User,
		Generation:       s.Generation,
		HeartbeatMs:      uint32(s.Heartbeat.Milliseconds()),
		MaxFrame:         uint32(m.cfg.MaxFrame),
		MaxBody:          uint32(m.cfg.MaxBody),
		MaxInFlight:      uint32(m.cfg.MaxInFlight),
		MaxInFlightBytes: uint32(m.cfg.MaxInFlightBytes),
		Epoch:            m.epoch,
		ServerTimeMs:     now.UnixMilli(),
		ExpiresMs:        m.expiresMs(s, now),
	}))
	return replaced, nil
}

// check looks at everything in req but the token.
func check(req *pb.Connect) error {
	if lo, hi := req.GetMinVersion(), req.GetMaxVersion(); lo > protocol.Version || hi < protocol.Version {
		return protocol.Errorf(pb.Code_CODE_UNSUPPORTED_VERSION, "the client speaks versions %d to %d, the server speaks %d", lo, hi, protocol.Version)
	}
	if err := protocol.CheckID("device", req.GetDevice()); err != nil {
		return err
	}
	if err := protocol.CheckID("platform", req.GetPlatform()); err != nil {
		return err
	}
	if n := len(req.GetClient()); n > protocol.MaxClientName {
		return protocol.Errorf(pb.Code_CODE_BAD_ARGUMENT, "client is %d bytes long, the limit is %d", n, protocol.MaxClientName)
	}
	return nil
}

// shared is s without a copy of its own per session: a few names are those of
// nearly all clients. What nobody uses any more is collected.
func shared(s string) string { return unique.Make(s).Value() }

func (m *Manager) heartbeat(proposedMs uint32) time.Duration {
	if proposedMs == 0 {
		return m.cfg.HeartbeatDefault
	}
	proposed := time.Duration(proposedMs) * time.Millisecond
	return max(m.cfg.HeartbeatMin, min(proposed, m.cfg.HeartbeatMax))
}

// expiresMs is when the session's token ends by the clock that now was read
// from, in Unix milliseconds.
func (m *Manager) expiresMs(s *Session, now time.Time) int64 {
	return now.Add(time.Duration(s.expires - m.Nanos(now))).UnixMilli()
}

// Renew gives s the lifetime of a newer token, which must be for the same
// user, and returns when the session ends now, in Unix milliseconds. A token
// that ends sooner than the one before changes nothing. An error is a
// *protocol.Error; s keeps what it has. Loop only.
func (m *Manager) Renew(s *Session, token string) (expiresMs int64, err error) {
	claims, err := m.verifier.Verify(token)
	if err == nil && claims.User != s.User {
		err = protocol.Errorf(pb.Code_CODE_TOKEN_CLAIMS, "the token is for another user than the session")
	}
	if err != nil {
		m.stats.refuse(protocol.CodeOf(err))
		return 0, err
	}
	now := m.cfg.Now()
	// Never earlier: the wheel relies on it, and the old token is still good.
	s.expires = max(s.expires, m.Nanos(now)+int64(claims.Expires.Sub(now)))
	m.stats.Renewals.Add(1)
	return m.expiresMs(s, now), nil
}

// Close forgets s after its connection has closed. A session that was replaced
// leaves its successor alone. Closing twice does nothing.
func (m *Manager) Close(s *Session) {
	s.end(nil)
	s.forget()
	if m.registry.remove(s) {
		m.cfg.Logger.LogAttrs(context.Background(), slog.LevelDebug, "session closed", s.attrs()...)
		m.cfg.Changed(s.User)
	}
}

// Sessions appends the user's sessions to dst.
func (m *Manager) Sessions(dst []*Session, user string) []*Session {
	return m.registry.sessions(dst, user)
}

// Online reports whether the user has a session.
func (m *Manager) Online(user string) bool { return m.registry.online(user) }

// Len is the number of sessions.
func (m *Manager) Len() int { return int(m.registry.count.Load()) }

// Users is the number of users with a session.
func (m *Manager) Users() int { return m.registry.countUsers() }

// Each calls f for every session until it returns false. Sessions that come or
// go meanwhile may be missed or met. No lock is held during f.
func (m *Manager) Each(f func(*Session) bool) { m.registry.each(f) }

// Watch begins to time e out on a loop. e must not be watched already. Loop
// only, in O(1).
func (m *Manager) Watch(loop int, e Entry) { m.wheels[loop].watch(e) }

// Unwatch ends what Watch began; on an entry that is not watched it does
// nothing. Loop only, in O(1).
func (m *Manager) Unwatch(_ int, e Entry) {
	if t := e.timer(); t.watched() {
		t.unlink()
	}
}

// Tick expires the loop's entries whose deadlines have passed. Loop only.
func (m *Manager) Tick(loop int, now time.Time) { m.wheels[loop].advance(m.Nanos(now)) }
