package msgstore

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/cockroachdb/pebble/v2"
	"google.golang.org/protobuf/proto"

	"github.com/godwit-im/godwit/protocol"
	"github.com/godwit-im/godwit/protocol/pb"
)

// What another user is to one is in one's membership of the direct conversation
// between them, where a SEND finds it. A copy of that is in a row that is found by
// the user, so that a user's contacts cost as much as there are contacts, however
// many others the user talks with. It is written with the membership, in the same
// partition.

// contactOf is what a membership of a direct conversation says of the other user;
// nil if that is nothing.
func contactOf(m *pb.Membership) *pb.Membership {
	if m.GetContact() == pb.ContactState_CONTACT_STATE_NONE && !m.GetBlocked() && m.GetRemark() == "" {
		return nil
	}
	return &pb.Membership{Contact: m.Contact, Blocked: m.Blocked, Remark: m.Remark, ContactMs: m.ContactMs}
}

// putContact keeps the copy right for a membership of a direct conversation that
// changes.
func (tx *Tx) putContact(index uint64, user, conversation string, was, is *pb.Membership) error {
	if was == is { // a cursor has moved
		return nil
	}
	before, after := contactOf(was), contactOf(is)
	if proto.Equal(before, after) {
		return nil
	}
	peer, _ := protocol.Peer(conversation, user)
	key := append(appendContactPrefix(nil, tx.s.PartitionOf(conversation), user), peer...)
	if after == nil {
		return tx.dropRow(key)
	}
	value, err := proto.MarshalOptions{Deterministic: true}.Marshal(after)
	if err != nil {
		return tx.fail(fmt.Errorf("msgstore: put contact: %w", err))
	}
	return tx.putRow(index, key, value)
}

// Contacts calls f for the users who are, or were asked to be, a user's contacts,
// are blocked or have a remark, in the order of their ids and from the one after
// after on, until f returns an error. m has what is said of them, and nothing
// else of the membership. more: there are more than limit.
func (s *Store) Contacts(user, after string, limit int, f func(peer string, m *pb.Membership) error) (more bool, err error) {
	type contact struct {
		peer string
		m    *pb.Membership
	}
	var all []contact
	err = s.eachContact(user, after, limit, func(peer string, value []byte) (bool, error) {
		m := new(pb.Membership)
		if err := proto.Unmarshal(value, m); err != nil {
			return false, fmt.Errorf("%w: bad contact %q of %q", ErrCorrupt, peer, user)
		}
		all = append(all, contact{peer, m})
		return true, nil
	})
	if err != nil {
		return false, err
	}
	slices.SortFunc(all, func(a, b contact) int { return cmp.Compare(a.peer, b.peer) })
	if more = len(all) > limit; more {
		all = all[:limit]
	}
	for _, c := range all {
		if err := f(c.peer, c.m); err != nil {
			return false, err
		}
	}
	return more, nil
}

// HasContacts reports whether a user has n or more of those whom Contacts lists.
func (s *Store) HasContacts(user string, n int) (bool, error) {
	found := 0
	err := s.eachContact(user, "", n, func(string, []byte) (bool, error) {
		found++
		return found < n, nil
	})
	return found >= n, err
}

// eachContact calls f for a user's contacts past after, partition by partition and
// in each by id, until f returns false there, which is called for one more than
// limit at the most. value is valid until it returns.
func (s *Store) eachContact(user, after string, limit int, f func(peer string, value []byte) (bool, error)) error {
	for p := range s.parts {
		prefix := appendContactPrefix(nil, p, user)
		lower := append(slices.Clone(prefix), after...)
		if after != "" {
			lower = append(lower, 0) // the next possible id
		}
		n := 0
		err := s.rowsIn(lower, successor(slices.Clone(prefix)), func(key, value []byte, _ uint64) (bool, error) {
			n++
			more, err := f(string(key[len(prefix):]), value)
			return more && n <= limit, err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// addContacts makes the rows of a store of a format that had none. To do it again,
// after a crash on the way, does no harm.
func (s *Store) addContacts() error {
	for p := range s.parts {
		batch := s.db.NewBatch()
		lower := appendTable(nil, p, tableMember)
		err := s.scan(lower, successor(slices.Clone(lower)), func(key, value []byte) (bool, error) {
			if err := addContact(batch, p, key[len(lower):], value); err != nil || batch.Len() < 1<<20 {
				return err == nil, err
			}
			err := batch.Commit(pebble.Sync)
			batch = s.db.NewBatch()
			return err == nil, err
		})
		if err = errors.Join(err, batch.Commit(pebble.Sync)); err != nil {
			return fmt.Errorf("msgstore: add contacts: %w", err)
		}
	}
	return nil
}

// addContact adds the row for a membership, of which it gets the value and the key
// without its beginning, if there is to be one.
func addContact(batch *pebble.Batch, p int, key, value []byte) error {
	user, conversation, _ := strings.Cut(string(key), "\x00")
	peer, direct := protocol.Peer(conversation, user)
	if !direct {
		return nil
	}
	m, err := decodeMember(value)
	if err != nil {
		return err
	}
	c := contactOf(m.Membership)
	if c == nil {
		return nil
	}
	row, err := proto.MarshalOptions{Deterministic: true}.MarshalAppend(binary.BigEndian.AppendUint64(nil, m.Stamp), c)
	if err != nil {
		return err
	}
	return batch.Set(append(appendContactPrefix(nil, p, user), peer...), row, nil)
}
