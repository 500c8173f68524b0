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
	p := tx.s.PartitionOf(conversation)
	if err := tx.touch(p, index); err != nil {
		return 0, err
	}
	from := c.head.MinSeq
	end := min(below, c.head.Seq+1, from+maxTrim)
	if end <= from {
		return 0, nil
	}
	if err := tx.removeClientIDs(p, c, from, end); err != nil {
		return 0, tx.fail(err)
	}
	// One range deletion takes less room than a deletion of each message, and
	// lets Pebble drop whole files.
	_ = tx.batch.DeleteRange(appendMessageKey(nil, p, c.id, from), appendMessageKey(nil, p, c.id, end), nil)

	row := c.row
	if !c.rewritten {
		if row, _, err = tx.s.findConversation(p, c.id); err != nil {
			return 0, tx.fail(err)
		}
	}
	row = conversationRow{stamp: index, created: row.created, minSeq: end}
	if end > c.head.Seq {
		row.last = c.head
	}
	tx.putConversation(p, c, row)
	c.head.MinSeq = end
	c.changed = true
	return int(end - from), nil
}

// removeClientIDs removes the client message ids of [from, end). They lie apart
// from the messages, and are known only to them.
func (tx *Tx) removeClientIDs(p int, c *txConversation, from, end uint64) error {
	next := from
	remove := func(wire []byte) error {
		m, err := decodeMessage(wire)
		if err != nil {
			return err
		}
		id := clientID{c.id, string(m.sender), string(m.clientID)}
		tx.clientIDs[id] = 0
		tx.key = appendClientIDKey(tx.key[:0], p, c.id, id.sender, id.id)
		next++
		return tx.batch.Delete(tx.key, nil)
	}
	committed := max(from, min(end, c.prior.head.Seq+1))
	lower, upper := appendMessageKey(nil, p, c.id, from), appendMessageKey(nil, p, c.id, committed)
	err := tx.s.scan(lower, upper, func(key, value []byte) (bool, error) {
		if keySeq(key) != next || len(value) < stampSize {
			return false, missing(c.id, next)
		}
		return true, remove(value[stampSize:])
	})
	if err == nil && next < committed {
		err = missing(c.id, next)
	}
	for err == nil && next < end {
		err = remove(c.own(next))
	}
	return err
}
