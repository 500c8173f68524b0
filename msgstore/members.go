package msgstore

import (
	"errors"
	"fmt"
	"slices"

	"github.com/cockroachdb/pebble/v2"
)

type memberID struct{ user, conversation string }

// Member returns a user's membership, and whether there is one.
func (s *Store) Member(user, conversation string) (Member, bool, error) {
	id := memberID{user, conversation}
	part := &s.parts[s.PartitionOf(conversation)]
	for {
		m, found, err := s.member(id)
		if err != nil || !found || m.Stamp <= part.synced.Load() {
			return m, found, err
		}
		if prior, ok := s.inflight.member(id); ok {
			return prior.m, prior.exists, nil
		}
		// The commit ended in between, so what it wrote is durable by now.
		if m.Stamp > part.synced.Load() {
			return Member{}, false, fmt.Errorf("%w: the membership of %q in %q has stamp %d, past the applied index", ErrCorrupt, user, conversation, m.Stamp)
		}
	}
}

// member reads a membership as Pebble shows it, durable or not.
func (s *Store) member(id memberID) (m Member, found bool, err error) {
	key := appendMemberKey(nil, s.PartitionOf(id.conversation), id.user, id.conversation)
	found, err = s.get(key, func(value []byte) (err error) {
		m, err = decodeMember(value)
		return err
	})
	return m, found, err
}

// Members calls f for each of a user's memberships in the partitions that in
// picks (nil = all), partition by partition, until f returns an error, which it
// returns. An iterator is open meanwhile: f must not wait for anything.
func (s *Store) Members(user string, in func(p int) bool, f func(conversation string, m Member) error) (err error) {
	var it *pebble.Iterator
	for p := range s.parts {
		if in != nil && !in(p) {
			continue
		}
		lower := appendMemberPrefix(nil, p, user)
		upper := successor(slices.Clone(lower))
		if it == nil {
			if it, err = s.db.NewIter(nil); err != nil {
				return readError(err)
			}
			defer func() { err = errors.Join(err, closeIter(it)) }()
		}
		it.SetBounds(lower, upper)
		for it.First(); it.Valid(); it.Next() {
			if err := s.visitMember(it, user, string(it.Key()[len(lower):]), f); err != nil {
				return err
			}
		}
		if it.Error() != nil {
			return nil // closeIter returns it
		}
	}
	return nil
}

// visitMember calls f with the durable version, if there is one, of the row
// that it is at.
func (s *Store) visitMember(it *pebble.Iterator, user, conversation string, f func(string, Member) error) error {
	value, err := it.ValueAndErr()
	if err != nil {
		return readError(err)
	}
	m, err := decodeMember(value)
	if err != nil {
		return err
	}
	if m.Stamp > s.parts[s.PartitionOf(conversation)].synced.Load() {
		var found bool
		if m, found, err = s.Member(user, conversation); err != nil || !found {
			return err
		}
	}
	return f(conversation, m)
}
