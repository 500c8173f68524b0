package godwit_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/godwit-im/godwit/protocol"
	"github.com/godwit-im/godwit/protocol/pb"
	godwit "github.com/godwit-im/godwit/sdk-go"
	"github.com/godwit-im/godwit/sdk-go/internal/fakeserver"
)

func TestDialRefusesBadOptions(t *testing.T) {
	good := func() godwit.Options {
		return godwit.Options{Addr: "127.0.0.1:1", Token: asUser("alice"), Device: "d"}
	}
	for name, spoil := range map[string]func(*godwit.Options){
		"addr":      func(o *godwit.Options) { o.Addr = "" },
		"token":     func(o *godwit.Options) { o.Token = nil },
		"device":    func(o *godwit.Options) { o.Device = "" },
		"platform":  func(o *godwit.Options) { o.Platform = "no id" },
		"heartbeat": func(o *godwit.Options) { o.Heartbeat = -1 },
		"outbox":    func(o *godwit.Options) { o.OutboxLimit = -1 },
		"backoff":   func(o *godwit.Options) { o.Backoff = godwit.Backoff{Min: 2, Max: 1} },
	} {
		o := good()
		spoil(&o)
		if _, err := godwit.Dial(within(t), o); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestDialTriesUntilItsContextEnds(t *testing.T) {
	s := startServer(t, fakeserver.Config{})
	alice := newApp(t, s, "alice")
	s.Close()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	tries := 0
	alice.opts.Dialer = func(_ context.Context, network, addr string) (net.Conn, error) {
		if tries++; tries == 3 {
			cancel()
		}
		return net.Dial(network, addr)
	}
	_, err := godwit.Dial(ctx, alice.opts)
	var op *net.OpError
	if !errors.Is(err, context.Canceled) || !errors.As(err, &op) || tries != 3 {
		t.Errorf("got %v after %d tries", err, tries)
	}
	if last := alice.states[len(alice.states)-1]; last.Phase != godwit.Closed {
		t.Errorf("last state %+v", last)
	}
}

func TestDialWaitsForTheServer(t *testing.T) {
	s := startServer(t, fakeserver.Config{})
	s.SetFaults(fakeserver.Faults{RefuseConnect: 1, RefuseAfter: 30 * time.Millisecond})
	alice := newApp(t, s, "alice")
	go func() {
		s.Until(patience, func() bool { return s.Requests(protocol.TypeConnect) >= 3 })
		s.SetFaults(fakeserver.Faults{})
	}()
	start := time.Now()
	a := alice.dial()
	if took := time.Since(start); took < 90*time.Millisecond {
		t.Errorf("three waits of 30 ms took %v", took)
	}
	if a.User() != "alice" {
		t.Errorf("user %q", a.User())
	}
	alice.until("a state that tells the wait", func() bool {
		for _, st := range alice.states {
			if st.Phase == godwit.Waiting && st.RetryIn >= 30*time.Millisecond &&
				godwit.CodeOf(st.Err) == pb.Code_CODE_TOO_MANY_CONNECTIONS {
				return true
			}
		}
		return false
	})
}

// TestBackoffBeginsAnew fails to connect until the waits are long, and then
// has a session that lasts: the next wait is short again.
func TestBackoffBeginsAnew(t *testing.T) {
	s := startServer(t, fakeserver.Config{})
	s.SetFaults(fakeserver.Faults{RefuseConnect: 1})
	alice := newApp(t, s, "alice")
	alice.opts.Backoff = godwit.Backoff{Min: time.Millisecond, Max: 100 * time.Millisecond}
	go func() {
		s.Until(patience, func() bool { return s.Requests(protocol.TypeConnect) >= 10 })
		s.SetFaults(fakeserver.Faults{})
	}()
	alice.dial()
	<-time.After(alice.opts.Backoff.Max)
	var before int
	alice.record(func() { before = len(alice.states) })
	s.Cut("alice")
	alice.until("the wait", func() bool {
		for _, st := range alice.states[before:] {
			if st.Phase == godwit.Waiting {
				if st.RetryIn > alice.opts.Backoff.Min {
					t.Errorf("waits for %v", st.RetryIn)
				}
				return true
			}
		}
		return false
	})
}

// TestFinalErrors checks the refusals after which there is no use in trying
// again.
func TestFinalErrors(t *testing.T) {
	for _, code := range []godwit.Code{
		pb.Code_CODE_TOKEN_SIGNATURE, pb.Code_CODE_TOKEN_MALFORMED, pb.Code_CODE_TOKEN_CLAIMS, pb.Code_CODE_TOKEN_TOO_LARGE,
		pb.Code_CODE_BAD_ARGUMENT, pb.Code_CODE_UNSUPPORTED_VERSION, pb.Code_CODE_BAD_ID,
	} {
		s := startServer(t, fakeserver.Config{
			Authenticate: func(string) (string, *protocol.Error) { return "", protocol.Errorf(code, "no") },
		})
		alice := newApp(t, s, "alice")
		if _, err := godwit.Dial(within(t), alice.opts); godwit.CodeOf(err) != code {
			t.Errorf("%v: Dial returned %v", code, err)
		}
		if n := s.Requests(protocol.TypeConnect); n != 1 {
			t.Errorf("%v: %d attempts", code, n)
		}
		if last := alice.states[len(alice.states)-1]; last.Phase != godwit.Closed || godwit.CodeOf(last.Err) != code {
			t.Errorf("%v: last state %+v", code, last)
		}
	}
}

// TestSyncRefusedForGood ends the client: without SYNC it could not keep what
// it promises.
func TestSyncRefusedForGood(t *testing.T) {
	s := startServer(t, fakeserver.Config{})
	s.SetFaults(fakeserver.Faults{Refuse: 1, RefuseCode: pb.Code_CODE_BAD_ARGUMENT})
	a, err := godwit.Dial(within(t), newApp(t, s, "alice").opts)
	if err == nil { // connected, and not refused yet
		<-a.Done()
		err = a.Err()
	}
	if godwit.CodeOf(err) != pb.Code_CODE_BAD_ARGUMENT {
		t.Errorf("ended with %v", err)
	}
}

func TestReplacedIsFinal(t *testing.T) {
	s := startServer(t, fakeserver.Config{})
	alice := newApp(t, s, "alice")
	first := alice.dial()
	newApp(t, s, "alice").dial() // the same device
	<-first.Done()
	if godwit.CodeOf(first.Err()) != pb.Code_CODE_REPLACED {
		t.Errorf("ended with %v", first.Err())
	}
	if _, err := first.SendText(within(t), "bob", "too late"); !errors.Is(err, godwit.ErrClosed) || godwit.CodeOf(err) != pb.Code_CODE_REPLACED {
		t.Errorf("Send: %v", err)
	}
	if err := first.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
}

// lateConn is a connection on which nothing comes back and what is written
// is kept until it is sent.
type lateConn struct {
	net.Conn
	mu      sync.Mutex // guards written
	written []byte
}

func (c *lateConn) Read([]byte) (int, error) { return 0, io.EOF }
func (c *lateConn) Close() error             { return nil }

func (c *lateConn) Write(b []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.written = append(c.written, b...)
	return len(b), nil
}

func (c *lateConn) send() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.Conn.Write(c.written)
}

// TestReplacedByItself has the network deliver two CONNECTs late, after the
// client gave them up and connected anew: the client is replaced by itself, twice,
// and goes on. The next time it is another.
func TestReplacedByItself(t *testing.T) {
	s := startServer(t, fakeserver.Config{})
	alice := newApp(t, s, "alice")
	var late []*lateConn
	alice.opts.Dialer = func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := new(net.Dialer).DialContext(ctx, network, addr)
		if err == nil && len(late) < 2 {
			late = append(late, &lateConn{Conn: conn})
			return late[len(late)-1], nil
		}
		return conn, err
	}
	a := alice.dial()
	alice.untilPhase(godwit.Online)
	for i, conn := range late {
		defer conn.Conn.Close()
		conn.send()
		if !s.Until(patience, func() bool { return s.Connects("alice") == 3+2*i }) {
			t.Fatalf("it did not come back from late CONNECT %d: %v", i+1, a.Err())
		}
	}
	s.Kick("alice", protocol.Errorf(pb.Code_CODE_REPLACED, "by another"))
	<-a.Done()
	if godwit.CodeOf(a.Err()) != pb.Code_CODE_REPLACED {
		t.Errorf("ended with %v", a.Err())
	}
}

// A CONNECT of an earlier life of the same store may come late as well: a client
// that has just been started takes a few REPLACED for that, and then no more.
func TestReplacedByAnEarlierLife(t *testing.T) {
	s := startServer(t, fakeserver.Config{})
	alice := newApp(t, s, "alice")
	alice.opts.Store = godwit.NewMemoryStore()
	first := alice.dial()
	alice.untilPhase(godwit.Online)
	first.Close()
	a := alice.dial()
	replaced := protocol.Errorf(pb.Code_CODE_REPLACED, "by a life before")
	for n := range 8 {
		s.Kick("alice", replaced)
		if !s.Until(patience, func() bool { return s.Connects("alice") == 3+n }) {
			t.Fatalf("it did not come back from REPLACED %d: %v", n+1, a.Err())
		}
	}
	s.Kick("alice", replaced)
	<-a.Done()
	if godwit.CodeOf(a.Err()) != pb.Code_CODE_REPLACED {
		t.Errorf("ended with %v", a.Err())
	}
}

func TestExpiredTokenIsFetchedAnew(t *testing.T) {
	s := startServer(t, fakeserver.Config{Authenticate: func(token string) (string, *protocol.Error) {
		if token == "alice-1" {
			return "", protocol.Errorf(pb.Code_CODE_TOKEN_EXPIRED, "too old")
		}
		return "alice", nil
	}})
	alice := newApp(t, s, "alice")
	var calls atomic.Int32
	alice.opts.Token = func(context.Context) (string, error) {
		if calls.Add(1) == 3 {
			return "", errors.New("no network")
		}
		return fmt.Sprint("alice-", calls.Load()), nil
	}
	alice.dial()
	s.Kick("alice", protocol.Errorf(pb.Code_CODE_TOKEN_EXPIRED, "too old"))
	if !s.Until(patience, func() bool { return s.Connects("alice") == 2 }) || calls.Load() != 4 {
		t.Errorf("%d connects, %d tokens", s.Connects("alice"), calls.Load())
	}
}

func TestTokenIsRenewed(t *testing.T) {
	t.Parallel()
	s := startServer(t, fakeserver.Config{TokenLifetime: 1300 * time.Millisecond})
	a := newApp(t, s, "alice").dial()
	if !onOneConnection(s, "alice", protocol.TypeRenew, 2) {
		t.Fatal("not renewed")
	}
	if _, err := a.SendText(within(t), "bob", "still here"); err != nil {
		t.Error(err)
	}
}

func TestTokenOfAnotherUser(t *testing.T) {
	s := startServer(t, fakeserver.Config{})
	alice := newApp(t, s, "alice")
	alice.opts.Store = godwit.NewMemoryStore()
	alice.dial().Close()
	alice.opts.Token = asUser("bob")
	if _, err := godwit.Dial(within(t), alice.opts); !errors.Is(err, godwit.ErrOtherUser) {
		t.Errorf("Dial with another user's store: %v", err)
	}
}

func TestBadTokensAreNotSent(t *testing.T) {
	s := startServer(t, fakeserver.Config{})
	alice := newApp(t, s, "alice")
	var calls atomic.Int32
	bad := []string{"", "\xff", string(make([]byte, protocol.MaxToken+1))}
	alice.opts.Token = func(context.Context) (string, error) {
		if n := int(calls.Add(1)); n <= len(bad) {
			return bad[n-1], nil
		}
		return "alice", nil
	}
	alice.dial()
	if n := s.Requests(protocol.TypeConnect); n != 1 {
		t.Errorf("%d CONNECTs", n)
	}
}

// TestGoAway checks that what is in flight is answered first, and that the
// client comes back when it was told to and not sooner.
func TestGoAway(t *testing.T) {
	s := startServer(t, fakeserver.Config{})
	alice := newApp(t, s, "alice")
	a := alice.dial()
	alice.untilPhase(godwit.Online)
	s.SetFaults(fakeserver.Faults{Delay: 20 * time.Millisecond})
	out, err := a.SendText(within(t), "bob", "in flight")
	if err != nil {
		t.Fatal(err)
	}
	const delay = 150 * time.Millisecond
	start := time.Now()
	s.GoAway("alice", delay)
	if _, err := out.Sent(within(t)); err != nil {
		t.Error(err)
	}
	if !s.Until(patience, func() bool { return s.Connects("alice") == 2 }) {
		t.Fatal("it did not come back")
	}
	if took := time.Since(start); took < delay {
		t.Errorf("came back after %v", took)
	}
	if !s.Until(patience, func() bool { return s.Byes.Load() == 1 }) {
		t.Errorf("%d BYEs", s.Byes.Load())
	}
}

// TestHeartbeat checks that an idle client is not silent for longer than the
// server bears, which the server watches.
func TestHeartbeat(t *testing.T) {
	t.Parallel()
	s := startServer(t, fakeserver.Config{Heartbeat: 500 * time.Millisecond})
	newApp(t, s, "idle").dial()
	if !onOneConnection(s, "idle", protocol.TypePing, 2) {
		t.Fatal("no pings")
	}
}

// TestHalfOpenConnection checks that a connection whose other end is gone
// without a word is given up.
func TestHalfOpenConnection(t *testing.T) {
	t.Parallel()
	s := startServer(t, fakeserver.Config{Heartbeat: 500 * time.Millisecond})
	a := newApp(t, s, "alice").dial()
	s.Hang("alice")
	out, err := a.SendText(within(t), "bob", "is anybody there?")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := out.Sent(within(t)); err != nil {
		t.Fatal(err)
	}
	if n := s.Connects("alice"); n < 2 {
		t.Errorf("%d connections", n)
	}
}

// TestStrangeServers connects to servers that break the protocol: the client
// gives the connection up and tries again, and does not fall over.
func TestStrangeServers(t *testing.T) {
	t.Parallel()
	connected := protocol.AppendProto(nil, protocol.TypeConnected, 1, &pb.Connected{
		Version: 1, User: "alice", HeartbeatMs: 60_000, MaxFrame: 1 << 16, MaxBody: 1 << 15, MaxInFlight: 10, Epoch: 7,
	})
	after := func(frame []byte) []byte { return append(append([]byte(nil), connected...), frame...) }
	for name, says := range map[string][]byte{
		"nothing":              nil,
		"HTTP":                 []byte("HTTP/1.1 400 Bad Request\r\n\r\n"),
		"PONG to CONNECT":      protocol.AppendHeader(nil, protocol.TypePong, 1, 0),
		"garbage CONNECTED":    protocol.AppendFrame(nil, protocol.TypeConnected, 1, []byte("\xff")),
		"empty CONNECTED":      protocol.AppendFrame(nil, protocol.TypeConnected, 1, nil),
		"GOAWAY":               protocol.AppendProto(nil, protocol.TypeGoAway, 0, &pb.GoAway{Code: pb.Code_CODE_DRAINING}),
		"other version":        protocol.AppendProto(nil, protocol.TypeConnected, 1, &pb.Connected{Version: 9}),
		"huge frame":           after(protocol.AppendHeader(nil, protocol.TypeMessage, 0, 1<<20)),
		"garbage push":         after(protocol.AppendFrame(nil, protocol.TypeMessage, 0, []byte("\xff"))),
		"empty MESSAGE":        after(protocol.AppendFrame(nil, protocol.TypeMessage, 0, nil)),
		"empty RECEIPT":        after(protocol.AppendFrame(nil, protocol.TypeReceipt, 0, nil)),
		"HEADS of nothing":     after(protocol.AppendProto(nil, protocol.TypeHeads, 0, &pb.Heads{Heads: []*pb.Head{{}}})),
		"SENT to SYNC":         after(protocol.AppendProto(nil, protocol.TypeSent, 1, &pb.Sent{Seq: 1})),
		"SYNCED of old":        after(protocol.AppendProto(nil, protocol.TypeSynced, 1, &pb.Synced{Epoch: 6})),
		"SYNCED of nobody":     after(protocol.AppendProto(nil, protocol.TypeSynced, 1, &pb.Synced{Epoch: 7, Conversations: []*pb.ConversationState{{}}})),
		"half a frame":         after([]byte{0, 0, 9, byte(protocol.TypeMessage)}),
		"unknown answer, push": after(protocol.AppendHeader(protocol.AppendHeader(nil, 0x7f, 99, 0), 0x7f, 0, 0)),
	} {
		t.Run(name, func(t *testing.T) {
			listener, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer listener.Close()
			again := make(chan struct{})
			go func() {
				for n := 0; ; n++ {
					conn, err := listener.Accept()
					if err != nil {
						return
					}
					if n == 2 {
						close(again)
					}
					conn.Write(says)
					conn.(*net.TCPConn).CloseWrite()
					go func() {
						for buf := make([]byte, 1024); ; {
							if _, err := conn.Read(buf); err != nil {
								conn.Close()
								return
							}
						}
					}()
				}
			}()
			ctx, cancel := context.WithCancel(within(t))
			go func() {
				select {
				case <-again:
					cancel()
				case <-ctx.Done():
				}
			}()
			c, err := godwit.Dial(ctx, godwit.Options{
				Addr: listener.Addr().String(), Token: asUser("alice"), Device: "d", Backoff: quick, Logger: testLog(),
			})
			if err == nil {
				select {
				case <-again:
				case <-c.Done():
					t.Errorf("it gave up: %v", c.Err())
				}
				c.Close()
			} else if !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
			cancel()
		})
	}
}

// stingyConn dies once it has brought so many bytes.
type stingyConn struct {
	net.Conn
	left int
}

func (c *stingyConn) Read(b []byte) (int, error) {
	if c.left == 0 {
		c.Conn.Close()
		return 0, errors.New("the tunnel begins")
	}
	n, err := c.Conn.Read(b[:min(len(b), c.left)])
	c.left -= n
	return n, err
}

// TestConnectionsThatDieEarly: no connection lives long enough for a page of
// the usual size, so the client must ask for smaller ones, or it would never
// get anywhere.
func TestConnectionsThatDieEarly(t *testing.T) {
	s := startServer(t, fakeserver.Config{})
	const count = 300
	for range count {
		s.Say("bob", "alice", strings.Repeat("x", 1000))
	}
	alice := newApp(t, s, "alice")
	alice.opts.Dialer = func(ctx context.Context, network, addr string) (net.Conn, error) {
		var d net.Dialer
		nc, err := d.DialContext(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		return &stingyConn{Conn: nc, left: 20_000}, nil
	}
	alice.dial()
	alice.until("all messages", func() bool { return len(alice.messages["d:alice:bob"]) == count })
}
