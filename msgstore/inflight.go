package msgstore

import (
	"slices"
	"strings"
	"sync"
)

// inflight holds what the commits in progress overwrite. Pebble shows readers
// the new version of a row before it is durable, and the old one no longer. A
// reader that meets a row whose stamp is past the synced index finds the old
// one here; if it doesn't, the commit has ended since, and it reads again.
type inflight struct {
	mu      sync.Mutex // guards the maps
	heads   map[string]priorHead
	members map[memberID]priorMember
	// messages holds the values of messages that are rewritten.
	messages map[messageID][]byte
	rows     map[string][]byte // nil: there was none
}

type priorRow struct {
	key   string
	value []byte
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
	for _, m := range tx.rewrites {
		f.messages[m.id] = m.prior
	}
	for _, r := range tx.changedRows {
		f.rows[r.key] = r.prior
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
	for _, m := range tx.rewrites {
		delete(f.messages, m.id)
	}
	for _, r := range tx.changedRows {
		delete(f.rows, r.key)
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

func (f *inflight) message(id messageID) ([]byte, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	value, ok := f.messages[id]
	return value, ok
}

func (f *inflight) row(key string) ([]byte, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	value, ok := f.rows[key]
	return value, ok
}

// rowsIn returns the priors of the rows in [lower, upper), in the order of their
// keys.
func (f *inflight) rowsIn(lower, upper string) (all []priorRow) {
	f.mu.Lock()
	for key, value := range f.rows {
		if key >= lower && key < upper {
			all = append(all, priorRow{key, value})
		}
	}
	f.mu.Unlock()
	slices.SortFunc(all, func(a, b priorRow) int { return strings.Compare(a.key, b.key) })
	return all
}
