package main

import (
	"context"
	"os"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

// The server keeps little on the heap: a few megabytes, since Pebble's caches
// are elsewhere. Go collects each time it has doubled, under load 60 times a
// second, and each collection costs processor time and flushes the caches that
// the rest works from: 8 to 15% of the messages a second at 64 senders with 8
// in flight. So while it is busy the heap may grow by roomUnderLoad before it is
// collected. When it is calm again, package server gives that memory back.
//
// A fixed GOGC of 800 would do the first, but then an idle server with many
// sessions would keep several times its heap. A ballast does the same.
const (
	roomUnderLoad = 64 << 20 // bytes
	// busyCollections in a second begin the first, and calmAllocation bytes in
	// a second, a collection every 32 s with that room, end it.
	busyCollections = 4
	calmAllocation  = 2 << 20

	defaultGCPercent = 100
	maxGCPercent     = 2000
)

// collector is what collectByLoad knows from one second to the next.
type collector struct {
	percent int // in force
	sample  []metrics.Sample
	cycles  uint64
	allocs  uint64
}

func newCollector() *collector {
	c := &collector{percent: defaultGCPercent, sample: []metrics.Sample{
		{Name: "/gc/cycles/automatic:gc-cycles"}, {Name: "/gc/heap/allocs:bytes"}, {Name: "/gc/heap/live:bytes"},
	}}
	c.read()
	return c
}

// read returns what happened since it was called last, and the heap that the
// last collection left.
func (c *collector) read() (cycles, allocated, live uint64) {
	metrics.Read(c.sample)
	total, allocs := c.sample[0].Value.Uint64(), c.sample[1].Value.Uint64()
	cycles, allocated = total-c.cycles, allocs-c.allocs
	c.cycles, c.allocs = total, allocs
	return cycles, allocated, c.sample[2].Value.Uint64()
}

// next is the GC percent for the next second.
func (c *collector) next(cycles, allocated, live uint64) int {
	switch {
	case cycles > busyCollections || c.percent > defaultGCPercent && allocated > calmAllocation:
		return int(min(max(defaultGCPercent, roomUnderLoad*100/max(live, 1)), maxGCPercent))
	default:
		return defaultGCPercent
	}
}

// step looks at the last second and sets what follows from it.
func (c *collector) step() {
	percent := c.next(c.read())
	if percent == c.percent {
		return
	}
	c.percent = percent
	debug.SetGCPercent(percent)
}

// collectByLoad runs until ctx ends, and then leaves Go's default. With GOGC in
// the environment it leaves all of it to the operator.
func collectByLoad(ctx context.Context) {
	if _, set := os.LookupEnv("GOGC"); set {
		return
	}
	c := newCollector()
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			debug.SetGCPercent(defaultGCPercent)
			return
		case <-ticker.C:
			c.step()
		}
	}
}
