package msgstore

import "slices"

// Reacted reports whether a user has this reaction to a message.
func (tx *Tx) Reacted(conversation string, seq uint64, key, user string) (bool, error) {
	value, err := tx.row(appendReactionKey(nil, tx.s.PartitionOf(conversation), conversation, seq, key, user))
	return value != nil, err
}

// PutReaction notes a user's reaction to a message, or takes it back. The key
// must have no byte 0x00.
func (tx *Tx) PutReaction(index uint64, conversation string, seq uint64, key, user string, on bool) error {
	p := tx.s.PartitionOf(conversation)
	if err := tx.touch(p, index); err != nil {
		return err
	}
	row := appendReactionKey(nil, p, conversation, seq, key, user)
	if on {
		return tx.putRow(index, row, nil)
	}
	return tx.dropRow(row)
}

// DropReactions forgets all reactions to a message.
func (tx *Tx) DropReactions(index uint64, conversation string, seq uint64) error {
	p := tx.s.PartitionOf(conversation)
	if err := tx.touch(p, index); err != nil {
		return err
	}
	return tx.dropRows(appendSeqKey(nil, p, tableReaction, conversation, seq), appendSeqKey(nil, p, tableReaction, conversation, seq+1))
}

// FirstReactors returns the first users by id, limit at the most, who have this
// reaction to a message as the Tx leaves it.
func (tx *Tx) FirstReactors(conversation string, seq uint64, key string, limit int) ([]string, error) {
	users, _, err := findReactors(tx.rowsIn, tx.s.PartitionOf(conversation), conversation, seq, key, "", limit)
	return users, err
}

// Reactors returns the users after after who have this reaction to a message, in
// the order of their ids. more: there are more than limit.
func (s *Store) Reactors(conversation string, seq uint64, key, after string, limit int) (users []string, more bool, err error) {
	return findReactors(s.rowsIn, s.PartitionOf(conversation), conversation, seq, key, after, limit)
}

func findReactors(rowsIn rowsFunc, p int, conversation string, seq uint64, key, after string, limit int) ([]string, bool, error) {
	prefix := appendReactionKey(nil, p, conversation, seq, key, "")
	return usersIn(rowsIn, prefix, after, limit)
}

// usersIn returns the users after after, limit at the most, whose ids are what
// follows prefix in the keys of rows, and whether there are more. The prefix ends
// with a byte that isn't 0xff.
func usersIn(rowsIn rowsFunc, prefix []byte, after string, limit int) (users []string, more bool, err error) {
	lower := append(slices.Clone(prefix), after...)
	if after != "" {
		lower = append(lower, 0) // the next possible id
	}
	err = rowsIn(lower, successor(slices.Clone(prefix)), func(key, _ []byte, _ uint64) (bool, error) {
		if more = len(users) == limit; more {
			return false, nil
		}
		users = append(users, string(key[len(prefix):]))
		return true, nil
	})
	return users, more, err
}
