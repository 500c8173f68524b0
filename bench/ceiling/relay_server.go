package ceiling

import (
	"encoding/binary"
	"fmt"
	"sync"

	"github.com/godwit-im/godwit/protocol"
)

// echo answers a frame with itself.
func echo(c *conn, _ protocol.Frame, raw []byte) error {
	c.loop.answer = append(c.loop.answer, raw...)
	return nil
}

// relay knows who has said hello.
type relay struct {
	ack, tail []byte

	mu        sync.Mutex       // guards receivers
	receivers map[uint32]*conn // by the pair's number
}

// The first frame of a connection to the relay is a CONNECT with the number of
// its pair as the request id, and one of these as the body. The receiver comes
// first.
const (
	helloReceiver = 'r'
	helloSender   = 's'
)

func newRelay(tail int) *relay {
	return &relay{ack: sentFrame(), tail: make([]byte, tail), receivers: make(map[uint32]*conn)}
}

// frame acks a SEND and pushes it: a MESSAGE is what came, and what Godwit
// would have put in.
func (r *relay) frame(c *conn, f protocol.Frame, _ []byte) error {
	l := c.loop
	switch {
	case f.Type == protocol.TypeSend && c.peer != nil:
		at := len(l.answer)
		l.answer = append(l.answer, r.ack...)
		binary.BigEndian.PutUint32(l.answer[at+4:], f.Request)
		l.push = protocol.AppendHeader(l.push, protocol.TypeMessage, 0, len(f.Body)+len(r.tail))
		l.push = append(append(l.push, f.Body...), r.tail...)
		return nil
	case f.Type == protocol.TypeConnect && len(f.Body) == 1:
		l.answer = protocol.AppendHeader(l.answer, protocol.TypeConnected, f.Request, 0)
		return r.hello(c, f.Request, f.Body[0])
	}
	return fmt.Errorf("an unexpected %s", f.Type)
}

func (r *relay) hello(c *conn, pair uint32, who byte) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if who == helloReceiver {
		r.receivers[pair] = c
		return nil
	}
	c.pair = int(pair)
	if c.peer = r.receivers[pair]; c.peer == nil {
		return fmt.Errorf("pair %d has no receiver", pair)
	}
	return nil
}
