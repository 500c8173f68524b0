package fanout

import (
	"os"
	"slices"
	"testing"
	"time"

	"github.com/godwit-im/godwit/bench/report"
	"github.com/godwit-im/godwit/protocol"
)

func TestMain(m *testing.M) {
	if Child() {
		return
	}
	os.Exit(m.Run())
}

// A small run, through four processes, delivers everything and reports it.
func TestRun(t *testing.T) {
	r, err := Run(t.Context(), Config{Sessions: 200, Users: 4, Bursts: []int{1, 3}, For: 200 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	for _, burst := range []string{"1", "3"} {
		for _, name := range []string{"deliveries, bursts of ", "server's processor time per delivery, bursts of "} {
			i := slices.IndexFunc(r.Figures, func(f report.Figure) bool { return f.Name == name+burst })
			if i < 0 {
				t.Errorf("no figure %q", name+burst)
				continue
			}
			if f := r.Figures[i]; f.Of == nil || f.Unit == "/s" && (f.Value <= 0 || f.Of.Ratio <= 0 || f.Target == nil) {
				t.Errorf("%+v", f)
			}
		}
	}
	for _, l := range r.Latencies {
		if l.Count == 0 || l.P50 <= 0 {
			t.Errorf("%+v", l)
		}
	}
	if len(r.Latencies) != 4 || r.Err() != nil {
		t.Errorf("%d latencies, %v", len(r.Latencies), r.Err())
	}
}

// So does one to a group, larger than what is told at once, with a direct chat
// beside it.
func TestRunGroup(t *testing.T) {
	r, err := Run(t.Context(), Config{Sessions: 200, Group: true, Bursts: []int{2}, For: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(r.Figures, func(f report.Figure) bool { return f.Name == "direct message beside it, p99, bursts of 2" })
	if i < 0 || r.Figures[i].Value <= 0 || r.Figures[i].Target == nil {
		t.Errorf("the direct chat is missing or silent: %+v", r.Figures)
	}
}

func TestConfig(t *testing.T) {
	for _, c := range []Config{
		{Sessions: 20_000},
		{Sessions: 10, Users: 3},
		{Bursts: []int{0}},
		{Bursts: []int{1000}},
		{Size: 1 << 20},
	} {
		if _, err := Run(t.Context(), c); err == nil {
			t.Errorf("%+v was taken", c)
		}
	}
}

// What a receiver must not take for a delivery.
func TestReceiverChecks(t *testing.T) {
	frames := func(from uint64, n int) []byte {
		l := &log{seq: from - 1, body: make([]byte, 16)}
		var b []byte
		for range n {
			_, f := l.next()
			b = append(b, f...)
		}
		return b
	}
	newReceiver := func() *receiver {
		r := &receiver{size: 16, over: make(chan struct{}, 1)}
		r.left.Store(1 << 40)
		return r
	}
	for name, arrived := range map[string][]byte{
		"missing":   append(frames(1, 1), frames(3, 1)...),
		"doubled":   append(frames(1, 2), frames(2, 1)...),
		"order":     append(frames(2, 1), frames(1, 1)...),
		"truncated": protocol.AppendFrame(nil, protocol.TypeMessage, 0, []byte{0x10, 1}),
		"unasked":   protocol.AppendHeader(nil, protocol.TypePing, 0, 0),
	} {
		if err := newReceiver().take(&peer{}, arrived); err == nil {
			t.Errorf("%s: nothing was noticed", name)
		}
	}
	// Cut at every place, the same bytes are the same messages.
	whole := frames(1, 5)
	for cut := range whole {
		r, p := newReceiver(), &peer{}
		r.left.Store(5)
		for _, part := range [][]byte{whole[:cut], whole[cut:]} {
			if err := r.take(p, part); err != nil {
				t.Fatalf("cut at %d: %v", cut, err)
			}
		}
		if p.seq != 5 || r.left.Load() != 0 || p.partial != nil {
			t.Fatalf("cut at %d: seq %d, %d left", cut, p.seq, r.left.Load())
		}
	}
}

// The bare server alone pushes what it is told to, as often as it is told.
func TestBare(t *testing.T) {
	b, err := StartBare(t.Context(), Config{Sessions: 20, Size: 64})
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if took, err := b.Push(t.Context(), 4); err != nil || took <= 0 {
			t.Errorf("%v, %v", took, err)
		}
	}
	if err := b.Close(); err != nil {
		t.Error(err)
	}
	if _, err := StartBare(t.Context(), Config{Sessions: 20_000}); err == nil {
		t.Error("more sessions than a process may open were taken")
	}
}
