package godwit

import (
	"container/heap"
	"time"
)

// maxExpiring bounds the messages of one conversation whose end is watched.
// What is past it becomes a tombstone where it is read.
const maxExpiring = 1024

// expiry is when a message's time is over, by the server's clock.
type expiry struct {
	expires time.Time
	box     *box
	seq     uint64
}

// watch has a message expire in time, if it does at all: one that the user has
// deleted, too, for until then it counts.
func (a *account) watch(b *box, m *Message) {
	v := &b.view
	if _, watched := v.expiring[m.Seq]; watched || m.Expires.IsZero() || m.State == MessageRecalled || m.State == MessageExpired || len(v.expiring) >= maxExpiring {
		return
	}
	a.watchUntil(b, m.Seq, m.Expires)
}

func (a *account) watchUntil(b *box, seq uint64, expires time.Time) {
	if b.view.expiring == nil {
		b.view.expiring = make(map[uint64]time.Time)
	}
	b.view.expiring[seq] = expires
	heap.Push(&a.expiries, expiry{expires: expires, box: b, seq: seq})
	a.handlerBell.ring() // whose goroutine waits for the first
}

// expire makes tombstones of the messages whose time is over, and returns when
// the next one's is, by this device's clock; the zero time if there is none.
func (a *account) expire(now time.Time) time.Time {
	for len(a.expiries) > 0 {
		next := a.expiries[0]
		if next.expires.After(now.Add(a.skew)) {
			return next.expires.Add(-a.skew)
		}
		heap.Pop(&a.expiries)
		b := next.box
		if expires, watched := b.view.expiring[next.seq]; !watched || !expires.Equal(next.expires) {
			continue
		}
		delete(b.view.expiring, next.seq)
		a.change(b, MessageChange{Conversation: b.id, Seq: next.seq, Type: ChangeExpired})
		a.expired(b, next.seq, next.expires)
		a.changed(b)
	}
	return time.Time{}
}

// expire makes a tombstone of a message whose time is over.
func (m *Message) expire(server time.Time) {
	if !m.Expires.IsZero() && m.State == MessageNormal && !m.Expires.After(server) {
		m.bury(MessageExpired)
	}
}

type expiryHeap []expiry

func (h expiryHeap) Len() int           { return len(h) }
func (h expiryHeap) Less(i, j int) bool { return h[i].expires.Before(h[j].expires) }
func (h expiryHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *expiryHeap) Push(x any)        { *h = append(*h, x.(expiry)) }

func (h *expiryHeap) Pop() any {
	old := *h
	n := len(old) - 1
	e := old[n]
	old[n] = expiry{}
	*h = old[:n]
	return e
}
