package msgstore

import (
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/godwit-im/godwit/protocol"
	"github.com/godwit-im/godwit/protocol/pb"
)

// takes puts whom a user takes messages from.
func (w *writer) takes(user string, audience pb.Audience) error {
	id := protocol.SystemID(user)
	row, _, err := w.begin().Member(user, id)
	if err != nil {
		return err
	}
	row.Membership = nil
	if audience != 0 {
		row.Membership = &pb.Membership{Account: &pb.Account{Messages: audience}}
	}
	return w.tx.PutMember(w.next(id), user, id, row)
}

// What a user has chosen is known, from the commit on and after a restart, and what
// they haven't costs no row.
func TestTakes(t *testing.T) {
	opts := memOptions(t, vfs.NewMem())
	s := open(t, opts)
	w := newWriter(s)
	expect := func(user string, want pb.Audience) {
		t.Helper()
		if got, err := s.Takes(user); err != nil || got != want {
			t.Errorf("%s takes messages from %v, %v; want %v", user, got, err, want)
		}
	}
	rows := func(want int) {
		t.Helper()
		n := 0
		check(t, s.scan(nil, nil, func(key, _ []byte) (bool, error) {
			if key[2] == tableChoice {
				n++
			}
			return true, nil
		}))
		if n != want {
			t.Errorf("%d rows of choices, want %d", n, want)
		}
	}
	const contacts, everybody = pb.Audience_AUDIENCE_CONTACTS, pb.Audience_AUDIENCE_EVERYBODY
	expect("ann", 0)
	check(t, w.takes("ann", contacts))
	check(t, w.takes("bob", everybody))
	check(t, w.takes("cid", 0))
	expect("ann", 0) // not before the commit
	check(t, w.commit())
	for range 2 {
		expect("ann", contacts)
		expect("bob", everybody)
		expect("cid", 0)
		rows(2)
		closeStore(t, s)
		s = open(t, opts)
		w = newWriter(s)
	}
	if s.choosers.has("cid") && s.choosers.has("dave") && s.choosers.has("erin") { // one by chance
		t.Error("everybody may have chosen")
	}
	check(t, w.takes("ann", everybody))
	check(t, w.takes("bob", 0))
	check(t, w.commit())
	expect("ann", everybody)
	expect("bob", 0)
	rows(1)
	closeStore(t, s)
}
