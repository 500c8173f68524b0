package session

import (
	"fmt"
	"io"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"google.golang.org/protobuf/proto"

	"github.com/godwit-im/godwit/protocol/pb"
)

// void is a transport that costs nothing.
type void struct{}

func (void) Reply([]byte)     {}
func (void) Push([]byte) bool { return true }
func (void) Close(error)      {}
func (void) ID() uint64       { return 0 }
func (void) Outbound() int    { return 0 }

// crowd connects n users with a device each, from encoded requests as in life,
// watches them, and returns the heap bytes that each of them costs.
func crowd(t testing.TB, p *place, n int) (sessions []*Session, perSession float64) {
	sessions = make([]*Session, 0, n)
	heap := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := heap()
	for i := range n {
		wire, err := proto.Marshal(&pb.Connect{
			MinVersion: 1, MaxVersion: 1, Token: p.token(t, fmt.Sprintf("user-%08d", i), time.Hour),
			Device: fmt.Sprintf("device-%08d", i), Platform: "android", Client: "godwit-go/0.1.0",
		})
		if err != nil {
			t.Fatal(err)
		}
		var req pb.Connect
		if err := proto.Unmarshal(wire, &req); err != nil {
			t.Fatal(err)
		}
		s, err := p.Connect(void{}, 1, &req)
		if err != nil {
			t.Fatal(err)
		}
		p.Watch(i%2, s)
		sessions = append(sessions, s)
	}
	return sessions, float64(heap()-before) / float64(n)
}

// An idle session with its registry entry and timer stays within its budget.
// What the cache of tokens takes is bounded for itself.
func TestSessionMemory(t *testing.T) {
	p := newPlace(t)
	p.verifier.good = nil
	sessions, perSession := crowd(t, p, 8_000)
	if perSession > 400 {
		t.Errorf("%.0f heap bytes per session, the budget is 400 (the struct is %d)", perSession, unsafe.Sizeof(Session{}))
	}
	runtime.KeepAlive(sessions)
}

func BenchmarkSessionMemory(b *testing.B) {
	const n = 100_000
	for b.Loop() {
		sessions, perSession := crowd(b, newPlace(b), n)
		b.ReportMetric(perSession, "B/session")
		runtime.KeepAlive(sessions)
	}
	b.ReportMetric(float64(unsafe.Sizeof(Session{})), "B/struct")
}

func BenchmarkVerify(b *testing.B) {
	for _, v := range []struct {
		name, algorithm string
		remembered      int
	}{{EdDSA, EdDSA, 0}, {HS256, HS256, 0}, {"remembered", EdDSA, 1}} {
		b.Run(v.name, func(b *testing.B) {
			v := testVerifier(b, v.algorithm, func(c *AuthConfig) { c.Remembered = v.remembered })
			token := benchToken(b, v)
			b.ReportAllocs()
			cpu := cpuTime(b)
			for b.Loop() {
				if _, err := v.Verify(token); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64((cpuTime(b)-cpu).Nanoseconds())/float64(b.N), "cpu-ns/op")
		})
	}
}

func benchToken(b *testing.B, v *Verifier) string {
	b.Helper()
	token, err := Sign(v.cfg.Keys, "", v.cfg.Algorithm, "iss", "aud", "alice", time.Hour, epoch)
	if err != nil {
		b.Fatal(err)
	}
	return token
}

// A burst of logins arrives on a loop, and then a frame of somebody else: how
// long does that frame wait (stall), and when are all logins verified (total)?
// See docs/adr/0003.
func BenchmarkLoginBurst(b *testing.B) {
	const burst = 500
	v := testVerifier(b, EdDSA, func(c *AuthConfig) { c.Remembered = 0 })
	token := benchToken(b, v)
	verify := func() {
		if _, err := v.Verify(token); err != nil {
			b.Error(err)
		}
	}
	report := func(b *testing.B, stall, cpu time.Duration) {
		b.ReportMetric(float64(stall.Microseconds())/float64(b.N), "stall-µs")
		b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N*burst), "total-µs/login")
		b.ReportMetric(float64(cpu.Microseconds())/float64(b.N*burst), "cpu-µs/login")
	}
	b.Run("inline", func(b *testing.B) {
		var stall time.Duration
		cpu := cpuTime(b)
		for b.Loop() {
			start := time.Now()
			for range burst {
				verify()
			}
			stall += time.Since(start)
		}
		report(b, stall, cpuTime(b)-cpu)
	})
	for _, workers := range []int{1, 2, 4} {
		b.Run(fmt.Sprintf("pool-%d", workers), func(b *testing.B) {
			jobs := make(chan *sync.WaitGroup, burst)
			var pool sync.WaitGroup
			for range workers {
				pool.Go(func() {
					for job := range jobs {
						verify()
						job.Done()
					}
				})
			}
			var stall time.Duration
			cpu := cpuTime(b)
			for b.Loop() {
				var done sync.WaitGroup
				done.Add(burst)
				start := time.Now()
				for range burst {
					jobs <- &done
				}
				stall += time.Since(start)
				done.Wait()
			}
			report(b, stall, cpuTime(b)-cpu)
			close(jobs)
			pool.Wait()
		})
	}
}

// cpuTime is what this process has used so far: on a machine with other work,
// the figure that counts.
func cpuTime(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func BenchmarkTouch(b *testing.B) {
	sessions, _ := crowd(b, newPlace(b), 10_000)
	i := 0
	for b.Loop() {
		sessions[i%len(sessions)].Touch(int64(i))
		i++
	}
}

// One tick of a loop with 50,000 sessions that never fall silent: every one of
// them is met and moved once per turn of the wheel.
func BenchmarkTick(b *testing.B) {
	p := newPlace(b)
	sessions, _ := crowd(b, p, 100_000)
	for _, s := range sessions {
		s.seen, s.expires = 1<<62, 1<<62
	}
	now := p.clock.Now()
	for b.Loop() {
		now = now.Add(p.cfg.Tick)
		p.Tick(0, now)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/(50_000.0/wheelSlots), "ns/visit")
}

func BenchmarkConnect(b *testing.B) {
	p := newPlace(b)
	req := p.request(b, "alice", "phone")
	b.ReportAllocs()
	for b.Loop() {
		s, err := p.Connect(void{}, 1, req)
		if err != nil {
			b.Fatal(err)
		}
		p.Watch(0, s)
		p.Unwatch(0, s)
		p.Close(s)
	}
}

func BenchmarkSessions(b *testing.B) {
	p := newPlace(b)
	sessions, _ := crowd(b, p, 100_000)
	b.ReportAllocs()
	b.ResetTimer()
	b.RunParallel(func(next *testing.PB) {
		dst := make([]*Session, 0, 16)
		for i := 0; next.Next(); i++ {
			dst = p.Sessions(dst[:0], sessions[i*7919%len(sessions)].User)
		}
		fmt.Fprint(io.Discard, len(dst))
	})
}
