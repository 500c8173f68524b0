package godwit

import (
	"container/heap"
	"time"
)

// fifo is a queue.
type fifo[T any] struct {
	items []T
	head  int // items[:head] are gone
}

func (q *fifo[T]) len() int { return len(q.items) - q.head }

func (q *fifo[T]) push(v T) { q.items = append(q.items, v) }

func (q *fifo[T]) peek() (v T, ok bool) {
	if q.len() == 0 {
		return v, false
	}
	return q.items[q.head], true
}

func (q *fifo[T]) pop() (v T, ok bool) {
	if v, ok = q.peek(); !ok {
		return v, false
	}
	var zero T
	q.items[q.head] = zero
	q.head++
	switch {
	case q.head == len(q.items):
		q.items, q.head = q.items[:0], 0
	case q.head >= 64 && q.head*2 >= len(q.items):
		// The moved are no more than the gone, so this is O(1) on average.
		n := copy(q.items, q.items[q.head:])
		clear(q.items[n:])
		q.items, q.head = q.items[:n], 0
	}
	return v, true
}

// timers holds what is to be looked at again at a time, the earliest first.
// That it may have become needless meanwhile is seen when it fires.
type timers struct{ heap timerHeap }

type timer struct {
	at   time.Time
	box  *box
	what timerKind
}

type timerKind int

const (
	gapTimer  timerKind = iota // pull what is still missing
	markTimer                  // send the marks that are owed
	holdTimer                  // try to send again after a refusal
	syncTimer                  // SYNC again; no box
	infoTimer                  // INFO again
	callTimer                  // a call again; no box
)

func (t *timers) add(at time.Time, b *box, what timerKind) {
	heap.Push(&t.heap, timer{at, b, what})
}

// first is when the earliest fires.
func (t *timers) first() (at time.Time, ok bool) {
	if len(t.heap) == 0 {
		return time.Time{}, false
	}
	return t.heap[0].at, true
}

// due removes the earliest if its time has come.
func (t *timers) due(now time.Time) (next timer, ok bool) {
	if len(t.heap) == 0 || t.heap[0].at.After(now) {
		return timer{}, false
	}
	return heap.Pop(&t.heap).(timer), true
}

type timerHeap []timer

func (h timerHeap) Len() int           { return len(h) }
func (h timerHeap) Less(i, j int) bool { return h[i].at.Before(h[j].at) }
func (h timerHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *timerHeap) Push(x any)        { *h = append(*h, x.(timer)) }

func (h *timerHeap) Pop() any {
	old := *h
	n := len(old) - 1
	t := old[n]
	old[n] = timer{}
	*h = old[:n]
	return t
}
