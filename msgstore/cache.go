package msgstore

import (
	"hash/maphash"
	"strings"
	"sync"
	"sync/atomic"
)

// cache keeps what was used last, by the name of a conversation or a user. The
// writer puts what it committed; readers, the writer among them, fill in what
// they had to look up. A reader that looked something up just before the writer
// put a newer version must not replace it, nor bring the old one back after the
// newer one was evicted. So a reader that misses takes a lease, and what it
// fills in counts only if the lease still holds: put and update end it.
// (Memcache at Facebook has leases for the same reason: Nishtala et al., NSDI
// 2013.)
type cache[V any] struct {
	seed         maphash.Seed
	keep         func(old, now V) V // what to keep of now, in the place of old; nil = now
	shards       []cacheShard[V]
	hits, misses atomic.Uint64
}

// cacheShard evicts by the clock algorithm: the hand passes over slots that
// were used since it was there last.
type cacheShard[V any] struct {
	mu     sync.Mutex     // guards the fields below
	slots  []cacheSlot[V] // at most size of them
	size   int
	hand   int
	index  map[string]int    // name to slot
	leases map[string]uint64 // of names that are not in index
	last   uint64            // the last lease given out
}

type cacheSlot[V any] struct {
	name  string
	value V
	used  bool
}

func newCache[V any](entries int, keep func(old, now V) V) *cache[V] {
	n := min(64, entries)
	c := &cache[V]{seed: maphash.MakeSeed(), keep: keep, shards: make([]cacheShard[V], n)}
	for i := range c.shards {
		c.shards[i] = cacheShard[V]{size: (entries + n - 1) / n, index: make(map[string]int), leases: make(map[string]uint64)}
	}
	return c
}

// newHeadCache clones the senders that it keeps: they may be parts of something
// larger.
func newHeadCache(entries int) *cache[Head] {
	return newCache(entries, func(old, now Head) Head {
		if old.Sender == now.Sender {
			now.Sender = old.Sender
		} else {
			now.Sender = strings.Clone(now.Sender)
		}
		return now
	})
}

func (c *cache[V]) shard(name string) *cacheShard[V] {
	return &c.shards[maphash.String(c.seed, name)%uint64(len(c.shards))]
}

// get returns what there is or, if it isn't there, a lease, which the caller
// ends with fill or drop. The lease is 0, and good for nothing, when somebody
// has one.
func (c *cache[V]) get(name string) (value V, lease uint64, ok bool) {
	s := c.shard(name)
	s.mu.Lock()
	defer s.mu.Unlock()
	if i, found := s.index[name]; found {
		c.hits.Add(1)
		s.slots[i].used = true
		return s.slots[i].value, 0, true
	}
	c.misses.Add(1)
	if s.leases[name] == 0 {
		s.last++
		lease = s.last
		s.leases[name] = lease
	}
	return value, lease, false
}

// peek is get for those who won't fill in what isn't there.
func (c *cache[V]) peek(name string) (value V, ok bool) {
	s := c.shard(name)
	s.mu.Lock()
	defer s.mu.Unlock()
	i, found := s.index[name]
	if !found {
		c.misses.Add(1)
		return value, false
	}
	c.hits.Add(1)
	s.slots[i].used = true
	return s.slots[i].value, true
}

// fill ends a lease with what was looked up.
func (c *cache[V]) fill(name string, lease uint64, value V) {
	s := c.shard(name)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.end(name, lease) {
		s.set(name, value, c.keep)
	}
}

// drop ends a lease without anything.
func (c *cache[V]) drop(name string, lease uint64) {
	s := c.shard(name)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.end(name, lease)
}

// put sets what is newer than all that somebody may be looking up.
func (c *cache[V]) put(name string, value V) {
	s := c.shard(name)
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.leases, name)
	s.set(name, value, c.keep)
}

// update is put for a change to what there is, if it is there. f must not
// change the old value, which readers may have.
func (c *cache[V]) update(name string, f func(old V) V) {
	s := c.shard(name)
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.leases, name)
	if i, found := s.index[name]; found {
		s.slots[i].value = f(s.slots[i].value)
	}
}

// end ends a lease and reports whether it held.
func (s *cacheShard[V]) end(name string, lease uint64) bool {
	if lease == 0 || s.leases[name] != lease {
		return false
	}
	delete(s.leases, name)
	return true
}

// set clones the name: it may be a part of something larger. What is new
// doesn't count as used before somebody asks for it, so that conversations that
// see one message pass through and leave the others alone.
func (s *cacheShard[V]) set(name string, value V, keep func(old, now V) V) {
	i, found := s.index[name]
	if !found {
		i = s.free()
		name = strings.Clone(name)
		s.slots[i].name = name
		s.index[name] = i
	}
	slot := &s.slots[i]
	if keep != nil {
		value = keep(slot.value, value)
	}
	slot.value, slot.used = value, found
}

// free returns a slot that nothing is in.
func (s *cacheShard[V]) free() int {
	if len(s.slots) < s.size {
		s.slots = append(s.slots, cacheSlot[V]{})
		return len(s.slots) - 1
	}
	for s.slots[s.hand].used {
		s.slots[s.hand].used = false
		s.hand = (s.hand + 1) % s.size
	}
	i := s.hand
	s.hand = (s.hand + 1) % s.size
	delete(s.index, s.slots[i].name)
	s.slots[i] = cacheSlot[V]{}
	return i
}
