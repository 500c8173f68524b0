package delivery

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/godwit-im/godwit/msgstore"
	"github.com/godwit-im/godwit/protocol"
	"github.com/godwit-im/godwit/protocol/pb"
)

// readNode is a node that was started on a store on disk, in which each user has
// so many conversations of so many messages, written round robin.
func readNode(b *testing.B, users, conversations, messages int) *node {
	opts := msgstore.DefaultOptions()
	opts.Dir, opts.MinFree, opts.Durability, opts.Logger = b.TempDir(), 0, msgstore.Interval, discard
	opts.HeadCache, opts.CacheBytes = 1000, 64<<20 // as little in comparison as for 100,000 users
	s, err := msgstore.Open(opts)
	if err != nil {
		b.Fatal(err)
	}
	rnd := rand.New(rand.NewPCG(1, 1))
	index := make([]uint64, s.Partitions())
	body := make([]byte, 256)
	for seq := uint64(1); seq <= uint64(messages); seq++ {
		for c := range conversations {
			tx := s.Begin()
			for u := range users {
				user, peer := readUser(u), readPeer(u, c)
				id := protocol.DirectID(user, peer)
				p := s.PartitionOf(id)
				index[p]++
				if seq == 1 {
					if err := tx.Create(index[p], id, user, peer); err != nil {
						b.Fatal(err)
					}
				}
				for i := range body {
					body[i] = "abcdefghijklmnopqrstuvwxyz      "[rnd.IntN(32)]
				}
				m := &pb.Message{
					Conversation: id, Seq: seq, Id: s.NextID(), Sender: peer, ClientId: fmt.Sprintf("%016x", rnd.Uint64()),
					TimeMs: int64(seq), Kind: pb.Kind_KIND_TEXT, Body: body, Count: seq, SenderCount: seq,
				}
				if err := tx.Append(index[p], m, protocol.AppendMessage(nil, m)); err != nil {
					b.Fatal(err)
				}
			}
			if err := tx.Commit(); err != nil {
				b.Fatal(err)
			}
		}
	}
	if err := s.Close(); err != nil {
		b.Fatal(err)
	}
	return newNode(b, func(c *nodeConfig) { c.store = opts })
}

func readUser(u int) string    { return fmt.Sprintf("user%d", u) }
func readPeer(u, c int) string { return fmt.Sprintf("peer%d-%d", c, u) }

// BenchmarkPull is a page of 200 messages of a random conversation; together
// they are twice the block cache.
func BenchmarkPull(b *testing.B) {
	const conversations, messages = 2000, 200
	n := readNode(b, conversations, 1, messages)
	for _, backward := range []bool{false, true} {
		b.Run(fmt.Sprintf("backward=%t", backward), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				u := rand.IntN(conversations)
				frame, err := n.pull(readUser(u), 1, &pb.Pull{
					Conversation: protocol.DirectID(readUser(u), readPeer(u, 0)), Backward: backward, Limit: 200,
				})
				if err != nil || len(frame) < 200*256 {
					b.Fatal(len(frame), err)
				}
			}
			b.ReportMetric(200*float64(b.N)/b.Elapsed().Seconds(), "msgs/s")
		})
	}
}

// BenchmarkSyncCold is a SYNC of a random user of 100 conversations, who has no
// cursor, or one from before the start and missed nothing. The newest messages
// of all users are in more blocks than the cache holds.
func BenchmarkSyncCold(b *testing.B) {
	const users, conversations = 500, 100
	n := readNode(b, users+100, conversations, 10)
	before := &cursor{epoch: n.store.Epoch(), base: n.applied()}
	for p := range before.base {
		before.base[p]-- // it was another user's that came last
	}
	for _, c := range []struct {
		name   string
		cursor []byte
		want   int
	}{{"first", nil, conversations}, {"nothing missed", before.append(nil), 0}} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			var frame []byte
			var err error
			for b.Loop() {
				if frame, err = n.sync(n.applied(), readUser(rand.IntN(users)), 1, &pb.Sync{Cursor: c.cursor, Limit: conversations}); err != nil {
					b.Fatal(err)
				}
			}
			page := &pb.Synced{}
			decode(b, mustParse(frame), protocol.TypeSynced, page)
			if len(page.Conversations) != c.want {
				b.Fatalf("%d conversations, want %d", len(page.Conversations), c.want)
			}
		})
	}
}
