package msgstore

import "slices"

// Which messages users have deleted for themselves alone.

func deletedBounds(p int, user, conversation string) (lower, upper []byte) {
	lower = appendPart(appendPart(appendTable(nil, p, tableDeleted), user), conversation)
	return lower, successor(slices.Clone(lower))
}

// PutDeleted notes that a user has deleted messages for themselves, and returns
// how many they have now in that conversation. The user's membership is the
// caller's to put, as SYNC goes by it.
func (tx *Tx) PutDeleted(index uint64, user, conversation string, seqs []uint64) (total int, err error) {
	p := tx.s.PartitionOf(conversation)
	if err := tx.touch(p, index); err != nil {
		return 0, err
	}
	for _, seq := range seqs {
		key := appendDeletedKey(nil, p, user, conversation, seq)
		if value, err := tx.row(key); err != nil {
			return 0, err
		} else if value == nil {
			if err := tx.putRow(index, key, nil); err != nil {
				return 0, err
			}
		}
	}
	return tx.Deleted(user, conversation)
}

// IsDeleted reports whether a user has deleted a message for themselves.
func (tx *Tx) IsDeleted(user, conversation string, seq uint64) (bool, error) {
	value, err := tx.row(appendDeletedKey(nil, tx.s.PartitionOf(conversation), user, conversation, seq))
	return value != nil, err
}

// Deleted returns how many messages of a conversation a user has deleted.
func (tx *Tx) Deleted(user, conversation string) (int, error) {
	lower, upper := deletedBounds(tx.s.PartitionOf(conversation), user, conversation)
	n := 0
	err := tx.rowsIn(lower, upper, func(_, _ []byte, _ uint64) (bool, error) {
		n++
		return true, nil
	})
	return n, err
}

// DropDeleted forgets which messages up to a seq a user has deleted.
func (tx *Tx) DropDeleted(index uint64, user, conversation string, upto uint64) error {
	p := tx.s.PartitionOf(conversation)
	if err := tx.touch(p, index); err != nil {
		return err
	}
	lower, _ := deletedBounds(p, user, conversation)
	return tx.dropRows(lower, appendDeletedKey(nil, p, user, conversation, upto+1))
}

// DeletedSince returns the messages that a user has deleted past a log index of
// the conversation's partition, in the order of their seqs.
func (s *Store) DeletedSince(user, conversation string, index uint64) (seqs []uint64, err error) {
	p := s.PartitionOf(conversation)
	lower, upper := deletedBounds(p, user, conversation)
	err = s.rowsIn(lower, upper, func(key, _ []byte, stamp uint64) (bool, error) {
		if stamp > index {
			seqs = append(seqs, lastUint64(key))
		}
		return true, nil
	})
	return seqs, err
}
