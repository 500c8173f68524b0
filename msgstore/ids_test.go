package msgstore

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

func idTime(id uint64) time.Time { return time.UnixMilli(int64(id>>idTimeShift) + idEpoch) }

func TestIDs(t *testing.T) {
	now := time.Date(2026, 5, 6, 7, 8, 9, 0, time.UTC)
	opts := memOptions(t, vfs.NewMem())
	opts.Now = func() time.Time { return now }
	opts.Node = 513
	s := open(t, opts)
	defer closeStore(t, s)
	var (
		seen    sync.Map
		workers sync.WaitGroup
	)
	for range 4 {
		workers.Go(func() {
			last := uint64(0)
			for range 20000 {
				id := s.NextID()
				if _, twice := seen.LoadOrStore(id, true); twice || id <= last {
					t.Errorf("%d after %d, given before: %v", id, last, twice)
					return
				}
				last = id
			}
		})
	}
	workers.Wait()
	id := s.NextID()
	if node := id >> 12 & maxNode; node != 513 {
		t.Errorf("the id is of node %d", node)
	}
	if d := idTime(id).Sub(now); d < 0 || d > time.Minute {
		t.Errorf("the id is of %v, %v off", idTime(id), d)
	}
}

// Ids go on after the newest that was stored, wherever the clock is.
func TestIDsAfterTheClockWasSetBack(t *testing.T) {
	now := time.Date(2026, 5, 6, 7, 8, 9, 0, time.UTC)
	opts := memOptions(t, vfs.NewMem())
	opts.Now = func() time.Time { return now }
	restart := func(back time.Duration) (first, last uint64, err error) {
		now = now.Add(-back)
		s, err := Open(opts)
		if err != nil {
			return 0, 0, err
		}
		defer closeStore(t, s)
		first = s.NextID()
		w := newWriter(s)
		// Into one partition, then another: the newest may be in any.
		for _, to := range []string{"bob", "carol", "dave"} {
			_, err = w.send("alice", to, time.Duration(w.index[0]).String()+now.String(), "hello")
			check(t, err)
		}
		check(t, w.commit())
		w = newWriter(s)
		m, err := w.send("alice", "erin", now.String(), "the last")
		check(t, err)
		check(t, w.commit())
		return first, m.Id, nil
	}
	_, last, err := restart(0)
	check(t, err)
	for _, back := range []time.Duration{0, time.Millisecond, time.Second, 3 * time.Second} {
		first, next, err := restart(back)
		if err != nil || first <= last {
			t.Errorf("%v back: %d after %d, %v", back, first, last, err)
		}
		if ahead := idTime(first).Sub(now); ahead > maxIDLead+time.Second {
			t.Errorf("%v back: the ids are %v ahead", back, ahead)
		}
		last = next
	}
	_, _, err = restart(10 * time.Minute)
	if !errors.Is(err, ErrClockBehind) || !strings.Contains(err.Error(), "set the clock, or wait") {
		t.Errorf("ten minutes back: %v", err)
	}
	if first, _, err := restart(-10 * time.Minute); err != nil || first <= last {
		t.Errorf("the clock is right again: %d after %d, %v", first, last, err)
	}
}

// A follower may apply ids that were made elsewhere.
func TestIDsGoOnAfterThoseOfOthers(t *testing.T) {
	now := time.Date(2026, 5, 6, 7, 8, 9, 0, time.UTC)
	opts := memOptions(t, vfs.NewMem())
	opts.Now = func() time.Time { return now }
	s := open(t, opts)
	w := newWriter(s)
	other := uint64(now.Add(2*time.Second).UnixMilli()-idEpoch)<<idTimeShift | 1000<<12 | 4095
	w.id = func() uint64 { return other }
	_, err := w.send("alice", "bob", "c1", "from another node")
	check(t, err)
	w.id = func() uint64 { return 1 }
	_, err = w.send("alice", "bob", "c2", "a lower one after it")
	check(t, errors.Join(err, w.commit()))
	_, err = w.send("alice", "bob", "c3", "and in another batch")
	check(t, errors.Join(err, w.commit()))
	for restart := range 2 {
		closeStore(t, s)
		s = open(t, opts)
		if id := s.NextID(); id <= other {
			t.Errorf("restart %d: %d is not above %d", restart, id, other)
		}
		w = newWriter(s)
		w.id = func() uint64 { return 1 }
		_, err = w.send("alice", "bob", fmt.Sprint("after restart", restart), "still a lower one")
		check(t, errors.Join(err, w.commit()))
	}
	closeStore(t, s)
}
