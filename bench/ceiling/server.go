package ceiling

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/panjf2000/gnet/v2"

	"github.com/godwit-im/godwit/bench/node"
	"github.com/godwit-im/godwit/netpoll"
	"github.com/godwit-im/godwit/protocol"
)

// role is what a server does with frames.
type role struct {
	// frame is called for each frame that came, on c's loop. raw is the frame
	// with its header; both are valid until it returns. It appends to the
	// loop's answer and push.
	frame func(c *conn, f protocol.Frame, raw []byte) error
	// keep takes what the frames of one read lead to, instead of its being
	// written at once; nil = it is written. The slices are the loop's.
	keep func(c *conn, answer, push []byte)
	// close is called when the loops have ended; nil = nothing is to be done.
	close func() error
}

// The roles of a child.
const (
	roleEcho  = "echo"
	roleRelay = "relay"
	roleStore = "store"
	rolePull  = "pull"
)

// roles makes them.
var roles = map[string]func(j job) (role, error){
	roleEcho:  func(job) (role, error) { return role{frame: echo}, nil },
	roleRelay: func(j job) (role, error) { return role{frame: newRelay(j.Tail).frame}, nil },
	roleStore: func(j job) (role, error) { return newStorer(j) },
	rolePull:  func(j job) (role, error) { return newPuller(j.Log) },
}

const (
	// readBuffer is netpoll's: the most that one read brings, in bytes.
	readBuffer = 64 << 10
	// maxBody is the longest frame body, in bytes.
	maxBody = 256 << 10
)

// server is a gnet engine that parses all the frames that a read has brought
// and writes once what they have led to: nine tenths of such a server's time
// are system calls, so their number decides (docs/adr).
type server struct {
	gnet.BuiltinEventEngine
	engine gnet.Engine
	booted chan struct{} // closed at the first tick: every loop listens
	role   role

	mu    sync.Mutex // guards loops
	loops []*loop
}

// conn is a connection.
type conn struct {
	gc   gnet.Conn
	loop *loop
	peer *conn // to whom the relay pushes; may be of another loop
	pair int   // its number
	gone bool  // owned by the loop

	// The loop's mutex guards pending, what other loops have for the
	// connection. Run exchanges it for writing, which is the loop's.
	pending, writing []byte
}

// loop is one of gnet's event loops.
type loop struct {
	ev     gnet.EventLoop
	frames atomic.Uint64

	// What the frames of one read lead to, owned by the loop: the answer to
	// where they came from, and what goes to its peer.
	answer, push []byte
	turn         []*conn

	mu    sync.Mutex // guards the rest, and pending of the loop's connections
	ready []*conn    // have something pending
	rung  bool       // Run is to come
}

// OnBoot implements gnet.EventHandler.
func (s *server) OnBoot(engine gnet.Engine) gnet.Action {
	s.engine = engine
	return gnet.None
}

// OnTick implements gnet.EventHandler.
func (s *server) OnTick() (time.Duration, gnet.Action) {
	close(s.booted)
	return 1<<63 - 1, gnet.None // never again
}

// OnOpen implements gnet.EventHandler.
func (s *server) OnOpen(gc gnet.Conn) ([]byte, gnet.Action) {
	s.mu.Lock()
	defer s.mu.Unlock()
	ev := gc.EventLoop()
	i := slices.IndexFunc(s.loops, func(l *loop) bool { return l.ev == ev })
	if i < 0 {
		i = len(s.loops)
		s.loops = append(s.loops, &loop{ev: ev})
	}
	gc.SetContext(&conn{gc: gc, loop: s.loops[i]})
	return nil, gnet.None
}

// OnTraffic implements gnet.EventHandler.
func (s *server) OnTraffic(gc gnet.Conn) gnet.Action {
	c := gc.Context().(*conn)
	l := c.loop
	l.answer, l.push = l.answer[:0], l.push[:0]
	b, _ := gc.Peek(-1)
	taken, frames := 0, uint64(0)
	for {
		f, n, err := protocol.Parse(b[taken:], maxBody)
		if err == nil && n > 0 {
			err = s.role.frame(c, f, b[taken:taken+n])
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, "ceiling:", err)
			return gnet.Close
		}
		if n == 0 {
			break
		}
		taken += n
		frames++
	}
	l.frames.Add(frames)
	if taken == 0 {
		return gnet.None // for gnet, to discard nothing is to discard all
	}
	_, _ = gc.Discard(taken)
	if s.role.keep != nil && len(l.push) > 0 {
		s.role.keep(c, l.answer, l.push)
		return gnet.None
	}
	if len(l.answer) > 0 {
		_, _ = gc.Write(l.answer)
	}
	if len(l.push) > 0 {
		l.pushTo(c.peer)
	}
	return gnet.None
}

// OnClose implements gnet.EventHandler.
func (s *server) OnClose(gc gnet.Conn, _ error) gnet.Action {
	gc.Context().(*conn).gone = true
	return gnet.None
}

// pushTo has what is in l.push written to c: at once where c is of this loop,
// else by its own.
func (l *loop) pushTo(c *conn) {
	if c.loop != l {
		c.send(l.push)
		return
	}
	if !c.gone {
		_, _ = c.gc.Write(l.push)
	}
}

// send has b, which is copied, written by c's loop, which is woken once for all
// that waits for it. Any goroutine.
func (c *conn) send(b []byte) {
	to := c.loop
	to.mu.Lock()
	if len(c.pending) == 0 {
		to.ready = append(to.ready, c)
	}
	c.pending = append(c.pending, b...)
	ring := !to.rung
	to.rung = true
	to.mu.Unlock()
	if ring {
		_ = to.ev.Execute(context.Background(), to) // fails when the engine ends
	}
}

// Run writes what other loops have left for this one. It implements
// gnet.Runnable.
func (l *loop) Run(context.Context) error {
	l.mu.Lock()
	l.rung = false
	l.turn, l.ready = l.ready, l.turn[:0]
	for _, c := range l.turn {
		c.writing, c.pending = c.pending, c.writing[:0]
	}
	l.mu.Unlock()
	for _, c := range l.turn {
		if !c.gone {
			_, _ = c.gc.Write(c.writing)
		}
	}
	return nil
}

// frames is how many came to all loops.
func (s *server) frames() (n uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range s.loops {
		n += l.frames.Load()
	}
	return n
}

// serve is the life of a child. The options of gnet are those of netpoll.
func serve(j job, in io.Reader, out io.Writer) (err error) {
	made, ok := roles[j.Role]
	if !ok {
		return fmt.Errorf("no role %q", j.Role)
	}
	s := &server{booted: make(chan struct{})}
	if s.role, err = made(j); err != nil {
		return err
	}
	if s.role.close != nil {
		defer func() { err = errors.Join(err, s.role.close()) }()
	}
	addr, err := node.FreeAddr()
	if err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() {
		ended <- gnet.Run(s, "tcp://"+addr,
			gnet.WithNumEventLoop(loopsOf(j.Loops)),
			gnet.WithReusePort(true),
			gnet.WithReuseAddr(true),
			gnet.WithTCPNoDelay(gnet.TCPNoDelay),
			gnet.WithSocketSendBuffer(netpoll.DefaultConfig().SendBuffer),
			gnet.WithReadBufferCap(readBuffer),
			gnet.WithWriteBufferCap(readBuffer),
			gnet.WithTicker(true),
			gnet.WithLogger(quiet{}),
		)
	}()
	select {
	case <-s.booted:
	case err := <-ended:
		return err
	}
	defer func() {
		// gnet's Stop polls twice a second for the end; with a context that is
		// cancelled already it gives the order and returns.
		now, cancel := context.WithCancel(context.Background())
		cancel()
		_ = s.engine.Stop(now)
		err = errors.Join(err, <-ended)
	}()
	if _, err := fmt.Fprintln(out, addr); err != nil {
		return err
	}
	for scanner := bufio.NewScanner(in); scanner.Scan(); {
		cpu, err := ownCPU()
		if err != nil {
			return err
		}
		if err := json.NewEncoder(out).Encode(usage{CPU: cpu, Frames: s.frames()}); err != nil {
			return err
		}
	}
	return nil
}

// loopsOf is netpoll's default for 0.
func loopsOf(n int) int {
	if n == 0 {
		return runtime.GOMAXPROCS(0)
	}
	return n
}

// quiet keeps gnet from the standard output, which is the parent's, and passes
// on only what went wrong.
type quiet struct{}

func (quiet) Debugf(string, ...any) {}
func (quiet) Infof(string, ...any)  {}
func (quiet) Warnf(string, ...any)  {}

func (quiet) Errorf(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "gnet: "+format+"\n", args...)
}

func (quiet) Fatalf(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "gnet: "+format+"\n", args...)
}
