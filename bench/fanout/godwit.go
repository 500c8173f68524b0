package fanout

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"runtime"
	"runtime/pprof"
	"sync/atomic"
	"time"

	"github.com/godwit-im/godwit/chat"
	"github.com/godwit-im/godwit/delivery"
	"github.com/godwit-im/godwit/msgstore"
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

const conversation = "g:sender:0123456789abcdef"

func (l *log) next() (seq uint64, frame []byte) {
	l.seq++
	return l.seq, protocol.MessageFrame(nil, &pb.Message{
		Conversation: conversation, Seq: l.seq, Id: 1<<60 + l.seq, Sender: "sender", ClientId: "0123456789abcdef",
		TimeMs: 1_800_000_000_000, Kind: pb.Kind_KIND_TEXT, Body: l.body,
	})
}

// gateway is the part of the server's gateway that is needed to get sessions,
// and, beside a group, to chat.
type gateway struct {
	sessions *session.Manager
	delivery *delivery.Delivery
	group    bool
	// committed is what the writer delivers.
	committed chan []chat.Outcome
	direct    atomic.Uint64 // the seq of the newest direct message
}

func (g *gateway) OnOpen(*netpoll.Conn) {}

func (g *gateway) OnFrame(c *netpoll.Conn, f protocol.Frame) error {
	if s, ok := c.State().(*session.Session); ok {
		return g.send(s, f)
	}
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
	if g.group {
		g.delivery.Attach(s, c.Loop())
	}
	c.Authenticated()
	return nil
}

// send takes a direct message for committed.
func (g *gateway) send(s *session.Session, f protocol.Frame) error {
	var req pb.Send
	if err := protocol.ParseSend(f.Body, &req); err != nil {
		return err
	}
	peer, ok := protocol.Peer(req.Conversation, s.User)
	if f.Type != protocol.TypeSend || !ok {
		return fmt.Errorf("unexpected frame: %v", f)
	}
	if err := s.Begin(len(f.Body)); err != nil {
		return err
	}
	seq := g.direct.Add(1)
	m := &pb.Message{
		Conversation: req.Conversation, Seq: seq, Id: seq, Sender: s.User, ClientId: req.ClientId,
		TimeMs: time.Now().UnixMilli(), Kind: req.Kind, Body: req.Body,
	}
	g.committed <- []chat.Outcome{{
		Proposal: &chat.Proposal{
			Command: chat.Command{Op: chat.OpSend, Conversation: req.Conversation},
			Origin:  s, Request: f.Request, InFlight: len(f.Body), Accepted: time.Now(),
		},
		Result: chat.Result{Seq: seq, ID: seq, TimeMs: m.TimeMs},
		Effects: []chat.Effect{{
			Kind: chat.EffectMessage, Conversation: req.Conversation, Users: []string{s.User, peer},
			Seq: seq, Frame: protocol.MessageFrame(nil, m),
		}},
	}}
	return nil
}

func (g *gateway) OnDrained(c *netpoll.Conn) { c.State().(*session.Session).Drained() }

func (g *gateway) OnClose(c *netpoll.Conn, _ error) {
	if s, ok := c.State().(*session.Session); ok {
		g.sessions.Unwatch(c.Loop(), s)
		g.sessions.Close(s)
		g.delivery.Detach(s)
	}
}

func (g *gateway) OnTick(loop int, now time.Time) { g.sessions.Tick(loop, now) }

// serveGodwit delivers, for every number on in, so many messages to all
// sessions.
func serveGodwit(j job, in io.Reader, out io.Writer) (err error) {
	conns := j.Sessions + len(pairUsers)
	if err := allowDescriptors(conns + spare); err != nil {
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
	if j.Loops == 0 {
		j.Loops = runtime.GOMAXPROCS(0)
	}
	users := make([]string, j.Users)
	for i := range users {
		users[i] = fmt.Sprintf("user-%06d", i)
	}
	sessions, tokens, err := newSessions(j, append(users, pairUsers...))
	if err != nil {
		return err
	}
	store, done, err := emptyStore()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, done()) }()
	g := &gateway{sessions: sessions, group: j.Group, committed: make(chan []chat.Outcome, 1024)}
	cfg := netpoll.DefaultConfig()
	cfg.Addr, cfg.Loops, cfg.MaxConns, cfg.MaxUnauthenticated = "127.0.0.1:0", j.Loops, conns, conns
	cfg.AcceptRate, cfg.AcceptBurst = 1e6, 1e6
	cfg.Logger = slog.New(slog.DiscardHandler)
	server, err := netpoll.New(cfg, g)
	if err != nil {
		return err
	}
	options := delivery.DefaultConfig()
	options.Loops, options.Post = j.Loops, server.Post
	if g.delivery, err = delivery.New(options, store, sessions); err != nil {
		return err
	}
	defer g.delivery.Close()
	if err := server.Start(); err != nil {
		return err
	}
	defer func() { _ = server.Stop(context.Background()) }()
	go func() { // the log's writer, for as long as the process lives
		for outcomes := range g.committed {
			g.delivery.Deliver(outcomes)
		}
	}()
	if err := (welcome{server.Addr().String(), tokens}).write(out); err != nil {
		return err
	}
	l := &log{body: make([]byte, j.Size)}
	return orders(in, func(n int) error {
		outcomes := make([]chat.Outcome, n)
		for i := range outcomes {
			first := l.seq == 0
			seq, frame := l.next()
			e := chat.Effect{Kind: chat.EffectMessage, Conversation: conversation, Users: users, Seq: seq, Frame: frame}
			outcomes[i] = chat.Outcome{Proposal: &chat.Proposal{}, Index: seq, Effects: []chat.Effect{e}}
			if !j.Group {
				continue
			}
			outcomes[i].Effects[0].Group, outcomes[i].Effects[0].Users = true, nil
			if first { // all sessions are there
				joined := chat.Effect{Kind: chat.EffectJoined, Conversation: conversation, Users: users}
				outcomes[i].Effects = append(outcomes[i].Effects, joined)
			}
		}
		g.committed <- outcomes
		return nil
	})
}

// emptyStore opens a store in which nobody is a member of a group, which is all
// that is ever read of it.
func emptyStore() (*msgstore.Store, func() error, error) {
	dir, err := os.MkdirTemp("", "godwit-fanout-")
	if err != nil {
		return nil, nil, err
	}
	options := msgstore.DefaultOptions()
	options.Dir, options.MinFree = dir, 0
	options.Logger = slog.New(slog.DiscardHandler)
	store, err := msgstore.Open(options)
	if err != nil {
		return nil, nil, errors.Join(err, os.RemoveAll(dir))
	}
	return store, func() error { return errors.Join(store.Close(), os.RemoveAll(dir)) }, nil
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
