package msgstore

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/godwit-im/godwit/protocol"
)

// powerTest writes to a store while the power is cut again and again: before
// every nth operation that changes the disk, what a cut would leave is set
// aside, with the number of batches whose commit had returned by then.
type powerTest struct {
	disk    *vfs.MemFS
	percent int
	stride  int

	mu      sync.Mutex // guards the fields below: Pebble writes from several goroutines
	ops     int
	batches []*model // the model after each batch, the first one empty
	acked   int      // batches whose commit has returned
	cuts    []cut
}

type cut struct {
	disk  *vfs.MemFS
	acked int
}

func (pt *powerTest) beforeWrite() {
	pt.mu.Lock()
	defer pt.mu.Unlock()
	pt.ops++
	if pt.ops%pt.stride == 0 {
		pt.cuts = append(pt.cuts, cut{crash(pt.disk, pt.percent, uint64(pt.ops)), pt.acked})
	}
}

// write commits n batches of random commands to s.
func (pt *powerTest) write(t *testing.T, s *Store, n int, rnd *rand.Rand) {
	w := newWriter(s)
	users := []string{"a", "b", "c", "d"}
	current := newModel(s.Partitions())
	pt.batches = append(pt.batches, current)
	for range n {
		current = current.clone()
		for range 1 + rnd.IntN(20) {
			i := rnd.IntN(len(users))
			pt.command(t, w, current, users[i], users[(i+1+rnd.IntN(len(users)-1))%len(users)], rnd)
		}
		copy(current.applied, w.index)
		pt.mu.Lock()
		pt.batches = append(pt.batches, current)
		pt.mu.Unlock()
		check(t, w.commit())
		pt.mu.Lock()
		pt.acked++
		pt.mu.Unlock()
	}
}

func (pt *powerTest) command(t *testing.T, w *writer, m *model, from, to string, rnd *rand.Rand) {
	id := protocol.DirectID(from, to)
	c := m.conversations[id]
	if rnd.IntN(20) == 0 {
		pt.trim(t, w, m, modelGroups[rnd.IntN(len(modelGroups))], rnd)
		return
	}
	switch x := rnd.IntN(16); {
	case x >= 10:
		rows := &rowCommands{tx: w.begin(), m: m, next: w.next, id: w.s.NextID, now: w.now, rnd: rnd}
		check(t, rows.run())
	case c == nil || x < 7:
		client := fmt.Sprintf("%d-%d", w.now, rnd.IntN(1000))
		msg, err := w.send(from, to, client, string(make([]byte, rnd.IntN(2000))))
		check(t, err)
		stamp := w.index[w.s.PartitionOf(id)]
		if c == nil {
			c = &modelConversation{created: stamp, min: 1, members: map[string]Member{
				from: {Joined: stamp, Stamp: stamp}, to: {Joined: stamp, Stamp: stamp},
			}}
			m.conversations[id] = c
		}
		c.messages = append(c.messages, modelMessage{msg, encode(msg), stamp})
	case x < 9:
		row := c.members[from]
		row.ReadSeq = c.head().Seq
		index := w.next(id)
		check(t, w.begin().PutMember(index, from, id, row))
		c.members[from] = put(c.members[from], row, index)
	default:
		pt.trim(t, w, m, id, rnd)
	}
}

// trim removes a few messages of a conversation, if there are any.
func (pt *powerTest) trim(t *testing.T, w *writer, m *model, id string, rnd *rand.Rand) {
	if c := m.conversations[id]; c != nil {
		n, err := w.begin().Trim(w.next(id), id, c.min+1+rnd.Uint64N(3))
		check(t, err)
		c.min += uint64(n)
		m.trimRows(id, c.min)
	}
}

// inspect opens what a power cut left and returns an error unless it is the
// state after one of the batches, the last acknowledged one or a later one.
func (pt *powerTest) inspect(t *testing.T, c cut) error {
	s, err := Open(memOptions(t, c.disk))
	if err != nil {
		return fmt.Errorf("after %d batches: %w", c.acked, err)
	}
	defer closeStore(t, s)
	applied := make([]uint64, s.Partitions())
	for p := range applied {
		applied[p] = s.Applied(p)
	}
	for i := c.acked; i < len(pt.batches); i++ {
		if !slices.Equal(pt.batches[i].applied, applied) {
			continue
		}
		if err := pt.batches[i].compare(s); err != nil {
			return fmt.Errorf("after %d batches, recovered as %d: %w", c.acked, i, err)
		}
		_, err := newWriter(s).send("a", "b", "after", "the cut")
		return err
	}
	return fmt.Errorf("after %d batches: applied is %v, which is not that of any batch from there on", c.acked, applied)
}

// cutPower returns what inspecting every cut found.
func cutPower(t *testing.T, opts Options, batches, stride, percent int) (cuts int, _ error) {
	t.Helper()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	pt := &powerTest{disk: vfs.NewCrashableMem(), percent: percent, stride: stride}
	opts.FS = pt.disk
	s := open(t, opts) // creating a store has a test of its own
	closeStore(t, s)
	// Opening one isn't cut either: Pebble replaces its manifest then, and moves
	// the marker that names it before the new one's directory entry is synced.
	// A file system that keeps the first without the second, which none that we
	// know does, leaves a store that can't be opened.
	var writing atomic.Bool // Pebble writes in the background as soon as it is open
	opts.FS = beforeWrites(pt.disk, func() {
		if writing.Load() {
			pt.beforeWrite()
		}
	})
	s = open(t, opts)
	writing.Store(true)
	pt.write(t, s, batches, rand.New(rand.NewPCG(seed, 0)))
	closeStore(t, s)
	var errs []error
	for _, c := range pt.cuts {
		if err := pt.inspect(t, c); err != nil {
			errs = append(errs, err)
		}
	}
	return len(pt.cuts), errors.Join(errs...)
}

// Whatever the moment of a power cut: all that was acknowledged is there, and
// the store is as it was after some whole batch.
func TestPowerCut(t *testing.T) {
	for _, percent := range []int{0, 50, 100} {
		t.Run(fmt.Sprintf("%d%% of the unsynced survives", percent), func(t *testing.T) {
			t.Parallel()
			cuts, err := cutPower(t, memOptions(t, nil), 80, 3, percent)
			if err != nil {
				t.Fatal(err)
			}
			if cuts < 30 {
				t.Fatalf("only %d cuts", cuts)
			}
			t.Logf("%d cuts", cuts)
		})
	}
}

// The test above must be able to fail: without the sync before the commit
// returns, it does.
func TestPowerCutFindsLoss(t *testing.T) {
	opts := memOptions(t, nil)
	opts.Durability = Interval
	opts.SyncInterval = time.Minute
	cuts, err := cutPower(t, opts, 60, 3, 0)
	if err == nil {
		t.Fatalf("%d power cuts without a sync, and nothing was missed", cuts)
	}
	t.Logf("%d cuts, the first finding: %.200s", cuts, err.Error())
}

// Closing a store syncs what was committed without.
func TestIntervalSyncsOnClose(t *testing.T) {
	disk := vfs.NewCrashableMem()
	opts := memOptions(t, disk)
	opts.Durability = Interval
	opts.SyncInterval = time.Minute
	s := open(t, opts)
	conversation := fill(t, s, 10)
	if got := s.Applied(s.PartitionOf(conversation)); got != 10 {
		t.Errorf("applied is %d right after the commit", got)
	}
	closeStore(t, s)
	opts.FS = crash(disk, 0, 1)
	s = open(t, opts)
	defer closeStore(t, s)
	if h, _, err := s.Head(conversation); err != nil || h.Seq != 10 {
		t.Fatalf("head %+v, %v", h, err)
	}
}

// In the background the log is synced every interval, if there is something to
// sync.
func TestIntervalSyncs(t *testing.T) {
	disk := vfs.NewCrashableMem()
	opts := memOptions(t, disk)
	opts.Durability = Interval
	opts.SyncInterval = time.Millisecond
	synced := make(chan time.Duration, 100)
	opts.ObserveSync = func(d time.Duration) { synced <- d }
	s := open(t, opts)
	defer closeStore(t, s)
	conversation := fill(t, s, 10)
	<-synced
	s.sync()
	if n := s.Stats().Syncs; n != 1 {
		t.Errorf("%d syncs for one commit", n)
	}
	opts.FS = crash(disk, 0, 1)
	opts.ObserveSync = nil
	survivor := open(t, opts)
	defer closeStore(t, survivor)
	if h, _, err := survivor.Head(conversation); err != nil || h.Seq != 10 {
		t.Fatalf("head %+v, %v", h, err)
	}
}

// With Durability Interval a crash may take back seqs that clients have seen,
// and give them again to other messages: it must begin a new epoch, in whichever
// mode the store is opened afterwards. An orderly end, and a crash of a store
// that syncs, must not.
func TestACrashOfAnUnsyncedStoreBeginsANewEpoch(t *testing.T) {
	for _, tc := range []struct {
		name         string
		before, then Durability
		crashed      bool
		want         bool
	}{
		{"interval, crash", Interval, Interval, true, true},
		{"interval, crash, then sync", Interval, Sync, true, true},
		{"interval, closed", Interval, Interval, false, false},
		{"interval, closed, then sync", Interval, Sync, false, false},
		{"sync, crash", Sync, Sync, true, false},
		{"sync, crash, then interval", Sync, Interval, true, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			disk := vfs.NewCrashableMem()
			opts := memOptions(t, disk)
			opts.Durability, opts.SyncInterval = tc.before, time.Minute
			s := open(t, opts)
			before := s.Epoch()
			fill(t, s, 3)
			if tc.crashed {
				opts.FS = crash(disk, 0, 1)
				closeStore(t, s)
			} else {
				closeStore(t, s)
				opts.FS = crash(disk, 0, 1) // an orderly end is one for good
			}
			for i := range 3 {
				opts.Durability = tc.then
				s = open(t, opts)
				if got := s.Epoch() != before; got != tc.want {
					t.Errorf("open %d: new epoch is %v, want %v", i+1, got, tc.want)
				}
				before, tc.want = s.Epoch(), false // once only
				closeStore(t, s)
			}
		})
	}
}
