package msgstore

import (
	"fmt"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/godwit-im/godwit/protocol/pb"
)

// What changed and what didn't are told apart, from the start of the store on.
func TestChangedSince(t *testing.T) {
	opts := memOptions(t, vfs.NewMem())
	opts.Partitions = 1
	s := open(t, opts)
	w := newWriter(s)
	send := func(from, to string) uint64 {
		t.Helper()
		_, err := w.send(from, to, fmt.Sprint(w.now), "hello")
		check(t, err)
		check(t, w.commit())
		return s.Applied(0)
	}
	expect := func(index uint64, changed, unchanged []string) {
		t.Helper()
		for _, name := range changed {
			if !s.ChangedSince(0, name, index) {
				t.Errorf("%s did not change past %d", name, index)
			}
		}
		for _, name := range unchanged {
			if s.ChangedSince(0, name, index) {
				t.Errorf("%s changed past %d", name, index)
			}
		}
	}
	everybody := []string{"alice", "bob", "carol", "dave", "d:alice:bob", "d:carol:dave"}
	first := send("alice", "bob")
	second := send("carol", "dave")
	expect(0, everybody, []string{"erin"})
	expect(first, []string{"carol", "dave", "d:carol:dave"}, []string{"alice", "bob", "d:alice:bob"})
	expect(second, nil, everybody)

	// A cursor that moves is a change to both members.
	check(t, w.begin().PutMember(w.next("d:alice:bob"), "alice", "d:alice:bob", Member{ReadSeq: 1}))
	expect(second, nil, everybody) // it isn't committed yet
	check(t, w.commit())
	third := s.Applied(0)
	expect(second, []string{"alice", "bob", "d:alice:bob"}, []string{"carol", "dave", "d:carol:dave"})

	closeStore(t, s)
	s = open(t, opts)
	defer func() { closeStore(t, s) }()
	w = newWriter(s)
	expect(third-1, append(everybody, "erin"), nil) // from before the start nothing is known
	expect(third, nil, everybody)
	fourth := send("alice", "bob")
	expect(third, []string{"alice", "bob"}, []string{"carol", "dave"})

	// A group's own changes are the group's, and a membership its member's.
	check(t, w.begin().Create(w.next("g:ann:1"), "g:ann:1", "erin"))
	check(t, w.commit())
	expect(fourth, []string{"erin", "g:ann:1"}, everybody)
	fifth := s.Applied(0)
	check(t, w.begin().PutMember(w.next("g:ann:1"), "erin", "g:ann:1", Member{ReadSeq: 1}))
	check(t, w.commit())
	expect(fifth, []string{"erin"}, append(everybody, "g:ann:1"))
	sixth := s.Applied(0)
	check(t, w.begin().PutGroup(w.next("g:ann:1"), &pb.Group{Conversation: "g:ann:1", Name: "one"}))
	check(t, w.commit())
	expect(sixth, []string{"g:ann:1"}, append(everybody, "erin"))

	// Who follows a broadcast is the business of who does.
	check(t, w.begin().PutGroup(w.next(testBroadcast), broadcast(1)))
	check(t, w.commit())
	expect(s.Applied(0)-1, []string{testBroadcast}, everybody)
	seventh := s.Applied(0)
	for n := range uint32(3) {
		check(t, w.begin().PutFollowers(w.next(testBroadcast), broadcast(n)))
		if n == 1 {
			continue // two in a commit
		}
		check(t, w.commit())
		expect(seventh, nil, append(everybody, testBroadcast))
	}
	if g, stamp, _, err := s.GroupAt(testBroadcast); err != nil || g.Members != 2 || stamp != seventh {
		t.Errorf("%v of %d, %v; want 2 of %d", g, stamp, err, seventh)
	}
	// Both in a commit, in either order.
	for _, followersLast := range []bool{false, true} {
		before := s.Applied(0)
		check(t, w.begin().PutFollowers(w.next(testBroadcast), broadcast(3)))
		check(t, w.begin().PutGroup(w.next(testBroadcast), broadcast(4)))
		changed := w.index[0]
		if followersLast {
			check(t, w.begin().PutFollowers(w.next(testBroadcast), broadcast(5)))
		}
		check(t, w.commit())
		expect(before, []string{testBroadcast}, everybody)
		g, stamp, _, err := s.GroupAt(testBroadcast)
		if want := map[bool]uint32{false: 4, true: 5}[followersLast]; err != nil || g.Members != want || stamp != changed {
			t.Errorf("%v of %d, %v; want %d of %d", g, stamp, err, want, changed)
		}
	}
}

// Only a broadcast has followers.
func TestFollowersOfNothing(t *testing.T) {
	s := openMem(t)
	w := newWriter(s)
	if err := w.begin().PutFollowers(w.next(testBroadcast), broadcast(1)); err == nil {
		t.Error("a broadcast that isn't there has a follower")
	}
	w.tx.Discard()
	w = newWriter(s)
	check(t, w.begin().PutGroup(w.next(testGroup), &pb.Group{Conversation: testGroup}))
	if err := w.begin().PutFollowers(w.next(testGroup), &pb.Group{Conversation: testGroup, Members: 1}); err == nil {
		t.Error("a group has a follower")
	}
	w.tx.Discard()
}
