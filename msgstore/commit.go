package msgstore

import (
	"fmt"
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
	size := uint64(tx.batch.Len())
	tx.s.inflight.add(tx)
	if err := tx.write(); err != nil {
		return err
	}
	tx.publish()
	tx.s.counters.commits.Add(1)
	tx.s.counters.bytes.Add(size)
	return nil
}

// seal adds what the batch writes once, however much it changes: the applied
// indexes, and the memberships in their last version.
func (tx *Tx) seal() {
	var value []byte
	for _, p := range tx.touched {
		part := &tx.s.parts[p]
		part.maxID = max(part.maxID, tx.parts[p].maxID)
		tx.key = appendTable(tx.key[:0], p, tableApplied)
		value = appendApplied(value[:0], tx.parts[p].index, part.maxID)
		_ = tx.batch.Set(tx.key, value, nil)
	}
	for _, r := range tx.changed {
		tx.key = appendMemberKey(tx.key[:0], tx.s.PartitionOf(r.id.conversation), r.id.user, r.id.conversation)
		value = appendMember(value[:0], r.now)
		_ = tx.batch.Set(tx.key, value, nil)
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
	for _, p := range tx.touched {
		s.parts[p].synced.Store(tx.parts[p].index)
	}
	s.inflight.remove(tx)
	for id, c := range tx.conversations {
		if c.changed {
			s.heads.put(id, c.head)
		}
	}
	for _, p := range tx.touched {
		s.parts[p].applied.Store(tx.parts[p].index)
	}
}
