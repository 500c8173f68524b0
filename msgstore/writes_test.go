package msgstore

import (
	"errors"
	"fmt"
	"testing"

	"github.com/godwit-im/godwit/protocol/pb"
)

// A message in a group writes its two records, the sender's membership and the
// batch's applied index, whether 2 or 10,000 are in the group. What it writes
// more is for what it says itself.
func TestWritesOfAGroupMessage(t *testing.T) {
	type writes struct{ records, bytes uint64 }
	measure := func(s *Store, w *writer, m *pb.Message) writes {
		t.Helper()
		before := s.Stats()
		_, err := w.say(m)
		check(t, err)
		tx, index := w.tx, w.index[s.PartitionOf(testGroup)] // all of it is one command
		if len(m.Mentions) > 0 {
			check(t, tx.PutMentions(index, testGroup, m.Seq, m.Sender, m.Mentions, false))
		}
		if m.ExpiresMs > 0 {
			check(t, tx.PutExpiry(index, testGroup, m.Seq, m.ExpiresMs))
			check(t, tx.PutGone(index, testGroup, m.Seq, Gone{Sender: m.Sender, Counted: true, ExpiresMs: m.ExpiresMs}))
		}
		mine, _, err := tx.Member("ann", testGroup)
		check(t, err)
		mine.ReadSeq, mine.DeliveredSeq, mine.ReadOthers = m.Seq, m.Seq, m.Count
		check(t, tx.PutMember(index, "ann", testGroup, mine))
		check(t, w.commit())
		after := s.Stats()
		return writes{after.CommittedRecords - before.CommittedRecords, after.CommittedBytes - before.CommittedBytes}
	}
	text := make([]byte, 256)
	var want [3]writes
	for i, size := range []int{2, 100, 10_000} {
		s := openMem(t)
		w := newWriter(s)
		w.id = func() uint64 { return 1 << 60 }
		p := s.PartitionOf(testGroup)
		check(t, w.begin().Create(w.next(testGroup), testGroup))
		check(t, w.standing("ann", pb.Standing_STANDING_ACTIVE))
		for n := range size - 1 {
			check(t, w.standing(fmt.Sprint("member", n), pb.Standing_STANDING_ACTIVE))
		}
		check(t, errors.Join(w.tx.PutGroup(w.next(testGroup), &pb.Group{Conversation: testGroup, Members: uint32(size)}), w.commit()))
		w.index[p], w.now = 20_000, 20_000 // so that numbers take as many bytes everywhere
		var got [3]writes
		for j, m := range []*pb.Message{
			{Kind: pb.Kind_KIND_TEXT, Body: text},
			{Kind: pb.Kind_KIND_TEXT, Body: text, Mentions: []string{"member0", "member1", "member2"}},
			{Kind: pb.Kind_KIND_TEXT, Body: text, ExpiresMs: 1 << 40},
		} {
			got[j] = measure(s, w, m)
		}
		t.Logf("of %d members: plain, with three mentions, expiring: %+v", size, got)
		if i == 0 {
			want = got
		}
		if got != want {
			t.Errorf("in a group of %d a message writes %+v; in one of 2, %+v", size, got, want)
		}
	}
	// The two of the message, the membership, the applied index; the mentions with
	// the conversation's row; the expiry, when it is
	// gone, and the conversation's row.
	if a, b, c := want[0].records, want[1].records, want[2].records; a != 4 || b != 4+3+1 || c != 4+3 {
		t.Errorf("records: %d, %d, %d; want 4, 8, 7", a, b, c)
	}
}
