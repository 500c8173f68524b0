package chat

import (
	"fmt"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/godwit-im/godwit/protocol"
)

// TestRetention lets real sweeps run over real conversations, by count and by
// age, through the log.
func TestRetention(t *testing.T) {
	start := time.UnixMilli(1_800_000_000_000)
	clock := newClock(start)
	const (
		conversations = 150 // more than a window of trims
		messages      = 10
		long          = 1500 // more than one trim removes
	)
	for _, test := range []struct {
		name      string
		retention Retention
		kept      uint64 // of the newest messages
	}{
		{"count", Retention{MaxCount: 3}, 3},
		{"age", Retention{MaxAge: 4 * time.Second}, 4},
		{"both", Retention{MaxAge: 4 * time.Second, MaxCount: 2}, 2},
		{"all", Retention{MaxAge: time.Millisecond}, 0},
		{"nothing", Retention{MaxAge: time.Hour, MaxCount: 2000}, 1 << 60},
	} {
		t.Run(test.name, func(t *testing.T) {
			clock.set(start)
			o := storeOptions(vfs.NewMem())
			o.Now = clock.now
			store := openStore(t, o)
			cfg := testConfig(t)
			cfg.Now = clock.now
			cfg.Retention = test.retention
			cfg.Retention.Interval = time.Hour // the test sweeps by itself
			sink := newCollector()
			e := startLog(t, cfg, store, sink)
			n := 0
			put := func(conversation string) {
				mustSubmit(t, e, send("ann", conversation, fmt.Sprintf("c%d", n), "x"))
				n++
			}
			names := []string{"d:ann:long"}
			for range long {
				put(names[0])
			}
			for i := range conversations {
				names = append(names, protocol.DirectID("ann", fmt.Sprintf("x%d", i)))
			}
			for range messages {
				clock.add(time.Second)
				for _, name := range names {
					put(name)
				}
				sink.wait(t, n)
			}
			clock.add(500 * time.Millisecond)
			removed, err := e.sweep(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			var want uint64
			for _, name := range names {
				head, _, err := store.Head(name)
				if err != nil {
					t.Fatal(err)
				}
				wantMin := uint64(1)
				if head.Seq > test.kept {
					wantMin = head.Seq - test.kept + 1
				}
				if head.MinSeq != wantMin {
					t.Fatalf("%s: min seq %d of %d, want %d", name, head.MinSeq, head.Seq, wantMin)
				}
				want += wantMin - 1
			}
			if removed != want || e.Stats().Trimmed != want {
				t.Errorf("%d messages were removed, %d counted, want %d", removed, e.Stats().Trimmed, want)
			}
			if again, err := e.sweep(t.Context()); again != 0 || err != nil {
				t.Errorf("a second sweep removed %d, %v", again, err)
			}
			if got := len(sink.wait(t, n)); got != n {
				t.Errorf("the sink was told of %d outcomes, %d messages were sent", got, n)
			}
		})
	}
}

// TestRetentionRuns: the loop sweeps by itself and ends with Close.
func TestRetentionRuns(t *testing.T) {
	cfg := testConfig(t)
	cfg.Retention = Retention{MaxCount: 1, Interval: time.Millisecond}
	store := openStore(t, storeOptions(vfs.NewMem()))
	sink := newCollector()
	e := startLog(t, cfg, store, sink)
	for i := range 5 {
		mustSubmit(t, e, send("ann", "d:ann:bob", fmt.Sprintf("c%d", i), "x"))
	}
	sink.wait(t, 5)
	eventually(t, func() bool { return e.Stats().Trimmed == 4 })
}
