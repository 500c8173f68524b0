package fakeserver

import (
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/godwit-im/godwit/protocol"
	"github.com/godwit-im/godwit/protocol/pb"
)

// Config is how the server is set up; a zero field has its default.
type Config struct {
	Heartbeat        time.Duration // 60 s; a client's wish is ignored
	TokenLifetime    time.Duration // 1 h
	MaxFrame         int           // 256 KiB
	MaxBody          int           // 64 KiB
	MaxInFlight      int           // 512
	MaxInFlightBytes int           // 1 MiB
	PullLimit        int           // 200
	SyncLimit        int           // 100
	Seed             uint64        // of the faults

	// Authenticate judges a token. nil takes it for the user's id.
	Authenticate func(token string) (user string, err *protocol.Error)
}

// Server is the fake. Its methods are safe for concurrent use.
type Server struct {
	cfg      Config
	listener net.Listener
	conns    sync.WaitGroup

	Duplicates atomic.Int64 // SENDs that repeated a message
	Byes       atomic.Int64 // sessions that ended with BYE

	mu            sync.Mutex // guards everything below, and the conns' fields
	rng           *rand.Rand
	faults        Faults
	epoch         uint64
	stamp         uint64
	lastID        uint64
	said          int
	generation    uint64
	closed        bool
	open          map[*conn]struct{}
	sessions      map[device]*conn
	conversations map[string]*conversation
	connects      map[string]int
	seen          map[string]int64 // when a user's session ended last, in Unix milliseconds
	expiring      bool             // there was a message with a time to live
	requests      map[protocol.Type]int
	violations    []string
	changed       chan struct{} // closed, and made anew, when something happens
}

type device struct{ user, device string }

// Start starts a server on a free port of the loopback interface.
func Start(cfg Config) (*Server, error) {
	def := func(field *int, value int) {
		if *field == 0 {
			*field = value
		}
	}
	def(&cfg.MaxFrame, 256<<10)
	def(&cfg.MaxBody, 64<<10)
	def(&cfg.MaxInFlight, 512)
	def(&cfg.MaxInFlightBytes, 1<<20)
	def(&cfg.PullLimit, 200)
	def(&cfg.SyncLimit, 100)
	if cfg.Heartbeat == 0 {
		cfg.Heartbeat = time.Minute
	}
	if cfg.TokenLifetime == 0 {
		cfg.TokenLifetime = time.Hour
	}
	if cfg.Authenticate == nil {
		cfg.Authenticate = func(token string) (string, *protocol.Error) { return token, nil }
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s := &Server{
		cfg: cfg, listener: listener,
		rng:           rand.New(rand.NewPCG(cfg.Seed, 1)),
		epoch:         1,
		open:          make(map[*conn]struct{}),
		sessions:      make(map[device]*conn),
		conversations: make(map[string]*conversation),
		connects:      make(map[string]int),
		seen:          make(map[string]int64),
		requests:      make(map[protocol.Type]int),
		changed:       make(chan struct{}),
	}
	s.conns.Go(s.accept)
	return s, nil
}

// Addr is where the server listens.
func (s *Server) Addr() string { return s.listener.Addr().String() }

// Close cuts all connections and returns when its goroutines have ended.
func (s *Server) Close() {
	s.listener.Close()
	s.mu.Lock()
	s.closed = true
	for c := range s.open {
		c.cut()
	}
	s.mu.Unlock()
	s.conns.Wait()
}

func (s *Server) now() time.Time { return time.Now() }

func itoa(n int) string { return strconv.Itoa(n) }

func (s *Server) accept() {
	for {
		raw, err := s.listener.Accept()
		if err != nil {
			return
		}
		c := newConn(s, raw)
		s.mu.Lock()
		if s.closed {
			s.mu.Unlock()
			raw.Close()
			return
		}
		s.open[c] = struct{}{}
		s.mu.Unlock()
		s.conns.Go(c.read)
		s.conns.Go(c.write)
	}
}

// happened wakes those who wait in Until. Server.mu is held.
func (s *Server) happened() {
	close(s.changed)
	s.changed = make(chan struct{})
}

// Until waits until cond holds, looking whenever a frame was handled or a
// connection has ended, and reports false if it takes longer than a while.
// cond must not call methods that wait.
func (s *Server) Until(while time.Duration, cond func() bool) bool {
	timeout := time.NewTimer(while)
	defer timeout.Stop()
	for {
		s.mu.Lock()
		changed := s.changed
		s.mu.Unlock()
		if cond() {
			return true
		}
		select {
		case <-changed:
		case <-timeout.C:
			return cond()
		}
	}
}

// Messages returns the messages of a conversation that are kept.
func (s *Server) Messages(conversation string) []*pb.Message {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.conversations[conversation]
	if c == nil {
		return nil
	}
	return slices.Clone(c.messages[c.min-1:])
}

// Cursors returns a member's cursors.
func (s *Server) Cursors(conversation, user string) (read, delivered uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c := s.conversations[conversation]; c != nil && c.members[user] != nil {
		return c.members[user].read, c.members[user].delivered
	}
	return 0, 0
}

// Connects is how many times the user has connected.
func (s *Server) Connects(user string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.connects[user]
}

// Requests is how many frames of a type came in.
func (s *Server) Requests(t protocol.Type) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.requests[t]
}

// Violations lists what clients did that they must not do.
func (s *Server) Violations() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.violations)
}

func (s *Server) violation(format string, args ...any) {
	s.violations = append(s.violations, fmt.Sprintf(format, args...))
}

// pushMessage pushes m to the sessions of its conversation's members, but for
// the one that sent it. Server.mu is held.
func (s *Server) pushMessage(m *pb.Message, origin *conn) {
	s.happened()
	if m.Flags&uint32(pb.Flag_FLAG_UNPUSHED) != 0 {
		return
	}
	members := s.conversations[m.Conversation].active()
	for _, c := range s.sessions {
		if c == origin || !slices.Contains(members, c.user) {
			continue
		}
		switch {
		case s.happens(s.faults.Heads):
			c.queue(protocol.AppendProto(nil, protocol.TypeHeads, 0, &pb.Heads{
				Heads: []*pb.Head{{Conversation: m.Conversation, Seq: m.Seq}},
			}))
		case s.happens(s.faults.EmptyHeads):
			c.queue(protocol.AppendProto(nil, protocol.TypeHeads, 0, &pb.Heads{}))
		default:
			s.push(c, protocol.TypeMessage, m)
		}
	}
}

// push pushes, or what passes for it. Server.mu is held.
func (s *Server) push(c *conn, t protocol.Type, m proto.Message) {
	f := s.faults
	if t == protocol.TypeState {
		// The server never loses or swaps one, but for what HEADS stands for.
		if s.happens(f.Heads) || s.happens(f.EmptyHeads) {
			t, m = protocol.TypeHeads, &pb.Heads{}
		}
		c.queue(protocol.AppendProto(nil, t, 0, m))
		return
	}
	if s.happens(f.LosePush) {
		return
	}
	frame := protocol.AppendProto(nil, t, 0, m)
	c.queue(frame)
	if s.happens(f.DuplicatePush) {
		c.queue(frame)
	}
	if s.happens(f.ReorderPush) {
		c.swapLast()
	}
}

// markAndPush handles a MARK. Server.mu is held.
func (s *Server) markAndPush(user string, m *pb.Mark, origin *conn) (*pb.Marked, *protocol.Error) {
	marked, moved, err := s.mark(user, m, origin)
	if err != nil || !moved {
		return marked, err
	}
	s.pushReceipt(s.conversations[m.Conversation], user, origin)
	s.happened()
	return marked, nil
}

// pushReceipt tells of user's cursors. Server.mu is held.
func (s *Server) pushReceipt(conversation *conversation, user string, origin *conn) {
	peer, _ := protocol.Peer(conversation.id, user)
	mine := conversation.members[user]
	unread, mention := conversation.unread(user)
	_, last := conversation.bounds(user)
	for _, c := range s.sessions {
		r := &pb.Receipt{Conversation: conversation.id, User: user, ReadSeq: mine.read, DeliveredSeq: mine.delivered}
		switch {
		case c == origin:
		case c.user == user:
			r.Unread, r.MentionSeq, r.HeadSeq, r.CountedMs = unread, mention, last, conversation.countedMs()
			s.push(c, protocol.TypeReceipt, r)
		case c.user == peer:
			s.push(c, protocol.TypeReceipt, r)
		}
	}
}
