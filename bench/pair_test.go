package bench

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/godwit-im/godwit/bench/client"
	"github.com/godwit-im/godwit/bench/fleet"
	"github.com/godwit-im/godwit/bench/report"
	"github.com/godwit-im/godwit/protocol"
	"github.com/godwit-im/godwit/protocol/pb"
)

// TestSenderNotices feeds a sender, which has sent messages 0 to 3 and had 0
// acked, with what a broken server could answer.
func TestSenderNotices(t *testing.T) {
	const firstRequest, firstSeq = 5, 100
	answer := func(kind protocol.Type, request uint32, m proto.Message) protocol.Frame {
		f, _, err := protocol.Parse(protocol.AppendProto(nil, kind, request, m), protocol.MaxBody)
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	sent := func(count uint32) protocol.Frame {
		return answer(protocol.TypeSent, firstRequest+count, &pb.Sent{Seq: firstSeq + uint64(count)})
	}
	for _, test := range []struct {
		name   string
		frames []protocol.Frame
		acked  uint32
		err    string // of the last frame; "" = all are fine
	}{
		{"in order", []protocol.Frame{sent(1), sent(2), sent(3)}, 4, ""},
		{"in another order", []protocol.Frame{sent(3), sent(1)}, 2, ""},
		{"twice", []protocol.Frame{sent(1), sent(1)}, 2, "request 6, which is not unanswered"},
		{"twice, out of order", []protocol.Frame{sent(3), sent(3)}, 1, "request 8, which is not unanswered"},
		{"acked before", []protocol.Frame{sent(0)}, 1, "not unanswered"},
		{"of nothing that was sent", []protocol.Frame{sent(4)}, 1, "not unanswered"},
		{"of an id from before", []protocol.Frame{answer(protocol.TypeSent, firstRequest-1, &pb.Sent{Seq: 99})}, 1, "not unanswered"},
		{"another message's seq", []protocol.Frame{answer(protocol.TypeSent, firstRequest+1, &pb.Sent{Seq: 102})}, 1, "seq 102 instead of 101"},
		{"a duplicate", []protocol.Frame{answer(protocol.TypeSent, firstRequest+1, &pb.Sent{Seq: 101, Duplicate: true})}, 1, "as a duplicate"},
		{"an error", []protocol.Frame{answer(protocol.TypeError, firstRequest+1, &pb.Error{Code: pb.Code_CODE_BUSY})}, 1, "BUSY"},
		{"an answer to nothing", []protocol.Frame{answer(protocol.TypeSynced, 0, &pb.Synced{})}, 1, "SYNCED"},
	} {
		t.Run(test.name, func(t *testing.T) {
			onLoop(t, func(l *directLoop) {
				p := l.newPair(0)
				p.firstRequest, p.firstSeq, p.sent, p.acked = firstRequest, firstSeq, 4, 1
				for count := uint32(1); count < 4; count++ {
					p.due[count%4] = time.Duration(count)
				}
				for i, f := range test.frames {
					err := p.ack(f)
					if last := i == len(test.frames)-1; last && test.err != "" {
						if err == nil || !strings.Contains(err.Error(), test.err) {
							t.Errorf("error %v, want one with %q", err, test.err)
						}
					} else if err != nil {
						t.Error(err)
					}
				}
				if p.acked != test.acked {
					t.Errorf("acked up to %d, want %d", p.acked, test.acked)
				}
			})
		})
	}
}

// TestMissing has the run's end come while a message was not delivered.
func TestMissing(t *testing.T) {
	onLoop(t, func(l *directLoop) {
		p := l.newPair(0)
		p.sent, p.acked, p.delivered = 4, 4, 3
		l.missing()
		var v *client.Violation
		if err := l.worker.load.failure(); !errors.As(err, &v) || !strings.Contains(err.Error(), "of 4 messages") {
			t.Errorf("failure %v", err)
		}
	})
}

// onLoop runs f on a loop of a load without a server.
func onLoop(t *testing.T, f func(*directLoop)) {
	t.Helper()
	target := Target{Addr: "127.0.0.1:1"}
	w := &DirectWorker{target: target, share: DirectShare{Window: 4, Size: 64, Pairs: 1}}
	var err error
	if w.load, err = startLoad(t.Context(), &target, 1, 2, time.Hour); err != nil {
		t.Fatal(err)
	}
	defer w.load.close()
	h := report.NewHistogram("any")
	w.load.each(func(_ int, p *client.Pool) {
		f(&directLoop{worker: w, pool: p, ack: h.Recorder(), delivery: h.Recorder(), handshake: h.Recorder()})
	})
}

// staller stops a process for a while when it is written the first measurement.
type staller struct {
	t    *testing.T
	pid  int
	once sync.Once
	over sync.WaitGroup
}

const stall = 500 * time.Millisecond

func (s *staller) Write(b []byte) (int, error) {
	if strings.Contains(string(b), "msgs/s") {
		s.once.Do(func() {
			s.over.Add(1)
			if err := syscall.Kill(s.pid, syscall.SIGSTOP); err != nil {
				s.t.Error(err)
			}
			time.AfterFunc(stall, func() {
				defer s.over.Done()
				if err := syscall.Kill(s.pid, syscall.SIGCONT); err != nil {
					s.t.Error(err)
				}
			})
		})
	}
	return len(b), nil
}

// TestCoordinatedOmission stops the server for a sixth of the run. At a set
// rate a sixth of the messages must have waited, on the average for half of
// that, although no more than two are sent meanwhile: a few of 1,500, which no
// 99th percentile shows. A machine that stalls by itself makes it larger only.
func TestCoordinatedOmission(t *testing.T) {
	target := start(t)
	s := &staller{t: t, pid: target.PID}
	defer s.over.Wait()
	r, err := Direct(t.Context(), DirectConfig{
		Target: target, Pairs: 2, Window: 1, Rate: 500, For: 3 * time.Second, Warmup: 100 * time.Millisecond, Loops: 1, Progress: s,
	})
	checkReport(t, r, err, Delivery)
	for _, l := range r.Latencies[:2] {
		if got := micros(l.P99); got < stall*3/4 {
			t.Errorf("%s: p99 is %v with a stall of %v", l.Name, got, stall)
		}
	}
}

// TestEndCountsWhatIsDue ends a step on a loop whose timer is late.
func TestEndCountsWhatIsDue(t *testing.T) {
	onLoop(t, func(l *directLoop) {
		p := l.newPair(0)
		p.sent = 4 // so the window is full
		now := l.pool.Loop().Now()
		l.sending, l.open, l.even, l.gap, l.next = true, true, true, 10*time.Millisecond, now-95*time.Millisecond
		l.from, l.until, l.timer = now-time.Second, now, l.pool.Loop().NewTimer(l.arrivals)
		l.end(func() {})
		if n := l.unsent.Load(); n != 10 {
			t.Errorf("%d messages were due and not sent, want 10", n)
		}
	})
}

// TestClimb climbs on servers that manage so many messages a second.
func TestClimb(t *testing.T) {
	for _, manages := range []float64{900, 2000, 2100, 77_777, 1_000_000} {
		best, tries := 0.0, 0
		err := climb(2000, 0.1, func(rate float64) (bool, error) {
			tries++
			if rate <= manages {
				best = rate
			}
			return rate <= manages, nil
		})
		if err != nil || best > manages || best < manages/1.1 || tries > 15 {
			t.Errorf("%.0f: found %.0f in %d tries, %v", manages, best, tries, err)
		}
	}
	tries := 0
	if err := climb(2000, 0.1, func(float64) (bool, error) { tries++; return false, nil }); err != nil || tries > 10 {
		t.Errorf("where nothing is good: %v after %d tries", err, tries)
	}
	if err := climb(2000, 0.1, func(float64) (bool, error) { return false, context.Canceled }); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
}

// TestHolds judges steps of a ladder.
func TestHolds(t *testing.T) {
	cfg := LadderConfig{P99: 5 * time.Millisecond}
	for _, test := range []struct {
		count, p99, unsent int64
		want               bool
	}{
		{1000, 5000, 0, true},
		{1000, 5001, 0, false},
		{1000, 5000, 50, true},
		{1000, 5000, 51, false}, // falls behind
		{0, 0, 0, false},        // nothing was delivered
	} {
		if got := cfg.holds(report.Latency{Count: test.count, P99: test.p99}, test.unsent); got != test.want {
			t.Errorf("%+v: %v", test, got)
		}
	}
}

// TestSplit gives everything to somebody, once.
func TestSplit(t *testing.T) {
	for _, total := range []int{0, 1, 7, 100} {
		next := 0
		for i := range 3 {
			first, n := split(total, 3, i)
			if first != next || n < total/3 {
				t.Errorf("%d of %d: %d from %d", i, total, n, first)
			}
			next += n
		}
		if next != total {
			t.Errorf("%d of %d", next, total)
		}
	}
}

// TestPace has all calls come, in order, and not before their time.
func TestPace(t *testing.T) {
	f, err := fleet.New(1)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	const n, perSecond = 50, 1000
	done := newCountdown(n)
	problem := make(chan string, n)
	f.Each(func(l *fleet.Loop) {
		began, next := l.Now(), 0
		pace(l, perSecond, n, func(i int) {
			if i != next || l.Now()-began < time.Duration(i)*time.Second/perSecond {
				problem <- fmt.Sprintf("%d came at %v where %d was due", i, l.Now()-began, next)
			}
			next++
			done.done()
		})
	})
	select {
	case <-done.zero:
	case <-time.After(time.Minute):
		t.Fatal("not all came")
	}
	if len(problem) > 0 {
		t.Error(<-problem)
	}
}
