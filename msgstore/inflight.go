package msgstore

import "sync"

// inflight holds what the commits in progress overwrite. Pebble shows readers
// the new version of a row before it is durable, and the old one no longer. A
// reader that meets a row whose stamp is past the synced index finds the old
// one here; if it doesn't, the commit has ended since, and it reads again.
type inflight struct {
	mu      sync.Mutex // guards the maps
	heads   map[string]priorHead
	members map[memberID]priorMember
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
