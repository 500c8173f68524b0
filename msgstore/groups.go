package msgstore

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"sync"

	"google.golang.org/protobuf/proto"

	"github.com/godwit-im/godwit/protocol"
	"github.com/godwit-im/godwit/protocol/pb"
)

// Group returns a group's data, and whether there is such a group. The result
// is shared: it must not be changed.
func (tx *Tx) Group(conversation string) (*pb.Group, bool, error) {
	value, err := tx.row(appendGroupKey(nil, tx.s.PartitionOf(conversation), conversation))
	if err != nil || value == nil {
		return nil, false, err
	}
	g, err := tx.s.decoded.group(conversation, stampOf(value), value[stampSize:])
	return g, err == nil, tx.failed(err)
}

// PutGroup sets a group's data. g must not be changed afterwards.
func (tx *Tx) PutGroup(index uint64, g *pb.Group) error {
	p := tx.s.PartitionOf(g.Conversation)
	if err := tx.touch(p, index); err != nil {
		return err
	}
	value, err := proto.MarshalOptions{Deterministic: true}.Marshal(g)
	if err != nil {
		return tx.fail(fmt.Errorf("msgstore: put group: %w", err))
	}
	tx.groups = append(tx.groups, g.Conversation)
	return tx.putRow(index, appendGroupKey(nil, p, g.Conversation), value)
}

// Group is Tx.Group for what is durable.
func (s *Store) Group(conversation string) (*pb.Group, bool, error) {
	g, _, found, err := s.GroupAt(conversation)
	return g, found, err
}

// GroupAt is Group with the log index at which the data changed last.
func (s *Store) GroupAt(conversation string) (g *pb.Group, stamp uint64, found bool, err error) {
	p := s.PartitionOf(conversation)
	value, stamp, err := s.row(p, appendGroupKey(nil, p, conversation))
	if err != nil || value == nil {
		return nil, 0, false, err
	}
	g, err = s.decoded.group(conversation, stamp, value)
	return g, stamp, err == nil, err
}

// groupCache saves decoding what was decoded before. The row is read all the
// same, so nothing here is ever stale.
type groupCache struct {
	mu     sync.Mutex
	groups map[string]decodedGroup
}

type decodedGroup struct {
	stamp uint64
	value []byte
	group *pb.Group
}

// maxDecoded bounds the groups that are remembered, of a KiB or so each.
const maxDecoded = 4096

func (c *groupCache) group(conversation string, stamp uint64, value []byte) (*pb.Group, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	// Within a Tx that fails the same stamp may come twice with different data.
	if d, ok := c.groups[conversation]; ok && d.stamp == stamp && bytes.Equal(d.value, value) {
		return d.group, nil
	}
	g := new(pb.Group)
	if err := proto.Unmarshal(value, g); err != nil {
		return nil, fmt.Errorf("%w: bad group value of %q", ErrCorrupt, conversation)
	}
	if c.groups == nil || len(c.groups) >= maxDecoded {
		c.groups = make(map[string]decodedGroup)
	}
	c.groups[strings.Clone(conversation)] = decodedGroup{stamp, bytes.Clone(value), g}
	return g, nil
}

// memberClass is the class of the row that a group has for a member; 0 for
// none.
func memberClass(conversation string, m Member) byte {
	if protocol.KindOf(conversation) != protocol.Group {
		return 0
	}
	switch m.Membership.GetStanding() {
	case pb.Standing_STANDING_ACTIVE:
		return classActive
	case pb.Standing_STANDING_REQUESTED:
		return classRequested
	}
	return 0
}

// moveMember moves a member's row of the group from a class to another.
func (tx *Tx) moveMember(index uint64, user, conversation string, was, is byte) error {
	p := tx.s.PartitionOf(conversation)
	if was != 0 {
		if err := tx.dropRow(append(appendGroupMemberPrefix(nil, p, conversation, was), user...)); err != nil {
			return err
		}
	}
	if is != 0 {
		return tx.putRow(index, append(appendGroupMemberPrefix(nil, p, conversation, is), user...), nil)
	}
	return nil
}

// GroupMembers calls f for the members of a group, or for those who asked to
// be, in the order of their ids and from the one after after on, until f returns
// an error. more: there are more than limit.
func (s *Store) GroupMembers(conversation string, requests bool, after string, limit int, f func(user string, m Member) error) (more bool, err error) {
	class := byte(classActive)
	if requests {
		class = classRequested
	}
	p := s.PartitionOf(conversation)
	prefix := appendGroupMemberPrefix(nil, p, conversation, class)
	lower := append(slices.Clone(prefix), after...)
	if after != "" {
		lower = append(lower, 0) // the next possible id
	}
	var users []string
	err = s.rowsIn(p, lower, successor(slices.Clone(prefix)), func(key, _ []byte, _ uint64) (bool, error) {
		if more = len(users) == limit; more {
			return false, nil
		}
		users = append(users, string(key[len(prefix):]))
		return true, nil
	})
	if err != nil {
		return false, err
	}
	for _, user := range users {
		m, found, err := s.Member(user, conversation)
		if err != nil {
			return false, err
		}
		if !found || memberClass(conversation, m) != class {
			continue // a change since
		}
		if err := f(user, m); err != nil {
			return false, err
		}
	}
	return more, nil
}

// Groups returns the groups of which a user is an active member, in the order
// of their partitions and ids. The result is shared and must not be changed.
func (s *Store) Groups(user string) ([]string, error) {
	list, lease := s.groups.get(user)
	if lease == 0 {
		return list, nil
	}
	list = make([]string, 0)
	err := s.walkMembers(user, "g:", func(conversation string, m Member) error {
		if memberClass(conversation, m) == classActive {
			list = append(list, conversation)
		}
		return nil
	})
	if err != nil {
		s.groups.end(user, lease, nil)
		return nil, err
	}
	s.groups.end(user, lease, list)
	return list, nil
}

// walkMembers calls f for a user's memberships of conversations whose ids begin
// with prefix.
func (s *Store) walkMembers(user, prefix string, f func(conversation string, m Member) error) error {
	for p := range s.parts {
		lower := append(appendMemberPrefix(nil, p, user), prefix...)
		skip := len(lower) - len(prefix)
		err := s.scan(lower, successor(slices.Clone(lower)), func(key, value []byte) (bool, error) {
			m, err := decodeMember(value)
			if err != nil {
				return false, err
			}
			conversation := string(key[skip:])
			if m.Stamp > s.parts[p].synced.Load() {
				var found bool
				if m, found, err = s.Member(user, conversation); err != nil || !found {
					return err == nil, err
				}
			}
			return true, f(conversation, m)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// groupLists keeps the groups of the users who were asked about. Commits change
// what is there. A reader that finds nothing takes a lease, and what it has read
// counts only if no commit has ended it (see headCache).
type groupLists struct {
	mu     sync.Mutex
	lists  map[string][]string
	leases map[string]uint64
	last   uint64
}

// maxGroupLists bounds the users that are remembered. When there are more, all
// are forgotten: they are found again by 16 short scans each.
const maxGroupLists = 1 << 17

// get returns a user's list or, with a lease that isn't 0, the task to find it.
func (l *groupLists) get(user string) (list []string, lease uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if list, ok := l.lists[user]; ok {
		return list, 0
	}
	if l.leases == nil {
		l.leases = make(map[string]uint64)
	}
	l.last++
	l.leases[user] = l.last // a later reader's is as good
	return nil, l.last
}

// end ends a lease with what was found; nil: nothing.
func (l *groupLists) end(user string, lease uint64, list []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.leases[user] != lease {
		return
	}
	delete(l.leases, user)
	if list == nil {
		return
	}
	if l.lists == nil || len(l.lists) >= maxGroupLists {
		l.lists = make(map[string][]string)
	}
	l.lists[strings.Clone(user)] = list
}

// changed takes over the change of a membership that is durable now.
func (l *groupLists) changed(r *txMember) {
	if protocol.KindOf(r.id.conversation) != protocol.Group {
		return
	}
	was, is := r.prior.exists && memberClass(r.id.conversation, r.prior.m) == classActive, memberClass(r.id.conversation, r.now) == classActive
	if was == is {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.leases, r.id.user)
	list, ok := l.lists[r.id.user]
	if !ok {
		return
	}
	if is {
		l.lists[strings.Clone(r.id.user)] = append(slices.Clip(list), strings.Clone(r.id.conversation))
		return
	}
	l.lists[r.id.user] = slices.DeleteFunc(slices.Clone(list), func(g string) bool { return g == r.id.conversation })
}

// Contacts calls f for the rows of a user's direct conversations in which the
// other one is, or was asked to be, a contact, is blocked or has a remark, in
// the order of the others' ids and from the one after after on. more: there are
// more than limit. It reads all of the user's direct conversations each time.
func (s *Store) Contacts(user, after string, limit int, f func(peer string, m Member) error) (more bool, err error) {
	type contact struct {
		peer string
		m    Member
	}
	var all []contact
	err = s.walkMembers(user, "d:", func(conversation string, m Member) error {
		c := m.Membership
		if c == nil || c.Contact == pb.ContactState_CONTACT_STATE_NONE && !c.Blocked && c.Remark == "" {
			return nil
		}
		if peer, _ := protocol.Peer(conversation, user); peer > after {
			all = append(all, contact{peer, m})
		}
		return nil
	})
	if err != nil {
		return false, err
	}
	slices.SortFunc(all, func(a, b contact) int { return strings.Compare(a.peer, b.peer) })
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
