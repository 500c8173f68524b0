package server

import (
	"runtime/debug"
	"runtime/metrics"
	"time"
)

// A burst, thousands of logins say, leaves garbage behind, and the garbage
// collector lets the heap grow to twice what lives before it looks again. On a
// server that falls quiet after it that is two minutes later, and even then the
// runtime keeps the memory for the next burst. The trimmer gives it back as
// soon as the server is idle: 19,000 sessions that had just connected took
// 1.7 KiB of resident memory each without it. A lower GOGC would do the same
// and have the collector run more often under load, which is when it costs.
const (
	trimEvery = time.Second
	// trimIdle is what an idle server allocates at most between two looks, in
	// bytes. The pongs of 20,000 sessions a minute are some 30 KB.
	trimIdle = 1 << 20
	// trimWorth is how much there must be to give back, in bytes, lest an idle
	// server collects without end; and it must be a quarter of what lives, as
	// that is what a collection costs.
	trimWorth = 4 << 20
)

// trimmer remembers how much had been allocated when it last looked.
type trimmer struct {
	samples   [4]metrics.Sample
	allocated uint64
}

func newTrimmer() *trimmer {
	t := &trimmer{}
	for i, name := range []string{
		"/gc/heap/allocs:bytes", "/gc/heap/live:bytes",
		"/memory/classes/heap/objects:bytes", "/memory/classes/heap/free:bytes",
	} {
		t.samples[i].Name = name
	}
	return t
}

// look reports whether the process has been idle since the last look and holds
// memory that is worth giving back.
func (t *trimmer) look() bool {
	metrics.Read(t.samples[:])
	allocated, live := t.samples[0].Value.Uint64(), t.samples[1].Value.Uint64()
	objects, free := t.samples[2].Value.Uint64(), t.samples[3].Value.Uint64()
	idle := allocated-t.allocated <= trimIdle
	t.allocated = allocated
	waste := free
	if objects > live { // what was allocated since the last collection: it may live, or not
		waste += objects - live
	}
	return idle && waste >= max(trimWorth, live/4)
}

// trim runs until stop is closed.
func trim(stop <-chan struct{}) {
	t := newTrimmer()
	ticker := time.NewTicker(trimEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			if t.look() {
				debug.FreeOSMemory()
			}
		case <-stop:
			return
		}
	}
}
