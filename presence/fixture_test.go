package presence

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"

	"github.com/godwit-im/godwit/chat"
	"github.com/godwit-im/godwit/msgstore"
	"github.com/godwit-im/godwit/protocol"
	"github.com/godwit-im/godwit/protocol/pb"
	"github.com/godwit-im/godwit/session"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is how long a test waits for what must come. It is never waited out by
// a test that passes.
const patience = 2 * time.Minute

var discard = slog.New(slog.DiscardHandler)

// clock is a time that moves only when told to.
type clock struct {
	mu  sync.Mutex // guards now
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) set(now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = now
}

// place is a Presence over a real store, log and session manager, without its
// goroutine: the test calls step. Connections are scripted.
type place struct {
	*Presence
	t        testing.TB
	clock    *clock
	embedded *chat.Embedded
	keys     *session.KeySet
	next     time.Time // what step said last
	sends    int
}

func newPlace(t testing.TB, tweaks ...func(*Config)) *place {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	pl := &place{t: t, clock: &clock{now: time.Now()}}
	opts := msgstore.DefaultOptions()
	opts.Dir, opts.FS, opts.Partitions, opts.MinFree = "store", vfs.NewMem(), 4, 0
	opts.CacheBytes, opts.MemTableBytes, opts.Logger = 1<<20, 1<<20, discard
	store, err := msgstore.Open(opts)
	must(err)
	t.Cleanup(func() { must(store.Close()) })

	pl.keys, err = session.GenerateKeySet(session.HS256)
	must(err)
	auth := session.DefaultAuthConfig()
	auth.Algorithm, auth.Keys = session.HS256, pl.keys
	verifier, err := session.NewVerifier(auth)
	must(err)
	sessionCfg := session.DefaultConfig()
	sessionCfg.Logger = discard
	sessionCfg.Changed = func(user string) { pl.Changed(user) }
	sessions, err := session.NewManager(sessionCfg, verifier, store.Epoch())
	must(err)

	chatCfg := chat.DefaultConfig()
	chatCfg.Logger = discard
	chatCfg.Fatal = func(err error) { t.Errorf("fatal: %v", err) }
	pl.embedded, err = chat.NewEmbedded(chatCfg, store, sink{})
	must(err)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		must(pl.embedded.Close(ctx))
	})

	cfg := DefaultConfig()
	cfg.Logger, cfg.Now = discard, pl.clock.Now
	for _, tweak := range tweaks {
		tweak(&cfg)
	}
	pl.Presence, err = assemble(cfg, store, sessions, pl.embedded)
	must(err)
	return pl
}

// sink hands the result of a proposal to its origin, a channel.
type sink struct{}

func (sink) Deliver(outcomes []chat.Outcome) {
	for _, o := range outcomes {
		if c, ok := o.Proposal.Origin.(chan chat.Result); ok {
			c <- o.Result
		}
	}
}

// do applies a command, which must be carried out.
func (pl *place) do(cmd chat.Command) chat.Result {
	pl.t.Helper()
	done := make(chan chat.Result, 1)
	if err := pl.embedded.Submit(&chat.Proposal{Command: cmd, Origin: done}); err != nil {
		pl.t.Fatal(err)
	}
	r := <-done
	if r.Err != nil {
		pl.t.Fatal(r.Err)
	}
	return r
}

// talk has a write to b.
func (pl *place) talk(a, b string) {
	pl.t.Helper()
	pl.sends++
	pl.do(chat.Command{
		Op: chat.OpSend, Conversation: protocol.DirectID(a, b), User: a, Kind: pb.Kind_KIND_TEXT,
		ClientID: fmt.Sprint("c", pl.sends), Body: []byte("hi"),
	})
}

func (pl *place) contact(a, b string, action pb.ContactAction) {
	pl.t.Helper()
	pl.do(chat.Command{
		Op: chat.OpContact, Conversation: protocol.DirectID(a, b), User: a,
		Contact: &pb.ContactRequest{User: b, Action: action},
	})
}

// befriend makes a and b contacts.
func (pl *place) befriend(a, b string) {
	pl.t.Helper()
	pl.contact(a, b, pb.ContactAction_CONTACT_ACTION_REQUEST)
	pl.contact(b, a, pb.ContactAction_CONTACT_ACTION_ACCEPT)
}

func (pl *place) show(user string, to pb.Audience) {
	pl.t.Helper()
	pl.do(chat.Command{
		Op: chat.OpAccount, Conversation: protocol.SystemID(user), User: user,
		Account: &pb.SetAccount{Presence: to.Enum()},
	})
}

// pass lets time pass and does all that is due at each moment in between.
func (pl *place) pass(d time.Duration) {
	end := pl.clock.Now().Add(d)
	for {
		next := pl.step(pl.clock.Now())
		if next.IsZero() || next.After(end) {
			break
		}
		pl.clock.set(next)
	}
	pl.clock.set(end)
	pl.next = pl.step(end)
}

// client is a device, with its session and its end of the connection.
type client struct {
	*session.Session
	pl   *place
	wire *wire
}

func (pl *place) connect(user, device, platform string) *client {
	pl.t.Helper()
	token, err := session.Sign(pl.keys, "", session.HS256, "godwit", "godwit", user, time.Hour, time.Now())
	if err != nil {
		pl.t.Fatal(err)
	}
	w := &wire{more: make(chan struct{}, 1)}
	s, err := pl.sessions.Connect(w, 1, &pb.Connect{MinVersion: 1, MaxVersion: 1, Token: token, Device: device, Platform: platform})
	if err != nil {
		pl.t.Fatal(err)
	}
	w.take() // CONNECTED
	return &client{Session: s, pl: pl, wire: w}
}

// leave is the end of the connection, as the gateway is told of it.
func (c *client) leave() {
	c.pl.sessions.Close(c.Session)
	c.pl.Forget(c.Session)
}

// subscribe subscribes to the users and returns how they stand, as stand writes it.
func (c *client) subscribe(contacts bool, users ...string) []string {
	c.pl.t.Helper()
	frame, then, err := c.pl.Subscribe(c.Session, 7, &pb.Subscribe{Users: users, Contacts: contacts})
	if err != nil {
		c.pl.t.Fatal(err)
	}
	then()
	m := &pb.Subscribed{}
	c.pl.decode(frame, protocol.TypeSubscribed, 7, m)
	var list []string
	for _, p := range m.Presences {
		list = append(list, c.pl.stand(p))
	}
	return list
}

// news returns what the client was pushed since it was last called.
func (c *client) news() (list []string) {
	c.pl.t.Helper()
	for _, f := range c.wire.take() {
		if f.Request != 0 || f.Type != protocol.TypePresence {
			continue
		}
		m := &pb.Presence{}
		if err := protocol.Decode(f, m); err != nil {
			c.pl.t.Fatal(err)
		}
		list = append(list, c.pl.stand(m))
	}
	return list
}

// stand is how a user stands: "bob ios,linux", or "bob -3s" for who was seen 3 s
// ago last.
func (pl *place) stand(p *pb.Presence) string {
	switch {
	case len(p.Platforms) > 0 && p.LastSeenMs != 0:
		pl.t.Errorf("online and last seen: %v", p)
	case len(p.Platforms) > 0:
		return p.User + " " + strings.Join(p.Platforms, ",")
	case p.LastSeenMs != 0:
		return p.User + " " + time.UnixMilli(p.LastSeenMs).Sub(time.UnixMilli(pl.clock.Now().UnixMilli())).String()
	}
	return p.User
}

func (pl *place) decode(b []byte, typ protocol.Type, request uint32, m proto.Message) {
	pl.t.Helper()
	f, n, err := protocol.Parse(b, protocol.MaxBody)
	if err != nil || n != len(b) || f.Type != typ || f.Request != request {
		pl.t.Fatalf("got %v #%d (%d of %d bytes, %v), want %v #%d", f.Type, f.Request, n, len(b), err, typ, request)
	}
	if err := protocol.Decode(f, m); err != nil {
		pl.t.Fatal(err)
	}
}

func (pl *place) want(what string, got []string, want ...string) {
	pl.t.Helper()
	if !slices.Equal(got, want) {
		pl.t.Errorf("%s: %q, want %q", what, got, want)
	}
}

func wantCode(t testing.TB, err error, want protocol.Code) {
	t.Helper()
	if got := protocol.CodeOf(err); got != want {
		t.Errorf("code %s (%v), want %s", got.Name(), err, want.Name())
	}
}

// wire is a scripted session.Transport.
type wire struct {
	more chan struct{} // gets a value when something is queued, if there is room

	mu     sync.Mutex // guards what follows
	frames []protocol.Frame
	full   bool // Push refuses
}

func (w *wire) Reply(frame []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.queue(frame)
}

func (w *wire) Push(frame []byte) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.full {
		w.queue(frame)
	}
	return !w.full
}

func (w *wire) queue(frame []byte) {
	f, n, err := protocol.Parse(frame, protocol.MaxBody)
	if err != nil || n != len(frame) {
		panic("not one whole frame")
	}
	w.frames = append(w.frames, f)
	select {
	case w.more <- struct{}{}:
	default:
	}
}

func (w *wire) Close(error)   {}
func (w *wire) ID() uint64    { return 1 }
func (w *wire) Outbound() int { return 0 }

func (w *wire) setFull(full bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.full = full
}

func (w *wire) take() []protocol.Frame {
	w.mu.Lock()
	defer w.mu.Unlock()
	frames := w.frames
	w.frames = nil
	return frames
}
