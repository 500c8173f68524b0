package msgstore

import (
	"encoding/binary"
	"fmt"
	"slices"
)

// PutFollowUp keeps a notice for another conversation: the n-th of the command
// at index, which changes source.
func (tx *Tx) PutFollowUp(index uint64, source string, n int, conversation string, notice []byte) error {
	p := tx.s.PartitionOf(source)
	if err := tx.touch(p, index); err != nil {
		return err
	}
	if n < 0 || n > 255 {
		return tx.fail(fmt.Errorf("msgstore: follow-up %d of a command", n))
	}
	value := binary.AppendUvarint(nil, uint64(len(source)))
	value = append(value, source...)
	value = binary.AppendUvarint(value, uint64(len(conversation)))
	value = append(value, conversation...)
	tx.addRow(index, appendFollowUpKey(nil, p, index, n), append(value, notice...))
	return nil
}

// DropFollowUp forgets the n-th notice of the command at an index.
func (tx *Tx) DropFollowUp(index uint64, source string, at uint64, n int) error {
	p := tx.s.PartitionOf(source)
	if err := tx.touch(p, index); err != nil {
		return err
	}
	return tx.dropRow(appendFollowUpKey(nil, p, at, n))
}

// FollowUps calls f for the notices that partition p keeps, the oldest first.
// notice is valid until f returns.
func (s *Store) FollowUps(p int, f func(source string, index uint64, n int, conversation string, notice []byte) error) error {
	lower := appendTable(nil, p, tableFollowUp)
	return s.rowsIn(lower, successor(slices.Clone(lower)), func(key, value []byte, _ uint64) (bool, error) {
		d := decoder{b: value}
		source, conversation := d.string(), d.string()
		if d.bad || len(key) != len(lower)+9 {
			return false, errBadRow
		}
		return true, f(source, binary.BigEndian.Uint64(key[len(lower):]), int(key[len(key)-1]), conversation, d.b)
	})
}
