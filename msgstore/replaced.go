package msgstore

import (
	"encoding/binary"
	"slices"
)

// A Part of a message is what an event replaces as a whole. The values are a part
// of the keys.
type Part byte

const (
	// Content is what an edit replaces, Reactions what a reaction does.
	Content   Part = 'c'
	Reactions Part = 'r'
)

// PutLeft notes that somebody has left a group, who may read up to its head and
// no further: from now on Head.Left is that. It is no news to anybody: of a
// broadcast, followers come and go all the time.
func (tx *Tx) PutLeft(index uint64, conversation string) error {
	c, err := tx.existing("left", conversation)
	if err != nil {
		return err
	}
	news := c.changed
	err = tx.changeConversation("left", index, conversation, func(c *txConversation, row *conversationRow) error {
		row.left = c.head.Seq
		c.head.Left = row.left
		return nil
	})
	c.changed = news
	return err
}

// PutReplaced keeps a part of a message as it was before the event at seq by, for
// those who may read the message and not the event. A part and an event name one
// version, which must not be there. It goes with the message.
func (tx *Tx) PutReplaced(index uint64, conversation string, seq uint64, part Part, by uint64, was []byte) error {
	p := tx.s.PartitionOf(conversation)
	if err := tx.touch(p, index); err != nil {
		return err
	}
	tx.addRow(index, appendReplacedKey(nil, p, conversation, seq, part, by), was)
	return nil
}

// DropReplaced forgets all that was kept of a message. It is for nothing where
// nobody has left since the message was there, and costs nothing then.
func (tx *Tx) DropReplaced(index uint64, conversation string, seq uint64) error {
	c, err := tx.existing("replaced", conversation)
	if err != nil || c.head.Left < seq {
		return err
	}
	if err := tx.touch(c.partition, index); err != nil {
		return err
	}
	return tx.dropRows(replacedBounds(c.partition, conversation, seq, seq+1))
}

// Replaced returns what the first event past after that replaced a part of a
// message found there, as PutReplaced was given it; nil if no such version is kept.
// The result is the caller's.
func (s *Store) Replaced(conversation string, seq uint64, part Part, after uint64) (was []byte, err error) {
	lower := appendReplacedKey(nil, s.PartitionOf(conversation), conversation, seq, part, after+1)
	upper := successor(slices.Clone(lower[:len(lower)-8]))
	err = s.rowsIn(lower, upper, func(_, value []byte, _ uint64) (bool, error) {
		was = append([]byte{}, value...)
		return false, nil
	})
	return was, err
}

// appendReplacedKey has the message first, so that what is kept of neighbours lies
// together, as they are trimmed.
func appendReplacedKey(dst []byte, p int, conversation string, seq uint64, part Part, by uint64) []byte {
	return binary.BigEndian.AppendUint64(append(appendSeqKey(dst, p, tableReplaced, conversation, seq), byte(part)), by)
}

// replacedBounds are the bounds of the keys of what is kept of the messages in
// [from, end).
func replacedBounds(p int, conversation string, from, end uint64) (lower, upper []byte) {
	return appendSeqKey(nil, p, tableReplaced, conversation, from), appendSeqKey(nil, p, tableReplaced, conversation, end)
}
