package msgstore

import "slices"

// Whom messages mention, and which of them are gone: what unread counts and first
// mentions are made of, besides heads and memberships. Rows of both stay as long
// as their messages are kept.

// PutMentions notes that a message, which it wasn't said of before, mentions
// users, or everybody.
func (tx *Tx) PutMentions(index uint64, conversation string, seq uint64, users []string, all bool) error {
	return tx.changeConversation("mentions", index, conversation, func(c *txConversation, row *conversationRow) error {
		row.mentioned = max(row.mentioned, seq)
		c.head.Mentioned = row.mentioned
		for _, user := range mentioned(users, all) {
			tx.addRow(index, appendMentionKey(nil, c.partition, c.id, user, seq), nil)
		}
		return nil
	})
}

// DropMentions takes PutMentions back.
func (tx *Tx) DropMentions(index uint64, conversation string, seq uint64, users []string, all bool) error {
	c, err := tx.existing("mentions", conversation)
	if err != nil {
		return err
	}
	if err := tx.touch(c.partition, index); err != nil {
		return err
	}
	for _, user := range mentioned(users, all) {
		if err := tx.dropRow(appendMentionKey(nil, c.partition, c.id, user, seq)); err != nil {
			return err
		}
	}
	return nil
}

func mentioned(users []string, all bool) []string {
	if all {
		return append(slices.Clip(users), "")
	}
	return users
}

// FirstMention returns the first seq past after that mentions the user, or all;
// 0 if there is none.
func (s *Store) FirstMention(user, conversation string, after uint64) (uint64, error) {
	return firstMention(s.rowsIn, s.PartitionOf(conversation), user, conversation, after)
}

// FirstMention is Store.FirstMention as the Tx leaves it.
func (tx *Tx) FirstMention(user, conversation string, after uint64) (uint64, error) {
	return firstMention(tx.rowsIn, tx.s.PartitionOf(conversation), user, conversation, after)
}

func firstMention(rowsIn rowsFunc, p int, user, conversation string, after uint64) (first uint64, err error) {
	for _, name := range []string{user, ""} {
		lower := appendMentionKey(nil, p, conversation, name, after+1)
		upper := successor(slices.Clone(lower[:len(lower)-8]))
		err := rowsIn(lower, upper, func(key, _ []byte, _ uint64) (bool, error) {
			if seq := lastUint64(key); first == 0 || seq < first {
				first = seq
			}
			return false, nil
		})
		if err != nil {
			return 0, err
		}
	}
	return first, nil
}

// PutGone notes that a message has become a tombstone, who sent it, and whether
// it counted as unread.
func (tx *Tx) PutGone(index uint64, conversation string, seq uint64, sender string, counted bool) error {
	return tx.changeConversation("gone", index, conversation, func(c *txConversation, row *conversationRow) error {
		row.gone = max(row.gone, seq)
		c.head.Gone = row.gone
		value := []byte{0}
		if counted {
			value[0] = 1
		}
		return tx.putRow(index, appendSeqKey(nil, c.partition, tableGone, c.id, seq), append(value, sender...))
	})
}

// GoneBetween returns how many messages in (after, upto] counted as unread, are
// tombstones now, and were not sent by except. Those that retention has removed
// are not among them. It reads all tombstones in between.
func (s *Store) GoneBetween(conversation, except string, after, upto uint64) (uint64, error) {
	return countGone(s.rowsIn, s.PartitionOf(conversation), conversation, except, after, upto)
}

// GoneBetween is Store.GoneBetween as the Tx leaves it.
func (tx *Tx) GoneBetween(conversation, except string, after, upto uint64) (uint64, error) {
	c, err := tx.existing("gone", conversation)
	if err != nil {
		return 0, err
	}
	return countGone(tx.rowsIn, c.partition, conversation, except, max(after, c.head.MinSeq-1), upto)
}

func countGone(rowsIn rowsFunc, p int, conversation, except string, after, upto uint64) (n uint64, err error) {
	if upto <= after {
		return 0, nil
	}
	lower, upper := appendSeqKey(nil, p, tableGone, conversation, after+1), appendSeqKey(nil, p, tableGone, conversation, upto+1)
	err = rowsIn(lower, upper, func(_, value []byte, _ uint64) (bool, error) {
		if len(value) == 0 {
			return false, errBadRow
		}
		if value[0] == 1 && string(value[1:]) != except {
			n++
		}
		return true, nil
	})
	return n, err
}
