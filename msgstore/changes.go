package msgstore

import (
	"hash/maphash"
	"strings"
	"sync/atomic"

	"github.com/godwit-im/godwit/protocol"
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

// mark notes that a conversation is changed by a commit with this index, and so
// what its members see, unless it is a group: who is in one can't be told from
// its id, and to tell all of them would cost a write for each. It belongs to the
// partition's writer and comes before anybody can see the change.
func (c *changes) mark(conversation string, index uint64) {
	c.slot(conversation).Store(index)
	switch protocol.KindOf(conversation) {
	case protocol.Direct:
		a, b, _ := strings.Cut(conversation[2:], ":")
		c.slot(a).Store(index)
		c.slot(b).Store(index)
	case protocol.System:
		c.slot(conversation[2:]).Store(index)
	}
}

// markMember is mark for a membership. In a group it is that user's affair.
func (c *changes) markMember(user, conversation string, index uint64) {
	if protocol.KindOf(conversation) == protocol.Group {
		c.slot(user).Store(index)
		return
	}
	c.mark(conversation, index)
}

// ChangedSince reports whether there may be a change past index to what name, a
// user or a conversation, sees in partition p: a message, a group's data, or a
// membership of either member. A group's messages and data change the group alone
// and not its members: who asks for a user asks for the user's groups too.
// Memberships in a group change the user alone. false is certain for all that any
// read has returned that ended before. It takes no lock and doesn't wait.
func (s *Store) ChangedSince(p int, name string, index uint64) bool {
	c := &s.parts[p].changes
	return index < c.since || c.slot(name).Load() > index
}
