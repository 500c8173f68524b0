package delivery

import (
	"context"
	"fmt"
	"log/slog"
	"runtime"
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

// node is a server without a network: a real store, log and session manager,
// with clients whose connections are scripted.
type node struct {
	*Delivery
	t     testing.TB
	store *msgstore.Store
	log   *chat.Embedded
	keys  *session.KeySet

	mu        sync.Mutex // guards delivered
	more      sync.Cond
	delivered int // outcomes whose Deliver has returned

	submitted int // by the test's goroutine
}

type nodeConfig struct {
	store    msgstore.Options
	chat     chat.Config
	session  session.Config
	delivery Config
}

func newNode(t testing.TB, tweaks ...func(*nodeConfig)) *node {
	t.Helper()
	c := nodeConfig{
		store: msgstore.DefaultOptions(), chat: chat.DefaultConfig(),
		session: session.DefaultConfig(), delivery: DefaultConfig(),
	}
	c.store.Dir, c.store.FS, c.store.Partitions, c.store.MinFree = "store", vfs.NewMem(), 4, 0
	c.store.CacheBytes, c.store.MemTableBytes = 1<<20, 1<<20
	c.store.Logger, c.chat.Logger, c.session.Logger, c.delivery.Logger = discard, discard, discard, discard
	c.chat.Writers = 2
	c.chat.Fatal = func(err error) { t.Errorf("fatal: %v", err) }
	for _, tweak := range tweaks {
		tweak(&c)
	}
	n := &node{t: t}
	n.more.L = &n.mu
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	var err error
	n.keys, err = session.GenerateKeySet(session.HS256)
	must(err)
	auth := session.DefaultAuthConfig()
	auth.Algorithm, auth.Keys = session.HS256, n.keys
	verifier, err := session.NewVerifier(auth)
	must(err)
	n.store, err = msgstore.Open(c.store)
	must(err)
	t.Cleanup(func() { must(n.store.Close()) })
	manager, err := session.NewManager(c.session, verifier, n.store.Epoch())
	must(err)
	n.Delivery, err = New(c.delivery, n.store, manager)
	must(err)
	t.Cleanup(n.Delivery.Close)
	n.log, err = chat.NewEmbedded(c.chat, n.store, n)
	must(err)
	t.Cleanup(func() {
		// Not t.Context(), which has ended by the time of the clean-up.
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		must(n.log.Close(ctx))
	})
	return n
}

// Deliver lets tests wait until everything that follows from a commit is done.
func (n *node) Deliver(outcomes []chat.Outcome) {
	n.Delivery.Deliver(outcomes)
	n.mu.Lock()
	n.delivered += len(outcomes)
	n.mu.Unlock()
	n.more.Broadcast()
}

// caughtUp waits until so many outcomes have been delivered.
func (n *node) caughtUp(outcomes int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for n.delivered < outcomes {
		n.more.Wait()
	}
}

// settle waits until everything that the test submitted has been delivered.
func (n *node) settle() { n.caughtUp(n.submitted) }

// client is a device, with its session and its end of the connection.
type client struct {
	*session.Session
	node    *node
	wire    *wire
	request uint32
}

func (n *node) connect(user, device string) *client {
	n.t.Helper()
	token, err := session.Sign(n.keys, "", session.HS256, "godwit", "godwit", user, time.Hour, time.Now())
	if err != nil {
		n.t.Fatal(err)
	}
	w := newWire()
	s, err := n.sessions.Connect(w, 1, &pb.Connect{
		MinVersion: 1, MaxVersion: 1, Token: token, Device: device, Platform: "test",
	})
	if err != nil {
		n.t.Fatal(err)
	}
	w.take() // CONNECTED
	return &client{Session: s, node: n, wire: w, request: 1}
}

func (c *client) disconnect() { c.node.sessions.Close(c.Session) }

// inFlight is what a request takes up in these tests.
const inFlight = 10

// submit hands a command to the log, as the gateway would.
func (c *client) submit(command chat.Command) (request uint32) {
	c.node.t.Helper()
	c.request++
	if err := c.Begin(inFlight); err != nil {
		c.node.t.Fatal(err)
	}
	command.User = c.User
	err := c.node.log.Submit(&chat.Proposal{
		Command: command, Origin: c.Session, Request: c.request, InFlight: inFlight, Accepted: time.Now(),
	})
	if err != nil {
		c.node.t.Fatal(err)
	}
	c.node.submitted++
	return c.request
}

// send sends a text to peer and waits until that is done with.
func (c *client) send(peer, clientID, text string) uint32 {
	c.node.t.Helper()
	request := c.submit(chat.Command{
		Op: chat.OpSend, Conversation: protocol.DirectID(c.User, peer),
		ClientID: clientID, Kind: pb.Kind_KIND_TEXT, Body: []byte(text),
	})
	c.node.settle()
	return request
}

func (c *client) mark(peer string, read, delivered uint64) uint32 {
	c.node.t.Helper()
	request := c.submit(chat.Command{
		Op: chat.OpMark, Conversation: protocol.DirectID(c.User, peer), ReadSeq: read, DeliveredSeq: delivered,
	})
	c.node.settle()
	return request
}

// read asks and waits for the answer, which it takes off the wire.
func (c *client) read(ask func(s *session.Session, request uint32, inFlight int) error) protocol.Frame {
	c.node.t.Helper()
	c.request++
	if err := c.Begin(inFlight); err != nil {
		c.node.t.Fatal(err)
	}
	if err := ask(c.Session, c.request, inFlight); err != nil {
		c.End(inFlight)
		return protocol.Frame{Type: protocol.TypeError, Request: c.request, Body: mustParse(protocol.AppendError(nil, c.request, err)).Body}
	}
	return c.wire.answer(c.node.t, c.request)
}

func (c *client) sync(req *pb.Sync) protocol.Frame {
	c.node.t.Helper()
	return c.read(func(s *session.Session, request uint32, inFlight int) error {
		return c.node.Sync(s, request, req, inFlight)
	})
}

func (c *client) pull(req *pb.Pull) protocol.Frame {
	c.node.t.Helper()
	return c.read(func(s *session.Session, request uint32, inFlight int) error {
		return c.node.Pull(s, request, req, inFlight)
	})
}

// idle has a read done that reads nothing.
func (c *client) idle() {
	c.node.t.Helper()
	c.read(c.node.idle)
}

func (n *node) idle(s *session.Session, request uint32, inFlight int) error {
	return n.Do(s, request, inFlight, func() ([]byte, error) {
		return protocol.AppendHeader(nil, protocol.TypePong, request, 0), nil
	}, nil)
}

// synced is sync for an answer that must be a SYNCED.
func (c *client) synced(cursor []byte, limit uint32) *pb.Synced {
	c.node.t.Helper()
	m := &pb.Synced{}
	decode(c.node.t, c.sync(&pb.Sync{Cursor: cursor, Limit: limit}), protocol.TypeSynced, m)
	return m
}

func (c *client) pulled(req *pb.Pull) *pb.Pulled {
	c.node.t.Helper()
	m := &pb.Pulled{}
	decode(c.node.t, c.pull(req), protocol.TypePulled, m)
	return m
}

func decode(t testing.TB, f protocol.Frame, want protocol.Type, m proto.Message) {
	t.Helper()
	if f.Type != want {
		t.Fatalf("got %s, want %s", show(f), want)
	}
	if err := protocol.Decode(f, m); err != nil {
		t.Fatal(err)
	}
}

func wantError(t testing.TB, f protocol.Frame, code protocol.Code) {
	t.Helper()
	m := &pb.Error{}
	decode(t, f, protocol.TypeError, m)
	if m.Code != code {
		t.Errorf("got %s, want %s", show(f), code.Name())
	}
}

func mustParse(b []byte) protocol.Frame {
	f, n, err := protocol.Parse(b, protocol.MaxBody)
	if err != nil || n != len(b) {
		panic(fmt.Sprintf("not one whole frame: %d of %d bytes, %v", n, len(b), err))
	}
	return f
}

// wire is a scripted session.Transport: it keeps what is queued, as long as
// there is room.
type wire struct {
	mu     sync.Mutex // guards what follows
	more   sync.Cond
	frames []protocol.Frame
	bytes  int // queued and not taken
	pushes int // slices pushed
	room   int // Push refuses when more bytes are queued; < 0 = never
	closed bool

	outbound int           // what Outbound says
	looked   chan struct{} // gets a value whenever it is asked, if there is room
}

func newWire() *wire {
	w := &wire{room: -1, looked: make(chan struct{}, 1)}
	w.more.L = &w.mu
	return w
}

func (w *wire) Reply(frames []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.queue(frames)
}

func (w *wire) Push(frame []byte) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.room >= 0 && w.bytes > w.room {
		return false
	}
	w.pushes++
	w.queue(frame)
	return true
}

func (w *wire) queue(b []byte) {
	w.bytes += len(b)
	for len(b) > 0 {
		f, n, err := protocol.Parse(b, protocol.MaxBody)
		if err != nil || n == 0 {
			panic(fmt.Sprintf("not whole frames: %v", err))
		}
		w.frames = append(w.frames, f)
		b = b[n:]
	}
	w.more.Broadcast()
}

func (w *wire) Close(error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.closed = true
}

// Outbound implements session.Transport.
func (w *wire) Outbound() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	select {
	case w.looked <- struct{}{}:
	default:
	}
	return w.outbound
}

func (w *wire) setOutbound(bytes int) (looked <-chan struct{}) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.outbound = bytes
	return w.looked
}

func (w *wire) ID() uint64 { return 1 }

func (w *wire) setRoom(bytes int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.room = bytes
}

// takePushes returns how many slices were pushed since it was last called.
func (w *wire) takePushes() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := w.pushes
	w.pushes = 0
	return n
}

// take returns what was queued since it was last called.
func (w *wire) take() []protocol.Frame {
	w.mu.Lock()
	defer w.mu.Unlock()
	frames := w.frames
	w.frames, w.bytes = nil, 0
	return frames
}

// answer waits for the frame that answers request and takes it out.
func (w *wire) answer(t testing.TB, request uint32) protocol.Frame {
	t.Helper()
	timer := time.AfterFunc(patience, func() { panic(fmt.Sprintf("no answer within %v", patience)) })
	defer timer.Stop()
	w.mu.Lock()
	defer w.mu.Unlock()
	for {
		for i, f := range w.frames {
			if f.Request == request {
				w.frames = append(w.frames[:i:i], w.frames[i+1:]...)
				w.bytes -= protocol.HeaderSize + len(f.Body)
				return f
			}
		}
		w.more.Wait()
	}
}

// eventually waits until what becomes true by itself is.
func eventually(t testing.TB, happened func() bool) {
	t.Helper()
	for began := time.Now(); !happened(); runtime.Gosched() {
		if time.Since(began) > patience {
			t.Fatalf("nothing happened for %v", patience)
		}
	}
}
