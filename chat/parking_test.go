package chat

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/godwit-im/godwit/protocol"
)

// TestColdConversation: while one conversation is being read from a slow disk,
// the others go on, even in its partition, and its own messages keep their
// order.
func TestColdConversation(t *testing.T) {
	const slow = "d:ann:bob"
	reading := make(chan struct{})
	release := make(chan struct{})
	var once sync.Once
	sink := newCollector()
	cfg := testConfig(t)
	store := openStore(t, storeOptions(vfs.NewMem()))
	e := startLog(t, cfg, store, sink, func(s *steps) {
		warm := s.warm
		s.warm = func(c *Command) {
			if c.Conversation == slow {
				once.Do(func() { close(reading) })
				<-release
			}
			warm(c)
		}
	})
	mustSubmit(t, e, send("ann", slow, "c0", "0"))
	<-reading
	const parked = 20
	for i := 1; i < parked; i++ {
		mustSubmit(t, e, send("ann", slow, fmt.Sprintf("c%d", i), fmt.Sprint(i)))
	}
	// All other conversations, those of its own partition among them.
	neighbours, others := 0, 0
	for i := 0; neighbours < 5; i++ {
		conversation := protocol.DirectID("ann", fmt.Sprintf("x%d", i))
		if store.PartitionOf(conversation) == store.PartitionOf(slow) {
			neighbours++
		}
		mustSubmit(t, e, send("ann", conversation, "c", "x"))
		others++
	}
	for _, o := range sink.wait(t, others) {
		if o.Proposal.Command.Conversation == slow {
			t.Fatal("a parked command was applied")
		}
	}
	eventually(t, func() bool { return e.Stats().Waiting == parked }) // the others are told of before they leave the queue
	close(release)
	seq := uint64(0)
	for _, o := range sink.wait(t, others+parked)[others:] {
		seq++
		if want := fmt.Sprint(seq - 1); o.Result.Seq != seq || string(o.Proposal.Command.Body) != want {
			t.Fatalf("seq %d holds %q, want %q", o.Result.Seq, o.Proposal.Command.Body, want)
		}
	}
}

// TestOrderAcrossParking floods more conversations than are remembered as warm,
// so that they are parked over and over, and checks every sender's order.
func TestOrderAcrossParking(t *testing.T) {
	const senders, rounds, conversations, remembered = 4, 5, 50, 40
	o := storeOptions(vfs.NewMem())
	o.Partitions = 1
	var parked atomic.Uint64
	sink := newCollector()
	cfg := testConfig(t)
	e := startLog(t, cfg, openStore(t, o), sink, func(s *steps) {
		warm := s.warm
		s.warm = func(c *Command) { parked.Add(1); warm(c) }
	})
	e.queues[0].warm.size = remembered
	sent := 0
	for round := range rounds {
		var wg sync.WaitGroup
		for s := range senders {
			wg.Go(func() {
				user := fmt.Sprintf("u%d", s)
				for i := range conversations {
					for j := 3*round + 1; j <= 3*round+3; j++ {
						submit(t, e, send(user, protocol.DirectID(user, fmt.Sprintf("p%d", i)), fmt.Sprint(j), fmt.Sprint(j)))
					}
				}
			})
		}
		wg.Wait()
		sent += senders * conversations * 3
		sink.wait(t, sent) // or the next round would find everything still parked
	}
	for _, o := range sink.wait(t, sent) {
		if want := fmt.Sprint(o.Result.Seq); string(o.Proposal.Command.Body) != want {
			t.Fatalf("%s: seq %s holds number %s", o.Proposal.Command.Conversation, want, o.Proposal.Command.Body)
		}
	}
	if n := parked.Load(); n <= uint64(2*senders*conversations) {
		t.Errorf("%d warmings for %d conversations: hardly any was parked twice, so this shows nothing", n, senders*conversations)
	}
}
