package server

import (
	"runtime/debug"
	"runtime/metrics"
	"testing"
)

// garbage is global so that it is made on the heap.
var garbage []byte

// What a burst has left is given back once the process is idle, not while it
// works, and only once.
func TestTrimmer(t *testing.T) {
	debug.FreeOSMemory()
	tr := newTrimmer()
	tr.look()
	if tr.look() {
		t.Fatal("there is something to give back before the burst")
	}
	defer debug.SetGCPercent(debug.SetGCPercent(-1)) // the collector must not be quicker than the test
	// What the tests before have left alive counts: a burst is worth it beside that.
	live := tr.samples[1].Value.Uint64()
	t.Logf("%d bytes live", live)
	for range max(4*trimWorth, live) >> 10 {
		garbage = make([]byte, 1<<10)
	}
	if tr.look() {
		t.Error("trimmed while the process allocates")
	}
	if !tr.look() {
		t.Fatal("nothing is trimmed after a burst")
	}
	held := func() uint64 {
		s := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}, {Name: "/memory/classes/heap/free:bytes"}}
		metrics.Read(s)
		return s[0].Value.Uint64() + s[1].Value.Uint64()
	}
	before := held()
	debug.FreeOSMemory()
	if after := held(); after+trimWorth > before {
		t.Errorf("%d bytes of heap before, %d after", before, after)
	}
	tr.look()
	if tr.look() {
		t.Error("it would trim again with nothing to give back")
	}
}
