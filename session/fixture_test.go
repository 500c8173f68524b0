package session

import (
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"

	"github.com/godwit-im/godwit/protocol"
	"github.com/godwit-im/godwit/protocol/pb"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// epoch is when every test begins.
var epoch = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// clock is a time that moves only when told to.
type clock struct {
	mu  sync.Mutex // guards now
	now time.Time
}

func newClock() *clock { return &clock{now: epoch} }

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// wire is a scripted Transport: it records what is queued and refuses pushes
// on demand.
type wire struct {
	id      uint64
	onReply func() // called in Reply before the frame is queued, without mu

	mu     sync.Mutex // guards the rest
	frames []protocol.Frame
	refuse bool
	closed int
	why    error
	gone   chan struct{} // closed by Close, if not nil
}

func (w *wire) Reply(frame []byte) {
	if w.onReply != nil {
		w.onReply()
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.queue(frame)
}

func (w *wire) Push(frame []byte) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.refuse {
		return false
	}
	w.queue(frame)
	return true
}

// queue is called with mu held.
func (w *wire) queue(frame []byte) {
	f, n, err := protocol.Parse(frame, protocol.MaxBody)
	if err != nil || n != len(frame) {
		panic("not one whole frame")
	}
	w.frames = append(w.frames, f)
}

func (w *wire) Close(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed++; w.closed == 1 {
		w.why = err
		if w.gone != nil {
			close(w.gone)
		}
	}
}

func (w *wire) ID() uint64    { return w.id }
func (w *wire) Outbound() int { return 0 }

func (w *wire) setRefuse(refuse bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.refuse = refuse
}

// take returns what was queued since it was last called.
func (w *wire) take() []protocol.Frame {
	w.mu.Lock()
	defer w.mu.Unlock()
	frames := w.frames
	w.frames = nil
	return frames
}

// closeCode is the code with which the wire was closed, CODE_UNSPECIFIED if it
// wasn't or without a reason.
func (w *wire) closeCode() protocol.Code {
	w.mu.Lock()
	defer w.mu.Unlock()
	return protocol.CodeOf(w.why)
}

func (w *wire) isClosed() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.closed > 0
}

// place is a Manager with its clock and the key that signs its tokens.
type place struct {
	*Manager
	clock *clock
	keys  *KeySet
}

// newPlace returns a manager for tests, with tweaks applied to its Config.
func newPlace(t testing.TB, tweaks ...func(*Config)) *place {
	t.Helper()
	c := newClock()
	keys, err := GenerateKeySet(HS256)
	if err != nil {
		t.Fatal(err)
	}
	auth := DefaultAuthConfig()
	auth.Algorithm, auth.Keys, auth.Now = HS256, keys, c.Now
	v, err := NewVerifier(auth)
	if err != nil {
		t.Fatal(err)
	}
	cfg := DefaultConfig()
	cfg.Loops, cfg.Now = 2, c.Now
	for _, tweak := range tweaks {
		tweak(&cfg)
	}
	m, err := NewManager(cfg, v, 42)
	if err != nil {
		t.Fatal(err)
	}
	return &place{Manager: m, clock: c, keys: keys}
}

// token is good for ttl from now.
func (p *place) token(t testing.TB, user string, ttl time.Duration) string {
	t.Helper()
	token, err := Sign(p.keys, "", HS256, "godwit", "godwit", user, ttl, p.clock.Now())
	if err != nil {
		t.Fatal(err)
	}
	return token
}

func (p *place) request(t testing.TB, user, device string) *pb.Connect {
	t.Helper()
	return &pb.Connect{
		MinVersion: 1, MaxVersion: 1, Token: p.token(t, user, 24*time.Hour),
		Device: device, Platform: "linux", Client: "test/1",
	}
}

// connect makes a session on a new wire and takes CONNECTED off it.
func (p *place) connect(t testing.TB, user, device string) (*Session, *wire) {
	t.Helper()
	w := &wire{}
	s, err := p.Connect(w, 1, p.request(t, user, device))
	if err != nil {
		t.Fatalf("Connect: %v", err)
	}
	if frames := w.take(); len(frames) != 1 || frames[0].Type != protocol.TypeConnected {
		t.Fatalf("Connect queued %v, want CONNECTED", types(frames))
	}
	return s, w
}

func types(frames []protocol.Frame) []protocol.Type {
	list := make([]protocol.Type, len(frames))
	for i, f := range frames {
		list[i] = f.Type
	}
	return list
}

func decode[M any, P interface {
	*M
	proto.Message
}](t testing.TB, f protocol.Frame, want protocol.Type) P {
	t.Helper()
	if f.Type != want {
		t.Fatalf("frame is %v, want %v", f.Type, want)
	}
	m := P(new(M))
	if err := proto.Unmarshal(f.Body, m); err != nil {
		t.Fatal(err)
	}
	return m
}

func message(conversation string, seq uint64) []byte {
	return protocol.AppendProto(nil, protocol.TypeMessage, 0, &pb.Message{Conversation: conversation, Seq: seq})
}

func receipt(conversation string) []byte {
	return protocol.AppendProto(nil, protocol.TypeReceipt, 0, &pb.Receipt{Conversation: conversation, User: "bob"})
}

func wantCode(t testing.TB, err error, want protocol.Code) {
	t.Helper()
	if got := protocol.CodeOf(err); got != want {
		t.Fatalf("code %s (%v), want %s", got.Name(), err, want.Name())
	}
}
