package msgstore

import (
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/godwit-im/godwit/protocol"
)

// gate holds back syncs while it is shut.
type gate struct {
	shut    atomic.Bool
	waiting chan struct{} // one for each sync that is held back
	open    chan struct{}
	once    sync.Once
}

func (g *gate) release() {
	g.shut.Store(false)
	g.once.Do(func() { close(g.open) })
}

func (g *gate) pass() error {
	if g.shut.Load() {
		g.waiting <- struct{}{}
		<-g.open
	}
	return nil
}

// Pebble shows a batch to readers before its sync has ended. The store must
// not: what a reader saw, a power cut could still take back.
func TestReadersSeeOnlyWhatIsDurable(t *testing.T) {
	g := &gate{waiting: make(chan struct{}, 10), open: make(chan struct{})}
	opts := memOptions(t, onLogSync(vfs.NewMem(), g.pass))
	s := open(t, opts)
	defer closeStore(t, s)
	defer g.release()
	old := fill(t, s, 3)
	trimmed := protocol.DirectID("alice", "carol")
	w := newWriter(s)
	_, err := w.send("alice", "carol", "c1", "to be removed")
	check(t, err)
	check(t, w.begin().PutMember(w.next(old), "bob", old, Member{ReadSeq: 1}))
	check(t, w.commit())

	g.shut.Store(true)
	m, err := w.send("bob", "alice", "c4", "not yet durable")
	check(t, err)
	if m.Conversation != old || m.Seq != 4 {
		t.Fatalf("%s %d", m.Conversation, m.Seq)
	}
	check(t, w.begin().PutMember(w.next(old), "bob", old, Member{ReadSeq: 3}))
	_, err = w.send("dave", "alice", "c1", "nor is this conversation")
	check(t, err)
	created := protocol.DirectID("alice", "dave")
	// The one that readers know is removed, another takes its place.
	_, err = w.send("alice", "carol", "c2", "its successor")
	check(t, err)
	_, err = w.tx.Trim(w.next(trimmed), trimmed, 2)
	check(t, err)
	applied := s.Applied(s.PartitionOf(old))
	committed := make(chan error, 1)
	go func() { committed <- w.commit() }()
	<-g.waiting
	eventually(t, "Pebble shows the batch", func() bool {
		_, visible, err := s.message(old, 4)
		return visible && err == nil
	})

	for range 2 { // with the heads in the cache, and without
		if got := s.Applied(s.PartitionOf(old)); got != applied {
			t.Errorf("applied is %d before the sync has ended; was %d", got, applied)
		}
		if h, exists, err := s.Head(old); err != nil || !exists || h.Seq != 3 {
			t.Errorf("head %+v, %v, %v", h, exists, err)
		}
		if r, err := s.Range(old, 0, 0, true, 10, 1<<20, nil); err != nil || r.N != 3 || r.Head != 3 {
			t.Errorf("range %+v, %v", r, err)
		}
		if _, found, err := s.Message(old, 4); err != nil || found {
			t.Errorf("message 4: %v, %v", found, err)
		}
		if row, found, err := s.Member("bob", old); err != nil || !found || row.ReadSeq != 1 {
			t.Errorf("member %+v, %v, %v", row, found, err)
		}
		if _, found, err := s.Member("dave", created); err != nil || found {
			t.Errorf("membership of the new conversation: %v, %v", found, err)
		}
		if _, exists, err := s.Head(created); err != nil || exists {
			t.Errorf("the new conversation: %v, %v", exists, err)
		}
		// What is being removed may be gone for readers already, but neither
		// the head nor a hole may show.
		if h, exists, err := s.Head(trimmed); err != nil || !exists || h.Seq != 1 || h.Sender != "alice" || h.Count != 1 {
			t.Errorf("head of the conversation that is being trimmed: %+v, %v, %v", h, exists, err)
		}
		if r, err := s.Range(trimmed, 0, 0, false, 10, 1<<20, nil); err != nil || r.N != 0 || r.Head != 1 || r.Min != 2 {
			t.Errorf("range of it: %+v, %v", r, err)
		}
		v := s.View()
		if h, exists, err := v.Newest(old); err != nil || !exists || h.Seq != 3 {
			t.Errorf("newest %+v, %v, %v", h, exists, err)
		}
		if _, found, err := v.Message(old, 4); err != nil || found {
			t.Errorf("message 4 in a view: %v, %v", found, err)
		}
		if row, found, err := v.Member("bob", old); err != nil || !found || row.ReadSeq != 1 {
			t.Errorf("member in a view %+v, %v, %v", row, found, err)
		}
		if _, found, err := v.Member("dave", created); err != nil || found {
			t.Errorf("membership of the new conversation in a view: %v, %v", found, err)
		}
		if _, exists, err := v.Newest(created); err != nil || exists {
			t.Errorf("the new conversation in a view: %v, %v", exists, err)
		}
		h, exists, err := v.Newest(trimmed)
		if err != nil || !exists || h.Seq != 1 || h.Count != 1 {
			t.Errorf("newest of the conversation that is being trimmed: %+v, %v, %v", h, exists, err)
		}
		for _, known := range []uint64{0, h.MinSeq} {
			h.MinSeq = known
			if whole, err := v.Complete(trimmed, h); err != nil || whole.MinSeq != 1 {
				t.Errorf("min seq of it: %+v, %v", whole, err)
			}
		}
		check(t, v.Close())
		if got, want := memberships(t, s, "alice"), fmt.Sprint([]string{old, trimmed}); got != want {
			t.Errorf("alice is a member of %v; want %v", got, want)
		}
		if got, want := memberships(t, s, "bob"), fmt.Sprint([]string{old}); got != want {
			t.Errorf("bob is a member of %v; want %v", got, want)
		}
		for p := range s.Partitions() {
			check(t, s.Conversations(p, func(id string, _ uint64) error {
				if id == created {
					t.Errorf("%s is listed", id)
				}
				return nil
			}))
		}
		s.heads = newHeadCache(64)
	}

	g.release()
	check(t, <-committed)
	if h, _, err := s.Head(old); err != nil || h.Seq != 4 {
		t.Errorf("head after the sync: %+v, %v", h, err)
	}
	if row, _, err := s.Member("bob", old); err != nil || row.ReadSeq != 3 {
		t.Errorf("member after the sync: %+v, %v", row, err)
	}
	if _, exists, err := s.Head(created); err != nil || !exists {
		t.Errorf("the new conversation after the sync: %v, %v", exists, err)
	}
	if len(s.inflight.heads) != 0 || len(s.inflight.members) != 0 {
		t.Errorf("still in flight: %v, %v", s.inflight.heads, s.inflight.members)
	}
}

func memberships(t *testing.T, s *Store, user string) string {
	t.Helper()
	ids := []string{}
	check(t, s.Members(user, nil, func(id string, _ Member) error {
		ids = append(ids, id)
		return nil
	}))
	return fmt.Sprint(ids)
}

// Whoever reads Applied and then a conversation finds everything up to it,
// however the reads, the commits and the evictions from the cache of heads
// fall together.
func TestReadersKeepUp(t *testing.T) {
	opts := memOptions(t, vfs.NewMem())
	opts.HeadCache = 2
	opts.Partitions = 1
	s := open(t, opts)
	defer closeStore(t, s)
	// Every message goes to each of the conversations, so that one applied
	// index tells what the newest seq in all of them must be.
	peers := []string{"p0", "p1", "p2", "p3", "p4"}
	w := newWriter(s)
	round := func(n int) {
		for _, peer := range peers {
			_, err := w.send("a", peer, fmt.Sprint(n), "x")
			check(t, err)
			check(t, w.begin().PutMember(w.next(peer), peer, protocol.DirectID("a", peer), Member{ReadSeq: uint64(n)}))
		}
		check(t, w.commit())
	}
	round(1)
	perRound := s.Applied(0)

	var stop atomic.Bool
	var readers sync.WaitGroup
	for range 4 {
		readers.Go(func() {
			for !stop.Load() {
				applied := s.Applied(0)
				id := protocol.DirectID("a", peers[rand.IntN(len(peers))])
				want := applied / perRound
				if h, _, err := s.Head(id); err != nil || h.Seq < want {
					t.Errorf("head of %s is %d, %v, when %d was applied", id, h.Seq, err, want)
					return
				}
				if r, err := s.Range(id, 0, 0, true, 3, 1<<20, nil); err != nil || r.Last < want {
					t.Errorf("range of %s ends at %d, %v, when %d was applied", id, r.Last, err, want)
					return
				}
				if m, _, err := s.Member(strings.TrimPrefix(id, "d:a:"), id); err != nil || m.ReadSeq < want {
					t.Errorf("member of %s is at %d, %v, when %d was applied", id, m.ReadSeq, err, want)
					return
				}
			}
		})
	}
	for n := 2; n < 200; n++ {
		round(n)
	}
	stop.Store(true)
	readers.Wait()
}

// Retention removes messages under readers. They must never take it for a
// hole.
func TestReadersDuringTrim(t *testing.T) {
	opts := memOptions(t, vfs.NewMem())
	opts.HeadCache = 1
	s := open(t, opts)
	defer closeStore(t, s)
	const n = 200
	id := fill(t, s, n)
	var stop atomic.Bool
	var readers sync.WaitGroup
	for i := range 4 {
		readers.Go(func() {
			for !stop.Load() {
				r, err := s.Range(id, 0, 0, i%2 == 0, 100, 1<<20, nil)
				if err != nil || r.Head != n || r.Min <= n && r.N == 0 || r.N > 0 && r.First < r.Min {
					t.Errorf("%+v, %v", RangeResult{N: r.N, First: r.First, Head: r.Head, Min: r.Min}, err)
					return
				}
				if _, _, err := s.Message(id, r.Min); err != nil {
					t.Error(err)
					return
				}
				if _, err := s.SeqAtTime(id, 2000); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	w := newWriter(s)
	for below := uint64(2); below <= n+1; below += 1 + rand.Uint64N(3) {
		_, err := w.begin().Trim(w.next(id), id, below)
		check(t, err)
		check(t, w.commit())
	}
	stop.Store(true)
	readers.Wait()
}

// Nor must they lose the head when retention leaves nothing but the head.
func TestReadersDuringTrimToNothing(t *testing.T) {
	s := openMem(t)
	id := protocol.DirectID("alice", "bob")
	fill(t, s, 1)
	var (
		committed atomic.Uint64
		stop      atomic.Bool
		readers   sync.WaitGroup
	)
	committed.Store(1)
	for range 4 {
		readers.Go(func() {
			for !stop.Load() {
				want := committed.Load()
				// Not by Head, which would find it in the cache.
				if h, exists, err := s.findHead(id); err != nil || !exists || h.Seq < want || h.Count != h.Seq {
					t.Errorf("head %+v, %v, %v, when %d was committed", h, exists, err, want)
					return
				}
			}
		})
	}
	w := newWriter(s)
	for range 100 {
		m, err := w.send("alice", "bob", fmt.Sprint(w.now), "x")
		check(t, errors.Join(err, w.commit()))
		committed.Store(m.Seq)
		_, err = w.begin().Trim(w.next(id), id, m.Seq+1)
		check(t, errors.Join(err, w.commit()))
	}
	stop.Store(true)
	readers.Wait()
}

// A sync that fails must end the process, loudly: nobody can tell what is on
// disk. So it happens in a process of its own.
func TestFailedSyncEndsTheProcess(t *testing.T) {
	if name := os.Getenv("MSGSTORE_TEST_DURABILITY"); name != "" {
		failSync(t, name)
		return
	}
	for _, name := range []string{"sync", "interval"} {
		t.Run(name, func(t *testing.T) {
			child := exec.Command(os.Args[0], "-test.run=^TestFailedSyncEndsTheProcess$")
			child.Env = append(os.Environ(), "MSGSTORE_TEST_DURABILITY="+name)
			out, err := child.CombinedOutput()
			var exit *exec.ExitError
			if !errors.As(err, &exit) || exit.ExitCode() != 1 {
				t.Errorf("the process ended with %v; want status 1", err)
			}
			if got := string(out); !strings.Contains(got, "the store cannot go on") || !strings.Contains(got, "injected error") {
				t.Errorf("it left without a word about it: %s", got)
			}
			if strings.Contains(string(out), "acked") {
				t.Errorf("the commit returned: %s", out)
			}
		})
	}
}

func failSync(t *testing.T, durability string) {
	var broken atomic.Bool
	opts := memOptions(t, onLogSync(vfs.NewMem(), func() error {
		if broken.Load() {
			return errorfs.ErrInjected
		}
		return nil
	}))
	opts.Durability, _ = ParseDurability(durability)
	opts.Fatal = nil // the default
	opts.Logger = slog.New(slog.NewTextHandler(os.Stderr, nil))
	s := open(t, opts)
	fill(t, s, 1)
	broken.Store(true)
	w := newWriter(s)
	_, err := w.send("alice", "bob", "c2", "lost")
	check(t, errors.Join(err, w.commit()))
	if opts.Durability == Sync {
		fmt.Println("acked")
	}
	<-time.After(patience) // the end should come from the background before
}

// What reads have shown, Settled covers, while commits are on their way from one
// to the other.
func TestSettled(t *testing.T) {
	s := openMem(t)
	part := &s.parts[1]
	before := part.synced.Load()
	defer func() { part.synced.Store(before); part.applied.Store(before) }()
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := range uint64(100_000) {
			part.synced.Store(i)
			part.applied.Store(i)
		}
	}()
	for ended := false; !ended; {
		select {
		case <-done:
			ended = true
		default:
		}
		shown := part.synced.Load()
		if settled := s.Settled(1); settled < shown {
			t.Fatalf("settled at %d, reads had shown %d", settled, shown)
		}
	}
}
