package chat

import (
	"fmt"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/godwit-im/godwit/msgstore"
	"github.com/godwit-im/godwit/protocol/pb"
)

// TestExpiry lets real sweeps run over messages whose times come, those of one
// conversation more than a sweep takes at a time.
func TestExpiry(t *testing.T) {
	clock := newClock(time.UnixMilli(1_800_000_000_000))
	o := storeOptions(vfs.NewMem())
	o.Now = clock.now
	store := openStore(t, o)
	cfg := testConfig(t)
	cfg.Now = clock.now
	sink := newCollector()
	e := startLog(t, cfg, store, sink, func(s *steps) { s.expiry = time.Hour }) // the test sweeps by itself
	const many = expiryBatch*2 + 7
	n := 0
	put := func(conversation string, ttl time.Duration) {
		p := send("ann", conversation, fmt.Sprintf("c%d", n), "x")
		p.Command.TTLMs = ttl.Milliseconds()
		mustSubmit(t, e, p)
		n++
	}
	for range many {
		put("d:ann:bob", 10*time.Second)
	}
	put("d:ann:bob", 20*time.Second)
	put("d:ann:bob", 0)
	for i := range 20 {
		put(fmt.Sprintf("d:ann:x%d", i), 10*time.Second)
	}
	sink.wait(t, n)

	sweep := func(want int) {
		t.Helper()
		if got, err := e.sweepExpired(t.Context()); err != nil || got != want {
			t.Fatalf("a sweep took %d and %v, want %d", got, err, want)
		}
	}
	clock.add(9999 * time.Millisecond)
	sweep(0)
	clock.add(time.Millisecond)
	sweep(many + 20)
	sweep(0)
	for seq := uint64(1); seq <= many+2; seq++ {
		wire, _, err := store.Message("d:ann:bob", seq)
		if err != nil {
			t.Fatal(err)
		}
		if m, gone := decode(t, wire), seq <= many; gone != (m.State == pb.MessageState_MESSAGE_STATE_EXPIRED) || gone != (len(m.Body) == 0) {
			t.Fatalf("seq %d: %v", seq, m)
		}
	}
	head, _, err := store.Head("d:ann:bob")
	if err != nil {
		t.Fatal(err)
	}
	if gone, err := store.GoneBetween("d:ann:bob", "bob", 0, head.Seq, msgstore.Moment{TimeMs: clock.now().UnixMilli()}); gone != many || err != nil {
		t.Errorf("%d gone, %v, want %d", gone, err, many)
	}

	// The log sweeps by itself, too.
	closeLog(t, e)
	startLog(t, cfg, store, sink)
	clock.add(10 * time.Second)
	eventually(t, func() bool {
		wire, _, err := store.Message("d:ann:bob", many+1)
		if err != nil {
			t.Fatal(err)
		}
		return decode(t, wire).State == pb.MessageState_MESSAGE_STATE_EXPIRED
	})
}
