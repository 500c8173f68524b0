package msgstore

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/cockroachdb/pebble/v2"

	"github.com/godwit-im/godwit/protocol"
	"github.com/godwit-im/godwit/protocol/pb"
)

// befriend makes so many direct conversations of ann's, in every few-th of which
// the other one is a contact.
func befriend(t testing.TB, w *writer, conversations, every int) {
	t.Helper()
	for i := range conversations {
		id := protocol.DirectID("ann", fmt.Sprintf("peer%06d", i))
		m := Member{}
		if i%every == 0 {
			m.Membership = &pb.Membership{Contact: pb.ContactState_CONTACT_STATE_CONTACT, ContactMs: int64(i)}
		}
		check(t, errors.Join(w.begin().Create(w.next(id), id), w.tx.PutMember(w.next(id), "ann", id, m)))
		if i%1000 == 999 {
			check(t, w.commit())
		}
	}
	check(t, w.commit())
}

// Who one only talks with is not looked at, neither to list contacts nor to count
// them: here that would show, as none of their rows can be read.
func TestContactsAlone(t *testing.T) {
	s := openMem(t)
	w := newWriter(s)
	befriend(t, w, 100, 10)
	var want []string
	for i := range 100 {
		peer := fmt.Sprintf("peer%06d", i)
		id := protocol.DirectID("ann", peer)
		if i%10 == 0 {
			want = append(want, peer)
			continue
		}
		check(t, s.db.Set(appendMemberKey(nil, s.PartitionOf(id), "ann", id), []byte("damaged"), pebble.Sync))
	}
	var got []string
	more, err := s.Contacts("ann", "", 100, func(peer string, _ *pb.Membership) error {
		got = append(got, peer)
		return nil
	})
	if err != nil || more || !slices.Equal(got, want) {
		t.Errorf("contacts %v, more: %v, %v; want %v", got, more, err, want)
	}
	for n, want := range map[int]bool{10: true, 11: false} {
		if has, err := s.HasContacts("ann", n); err != nil || has != want {
			t.Errorf("%d or more: %v, %v", n, has, err)
		}
	}
}

func BenchmarkContacts(b *testing.B) {
	for _, many := range []struct{ conversations, every int }{{100, 10}, {10_000, 1000}, {10_000, 2}} {
		b.Run(fmt.Sprintf("conversations=%d/contacts=%d", many.conversations, many.conversations/many.every), func(b *testing.B) {
			s := openMem(b)
			befriend(b, newWriter(s), many.conversations, many.every)
			check(b, s.db.Flush())
			for b.Loop() {
				n := 0
				_, err := s.Contacts("ann", "", many.conversations, func(string, *pb.Membership) error {
					n++
					return nil
				})
				if err != nil || n != many.conversations/many.every {
					b.Fatal(n, err)
				}
			}
		})
	}
}
