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
// pushed to it. Every other conversation is a group.
func TestSyncAndPushLoseNothing(t *testing.T) {
	const peers, writers, writes, rounds = 40, 4, 50, 20
	n := newNode(t, func(c *nodeConfig) { c.store.Partitions = 64 }) // so that some are quiet
	conversation := func(p int) (peer, id string) {
		peer = fmt.Sprintf("p%02d", p)
		if p%2 == 1 {
			return peer, protocol.GroupID(peer, "club")
		}
		return peer, protocol.DirectID("ann", peer)
	}
	groups := 0
	for p := 1; p < peers; p += 2 {
		peer, id := conversation(p)
		create := &pb.CreateGroup{ClientId: "club", Users: []string{"ann"}}
		c := chat.Command{Op: chat.OpGroup, Conversation: id, User: peer, Group: &pb.GroupRequest{
			Action: &pb.GroupRequest_Create{Create: create},
		}}
		if err := n.log.Submit(&chat.Proposal{Command: c}); err != nil {
			t.Fatal(err)
		}
		groups++
	}
	n.caughtUp(groups)
	for round := range rounds {
		client := n.attach("ann", "d", 0)
		var wg sync.WaitGroup
		for w := range writers {
			wg.Go(func() {
				for i := range writes {
					peer, id := conversation((i*7 + w) % peers)
					c := chat.Command{Conversation: id, User: peer}
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
		n.caughtUp(groups + (round+1)*writers*writes)
		heard.pushed(t, "ann", client.wire.take())
		for p := range peers {
			peer, id := conversation(p)
			head, _, err := n.store.Head(id)
			if err != nil {
				t.Fatal(err)
			}
			row, _, err := n.store.Member(peer, id)
			if err != nil {
				t.Fatal(err)
			}
			if protocol.KindOf(id) == protocol.Group {
				row.ReadSeq = 0 // a group's members go by READERS
			}
			if k := heard[id]; k.head != head.Seq || k.peersRead != row.ReadSeq {
				t.Errorf("round %d: %s ends at %d, read to %d; the client was told of %d and %d",
					round, id, head.Seq, row.ReadSeq, k.head, k.peersRead)
			}
		}
		client.detach()
	}
}
