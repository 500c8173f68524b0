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
}
