package server_test

import (
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/godwit-im/godwit/protocol"
	"github.com/godwit-im/godwit/protocol/pb"
	"github.com/godwit-im/godwit/server"
	"github.com/godwit-im/godwit/session"
)

// patience is how long a test waits for what must come. It is never waited out
// by a test that passes.
const patience = 2 * time.Minute

// clock stands still until a test moves it.
type clock struct {
	start time.Time
	ahead atomic.Int64 // nanoseconds
}

func newClock() *clock { return &clock{start: time.Now()} }

func (c *clock) now() time.Time          { return c.start.Add(time.Duration(c.ahead.Load())) }
func (c *clock) advance(d time.Duration) { c.ahead.Add(int64(d)) }

// node is a running server with what a test needs to talk to it.
type node struct {
	*server.Server
	t    *testing.T
	cfg  server.Config
	keys *session.KeySet
}

// startNode runs a server on a fresh directory; edit changes its settings.
func startNode(t *testing.T, edit func(*server.Config)) *node {
	t.Helper()
	keys, err := session.GenerateKeySet("EdDSA")
	if err != nil {
		t.Fatal(err)
	}
	cfg := server.DefaultConfig()
	cfg.Net.Addr = "127.0.0.1:0"
	cfg.Admin.Addr = "127.0.0.1:0"
	cfg.Store.Dir = filepath.Join(t.TempDir(), "data")
	cfg.Auth.Keys = keys
	cfg.Logger = slog.New(slog.DiscardHandler)
	if edit != nil {
		edit(&cfg)
	}
	n := &node{t: t, cfg: cfg, keys: keys}
	n.start()
	t.Cleanup(func() { _ = n.Close() })
	return n
}

func (n *node) start() {
	n.t.Helper()
	s, err := server.New(n.cfg)
	if err != nil {
		n.t.Fatal(err)
	}
	if err := s.Start(); err != nil {
		n.t.Fatal(err)
	}
	n.Server = s
}

// restart stops the server in order and starts another on the same directory.
func (n *node) restart() {
	n.t.Helper()
	if err := n.Close(); err != nil {
		n.t.Fatal(err)
	}
	n.start()
}

func (n *node) token(user string, ttl time.Duration) string {
	n.t.Helper()
	now := time.Now
	if n.cfg.Now != nil {
		now = n.cfg.Now
	}
	return n.tokenAt(user, ttl, now())
}

// tokenAt is a token that was issued at another time.
func (n *node) tokenAt(user string, ttl time.Duration, issued time.Time) string {
	n.t.Helper()
	token, err := session.Sign(n.keys, n.keys.Kids()[0], "EdDSA", n.cfg.Auth.Issuer, n.cfg.Auth.Audience, user, ttl, issued)
	if err != nil {
		n.t.Fatal(err)
	}
	return token
}

// client is a blocking client that speaks frames and no more.
type client struct {
	t    *testing.T
	nc   net.Conn
	r    *protocol.Reader
	last uint32 // the last request id used
	// pushed holds frames that came while an answer was awaited.
	pushed []protocol.Frame
}

// dial opens a connection and says nothing on it.
func (n *node) dial() *client {
	n.t.Helper()
	nc, err := net.Dial("tcp", n.Addr())
	if err != nil {
		n.t.Fatal(err)
	}
	n.t.Cleanup(func() { _ = nc.Close() })
	return &client{t: n.t, nc: nc, r: protocol.NewReader(nc, protocol.MaxBody)}
}

// login dials and connects as the user on the device.
func (n *node) login(user, device string) *client {
	n.t.Helper()
	c := n.dial()
	var connected pb.Connected
	c.call(protocol.TypeConnect, n.connect(user, device), protocol.TypeConnected, &connected)
	return c
}

func (n *node) connect(user, device string) *pb.Connect {
	return &pb.Connect{
		MinVersion: 1, MaxVersion: 1, Token: n.token(user, time.Hour),
		Device: device, Platform: "test", Client: "server_test",
	}
}

func (c *client) write(b []byte) {
	c.t.Helper()
	if _, err := c.nc.Write(b); err != nil {
		c.t.Fatal(err)
	}
}

// request writes a request and returns its id.
func (c *client) request(typ protocol.Type, m proto.Message) uint32 {
	c.t.Helper()
	c.last++
	c.write(protocol.AppendProto(nil, typ, c.last, m))
	return c.last
}

// next reads one frame and keeps it.
func (c *client) next() (protocol.Frame, error) {
	c.t.Helper()
	if err := c.nc.SetReadDeadline(time.Now().Add(patience)); err != nil {
		c.t.Fatal(err)
	}
	f, err := c.r.ReadFrame()
	f.Body = append([]byte(nil), f.Body...)
	return f, err
}

// answer waits for the answer to a request, putting pushes aside.
func (c *client) answer(request uint32) protocol.Frame {
	c.t.Helper()
	for {
		f, err := c.next()
		if err != nil {
			c.t.Fatalf("waiting for the answer to request %d: %v", request, err)
		}
		if f.Request == request {
			return f
		}
		c.pushed = append(c.pushed, f)
	}
}

// call makes a request that must succeed.
func (c *client) call(typ protocol.Type, req proto.Message, want protocol.Type, resp proto.Message) {
	c.t.Helper()
	c.decode(c.answer(c.request(typ, req)), want, resp)
}

// refused makes a request that must be refused with the code.
func (c *client) refused(typ protocol.Type, req proto.Message, want pb.Code) {
	c.t.Helper()
	c.wantError(c.answer(c.request(typ, req)), want)
}

func (c *client) wantError(f protocol.Frame, want pb.Code) {
	c.t.Helper()
	var e pb.Error
	c.decode(f, protocol.TypeError, &e)
	if e.Code != want {
		c.t.Fatalf("refused with %s (%s), want %s", e.Code.Name(), e.Text, want.Name())
	}
	if e.Text == "" || e.Retryable != want.Retryable() {
		c.t.Fatalf("ERROR without a text or with the wrong retryable: %v", &e)
	}
}

func (c *client) decode(f protocol.Frame, want protocol.Type, m proto.Message) {
	c.t.Helper()
	if f.Type != want {
		var e pb.Error
		if f.Type == protocol.TypeError && proto.Unmarshal(f.Body, &e) == nil {
			c.t.Fatalf("got ERROR %s (%s), want %s", e.Code.Name(), e.Text, want)
		}
		c.t.Fatalf("got %s, want %s", f.Type, want)
	}
	if err := proto.Unmarshal(f.Body, m); err != nil {
		c.t.Fatal(err)
	}
}

// push waits for a push of the type; other types are skipped.
func (c *client) push(want protocol.Type, m proto.Message) {
	c.t.Helper()
	for {
		var f protocol.Frame
		if len(c.pushed) > 0 {
			f, c.pushed = c.pushed[0], c.pushed[1:]
		} else {
			var err error
			if f, err = c.next(); err != nil {
				c.t.Fatalf("waiting for %s: %v", want, err)
			}
		}
		if f.Request == 0 && f.Type == want {
			c.decode(f, want, m)
			return
		}
	}
}

// closed waits for the end of the connection and returns the code of the ERROR
// that came before it, 0 where there was none.
func (c *client) closed() pb.Code {
	c.t.Helper()
	var code pb.Code
	for {
		f, err := c.next()
		if err != nil {
			if ne, ok := err.(net.Error); ok && ne.Timeout() {
				c.t.Fatal("the connection was not closed")
			}
			return code
		}
		if f.Type == protocol.TypeError && f.Request == 0 {
			var e pb.Error
			c.decode(f, protocol.TypeError, &e)
			code = e.Code
		}
	}
}

// send sends a text to the conversation.
func (c *client) send(conversation, clientID, text string) *pb.Sent {
	c.t.Helper()
	sent := new(pb.Sent)
	c.call(protocol.TypeSend, textTo(conversation, clientID, text), protocol.TypeSent, sent)
	return sent
}

func textTo(conversation, clientID, text string) *pb.Send {
	return &pb.Send{Conversation: conversation, ClientId: clientID, Kind: pb.Kind_KIND_TEXT, Body: []byte(text)}
}

// pull reads the whole conversation.
func (c *client) pull(conversation string) []*pb.Message {
	c.t.Helper()
	var all []*pb.Message
	from := uint64(1)
	for {
		var page pb.Pulled
		c.call(protocol.TypePull, &pb.Pull{Conversation: conversation, From: from}, protocol.TypePulled, &page)
		all = append(all, page.Messages...)
		if !page.More {
			return all
		}
		from = all[len(all)-1].Seq + 1
	}
}

// wantDense fails unless the messages are seq 1 to n.
func wantDense(t *testing.T, messages []*pb.Message, n int) {
	t.Helper()
	if len(messages) != n {
		t.Fatalf("%d messages, want %d", len(messages), n)
	}
	for i, m := range messages {
		if m.Seq != uint64(i+1) {
			t.Fatalf("message %d has seq %d", i+1, m.Seq)
		}
	}
}

func clientID(i int) string { return fmt.Sprintf("m%d", i) }
