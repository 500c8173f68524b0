package netpoll

import (
	"encoding/binary"
	"io"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/godwit-im/godwit/protocol"
	"github.com/godwit-im/godwit/protocol/pb"
)

// TestChurn opens and ends thousands of connections in every way while others
// keep sending to them, also when they are gone, so that descriptors are used
// again at once. Each frame names the connection it was meant for: nobody may
// get another one's, in either direction, and no frame may arrive torn.
func TestChurn(t *testing.T) {
	const clients, rounds = 12, 150
	var recent sync.Map // connection id → *Conn, a few hundred, some gone
	tagged := func(id uint64, size int) []byte {
		b := frameOf(protocol.TypeMessage, 0, max(size, 8), byte(id))
		binary.BigEndian.PutUint64(b[protocol.HeaderSize:], id)
		return b
	}
	h := &handler{
		open: func(c *Conn) {
			c.Authenticated()
			recent.Store(c.ID(), c)
			recent.Delete(c.ID() - 200)
			c.SetState(uint64(0))
			c.Reply(tagged(c.ID(), 0)) // tells the peer its id
		},
		frame: func(c *Conn, f protocol.Frame) error {
			if id := binary.BigEndian.Uint64(f.Body); id != c.ID() {
				t.Errorf("conn %d got a frame of conn %d", c.ID(), id)
			}
			if n := c.State().(uint64) + 1; f.Request != uint32(n) {
				t.Errorf("conn %d: frame %d, want %d", c.ID(), f.Request, n)
			} else {
				c.SetState(n)
			}
			c.Reply(tagged(c.ID(), len(f.Body)))
			switch rand.IntN(200) {
			case 0:
				c.Close(protocol.Errorf(pb.Code_CODE_REPLACED, "by chance"))
			case 1:
				return protocol.Errorf(pb.Code_CODE_MALFORMED_BODY, "by chance")
			}
			return nil
		},
	}
	s := start(t, h)

	var over atomic.Bool
	var pusher, peers sync.WaitGroup
	pusher.Go(func() {
		for !over.Load() {
			recent.Range(func(id, c any) bool {
				c.(*Conn).Push(tagged(id.(uint64), rand.IntN(500)))
				if rand.IntN(5000) == 0 {
					c.(*Conn).Close(protocol.Errorf(pb.Code_CODE_REPLACED, "by chance"))
				}
				return !over.Load()
			})
			runtime.Gosched()
		}
	})
	for range clients {
		peers.Go(func() {
			for range rounds {
				churnOnce(t, s)
			}
		})
	}
	peers.Wait()
	over.Store(true)
	pusher.Wait()
	eventually(t, "all are gone", func() bool { return s.Stats().Open.Load() == 0 })
}

// churnOnce is one peer's life.
func churnOnce(t *testing.T, s *Server) {
	p, err := tryDial(t, s)
	if err != nil {
		t.Error(err)
		return
	}
	defer func() { _ = p.Close() }()
	first, err := p.next()
	if err != nil {
		return // closed already, by chance
	}
	id := number(first)
	var out []byte
	sends := 1 + rand.IntN(30)
	for i := range uint32(sends) {
		b := frameOf(protocol.TypeSend, i+1, 8+rand.IntN(2000), byte(i))
		binary.BigEndian.PutUint64(b[protocol.HeaderSize:], id)
		out = append(out, b...)
	}
	go func() { // in pieces, while answers come in
		for len(out) > 0 {
			n := min(len(out), 1+rand.IntN(4000))
			if _, err := p.Write(out[:n]); err != nil {
				return
			}
			out = out[n:]
		}
	}()
	for range rand.IntN(sends + 1) {
		f, err := p.next()
		if err != nil {
			return
		}
		if f.Type == protocol.TypeError {
			break
		}
		if got := number(f); got != id {
			t.Errorf("the peer of conn %d got a frame of conn %d", id, got)
		}
		if want := pattern[byte(id):][8:len(f.Body)]; string(f.Body[8:]) != string(want) {
			t.Errorf("the peer of conn %d got a torn frame", id)
		}
	}
	switch rand.IntN(3) {
	case 0:
		_ = p.SetLinger(0)
	case 1:
		_ = p.CloseWrite()
		_ = p.SetReadDeadline(time.Now().Add(patience))
		_, _ = io.Copy(io.Discard, p)
	}
}
