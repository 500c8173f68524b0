package msgstore

import "testing"

// TestRewriteIsTheSameInAnyBatch appends a message and rewrites it, in one commit
// and in two.
func TestRewriteIsTheSameInAnyBatch(t *testing.T) {
	hash := func(commitBetween bool) [32]byte {
		t.Helper()
		s := openMem(t)
		w := newWriter(s)
		id := uint64(0)
		w.id = func() uint64 { id++; return id }
		m, err := w.send("alice", "bob", "c1", "message")
		check(t, err)
		if commitBetween {
			check(t, w.commit())
		}
		m.Body = []byte("another body")
		check(t, w.begin().Rewrite(w.next(m.Conversation), m, encode(m)))
		check(t, w.commit())
		h, err := s.StateHash(s.PartitionOf(m.Conversation))
		check(t, err)
		return h
	}
	if hash(false) != hash(true) {
		t.Error("the stores differ")
	}
}
