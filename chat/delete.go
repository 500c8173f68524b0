package chat

import (
	"slices"

	"github.com/godwit-im/godwit/msgstore"
	"github.com/godwit-im/godwit/protocol"
	"github.com/godwit-im/godwit/protocol/pb"
)

var errTooManyDeleted = protocol.Errorf(pb.Code_CODE_TOO_MANY_DELETED, "too many single messages are deleted in this conversation; clear it up to a seq")

// applyDelete deletes messages for one user: single ones, and all up to a seq.
// The messages stay where they are. To clear is to have read, so the cursors
// move along. What the user can't read anyhow is not kept account of, and neither
// are events: a device that met one as a tombstone could not do to the target what
// all others have done.
func applyDelete(tx *msgstore.Tx, index uint64, cmd *Command, effects []Effect) (Result, []Effect, error) {
	head, row, refusal, err := ownRow(tx, cmd.Conversation, cmd.User)
	if err != nil || refusal != nil {
		return Result{Err: refusal}, effects, err
	}
	first, last := Bounds(head, row.Membership)
	seqs := slices.Clone(cmd.Delete.GetSeqs())
	slices.Sort(seqs)
	seqs = slices.Compact(seqs)
	clearSeq := cmd.Delete.GetClearSeq()
	if clearSeq > last || len(seqs) > 0 && seqs[len(seqs)-1] > last {
		return Result{Err: errPastHead}, effects, nil
	}
	m := ownMembership(row)
	clears := clearSeq > m.ClearedSeq
	m.ClearedSeq = max(m.ClearedSeq, clearSeq)
	from, _ := slices.BinarySearch(seqs, max(first, m.ClearedSeq+1))
	seqs, refusal, err = undeleted(tx, cmd, seqs[from:])
	if err != nil || refusal != nil {
		return Result{Err: refusal}, effects, err
	}
	if len(seqs) == 0 && !clears {
		return Result{ClearedSeq: m.ClearedSeq}, effects, nil
	}
	if clears {
		// These need no rows any more, and make room for others.
		if err := tx.DropDeleted(index, cmd.User, cmd.Conversation, m.ClearedSeq); err != nil {
			return Result{}, effects, err
		}
	}
	if len(seqs) > 0 {
		if _, err := tx.PutDeleted(index, cmd.User, cmd.Conversation, seqs); err != nil {
			return Result{}, effects, err
		}
		m.DeletedSeq = max(m.DeletedSeq, seqs[len(seqs)-1])
	}
	if m.DeletedSeq <= m.ClearedSeq {
		m.DeletedSeq = 0
	}
	row.Membership = orNil(m)
	row, moved, err := moveCursors(tx, head, row, cmd.Conversation, cmd.User, m.ClearedSeq, 0)
	if err != nil {
		return Result{}, effects, err
	}
	// The row even where only single messages go: by its stamp SYNC finds them.
	if err := tx.PutMember(index, cmd.User, cmd.Conversation, row); err != nil {
		return Result{}, effects, err
	}
	if effects, err = tellState(tx, cmd.User, cmd.Conversation, cmd.TimeMs, seqs, effects); err != nil {
		return Result{}, effects, err
	}
	// The user's own devices have the cursors in their STATE.
	if peer, direct := protocol.Peer(cmd.Conversation, cmd.User); direct && moved {
		effects = append(effects, Effect{
			Kind:         EffectReceipt,
			Conversation: cmd.Conversation,
			Users:        []string{peer},
			User:         cmd.User,
			ReadSeq:      row.ReadSeq,
			DeliveredSeq: row.DeliveredSeq,
		})
	}
	return Result{ClearedSeq: m.ClearedSeq}, effects, nil
}

// undeleted returns those of seqs that are no events and that the user has not
// deleted yet, or why they can't delete so many more.
func undeleted(tx *msgstore.Tx, cmd *Command, seqs []uint64) ([]uint64, *protocol.Error, error) {
	left := seqs[:0]
	for _, seq := range seqs {
		deleted, err := tx.IsDeleted(cmd.User, cmd.Conversation, seq)
		if err != nil {
			return nil, nil, err
		}
		if deleted {
			continue
		}
		m, err := readMessage(tx.Message, cmd.Conversation, seq)
		if err != nil {
			return nil, nil, err
		}
		if !isEvent(m.Kind) {
			left = append(left, seq)
		}
	}
	if len(left) == 0 {
		return nil, nil, nil
	}
	count, err := tx.Deleted(cmd.User, cmd.Conversation)
	if err != nil {
		return nil, nil, err
	}
	if count+len(left) > cmd.Rules.MaxDeleted {
		return nil, errTooManyDeleted, nil
	}
	return left, nil, nil
}
