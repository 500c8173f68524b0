package msgstore

import (
	"encoding/binary"
	"fmt"

	"github.com/godwit-im/godwit/protocol/pb"
)

// Rewrite replaces the encoding of a message that is kept: m's, at m.Seq, by
// wire. Ids, sender, client message id, time, counts and shown_seq must stay as
// they are. Wire must not change until the Tx ends.
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
	if own := c.ownMessage(m.Seq); own != nil {
		if err := sameMessage(own.wire, wire); err != nil {
			return tx.fail(fmt.Errorf("message %d of %q: %w", m.Seq, c.id, err))
		}
		own.wire, own.rewritten, c.changed = wire, true, true
		return nil
	}
	key := appendMessageKey(nil, c.partition, c.id, m.Seq)
	before, err := tx.row(key)
	switch {
	case err != nil:
		return err
	case before == nil:
		return tx.fail(missing(c.id, m.Seq))
	case len(before) < stampSize:
		return tx.fail(errBadMessage)
	}
	if err := sameMessage(before[stampSize:], wire); err != nil {
		return tx.fail(fmt.Errorf("message %d of %q: %w", m.Seq, c.id, err))
	}
	c.changed = true
	now := binary.BigEndian.AppendUint64(make([]byte, 0, stampSize+len(wire)), stampOf(before)|rewritten)
	tx.setRow(key, before, append(now, wire...))
	return nil
}

// sameMessage returns an error unless both encodings are of one message: what
// heads and client message ids are read from must not change.
func sameMessage(before, now []byte) error {
	a, err := decodeMessage(before)
	if err != nil {
		return err
	}
	b, err := decodeMessage(now)
	if err != nil {
		return err
	}
	if a.head != b.head || string(a.sender) != string(b.sender) || string(a.clientID) != string(b.clientID) {
		return fmt.Errorf("msgstore: rewrite: %+v of %q (%q) can't become %+v of %q (%q)", a.head, a.sender, a.clientID, b.head, b.sender, b.clientID)
	}
	return nil
}

// durableWire is the encoding in a message's value, which was read under key,
// or, while the commit that rewrote it is in progress, the one before. It may
// alias value. Who finds nothing in flight has read a version that is durable by
// now: a commit adds what it overwrites before Pebble shows the new version, and
// takes it away after the sync.
func (s *Store) durableWire(key, value []byte) []byte {
	if isRewritten(value) {
		if prior, ok := s.inflight.row(key); ok {
			value = prior
		}
	}
	return value[stampSize:]
}
