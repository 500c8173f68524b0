package fanout

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"strconv"
	"sync"
	"time"

	"github.com/godwit-im/godwit/bench/report"
	"github.com/godwit-im/godwit/protocol"
	"github.com/godwit-im/godwit/protocol/pb"
)

// pairUsers are the two who chat.
var pairUsers = []string{"pair-a", "pair-b"}

// between is how long they wait from one message to the next.
const between = 2 * time.Millisecond

// pair is two users of whom the first sends the second a message every so often,
// at fixed times whatever the server does. A nil pair does nothing.
type pair struct {
	from, to net.Conn
	over     sync.WaitGroup

	mu       sync.Mutex       // guards what follows
	recorder *report.Recorder // nil = nothing is recorded
	ending   bool
	err      error
}

func newPair(addr string, tokens []string) (*pair, error) {
	p := &pair{}
	for i, conn := range []*net.Conn{&p.from, &p.to} {
		var err error
		if *conn, err = connect(addr, tokens[i]); err != nil {
			return nil, errors.Join(err, p.end())
		}
	}
	for _, work := range []func() error{p.send, p.receive, p.drain} {
		p.over.Go(func() { p.fail(work()) })
	}
	return p, nil
}

func connect(addr, token string) (net.Conn, error) {
	c, err := net.Dial("tcp", addr)
	if err != nil {
		return nil, err
	}
	hello := protocol.AppendProto(nil, protocol.TypeConnect, 1, &pb.Connect{
		MinVersion: protocol.Version, MaxVersion: protocol.Version, Token: token, Device: "pair", Platform: "bench", Client: "bench",
	})
	if _, err := c.Write(hello); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

// record has what arrives from now on recorded by r, or, if it is nil, nothing,
// and returns what went wrong.
func (p *pair) record(r *report.Recorder) error {
	if p == nil {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.recorder = r
	return p.err
}

// fail notes an error, if the pair hasn't ended by then.
func (p *pair) fail(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.ending && p.err == nil {
		p.err = err
	}
}

func (p *pair) end() error {
	if p == nil {
		return nil
	}
	p.mu.Lock()
	p.ending = true
	p.mu.Unlock()
	for _, c := range []net.Conn{p.from, p.to} {
		if c != nil {
			_ = c.Close()
		}
	}
	p.over.Wait()
	return nil
}

// send sends messages that say when they were due.
func (p *pair) send() error {
	conversation := protocol.DirectID(pairUsers[0], pairUsers[1])
	ticker := time.NewTicker(between)
	defer ticker.Stop()
	for n := uint32(1); ; {
		due := <-ticker.C
		p.mu.Lock()
		ending := p.ending
		p.mu.Unlock()
		if ending {
			return nil
		}
		n++
		_, err := p.from.Write(protocol.AppendProto(nil, protocol.TypeSend, n, &pb.Send{
			Conversation: conversation, ClientId: strconv.Itoa(int(n)), Kind: pb.Kind_KIND_TEXT,
			Body: binary.BigEndian.AppendUint64(nil, uint64(due.UnixNano())),
		}))
		if err != nil {
			return err
		}
	}
}

// receive records how long after they were due messages arrive.
func (p *pair) receive() error {
	return frames(p.to, func(f protocol.Frame) error {
		if f.Type == protocol.TypeConnected {
			return nil
		}
		var m pb.Message
		if err := protocol.Decode(f, &m); err != nil || f.Type != protocol.TypeMessage || len(m.Body) != 8 {
			return fmt.Errorf("unexpected frame: %v", f)
		}
		took := time.Now().UnixNano() - int64(binary.BigEndian.Uint64(m.Body))
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.recorder != nil {
			p.recorder.Record(time.Duration(took))
		}
		return nil
	})
}

// drain reads the answers.
func (p *pair) drain() error {
	return frames(p.from, func(f protocol.Frame) error {
		if f.Type != protocol.TypeConnected && f.Type != protocol.TypeSent {
			return fmt.Errorf("unexpected frame: %v", f)
		}
		return nil
	})
}

// frames calls f for every frame that arrives, until one fails.
func frames(c net.Conn, f func(protocol.Frame) error) error {
	buf, filled := make([]byte, 64<<10), 0
	for {
		n, err := c.Read(buf[filled:])
		if err != nil {
			return err
		}
		filled += n
		rest := buf[:filled]
		for {
			frame, n, err := protocol.Parse(rest, len(buf)-protocol.HeaderSize)
			if err == nil && n > 0 {
				err = f(frame)
			}
			if err != nil {
				return err
			}
			if n == 0 {
				break
			}
			rest = rest[n:]
		}
		filled = copy(buf, rest)
	}
}
