package msgstore

import (
	"encoding/binary"
	"sync"
)

// inflight holds what the commits in progress overwrite. Pebble shows readers
// the new version of a row before it is durable, and the old one no longer. A
// reader that meets a row whose stamp is past the synced index finds the old
// one here; if it doesn't, the commit has ended since, and it reads again.
type inflight struct {
	mu      sync.Mutex // guards the fields below
	heads   map[string]priorHead
	members map[memberID]priorMember
	rows    [][]*txRow // by partition, in the order of their keys
}

type priorHead struct {
	head   Head
	exists bool
}

type priorMember struct {
	m      Member
	exists bool
}

func (f *inflight) add(tx *Tx) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, c := range tx.rewritten {
		f.heads[c.id] = c.prior
	}
	for _, r := range tx.changed {
		f.members[r.id] = r.prior
	}
	for rows := tx.rows; len(rows) > 0; {
		p := keyPartition(rows[0].key)
		n := len(rowsBetween(rows, nil, binary.BigEndian.AppendUint16(nil, uint16(p+1))))
		f.rows[p], rows = rows[:n], rows[n:]
	}
}

func (f *inflight) remove(tx *Tx) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, c := range tx.rewritten {
		delete(f.heads, c.id)
	}
	for _, r := range tx.changed {
		delete(f.members, r.id)
	}
	for _, p := range tx.touched {
		f.rows[p] = nil // a partition has one commit in progress at a time
	}
}

func (f *inflight) head(id string) (priorHead, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	prior, ok := f.heads[id]
	return prior, ok
}

func (f *inflight) member(id memberID) (priorMember, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	prior, ok := f.members[id]
	return prior, ok
}

// row returns what was there before a row's change, nil if nothing was; ok: there
// is a change in progress.
func (f *inflight) row(key []byte) (prior []byte, ok bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	rows := f.rows[keyPartition(key)]
	i, ok := findRow(rows, key)
	if !ok {
		return nil, false
	}
	return rows[i].prior, true
}

// rowsIn returns the priors of the rows in [lower, upper), which is in one
// partition, in the order of their keys.
func (f *inflight) rowsIn(lower, upper []byte) []rowVersion {
	f.mu.Lock()
	defer f.mu.Unlock()
	var priors []rowVersion
	for _, r := range rowsBetween(f.rows[keyPartition(lower)], lower, upper) {
		priors = append(priors, rowVersion{r.key, r.prior})
	}
	return priors
}
