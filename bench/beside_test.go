package bench

import (
	"testing"
	"time"

	"github.com/godwit-im/godwit/bench/ceiling"
	"github.com/godwit-im/godwit/bench/report"
)

// found is a measurement of a second with so many messages, and these latencies.
func found(n int64, ack, delivery time.Duration) *measured {
	m := &measured{
		took: time.Second, total: Sample{Counted: n},
		ack: report.NewHistogram(Ack), delivery: report.NewHistogram(Delivery), rate: report.NewRate("delivered", "Throughput", "msgs/s"),
	}
	m.ack.Recorder().RecordN(ack, n)
	m.delivery.Recorder().RecordN(delivery, n)
	return m
}

// besideReport is the report of rounds in which the ceilings did 200/s, 150/s
// and 300/s, and a sync took 100 µs.
func besideReport(t *testing.T, pairs, window int, godwit ...*measured) *report.Report {
	t.Helper()
	b := &beside{
		cfg:     &BesideConfig{DirectConfig: DirectConfig{Pairs: pairs, Window: window}, Rounds: len(godwit)},
		relay:   []ceiling.RelayResult{{Rate: 900}, {Rate: 200}, {Rate: 100}},
		storing: []ceiling.RelayResult{{Rate: 150}},
		godwit:  godwit,
		commits: []ceiling.CommitResult{{Rate: 300}, {Rate: 400}},
		syncs:   []ceiling.SyncResult{{Sync: report.Latency{P50: 100}}},
	}
	r := report.New("direct")
	r.Machine.Disk = &report.Disk{}
	b.addTo(r)
	return r
}

func TestBesideTargets(t *testing.T) {
	judged := func(r *report.Report, name string, ratio float64, met *bool) {
		t.Helper()
		f := find(t, r, name)
		if f.Of == nil || f.Of.Ratio != ratio {
			t.Errorf("%s: %+v, want %v of it", name, f.Of, ratio)
		}
		if (f.Target == nil) != (met == nil) || met != nil && f.Target.Met != *met {
			t.Errorf("%s: %+v", name, f.Target)
		}
	}
	yes, no := true, false
	quick := func(n int64) *measured { return found(n, 150*time.Microsecond, 250*time.Microsecond) }

	r := besideReport(t, 64, 8, quick(100), quick(150), quick(900))
	judged(r, "rate, 64 pairs × 8", 0.75, &yes)
	judged(r, "beside a relay that stores: rate, 64 pairs × 8", 1, nil)
	judged(r, "beside synced commits: rate, 64 pairs × 8", 0.5, &yes)
	if d := r.Machine.Disk; d.SyncP50 != 100 {
		t.Errorf("%+v", d)
	}
	r = besideReport(t, 64, 8, quick(120))
	judged(r, "rate, 64 pairs × 8", 0.6, &no)
	judged(r, "beside synced commits: rate, 64 pairs × 8", 0.4, &no)
	r = besideReport(t, 512, 1, quick(120))
	judged(r, "rate, 512 pairs × 1", 0.6, &no)
	judged(r, "beside synced commits: rate, 512 pairs × 1", 0.4, nil)

	// A message alone is judged by its latencies.
	r = besideReport(t, 1, 1, quick(120))
	judged(r, "rate, 1 pairs × 1", 0.6, nil)
	judged(r, "ack p50, 1 pairs × 1", 1.5, &yes)
	if f := find(t, r, "delivery p50 behind ack p50, 1 pairs × 1"); f.Value != 100 || !f.Target.Met {
		t.Errorf("%+v", f)
	}
	r = besideReport(t, 1, 1, found(120, 300*time.Microsecond, 600*time.Microsecond))
	judged(r, "ack p50, 1 pairs × 1", 3, &no)
	if f := find(t, r, "delivery p50 behind ack p50, 1 pairs × 1"); f.Value != 300 || f.Target.Met {
		t.Errorf("%+v", f)
	}
}

func TestDirectTargets(t *testing.T) {
	cfg := DirectConfig{Pairs: 64, Window: 8, Rate: 100, Sessions: 10_000}
	for delivery, met := range map[time.Duration]bool{4 * time.Millisecond: true, 25 * time.Millisecond: false} {
		figures := cfg.targets(found(1000, time.Millisecond, delivery))
		if len(figures) != 2 || figures[0].Target.Text != "≤ 5 ms" || figures[1].Target.Text != "≤ 20 ms" {
			t.Fatalf("%+v", figures)
		}
		for _, f := range figures {
			if f.Target.Met != met {
				t.Errorf("%v: %+v", delivery, f)
			}
		}
	}
	cfg.Rate = 0 // a closed loop's latencies are what its window makes them
	if figures := cfg.targets(found(1000, time.Millisecond, time.Millisecond)); figures != nil {
		t.Errorf("%+v", figures)
	}
}

func TestMiddle(t *testing.T) {
	for _, test := range []struct {
		of   []float64
		want float64
	}{{[]float64{3}, 3}, {[]float64{9, 1, 5}, 5}, {[]float64{4, 8, 2, 6}, 4}} {
		if got := middle(test.of, func(v float64) float64 { return v }); got != test.want {
			t.Errorf("the middle of %v is %v", test.of, got)
		}
	}
}
