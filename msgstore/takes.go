package msgstore

import (
	"hash/maphash"
	"slices"
	"sync/atomic"

	"github.com/godwit-im/godwit/protocol"
	"github.com/godwit-im/godwit/protocol/pb"
)

// choosers tells who may have chosen whom they take messages from, which every
// SEND to a direct conversation asks for, and few have chosen. It is never wrong
// about who has; who hasn't it may take for one who has, where two names share a
// bit, and then their account is read.
type choosers struct {
	seed maphash.Seed
	bits []atomic.Uint64
}

// chooserBits is 2 MiB, all of it from the start. With a million who have chosen,
// one in 17 of the others is looked at in vain.
const chooserBits = 1 << 24

func (c *choosers) init() {
	c.seed, c.bits = maphash.MakeSeed(), make([]atomic.Uint64, chooserBits/64)
}

func (c *choosers) bit(user string) (word *atomic.Uint64, mask uint64) {
	h := maphash.String(c.seed, user) % chooserBits
	return &c.bits[h/64], 1 << (h % 64)
}

func (c *choosers) add(user string) {
	word, mask := c.bit(user)
	word.Or(mask)
}

func (c *choosers) has(user string) bool {
	word, mask := c.bit(user)
	return word.Load()&mask != 0
}

// chose reports whether a membership is the one of a system conversation whose user
// has chosen whom they take messages from.
func chose(conversation string, m Member) bool {
	return m.Membership.GetAccount().GetMessages() != pb.Audience_AUDIENCE_UNSPECIFIED && protocol.KindOf(conversation) == protocol.System
}

// Takes returns whom a user takes messages from, as they have chosen by
// Account.messages. For those who haven't it costs a look at the memory.
func (s *Store) Takes(user string) (pb.Audience, error) {
	if !s.choosers.has(user) {
		return pb.Audience_AUDIENCE_UNSPECIFIED, nil
	}
	m, _, err := s.Member(user, protocol.SystemID(user))
	return m.Membership.GetAccount().GetMessages(), err
}

// putChoice keeps the row of a user who has chosen, for the next start.
func (tx *Tx) putChoice(index uint64, user, conversation string, was, is bool) error {
	if was == is {
		return nil
	}
	key := appendChoiceKey(nil, tx.s.PartitionOf(conversation), user)
	if !is {
		return tx.dropRow(key)
	}
	return tx.putRow(index, key, nil)
}

// loadChoosers reads who has chosen.
func (s *Store) loadChoosers() error {
	s.choosers.init()
	for p := range s.parts {
		lower := appendTable(nil, p, tableChoice)
		err := s.scan(lower, successor(slices.Clone(lower)), func(key, _ []byte) (bool, error) {
			s.choosers.add(string(key[len(lower):]))
			return true, nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}
