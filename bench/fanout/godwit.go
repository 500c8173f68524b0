package fanout

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"runtime/pprof"
	"time"

	"github.com/godwit-im/godwit/chat"
	"github.com/godwit-im/godwit/delivery"
	"github.com/godwit-im/godwit/netpoll"
	"github.com/godwit-im/godwit/protocol"
	"github.com/godwit-im/godwit/protocol/pb"
	"github.com/godwit-im/godwit/session"
)

// spare is how many descriptors a process gets beyond its connections: netpoll
// keeps some 800 back.
const spare = 1000

// log makes the frames of one conversation's messages.
type log struct {
	seq  uint64
	body []byte
}

const conversation = "g0123456789abcdef"

func (l *log) next() (seq uint64, frame []byte) {
	l.seq++
	return l.seq, protocol.MessageFrame(nil, &pb.Message{
		Conversation: conversation, Seq: l.seq, Id: 1<<60 + l.seq, Sender: "sender", ClientId: "0123456789abcdef",
		TimeMs: 1_800_000_000_000, Kind: pb.Kind_KIND_TEXT, Body: l.body,
	})
}

// gateway is the part of the server's gateway that is needed to get sessions.
type gateway struct{ sessions *session.Manager }

func (g *gateway) OnOpen(*netpoll.Conn) {}

func (g *gateway) OnFrame(c *netpoll.Conn, f protocol.Frame) error {
	var req pb.Connect
	if err := protocol.Decode(f, &req); err != nil {
		return err
	}
	s, err := g.sessions.Connect(c, f.Request, &req)
	if err != nil {
		return err
	}
	c.SetState(s)
	g.sessions.Watch(c.Loop(), s)
	c.Authenticated()
	return nil
}

func (g *gateway) OnDrained(c *netpoll.Conn) { c.State().(*session.Session).Drained() }

func (g *gateway) OnClose(c *netpoll.Conn, _ error) {
	if s, ok := c.State().(*session.Session); ok {
		g.sessions.Unwatch(c.Loop(), s)
		g.sessions.Close(s)
	}
}

func (g *gateway) OnTick(loop int, now time.Time) { g.sessions.Tick(loop, now) }

// serveGodwit delivers, for every number on in, so many messages to all
// sessions.
func serveGodwit(j job, in io.Reader, out io.Writer) error {
	if err := allowDescriptors(j.Sessions + spare); err != nil {
		return err
	}
	if j.CPUProfile != "" {
		f, err := os.Create(j.CPUProfile)
		if err != nil {
			return err
		}
		if err := pprof.StartCPUProfile(f); err != nil {
			return err
		}
		defer pprof.StopCPUProfile()
	}
	users := make([]string, j.Users)
	for i := range users {
		users[i] = fmt.Sprintf("user-%06d", i)
	}
	sessions, tokens, err := newSessions(j, users)
	if err != nil {
		return err
	}
	cfg := netpoll.DefaultConfig()
	cfg.Addr, cfg.Loops, cfg.MaxConns, cfg.MaxUnauthenticated = "127.0.0.1:0", j.Loops, j.Sessions, j.Sessions
	cfg.AcceptRate, cfg.AcceptBurst = 1e6, 1e6
	cfg.Logger = slog.New(slog.DiscardHandler)
	server, err := netpoll.New(cfg, &gateway{sessions})
	if err != nil {
		return err
	}
	// The store is for reads, and nothing is read here.
	d, err := delivery.New(delivery.DefaultConfig(), nil, sessions)
	if err != nil {
		return err
	}
	defer d.Close()
	if err := server.Start(); err != nil {
		return err
	}
	defer func() { _ = server.Stop(context.Background()) }()
	if err := (welcome{server.Addr().String(), tokens}).write(out); err != nil {
		return err
	}
	l := &log{body: make([]byte, j.Size)}
	return orders(in, func(n int) error {
		outcomes := make([]chat.Outcome, n)
		for i := range outcomes {
			seq, frame := l.next()
			outcomes[i] = chat.Outcome{
				Proposal: &chat.Proposal{},
				Effects:  []chat.Effect{{Kind: chat.EffectMessage, Conversation: conversation, Users: users, Seq: seq, Frame: frame}},
			}
		}
		d.Deliver(outcomes)
		return nil
	})
}

// newSessions makes a manager without sessions, and a token for every user.
func newSessions(j job, users []string) (*session.Manager, []string, error) {
	auth := session.DefaultAuthConfig()
	keys, err := session.GenerateKeySet(auth.Algorithm)
	if err != nil {
		return nil, nil, err
	}
	auth.Keys = keys
	tokens := make([]string, len(users))
	for i, user := range users {
		if tokens[i], err = session.Sign(keys, "", auth.Algorithm, auth.Issuer, auth.Audience, user, time.Hour, time.Now()); err != nil {
			return nil, nil, err
		}
	}
	verifier, err := session.NewVerifier(auth)
	if err != nil {
		return nil, nil, err
	}
	cfg := session.DefaultConfig()
	cfg.Loops = j.Loops
	cfg.MaxDevices = j.Sessions / j.Users
	cfg.HeartbeatDefault = cfg.HeartbeatMax // nobody sends
	m, err := session.NewManager(cfg, verifier, 1)
	return m, tokens, err
}
