package msgstore

import (
	"hash/maphash"
	"strings"
	"sync/atomic"
)

// changes tells for which users and conversations of a partition there may be
// something new since an index, so that who was told everything up to there is
// answered without a look at the disk. It begins when the store is opened, and
// is never wrong about what changed; what didn't change it may take for changed,
// where two names share a slot.
type changes struct {
	seed   maphash.Seed
	since  uint64          // the applied index when the store was opened
	newest []atomic.Uint64 // by hash: the index of the last commit with a change
	// others is the index of the last change of a conversation whose members
	// are not to be read from its id: anybody's, therefore.
	others atomic.Uint64
}

// changeSlots is the number of slots of all partitions together: 16 MiB, once
// all of them have been used. A changed conversation takes three, for itself and
// its two members. After changes to n conversations since a client's cursor, one
// in 1/(1-exp(-3n/changeSlots)) of those that didn't change is looked at in vain:
// 1% after 7,000, a half after 480,000.
const changeSlots = 1 << 21

func (c *changes) init(partitions int, since uint64) {
	c.seed, c.since = maphash.MakeSeed(), since
	c.newest = make([]atomic.Uint64, changeSlots/partitions)
}

func (c *changes) slot(name string) *atomic.Uint64 {
	return &c.newest[maphash.String(c.seed, name)%uint64(len(c.newest))]
}

// mark notes that a conversation, or its membership, is changed by a commit with
// this index. It belongs to the partition's writer and comes before anybody can
// see the change.
func (c *changes) mark(conversation string, index uint64) {
	c.slot(conversation).Store(index)
	rest, direct := strings.CutPrefix(conversation, "d:")
	a, b, two := strings.Cut(rest, ":")
	if !direct || !two {
		c.others.Store(index)
		return
	}
	c.slot(a).Store(index)
	c.slot(b).Store(index)
}

// ChangedSince reports whether there may be a change past index to what name, a
// user or a conversation, sees in partition p: a message, or a membership of
// either member. false is certain for all that any read has returned that ended
// before. It takes no lock and doesn't wait.
func (s *Store) ChangedSince(p int, name string, index uint64) bool {
	c := &s.parts[p].changes
	return index < c.since || c.slot(name).Load() > index || c.others.Load() > index
}
