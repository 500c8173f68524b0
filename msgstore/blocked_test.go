package msgstore

import (
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// TestBlockedIsKept has it in the head whatever else happens to the
// conversation: messages, retention down to nothing, a restart.
func TestBlockedIsKept(t *testing.T) {
	opts := memOptions(t, vfs.NewMem())
	s := open(t, opts)
	conversation := fill(t, s, 3)
	w := newWriter(s)
	want := func(what string, blocked bool) {
		t.Helper()
		check(t, w.commit())
		h, _, err := s.Head(conversation)
		check(t, err)
		if h.Blocked != blocked {
			t.Errorf("%s: blocked is %v", what, h.Blocked)
		}
		v := s.View()
		h, _, err = v.Newest(conversation)
		check(t, err)
		h, err = v.Complete(conversation, h)
		check(t, err)
		check(t, v.Close())
		if h.Blocked != blocked {
			t.Errorf("%s, in a view: blocked is %v", what, h.Blocked)
		}
	}
	restart := func() {
		t.Helper()
		closeStore(t, s)
		s = open(t, opts)
		w = newWriter(s)
	}
	want("at first", false)
	check(t, w.begin().PutBlocked(w.next(conversation), conversation, true))
	want("set", true)
	restart()
	want("after a restart", true)
	_, err := w.send("alice", "bob", "c9", "one more")
	check(t, err)
	want("with another message", true)
	restart()
	want("after a restart with that", true)
	_, err = w.begin().Trim(w.next(conversation), conversation, 5)
	check(t, err)
	want("without messages", true)
	restart()
	want("after a restart without messages", true)
	check(t, w.begin().PutBlocked(w.next(conversation), conversation, false))
	want("taken back", false)
	restart()
	want("after a restart with that taken back", false)
	closeStore(t, s)
}
