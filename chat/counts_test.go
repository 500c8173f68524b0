package chat

import (
	"cmp"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"pgregory.net/rapid"

	"github.com/godwit-im/godwit/msgstore"
	"github.com/godwit-im/godwit/protocol/pb"
)

// TestUnreadIsExact counts what is unread by hand, after each of a run of
// random commands.
func TestUnreadIsExact(t *testing.T) {
	rules := DefaultRules()
	rapid.Check(t, func(t *rapid.T) {
		store, err := msgstore.Open(storeOptions(vfs.NewMem()))
		if err != nil {
			t.Fatal(err)
		}
		defer store.Close()
		const conversation = "d:ann:bob"
		p := store.PartitionOf(conversation)
		for i := range rapid.IntRange(1, 60).Draw(t, "commands") {
			c := drawCommand(t)
			if c.Conversation = conversation; c.User == "cid" || c.User == "dan" {
				c.User = "bob"
			}
			c.MessageID, c.Rules = uint64(1000+i), &rules
			if c.Op == OpExpire {
				c.ExpiresMs = expiresMs(t, store, conversation, c.Seq)
				c.TimeMs = max(c.TimeMs, c.ExpiresMs)
			}
			tx := store.Begin()
			index := store.Applied(p) + 1
			r, _, err := Apply(tx, index, &c, nil)
			if err != nil {
				t.Fatal(err)
			}
			tx.SetApplied(p, index)
			if err := tx.Commit(); err != nil {
				t.Fatal(err)
			}
			head, exists, err := store.Head(conversation)
			if err != nil {
				t.Fatal(err)
			}
			if !exists {
				continue
			}
			for _, user := range []string{"ann", "bob"} {
				got, want := unreadOf(t, store, head, user, c.TimeMs), unreadByHand(t, store, head, user, c.TimeMs)
				if got != want {
					t.Fatalf("after command %d, %+v: %d unread of %s, want %d", i, c, got, user, want)
				}
				if c.Op == OpMark && c.User == user && r.Err == nil && (r.Count.Unread != want || r.Count.HeadSeq != head.Seq || r.Count.TimeMs != c.TimeMs) {
					t.Fatalf("MARK by %s said %+v, want %d unread up to %d at %d", user, r.Count, want, head.Seq, c.TimeMs)
				}
			}
		}
	})
}

func expiresMs(t *rapid.T, store *msgstore.Store, conversation string, seq uint64) int64 {
	wire, found, err := store.Message(conversation, seq)
	if err != nil {
		t.Fatal(err)
	}
	if !found {
		return 1
	}
	return cmp.Or(decode(t, wire).ExpiresMs, 1)
}

func unreadOf(t *rapid.T, store *msgstore.Store, head msgstore.Head, user string, nowMs int64) uint64 {
	row, _, err := store.Member(user, "d:ann:bob")
	if err != nil {
		t.Fatal(err)
	}
	read := func(conversation string, seq uint64) ([]byte, error) {
		wire, _, err := store.Message(conversation, seq)
		return wire, err
	}
	n, err := Unread(read, store.GoneBetween, head, row, "d:ann:bob", user, nowMs)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// unreadByHand goes by the time and not by whether anybody has swept since.
func unreadByHand(t *rapid.T, store *msgstore.Store, head msgstore.Head, user string, nowMs int64) (n uint64) {
	row, _, err := store.Member(user, "d:ann:bob")
	if err != nil {
		t.Fatal(err)
	}
	for seq := max(row.ReadSeq+1, head.MinSeq); seq <= head.Seq; seq++ {
		wire, found, err := store.Message("d:ann:bob", seq)
		if err != nil || !found {
			t.Fatalf("message %d: %v, %v", seq, found, err)
		}
		m := decode(t, wire)
		if m.Sender != user && counts(m) && m.State != pb.MessageState_MESSAGE_STATE_RECALLED && !isOver(m.ExpiresMs, nowMs) {
			n++
		}
	}
	return n
}

// TestUnreadOfWhoLeft: what became of messages that one doesn't see any more
// changes no count.
func TestUnreadOfWhoLeft(t *testing.T) {
	p := newPoster(t)
	defer p.close()
	for range 4 {
		p.text("ann", "x")
	}
	for _, target := range []uint64{3, 4} {
		if r, _ := p.post("ann", pb.Role_ROLE_OWNER, Command{Kind: pb.Kind_KIND_RECALL, Target: target}); r.Err != nil {
			t.Fatal(r.Err)
		}
	}
	head, _, err := p.store.Head(posted)
	if err != nil {
		t.Fatal(err)
	}
	row := msgstore.Member{ReadSeq: 1, ReadOthers: 1, Membership: &pb.Membership{FromSeq: 1, UntilSeq: 2}}
	read := func(conversation string, seq uint64) ([]byte, error) {
		wire, _, err := p.store.Message(conversation, seq)
		return wire, err
	}
	for until, want := range map[uint64]uint64{2: 1, 3: 1, 1: 0, 0: 1} {
		row.Membership.UntilSeq = until
		if n, err := Unread(read, p.store.GoneBetween, head, row, posted, "bob", 0); n != want || err != nil {
			t.Errorf("until %d: %d unread, %v, want %d", until, n, err, want)
		}
	}
}
