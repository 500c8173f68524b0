package session

import (
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/godwit-im/godwit/protocol"
	"github.com/godwit-im/godwit/protocol/pb"
)

func TestConnect(t *testing.T) {
	p := newPlace(t)
	w := &wire{id: 7}
	req := p.request(t, "alice", "phone")
	req.HeartbeatMs = 30_000
	s, err := p.Connect(w, 9, req)
	if err != nil {
		t.Fatal(err)
	}
	if s.User != "alice" || s.Device != "phone" || s.Platform != "linux" || s.Client != "test/1" ||
		s.Heartbeat != 30*time.Second || s.Conn() != 7 {
		t.Errorf("session is %+v", s)
	}
	frames := w.take()
	if len(frames) != 1 || frames[0].Request != 9 {
		t.Fatalf("frames %v, want the one answer to request 9", frames)
	}
	got := decode[pb.Connected](t, frames[0], protocol.TypeConnected)
	want := &pb.Connected{
		Version: 1, User: "alice", Generation: s.Generation, HeartbeatMs: 30_000,
		MaxFrame: 256 << 10, MaxBody: 64 << 10, MaxInFlight: 512, MaxInFlightBytes: 1 << 20, Epoch: 42,
		ServerTimeMs: epoch.UnixMilli(),
		ExpiresMs:    epoch.Add(24*time.Hour + DefaultAuthConfig().Leeway).UnixMilli(),
	}
	if !proto.Equal(got, want) {
		t.Errorf("CONNECTED is\n%v, want\n%v", got, want)
	}
	if found := p.Sessions(nil, "alice"); len(found) != 1 || found[0] != s || !p.Online("alice") || p.Len() != 1 || p.Users() != 1 {
		t.Errorf("after Connect: sessions %v, online %v, len %d, users %d", found, p.Online("alice"), p.Len(), p.Users())
	}
	p.Close(s)
	p.Close(s)
	if found := p.Sessions(nil, "alice"); len(found) != 0 || p.Online("alice") || p.Len() != 0 || p.Users() != 0 {
		t.Errorf("after Close: sessions %v, online %v, len %d, users %d", found, p.Online("alice"), p.Len(), p.Users())
	}
}

func TestConnectRefused(t *testing.T) {
	long := strings.Repeat("x", 65)
	for _, c := range []struct {
		name   string
		change func(p *place, req *pb.Connect)
		want   protocol.Code
	}{
		{"older version", func(_ *place, r *pb.Connect) { r.MinVersion, r.MaxVersion = 0, 0 }, pb.Code_CODE_UNSUPPORTED_VERSION},
		{"newer version", func(_ *place, r *pb.Connect) { r.MinVersion, r.MaxVersion = 2, 9 }, pb.Code_CODE_UNSUPPORTED_VERSION},
		{"no device", func(_ *place, r *pb.Connect) { r.Device = "" }, pb.Code_CODE_BAD_ID},
		{"bad device", func(_ *place, r *pb.Connect) { r.Device = "a b" }, pb.Code_CODE_BAD_ID},
		{"long device", func(_ *place, r *pb.Connect) { r.Device = long }, pb.Code_CODE_BAD_ID},
		{"no platform", func(_ *place, r *pb.Connect) { r.Platform = "" }, pb.Code_CODE_BAD_ID},
		{"bad platform", func(_ *place, r *pb.Connect) { r.Platform = "-" }, pb.Code_CODE_BAD_ID},
		{"long client", func(_ *place, r *pb.Connect) { r.Client = long }, pb.Code_CODE_BAD_ARGUMENT},
		{"no token", func(_ *place, r *pb.Connect) { r.Token = "" }, pb.Code_CODE_TOKEN_MALFORMED},
		{"huge token", func(_ *place, r *pb.Connect) { r.Token = strings.Repeat("x", protocol.MaxToken+1) }, pb.Code_CODE_TOKEN_TOO_LARGE},
		{"expired token", func(p *place, _ *pb.Connect) { p.clock.advance(25 * time.Hour) }, pb.Code_CODE_TOKEN_EXPIRED},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newPlace(t)
			w := &wire{}
			req := p.request(t, "alice", "phone")
			c.change(p, req)
			s, err := p.Connect(w, 1, req)
			wantCode(t, err, c.want)
			if s != nil || len(w.take()) != 0 || w.isClosed() || p.Len() != 0 {
				t.Errorf("a refused CONNECT left something behind")
			}
			if n := p.Stats().Refused(c.want); n != 1 {
				t.Errorf("Refused(%s) = %d, want 1", c.want.Name(), n)
			}
		})
	}
}

// A range that includes the server's version is good, whatever else is in it.
func TestConnectVersionRange(t *testing.T) {
	p := newPlace(t)
	req := p.request(t, "alice", "phone")
	req.MinVersion, req.MaxVersion = 0, 99
	w := &wire{}
	if _, err := p.Connect(w, 1, req); err != nil {
		t.Fatal(err)
	}
	if v := decode[pb.Connected](t, w.take()[0], protocol.TypeConnected).GetVersion(); v != protocol.Version {
		t.Errorf("version %d, want %d", v, protocol.Version)
	}
}

func TestHeartbeatIsBounded(t *testing.T) {
	p := newPlace(t)
	for _, c := range []struct {
		proposedMs uint32
		want       time.Duration
	}{
		{0, time.Minute},
		{1, 5 * time.Second},
		{4_999, 5 * time.Second},
		{5_000, 5 * time.Second},
		{45_678, 45_678 * time.Millisecond},
		{600_000, 10 * time.Minute},
		{600_001, 10 * time.Minute},
		{1<<32 - 1, 10 * time.Minute},
	} {
		req := p.request(t, "alice", "phone")
		req.HeartbeatMs = c.proposedMs
		w := &wire{}
		s, err := p.Connect(w, 1, req)
		if err != nil {
			t.Fatal(err)
		}
		answered := decode[pb.Connected](t, w.take()[0], protocol.TypeConnected).GetHeartbeatMs()
		if s.Heartbeat != c.want || int64(answered) != c.want.Milliseconds() {
			t.Errorf("proposed %d ms: session has %v, CONNECTED says %d ms, want %v", c.proposedMs, s.Heartbeat, answered, c.want)
		}
	}
}

// A push that finds the session as soon as it is registered must still come
// after CONNECTED.
func TestConnectedComesFirst(t *testing.T) {
	p := newPlace(t)
	pushed := make(chan struct{})
	w := &wire{onReply: func() {
		go func() {
			defer close(pushed)
			for _, s := range p.Sessions(nil, "alice") {
				s.PushMessage("d:alice:bob", 1, message("d:alice:bob", 1))
			}
		}()
		dwell(pushed)
	}}
	if _, err := p.Connect(w, 1, p.request(t, "alice", "phone")); err != nil {
		t.Fatal(err)
	}
	<-pushed
	frames := w.take()
	if len(frames) != 2 || frames[0].Type != protocol.TypeConnected || frames[1].Type != protocol.TypeMessage {
		t.Errorf("frames %v, want CONNECTED and MESSAGE", types(frames))
	}
}

// dwell gives another goroutine the opportunity to close done and goes on when
// it doesn't: it is meant to be blocked until later, and only a defect lets it
// finish. Nothing waits for this time to pass but the test that must show so.
func dwell(done <-chan struct{}) {
	select {
	case <-done:
	case <-time.After(50 * time.Millisecond):
	}
}

func TestTooManyDevices(t *testing.T) {
	p := newPlace(t, func(c *Config) { c.MaxDevices = 2 })
	phone, _ := p.connect(t, "alice", "phone")
	p.connect(t, "alice", "tablet")
	w := &wire{}
	_, err := p.Connect(w, 1, p.request(t, "alice", "laptop"))
	wantCode(t, err, pb.Code_CODE_TOO_MANY_DEVICES)
	if len(w.take()) != 0 {
		t.Error("something was sent before the refusal")
	}
	p.connect(t, "alice", "phone") // a takeover is not one more
	p.connect(t, "bob", "laptop")  // and others are not concerned
	p.Close(phone)                 // replaced, so this frees nothing
	_, err = p.Connect(w, 1, p.request(t, "alice", "laptop"))
	wantCode(t, err, pb.Code_CODE_TOO_MANY_DEVICES)
	p.Close(p.Sessions(nil, "alice")[0])
	p.connect(t, "alice", "laptop")
	if p.Len() != 3 || p.Users() != 2 {
		t.Errorf("%d sessions of %d users, want 3 of 2", p.Len(), p.Users())
	}
}

func TestTooManyDevicesRace(t *testing.T) {
	const limit, devices = 5, 40
	p := newPlace(t, func(c *Config) { c.MaxDevices = limit })
	var wg sync.WaitGroup
	start := make(chan struct{})
	for i := range devices {
		req := p.request(t, "alice", "device"+strconv.Itoa(i))
		wg.Go(func() {
			<-start
			w := &wire{}
			s, err := p.Connect(w, 1, req)
			if frames := w.take(); (s != nil) != (len(frames) == 1) {
				t.Errorf("session %v, error %v, but frames %v", s, err, types(frames))
			}
		})
	}
	close(start)
	wg.Wait()
	if n := len(p.Sessions(nil, "alice")); n != limit {
		t.Errorf("%d sessions, want %d", n, limit)
	}
	if n := p.Stats().Refused(pb.Code_CODE_TOO_MANY_DEVICES); n != devices-limit {
		t.Errorf("%d refusals, want %d", n, devices-limit)
	}
}

func TestRenew(t *testing.T) {
	p := newPlace(t)
	req := p.request(t, "alice", "phone")
	req.Token, req.HeartbeatMs = p.token(t, "alice", time.Minute), 600_000
	s, err := p.Connect(&wire{}, 1, req)
	if err != nil {
		t.Fatal(err)
	}
	leeway := DefaultAuthConfig().Leeway
	if want := p.Nanos(epoch.Add(time.Minute + leeway)); s.Deadline() != want {
		t.Fatalf("deadline %d, want %d", s.Deadline(), want)
	}
	for _, c := range []struct {
		name, token string
		code        protocol.Code
		want        time.Duration // from epoch to the token's end
	}{
		{"another user", p.token(t, "bob", time.Hour), pb.Code_CODE_TOKEN_CLAIMS, time.Minute},
		{"garbage", "garbage", pb.Code_CODE_TOKEN_MALFORMED, time.Minute},
		{"longer", p.token(t, "alice", 5*time.Minute), 0, 5 * time.Minute},
		{"shorter", p.token(t, "alice", 2*time.Minute), 0, 5 * time.Minute},
	} {
		p.clock.advance(time.Second)
		expiresMs, err := p.Renew(s, c.token)
		wantCode(t, err, c.code)
		if want := epoch.Add(c.want + leeway); err == nil && expiresMs != want.UnixMilli() {
			t.Errorf("%s: answered %d, want %d", c.name, expiresMs, want.UnixMilli())
		}
		if want := p.Nanos(epoch.Add(c.want + leeway)); s.Deadline() != want {
			t.Errorf("%s: deadline %d, want %d", c.name, s.Deadline(), want)
		}
	}
	if st := p.Stats(); st.Renewals.Load() != 2 || st.Refused(pb.Code_CODE_TOKEN_CLAIMS) != 1 || st.Refused(pb.Code_CODE_TOKEN_MALFORMED) != 1 {
		t.Errorf("renewals %d", st.Renewals.Load())
	}
}

func TestInFlightWindow(t *testing.T) {
	p := newPlace(t, func(c *Config) { c.MaxInFlight, c.MaxInFlightBytes = 3, 1<<20 })
	s, _ := p.connect(t, "alice", "phone")
	begin := func(bytes int, want protocol.Code) {
		t.Helper()
		wantCode(t, s.Begin(bytes), want)
	}
	const full = pb.Code_CODE_TOO_MANY_IN_FLIGHT
	begin(1<<20, 0)
	begin(1, full)
	begin(0, 0)
	s.End(1 << 20)
	begin(1<<20, 0)
	s.End(1 << 20)
	begin(1, 0)
	begin(2, 0)
	begin(0, full)
	s.End(0)
	s.End(1)
	begin(1<<20-1, full)
	begin(1<<20-2, 0)
	s.End(1<<20 - 2)
	s.End(2)
	if n := s.inFlight.Load(); n != 0 {
		t.Errorf("window holds %#x after everything was let go", n)
	}
	if !full.Retryable() {
		t.Error("TOO_MANY_IN_FLIGHT must be retryable")
	}
}

func TestInFlightWindowRace(t *testing.T) {
	const limit = 8
	p := newPlace(t, func(c *Config) { c.MaxInFlight = limit })
	s, _ := p.connect(t, "alice", "phone")
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			for range 2000 {
				if s.Begin(g) == nil {
					if n := s.inFlight.Load() >> 32; n > limit {
						t.Errorf("%d in flight, the limit is %d", n, limit)
					}
					s.End(g)
				}
			}
		})
	}
	wg.Wait()
	if n := s.inFlight.Load(); n != 0 {
		t.Errorf("window holds %#x after everything was let go", n)
	}
}

func TestEndWithoutBegin(t *testing.T) {
	p := newPlace(t)
	s, _ := p.connect(t, "alice", "phone")
	defer func() {
		if recover() == nil {
			t.Error("End without Begin did not panic")
		}
	}()
	s.End(1)
}

func TestClosedSessionAdmitsNothing(t *testing.T) {
	p := newPlace(t)
	for _, c := range []struct {
		why  error
		want protocol.Code
	}{
		{protocol.Errorf(pb.Code_CODE_DRAINING, "restart"), pb.Code_CODE_DRAINING},
		{nil, pb.Code_CODE_NOT_CONNECTED},
	} {
		s, w := p.connect(t, "alice", "phone")
		s.Close(c.why)
		s.Close(protocol.Errorf(pb.Code_CODE_INTERNAL, "the first reason stays"))
		wantCode(t, s.Begin(0), c.want)
		s.PushMessage("d:alice:bob", 1, message("d:alice:bob", 1))
		if len(w.take()) != 0 {
			t.Error("a closed session was pushed to")
		}
		p.Close(s)
	}
}

func TestEach(t *testing.T) {
	p := newPlace(t)
	want := map[*Session]bool{}
	for _, user := range []string{"alice", "bob", "carol"} {
		for _, device := range []string{"phone", "tablet"} {
			s, _ := p.connect(t, user, device)
			want[s] = true
		}
	}
	p.Each(func(s *Session) bool {
		if !want[s] {
			t.Errorf("met %s/%s twice", s.User, s.Device)
		}
		delete(want, s)
		p.Close(s) // no lock is held
		return true
	})
	if len(want) != 0 || p.Len() != 0 {
		t.Errorf("%d sessions were not met, %d are left", len(want), p.Len())
	}
	p.connect(t, "alice", "phone")
	p.connect(t, "alice", "tablet")
	met := 0
	p.Each(func(*Session) bool { met++; return false })
	if met != 1 {
		t.Errorf("Each went on after false: %d", met)
	}
}

func TestConfigValidate(t *testing.T) {
	good := DefaultConfig()
	if err := good.Validate(); err != nil {
		t.Fatal(err)
	}
	for field, breakIt := range map[string]func(*Config){
		"MaxDevices":       func(c *Config) { c.MaxDevices = 0 },
		"Tick":             func(c *Config) { c.Tick = 0 },
		"HeartbeatMin":     func(c *Config) { c.HeartbeatMin = c.Tick - 1 },
		"HeartbeatMax":     func(c *Config) { c.HeartbeatMax = c.HeartbeatMin - 1 },
		"HeartbeatDefault": func(c *Config) { c.HeartbeatDefault = c.HeartbeatMax + 1 },
		"ConnectTimeout":   func(c *Config) { c.ConnectTimeout = 0 },
		"MaxFrame":         func(c *Config) { c.MaxFrame = protocol.MaxBody + 1 },
		"MaxBody":          func(c *Config) { c.MaxBody = c.MaxFrame },
		"MaxInFlight":      func(c *Config) { c.MaxInFlight = 0 },
		"MaxInFlightBytes": func(c *Config) { c.MaxInFlightBytes = c.MaxFrame - 1 },
		"MaxLagged":        func(c *Config) { c.MaxLagged = c.MaxFrame },
		"Loops":            func(c *Config) { c.Loops = -1 },
	} {
		c := DefaultConfig()
		breakIt(&c)
		if err := c.Validate(); err == nil || !strings.Contains(err.Error(), field) {
			t.Errorf("bad %s: Validate says %v", field, err)
		}
		if _, err := NewManager(c, nil, 0); err == nil {
			t.Errorf("bad %s: NewManager took it", field)
		}
	}
}
