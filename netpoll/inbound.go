package netpoll

import (
	"github.com/godwit-im/godwit/protocol"
)

// minPartial is the smallest buffer for an incomplete frame, in bytes.
const minPartial = 512

// httpRefusal answers those who took the port for a web server, in words that
// their tools show.
const httpRefusal = "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nConnection: close\r\n\r\n" +
	"This port speaks the Godwit protocol over TCP, not HTTP.\n"

// feed takes in what one read has brought, on the loop. b is gnet's buffer and
// is valid until feed returns.
func (c *Conn) feed(b []byte) {
	l := c.loop
	l.tally.bytesIn.Add(uint64(len(b)))
	frames := uint64(0)
	for len(b) > 0 && !c.closing.Load() {
		in, stored := b, len(c.partial) > 0
		if stored {
			b = c.complete(b)
			in = c.partial
		}
		f, n, err := protocol.Parse(in, c.limit())
		if err != nil {
			c.reject(in, err)
			break
		}
		if n == 0 {
			if !stored {
				c.keep(b)
				break
			}
			continue // more is wanted now: the body after the header
		}
		frames++
		if err := l.s.handler.OnFrame(c, f); err != nil {
			c.Close(err)
			break
		}
		if stored {
			c.partial = nil
		} else {
			b = b[n:]
		}
	}
	l.tally.framesIn.Add(frames)
}

// limit is the longest frame body that is accepted now.
func (c *Conn) limit() int {
	if c.authed {
		return c.loop.s.cfg.MaxFrame
	}
	return protocol.PreAuthMaxFrame
}

// keep stores b, the beginning of a frame.
func (c *Conn) keep(b []byte) {
	c.partial = append(make([]byte, 0, max(len(b), min(wanted(b), minPartial))), b...)
}

// complete moves bytes from b to the stored beginning of a frame, never beyond
// what is known of that frame, and returns what is left of b. Memory follows
// what was sent and not what the header announces: the buffer doubles up to
// the frame's length.
func (c *Conn) complete(b []byte) []byte {
	want := wanted(c.partial)
	n := min(len(b), want-len(c.partial))
	if need := len(c.partial) + n; need > cap(c.partial) {
		grown := make([]byte, len(c.partial), max(need, min(want, 2*cap(c.partial))))
		copy(grown, c.partial)
		c.partial = grown
	}
	c.partial = append(c.partial, b[:n]...)
	return b[n:]
}

// wanted is how many bytes the frame that begins with b has, or its header
// while that isn't complete. Parse has judged the length.
func wanted(b []byte) int {
	if len(b) < protocol.HeaderSize {
		return protocol.HeaderSize
	}
	return protocol.HeaderSize + (int(b[0])<<16 | int(b[1])<<8 | int(b[2]))
}

// reject closes the connection for bytes that are no frame.
func (c *Conn) reject(in []byte, err error) {
	c.loop.s.stats.BadInput.Add(1)
	if protocol.LooksLikeHTTP(in) {
		c.end(err, []byte(httpRefusal))
		return
	}
	c.Close(err)
}
