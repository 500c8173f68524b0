package msgstore

// maxTrim bounds what one Trim removes, and so what it reads on the writer's
// goroutine. It is a part of what a TRIM command means: nodes that apply the
// same log must agree on it.
const maxTrim = 512

// Trim removes a conversation's messages below a seq, with their client
// message ids, and returns how many it removed: at most 512 in one call.
func (tx *Tx) Trim(index uint64, conversation string, below uint64) (int, error) {
	c, err := tx.existing("trim", conversation)
	if err != nil {
		return 0, err
	}
	p := c.partition
	if err := tx.touch(p, index); err != nil {
		return 0, err
	}
	from := c.head.MinSeq
	end := min(below, c.head.Seq+1, from+maxTrim)
	if end <= from {
		return 0, nil
	}
	// The Tx's own messages are not in the batch yet, and seal leaves those out
	// that are removed.
	if committed := min(end, c.prior.head.Seq+1); from < committed {
		if err := tx.removeClientIDs(c, from, committed); err != nil {
			return 0, tx.fail(err)
		}
		// One range deletion takes less room than a deletion of each message, and
		// lets Pebble drop whole files.
		_ = tx.batch.DeleteRange(appendMessageKey(nil, p, c.id, from), appendMessageKey(nil, p, c.id, committed), nil)
	}

	row := c.row
	if !c.rewritten {
		if row, _, err = tx.s.findConversation(p, c.id); err != nil {
			return 0, tx.fail(err)
		}
	}
	row = conversationRow{stamp: index, created: row.created, minSeq: end, mentioned: row.mentioned, gone: row.gone}
	if end > c.head.Seq {
		row.last = c.head
	}
	tx.putConversation(c, row)
	c.head.MinSeq = end
	c.changed = true
	return int(end - from), nil
}

// removeClientIDs removes the client message ids of [from, end), all committed,
// and what else lies apart from the messages and is known only to them.
func (tx *Tx) removeClientIDs(c *txConversation, from, end uint64) error {
	next := from
	lower, upper := appendMessageKey(nil, c.partition, c.id, from), appendMessageKey(nil, c.partition, c.id, end)
	err := tx.s.scan(lower, upper, func(key, value []byte) (bool, error) {
		if keySeq(key, c.id) != next || len(value) < stampSize {
			return false, missing(c.id, next)
		}
		m, err := decodeMessage(value[stampSize:])
		if err != nil {
			return false, err
		}
		hash := tx.hash(c.id, string(m.sender), string(m.clientID))
		tx.key = appendClientIDKey(tx.key[:0], c.partition, hash, stampOf(value))
		tx.removeRows(c, &m)
		next++
		return true, tx.batch.Delete(tx.key, nil)
	})
	if err == nil && next < end {
		err = missing(c.id, next)
	}
	return err
}

// removeRows removes the rows that a message, which is committed, has beside it.
// The deletions are in the batch before seal puts rows there, so a row that this
// Tx sets for a message that it removes as well would stay: nobody changes a
// message after it was removed.
func (tx *Tx) removeRows(c *txConversation, m *message) {
	seq := m.head.Seq
	for _, user := range m.mentions {
		_ = tx.batch.Delete(appendMentionKey(nil, c.partition, c.id, string(user), seq), nil)
	}
	if m.mentionAll {
		_ = tx.batch.Delete(appendMentionKey(nil, c.partition, c.id, "", seq), nil)
	}
	if m.expiresMs != 0 {
		_ = tx.batch.Delete(appendExpiryKey(nil, c.partition, m.expiresMs, c.id, seq), nil)
		_ = tx.batch.Delete(appendSeqKey(nil, c.partition, tableGone, c.id, seq), nil)
	}
	if m.changed {
		_ = tx.batch.Delete(appendSeqKey(nil, c.partition, tableGone, c.id, seq), nil)
		_ = tx.batch.DeleteRange(appendSeqKey(nil, c.partition, tableReaction, c.id, seq), appendSeqKey(nil, c.partition, tableReaction, c.id, seq+1), nil)
	}
}
