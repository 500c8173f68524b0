package netpoll

import (
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/godwit-im/godwit/protocol"
	"github.com/godwit-im/godwit/protocol/pb"
)

type refusals struct{ accepted, total, unauthenticated, rate, draining uint64 }

func refusalsOf(s *Server) refusals {
	st := s.Stats()
	return refusals{
		st.Accepted.Load(), st.Refused.Total.Load(), st.Refused.Unauthenticated.Load(),
		st.Refused.Rate.Load(), st.Refused.Draining.Load(),
	}
}

func wantRefusals(t *testing.T, s *Server, want refusals) {
	t.Helper()
	if got := refusalsOf(s); got != want {
		t.Errorf("counted %+v, want %+v", got, want)
	}
}

// wantRefused dials and expects to be sent away with code, and to be told when
// to come back.
func wantRefused(t *testing.T, s *Server, code protocol.Code) {
	t.Helper()
	p := dial(t, s)
	// A client doesn't wait to be admitted before it sends its first flight; the
	// reason arrives nevertheless.
	p.write(frameOf(protocol.TypeConnect, 1, 1000, 0))
	e := p.wantError(code)
	lo, hi := s.cfg.RetryAfter, s.cfg.RetryAfter*3/2
	if d := time.Duration(e.RetryAfterMs) * time.Millisecond; d < lo || d > hi {
		t.Errorf("retry after %v, want %v to %v", d, lo, hi)
	}
	if !e.Retryable {
		t.Error("not marked as retryable")
	}
	_ = p.Close() // or it would linger
}

func TestConnectionCap(t *testing.T) {
	h, conns, ends := accept()
	s := start(t, h, func(cfg *Config) { cfg.MaxConns, cfg.MaxUnauthenticated = 5, 5 })
	var peers []*peer
	for range 5 {
		peers = append(peers, dial(t, s))
		within(t, "connection", conns)
	}
	for range 3 {
		wantRefused(t, s, pb.Code_CODE_TOO_MANY_CONNECTIONS)
	}
	wantRefusals(t, s, refusals{accepted: 5, total: 3})
	_ = peers[0].Close()
	within(t, "OnClose", ends)
	dial(t, s)
	within(t, "connection", conns)
	wantRefusals(t, s, refusals{accepted: 6, total: 3})
	if n := s.Stats().Open.Load(); n != 5 {
		t.Errorf("Open is %d, want 5", n)
	}
}

func TestUnauthenticatedCap(t *testing.T) {
	h, conns, ends := accept()
	h.frame = func(c *Conn, f protocol.Frame) error {
		c.Authenticated()
		c.Authenticated() // once is enough
		c.Reply(frameOf(protocol.TypeConnected, f.Request, 0, 0))
		return nil
	}
	s := start(t, h, func(cfg *Config) { cfg.MaxUnauthenticated = 2 })
	a, b := dial(t, s), dial(t, s)
	within(t, "connection", conns)
	within(t, "connection", conns)
	wantRefused(t, s, pb.Code_CODE_TOO_MANY_CONNECTIONS)

	a.write(frameOf(protocol.TypeConnect, 1, 0, 0))
	a.mustNext()
	dial(t, s)
	within(t, "connection", conns)
	wantRefused(t, s, pb.Code_CODE_TOO_MANY_CONNECTIONS)

	_ = b.Close() // it frees the place of an unauthenticated one
	within(t, "OnClose", ends)
	dial(t, s)
	within(t, "connection", conns)
	_ = a.Close() // and this one no more
	within(t, "OnClose", ends)
	wantRefused(t, s, pb.Code_CODE_TOO_MANY_CONNECTIONS)

	wantRefusals(t, s, refusals{accepted: 4, unauthenticated: 3})
	if n := s.Stats().Unauthenticated.Load(); n != 2 {
		t.Errorf("Unauthenticated is %d, want 2", n)
	}
}

func TestAcceptRate(t *testing.T) {
	var mu sync.Mutex
	now := time.Now()
	h, conns, _ := accept()
	s := start(t, h, func(cfg *Config) {
		cfg.AcceptRate, cfg.AcceptBurst = 2, 3
		cfg.Now = func() time.Time { mu.Lock(); defer mu.Unlock(); return now }
	})
	for range 3 {
		dial(t, s)
		within(t, "connection", conns)
	}
	wantRefused(t, s, pb.Code_CODE_RATE_LIMITED)
	wantRefused(t, s, pb.Code_CODE_RATE_LIMITED)
	mu.Lock()
	now = now.Add(time.Second)
	mu.Unlock()
	for range 2 {
		dial(t, s)
		within(t, "connection", conns)
	}
	wantRefused(t, s, pb.Code_CODE_RATE_LIMITED)
	wantRefusals(t, s, refusals{accepted: 5, rate: 3})
	if n := s.Stats().Open.Load(); n != 5 {
		t.Errorf("Open is %d, want 5", n)
	}
}

// TestStorm has far more peers than allowed come at once, talk and stay; the
// descriptors in use stay within what was set aside for them, at any moment.
func TestStorm(t *testing.T) {
	const limit, attempts = 50, 3000
	s := start(t, &handler{frame: func(c *Conn, f protocol.Frame) error {
		c.Reply(frameOf(protocol.TypePong, f.Request, 0, 0))
		return nil
	}}, func(cfg *Config) {
		cfg.MaxConns, cfg.MaxUnauthenticated = limit, limit
		cfg.AcceptRate, cfg.AcceptBurst = 1e6, 1e6
		cfg.Now = time.Now // for those who linger
	})
	base := descriptors(t)
	peak := 0
	var over atomic.Bool
	var counting sync.WaitGroup
	counting.Go(func() {
		for !over.Load() {
			peak = max(peak, descriptors(t))
		}
	})
	end := startPeers(t, s, attempts)
	over.Store(true)
	counting.Wait()
	wantRefusals(t, s, refusals{accepted: limit, total: attempts - limit})
	// The pipes to the peers, the directory that is being read, one accepted
	// connection per loop that is not judged yet.
	if most := base + limit + maxLingering + 10; peak > most {
		t.Errorf("%d descriptors were in use, want at most %d", peak, most)
	}
	// The refused peers don't close; the server doesn't wait for them for long.
	eventually(t, "nobody lingers", func() bool { return s.Stats().Lingering.Load() == 0 })
	if n := s.Stats().Open.Load(); n != limit {
		t.Errorf("Open is %d, want %d", n, limit)
	}
	end()
}

// descriptors is how many the process has open.
func descriptors(t *testing.T) int {
	all, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Error(err)
	}
	return len(all)
}
