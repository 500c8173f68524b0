package chat

import (
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"google.golang.org/protobuf/proto"

	"github.com/godwit-im/godwit/msgstore"
	"github.com/godwit-im/godwit/protocol"
	"github.com/godwit-im/godwit/protocol/pb"
)

// TestOwnInAGroup sets and deletes as users of every standing: those who are in
// the group, or were, have something of it that is theirs, in their bounds.
func TestOwnInAGroup(t *testing.T) {
	const conversation = "g:own:er"
	store := openStore(t, storeOptions(vfs.NewMem()))
	index := uint64(0)
	change := func(f func(tx *msgstore.Tx) error) {
		t.Helper()
		index++
		tx := store.Begin()
		if err := f(tx); err != nil {
			t.Fatal(err)
		}
		if err := tx.Commit(); err != nil {
			t.Fatal(err)
		}
	}
	apply := func(c Command) (r Result) {
		t.Helper()
		c.Conversation, c.Rules = conversation, rulesOf("")
		change(func(tx *msgstore.Tx) (err error) {
			r, _, err = Apply(tx, index, &c, nil)
			tx.SetApplied(store.PartitionOf(conversation), index)
			return err
		})
		return r
	}
	change(func(tx *msgstore.Tx) error { return tx.Create(index, conversation, "owner") })
	for seq := range uint64(9) {
		change(func(tx *msgstore.Tx) error {
			m := &pb.Message{Conversation: conversation, Seq: seq + 1, Id: seq + 1, Sender: "owner", ClientId: "c", Count: seq + 1}
			return tx.Append(index, m, protocol.NewMessageFrame(m)[protocol.HeaderSize:])
		})
	}
	for name, test := range map[string]struct {
		membership  *pb.Membership
		none        bool // nothing of it is theirs
		first, last uint64
	}{
		"active":      {&pb.Membership{Standing: pb.Standing_STANDING_ACTIVE}, false, 1, 9},
		"active late": {&pb.Membership{Standing: pb.Standing_STANDING_ACTIVE, FromSeq: 4}, false, 4, 9},
		"left":        {&pb.Membership{Standing: pb.Standing_STANDING_LEFT, FromSeq: 2, UntilSeq: 5}, false, 2, 5},
		"removed":     {&pb.Membership{Standing: pb.Standing_STANDING_REMOVED, UntilSeq: 5}, false, 1, 5},
		"invited":     {&pb.Membership{Standing: pb.Standing_STANDING_INVITED}, true, 0, 0},
		"requested":   {&pb.Membership{Standing: pb.Standing_STANDING_REQUESTED}, true, 0, 0},
		"declined":    {&pb.Membership{}, true, 0, 0},
		"stranger":    {nil, true, 0, 0},
	} {
		user := strings.ReplaceAll(name, " ", "-")
		if test.membership != nil {
			change(func(tx *msgstore.Tx) error {
				return tx.PutMember(index, user, conversation, msgstore.Member{Membership: test.membership})
			})
		}
		code := func(r Result) protocol.Code {
			if r.Err == nil {
				return 0
			}
			return r.Err.Code
		}
		want := protocol.Code(0)
		if test.none {
			want = pb.Code_CODE_NOT_A_MEMBER
		}
		set := apply(Command{Op: OpSettings, User: user, Settings: &pb.SetSettings{Hidden: proto.Bool(true)}})
		if code(set) != want || set.Settings.GetHiddenSeq() != test.last {
			t.Errorf("%s hides it: %v up to %d, want %s up to %d", name, set.Err, set.Settings.GetHiddenSeq(), want.Name(), test.last)
		}
		if got := apply(Command{Op: OpDelete, User: user, Delete: &pb.Delete{Seqs: []uint64{1, 5}}}); code(got) != want {
			t.Errorf("%s deletes two: %v, want %s", name, got.Err, want.Name())
		}
		deleted, err := store.DeletedSince(user, conversation, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, seq := range deleted {
			if seq < test.first || seq > test.last {
				t.Errorf("%s deleted %d, which they can't read", name, seq)
			}
		}
		if !test.none && len(deleted) == 0 {
			t.Errorf("%s deleted nothing", name)
		}
		if test.none {
			continue
		}
		if got := apply(Command{Op: OpDelete, User: user, Delete: &pb.Delete{ClearSeq: test.last + 1}}); code(got) != pb.Code_CODE_SEQ_OUT_OF_RANGE {
			t.Errorf("%s clears past their end: %v", name, got.Err)
		}
		if got := apply(Command{Op: OpDelete, User: user, Delete: &pb.Delete{ClearSeq: test.last}}); code(got) != 0 || got.ClearedSeq != test.last {
			t.Errorf("%s clears all: %v up to %d", name, got.Err, got.ClearedSeq)
		}
	}
}
