package bench

import (
	"bytes"
	"context"
	"errors"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/godwit-im/godwit/bench/node"
)

// briefStorm is one that takes a second.
func briefStorm(target Target) StormConfig {
	return StormConfig{
		Target: target, Sessions: 120, Addressed: 0.5, Rate: 400, Pairs: 3, PairRate: 50, PerSecond: 400,
		Away: 200 * time.Millisecond, Slack: 100 * time.Millisecond, Calm: 200 * time.Millisecond, Loops: 2,
	}
}

// mostTries is ten times as often as a device tries: one that does not wait
// longer each time does so hundreds of times.
const mostTries = 40

// TestStorm has all connections be lost of a server that lets half of them come
// back at once.
func TestStorm(t *testing.T) {
	target := start(t, "--accept-rate", "100")
	for range 2 { // the second time into the same conversations
		var progress bytes.Buffer
		cfg := briefStorm(target)
		cfg.Progress = &progress
		cfg.PerSecond = 90
		r, err := Storm(t.Context(), cfg)
		checkReport(t, r, err, "outage → synced")
		for _, l := range r.Latencies[:3] {
			if l.Count != 120 {
				t.Errorf("%s: %d of 120 people", l.Name, l.Count)
			}
		}
		for _, l := range r.Latencies[3:] {
			if l.Count == 0 || l.P50 <= 0 {
				t.Errorf("%+v", l)
			}
		}
		refused, mean := figure(t, r, "refused for the moment"), figure(t, r, "attempts per device, mean")
		if refused == 0 || math.Abs(mean-1-refused/120) > 0.001 {
			t.Errorf("%v refusals, %v attempts per device", refused, mean)
		}
		if most := figure(t, r, "attempts per device, most"); most > mostTries {
			t.Errorf("a device tried %v times", most)
		}
		if acked, delivered := figure(t, r, "messages acked"), figure(t, r, "messages delivered"); acked < 100 || acked != delivered {
			t.Errorf("%v acked, %v delivered", acked, delivered)
		}
		if figure(t, r, "of them pulled") == 0 {
			t.Error("nobody had missed anything")
		}
		if !strings.Contains(progress.String(), "128 synced") { // with the pairs and writers
			t.Errorf("progress %q", &progress)
		}
	}
}

// restartable starts a server. A restart calls between on its data directory
// while it is gone.
func restartable(t *testing.T, between func(dir string) error) (target Target) {
	dir := t.TempDir()
	addr, err := node.FreeAddr()
	if err != nil {
		t.Fatal(err)
	}
	cfg := node.Config{Binary: binary(t), Dir: filepath.Join(dir, "data"), Addr: addr, Log: t.Output()}
	var server *node.Node
	run := func(ctx context.Context) (Target, error) {
		ctx, cancel := context.WithTimeout(ctx, time.Minute)
		defer cancel()
		var err error
		if server, err = node.Start(cfg); err == nil {
			err = server.Ready(ctx)
		}
		if err != nil {
			return Target{}, err
		}
		target, err := targetOf(addr, filepath.Join(cfg.Dir, "dev-keys.json"))
		target.PID, target.MetricsURL, target.DataDir = server.PID(), server.AdminURL()+"/metrics", cfg.Dir
		return target, err
	}
	if target, err = run(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Kill(); err != nil {
			t.Error(err)
		}
	})
	target.Restart = func(ctx context.Context) (Target, error) {
		if err := errors.Join(server.Kill(), between(cfg.Dir)); err != nil {
			return Target{}, err
		}
		return run(ctx)
	}
	return target
}

// TestStormRestart has the server be killed in the middle.
func TestStormRestart(t *testing.T) {
	target := restartable(t, func(string) error { return nil })
	cfg := briefStorm(target)
	cfg.Restart = true
	r, err := Storm(t.Context(), cfg)
	checkReport(t, r, err, "server gone for")
	if acked, delivered := figure(t, r, "messages acked"), figure(t, r, "messages delivered"); acked < 100 || acked > delivered {
		t.Errorf("%v acked, %v delivered", acked, delivered)
	}
	if most := figure(t, r, "attempts per device, most"); most > mostTries {
		t.Errorf("a device tried %v times", most)
	}
}

// TestStormLoss has the server lose all that it had acked.
func TestStormLoss(t *testing.T) {
	target := restartable(t, func(dir string) error { return os.RemoveAll(filepath.Join(dir, "store")) })
	cfg := briefStorm(target)
	cfg.Restart = true
	r, err := Storm(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	if r.Err() == nil {
		t.Error("nobody has noticed")
	}
}
