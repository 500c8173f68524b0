package msgstore

import (
	"encoding/binary"
	"slices"
)

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
	return s.rowsIn(lower, upper, func(key, _ []byte, _ uint64) (bool, error) {
		if len(key) < skip+8+1+8 {
			return false, errBadRow
		}
		n++
		return n < limit, f(string(key[skip+8:len(key)-9]), lastUint64(key), int64(binary.BigEndian.Uint64(key[skip:])))
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
	value, _, err := s.row(appendSeenKey(nil, p, user))
	if err != nil || value == nil {
		return 0, err
	}
	d := decoder{b: value}
	ms := d.uvarint()
	return int64(ms), d.done("last seen")
}
