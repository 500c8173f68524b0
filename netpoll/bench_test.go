package netpoll

import (
	"fmt"
	"io"
	"net"
	"os"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/godwit-im/godwit/protocol"
)

// benchFrame has the size of a short text message.
var benchFrame = frameOf(protocol.TypeMessage, 0, 156, 1)

// quiet is a Handler without the checks of the tests' handler.
type quiet struct{ frame func(c *Conn) }

func (q quiet) OnOpen(c *Conn)        { c.Authenticated() }
func (q quiet) OnDrained(*Conn)       {}
func (q quiet) OnClose(*Conn, error)  {}
func (q quiet) OnTick(int, time.Time) {}
func (q quiet) OnFrame(c *Conn, _ protocol.Frame) error {
	if q.frame != nil {
		q.frame(c)
	}
	return nil
}

func startQuiet(tb testing.TB, frame func(c *Conn), change ...func(*Config)) *Server {
	tb.Helper()
	cfg := testConfig()
	cfg.AcceptRate, cfg.AcceptBurst = 1e6, 1e6
	cfg.MaxUnauthenticated = cfg.MaxConns
	for _, f := range change {
		f(&cfg)
	}
	s, err := New(cfg, quiet{frame})
	if err != nil {
		tb.Fatal(err)
	}
	if err := s.Start(); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { stop(tb, s) })
	return s
}

func dialMany(tb testing.TB, s *Server, n int) []net.Conn {
	tb.Helper()
	conns := make([]net.Conn, n)
	for i := range conns {
		c, err := net.Dial("tcp", s.Addr().String())
		if err != nil {
			tb.Fatal(err)
		}
		tb.Cleanup(func() { _ = c.Close() })
		conns[i] = c
	}
	eventually(tb, "all connections are open", func() bool { return s.Stats().Open.Load() == int64(n) })
	return conns
}

// BenchmarkEcho has every frame answered by one of the same size; an operation
// is one frame there and back. depth frames are sent in one write and their
// answers awaited.
func BenchmarkEcho(b *testing.B) {
	for _, v := range []struct{ conns, depth int }{{1, 1}, {16, 1}, {16, 16}, {16, 256}} {
		b.Run(fmt.Sprintf("conns=%d/depth=%d", v.conns, v.depth), func(b *testing.B) {
			s := startQuiet(b, func(c *Conn) { c.Reply(benchFrame) })
			conns := dialMany(b, s, v.conns)
			var out []byte
			for range v.depth {
				out = append(out, benchFrame...)
			}
			b.ReportAllocs()
			b.SetBytes(int64(len(benchFrame)))
			b.ResetTimer()
			var wg sync.WaitGroup
			var left atomic.Int64
			left.Store(int64(b.N))
			for _, c := range conns {
				wg.Go(func() {
					in := make([]byte, len(out))
					for left.Add(-int64(v.depth)) > -int64(v.depth) {
						if _, err := c.Write(out); err != nil {
							b.Error(err)
							return
						}
						if _, err := io.ReadFull(c, in); err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			wg.Wait()
			b.StopTimer()
			report(b, s)
		})
	}
}

// BenchmarkFanOut pushes one shared frame to each of 1,000 connections from a
// goroutine of its own; an operation is one delivery. per frames are pushed to
// each connection in a row.
func BenchmarkFanOut(b *testing.B) {
	for _, per := range []int{1, 4, 16} {
		b.Run(fmt.Sprintf("conns=1000/per=%d", per), func(b *testing.B) {
			s := startQuiet(b, nil)
			conns := dialMany(b, s, 1000)
			var targets []*Conn
			var mu sync.Mutex
			s.Each(func(c *Conn) { mu.Lock(); targets = append(targets, c); mu.Unlock() })

			var got atomic.Int64
			arrived := make(chan struct{}, 1)
			var want atomic.Int64
			var wg sync.WaitGroup
			for _, c := range conns {
				wg.Go(func() {
					in := make([]byte, 4<<10)
					for {
						n, err := c.Read(in)
						if err != nil {
							return
						}
						if got.Add(int64(n)) == want.Load() {
							arrived <- struct{}{}
						}
					}
				})
			}
			rounds := max(1, b.N/(per*len(targets)))
			b.ReportAllocs()
			b.ResetTimer()
			for range rounds {
				want.Add(int64(per * len(targets) * len(benchFrame)))
				for _, c := range targets {
					for range per {
						c.Push(benchFrame)
					}
				}
				<-arrived
			}
			b.StopTimer()
			b.ReportMetric(float64(rounds*per*len(targets))/b.Elapsed().Seconds(), "deliveries/s")
			report(b, s)
			for _, c := range conns {
				_ = c.Close()
			}
			wg.Wait()
		})
	}
}

// report relates the work of the server to what was done.
func report(b *testing.B, s *Server) {
	st := s.Stats()
	frames := float64(st.FramesOut.Load())
	b.ReportMetric(frames/float64(st.Writes.Load()), "frames/write")
	b.ReportMetric(float64(st.Doorbells.Load())/frames, "doorbells/frame")
}

const idleConns = 5000

// BenchmarkIdle measures what an idle connection costs that has had one frame
// answered: heap, and resident memory with all that the runtime needs besides.
// The kernel's share is not in it.
func BenchmarkIdle(b *testing.B) {
	for range b.N {
		b.StopTimer()
		s := startQuiet(b, func(c *Conn) { c.Reply(benchFrame) })
		heapBefore, rssBefore := heap(), resident(b)
		b.StartTimer()
		end := startPeers(b, s, idleConns)
		b.StopTimer()
		per := func(before, after uint64) float64 { return (float64(after) - float64(before)) / idleConns }
		b.ReportMetric(per(heapBefore, heap()), "heap-B/conn")
		b.ReportMetric(per(rssBefore, resident(b)), "rss-B/conn")
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/idleConns/float64(b.N), "ns/conn")
		end()
	}
}

// resident is the resident memory of this process after a collection, in bytes.
func resident(b *testing.B) uint64 {
	b.Helper()
	debug.FreeOSMemory()
	text, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		b.Fatal(err)
	}
	var size, rss uint64
	if _, err := fmt.Sscan(string(text), &size, &rss); err != nil {
		b.Fatal(err)
	}
	return rss * uint64(os.Getpagesize())
}
