package msgstore

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/godwit-im/godwit/protocol"
)

// TestViewIsOlder: a view goes on while others write, and what it doesn't have
// it gets from the store.
func TestViewIsOlder(t *testing.T) {
	opts := memOptions(t, vfs.NewMem())
	opts.HeadCache = 1
	s := open(t, opts)
	defer closeStore(t, s)
	id := fill(t, s, 3)
	v := s.View()
	defer func() { check(t, v.Close()) }()
	if m, found, err := v.Member("bob", id); err != nil || !found || m.ReadSeq != 0 {
		t.Fatalf("%+v, %v, %v", m, found, err)
	}

	w := newWriter(s)
	_, err := w.send("bob", "alice", "c4", "four")
	check(t, errors.Join(err, w.commit()))
	if h, ok := s.heads.peek(id); !ok || h.Seq != 4 {
		t.Fatalf("the cache has %+v, %v", h, ok)
	}
	h, exists, err := v.Newest(id)
	if err != nil || !exists || h.Seq != 4 {
		t.Fatalf("newest %+v, %v, %v; the cache has 4", h, exists, err)
	}
	if wire, found, err := v.Message(id, 4); err != nil || !found || !bytes.Contains(wire, []byte("four")) {
		t.Errorf("message 4, which the view hasn't: %q, %v, %v", wire, found, err)
	}

	// Something else takes the place in the cache. What the view finds must not
	// come into it: it is older than what the writer goes on from.
	_, err = w.send("alice", "carol", "c1", "x")
	check(t, errors.Join(err, w.commit()))
	h, exists, err = v.Newest(id)
	if err != nil || !exists || h.Seq != 3 || h.MinSeq != 0 {
		t.Errorf("newest %+v, %v, %v; the view has 3", h, exists, err)
	}
	if whole, err := v.Complete(id, h); err != nil || whole.MinSeq != 1 {
		t.Errorf("whole %+v, %v", whole, err)
	}
	if h, _, err := s.Head(id); err != nil || h.Seq != 4 {
		t.Errorf("head %+v, %v", h, err)
	}
	if _, found, err := v.Member("dave", id); err != nil || found {
		t.Errorf("a membership of a stranger: %v, %v", found, err)
	}
	if _, exists, err := v.Newest("d:alice:dave"); err != nil || exists {
		t.Errorf("a conversation that isn't there: %v, %v", exists, err)
	}
}

// A commit that a view has met in progress may have ended when it reads on: the
// head that it was told and the oldest seq still belong together.
func TestViewOverACommit(t *testing.T) {
	g := &gate{waiting: make(chan struct{}, 10), open: make(chan struct{})}
	s := open(t, memOptions(t, onLogSync(vfs.NewMem(), g.pass)))
	defer closeStore(t, s)
	defer g.release()
	id := fill(t, s, 3)
	w := newWriter(s)
	for _, client := range []string{"c4", "c5"} {
		_, err := w.send("alice", "bob", client, "x")
		check(t, err)
	}
	_, err := w.tx.Trim(w.next(id), id, 6)
	check(t, err)
	g.shut.Store(true)
	committed := make(chan error, 1)
	go func() { committed <- w.commit() }()
	<-g.waiting
	eventually(t, "Pebble shows the batch", func() bool {
		row, _, err := s.findConversation(s.PartitionOf(id), id)
		return row.minSeq == 6 && err == nil
	})
	v := s.View()
	defer func() { check(t, v.Close()) }()
	s.heads = newHeadCache(64)
	h, exists, err := v.Newest(id)
	if err != nil || !exists || h.Seq != 3 {
		t.Fatalf("newest %+v, %v, %v", h, exists, err)
	}
	g.release()
	check(t, <-committed)
	h.MinSeq = 0
	if whole, err := v.Complete(id, h); err != nil || whole.MinSeq != 4 {
		t.Errorf("whole %+v, %v, at the head of 3", whole, err)
	}
}

// Whoever reads Applied, and then with a view, finds everything up to it, while
// messages are written, read and removed to the last. What a view says of a
// conversation belongs together.
func TestViewsKeepUp(t *testing.T) {
	opts := memOptions(t, vfs.NewMem())
	opts.HeadCache = 1
	opts.Partitions = 1
	s := open(t, opts)
	defer closeStore(t, s)
	peers := []string{"p0", "p1", "p2"}
	w := newWriter(s)
	round := func(n uint64) {
		for _, peer := range peers {
			id := protocol.DirectID("a", peer)
			_, err := w.send("a", peer, fmt.Sprint(n), "x")
			check(t, err)
			check(t, w.begin().PutMember(w.next(id), peer, id, Member{ReadSeq: n}))
			_, err = w.tx.Trim(w.next(id), id, n+rand.Uint64N(2))
			check(t, err)
		}
		check(t, w.commit())
	}
	round(1)
	perRound := s.Applied(0)

	var stop atomic.Bool
	var readers sync.WaitGroup
	read := func(peer string, want uint64, v *View) error {
		id := protocol.DirectID("a", peer)
		h, exists, err := v.Newest(id)
		if err != nil || !exists || h.Seq < want || h.Count != h.Seq {
			return fmt.Errorf("newest %+v, %v, %w", h, exists, err)
		}
		whole, err := v.Complete(id, h)
		if err != nil || whole.MinSeq < h.Seq || whole.MinSeq > h.Seq+1 {
			return fmt.Errorf("whole %+v at %d, %w", whole, h.Seq, err)
		}
		if wire, found, err := v.Message(id, h.Seq); err != nil || found && len(wire) == 0 {
			return fmt.Errorf("message %d: %x, %v, %w", h.Seq, wire, found, err)
		}
		if m, found, err := v.Member(peer, id); err != nil || !found || m.ReadSeq < want {
			return fmt.Errorf("member %+v, %v, %w", m, found, err)
		}
		return nil
	}
	for range 4 {
		readers.Go(func() {
			for !stop.Load() {
				applied := s.Applied(0)
				v := s.View()
				for _, peer := range peers {
					if err := read(peer, applied/perRound, v); err != nil {
						t.Errorf("%s, when %d was applied: %v", peer, applied, err)
						stop.Store(true)
					}
				}
				if err := v.Close(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	for n := uint64(2); n < 200; n++ {
		round(n)
	}
	stop.Store(true)
	readers.Wait()
}
