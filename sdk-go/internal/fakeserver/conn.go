package fakeserver

import (
	"net"
	"time"

	"github.com/godwit-im/godwit/protocol"
	"github.com/godwit-im/godwit/protocol/pb"
)

// conn is a connection. Server.mu guards its fields but for the first group.
type conn struct {
	s    *Server
	raw  net.Conn
	bell chan struct{} // wakes write
	over chan struct{} // closed when read has ended

	user, device string // empty before CONNECTED
	platform     string
	client       string
	connectedMs  int64
	subscribed   []string // users
	out          []outgoing
	answers      int  // requests without a written answer
	bytes        int  // of their bodies
	closing      bool // out is the last there is
	goingAway    bool
	hanging      bool
	silence      *time.Timer
	expiry       *time.Timer
	marking      map[string]int // MARKs without a written answer
}

// outgoing is a frame to be written.
type outgoing struct {
	frame  []byte
	answer bool
	size   int    // of the body of the request that it answers
	mark   string // the conversation, if that is a MARK
}

func newConn(s *Server, raw net.Conn) *conn {
	return &conn{
		s: s, raw: raw,
		bell:    make(chan struct{}, 1),
		over:    make(chan struct{}),
		marking: make(map[string]int),
	}
}

func (c *conn) read() {
	defer c.ended()
	r := protocol.NewReader(c.raw, protocol.PreAuthMaxFrame)
	for {
		f, err := r.ReadFrame()
		if err != nil {
			return
		}
		if !c.take(f, r) {
			return
		}
	}
}

// take handles a frame and reports whether to go on.
func (c *conn) take(f protocol.Frame, r *protocol.Reader) bool {
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	goOn := c.handle(f)
	if c.user != "" {
		r.SetMaxBody(c.s.cfg.MaxFrame)
	}
	c.s.happened()
	return goOn
}

// ended forgets the connection.
func (c *conn) ended() {
	s := c.s
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, t := range []*time.Timer{c.silence, c.expiry} {
		if t != nil {
			t.Stop()
		}
	}
	s.gone(c)
	delete(s.open, c)
	close(c.over)
	s.happened()
}

// write writes what is queued until the connection ends.
func (c *conn) write() {
	defer c.raw.Close()
	s := c.s
	for {
		s.mu.Lock()
		batch, closing, hanging := c.out, c.closing, c.hanging
		c.out = nil
		delay := time.Duration(0)
		if s.faults.Delay > 0 {
			delay = time.Duration(s.rng.Int64N(int64(s.faults.Delay)))
		}
		s.mu.Unlock()
		if len(batch) > 0 && !hanging {
			if delay > 0 && !c.pause(delay) {
				return
			}
			var buf []byte
			for _, o := range batch {
				buf = append(buf, o.frame...)
			}
			c.written(batch)
			if _, err := c.raw.Write(buf); err != nil {
				return
			}
		}
		if closing {
			return
		}
		select {
		case <-c.bell:
		case <-c.over:
			return
		}
	}
}

// written takes requests as answered, before the client can know it.
func (c *conn) written(batch []outgoing) {
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	for _, o := range batch {
		if o.answer {
			c.answers--
			c.bytes -= o.size
		}
		if o.mark != "" {
			c.marking[o.mark]--
		}
	}
}

func (c *conn) pause(d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-c.over:
		return false
	}
}

func (c *conn) queue(frame []byte) { c.put(outgoing{frame: frame}) }

func (c *conn) put(o outgoing) {
	if c.closing {
		return
	}
	c.out = append(c.out, o)
	c.ring()
}

func (c *conn) ring() {
	select {
	case c.bell <- struct{}{}:
	default:
	}
}

// swapLast swaps the last two frames, if both are pushes.
func (c *conn) swapLast() {
	if n := len(c.out); n >= 2 && !c.out[n-1].answer && !c.out[n-2].answer {
		c.out[n-1], c.out[n-2] = c.out[n-2], c.out[n-1]
	}
}

// cut ends the connection at once.
func (c *conn) cut() {
	c.closing = true
	c.out = nil
	c.raw.Close()
	c.s.gone(c)
	c.ring()
}

// closeWith writes an ERROR and then ends the connection.
func (c *conn) closeWith(why *protocol.Error) {
	c.closeFor(&pb.Error{
		Code: why.Code, Text: why.Text, Retryable: why.Code.Retryable(), RetryAfterMs: uint32(why.RetryAfter.Milliseconds()),
	})
}

func (c *conn) closeFor(why *pb.Error) {
	c.queue(protocol.AppendProto(nil, protocol.TypeError, 0, why))
	c.closing = true
	c.s.gone(c)
	c.ring()
}

// hang loses the connection without closing it.
func (c *conn) hang() {
	c.hanging = true
	c.s.gone(c)
}
