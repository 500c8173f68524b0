package delivery

import (
	"errors"
	"sync"
	"time"

	"github.com/godwit-im/godwit/protocol"
	"github.com/godwit-im/godwit/protocol/pb"
	"github.com/godwit-im/godwit/session"
)

// busyRetry is how long a client is asked to wait that has too many reads under
// way.
const busyRetry = 200 * time.Millisecond

var (
	errBusy     = protocol.Errorf(pb.Code_CODE_BUSY, "too many reads of this session are waiting")
	errDraining = protocol.Errorf(pb.Code_CODE_DRAINING, "the server is shutting down")
)

// job is one read for a client.
type job struct {
	request  uint32
	inFlight int // what it takes up of the session's window, in bytes
	// read returns the answer; nil: somebody else gives it, and what it took up
	// of the window back.
	read func() (frame []byte, err error)
	// unasked: no client has asked, so there is no answer, and nothing of the
	// window is given back.
	unasked bool
	// then, where it isn't nil, is called after the answer.
	then func()
}

// line is the jobs of one session, oldest first. A session has a line while it
// has jobs or one of them is being done.
type line struct {
	session *session.Session
	jobs    []job
}

// turns hands out the jobs, one for each session in turn. While a session's job
// is being done it has no turn, so its answers come in the order of its
// requests.
type turns struct {
	perSession int

	mu      sync.Mutex // guards what follows
	more    sync.Cond
	lines   map[*session.Session]*line
	next    []*line // those whose turn comes, in order
	waiting int     // jobs in all lines
	closed  bool
}

func newTurns(perSession int) *turns {
	t := &turns{perSession: perSession, lines: make(map[*session.Session]*line)}
	t.more.L = &t.mu
	return t
}

// add puts j at the end of s's line.
func (t *turns) add(s *session.Session, j job) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return errDraining
	}
	l := t.lines[s]
	if l == nil {
		l = &line{session: s}
		t.lines[s] = l
		t.next = append(t.next, l)
		t.more.Signal()
	}
	if len(l.jobs) >= t.perSession {
		return errBusy.After(busyRetry)
	}
	l.jobs = append(l.jobs, j)
	t.waiting++
	return nil
}

// take waits for a line whose turn it is, which has a job. Until done, the line
// is the caller's alone. false: closed, and nothing is left.
func (t *turns) take() (*line, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for len(t.next) == 0 {
		if t.closed {
			return nil, false
		}
		t.more.Wait()
	}
	l := t.next[0]
	t.next[0] = nil
	t.next = t.next[1:]
	return l, true
}

// pop takes the first job of a line that the caller has taken.
func (t *turns) pop(l *line) job {
	t.mu.Lock()
	defer t.mu.Unlock()
	j := l.jobs[0]
	l.jobs[0] = job{}
	l.jobs = l.jobs[1:]
	t.waiting--
	return j
}

// done gives l its next turn, or forgets it.
func (t *turns) done(l *line) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(l.jobs) == 0 {
		delete(t.lines, l.session)
		return
	}
	t.next = append(t.next, l)
	t.more.Signal()
}

func (t *turns) close() {
	t.mu.Lock()
	t.closed = true
	t.mu.Unlock()
	t.more.Broadcast()
}

func (t *turns) depth() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.waiting
}

// pace is how often a session that has yet to take its last answers is looked
// at: at 256 KiB each time, fast enough for 100 Mbit/s.
const pace = 20 * time.Millisecond

// work does jobs until the turns end.
func (d *Delivery) work() {
	for {
		l, ok := d.turns.take()
		if !ok {
			return
		}
		if l.session.Outbound() > d.cfg.MaxOutbound {
			time.AfterFunc(pace, func() { d.turns.done(l) })
			continue
		}
		d.do(l.session, d.turns.pop(l))
		d.turns.done(l)
	}
}

// do does j and answers it. For a session that has ended there is nobody to
// answer, and it must be as if it had not asked: it may have been ended because it
// was in the wrong hands.
func (d *Delivery) do(s *session.Session, j job) {
	if s.Ended() {
		if !j.unasked {
			s.End(j.inFlight)
		}
		return
	}
	frame, err := j.read()
	if err != nil {
		var refusal *protocol.Error
		if !errors.As(err, &refusal) {
			d.stats.failed.Add(1)
			d.cfg.Logger.Error("a read has failed", "conn", s.Conn(), "user", s.User, "device", s.Device, "err", err)
		}
		frame = protocol.AppendError(nil, j.request, err)
	}
	switch {
	case frame == nil:
		return
	case j.unasked:
		s.Close(err) // it would go on without what it was to be told
		return
	}
	// Before the answer is on its way: a client that has it may send at once.
	s.End(j.inFlight)
	s.Reply(frame)
	if err == nil && j.then != nil {
		j.then()
	}
}
