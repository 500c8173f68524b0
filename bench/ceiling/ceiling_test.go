package ceiling

import (
	"context"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/godwit-im/godwit/protocol"
)

func TestMain(m *testing.M) {
	if Child() {
		return
	}
	os.Exit(m.Run())
}

// brief has hardly a warm-up, so that what is sent first is measured, however
// long it takes.
var brief = Timing{Warmup: time.Nanosecond, For: 300 * time.Millisecond}

func testContext(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// That every frame came back once and in order, and that the server counted as
// many, is what the loads check; broken_test.go has servers that break it.

func TestEcho(t *testing.T) {
	r, err := Echo(testContext(t), EchoConfig{Conns: 3, Window: 4, Timing: brief})
	if err != nil {
		t.Fatal(err)
	}
	if r.FrameSize < 300 || r.FrameSize > 350 {
		t.Errorf("frames of %d bytes, a SEND of 256 has 300 to 350", r.FrameSize)
	}
	if r.Rate <= 0 || r.RoundTrip.Count == 0 || r.RoundTrip.P50 <= 0 || r.RoundTrip.P50 > r.RoundTrip.Max {
		t.Errorf("%+v", r)
	}
	if r.Cost.Server <= 0 || r.Cost.Load <= 0 {
		t.Errorf("no processor time: %+v", r.Cost)
	}
}

// TestPacedEcho sends 20 frames a second over each connection, and no more.
func TestPacedEcho(t *testing.T) {
	timing := Timing{Warmup: 100 * time.Millisecond, For: 500 * time.Millisecond}
	r, err := Echo(testContext(t), EchoConfig{Conns: 10, Every: 50 * time.Millisecond, Size: 16, Timing: timing})
	if err != nil {
		t.Fatal(err)
	}
	if r.RoundTrip.Count == 0 || r.Rate > 210 {
		t.Errorf("%.0f frames a second, want at most 10 x 20: %+v", r.Rate, r)
	}
}

func TestRelay(t *testing.T) {
	for _, cfg := range []RelayConfig{
		{Pairs: 1},
		{Pairs: 20, Window: 8},                    // on both loops, and from one to the other
		{Pairs: 7, Window: 3, Size: 4000},         // a window is more than one segment
		{Pairs: 5, Window: 100, Size: 16},         // many frames in one read
		{Pairs: 3, Window: 2, Loops: Loops{1, 1}}, // without a second loop
		{Pairs: 2, Window: 4, Size: maxBody / 4},  // more than a read buffer
	} {
		cfg.Timing = brief
		r, err := Relay(testContext(t), cfg)
		if err != nil {
			t.Fatalf("%+v: %v", cfg, err)
		}
		if r.Rate <= 0 || r.Ack.Count == 0 || r.Ack.P50 <= 0 || r.Delivery.P50 <= 0 {
			t.Errorf("%+v: %+v", cfg, r)
		}
	}
}

func TestStoringRelay(t *testing.T) {
	dir := t.TempDir()
	r, err := Relay(testContext(t), RelayConfig{Pairs: 20, Window: 8, Store: dir, Timing: brief})
	if err != nil {
		t.Fatal(err)
	}
	if r.Rate <= 0 || r.Ack.Count == 0 || r.Ack.P50 <= 0 {
		t.Errorf("%+v", r)
	}
	empty(t, dir)
}

// What was acked is in the database, under the keys that a scan looks for.
func TestStorerStores(t *testing.T) {
	dir := t.TempDir()
	made, err := newStorer(job{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	s := &server{role: made}
	for range 3 {
		push := protocol.AppendFrame(nil, protocol.TypeMessage, 0, []byte("what came"))
		s.role.keep(storedBy(), []byte("ack"), append(push, push...))
	}
	if err := s.role.close(); err != nil {
		t.Fatal(err)
	}
	db, err := openPebble(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	for seq := uint64(1); seq <= 6; seq++ {
		value, closer, err := db.Get(appendMessageKey(nil, 7, seq))
		if err != nil {
			t.Fatalf("seq %d: %v", seq, err)
		}
		if string(value[8:]) != "what came" {
			t.Errorf("seq %d is %q", seq, value)
		}
		closer.Close()
	}
}

// storedBy is a connection of pair 7 and its peer, whose loop is awake already
// and so is not woken.
func storedBy() *conn {
	l := &loop{rung: true}
	return &conn{loop: l, pair: 7, peer: &conn{loop: l}}
}

func TestCommit(t *testing.T) {
	dir := t.TempDir()
	for _, depth := range []int{1, 64} {
		r, err := Commit(testContext(t), CommitConfig{Dir: dir, Depth: depth, Timing: brief})
		if err != nil {
			t.Fatal(err)
		}
		if r.Batch.Count == 0 || r.Rate <= 0 || r.Batch.P50 <= 0 {
			t.Errorf("%+v", r)
		}
		// Two records, their keys and Pebble's overhead; zero if nothing was logged.
		if r.WALBytes < 380 || r.WALBytes > 800 {
			t.Errorf("%.0f bytes in the log per message", r.WALBytes)
		}
	}
	empty(t, dir)
}

func TestScan(t *testing.T) {
	dir := t.TempDir()
	r, err := Scan(testContext(t), ScanConfig{Dir: dir, Messages: 20_000, Conns: 4, Timing: brief})
	if err != nil {
		t.Fatal(err)
	}
	if r.Messages != 20_000 || r.Fresh <= 0 || r.Reused <= 0 || r.Sent <= 0 || r.SentPage.Count == 0 {
		t.Errorf("%+v", r)
	}
	empty(t, dir)
}

func TestSync(t *testing.T) {
	dir := t.TempDir()
	for _, overwrite := range []bool{false, true} {
		r, err := Sync(testContext(t), SyncConfig{Dir: dir, Size: 4096, Overwrite: overwrite, Timing: brief})
		if err != nil {
			t.Fatal(err)
		}
		if r.Sync.Count == 0 || r.Sync.P50 <= 0 || r.Sync.P50 > r.Sync.P99 {
			t.Errorf("%+v", r)
		}
	}
	empty(t, dir)
}

func empty(t *testing.T, dir string) {
	t.Helper()
	left, err := os.ReadDir(dir)
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestAll(t *testing.T) {
	dir := t.TempDir()
	var progress strings.Builder
	r, err := All(testContext(t), Config{Dir: dir, Timing: brief, Messages: 20_000, Progress: &progress})
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Err(); err != nil {
		t.Error(err)
	}
	names := make(map[string]bool)
	for _, f := range r.Figures {
		if f.Value <= 0 || names[f.Name] {
			t.Errorf("%s twice, or %v", f.Name, f.Value)
		}
		names[f.Name] = true
	}
	for _, want := range []string{"relay, 64 pairs × 8", "synced commits of 512", "scan and send", "fdatasync of 512 B appended, p50"} {
		if !names[want] {
			t.Errorf("no %q among %v", want, names)
		}
	}
	if r.Machine.Disk == nil || r.Machine.Disk.SyncP50 <= 0 {
		t.Errorf("disk: %+v", r.Machine.Disk)
	}
	if got := strings.Count(progress.String(), "\n"); got < 10 {
		t.Errorf("%d lines of progress", got)
	}
	empty(t, dir)
}
