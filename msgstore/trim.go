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
	if err := tx.removeOwnRows(index, c, from, end); err != nil {
		return 0, tx.fail(err)
	}
	// The Tx's own messages are not in the batch yet, and seal leaves those out
	// that are removed.
	if committed := min(end, c.prior.head.Seq+1); from < committed {
		if err := tx.removeClientIDs(index, c, from, committed); err != nil {
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
	row = conversationRow{stamp: index, created: row.created, minSeq: end, mentioned: row.mentioned, gone: row.gone, blocked: row.blocked}
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
func (tx *Tx) removeClientIDs(index uint64, c *txConversation, from, end uint64) error {
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
		next++
		if err := tx.batch.Delete(tx.key, nil); err != nil {
			return false, err
		}
		if i, changed := tx.rewriteOf[messageID{c.id, next - 1}]; changed {
			if m, err = decodeMessage(tx.rewrites[i].now[stampSize:]); err != nil {
				return false, err
			}
		}
		return true, tx.removeRows(index, c, &m)
	})
	if err == nil && next < end {
		err = missing(c.id, next)
	}
	return err
}

// removeRows removes the rows that a message has beside it.
func (tx *Tx) removeRows(index uint64, c *txConversation, m *message) error {
	seq := m.head.Seq
	var keys [][]byte
	for _, user := range m.mentions {
		keys = append(keys, appendMentionKey(nil, c.partition, c.id, string(user), seq))
	}
	if m.mentionAll {
		keys = append(keys, appendMentionKey(nil, c.partition, c.id, "", seq))
	}
	if m.expiresMs != 0 {
		keys = append(keys, appendExpiryKey(nil, c.partition, m.expiresMs, c.id, seq))
	}
	if m.expiresMs != 0 || m.changed {
		keys = append(keys, appendSeqKey(nil, c.partition, tableGone, c.id, seq))
	}
	for _, key := range keys {
		if err := tx.dropRow(key); err != nil {
			return err
		}
	}
	if m.changed {
		return tx.DropReactions(index, c.id, seq)
	}
	return nil
}

// removeOwnRows is removeRows for the messages of [from, end) that the Tx itself
// has appended.
func (tx *Tx) removeOwnRows(index uint64, c *txConversation, from, end uint64) error {
	for seq := max(from, c.prior.head.Seq+1); seq < end; seq++ {
		m, err := decodeMessage(c.own(seq))
		if err != nil {
			return err
		}
		if err := tx.removeRows(index, c, &m); err != nil {
			return err
		}
	}
	return nil
}
