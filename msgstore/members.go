package msgstore

import (
	"errors"
	"fmt"
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

// Members is View.Members with a view of its own.
func (s *Store) Members(user string, in func(p int) bool, f func(conversation string, m Member) error) (err error) {
	v := s.View()
	defer func() { err = errors.Join(err, v.Close()) }()
	return v.Members(user, in, f)
}
