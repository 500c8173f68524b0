//go:build !race

package netpoll

import (
	"io"
	"testing"
)

// TestReplyAllocatesNothing: the way of an answer through the queue to gnet
// costs no allocation once the queue's vector has been made. Not under the race
// detector: there sync.Pool drops at random.
func TestReplyAllocatesNothing(t *testing.T) {
	h, conns, _ := accept()
	h.open = func(c *Conn) { c.Authenticated(); conns <- c }
	s := start(t, h)
	p := dial(t, s)
	go func() { _, _ = io.Copy(io.Discard, p) }()
	within(t, "connection", conns)
	s.Each(func(c *Conn) {
		n := testing.AllocsPerRun(1000, func() {
			c.scheduled.Store(true) // as in OnTraffic
			for range 10 {
				c.Reply(benchFrame)
			}
			c.flush()
		})
		if n != 0 {
			t.Errorf("%v allocations for 10 answers in a turn, want 0", n)
		}
	})
}
