package msgstore

import (
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"

	"github.com/godwit-im/godwit/protocol"
	"github.com/godwit-im/godwit/protocol/pb"
)

// groupAt is a group's data and the log index at which they changed last, but for
// the number of a broadcast's followers.
type groupAt struct {
	group *pb.Group
	stamp uint64
}

// The sizes of the caches: a group's data are a KiB or so, and the list of a
// user's groups 50 bytes for each.
const (
	groupsCached = 1 << 14
	joinedCached = 1 << 16
)

// Group returns a group's data, and whether there is such a group. The result
// is shared: it must not be changed.
func (tx *Tx) Group(conversation string) (*pb.Group, bool, error) {
	if g, ok := tx.groups[conversation]; ok {
		return g.group, true, nil
	}
	g, found, err := tx.s.Group(conversation)
	return g, found, tx.failed(err)
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
	tx.groups[g.Conversation] = groupAt{g, index}
	if err := tx.putRow(index, appendGroupKey(nil, p, g.Conversation), value); err != nil {
		return err
	}
	if g.Kind == pb.GroupKind_GROUP_KIND_BROADCAST {
		return tx.putFollowers(index, p, g)
	}
	return nil
}

// PutFollowers sets how many members a broadcast has, which there is, and nothing
// else of g. That is in a row of its own and no change of the group: of the
// million who may follow it, nobody is to be told of one more. g must not be
// changed afterwards.
func (tx *Tx) PutFollowers(index uint64, g *pb.Group) error {
	p := tx.s.PartitionOf(g.Conversation)
	if err := tx.touch(p, index); err != nil {
		return err
	}
	at, ok := tx.groups[g.Conversation]
	if !ok {
		var err error
		if _, at.stamp, ok, err = tx.s.GroupAt(g.Conversation); err != nil {
			return tx.fail(err)
		}
	}
	if !ok || g.Kind != pb.GroupKind_GROUP_KIND_BROADCAST {
		return tx.fail(fmt.Errorf("msgstore: put followers: there is no broadcast %q", g.Conversation))
	}
	at.group = g
	tx.groups[g.Conversation] = at
	return tx.putFollowers(index, p, g)
}

func (tx *Tx) putFollowers(index uint64, p int, g *pb.Group) error {
	return tx.putRow(index, appendFollowersKey(nil, p, g.Conversation), binary.AppendUvarint(nil, uint64(g.Members)))
}

// Group is Tx.Group for what is durable.
func (s *Store) Group(conversation string) (*pb.Group, bool, error) {
	g, _, found, err := s.GroupAt(conversation)
	return g, found, err
}

// GroupAt is Group with the log index at which the data changed last, but for the
// number of a broadcast's followers.
func (s *Store) GroupAt(conversation string) (g *pb.Group, stamp uint64, found bool, err error) {
	at, lease, ok := s.groups.get(conversation)
	if ok {
		return at.group, at.stamp, true, nil
	}
	value, stamp, err := s.row(appendGroupKey(nil, s.PartitionOf(conversation), conversation))
	if err != nil || value == nil {
		s.groups.drop(conversation, lease)
		return nil, 0, false, err
	}
	if g, err = s.decodeGroup(conversation, value); err != nil {
		s.groups.drop(conversation, lease)
		return nil, 0, false, err
	}
	s.groups.fill(conversation, lease, groupAt{g, stamp})
	return g, stamp, true, nil
}

// decodeGroup decodes the row of a group. How many follow a broadcast it looks
// up: its row says how many did when the rest changed last.
func (s *Store) decodeGroup(conversation string, value []byte) (*pb.Group, error) {
	g := new(pb.Group)
	if err := proto.Unmarshal(value, g); err != nil {
		return nil, fmt.Errorf("%w: bad group value of %q", ErrCorrupt, conversation)
	}
	if g.Kind != pb.GroupKind_GROUP_KIND_BROADCAST {
		return g, nil
	}
	value, _, err := s.row(appendFollowersKey(nil, s.PartitionOf(conversation), conversation))
	if err != nil || value == nil { // nobody has come or gone since it was in format 3
		return g, err
	}
	n, size := binary.Uvarint(value)
	if size != len(value) || n > math.MaxUint32 {
		return nil, fmt.Errorf("%w: bad number of followers of %q", ErrCorrupt, conversation)
	}
	g.Members = uint32(n)
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
	users, more, err := usersIn(s.rowsIn, appendGroupMemberPrefix(nil, s.PartitionOf(conversation), conversation, class), after, limit)
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
// of their ids. The result is shared and must not be changed.
func (s *Store) Groups(user string) ([]string, error) {
	list, lease, ok := s.joined.get(user)
	if ok {
		return list, nil
	}
	err := s.walkMembers(user, "g:", func(conversation string, m Member) error {
		if memberClass(conversation, m) == classActive {
			list = append(list, conversation)
		}
		return nil
	})
	if err != nil {
		s.joined.drop(user, lease)
		return nil, err
	}
	slices.Sort(list)
	s.joined.fill(user, lease, list)
	return list, nil
}

// joinedOrLeft takes over what the change of a membership, which is durable now,
// means for its user's Groups. Two writers may call it at a time.
func (s *Store) joinedOrLeft(r *txMember) {
	id := r.id.conversation
	was, is := r.prior.exists && memberClass(id, r.prior.m) == classActive, memberClass(id, r.now) == classActive
	if was == is {
		return
	}
	s.joined.update(r.id.user, func(list []string) []string {
		i, found := slices.BinarySearch(list, id)
		switch {
		case is && !found:
			return slices.Insert(slices.Clone(list), i, strings.Clone(id))
		case !is && found:
			return slices.Delete(slices.Clone(list), i, i+1)
		}
		return list
	})
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
