package msgstore

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"google.golang.org/protobuf/proto"

	"github.com/godwit-im/godwit/protocol/pb"
)

// Commands leave the same bytes behind however they are batched: what a Tx does
// to its own messages and rows is what it does to those of one before.
func TestBatchesLeaveTheSameState(t *testing.T) {
	const id = "g:ann:1"
	apply := func(seed uint64, batch int) [32]byte {
		opts := memOptions(t, vfs.NewMem())
		opts.Partitions = 1
		s := open(t, opts)
		defer closeStore(t, s)
		w := newWriter(s)
		rnd := rand.New(rand.NewPCG(seed, 0))
		check(t, w.begin().Create(w.next(id), id, "ann"))
		for i := range 200 {
			check(t, groupCommand(w, id, i, rnd))
			if (i+1)%batch == 0 {
				check(t, w.commit())
			}
		}
		check(t, w.commit())
		hash, err := s.StateHash(0)
		check(t, err)
		return hash
	}
	for seed := range uint64(20) {
		want := apply(seed, 1)
		for _, batch := range []int{2, 5, 40, 200} {
			if got := apply(seed, batch); got != want {
				t.Fatalf("seed %d: in batches of %d the hash is %x; want %x", seed, batch, got, want)
			}
		}
	}
}

// groupCommand is one command to a group: a message, a change to one with what
// that has beside it, or a TRIM.
func groupCommand(w *writer, id string, i int, rnd *rand.Rand) error {
	tx := w.begin()
	h, _, err := tx.Head(id)
	if err != nil {
		return err
	}
	index := w.next(id)
	op := rnd.IntN(10)
	if op < 4 || h.MinSeq > h.Seq {
		m := &pb.Message{
			Conversation: id, Seq: h.Seq + 1, Id: uint64(i + 1), Sender: "ann", ClientId: fmt.Sprint(i), TimeMs: int64(i),
			Mentions: []string{"bob", "carol"}[:rnd.IntN(3)], MentionAll: rnd.IntN(4) == 0,
		}
		if rnd.IntN(3) == 0 {
			m.ExpiresMs = int64(i + 10)
			if err := tx.PutExpiry(index, id, m.Seq, m.ExpiresMs); err != nil {
				return err
			}
		}
		if len(m.Mentions) > 0 || m.MentionAll {
			if err := tx.PutMentions(index, id, m.Seq, m.Sender, m.Mentions, m.MentionAll); err != nil {
				return err
			}
		}
		return tx.Append(index, m, encode(m))
	}
	seq := h.MinSeq + rnd.Uint64N(h.Seq-h.MinSeq+1)
	if op == 9 {
		_, err := tx.Trim(index, id, seq+1)
		return err
	}
	wire, err := tx.Message(id, seq)
	if err != nil {
		return err
	}
	m := new(pb.Message)
	if err := proto.Unmarshal(wire, m); err != nil {
		return err
	}
	if op < 7 && m.State == pb.MessageState_MESSAGE_STATE_NORMAL {
		m.ChangedSeq = h.Seq
		m.Reactions = append(m.Reactions, &pb.Reaction{Key: "+1", Count: 1})
		if err := tx.PutReaction(index, id, seq, "+1", fmt.Sprint("user", rnd.IntN(3)), rnd.IntN(3) > 0); err != nil {
			return err
		}
		return tx.Rewrite(index, m, encode(m))
	}
	if err := tx.PutGone(index, id, seq, Gone{Sender: m.Sender, Counted: true, ExpiresMs: m.ExpiresMs, Recalled: true}); err != nil {
		return err
	}
	if err := tx.DropMentions(index, id, seq, m.Mentions, m.MentionAll); err != nil {
		return err
	}
	if m.ExpiresMs != 0 {
		if err := tx.DropExpiry(index, id, seq, m.ExpiresMs); err != nil {
			return err
		}
	}
	m.State, m.ChangedSeq, m.Mentions, m.MentionAll, m.Body = pb.MessageState_MESSAGE_STATE_RECALLED, h.Seq, nil, false, nil
	return tx.Rewrite(index, m, encode(m))
}

// A conversation of which nothing is kept has no rows of messages left, in
// whatever batches it came to that.
func TestTrimLeavesNothing(t *testing.T) {
	const id = "g:ann:1"
	for _, batch := range []int{1, 7, 1000} {
		s := openMem(t)
		w := newWriter(s)
		rnd := rand.New(rand.NewPCG(1, 1))
		check(t, w.begin().Create(w.next(id), id, "ann"))
		for i := range 300 {
			check(t, groupCommand(w, id, i, rnd))
			if (i+1)%batch == 0 {
				check(t, w.commit())
			}
		}
		h, _, err := w.begin().Head(id)
		check(t, err)
		_, err = w.tx.Trim(w.next(id), id, h.Seq+1)
		check(t, err)
		check(t, w.commit())
		for table, n := range tables(t, s) {
			switch table {
			case tableApplied, tableConversation, tableMember, tableStore:
			default:
				t.Errorf("in batches of %d: table %c has %d keys", batch, table, n)
			}
		}
	}
}
