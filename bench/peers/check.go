package main

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"time"
)

// bodySize is the length of every body, in bytes.
const bodySize = 256

// stampSize is how much of a body differs from message to message: the run's
// and pair's number, the message's, and when it was sent, 8 bytes each.
const stampSize = 24

// filler follows the stamp.
var filler = bytes.Repeat([]byte("godwit measures. "), 16)[:bodySize-stampSize]

// stamp fills in a body.
func stamp(dst []byte, pair, n uint64, sent time.Duration) []byte {
	dst = binary.BigEndian.AppendUint64(dst[:0], pair)
	dst = binary.BigEndian.AppendUint64(dst, n)
	dst = binary.BigEndian.AppendUint64(dst, uint64(sent))
	return append(dst, filler...)
}

// checker checks what the receiver of a pair is given: each message once, in
// order, as it was sent.
type checker struct {
	pair      uint64
	next      uint64 // the message that is due
	delivered uint64 // how many different ones came
	missing   map[uint64]bool
}

// check takes a body. The time is when it was sent, and valid where fresh is
// true: the message had not come before. An error is a violation; what comes
// after it is still checked.
func (c *checker) check(body []byte) (sent time.Duration, fresh bool, err error) {
	if len(body) != bodySize || binary.BigEndian.Uint64(body) != c.pair || !bytes.Equal(body[stampSize:], filler) {
		return 0, false, fmt.Errorf("pair %#x: a message came that was not sent to it", c.pair)
	}
	n := binary.BigEndian.Uint64(body[8:])
	sent = time.Duration(binary.BigEndian.Uint64(body[16:]))
	switch {
	case n < c.next && !c.missing[n]:
		return 0, false, fmt.Errorf("pair %#x: message %d came twice", c.pair, n)
	case n < c.next:
		delete(c.missing, n)
		err = fmt.Errorf("pair %#x: message %d came after message %d", c.pair, n, c.next-1)
	case n > c.next:
		if c.missing == nil {
			c.missing = map[uint64]bool{}
		}
		err = fmt.Errorf("pair %#x: message %d came where %d was due", c.pair, n, c.next)
		for ; c.next < n; c.next++ {
			c.missing[c.next] = true
		}
		fallthrough
	default:
		c.next++
	}
	c.delivered++
	return sent, true, err
}
