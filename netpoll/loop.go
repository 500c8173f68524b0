package netpoll

import (
	"context"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/panjf2000/gnet/v2"
)

// serveMax is how many connections are flushed before a loop looks at its
// sockets again: under 1 ms of writes.
const serveMax = 256

// postMax is after how many rounds of posted calls it does. Others post work in
// pieces to keep nobody waiting.
const postMax = 2

// loop is our side of one of gnet's event loops.
type loop struct {
	s  *Server
	id int
	ev gnet.EventLoop

	// Owned by the loop's goroutine.
	conns   []*Conn // the open ones; Conn.slot is the index
	turn    []*Conn // taken from ready, being flushed
	watched []*Conn // clogged, closing or lingering: looked at in every poll
	batch   [][]byte
	scratch []byte

	bell     bell
	watching atomic.Bool // watched isn't empty; for the ticker
	tally    tally

	mu    sync.Mutex // guards the fields below
	ready []*Conn    // have something to flush
	calls []func()   // to be run on the loop
	polls bool       // a poll is due
	ticks bool       // and so is a tick
	rung  bool       // the doorbell was rung and not served yet
	deaf  bool       // gnet is ending: ringing is forbidden
}

func newLoop(s *Server, id int, ev gnet.EventLoop) *loop {
	return &loop{
		s:       s,
		id:      id,
		ev:      ev,
		batch:   make([][]byte, 0, maxBatch),
		scratch: make([]byte, 0, handOver),
	}
}

// open puts c among the loop's connections.
func (l *loop) open(c *Conn) {
	c.slot = int32(len(l.conns))
	l.conns = append(l.conns, c)
}

// remove takes c out of them.
func (l *loop) remove(c *Conn) {
	last := len(l.conns) - 1
	moved := l.conns[last]
	l.conns[c.slot], moved.slot = moved, c.slot
	l.conns[last] = nil
	l.conns = l.conns[:last]
}

// enqueue asks for c to be flushed; from any goroutine.
func (l *loop) enqueue(c *Conn) {
	l.mu.Lock()
	l.ready = append(l.ready, c)
	l.ring()
	l.mu.Unlock()
}

// call runs f on the loop soon, or never if the engine ends first; from any
// goroutine.
func (l *loop) call(f func()) {
	l.mu.Lock()
	l.calls = append(l.calls, f)
	l.ring()
	l.mu.Unlock()
}

// poll asks for a look at the watched connections, and for a tick; from the
// ticker.
func (l *loop) poll(tick bool) {
	l.mu.Lock()
	l.polls = true
	l.ticks = l.ticks || tick
	l.ring()
	l.mu.Unlock()
}

// ring wakes the loop unless it is awake for us already. The caller holds mu:
// that is what makes deaf final.
func (l *loop) ring() {
	if !l.rung {
		l.rung = true
		l.execute()
	}
}

// execute has gnet call Run. The caller holds mu.
func (l *loop) execute() {
	if l.deaf {
		return
	}
	l.tally.doorbells.Add(1)
	// It fails only when the engine has ended, and then nobody waits.
	_ = l.ev.Execute(context.Background(), l)
}

// Run serves the doorbell, which counts as rung until there is nothing left to
// do. It implements gnet.Runnable.
func (l *loop) Run(context.Context) error {
	for served := 0; served < serveMax; served++ {
		called, more := l.fetch()
		if !more {
			return nil
		}
		if called {
			served += serveMax / postMax
		}
		n := min(len(l.turn), serveMax)
		for _, c := range l.turn[:n] {
			c.flush()
		}
		rest := copy(l.turn, l.turn[n:])
		clear(l.turn[rest:])
		l.turn = l.turn[:rest]
		served += n
	}
	l.comeBack()
	// A loop that finds something to do each time keeps its processor from other
	// goroutines, the writers among them, until the runtime takes it away after
	// 10 ms.
	runtime.Gosched()
	return nil
}

// fetch moves what is ready to turn, and runs the calls and visits that are
// due. With nothing to do it unlocks the doorbell and returns no more.
func (l *loop) fetch() (called, more bool) {
	l.mu.Lock()
	if len(l.turn)+len(l.ready)+len(l.calls) == 0 && !l.polls && !l.ticks {
		l.rung = false
		l.mu.Unlock()
		return false, false
	}
	if len(l.turn) == 0 {
		l.turn, l.ready = l.ready, l.turn
	} else {
		l.turn = append(l.turn, l.ready...)
		clear(l.ready)
		l.ready = l.ready[:0]
	}
	calls, polls, ticks := l.calls, l.polls, l.ticks
	l.calls, l.polls, l.ticks = nil, false, false
	l.mu.Unlock()

	for _, f := range calls {
		f()
	}
	if polls {
		l.look(l.s.elapsed())
	}
	if ticks {
		l.s.handler.OnTick(l.id, l.s.cfg.Now())
	}
	return len(calls) > 0, true
}

// watch has c looked at in every poll from now on.
func (l *loop) watch(c *Conn) {
	if c.watched {
		return
	}
	c.watched = true
	l.watched = append(l.watched, c)
	l.watching.Store(true)
	l.s.stats.Watched.Add(1)
}

// look visits the watched connections and forgets those that need it no more.
func (l *loop) look(now time.Duration) {
	kept := l.watched[:0]
	for _, c := range l.watched {
		if c.look(now) {
			kept = append(kept, c)
			continue
		}
		c.watched = false
		l.s.stats.Watched.Add(-1)
	}
	clear(l.watched[len(kept):])
	l.watched = kept
	l.watching.Store(len(kept) > 0)
}
