package msgstore

import (
	"bytes"
	"encoding/binary"
	"errors"
	"slices"
	"strings"

	"github.com/cockroachdb/pebble/v2"
)

// What is rare has rows of one kind: a key, and a value that begins with the
// stamp of the last change. A Tx keeps those that it changes by key, and a
// commit in progress leaves what it overwrites in inflight, so that nobody reads
// what isn't durable yet.

// txRow is a row that a Tx changed.
type txRow struct {
	key   string
	prior []byte // the durable value; nil if there was none
	now   []byte // nil if it is deleted
}

// putRow sets a row that may exist: value comes without its stamp.
func (tx *Tx) putRow(index uint64, key, value []byte) error {
	prior, err := tx.rowBefore(key)
	if err != nil {
		return err
	}
	tx.setRow(key, prior, append(binary.BigEndian.AppendUint64(nil, index), value...))
	return nil
}

// addRow is putRow for a row that is known not to exist.
func (tx *Tx) addRow(index uint64, key, value []byte) {
	tx.setRow(key, nil, append(binary.BigEndian.AppendUint64(nil, index), value...))
}

// dropRow deletes a row that may exist.
func (tx *Tx) dropRow(key []byte) error {
	prior, err := tx.rowBefore(key)
	if err != nil {
		return err
	}
	tx.setRow(key, prior, nil)
	return nil
}

func (tx *Tx) setRow(key, prior, now []byte) {
	if r, ok := tx.rows[string(key)]; ok {
		r.now = now
		return
	}
	r := &txRow{key: string(key), prior: prior, now: now}
	tx.rows[r.key] = r
	tx.changedRows = append(tx.changedRows, r)
}

// rowBefore returns a row's value before the Tx.
func (tx *Tx) rowBefore(key []byte) (value []byte, err error) {
	if r, ok := tx.rows[string(key)]; ok {
		return r.prior, nil
	}
	_, err = tx.s.get(key, func(v []byte) error {
		value = bytes.Clone(v)
		return nil
	})
	return value, tx.failed(err)
}

// row returns a row's value as the Tx leaves it, nil if there is none.
func (tx *Tx) row(key []byte) ([]byte, error) {
	if r, ok := tx.rows[string(key)]; ok {
		return r.now, nil
	}
	return tx.rowBefore(key)
}

// countRows returns how many rows there are in [lower, upper), as the Tx leaves
// them.
func (tx *Tx) countRows(lower, upper []byte) (n int, err error) {
	err = tx.rowsIn(lower, upper, func([]byte) { n++ })
	return n, err
}

// rowsIn calls f with the values, without their stamps, of the rows in [lower,
// upper), as the Tx leaves them, in no order.
func (tx *Tx) rowsIn(lower, upper []byte, f func(value []byte)) error {
	err := tx.s.scan(lower, upper, func(key, value []byte) (bool, error) {
		if _, changed := tx.rows[string(key)]; !changed && len(value) >= stampSize {
			f(value[stampSize:])
		}
		return true, nil
	})
	for key, r := range tx.rows {
		if r.now != nil && key >= string(lower) && key < string(upper) {
			f(r.now[stampSize:])
		}
	}
	return tx.failed(err)
}

// sealRows puts the rows into the batch, in the order of their keys.
func (tx *Tx) sealRows() {
	slices.SortFunc(tx.changedRows, func(a, b *txRow) int { return strings.Compare(a.key, b.key) })
	for _, r := range tx.changedRows {
		switch {
		case r.now != nil:
			_ = tx.batch.Set([]byte(r.key), r.now, nil)
		case r.prior != nil:
			_ = tx.batch.Delete([]byte(r.key), nil)
		}
	}
}

// row returns the durable value of a row, without its stamp, and the stamp. nil:
// there is none.
func (s *Store) row(p int, key []byte) (value []byte, stamp uint64, err error) {
	part := &s.parts[p]
	for {
		synced := part.synced.Load()
		value = nil
		if _, err := s.get(key, func(v []byte) error {
			value = bytes.Clone(v)
			return nil
		}); err != nil {
			return nil, 0, err
		}
		if value != nil && len(value) < stampSize {
			return nil, 0, errBadRow
		}
		if value == nil || stampOf(value) > synced {
			if prior, ok := s.inflight.row(string(key)); ok {
				value = prior
			} else if value != nil && stampOf(value) > part.synced.Load() {
				return nil, 0, errBadRow
			}
		}
		if value == nil {
			return nil, 0, nil
		}
		return value[stampSize:], stampOf(value), nil
	}
}

// rowsIn calls f with the durable rows in [lower, upper) of partition p, in the
// order of their keys, until it returns false or an error. Key and value, which
// comes without the stamp, are valid until f returns.
func (s *Store) rowsIn(p int, lower, upper []byte, f func(key, value []byte, stamp uint64) (bool, error)) (err error) {
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: lower, UpperBound: upper})
	if err != nil {
		return readError(err)
	}
	defer func() { err = errors.Join(err, closeIter(it)) }()
	// After the iterator, which may show what a commit in progress writes: either
	// its priors are still here, or it is durable.
	priors := s.inflight.rowsIn(string(lower), string(upper))
	emit := func(key string, value []byte) (bool, error) {
		if len(value) < stampSize {
			return false, errBadRow
		}
		return f([]byte(key), value[stampSize:], stampOf(value))
	}
	more := true
	before := func(key string) (err error) { // priors of rows that the iterator no longer has
		for more && err == nil && len(priors) > 0 && (key == "" || priors[0].key < key) {
			if priors[0].value != nil {
				more, err = emit(priors[0].key, priors[0].value)
			}
			priors = priors[1:]
		}
		return err
	}
	for it.First(); it.Valid() && more; it.Next() {
		key := string(it.Key())
		if err := before(key); err != nil || !more {
			return err
		}
		value, err := it.ValueAndErr()
		if err != nil {
			return readError(err)
		}
		if len(priors) > 0 && priors[0].key == key {
			value, priors = priors[0].value, priors[1:]
			if value == nil {
				continue
			}
		}
		if more, err = emit(key, value); err != nil {
			return err
		}
	}
	if err := it.Error(); err != nil {
		return readError(err)
	}
	return before("")
}
