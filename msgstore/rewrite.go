package msgstore

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"github.com/godwit-im/godwit/protocol/pb"
)

// Rewrite replaces the encoding of a message that is kept: m's, at m.Seq. Its
// sender, client message id, time and counts must stay as they are. Wire must
// not change until the Tx ends.
func (tx *Tx) Rewrite(index uint64, m *pb.Message, wire []byte) error {
	c, err := tx.existing("rewrite", m.Conversation)
	if err != nil {
		return err
	}
	if m.Seq < c.head.MinSeq || m.Seq > c.head.Seq {
		return tx.fail(fmt.Errorf("msgstore: rewrite: %q has seqs %d to %d, not %d", m.Conversation, c.head.MinSeq, c.head.Seq, m.Seq))
	}
	if err := tx.touch(c.partition, index); err != nil {
		return err
	}
	c.changed = true
	if c.own(m.Seq) != nil {
		// Marked as if the original had been committed before, so that the store is
		// the same however commands are batched.
		own := &c.messages[m.Seq-c.prior.head.Seq-1]
		own.stamp, own.wire = own.stamp|rewritten, wire
		return nil
	}
	id := messageID{m.Conversation, m.Seq}
	i, again := tx.rewriteOf[id]
	if !again {
		prior, err := tx.s.storedMessage(c.partition, id)
		if err != nil {
			return tx.fail(err)
		}
		i = len(tx.rewrites)
		tx.rewriteOf[id] = i
		tx.rewrites = append(tx.rewrites, txRewrite{id: id, prior: prior})
	}
	r := &tx.rewrites[i]
	r.now = append(binary.BigEndian.AppendUint64(nil, stampOf(r.prior)|rewritten), wire...)
	return nil
}

// storedMessage reads a message's value as Pebble shows it.
func (s *Store) storedMessage(p int, id messageID) (value []byte, err error) {
	_, err = s.get(appendMessageKey(nil, p, id.conversation, id.seq), func(v []byte) error {
		value = bytes.Clone(v)
		return nil
	})
	switch {
	case err != nil:
		return nil, err
	case value == nil:
		return nil, missing(id.conversation, id.seq)
	case len(value) < stampSize:
		return nil, errBadMessage
	}
	return value, nil
}

func (tx *Tx) sealRewrites() {
	for _, r := range tx.rewrites {
		c := tx.conversations[r.id.conversation]
		if r.id.seq < c.head.MinSeq {
			continue // Trim has removed it since
		}
		tx.key = appendMessageKey(tx.key[:0], c.partition, c.id, r.id.seq)
		_ = tx.batch.Set(tx.key, r.now, nil)
	}
}

// durableWire is the encoding in a message's value, or, while the commit that
// rewrote it is in progress, the one before. It may alias value.
func (s *Store) durableWire(conversation string, seq uint64, value []byte) []byte {
	if isRewritten(value) {
		if prior, ok := s.inflight.message(messageID{conversation, seq}); ok {
			value = prior
		}
	}
	return value[stampSize:]
}
