package msgstore

import (
	"hash/maphash"
	"strings"
	"sync"
	"sync/atomic"
)

// headCache keeps the heads of the conversations that were used last. The
// writer puts what it committed; readers, the writer among them, fill in what
// they had to look up. A reader that looked up a head just before the writer
// put a newer one must not replace it, nor bring the old one back after the
// newer one was evicted. So a reader that misses takes a lease, and what it
// fills in counts only if the lease still holds: put ends it. (Memcache at
// Facebook has leases for the same reason: Nishtala et al., NSDI 2013.)
type headCache struct {
	seed         maphash.Seed
	shards       []headShard
	hits, misses atomic.Uint64
}

// headShard evicts by the clock algorithm: the hand passes over slots that
// were used since it was there last.
type headShard struct {
	mu     sync.Mutex // guards the fields below
	slots  []headSlot // at most size of them
	size   int
	hand   int
	index  map[string]int    // conversation to slot
	leases map[string]uint64 // of conversations that are not in index
	last   uint64            // the last lease given out
}

type headSlot struct {
	conversation string
	head         Head
	used         bool
}

func newHeadCache(entries int) *headCache {
	n := min(64, entries)
	c := &headCache{seed: maphash.MakeSeed(), shards: make([]headShard, n)}
	for i := range c.shards {
		c.shards[i] = headShard{size: (entries + n - 1) / n, index: make(map[string]int), leases: make(map[string]uint64)}
	}
	return c
}

func (c *headCache) shard(conversation string) *headShard {
	return &c.shards[maphash.String(c.seed, conversation)%uint64(len(c.shards))]
}

// get returns a head or, if it isn't there, a lease, which the caller ends with
// fill or drop. The lease is 0, and good for nothing, when somebody has one.
func (c *headCache) get(conversation string) (h Head, lease uint64, ok bool) {
	s := c.shard(conversation)
	s.mu.Lock()
	defer s.mu.Unlock()
	if i, found := s.index[conversation]; found {
		c.hits.Add(1)
		s.slots[i].used = true
		return s.slots[i].head, 0, true
	}
	c.misses.Add(1)
	if s.leases[conversation] == 0 {
		s.last++
		lease = s.last
		s.leases[conversation] = lease
	}
	return Head{}, lease, false
}

// peek is get for those who won't fill in what isn't there.
func (c *headCache) peek(conversation string) (Head, bool) {
	s := c.shard(conversation)
	s.mu.Lock()
	defer s.mu.Unlock()
	i, found := s.index[conversation]
	if !found {
		c.misses.Add(1)
		return Head{}, false
	}
	c.hits.Add(1)
	s.slots[i].used = true
	return s.slots[i].head, true
}

// fill ends a lease with the head that was looked up.
func (c *headCache) fill(conversation string, lease uint64, h Head) {
	s := c.shard(conversation)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.end(conversation, lease) {
		s.set(conversation, h)
	}
}

// drop ends a lease without one.
func (c *headCache) drop(conversation string, lease uint64) {
	s := c.shard(conversation)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.end(conversation, lease)
}

// put sets a head. It is newer than all that somebody may be looking up.
func (c *headCache) put(conversation string, h Head) {
	s := c.shard(conversation)
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.leases, conversation)
	s.set(conversation, h)
}

// end ends a lease and reports whether it held.
func (s *headShard) end(conversation string, lease uint64) bool {
	if lease == 0 || s.leases[conversation] != lease {
		return false
	}
	delete(s.leases, conversation)
	return true
}

// set clones what it keeps: the strings may be parts of something larger. A
// new head doesn't count as used before somebody asks for it, so that those of
// conversations that see one message pass through and leave the others alone.
func (s *headShard) set(conversation string, h Head) {
	i, found := s.index[conversation]
	if !found {
		i = s.free()
		conversation = strings.Clone(conversation)
		s.slots[i].conversation = conversation
		s.index[conversation] = i
	}
	slot := &s.slots[i]
	if slot.head.Sender == h.Sender {
		h.Sender = slot.head.Sender
	} else {
		h.Sender = strings.Clone(h.Sender)
	}
	slot.head, slot.used = h, found
}

// free returns a slot that nothing is in.
func (s *headShard) free() int {
	if len(s.slots) < s.size {
		s.slots = append(s.slots, headSlot{})
		return len(s.slots) - 1
	}
	for s.slots[s.hand].used {
		s.slots[s.hand].used = false
		s.hand = (s.hand + 1) % s.size
	}
	i := s.hand
	s.hand = (s.hand + 1) % s.size
	delete(s.index, s.slots[i].conversation)
	s.slots[i] = headSlot{}
	return i
}
