package msgstore

import (
	"bytes"
	"encoding/binary"
	"errors"
	"slices"

	"github.com/cockroachdb/pebble/v2"
)

// What is rare has rows of one kind: a key, and a value that begins with the
// stamp of the last change. So have messages that are rewritten. A Tx keeps the
// rows that it changes in the order of their keys, over what Pebble has, and a
// commit in progress leaves what it overwrites in inflight, so that nobody reads
// what isn't durable yet.

// txRow is a row that a Tx changed.
type txRow struct {
	key   []byte
	prior []byte // the value when the Tx began; nil if there was none
	now   []byte // nil if it is deleted
}

// findRow returns the place of a row in tx.rows, and whether it is there. A Tx
// has thousands of rows at the most, so inserting into the slice is cheap.
func (tx *Tx) findRow(key []byte) (int, bool) { return findRow(tx.rows, key) }

func findRow(rows []*txRow, key []byte) (int, bool) {
	return slices.BinarySearchFunc(rows, key, func(r *txRow, key []byte) int { return bytes.Compare(r.key, key) })
}

// rowsBetween returns those of rows, which are in the order of their keys, that
// are in [lower, upper).
func rowsBetween(rows []*txRow, lower, upper []byte) []*txRow {
	from, _ := findRow(rows, lower)
	to, _ := findRow(rows, upper)
	return rows[from:max(from, to)]
}

// putRow sets a row that may exist: value comes without its stamp.
func (tx *Tx) putRow(index uint64, key, value []byte) error {
	return tx.changeRow(key, append(binary.BigEndian.AppendUint64(nil, index), value...))
}

// addRow is putRow for a row that is known not to exist.
func (tx *Tx) addRow(index uint64, key, value []byte) {
	tx.setRow(key, nil, append(binary.BigEndian.AppendUint64(nil, index), value...))
}

// dropRow deletes a row that may exist.
func (tx *Tx) dropRow(key []byte) error { return tx.changeRow(key, nil) }

func (tx *Tx) changeRow(key, now []byte) error {
	if i, ok := tx.findRow(key); ok {
		tx.rows[i].now = now
		return nil
	}
	prior, err := tx.s.value(key)
	if err != nil {
		return tx.fail(err)
	}
	tx.setRow(key, prior, now)
	return nil
}

// setRow sets a row whose value before the Tx is prior. The Tx keeps all three.
func (tx *Tx) setRow(key, prior, now []byte) {
	i, ok := tx.findRow(key)
	if ok {
		tx.rows[i].now = now
		return
	}
	tx.rows = slices.Insert(tx.rows, i, &txRow{key: key, prior: prior, now: now})
}

// row returns a row's value as the Tx leaves it, nil if there is none.
func (tx *Tx) row(key []byte) ([]byte, error) {
	if i, ok := tx.findRow(key); ok {
		return tx.rows[i].now, nil
	}
	value, err := tx.s.value(key)
	return value, tx.failed(err)
}

// dropRows deletes the rows in [lower, upper).
func (tx *Tx) dropRows(lower, upper []byte) error {
	var keys [][]byte
	err := tx.rowsIn(lower, upper, func(key, _ []byte, _ uint64) (bool, error) {
		keys = append(keys, bytes.Clone(key))
		return true, nil
	})
	if err != nil {
		return err
	}
	for _, key := range keys {
		if err := tx.dropRow(key); err != nil {
			return err
		}
	}
	return nil
}

// removeRange deletes [lower, upper) by one record. It goes into the batch ahead
// of what seal puts there, so what the Tx has set in it is forgotten. Reads of
// the Tx don't know of it: it is for what nobody asks for any more.
func (tx *Tx) removeRange(lower, upper []byte) {
	_ = tx.batch.DeleteRange(lower, upper, nil) // a batch that isn't committed yet takes anything
	from, _ := tx.findRow(lower)
	tx.rows = slices.Delete(tx.rows, from, from+len(rowsBetween(tx.rows, lower, upper)))
}

// sealRows puts the rows into the batch.
func (tx *Tx) sealRows() {
	for _, r := range tx.rows {
		switch {
		case r.now != nil:
			_ = tx.batch.Set(r.key, r.now, nil)
		case r.prior != nil:
			_ = tx.batch.Delete(r.key, nil)
		}
	}
}

// value returns a clone of the value of key as Pebble shows it, durable or not;
// nil if there is none.
func (s *Store) value(key []byte) (value []byte, err error) {
	_, err = s.get(key, func(v []byte) error {
		value = bytes.Clone(v)
		return nil
	})
	return value, err
}

// row returns the durable value of a row, without its stamp, and the stamp. nil:
// there is none.
func (s *Store) row(key []byte) (value []byte, stamp uint64, err error) {
	if value, err = s.value(key); err != nil {
		return nil, 0, err
	}
	// After Pebble, which may show what a commit in progress writes: either its
	// prior is still here, or it is durable. The same goes for rowsIn.
	if prior, ok := s.inflight.row(key); ok {
		value = prior
	}
	switch {
	case value == nil:
		return nil, 0, nil
	case len(value) < stampSize:
		return nil, 0, errBadRow
	}
	return value[stampSize:], stampOf(value), nil
}

// A rowFunc gets a row's key, its value without the stamp, and the stamp. Both
// slices are valid until it returns; false ends the iteration.
type rowFunc = func(key, value []byte, stamp uint64) (bool, error)

// A rowsFunc is a rowsIn: a Store's, of what is durable, or a Tx's.
type rowsFunc = func(lower, upper []byte, f rowFunc) error

// rowsIn calls f with the durable rows in [lower, upper), which is in one
// partition, in the order of their keys.
func (s *Store) rowsIn(lower, upper []byte, f rowFunc) (err error) {
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: lower, UpperBound: upper})
	if err != nil {
		return readError(err)
	}
	defer func() { err = errors.Join(err, closeIter(it)) }()
	return mergeRows(it, s.inflight.rowsIn(lower, upper), f)
}

// rowsIn is Store.rowsIn for the rows as the Tx leaves them. What f changes it
// doesn't see.
func (tx *Tx) rowsIn(lower, upper []byte, f rowFunc) (err error) {
	it, err := tx.s.db.NewIter(&pebble.IterOptions{LowerBound: lower, UpperBound: upper})
	if err != nil {
		return tx.fail(readError(err))
	}
	defer func() { err = tx.failed(errors.Join(err, closeIter(it))) }()
	changed := rowsBetween(tx.rows, lower, upper)
	over := make([]rowVersion, len(changed))
	for i, r := range changed {
		over[i] = rowVersion{r.key, r.now}
	}
	return mergeRows(it, over, f)
}

// rowVersion is a row that takes the place of what Pebble shows; without a value
// it isn't there.
type rowVersion struct{ key, value []byte }

// mergeRows calls f with what it shows, with the rows of over in the places of
// theirs.
func mergeRows(it *pebble.Iterator, over []rowVersion, f rowFunc) error {
	for valid := it.First(); valid || len(over) > 0; {
		order := 1 // of the iterator's key and the first of over
		if valid && len(over) > 0 {
			order = bytes.Compare(it.Key(), over[0].key)
		} else if valid {
			order = -1
		}
		var r rowVersion
		if order < 0 {
			value, err := it.ValueAndErr()
			if err != nil {
				return readError(err)
			}
			r = rowVersion{it.Key(), value}
		} else {
			r, over = over[0], over[1:]
		}
		if r.value != nil {
			if len(r.value) < stampSize {
				return errBadRow
			}
			if more, err := f(r.key, r.value[stampSize:], stampOf(r.value)); err != nil || !more {
				return err
			}
		}
		if order <= 0 {
			valid = it.Next()
		}
	}
	if err := it.Error(); err != nil {
		return readError(err)
	}
	return nil
}
