package msgstore

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/cockroachdb/pebble/v2"
)

// Commit writes the changes as one Pebble batch, durable as Options.Durability
// says when it returns, and makes them visible to readers. The Tx is done. An
// error means that nothing was written; if writing fails, Options.Fatal is
// called.
func (tx *Tx) Commit() error {
	defer tx.Discard()
	if tx.err != nil {
		return fmt.Errorf("msgstore: commit after an error: %w", tx.err)
	}
	if len(tx.touched) == 0 {
		return nil
	}
	tx.seal()
	size, rows := tx.batch.Len(), int(tx.batch.Count())
	tx.s.inflight.add(tx)
	if err := tx.write(); err != nil {
		return err
	}
	tx.keepIDs()
	tx.publish()
	tx.s.counters.commits.Add(1)
	tx.s.counters.records.Add(uint64(rows))
	tx.s.counters.bytes.Add(uint64(size))
	tx.s.wrote(size, rows)
	return nil
}

// seal fills the batch: the applied indexes, rows in their last version, and
// the messages, each table in the order of its keys. The memtable looks for the
// place of a key from that of the one before, and finds it sooner. What Trim
// removed isn't among them, so that the order of its removals doesn't matter.
func (tx *Tx) seal() {
	var value []byte
	for _, p := range tx.touched {
		part := &tx.s.parts[p]
		part.maxID = max(part.maxID, tx.parts[p].maxID)
		tx.key = appendTable(tx.key[:0], p, tableApplied)
		value = appendApplied(value[:0], tx.parts[p].index, part.maxID)
		_ = tx.batch.Set(tx.key, value, nil) // a batch that isn't committed yet takes anything
	}
	for _, c := range tx.rewritten {
		tx.key = appendConversationKey(tx.key[:0], c.partition, c.id)
		value = appendConversationRow(value[:0], c.row)
		_ = tx.batch.Set(tx.key, value, nil)
	}
	tx.sealIDs()
	tx.sealMessages()
	tx.sealRows()
	for _, r := range tx.changed {
		tx.key = appendMemberKey(tx.key[:0], tx.s.PartitionOf(r.id.conversation), r.id.user, r.id.conversation)
		value = appendMember(value[:0], r.now)
		_ = tx.batch.Set(tx.key, value, nil)
	}
}

func (tx *Tx) sealMessages() {
	slices.SortFunc(tx.appended, func(a, b *txConversation) int {
		return cmp.Or(cmp.Compare(a.partition, b.partition), strings.Compare(a.id, b.id))
	})
	for _, c := range tx.appended {
		for i, m := range c.messages {
			seq := c.prior.head.Seq + 1 + uint64(i)
			if seq < c.head.MinSeq {
				continue
			}
			op := tx.batch.SetDeferred(messageKeySize(c.id, seq), stampSize+len(m.wire))
			appendMessageKey(op.Key[:0], c.partition, c.id, seq)
			stamp := m.stamp
			if m.rewritten {
				stamp |= rewritten
			}
			binary.BigEndian.PutUint64(op.Value, stamp)
			copy(op.Value[stampSize:], m.wire)
			_ = op.Finish() // no index to keep, so nothing that can fail
		}
	}
}

func (tx *Tx) write() error {
	s := tx.s
	if s.opts.Durability == Interval {
		if err := s.db.Apply(tx.batch, pebble.NoSync); err != nil {
			return fmt.Errorf("msgstore: commit: %w", err)
		}
		s.unsynced.Store(true)
		return nil
	}
	begin := time.Now()
	if err := s.db.Apply(tx.batch, pebble.Sync); err != nil {
		return fmt.Errorf("msgstore: commit: %w", err)
	}
	s.counters.syncs.Add(1)
	s.opts.ObserveSync(time.Since(begin))
	return nil
}

// publish shows the commit to readers. The order is that of partition.
func (tx *Tx) publish() {
	s := tx.s
	for id, c := range tx.conversations {
		if c.changed {
			s.parts[c.partition].changes.mark(id, tx.parts[c.partition].index)
		}
	}
	for _, r := range tx.changed {
		if chose(r.id.conversation, r.now) {
			s.choosers.add(r.id.user)
		}
		p := s.PartitionOf(r.id.conversation)
		s.parts[p].changes.markMember(r.id.user, r.id.conversation, tx.parts[p].index)
	}
	for id, g := range tx.groups {
		p := s.PartitionOf(id)
		if g.stamp > s.parts[p].synced.Load() { // more than the number of its followers
			s.parts[p].changes.mark(id, tx.parts[p].index)
		}
	}
	for _, p := range tx.touched {
		s.parts[p].synced.Store(tx.parts[p].index)
	}
	s.inflight.remove(tx)
	for _, r := range tx.changed {
		s.joinedOrLeft(r)
	}
	for id, g := range tx.groups {
		s.groups.put(id, g)
	}
	for id, c := range tx.conversations {
		if c.changed || c.rewritten {
			s.heads.put(id, c.head)
		}
	}
	for _, p := range tx.touched {
		s.parts[p].applied.Store(tx.parts[p].index)
	}
}
