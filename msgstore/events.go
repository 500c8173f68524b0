package msgstore

import (
	"encoding/binary"
	"fmt"
	"slices"
)

// What messages have beside them in rows of their own: whom they mention, who
// reacted, whether they are gone, when they expire, for whom they are deleted.

// changeConversation changes the row of a conversation that exists.
func (tx *Tx) changeConversation(what string, index uint64, conversation string, change func(c *txConversation, row *conversationRow)) error {
	c, err := tx.existing(what, conversation)
	if err != nil {
		return err
	}
	if err := tx.touch(c.partition, index); err != nil {
		return err
	}
	row := c.row
	if !c.rewritten {
		if row, _, err = tx.s.findConversation(c.partition, c.id); err != nil {
			return tx.fail(err)
		}
	}
	row.stamp = index
	change(c, &row)
	tx.putConversation(c, row)
	c.changed = true
	return nil
}

// PutMentions notes that a message mentions users, or everybody.
func (tx *Tx) PutMentions(index uint64, conversation string, seq uint64, users []string, all bool) error {
	return tx.changeConversation("mentions", index, conversation, func(c *txConversation, row *conversationRow) {
		row.mentioned = max(row.mentioned, seq)
		c.head.Mentioned = row.mentioned
		for _, user := range mentioned(users, all) {
			tx.addRow(index, appendMentionKey(nil, c.partition, c.id, user, seq), nil)
		}
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
func (s *Store) FirstMention(user, conversation string, after uint64) (first uint64, err error) {
	p := s.PartitionOf(conversation)
	for _, name := range []string{user, ""} {
		lower := appendMentionKey(nil, p, conversation, name, after+1)
		upper := successor(slices.Clone(lower[:len(lower)-8]))
		err := s.rowsIn(p, lower, upper, func(key, _ []byte, _ uint64) (bool, error) {
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
	return tx.changeConversation("gone", index, conversation, func(c *txConversation, row *conversationRow) {
		row.gone = max(row.gone, seq)
		c.head.Gone = row.gone
		value := []byte{0}
		if counted {
			value[0] = 1
		}
		tx.addRow(index, appendSeqKey(nil, c.partition, tableGone, c.id, seq), append(value, sender...))
	})
}

// PutBlocked notes whether a member of a direct conversation has blocked the
// other one: most messages are spared the look at the members' rows.
func (tx *Tx) PutBlocked(index uint64, conversation string, blocked bool) error {
	return tx.changeConversation("blocked", index, conversation, func(c *txConversation, row *conversationRow) {
		row.blocked, c.head.Blocked = blocked, blocked
	})
}

// GoneBetween returns how many messages in (after, upto] counted as unread, are
// tombstones now, and were not sent by except.
func (s *Store) GoneBetween(conversation, except string, after, upto uint64) (n uint64, err error) {
	if upto <= after {
		return 0, nil
	}
	p := s.PartitionOf(conversation)
	lower, upper := appendSeqKey(nil, p, tableGone, conversation, after+1), appendSeqKey(nil, p, tableGone, conversation, upto+1)
	err = s.rowsIn(p, lower, upper, func(_, value []byte, _ uint64) (bool, error) {
		if goneCounts(value, except) {
			n++
		}
		return true, nil
	})
	return n, err
}

// GoneBetween is Store.GoneBetween as the Tx leaves it.
func (tx *Tx) GoneBetween(conversation, except string, after, upto uint64) (n uint64, err error) {
	if upto <= after {
		return 0, nil
	}
	p := tx.s.PartitionOf(conversation)
	lower, upper := appendSeqKey(nil, p, tableGone, conversation, after+1), appendSeqKey(nil, p, tableGone, conversation, upto+1)
	err = tx.rowsIn(lower, upper, func(value []byte) {
		if goneCounts(value, except) {
			n++
		}
	})
	return n, err
}

func goneCounts(value []byte, except string) bool {
	return len(value) > 0 && value[0] == 1 && string(value[1:]) != except
}

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
	var keys [][]byte
	lower, upper := appendSeqKey(nil, p, tableReaction, conversation, seq), appendSeqKey(nil, p, tableReaction, conversation, seq+1)
	err := tx.s.scan(lower, upper, func(key, _ []byte) (bool, error) {
		keys = append(keys, slices.Clone(key))
		return true, nil
	})
	for key := range tx.rows {
		if key >= string(lower) && key < string(upper) {
			keys = append(keys, []byte(key))
		}
	}
	for _, key := range keys {
		if err == nil {
			err = tx.dropRow(key)
		}
	}
	return tx.failed(err)
}

// FirstReactors returns the first users by id, limit at the most, who have this
// reaction to a message as the Tx leaves it.
func (tx *Tx) FirstReactors(conversation string, seq uint64, key string, limit int) ([]string, error) {
	p := tx.s.PartitionOf(conversation)
	prefix := appendReactionKey(nil, p, conversation, seq, key, "")
	upper := successor(slices.Clone(prefix))
	var users []string
	err := tx.s.scan(prefix, upper, func(k, _ []byte) (bool, error) {
		if _, changed := tx.rows[string(k)]; !changed {
			users = append(users, string(k[len(prefix):]))
		}
		return len(users) < limit, nil
	})
	for k, r := range tx.rows {
		if r.now != nil && k >= string(prefix) && k < string(upper) {
			users = append(users, k[len(prefix):])
		}
	}
	slices.Sort(users)
	return users[:min(len(users), limit)], tx.failed(err)
}

// Reactors returns the users after after who have this reaction to a message, in
// the order of their ids.
func (s *Store) Reactors(conversation string, seq uint64, key, after string, limit int) (users []string, more bool, err error) {
	p := s.PartitionOf(conversation)
	prefix := appendReactionKey(nil, p, conversation, seq, key, "")
	lower := append(slices.Clone(prefix), after...)
	if after != "" {
		lower = append(lower, 0)
	}
	err = s.rowsIn(p, lower, successor(slices.Clone(prefix)), func(k, _ []byte, _ uint64) (bool, error) {
		if more = len(users) == limit; more {
			return false, nil
		}
		users = append(users, string(k[len(prefix):]))
		return true, nil
	})
	return users, more, err
}

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
	return tx.countRows(lower, upper)
}

// DropDeleted forgets which messages up to a seq a user has deleted.
func (tx *Tx) DropDeleted(index uint64, user, conversation string, upto uint64) error {
	p := tx.s.PartitionOf(conversation)
	if err := tx.touch(p, index); err != nil {
		return err
	}
	lower, _ := deletedBounds(p, user, conversation)
	upper := appendDeletedKey(nil, p, user, conversation, upto+1)
	var keys [][]byte
	err := tx.s.scan(lower, upper, func(key, _ []byte) (bool, error) {
		keys = append(keys, slices.Clone(key))
		return true, nil
	})
	for key := range tx.rows {
		if key >= string(lower) && key < string(upper) {
			keys = append(keys, []byte(key))
		}
	}
	for _, key := range keys {
		if err == nil {
			err = tx.dropRow(key)
		}
	}
	return tx.failed(err)
}

// DeletedSince returns the messages that a user has deleted past a log index of
// the conversation's partition, in the order of their seqs.
func (s *Store) DeletedSince(user, conversation string, index uint64) (seqs []uint64, err error) {
	p := s.PartitionOf(conversation)
	lower, upper := deletedBounds(p, user, conversation)
	err = s.rowsIn(p, lower, upper, func(key, _ []byte, stamp uint64) (bool, error) {
		if stamp > index {
			seqs = append(seqs, lastUint64(key))
		}
		return true, nil
	})
	return seqs, err
}

// PutExpiry notes when a message is to become a tombstone, in Unix milliseconds.
func (tx *Tx) PutExpiry(index uint64, conversation string, seq uint64, expiresMs int64) error {
	p := tx.s.PartitionOf(conversation)
	if err := tx.touch(p, index); err != nil {
		return err
	}
	tx.addRow(index, appendExpiryKey(nil, p, expiresMs, conversation, seq), nil)
	return nil
}

// DropExpiry takes PutExpiry back.
func (tx *Tx) DropExpiry(index uint64, conversation string, seq uint64, expiresMs int64) error {
	p := tx.s.PartitionOf(conversation)
	if err := tx.touch(p, index); err != nil {
		return err
	}
	return tx.dropRow(appendExpiryKey(nil, p, expiresMs, conversation, seq))
}

// Expired calls f for the messages of partition p that are to be tombstones by
// a time, those first whose time came first, until f returns an error; for limit
// of them at the most.
func (s *Store) Expired(p int, untilMs int64, limit int, f func(conversation string, seq uint64, expiresMs int64) error) error {
	lower := appendTable(nil, p, tableExpiry)
	skip := len(lower)
	upper := binary.BigEndian.AppendUint64(slices.Clone(lower), uint64(max(0, untilMs))+1)
	n := 0
	return s.rowsIn(p, lower, upper, func(key, _ []byte, _ uint64) (bool, error) {
		if len(key) < skip+8+1+8 {
			return false, errBadRow
		}
		n++
		return n < limit, f(string(key[skip+8:len(key)-9]), lastUint64(key), int64(binary.BigEndian.Uint64(key[skip:])))
	})
}

// PutFollowUp keeps a notice for another conversation: the n-th of the command
// at index, which changes source.
func (tx *Tx) PutFollowUp(index uint64, source string, n int, conversation string, notice []byte) error {
	p := tx.s.PartitionOf(source)
	if err := tx.touch(p, index); err != nil {
		return err
	}
	if n < 0 || n > 255 {
		return tx.fail(fmt.Errorf("msgstore: follow-up %d of a command", n))
	}
	value := binary.AppendUvarint(nil, uint64(len(source)))
	value = append(value, source...)
	value = binary.AppendUvarint(value, uint64(len(conversation)))
	value = append(value, conversation...)
	tx.addRow(index, appendFollowUpKey(nil, p, index, n), append(value, notice...))
	return nil
}

// DropFollowUp forgets the n-th notice of the command at an index.
func (tx *Tx) DropFollowUp(index uint64, source string, at uint64, n int) error {
	p := tx.s.PartitionOf(source)
	if err := tx.touch(p, index); err != nil {
		return err
	}
	return tx.dropRow(appendFollowUpKey(nil, p, at, n))
}

// FollowUps calls f for the notices that partition p keeps, the oldest first.
// notice is valid until f returns.
func (s *Store) FollowUps(p int, f func(source string, index uint64, n int, conversation string, notice []byte) error) error {
	lower := appendTable(nil, p, tableFollowUp)
	return s.rowsIn(p, lower, successor(slices.Clone(lower)), func(key, value []byte, _ uint64) (bool, error) {
		d := decoder{b: value}
		source, conversation := d.string(), d.string()
		if d.bad || len(key) != len(lower)+9 {
			return false, errBadRow
		}
		return true, f(source, binary.BigEndian.Uint64(key[len(lower):]), int(key[len(key)-1]), conversation, d.b)
	})
}

// PutSeen notes when a user was online last, in Unix milliseconds.
func (tx *Tx) PutSeen(index uint64, conversation, user string, ms int64) error {
	p := tx.s.PartitionOf(conversation)
	if err := tx.touch(p, index); err != nil {
		return err
	}
	return tx.putRow(index, appendSeenKey(nil, p, user), binary.AppendUvarint(nil, uint64(max(0, ms))))
}

// Seen returns when a user was online last, in Unix milliseconds; 0 if it isn't
// known. conversation is the one that PutSeen was given.
func (s *Store) Seen(conversation, user string) (int64, error) {
	p := s.PartitionOf(conversation)
	value, _, err := s.row(p, appendSeenKey(nil, p, user))
	if err != nil || value == nil {
		return 0, err
	}
	d := decoder{b: value}
	ms := d.uvarint()
	return int64(ms), d.done("last seen")
}
