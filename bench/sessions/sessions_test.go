package sessions

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/godwit-im/godwit/bench/report"
)

func TestRun(t *testing.T) {
	r, err := Run(t.Context(), Config{Sessions: 5000, Heartbeat: 10 * time.Second, Turns: 2, Lookups: 5000})
	if err != nil {
		t.Fatal(err)
	}
	value := map[string]report.Figure{}
	for _, f := range r.Figures {
		value[f.Name] = f
		if f.Value <= 0 {
			t.Errorf("%+v", f)
		}
	}
	// The struct alone is above the lower bound.
	if v := value["heap per session"]; v.Value < 128 || v.Value > 1024 || v.Target == nil || !v.Target.Met {
		t.Errorf("%+v", v)
	}
	if v := value["longest GC pause"]; v.Target == nil || v.Target.Text != "≤ 1 ms" {
		t.Errorf("%+v", v)
	}
	if stop := value["longest wait for the processors to stop, within such a pause"]; stop.Value <= 0 || stop.Value > value["longest GC pause"].Value {
		t.Errorf("%+v, of a pause of %v", stop, value["longest GC pause"].Value)
	}
	if value["sessions"].Value != 5000 || value["lookups by user"].Value == 0 || len(r.Figures) != 12 || r.Err() != nil {
		t.Errorf("%+v, %v", r.Figures, r.Err())
	}
	if l := r.Latencies[0]; l.Count < 200 || l.Max < l.P50 {
		t.Errorf("%+v", l)
	}
}

func TestConfig(t *testing.T) {
	for _, cfg := range []Config{{Sessions: -1}, {Turns: 1}, {Heartbeat: time.Second}, {Heartbeat: time.Hour}} {
		if _, err := Run(t.Context(), cfg); err == nil {
			t.Errorf("%+v was taken", cfg)
		}
	}
}

func TestCancel(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Run(ctx, Config{Sessions: 5000, Lookups: 5000}); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}
