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
	committed := max(from, min(end, c.prior.head.Seq+1))
	if from < committed {
		if err := tx.removeClientIDs(c, from, committed); err != nil {
			return 0, tx.fail(err)
		}
		// One range deletion takes less room than a deletion of each message, and
		// lets Pebble drop whole files.
		tx.removeRange(appendMessageKey(nil, p, c.id, from), appendMessageKey(nil, p, c.id, committed))
	}
	for seq := committed; seq < end; seq++ {
		m, err := decodeMessage(c.ownMessage(seq).wire)
		if err == nil {
			err = tx.removeRows(c, &m)
		}
		if err != nil {
			return 0, tx.fail(err)
		}
	}
	if c.head.Left >= from {
		tx.removeRange(replacedBounds(p, c.id, from, end))
	}
	if c.head.Gone >= from {
		tx.removeRange(appendSeqKey(nil, p, tableGone, c.id, from), appendSeqKey(nil, p, tableGone, c.id, end))
	}

	row := c.row
	if !c.rewritten {
		if row, _, err = tx.s.findConversation(p, c.id); err != nil {
			return 0, tx.fail(err)
		}
	}
	row = conversationRow{stamp: index, created: row.created, minSeq: end, mentioned: row.mentioned, gone: row.gone, blocked: row.blocked, left: row.left}
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
	err := tx.rowsIn(lower, upper, func(key, wire []byte, stamp uint64) (bool, error) {
		if keySeq(key, c.id) != next {
			return false, missing(c.id, next)
		}
		m, err := decodeMessage(wire)
		if err != nil {
			return false, err
		}
		if len(m.clientID) > 0 {
			hash := tx.hash(c.id, string(m.sender), string(m.clientID))
			tx.key = appendClientIDKey(tx.key[:0], c.partition, hash, stamp)
			_ = tx.batch.Delete(tx.key, nil)
		}
		next++
		return true, tx.removeRows(c, &m)
	})
	if err == nil && next < end {
		err = missing(c.id, next)
	}
	return err
}

// removeRows removes the rows that a message has beside it and that don't lie
// together with those of its neighbours.
func (tx *Tx) removeRows(c *txConversation, m *message) error {
	seq := m.head.Seq
	for _, user := range m.mentions {
		if err := tx.dropRow(appendMentionKey(nil, c.partition, c.id, string(user), seq)); err != nil {
			return err
		}
	}
	if m.mentionAll {
		if err := tx.dropRow(appendMentionKey(nil, c.partition, c.id, "", seq)); err != nil {
			return err
		}
	}
	if m.expiresMs != 0 {
		if err := tx.dropRow(appendExpiryKey(nil, c.partition, m.expiresMs, c.id, seq)); err != nil {
			return err
		}
	}
	if m.changed {
		tx.removeRange(appendSeqKey(nil, c.partition, tableReaction, c.id, seq), appendSeqKey(nil, c.partition, tableReaction, c.id, seq+1))
	}
	return nil
}
