package msgstore

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"slices"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// resent commits ten messages, has prepare do something to the store, and
// returns how many of their client message ids it still knows.
func resent(t *testing.T, prepare func(s *Store)) (known int) {
	t.Helper()
	s := openMem(t)
	id := fill(t, s, 10)
	prepare(s)
	tx := s.Begin()
	defer tx.Discard()
	for i := range 10 {
		seq, found, err := tx.FindByClientID(id, "alice", fmt.Sprintf("c%d", i+1))
		check(t, err)
		if found && seq != uint64(i+1) {
			t.Errorf("c%d is at seq %d", i+1, seq)
		}
		if found {
			known++
		}
	}
	return known
}

// Whatever becomes of the rows, the ids are known: while a flush is under way,
// after it, and where Pebble flushed by itself.
func TestClientIDsAreKnown(t *testing.T) {
	for name, prepare := range map[string]func(s *Store){
		"committed":             func(*Store) {},
		"flushed":               func(s *Store) { check(t, s.flush()) },
		"flushed by itself":     func(s *Store) { check(t, s.db.Flush()) },
		"flushed twice":         func(s *Store) { check(t, errors.Join(s.flush(), s.flush())) },
		"a flush has failed":    func(s *Store) { s.flushes.next.Add(1) },
		"flushed after failing": func(s *Store) { s.flushes.next.Add(1); check(t, s.flush()) },
		"compacted": func(s *Store) {
			check(t, errors.Join(s.flush(), s.db.Compact(t.Context(), []byte{0}, []byte{0xff, 0xff, 0xff}, false)))
		},
	} {
		t.Run(name, func(t *testing.T) {
			if known := resent(t, prepare); known != 10 {
				t.Errorf("%d of 10 are known", known)
			}
		})
	}
	// The test must be able to fail: a store that forgets what no flush has
	// taken to a file takes resent messages for new ones.
	forget := func(s *Store) { s.flushes.ended.Store(s.flushes.next.Add(1)) }
	if known := resent(t, forget); known != 0 {
		t.Errorf("%d of 10 are known to a store that has forgotten them", known)
	}
}

// A flush that ends while a Tx looks into files from before it must not have
// the Tx forget what is only in the flush's.
func TestFlushDuringTx(t *testing.T) {
	s := openMem(t)
	id := fill(t, s, 2)
	tx := s.Begin()
	defer tx.Discard()
	for _, client := range []string{"new", "c1", "new too", "c2"} { // the first opens the files
		_, found, err := tx.FindByClientID(id, "alice", client)
		if err != nil || found != (client[0] == 'c') {
			t.Errorf("%s: %v, %v", client, found, err)
		}
		check(t, s.flush())
	}
}

// The store asks for flushes by itself, and what is flushed is forgotten, so
// that memory stays bounded.
func TestRecentIDsAreForgotten(t *testing.T) {
	opts := memOptions(t, vfs.NewMem())
	opts.Partitions = 1
	s := open(t, opts)
	defer closeStore(t, s)
	w := newWriter(s)
	most, n := 0, 0
	for range 200 {
		for range 50 {
			n++
			client := fmt.Sprint(n)
			_, found, err := w.begin().FindByClientID("d:alice:bob", "alice", client)
			if err != nil || found {
				t.Fatal(found, err)
			}
			_, err = w.send("alice", "bob", client, "hello")
			check(t, err)
		}
		check(t, w.commit())
		eventually(t, "the flush to end", func() bool { return s.flushes.filled.Load() < opts.MemTableBytes/8*7 })
		eventually(t, "the flush to end", func() bool { return s.flushes.ended.Load() == s.flushes.next.Load() })
		recent := 0
		for _, g := range s.parts[0].recent.generations {
			recent += len(g.hashes)
		}
		most = max(most, recent)
	}
	// 256 KiB of memtable hold some 1,100 of these messages; a generation is
	// let go by the look-up after its flush.
	if most > 3000 || most == n {
		t.Errorf("%d of %d ids in memory", most, n)
	}
	if got := s.flushes.ended.Load(); got < 3 || got > 30 {
		t.Errorf("%d flushes for %d messages", got, n)
	}
}

// Ids with one hash are told apart by their messages.
func TestClientIDsThatCollide(t *testing.T) {
	s := openMem(t)
	s.idHash = func([]byte) uint64 { return math.MaxUint64 }
	w := newWriter(s)
	for i := range 300 { // past a byte
		_, err := w.send("alice", []string{"bob", "carol"}[i%2], fmt.Sprint(i), "hello")
		check(t, err)
		if i%100 == 0 {
			check(t, errors.Join(w.commit(), s.flush()))
		}
	}
	for _, committed := range []bool{false, true} {
		for i := range 300 {
			id := []string{"d:alice:bob", "d:alice:carol"}[i%2]
			if seq, found, err := w.begin().FindByClientID(id, "alice", fmt.Sprint(i)); err != nil || !found || seq != uint64(i/2+1) {
				t.Fatalf("committed %v, id %d: %d, %v, %v", committed, i, seq, found, err)
			}
			if _, found, err := w.tx.FindByClientID(id, "alice", fmt.Sprint(i+1)); err != nil || found {
				t.Fatalf("committed %v, id %d is in the other conversation: %v", committed, i+1, err)
			}
		}
		check(t, w.commit())
	}
}

// What Pebble asks of Split and ImmediateSuccessor, for all of our keys.
// pebble.CheckComparer would also take bytes off their front, which only who
// shares files between databases does.
func TestComparer(t *testing.T) {
	keys := [][]byte{
		appendTable(nil, 1, tableApplied), appendTable(nil, 'd', tableApplied), appendTable(nil, 1, tableClientID), identityKey(),
		appendMessageKey(nil, 1, "d:alice:bob", 1), appendMemberKey(nil, 1, "alice", "d:alice:bob"),
	}
	for _, key := range keys {
		if n := comparer.Split(key); n != len(key) {
			t.Errorf("%q is split at %d", key, n)
		}
	}
	for _, hash := range []uint64{0, 1, 255, 256, math.MaxUint64 - 1, math.MaxUint64} {
		keys = append(keys, appendClientIDPrefix(nil, 1, hash))
		for _, stamp := range []uint64{1, 255, 256, math.MaxUint64} {
			key := appendClientIDKey(nil, 1, hash, stamp)
			if n := comparer.Split(key); n != clientIDPrefix {
				t.Errorf("%q is split at %d", key, n)
			}
			keys = append(keys, key)
		}
	}
	slices.SortFunc(keys, comparer.Compare)
	for i, key := range keys {
		prefix := comparer.Split.Prefix(key)
		next := comparer.ImmediateSuccessor(nil, prefix)
		if comparer.Split(prefix) != len(prefix) || comparer.Split(next) != len(next) || bytes.Compare(key, next) >= 0 {
			t.Errorf("the prefix %q of %q is followed by %q", prefix, key, next)
		}
		for _, later := range keys[i:] {
			if p := comparer.Split.Prefix(later); bytes.Compare(prefix, p) > 0 || !bytes.Equal(prefix, p) && bytes.Compare(next, p) > 0 {
				t.Errorf("%q and %q are %q and %q, the first followed by %q", key, later, prefix, p, next)
			}
		}
	}
}
