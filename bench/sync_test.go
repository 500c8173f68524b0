package bench

import (
	"bytes"
	"context"
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/godwit-im/godwit/bench/fill"
	"github.com/godwit-im/godwit/bench/node"
	"github.com/godwit-im/godwit/protocol"
)

// serving returns a function that starts a server on the data directory dir.
func serving(t *testing.T, dir string) func(context.Context) (*Served, error) {
	server := binary(t) // whose building must not count as a start
	return func(ctx context.Context) (*Served, error) {
		addr, err := node.FreeAddr()
		if err != nil {
			return nil, err
		}
		began := time.Now()
		n, err := node.Start(node.Config{
			Binary: server, Dir: dir, Addr: addr, Log: t.Output(),
			Args: []string{"--accept-rate", "100000"},
		})
		if err != nil {
			return nil, err
		}
		ready, cancel := context.WithTimeout(ctx, time.Minute)
		defer cancel()
		if err := n.Ready(ready); err != nil {
			return nil, errors.Join(err, n.Kill())
		}
		took := time.Since(began)
		target, err := targetOf(addr, filepath.Join(dir, "dev-keys.json"))
		if err != nil {
			return nil, errors.Join(err, n.Kill())
		}
		target.PID, target.MetricsURL, target.DataDir = n.PID(), n.AdminURL()+"/metrics", dir
		return &Served{
			Target: target,
			Took:   took,
			Stop: func(ctx context.Context) error {
				ctx, cancel := context.WithTimeout(ctx, time.Minute)
				defer cancel()
				return n.Stop(ctx)
			},
		}, nil
	}
}

var syncPlan = fill.Plan{Users: 60, Conversations: 110, Old: 2, Away: 20, Behind: 5, Missed: 230, Size: 100}

// TestSync has SYNC answer in two pages at first, and PULL in two each.
func TestSync(t *testing.T) {
	dir := t.TempDir()
	var progress bytes.Buffer
	ceilings := 0
	r, err := Sync(t.Context(), SyncConfig{
		StoreDir: filepath.Join(dir, "store"), Serve: serving(t, dir), Plan: syncPlan, Concurrency: 7, Progress: &progress,
		Ceiling: func(_ context.Context, p fill.Plan, concurrency int) (float64, error) {
			if ceilings++; p != syncPlan || concurrency != 7 {
				t.Errorf("the ceiling of %v with %d", p, concurrency)
			}
			return 1e9, nil
		},
	})
	if err != nil || r.Err() != nil {
		t.Fatal(err, r.Err())
	}
	if ceilings != 1 {
		t.Errorf("%d ceilings", ceilings)
	}
	for _, name := range []string{"pulled", "nothing missed: logins", "pulled: heads found in the cache", "pulled without SYNC", "first time: conversations"} {
		if figure(t, r, name) <= 0 {
			t.Errorf("%s: %v", name, figure(t, r, name))
		}
	}
	for _, l := range r.Latencies {
		want := map[string]int64{
			"nothing missed: login → synced":          5 * 40,
			"pulled, after a restart: login → synced": 20, "pulled, after a restart: login → all pulled": 20,
			"pulled: login → synced": 20, "pulled: login → all pulled": 20,
			"pulled without SYNC: login → all pulled": 20,
		}[l.Name]
		if l.Count != want || want == 0 {
			t.Errorf("%s: %d, want %d", l.Name, l.Count, want)
		}
	}
}

// TestSyncFails has the store hold something else than the plan says.
func TestSyncFails(t *testing.T) {
	for _, test := range []struct {
		name   string
		before fill.Plan // written to the store first
		missed bool      // what it misses, too
		want   string
	}{
		// What Sync then writes itself stays the same, as far as there is any.
		{"another message", fill.Plan{Users: 3, Conversations: 4, Old: 3, Away: 0, Size: 100}, false, "SYNC says head 3"},
		{"news before the first time", fill.Plan{Users: 3, Conversations: 4, Old: 2, Away: 1, Behind: 1, Missed: 1, Size: 100}, true, "SYNC says head 3"},
		{"another body", fill.Plan{Users: 3, Conversations: 4, Old: 2, Away: 0, Size: 99}, false, "id names another message"},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			store := fill.Config{Dir: filepath.Join(dir, "store")}
			if _, err := fill.Old(t.Context(), store, test.before); err != nil {
				t.Fatal(err)
			}
			if test.missed {
				if _, err := fill.Missed(t.Context(), store, test.before); err != nil {
					t.Fatal(err)
				}
			}
			r, err := Sync(t.Context(), SyncConfig{
				StoreDir: store.Dir, Serve: serving(t, dir),
				Plan: fill.Plan{Users: 3, Conversations: 4, Old: 2, Away: 1, Behind: 1, Missed: 10, Size: 100},
			})
			if err == nil {
				err = r.Err()
			}
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("%v, want %q", err, test.want)
			}
		})
	}
}

// TestSyncLosesAMessage cuts a conversation short between the two halves of a
// run, in a server that then says what is true of its store and not of what was
// sent.
func TestSyncLosesAMessage(t *testing.T) {
	dir := t.TempDir()
	serve, store := serving(t, dir), filepath.Join(dir, "store")
	plan := fill.Plan{Users: 3, Conversations: 4, Old: 2, Away: 2, Behind: 1, Missed: 10, Size: 100}
	starts := 0
	r, err := Sync(t.Context(), SyncConfig{
		StoreDir: store, Plan: plan,
		Serve: func(ctx context.Context) (*Served, error) {
			if starts++; starts == 2 {
				trimTo(t, store, protocol.DirectID(plan.User(1), plan.Friend(1, plan.BehindAt(1, 0))), 7)
			}
			return serve(ctx)
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	if r.Err() == nil || !strings.Contains(r.Err().Error(), "first 7") {
		t.Errorf("%v", r.Err())
	}
}

// TestStart starts a server on a store with messages and on an empty one.
func TestStart(t *testing.T) {
	full := t.TempDir()
	if _, err := fill.Old(t.Context(), fill.Config{Dir: filepath.Join(full, "store")}, syncPlan); err != nil {
		t.Fatal(err)
	}
	var progress bytes.Buffer
	r, err := Start(t.Context(), StartConfig{
		Full: serving(t, full), Empty: serving(t, t.TempDir()),
		Runs: 1, Settle: time.Millisecond, Progress: &progress,
	})
	if err != nil {
		t.Fatal(err)
	}
	if s := figure(t, r, "start with a full store"); s <= 0 {
		t.Errorf("%v s", s)
	}
	if figure(t, r, "server RSS, full store") < 1<<20 || strings.Count(progress.String(), "ready after") != 2 {
		t.Errorf("%+v, progress %q", r.Figures, &progress)
	}
}

func TestMedian(t *testing.T) {
	for _, test := range []struct {
		want float64
		of   []float64
	}{{3, []float64{3}}, {2, []float64{3, 1}}, {2, []float64{9, 1, 2}}} {
		if got := median(test.of); got != test.want {
			t.Errorf("median of %v is %v, want %v", test.of, got, test.want)
		}
	}
}
