package delivery

import (
	"slices"
	"sync"
)

// What bounds the stage. The pieces are what direct chats wait for: each is
// pushed and written in 0.2 ms or so, and loops look at their sockets after every
// second one.
const (
	// maxPiece and pieceBytes bound a piece: how many sessions, and what is queued
	// for them together, in bytes.
	maxPiece   = 32
	pieceBytes = 128 << 10
	// maxStream and maxLane bound what waits for one loop's part of an audience,
	// and for all of a loop's, in bytes.
	maxStream = 1 << 20
	maxLane   = 64 << 20
	// newsOverhead is what one of the news is charged beyond its frames.
	newsOverhead = 96
)

// stage tells large audiences, piece by piece, on the event loops of their
// sessions. A loop has its own lane, in which the audiences take turns: one
// piece each. The next piece is begun when the loop has come round to it, so
// neither an audience nor all of them together keep a loop from its other work,
// and what a loop can't keep up with waits here, once, and not in every
// connection.
type stage struct {
	audiences *audiences
	post      func(loop int, f func())
	stats     *counters
	lanes     []lane
}

// lane is what a loop has to tell.
type lane struct {
	stage *stage
	loop  int

	mu     sync.Mutex // guards what follows, and the streams of its loop
	turns  []*stream  // those with something to tell; the first one's turn is next
	posted bool       // run was posted and has not ended
	bytes  int        // of all streams
	_      [32]byte
}

func newStage(loops int, post func(int, func()), a *audiences, stats *counters) *stage {
	st := &stage{audiences: a, post: post, stats: stats, lanes: make([]lane, loops)}
	for i := range st.lanes {
		st.lanes[i].stage, st.lanes[i].loop = st, i
	}
	return st
}

// add has au told. The caller holds the lock of au's hall.
func (st *stage) add(au *audience, n *news) {
	if au.streams == nil {
		au.streams = make([]*stream, len(st.lanes))
		for i := range au.streams {
			au.streams[i] = &stream{audience: au}
		}
	}
	if len(au.parts) < len(st.lanes) { // it has shrunk before it was split, or never grew
		au.split(len(st.lanes))
	}
	for i := range st.lanes {
		if seats := au.parts[i].lend(); len(seats) > 0 {
			st.lanes[i].add(au.streams[i], n, seats)
		}
	}
}

func (l *lane) add(s *stream, n *news, seats []*seat) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !s.busy() {
		s.audience.busy.Add(1)
		l.turns = append(l.turns, s)
	}
	charged := s.add(n, seats, maxLane-l.bytes)
	l.bytes += charged
	if charged == 0 {
		l.stage.stats.missed.Add(1)
	}
	if !l.posted {
		l.posted = true
		l.stage.post(l.loop, l.run)
	}
}

// run tells the next piece, on the lane's loop.
func (l *lane) run() {
	l.mu.Lock()
	s := l.turns[0]
	if len(s.burst.all) == 0 {
		s.begin()
	}
	l.mu.Unlock()

	s.burst.piece(l.stage.stats)

	l.mu.Lock()
	done := false
	if s.burst.next == len(s.burst.seats) {
		l.bytes -= s.end()
		done = !s.busy()
	}
	l.turns = slices.Delete(l.turns, 0, 1)
	if !done {
		l.turns = append(l.turns, s)
	}
	l.posted = len(l.turns) > 0
	more := l.posted
	l.mu.Unlock()
	if done && s.audience.busy.Add(-1) == 0 {
		l.stage.audiences.sweep(s.audience)
	}
	if more {
		l.stage.post(l.loop, l.run)
	}
}

// backlog is how many bytes wait in all lanes.
func (st *stage) backlog() (bytes int) {
	for i := range st.lanes {
		l := &st.lanes[i]
		l.mu.Lock()
		bytes += l.bytes
		l.mu.Unlock()
	}
	return bytes
}
