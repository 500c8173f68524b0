package session

import "time"

// Entry is something with a deadline on a loop's timing wheel. It embeds a
// Timer. Its methods are called on the loop's goroutine.
type Entry interface {
	// Deadline is when the entry expires, in the nanoseconds of
	// Manager.Nanos. It is asked for when the entry comes up and on Watch,
	// so moving it later costs nothing. It must never move earlier while the
	// entry is watched: the wheel would not notice in time.
	Deadline() int64
	// Expire is called once when the deadline has passed. The entry is no
	// longer watched by then. It may call Watch and Unwatch.
	Expire()

	timer() *Timer
}

// Timer makes the struct that embeds it fit for Watch. The zero value is
// ready. It belongs to the loop on which it is watched and must not be copied.
type Timer struct {
	prev, next *Timer // the ring of a slot; nil when not watched
	entry      Entry
}

func (t *Timer) timer() *Timer { return t }

func (t *Timer) watched() bool { return t.next != nil }

func (t *Timer) unlink() {
	t.prev.next, t.next.prev = t.next, t.prev
	t.prev, t.next, t.entry = nil, nil, nil
}

// wheelSlots, a power of two, times the tick is how far the wheel sees. An
// entry with a later deadline comes up once per turn and is put back: 102 s at
// a tick of 100 ms, so a million sessions cost 10,000 visits a second.
const wheelSlots = 1024

// wheel is a lazy hashed timing wheel (Varghese and Lauck, "Hashed and
// Hierarchical Timing Wheels", 1987, scheme 6, without its round counters). A
// frame that moves a deadline touches nothing here: when the entry's slot
// comes up, the entry is asked for its deadline and moved to the slot of that.
// Slots are intrusive rings, so watching and unwatching are O(1), allocate
// nothing, and a closed connection is let go at once.
//
// It has no lock: each loop owns one. A heap would cost O(log n) for the same,
// and a runtime timer per session 147 B and a shared lock.
type wheel struct {
	tick  int64             // nanoseconds per slot
	hand  int64             // the last tick number whose slot has been fired
	slots [wheelSlots]Timer // sentinels of the rings
}

func newWheel(tick time.Duration, now int64) *wheel {
	w := &wheel{tick: int64(tick), hand: now / int64(tick)}
	for i := range w.slots {
		reset(&w.slots[i])
	}
	return w
}

func reset(sentinel *Timer) {
	sentinel.prev, sentinel.next = sentinel, sentinel
}

// watch puts e where it comes up at the first tick at or after its deadline,
// or whole turns before that.
func (w *wheel) watch(e Entry) {
	t := e.timer()
	if t.watched() {
		panic("session: entry is already watched")
	}
	at := (e.Deadline() + w.tick - 1) / w.tick
	last := &w.slots[max(at, w.hand+1)&(wheelSlots-1)]
	t.entry, t.prev, t.next = e, last.prev, last
	t.prev.next, t.next.prev = t, t
}

// advance fires the slots up to now.
func (w *wheel) advance(now int64) {
	to := now / w.tick
	w.hand = max(w.hand, to-wheelSlots) // after a long pause one turn meets every entry
	for w.hand < to {
		w.hand++
		w.fire(&w.slots[w.hand&(wheelSlots-1)], now)
	}
}

// fire empties a slot. The ring is taken off the wheel first: entries that
// Expire unwatches leave it by themselves, and those that are put back, even
// in the same slot for the next turn, are not met again.
func (w *wheel) fire(slot *Timer, now int64) {
	if slot.next == slot {
		return
	}
	var due Timer
	due.prev, due.next = slot.prev, slot.next
	due.prev.next, due.next.prev = &due, &due
	reset(slot)
	for due.next != &due {
		e := due.next.entry
		due.next.unlink()
		if e.Deadline() <= now {
			e.Expire()
		} else {
			w.watch(e)
		}
	}
}
