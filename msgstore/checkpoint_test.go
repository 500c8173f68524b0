package msgstore

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/godwit-im/godwit/protocol"
)

func TestCheckpoint(t *testing.T) {
	for _, durability := range []Durability{Sync, Interval} {
		t.Run(durability.String(), func(t *testing.T) {
			opts := memOptions(t, vfs.NewMem())
			opts.Durability = durability
			s := open(t, opts)
			defer closeStore(t, s)
			id := fill(t, s, 1)

			// While a writer goes on.
			var (
				stop   atomic.Bool
				acked  atomic.Uint64
				writer sync.WaitGroup
			)
			started := make(chan struct{})
			writer.Go(func() {
				w := newWriter(s)
				for n := 0; !stop.Load(); n++ {
					m, err := w.send("bob", "alice", fmt.Sprint("w", n), strings.Repeat("x", 500))
					if err != nil || w.commit() != nil {
						t.Error(err)
						return
					}
					acked.Store(m.Seq)
					if n == 50 {
						close(started)
					}
				}
			})
			<-started
			before := acked.Load()
			check(t, s.Checkpoint("backups/monday/"))
			if err := s.Checkpoint("backups/monday"); !errors.Is(err, fs.ErrExist) {
				t.Errorf("over an older one: %v", err)
			}
			stop.Store(true)
			writer.Wait()

			copied := opts
			copied.Dir = "backups/monday"
			c := open(t, copied)
			h, exists, err := c.Head(id)
			if err != nil || !exists || h.Seq < before || h.Seq > acked.Load() {
				t.Errorf("the copy's head is %+v, %v, %v; at least %d was acknowledged", h, exists, err, before)
			}
			if r, err := c.Range(id, 0, 0, false, 1<<20, 1<<30, nil); err != nil || r.Last != h.Seq {
				t.Errorf("the copy has messages up to %d, %v", r.Last, err)
			}
			epoch := c.Epoch()
			if epoch == s.Epoch() || epoch == 0 {
				t.Errorf("the copy has the epoch %d, the original %d", epoch, s.Epoch())
			}
			// The two go separate ways.
			w := newWriter(c)
			m, err := w.send("alice", "bob", "only in the copy", "x")
			check(t, errors.Join(err, w.commit()))
			closeStore(t, c)
			c = open(t, copied)
			defer closeStore(t, c)
			if c.Epoch() != epoch {
				t.Errorf("the copy's epoch changed from %d to %d", epoch, c.Epoch())
			}
			if h, _, err := c.Head(id); err != nil || h.Seq != m.Seq {
				t.Errorf("the copy's head: %+v, %v", h, err)
			}
			tx := s.Begin()
			defer tx.Discard()
			if _, found, err := tx.FindByClientID(id, "alice", "only in the copy"); err != nil || found {
				t.Errorf("the original has it: %v, %v", found, err)
			}
		})
	}
}

// A checkpoint that was cut short can't be mistaken for one.
func TestCheckpointCutShort(t *testing.T) {
	disk := vfs.NewCrashableMem()
	var (
		mu       sync.Mutex // guards what follows
		cuts     = map[bool][]*vfs.MemFS{}
		watching bool
		done     bool
	)
	opts := memOptions(t, beforeWrites(disk, func() {
		mu.Lock()
		defer mu.Unlock()
		if watching {
			cuts[done] = append(cuts[done], crash(disk, 0, 1), crash(disk, 100, 1))
		}
	}))
	set := func(w, d bool) {
		mu.Lock()
		defer mu.Unlock()
		watching, done = w, d
	}
	s := open(t, opts)
	id := fill(t, s, 10)
	check(t, s.db.Flush())
	epoch := s.Epoch()
	set(true, false)
	check(t, s.Checkpoint("copy"))
	set(true, true)
	sendOne(t, s)
	set(false, true)
	closeStore(t, s)

	complete := 0
	for finished, clones := range cuts {
		for i, clone := range clones {
			_, err := clone.Stat("copy")
			if errors.Is(err, fs.ErrNotExist) {
				if finished {
					t.Errorf("cut %d: Checkpoint had returned, and there is no copy", i)
				}
				continue
			}
			check(t, err)
			complete++
			opts := memOptions(t, clone)
			opts.Dir = "copy"
			c := open(t, opts)
			if h, _, err := c.Head(id); err != nil || h.Seq != 10 {
				t.Errorf("cut %d: head %+v, %v", i, h, err)
			}
			if c.Epoch() == epoch {
				t.Errorf("cut %d: the copy has the original's epoch", i)
			}
			closeStore(t, c)
		}
	}
	if complete == 0 || len(cuts[false]) < 10 {
		t.Errorf("%d of %d and %d cuts left a copy", complete, len(cuts[false]), len(cuts[true]))
	}
}

func sendOne(t *testing.T, s *Store) {
	t.Helper()
	w := newWriter(s)
	_, err := w.send("carol", "dave", "c", "x")
	check(t, errors.Join(err, w.commit()))
}

// A new epoch is begun once the copy is durable as what it is, whatever
// happens while it begins.
func TestCrashWhileBeginningAnEpoch(t *testing.T) {
	original := vfs.NewCrashableMem()
	opts := memOptions(t, original)
	s := open(t, opts)
	fill(t, s, 1)
	check(t, s.Checkpoint("copy"))
	epoch := s.Epoch()
	closeStore(t, s)

	disk := crash(original, 0, 1)
	var (
		mu     sync.Mutex // guards clones
		clones []*vfs.MemFS
	)
	opts.FS = beforeWrites(disk, func() {
		mu.Lock()
		defer mu.Unlock()
		clones = append(clones, crash(disk, 0, 1), crash(disk, 100, 1))
	})
	opts.Dir = "copy"
	c := open(t, opts)
	begun := c.Epoch()
	afterwards := crash(disk, 0, 1)
	closeStore(t, c)
	if len(clones) < 10 {
		t.Fatalf("only %d crashes", len(clones))
	}
	for i, clone := range clones {
		opts.FS = clone
		c := open(t, opts)
		if c.Epoch() == epoch {
			t.Errorf("crash %d: the original's epoch", i)
		}
		if _, err := clone.Stat(clone.PathJoin("copy", newEpochFile)); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("crash %d: the next start will begin another epoch: %v", i, err)
		}
		closeStore(t, c)
	}
	opts.FS = afterwards
	c = open(t, opts)
	defer closeStore(t, c)
	if c.Epoch() != begun {
		t.Errorf("a crash after the start began another epoch")
	}
}

// An operator who restored the files by other means asks for a new epoch with
// an empty file.
func TestNewEpochOnDemand(t *testing.T) {
	disk := vfs.NewMem()
	opts := memOptions(t, disk)
	s := open(t, opts)
	epoch := s.Epoch()
	closeStore(t, s)
	check(t, createEmpty(disk, disk.PathJoin(opts.Dir, "NEW-EPOCH")))
	s = open(t, opts)
	defer closeStore(t, s)
	if s.Epoch() == epoch {
		t.Error("the epoch is the old one")
	}
}

func TestCheckpointFails(t *testing.T) {
	var broken atomic.Bool
	disk := vfs.NewMem()
	opts := memOptions(t, errorfs.Wrap(disk, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if broken.Load() && op.Kind == errorfs.OpCreate && strings.HasSuffix(op.Path, newEpochFile) {
			return errorfs.ErrInjected
		}
		return nil
	})))
	s := open(t, opts)
	defer closeStore(t, s)
	fill(t, s, 1)
	broken.Store(true)
	if err := s.Checkpoint("copy"); !errors.Is(err, errorfs.ErrInjected) {
		t.Fatalf("got %v", err)
	}
	for _, dir := range []string{"copy", "copy.incomplete"} {
		if _, err := disk.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s was left behind: %v", dir, err)
		}
	}
	broken.Store(false)
	check(t, s.Checkpoint("copy"))
	if h, _, err := s.Head(protocol.DirectID("alice", "bob")); err != nil || h.Seq != 1 {
		t.Errorf("%+v, %v", h, err)
	}
}
