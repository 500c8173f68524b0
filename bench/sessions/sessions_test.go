package sessions

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"
)

func TestRun(t *testing.T) {
	r, err := Run(t.Context(), Config{Sessions: 5000, Heartbeat: 10 * time.Second, Turns: 2, Lookups: 5000})
	if err != nil {
		t.Fatal(err)
	}
	// The struct alone is above the lower bound.
	if r.HeapPerSession < 128 || r.HeapPerSession > 1024 {
		t.Errorf("%.0f bytes of heap a session", r.HeapPerSession)
	}
	if r.Ticks < 200 || r.TickMax < r.TickP50 || r.TickMax <= 0 || r.TouchNanos <= 0 || r.LookupsPerSecond <= 0 ||
		r.ConnectsPerSecond <= 0 || r.Collections < 1 || r.GCPauseMax <= 0 || r.GCCPU <= 0 {
		t.Errorf("%+v", r)
	}
	var table strings.Builder
	r.WriteTable(&table)
	if !strings.Contains(table.String(), "5000 sessions") {
		t.Errorf("table:\n%s", &table)
	}
	if _, err := json.Marshal(r); err != nil {
		t.Error(err)
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
