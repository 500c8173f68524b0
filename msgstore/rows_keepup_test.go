package msgstore

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"google.golang.org/protobuf/proto"

	"github.com/godwit-im/godwit/protocol"
	"github.com/godwit-im/godwit/protocol/pb"
)

// Readers who saw a state of a row, of a rewritten message or of a list never see
// an older one afterwards, whatever falls together; and who reads Applied first
// finds what was applied.
func TestRowsDontGoBack(t *testing.T) {
	opts := memOptions(t, vfs.NewMem())
	opts.Partitions = 1
	s := open(t, opts)
	defer closeStore(t, s)
	w := newWriter(s)
	tx := w.begin()
	check(t, tx.Create(w.next(testGroup), testGroup))
	m, err := w.say(&pb.Message{})
	check(t, err)
	round := func(n uint64) {
		tx := w.begin()
		m.ChangedSeq = n
		m.Body = make([]byte, n%100)
		check(t, errors.Join(
			tx.Rewrite(w.next(testGroup), m, encode(m)),
			tx.PutSeen(w.next(testGroup), testGroup, "ann", int64(n)),
			tx.PutGroup(w.next(testGroup), &pb.Group{Conversation: testGroup, Version: n}),
			// One is there, always: the row of the round.
			tx.PutReaction(w.next(testGroup), testGroup, 1, "round", fmt.Sprintf("%06d", n-1), false),
			tx.PutReaction(w.next(testGroup), testGroup, 1, "round", fmt.Sprintf("%06d", n), true),
			w.commit(),
		))
	}
	round(1)
	first := s.Applied(0)
	round(2)
	perRound := s.Applied(0) - first

	var stop atomic.Bool
	var readers sync.WaitGroup
	for range 4 {
		readers.Go(func() {
			newest := make(map[string]uint64)
			for !stop.Load() {
				want := (s.Applied(0)-first)/perRound + 1
				if err := readRounds(s, want, newest); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	for n := uint64(3); n < 400; n++ {
		round(n)
	}
	stop.Store(true)
	readers.Wait()
}

// readRounds reads what every round changes, and returns an error if anything is
// of a round before want or of one before what newest has.
func readRounds(s *Store, want uint64, newest map[string]uint64) error {
	got := make(map[string]uint64)
	wire, _, err := s.Message(testGroup, 1)
	if err != nil {
		return err
	}
	var m pb.Message
	if err := proto.Unmarshal(wire, &m); err != nil {
		return err
	}
	got["message"] = m.ChangedSeq
	r, err := s.Range(testGroup, 1, 1, false, 1, 1<<20, nil)
	if err != nil || r.N != 1 {
		return fmt.Errorf("%d messages, %w", r.N, err)
	}
	var page pb.Pulled
	if err := proto.Unmarshal(r.Encoded, &page); err != nil {
		return err
	}
	got["range"] = page.Messages[0].ChangedSeq
	seen, err := s.Seen(testGroup, "ann")
	if err != nil {
		return err
	}
	got["seen"] = uint64(seen)
	g, _, err := s.Group(testGroup)
	if err != nil {
		return err
	}
	got["group"] = g.GetVersion()
	users, _, err := s.Reactors(testGroup, 1, "round", "", 10)
	if err != nil || len(users) == 0 {
		return fmt.Errorf("reactors %v, %w", users, err)
	}
	for _, user := range users {
		n, err := strconv.ParseUint(user, 10, 64)
		if err != nil || n < want {
			return fmt.Errorf("%s reacted, %w, when %d was applied", user, err, want)
		}
		got["reactors"] = n
	}
	for what, n := range got {
		if n < want || n < newest[what] {
			return fmt.Errorf("the %s is of round %d; %d was applied, and %d seen", what, n, want, newest[what])
		}
		newest[what] = n
	}
	return nil
}

// A user's groups are those that the commits before left, and never fewer than
// somebody saw, whether they are in the cache, looked up or evicted meanwhile.
func TestGroupsKeepUp(t *testing.T) {
	opts := memOptions(t, vfs.NewMem())
	opts.Partitions = 2
	s := open(t, opts)
	defer closeStore(t, s)
	s.joined = newCache[[]string](1, nil)
	// Two writers add to one user's groups, each in a partition of its own.
	var ids [2][]string
	for n := 0; len(ids[0]) < 200 || len(ids[1]) < 200; n++ {
		id := protocol.GroupID("ann", fmt.Sprint(n))
		ids[s.PartitionOf(id)] = append(ids[s.PartitionOf(id)], id)
	}
	var writers, readers sync.WaitGroup
	for p := range ids {
		writers.Go(func() {
			for i, id := range ids[p][:200] {
				tx := s.Begin()
				index := uint64(i + 1)
				member := Member{Membership: &pb.Membership{Standing: pb.Standing_STANDING_ACTIVE}}
				if err := errors.Join(tx.Create(index, id), tx.PutMember(index, "ann", id, member), tx.Commit()); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	var stop atomic.Bool
	for i := range 4 {
		readers.Go(func() {
			most := 0
			for !stop.Load() {
				want := int(s.Applied(0) + s.Applied(1))
				list, err := s.Groups("ann")
				if err != nil || len(list) < want || len(list) < most || !slices.IsSorted(list) {
					t.Errorf("in %d groups, %v, when %d were applied and %d seen", len(list), err, want, most)
					return
				}
				if most = len(list); i == 0 {
					if _, err := s.Groups("bob"); err != nil { // which evicts ann's
						t.Error(err)
					}
				}
			}
		})
	}
	writers.Wait()
	stop.Store(true)
	readers.Wait()
	if list, err := s.Groups("ann"); err != nil || len(list) != 400 {
		t.Errorf("in %d groups, %v, at the end", len(list), err)
	}
}

// A group's data are never older than what was applied, whether they are in the
// cache, looked up or evicted meanwhile.
func TestGroupDataKeepUp(t *testing.T) {
	opts := memOptions(t, vfs.NewMem())
	opts.Partitions = 1
	s := open(t, opts)
	defer closeStore(t, s)
	s.groups = newCache[groupAt](1, nil)
	put := func(conversation string, index uint64) {
		tx := s.Begin()
		check(t, tx.PutGroup(index, &pb.Group{Conversation: conversation, Version: index}))
		check(t, tx.Commit())
	}
	const other = "g:ann:2"
	put(other, 1)
	put(testGroup, 2)
	var stop atomic.Bool
	var readers sync.WaitGroup
	for range 4 {
		readers.Go(func() {
			for !stop.Load() {
				want := s.Applied(0)
				g, stamp, found, err := s.GroupAt(testGroup)
				if err != nil || !found || stamp < want || g.GetVersion() != stamp {
					t.Errorf("version %d of %d, %v, %v; %d was applied", g.GetVersion(), stamp, found, err, want)
					return
				}
				if _, _, err := s.Group(other); err != nil { // which evicts the one that changes
					t.Error(err)
				}
			}
		})
	}
	for index := uint64(3); index < 3000; index++ {
		put(testGroup, index)
	}
	stop.Store(true)
	readers.Wait()
}
