package godwit

import (
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/godwit-im/godwit/protocol"
	"github.com/godwit-im/godwit/protocol/pb"
)

const (
	// writeBatch is how many bytes of frames are gathered for one write.
	writeBatch = 32 << 10
	// defaultFlightBytes bounds the bodies of requests in flight where the
	// server does not say how much it allows.
	defaultFlightBytes = 256 << 10
	// flightReserve is kept from SENDs for other requests, which are small.
	flightReserve = 8 << 10
	// maxPulls and maxMarks leave most of the window to SENDs.
	maxPulls = 4
	maxMarks = 16
	// pullLimit is the most messages asked for at a time; the frame limit may make
	// them fewer.
	pullLimit = 200
	// markDelay is how long a mark waits for others of the conversation.
	markDelay = 50 * time.Millisecond
	// requestTimeout is how long a request may be unanswered. A server that
	// lives answers within a fraction of it, so the connection is given up.
	requestTimeout = 30 * time.Second
	// drainTimeout bounds the wait for the answers to what is in flight after
	// GOAWAY, and for the flush in Close.
	drainTimeout = 2 * time.Second
)

// session is one connection's requests: what was asked, what is to be asked
// next, and in what window. It does no I/O: frames are brought to receive and
// fetched from fill. Client.mu guards it.
type session struct {
	account *account
	began   time.Time

	heartbeat   time.Duration
	maxInFlight int // requests
	maxFlight   int // bytes of their bodies
	maxFrame    int

	// Requests without an answer, by id; asked has them in order, and some
	// that are answered.
	requests    map[uint32]request
	asked       fifo[asked]
	lastRequest uint32
	flightBytes int
	pulling     int // PULLs among them
	marking     int // MARKs among them
	pongs       []uint32

	// What is to be asked, each box at most once in each.
	pulls  fifo[*box]
	marks  fifo[*box]
	infos  fifo[*box]
	ready  fifo[*box] // have messages to send, served round robin
	timers timers

	sync     syncState
	caughtUp bool // the first SYNC has ended
	behind   int  // boxes that must catch up before the session is online
	online   bool

	renew     renewal
	lastWrite time.Time

	// A session ends, once what is in flight is answered or at drainBy, when
	// leaving is set: by GOAWAY, or by Close, which also flushes: the outbox
	// and the marks that are owed are sent first.
	leaving  error
	drainBy  time.Time
	flushing bool
}

// request is a request without an answer.
type request struct {
	id   uint32
	kind protocol.Type
	size int // of its body, in bytes

	out *Outgoing // SEND
	box *box      // PULL, MARK, INFO
	// PULL: the first seq wanted, and whether that is the last one that was
	// handed on, to be compared. MARK: the read_seq, 0 where it has none.
	from    uint64
	compare bool
	call    *call // whatever the application asks itself
}

type asked struct {
	id uint32
	at time.Time
}

// syncState is how far a SYNC, page after page, has come.
type syncState struct {
	wanted   bool // the next page is to be asked for
	inFlight bool
	again    bool   // and then another SYNC: the server sent an empty HEADS
	cursor   []byte // of the next page
	first    bool   // of the session: it sets what must be there to be Online
}

func newSession(a *account, c *pb.Connected, now time.Time) *session {
	s := &session{
		account:     a,
		began:       now,
		heartbeat:   time.Duration(c.HeartbeatMs) * time.Millisecond,
		maxInFlight: max(int(c.MaxInFlight), 1),
		maxFlight:   int(c.MaxInFlightBytes),
		maxFrame:    int(c.MaxFrame),
		requests:    make(map[uint32]request),
		lastWrite:   now,
	}
	if s.maxFlight == 0 {
		s.maxFlight = defaultFlightBytes
	}
	s.renew.skew = time.UnixMilli(c.ServerTimeMs).Sub(now)
	s.expires(c.ExpiresMs, now)
	return s
}

// fill appends to dst the frames that are to be written now, about writeBatch
// bytes of them, and returns when to call again although nothing rang. ended
// is set when the session is over and what was returned is the last of it.
func (s *session) fill(dst []byte, now time.Time) (out []byte, wake time.Time, ended error) {
	s.fireTimers(now)
	if err := s.overdue(now); err != nil {
		return dst, now, err
	}
	out = dst
	for _, id := range s.pongs {
		out = protocol.AppendHeader(out, protocol.TypePong, id, 0)
	}
	s.pongs = s.pongs[:0]
	for len(out) < writeBatch && len(s.requests) < s.maxInFlight {
		n := len(out)
		if out = s.appendNext(out, now); len(out) == n {
			break
		}
	}
	if s.leaving != nil && (s.drained() || !now.Before(s.drainBy)) {
		return out, now, s.leaving
	}
	if len(out) == len(dst) && now.Sub(s.lastWrite) >= s.heartbeat {
		out = protocol.AppendHeader(out, protocol.TypePing, s.ask(request{kind: protocol.TypePing}, now), 0)
	}
	if len(out) > len(dst) {
		s.lastWrite = now
	}
	return out, s.wake(), nil
}

// wake is when fill has something to do by time alone.
func (s *session) wake() time.Time {
	wake := s.lastWrite.Add(s.heartbeat)
	earlier := func(t time.Time) {
		if !t.IsZero() && t.Before(wake) {
			wake = t
		}
	}
	earlier(s.renew.at)
	earlier(s.drainBy)
	if first, ok := s.timers.first(); ok {
		earlier(first)
	}
	if first, ok := s.asked.peek(); ok {
		earlier(first.at.Add(requestTimeout))
	}
	return wake
}

// appendNext appends the most urgent frame, if there is any.
func (s *session) appendNext(out []byte, now time.Time) []byte {
	if s.leaving != nil {
		if !s.flushing {
			return out
		}
		if marked := s.appendMark(out, now); len(marked) > len(out) {
			return marked
		}
		return s.appendSend(out, now)
	}
	n := len(out)
	for _, next := range []func([]byte, time.Time) []byte{
		s.appendRenew, s.appendSync, s.appendCall, s.appendPull, s.appendInfo, s.appendMark, s.appendSend,
	} {
		if out = next(out, now); len(out) > n {
			break
		}
	}
	return out
}

func (s *session) appendSend(out []byte, now time.Time) []byte {
	for range s.ready.len() {
		b, _ := s.ready.pop()
		b.sessionPart.ready = false
		o := b.nextOut(s.account.pipeline)
		if o == nil {
			continue
		}
		send := o.entry.send()
		size := proto.Size(send)
		if size > s.maxFrame {
			// The limit was higher when it was put into the outbox.
			s.account.refused(o, protocol.Errorf(pb.Code_CODE_BODY_TOO_LARGE, "frame body of %d bytes, the limit is now %d", size, s.maxFrame))
			s.wantSend(b)
			continue
		}
		if s.flightBytes > 0 && s.flightBytes+size > s.maxFlight-flightReserve {
			s.wantSend(b)
			return out
		}
		o.inFlight = true
		b.flight++
		out = s.request(out, request{kind: protocol.TypeSend, out: o}, send, now)
		s.wantSend(b)
		return out
	}
	return out
}

// wantSend has the box's messages sent, if there are any that may go.
func (s *session) wantSend(b *box) {
	if !b.sessionPart.ready && b.nextOut(s.account.pipeline) != nil {
		b.sessionPart.ready = true
		s.ready.push(b)
	}
}

// request appends a request's frame and remembers what it asks.
func (s *session) request(out []byte, r request, body proto.Message, now time.Time) []byte {
	r.size = proto.Size(body)
	return protocol.AppendProto(out, r.kind, s.ask(r, now), body)
}

func (s *session) ask(r request, now time.Time) uint32 {
	s.lastRequest++
	if s.lastRequest == 0 {
		s.lastRequest++
	}
	r.id = s.lastRequest
	s.requests[r.id] = r
	s.flightBytes += r.size
	s.asked.push(asked{s.lastRequest, now})
	return s.lastRequest
}

// overdue is an error once the oldest request has waited too long.
func (s *session) overdue(now time.Time) error {
	for {
		first, ok := s.asked.peek()
		if !ok {
			return nil
		}
		if r, waits := s.requests[first.id]; waits {
			if now.Sub(first.at) >= requestTimeout {
				return fmt.Errorf("no answer to %v for %v", r.kind, requestTimeout)
			}
			return nil
		}
		s.asked.pop()
	}
}

// leave ends the session, as soon as what is in flight is answered.
func (s *session) leave(why error, now time.Time) {
	if s.leaving == nil {
		s.leaving = why
		s.drainBy = now.Add(drainTimeout)
	}
}

// drained reports whether a session that is leaving may go.
func (s *session) drained() bool {
	return len(s.requests) == 0 && (!s.flushing || s.marks.len() == 0 && s.ready.len() == 0)
}

// close is leave, for Client.Close.
func (s *session) close(now time.Time) {
	s.leave(ErrClosed, now)
	s.flushing = true
	for _, b := range s.account.boxes {
		if b.owesMark() && !b.sessionPart.marking {
			s.marks.push(b)
		}
	}
}
