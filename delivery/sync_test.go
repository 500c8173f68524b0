package delivery

import (
	"fmt"
	"runtime"
	"sync"
	"testing"

	"github.com/godwit-im/godwit/chat"
	"github.com/godwit-im/godwit/protocol"
	"github.com/godwit-im/godwit/protocol/pb"
)

// TestChangeWhileAPageIsRead: a conversation leaves the walk after the applied
// indexes were read and before its head is. No watermark covers the change that
// moved it; it must be reported all the same.
func TestChangeWhileAPageIsRead(t *testing.T) {
	n := newNode(t)
	ann, bob, cid := n.connect("ann", "d"), n.connect("bob", "d"), n.connect("cid", "d")
	bob.send("ann", "b1", "one")
	bob.mark("ann", 1, 1)
	for n.store.PartitionOf("d:ann:bob") == n.store.PartitionOf(protocol.DirectID("ann", cid.User)) {
		cid = n.connect(cid.User+"x", "d")
	}
	for older := true; older; { // a newer time than bob's
		cid.send("ann", fmt.Sprint(n.submitted), "two")
		a, _, _ := n.store.Head("d:ann:bob")
		b, _, _ := n.store.Head(protocol.DirectID("ann", cid.User))
		older = b.TimeMs <= a.TimeMs
	}
	page := ann.synced(nil, 1)
	applied := n.applied()
	bob.send("ann", "b2", "three")
	frame, err := n.Delivery.sync(applied, "ann", 1, &pb.Sync{Cursor: page.Cursor, Limit: 1})
	if err != nil {
		t.Fatal(err)
	}
	page = &pb.Synced{}
	decode(t, mustParse(frame), protocol.TypeSynced, page)
	if len(page.Conversations) != 1 || page.Conversations[0].Conversation != "d:ann:bob" || page.Conversations[0].PeerReadSeq != 1 {
		t.Errorf("got %v", page)
	}
}

// TestSyncAndPushLoseNothing lets real writers write while clients connect and
// sync by pages: whatever a client was not told by its SYNC must have been
// pushed to it.
func TestSyncAndPushLoseNothing(t *testing.T) {
	const peers, writers, writes, rounds = 40, 4, 50, 20
	n := newNode(t, func(c *nodeConfig) { c.store.Partitions = 64 }) // so that some are quiet
	for round := range rounds {
		client := n.connect("ann", "d")
		var wg sync.WaitGroup
		for w := range writers {
			wg.Go(func() {
				for i := range writes {
					peer := fmt.Sprintf("p%02d", (i*7+w)%peers)
					c := chat.Command{Conversation: protocol.DirectID("ann", peer), User: peer}
					if i%5 == 4 {
						c.Op, c.ReadSeq = chat.OpMark, uint64(round)
					} else {
						c.Op, c.ClientID, c.Kind = chat.OpSend, fmt.Sprintf("%d-%d-%d", round, w, i), pb.Kind_KIND_TEXT
					}
					if err := n.log.Submit(&chat.Proposal{Command: c}); err != nil {
						t.Error(err)
					}
					runtime.Gosched()
				}
			})
		}
		heard := view{}
		var cursor []byte
		for more := true; more; {
			page := client.synced(cursor, 3)
			heard.synced(page)
			cursor, more = page.Cursor, page.More
		}
		wg.Wait()
		n.caughtUp((round + 1) * writers * writes)
		heard.pushed(t, "ann", client.wire.take())
		for p := range peers {
			peer := fmt.Sprintf("p%02d", p)
			conversation := protocol.DirectID("ann", peer)
			head, _, err := n.store.Head(conversation)
			if err != nil {
				t.Fatal(err)
			}
			row, _, err := n.store.Member(peer, conversation)
			if err != nil {
				t.Fatal(err)
			}
			if k := heard[conversation]; k.head != head.Seq || k.peersRead != row.ReadSeq {
				t.Errorf("round %d: %s ends at %d, read to %d; the client was told of %d and %d",
					round, conversation, head.Seq, row.ReadSeq, k.head, k.peersRead)
			}
		}
		client.disconnect()
	}
}
