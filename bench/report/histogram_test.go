package report

import (
	"math"
	"slices"
	"sync"
	"testing"
	"time"
)

func TestHistogramAgainstSortedTimes(t *testing.T) {
	h := NewHistogram("ack")
	loops := []*Recorder{h.Recorder(), h.Recorder(), h.Recorder()}
	var all []float64
	for i := range 30_000 {
		us := 5 + i*i%1_000_003
		all = append(all, float64(us))
		loops[i%3].Record(time.Duration(us) * time.Microsecond)
		if i%10_000 == 0 {
			h.Tick(time.Second)
		}
	}
	slices.Sort(all)
	l := h.Latency()
	if l.Name != "ack" || l.Count != 30_000 {
		t.Fatalf("%s holds %d", l.Name, l.Count)
	}
	for quantile, got := range map[float64]int64{0.5: l.P50, 0.9: l.P90, 0.95: l.P95, 0.99: l.P99, 0.999: l.P999, 1: l.Max} {
		want := all[int(math.Ceil(quantile*30_000))-1]
		if math.Abs(float64(got)-want) > want/1000+1 {
			t.Errorf("quantile %v: %d µs, want %v", quantile, got, want)
		}
	}
	last := l.Curve[len(l.Curve)-1]
	if last != (Point{1, float64(l.Max)}) {
		t.Errorf("the curve ends in %v", last)
	}
	for i, p := range l.Curve[1:] {
		if before := l.Curve[i]; p.X <= before.X || p.Y < before.Y {
			t.Errorf("the curve falls from %v to %v", before, p)
		}
		want := all[int(math.Ceil(p.X*30_000))-1]
		if math.Abs(p.Y-want) > want/1000+1 {
			t.Errorf("curve at %v: %v µs, want %v", p.X, p.Y, want)
		}
	}
}

func TestHistogramBounds(t *testing.T) {
	h := NewHistogram("x")
	if l := h.Latency(); l.Count != 0 || l.Max != 0 || l.Curve != nil {
		t.Errorf("empty: %+v", l)
	}
	r := h.Recorder()
	r.Record(-time.Second)
	r.Record(0)
	r.RecordN(time.Hour, 2)
	if l := h.Latency(); l.Count != 4 || l.P50 != 1 || l.Max < 59_990_000 || l.Max > 60_060_000 {
		t.Errorf("%+v", l)
	}
}

func TestTicksShareOutWhatWasRecorded(t *testing.T) {
	h := NewHistogram("x")
	r := h.Recorder()
	r.Record(time.Millisecond)
	first := h.Tick(time.Second)
	r.RecordN(2*time.Millisecond, 3)
	second := h.Tick(2 * time.Second)
	third := h.Tick(3 * time.Second)
	r.Record(5 * time.Millisecond) // in no interval yet, but in the whole
	if first.Count != 1 || first.P50 != 1000 || second.Count != 3 || second.P50 < 2000 || second.P50 > 2002 || third != (LatencyPoint{T: 3}) {
		t.Errorf("intervals %+v, %+v, %+v", first, second, third)
	}
	if l := h.Latency(); l.Count != 5 || l.Max < 5000 {
		t.Errorf("%+v", l)
	}
	if got := h.Timeline(); !slices.Equal(got.Points, []LatencyPoint{first, second, third}) {
		t.Errorf("%+v", got)
	}
	h.Reset()
	if l := h.Latency(); l.Count != 0 || len(h.Timeline().Points) != 0 {
		t.Errorf("after Reset: %+v", l)
	}
}

func TestDrainAndMergeAcrossProcesses(t *testing.T) {
	child, parent := NewHistogram("x"), NewHistogram("x")
	r := child.Recorder()
	for round := range 3 {
		r.RecordN(time.Duration(round+1)*time.Millisecond, 100)
		drained, err := child.Drain()
		if err != nil {
			t.Fatal(err)
		}
		if err := parent.Merge(drained); err != nil {
			t.Fatal(err)
		}
		if p := parent.Tick(time.Duration(round) * time.Second); p.Count != 100 || p.P50 < int64(round+1)*1000 {
			t.Errorf("round %d: %+v", round, p)
		}
	}
	if l := parent.Latency(); l.Count != 300 {
		t.Errorf("merged %d", l.Count)
	}
	if l := child.Latency(); l.Count != 0 {
		t.Errorf("left behind: %d", l.Count)
	}
	if err := parent.Merge([]byte("nonsense")); err == nil {
		t.Error("Merge took nonsense")
	}
}

// Run with -race: loops record while ticks take, and nothing is lost.
func TestRecordersLoseNothing(t *testing.T) {
	h := NewHistogram("x")
	const loops, each = 4, 20_000
	var running sync.WaitGroup
	for range loops {
		r := h.Recorder()
		running.Go(func() {
			for i := range each {
				r.Record(time.Duration(i) * time.Microsecond)
			}
		})
	}
	var sum int64
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := range 50 {
			sum += h.Tick(time.Duration(i) * time.Second).Count
		}
	}()
	running.Wait()
	<-done
	sum += h.Tick(time.Minute).Count
	if l := h.Latency(); l.Count != loops*each || sum != loops*each {
		t.Errorf("%d in all, %d in the intervals, want %d", l.Count, sum, loops*each)
	}
}

func TestRecordDoesNotAllocate(t *testing.T) {
	r := NewHistogram("x").Recorder()
	if n := testing.AllocsPerRun(1000, func() { r.Record(time.Millisecond) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkRecord(b *testing.B) {
	r := NewHistogram("x").Recorder()
	for i := range b.N {
		r.Record(time.Duration(i&0xfffff) * time.Microsecond / 8)
	}
}
