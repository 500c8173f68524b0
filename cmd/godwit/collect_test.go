package main

import (
	"runtime"
	"runtime/debug"
	"testing"
)

func TestNextGCPercent(t *testing.T) {
	for _, test := range []struct {
		name                    string
		percent                 int // in force
		cycles, allocated, live uint64
		want                    int
	}{
		{"idle", 100, 0, 0, 4 << 20, 100},
		{"a few collections", 100, busyCollections, 20 << 20, 4 << 20, 100},
		{"busy", 100, busyCollections + 1, 40 << 20, 4 << 20, 1600},
		{"busy with a tiny heap", 100, 60, 40 << 20, 1 << 10, maxGCPercent},
		{"busy with a heap that was never collected", 100, 60, 40 << 20, 0, maxGCPercent},
		{"busy with a large heap", 100, 60, 1 << 30, 1 << 30, 100},
		{"still busy, though collected less often", 1600, 1, 40 << 20, 4 << 20, 1600},
		{"the heap has grown", 1600, 1, 40 << 20, 32 << 20, 200},
		{"calm again", 1600, 0, calmAllocation, 4 << 20, 100},
	} {
		c := &collector{percent: test.percent}
		if got := c.next(test.cycles, test.allocated, test.live); got != test.want {
			t.Errorf("%s: %d, want %d", test.name, got, test.want)
		}
	}
}

// kept makes the garbage of TestCollector escape.
var kept []byte

// TestCollector has a step see a busy second and then a calm one.
func TestCollector(t *testing.T) {
	defer debug.SetGCPercent(debug.SetGCPercent(defaultGCPercent))
	c := newCollector()
	for range 200 { // far more than a few collections with any heap that a test has
		kept = make([]byte, 8<<20)
	}
	kept = nil
	c.step()
	if raised := debug.SetGCPercent(defaultGCPercent); raised <= defaultGCPercent || raised != c.percent {
		t.Errorf("after a busy second GC percent is %d, the collector believes %d", raised, c.percent)
	}
	debug.SetGCPercent(c.percent)
	runtime.GC()
	c.read() // what the test itself did since
	c.step()
	if now := debug.SetGCPercent(defaultGCPercent); now != defaultGCPercent || c.percent != defaultGCPercent {
		t.Errorf("after a calm second GC percent is %d, the collector believes %d", now, c.percent)
	}
}
