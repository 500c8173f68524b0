package session

import (
	"hash/maphash"
	"sync"
	"sync/atomic"

	"github.com/godwit-im/godwit/protocol"
	"github.com/godwit-im/godwit/protocol/pb"
)

const registryShards = 64

// registry holds the sessions by user. A user's sessions are chained through
// Session.sibling, so a user costs one map entry and no slice.
type registry struct {
	seed   maphash.Seed
	count  atomic.Int64 // sessions; changed under the lock of their shard
	shards [registryShards]shard
}

type shard struct {
	mu    sync.RWMutex        // guards users, and sibling of the sessions in it
	users map[string]*Session // the first of the user's chain, the newest
	_     [32]byte            // a cache line of its own
}

func newRegistry() *registry {
	r := &registry{seed: maphash.MakeSeed()}
	for i := range r.shards {
		r.shards[i].users = make(map[string]*Session)
	}
	return r
}

func (r *registry) shard(user string) *shard {
	return &r.shards[maphash.String(r.seed, user)%registryShards]
}

// add registers s, unless its user has limit other devices already that stay,
// and returns the sessions that it replaces: that of the same device, and those
// that the policy doesn't let stay. generation is called under the lock, so
// that a user's generations rise in the order in which their sessions replace
// each other.
func (r *registry) add(s *Session, limit int, policy LoginPolicy, generation func() uint64) (replaced []*Session, err error) {
	sh := r.shard(s.User)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	others := 0
	for x := sh.users[s.User]; x != nil; x = x.sibling {
		if x.Device == s.Device || policy.excludes(x, s) {
			replaced = append(replaced, x)
		} else {
			others++
		}
	}
	if len(replaced) == 0 && others >= limit {
		return nil, protocol.Errorf(pb.Code_CODE_TOO_MANY_DEVICES, "the user has %d devices connected, the limit is %d", others, limit)
	}
	for _, old := range replaced {
		sh.remove(old)
	}
	r.count.Add(1 - int64(len(replaced)))
	s.Generation = generation()
	s.sibling = sh.users[s.User]
	sh.users[s.User] = s
	return replaced, nil
}

// remove unregisters s and reports whether it was registered. One that a newer
// session of its device has replaced is not, and the newer one stays.
func (r *registry) remove(s *Session) bool {
	sh := r.shard(s.User)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if !sh.remove(s) {
		return false
	}
	r.count.Add(-1)
	return true
}

// remove takes s, and no other session, out of its user's chain. The caller
// holds mu.
func (sh *shard) remove(s *Session) bool {
	first := sh.users[s.User]
	if first == s {
		if s.sibling == nil {
			delete(sh.users, s.User)
		} else {
			sh.users[s.User] = s.sibling
		}
		s.sibling = nil
		return true
	}
	for x := first; x != nil; x = x.sibling {
		// The fence of a takeover: s itself, not just any session of its
		// device. Comparing x.sibling.Device with s.Device here, or first.Device
		// above, would let a replaced session's late close remove its
		// successor; TestTakeoverRace catches it.
		if x.sibling == s {
			x.sibling, s.sibling = s.sibling, nil
			return true
		}
	}
	return false
}

// take unregisters and returns the session of another of by's user's devices,
// or nil. Of those that race for a session, with each other or with its
// successor, one gets it; and by, once it has been replaced itself, gets none.
func (r *registry) take(by *Session, device string) *Session {
	sh := r.shard(by.User)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	var found *Session
	registered := false
	for s := sh.users[by.User]; s != nil; s = s.sibling {
		registered = registered || s == by
		if s.Device == device && s != by {
			found = s
		}
	}
	if !registered || found == nil {
		return nil
	}
	sh.remove(found)
	r.count.Add(-1)
	return found
}

func (r *registry) sessions(dst []*Session, user string) []*Session {
	sh := r.shard(user)
	sh.mu.RLock()
	defer sh.mu.RUnlock()
	for s := sh.users[user]; s != nil; s = s.sibling {
		dst = append(dst, s)
	}
	return dst
}

func (r *registry) online(user string) bool {
	sh := r.shard(user)
	sh.mu.RLock()
	defer sh.mu.RUnlock()
	return sh.users[user] != nil
}

func (r *registry) countUsers() int {
	n := 0
	for i := range r.shards {
		sh := &r.shards[i]
		sh.mu.RLock()
		n += len(sh.users)
		sh.mu.RUnlock()
	}
	return n
}

// each calls f with no lock held, on a copy of one shard after another.
func (r *registry) each(f func(*Session) bool) {
	var all []*Session
	for i := range r.shards {
		sh := &r.shards[i]
		all = all[:0]
		sh.mu.RLock()
		for _, s := range sh.users {
			for ; s != nil; s = s.sibling {
				all = append(all, s)
			}
		}
		sh.mu.RUnlock()
		for _, s := range all {
			if !f(s) {
				return
			}
		}
	}
}
