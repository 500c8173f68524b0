package netpoll

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/panjf2000/gnet/v2"
	"golang.org/x/time/rate"

	"github.com/godwit-im/godwit/protocol"
)

var (
	// ErrStopped is what OnClose gets for the connections that were open when
	// the engine ended.
	ErrStopped = errors.New("netpoll: the server stopped")
	// ErrEngineEnded is what Err wraps when gnet ended and nobody asked it to.
	ErrEngineEnded = errors.New("netpoll: the event loops ended unexpectedly")
)

// Handler is told what happens on connections. Every method is called on the
// goroutine of the event loop in question and must not block; calls for one
// connection never overlap.
type Handler interface {
	// OnOpen is the first call for c.
	OnOpen(c *Conn)
	// OnFrame is called for each frame that arrived, in order. f.Body is valid
	// until it returns. An error ends the connection as Close(err) does. Frames
	// behind the one at which the connection was closed are dropped.
	OnFrame(c *Conn, f protocol.Frame) error
	// OnDrained is called after Push has refused, once at most half of
	// Config.Lag is waiting.
	OnDrained(c *Conn)
	// OnClose is called exactly once for each OnOpen, and nothing is called for
	// c after it. err is what Close was given where this side closed; else
	// io.EOF where the peer closed, ErrStopped, or the socket's error.
	OnClose(c *Conn, err error)
	// OnTick is called every Config.Tick for each loop on which a connection
	// was opened before. Ticks that a busy loop can't serve are dropped.
	OnTick(loop int, now time.Time)
}

// Server listens and serves connections. Its methods may be called from any
// goroutine, but Start first, and Each, CloseAll and Stop, which wait for the
// loops, never from a Handler's method.
type Server struct {
	cfg     Config
	handler Handler
	log     *slog.Logger
	gnetLog *gnetLogger
	accepts *rate.Limiter
	stats   Stats
	began   time.Time // the origin of the times that connections keep
	addr    net.Addr  // set by Start

	lastID   atomic.Uint64
	refusing atomic.Bool
	stopping atomic.Bool             // Stop was called
	loops    atomic.Pointer[[]*loop] // copied on write, under mu
	booted   chan struct{}           // closed at the first tick: the loops run
	done     chan struct{}           // closed when gnet has ended
	emptied  chan struct{}           // gets a token when the last connection is gone; capacity 1
	engine   gnet.Engine             // set before booted is closed

	mu      sync.Mutex // guards started, ending, err and changes of loops
	started bool
	ending  bool // gnet has begun to end: no more doorbells
	err     error
}

// New makes a Server that is not listening yet.
func New(cfg Config, h Handler) (*Server, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if cfg.Loops == 0 {
		cfg.Loops = min(runtime.GOMAXPROCS(0), 256)
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	s := &Server{
		cfg:     cfg,
		handler: h,
		log:     cfg.Logger,
		gnetLog: &gnetLogger{log: cfg.Logger},
		accepts: rate.NewLimiter(rate.Limit(cfg.AcceptRate), cfg.AcceptBurst),
		began:   cfg.Now(),
		booted:  make(chan struct{}),
		done:    make(chan struct{}),
		emptied: make(chan struct{}, 1),
	}
	s.loops.Store(new([]*loop))
	s.stats.bind(s)
	return s, nil
}

// Start listens; connections are served from then on. It fails if the address
// is taken or the process's descriptor limit is too low for Config.MaxConns.
// It may be called once.
func (s *Server) Start() error {
	s.mu.Lock()
	started := s.started
	s.started = true
	s.mu.Unlock()
	if started {
		return errors.New("netpoll: Start was called before")
	}
	if err := s.cfg.checkDescriptors(); err != nil {
		return err
	}
	r, err := reserve(s.cfg.Addr)
	if err != nil {
		return err
	}
	if runtime.GOOS == "linux" {
		defer r.release()
	} else {
		r.release() // elsewhere even a bound socket that doesn't listen is in gnet's way
	}
	s.addr = r.addr
	go func() {
		s.ended(gnet.Run(&events{s: s}, "tcp://"+r.addr.String(),
			gnet.WithNumEventLoop(s.cfg.Loops),
			gnet.WithReusePort(true),
			gnet.WithReuseAddr(true),
			gnet.WithTCPNoDelay(gnet.TCPNoDelay),
			gnet.WithSocketSendBuffer(s.cfg.SendBuffer),
			gnet.WithReadBufferCap(readBuffer),
			gnet.WithWriteBufferCap(handOver),
			gnet.WithTicker(true),
			gnet.WithLogger(s.gnetLog),
		))
	}()
	select {
	case <-s.booted:
		return nil
	case <-s.done:
		return s.Err()
	}
}

// ended records how gnet.Run returned.
func (s *Server) ended(err error) {
	s.mu.Lock()
	if !s.stopping.Load() {
		switch why := s.gnetLog.reported(); {
		case err != nil:
			s.err = fmt.Errorf("%w: %w", ErrEngineEnded, err)
		case why != "":
			s.err = fmt.Errorf("%w: %s", ErrEngineEnded, why)
		default:
			s.err = ErrEngineEnded
		}
	}
	s.mu.Unlock()
	s.forbidDoorbells()
	close(s.done)
}

// Addr is the address that Start listens on.
func (s *Server) Addr() net.Addr { return s.addr }

// Loops is the number of event loops.
func (s *Server) Loops() int { return s.cfg.Loops }

// Stats returns the counters.
func (s *Server) Stats() *Stats { return &s.stats }

// Done is closed when the event loops have ended, asked or not.
func (s *Server) Done() <-chan struct{} { return s.done }

// Err is nil until Done is closed and after an end that Stop asked for; else
// it wraps ErrEngineEnded, which the process should not survive.
func (s *Server) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

// Refuse answers new connections with DRAINING from now on. The ports stay
// open, so that clients learn when to come back.
func (s *Server) Refuse() { s.refusing.Store(true) }

// Each calls f for each open connection, on the connection's loop, and returns
// when all are done or the engine has ended. Connections that are opened
// meanwhile may be left out.
func (s *Server) Each(f func(c *Conn)) {
	loops := *s.loops.Load()
	ran := make(chan struct{}, len(loops))
	for _, l := range loops {
		l.call(func() {
			for _, c := range l.conns {
				f(c)
			}
			ran <- struct{}{}
		})
	}
	for range loops {
		select {
		case <-ran:
		case <-s.done:
			return
		}
	}
}

// Post has f called on a loop that has had a connection, see Conn.Loop: soon, or
// never if the loops end first. What f sends is written after it, with what else
// there is, and the loop looks at its sockets after every few hundred
// connections written to, so work in pieces of that size, each of which posts the
// next, keeps nobody waiting for long. Any goroutine, also one's own loop.
func (s *Server) Post(loop int, f func()) { (*s.loops.Load())[loop].call(f) }

// CloseAll refuses new connections and closes those that are open with why, as
// Conn.Close does, perSecond of them a second (0 = all at once). It returns
// nil when the last one has been closed and seen off, or ctx's error.
func (s *Server) CloseAll(ctx context.Context, perSecond int, why *protocol.Error) error {
	s.Refuse()
	var conns []*Conn
	var mu sync.Mutex // guards conns while the loops collect
	s.Each(func(c *Conn) {
		mu.Lock()
		conns = append(conns, c)
		mu.Unlock()
	})
	mu.Lock()
	conns = slices.Clip(conns)
	mu.Unlock()
	pace := rate.NewLimiter(rate.Inf, 1)
	if perSecond > 0 {
		pace = rate.NewLimiter(rate.Limit(perSecond), max(1, perSecond/50))
	}
	for _, c := range conns {
		if err := pace.Wait(ctx); err != nil {
			return err
		}
		if why == nil {
			c.Close(nil)
		} else {
			c.Close(why)
		}
	}
	for s.stats.Open.Load()+s.stats.Lingering.Load() > 0 {
		select {
		case <-s.emptied:
		case <-s.done:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// Stop ends the event loops at once; what is still queued is lost and every
// open connection gets its OnClose. It returns when they have ended or with
// ctx's error.
func (s *Server) Stop(ctx context.Context) error {
	select {
	case <-s.booted:
	default:
		return nil
	}
	s.stopping.Store(true)
	// gnet's Stop polls twice a second for the end; a context that is already
	// cancelled makes it give the order and return.
	now, cancel := context.WithCancel(ctx)
	cancel()
	_ = s.engine.Stop(now)
	select {
	case <-s.done:
	case <-ctx.Done():
		select {
		case <-s.done: // it had ended before
		default:
			return ctx.Err()
		}
	}
	return nil
}

// elapsed is the time since the server was made, the unit of connections' deadlines.
func (s *Server) elapsed() time.Duration { return s.cfg.Now().Sub(s.began) }

// loopOf returns our side of gnet's loop ev. Loops are numbered in the order
// in which they open their first connection: gnet doesn't tell its own number.
func (s *Server) loopOf(ev gnet.EventLoop) *loop {
	for _, l := range *s.loops.Load() {
		if l.ev == ev {
			return l
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	old := *s.loops.Load()
	l := newLoop(s, len(old), ev)
	if l.deaf = s.ending; !l.deaf {
		l.hang()
	}
	all := append(slices.Clone(old), l)
	s.loops.Store(&all)
	return l
}

// forbidDoorbells is called before gnet closes its wake-up descriptors.
func (s *Server) forbidDoorbells() {
	s.mu.Lock()
	s.ending = true
	all := *s.loops.Load()
	s.mu.Unlock()
	for _, l := range all {
		l.mu.Lock()
		l.deaf = true
		l.bell.silence()
		l.mu.Unlock()
	}
}

// noteEnd wakes CloseAll when nothing is left.
func (s *Server) noteEnd() {
	if s.stats.Open.Load()+s.stats.Lingering.Load() == 0 {
		select {
		case s.emptied <- struct{}{}:
		default:
		}
	}
}
