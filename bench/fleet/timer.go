package fleet

import (
	"container/heap"
	"time"
)

// Timer calls a function at a time of its loop's clock. Make one with
// Loop.NewTimer; it can be set again and again and costs nothing while it
// isn't set.
type Timer struct {
	loop *Loop
	f    func()
	when time.Duration
	at   int // index in the heap; -1 = not set
}

// NewTimer returns a timer that calls f on the loop, and is not set.
func (l *Loop) NewTimer(f func()) *Timer { return &Timer{loop: l, f: f, at: -1} }

// Set has the timer fire once, when the loop's clock shows when, or at once if
// it does already. A timer that is set is moved.
func (t *Timer) Set(when time.Duration) {
	t.when = when
	if t.at < 0 {
		heap.Push(&t.loop.timers, t)
	} else {
		heap.Fix(&t.loop.timers, t.at)
	}
}

// Stop makes the timer not fire.
func (t *Timer) Stop() {
	if t.at >= 0 {
		heap.Remove(&t.loop.timers, t.at)
	}
}

// fire runs the timers that are due by now. One that is set again to a time
// that has passed is left for the next turn, so that sockets get theirs.
func (l *Loop) fire(now time.Duration) {
	for n := len(l.timers); n > 0 && len(l.timers) > 0 && l.timers[0].when <= now; n-- {
		t := heap.Pop(&l.timers).(*Timer)
		t.f()
	}
}

// timers is a heap by when.
type timers []*Timer

func (h timers) Len() int           { return len(h) }
func (h timers) Less(i, j int) bool { return h[i].when < h[j].when }

func (h timers) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].at, h[j].at = i, j
}

// Push implements heap.Interface.
func (h *timers) Push(x any) {
	t := x.(*Timer)
	t.at = len(*h)
	*h = append(*h, t)
}

// Pop implements heap.Interface.
func (h *timers) Pop() any {
	last := len(*h) - 1
	t := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	t.at = -1
	return t
}
