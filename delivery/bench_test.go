package delivery

import (
	"fmt"
	"testing"
	"time"

	"github.com/godwit-im/godwit/chat"
	"github.com/godwit-im/godwit/msgstore"
	"github.com/godwit-im/godwit/protocol"
	"github.com/godwit-im/godwit/protocol/pb"
	"github.com/godwit-im/godwit/session"
)

// sinkWire is a Transport that drops everything.
type sinkWire struct{}

func (sinkWire) Reply([]byte)     {}
func (sinkWire) Push([]byte) bool { return true }
func (sinkWire) Close(error)      {}
func (sinkWire) ID() uint64       { return 1 }
func (sinkWire) Outbound() int    { return 0 }

// BenchmarkDeliver delivers a batch of 4,096 messages to transports that cost
// nothing: an ack to each sender, a push to each peer. run is how many of a
// sender's messages follow one another, as they do where clients pipeline.
func BenchmarkDeliver(b *testing.B) {
	for _, run := range []int{1, 16} {
		b.Run(fmt.Sprintf("run=%d", run), func(b *testing.B) {
			const senders, batch = 256, 4096
			n := newNode(b, func(c *nodeConfig) { c.session.MaxInFlight = batch })
			sessions := make([]*session.Session, senders)
			for i := range sessions {
				token, err := session.Sign(n.keys, "", session.HS256, "godwit", "godwit", fmt.Sprintf("u%d", i), time.Hour, time.Now())
				if err != nil {
					b.Fatal(err)
				}
				sessions[i], err = n.sessions.Connect(sinkWire{}, 1, &pb.Connect{
					MinVersion: 1, MaxVersion: 1, Token: token, Device: "d", Platform: "test",
				})
				if err != nil {
					b.Fatal(err)
				}
			}
			outcomes := make([]chat.Outcome, batch)
			for i := range outcomes {
				from, to := sessions[i/run%senders], sessions[(i/run+1)%senders]
				m := &pb.Message{
					Conversation: protocol.DirectID(from.User, to.User), Seq: uint64(i), Id: 1 << 60,
					Sender: from.User, ClientId: "0123456789abcdef", TimeMs: 1_800_000_000_000, Body: make([]byte, 256),
				}
				outcomes[i] = chat.Outcome{
					Proposal: &chat.Proposal{Origin: from, Request: uint32(i), Command: chat.Command{Op: chat.OpSend}},
					Result:   chat.Result{Seq: m.Seq, ID: m.Id, TimeMs: m.TimeMs},
					Effects: []chat.Effect{{
						Kind: chat.EffectMessage, Conversation: m.Conversation, Users: []string{from.User, to.User},
						Seq: m.Seq, Frame: protocol.MessageFrame(nil, m),
					}},
				}
			}
			b.ReportAllocs()
			for b.Loop() {
				b.StopTimer()
				for i := range outcomes {
					if err := outcomes[i].Proposal.Origin.(*session.Session).Begin(0); err != nil {
						b.Fatal(err)
					}
				}
				b.StartTimer()
				n.Delivery.Deliver(outcomes)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/batch, "ns/msg")
		})
	}
}

// BenchmarkSync is a SYNC by a user with 100 conversations, in a store of 16
// partitions in each of which others have written since the user's cursor, and
// peers have in so many of the user's conversations.
func BenchmarkSync(b *testing.B) {
	const conversations, others = 100, 2000
	for _, changed := range []int{0, 5} {
		b.Run(fmt.Sprintf("changed=%d", changed), func(b *testing.B) {
			n := newNode(b, func(c *nodeConfig) { c.store.Partitions, c.store.Durability = 16, msgstore.Interval })
			id := 0
			send := func(from, to string) {
				id++
				n.submitted++
				p := &chat.Proposal{Command: chat.Command{
					Op: chat.OpSend, Conversation: protocol.DirectID(from, to), User: from, ClientID: fmt.Sprint(id),
					Kind: pb.Kind_KIND_TEXT, Body: make([]byte, 256),
				}}
				if err := n.log.Submit(p); err != nil {
					b.Fatal(err)
				}
			}
			for i := range conversations {
				send(fmt.Sprintf("peer%d", i), "ann")
			}
			n.settle()
			frame, err := n.sync(n.applied(), "ann", 1, &pb.Sync{Limit: conversations})
			if err != nil {
				b.Fatal(err)
			}
			all := &pb.Synced{}
			decode(b, mustParse(frame), protocol.TypeSynced, all)
			for i := range changed {
				send(fmt.Sprintf("peer%d", i), "ann")
			}
			for i := range others {
				send(fmt.Sprintf("other%d", i), fmt.Sprintf("other%d", i+1))
			}
			n.settle()
			b.ReportAllocs()
			for b.Loop() {
				if frame, err = n.sync(n.applied(), "ann", 1, &pb.Sync{Cursor: all.Cursor, Limit: conversations}); err != nil {
					b.Fatal(err)
				}
			}
			page := &pb.Synced{}
			decode(b, mustParse(frame), protocol.TypeSynced, page)
			if len(page.Conversations) != changed {
				b.Fatalf("%d conversations, %d have changed", len(page.Conversations), changed)
			}
		})
	}
}

// BenchmarkLogin is the SYNC of a user who is in 500 direct conversations and as
// many groups, in so many of which something was written since the user's cursor,
// half of them groups. Others have written meanwhile in every partition. B/answer
// is the size of the SYNCED.
func BenchmarkLogin(b *testing.B) {
	const conversations, others = 1000, 2000
	n := newNode(b, func(c *nodeConfig) { c.store.Partitions, c.store.Durability = 16, msgstore.Interval })
	id := 0
	submit := func(c chat.Command) {
		id++
		c.ClientID, c.Kind, c.Body = fmt.Sprint(id), pb.Kind_KIND_TEXT, make([]byte, 256)
		n.submitted++
		if err := n.log.Submit(&chat.Proposal{Command: c}); err != nil {
			b.Fatal(err)
		}
	}
	peer := func(i int) string { return fmt.Sprintf("peer%d", i) }
	write := func(i int) {
		if i%2 == 0 {
			submit(chat.Command{Op: chat.OpSend, Conversation: protocol.DirectID(peer(i), "ann"), User: peer(i)})
		} else {
			submit(chat.Command{Op: chat.OpSend, Conversation: protocol.GroupID(peer(i), "club"), User: peer(i)})
		}
	}
	for i := range conversations {
		if i%2 == 1 {
			create := &pb.CreateGroup{ClientId: "club", Name: fmt.Sprintf("the club of %d", i), Users: []string{"ann", peer(i - 1)}}
			submit(chat.Command{
				Op: chat.OpGroup, Conversation: protocol.GroupID(peer(i), "club"), User: peer(i),
				Group: &pb.GroupRequest{Action: &pb.GroupRequest_Create{Create: create}},
			})
		}
		write(i)
	}
	n.settle()
	sync := func(cursor []byte) ([]byte, *pb.Synced) {
		frame, err := n.sync(n.applied(), "ann", 1, &pb.Sync{Cursor: cursor, Limit: 500})
		if err != nil {
			b.Fatal(err)
		}
		page := &pb.Synced{}
		decode(b, mustParse(frame), protocol.TypeSynced, page)
		return frame, page
	}
	_, page := sync(nil)
	for page.More {
		_, page = sync(page.Cursor)
	}
	for _, changed := range []int{0, 5, conversations} {
		b.Run(fmt.Sprintf("changed=%d", changed), func(b *testing.B) {
			for i := range changed {
				write(i)
			}
			for i := range others {
				from, to := fmt.Sprintf("other%d", i), fmt.Sprintf("other%d", i+1)
				submit(chat.Command{Op: chat.OpSend, Conversation: protocol.DirectID(from, to), User: from})
			}
			n.settle()
			cursor := page.Cursor
			size, told := 0, 0
			b.ReportAllocs()
			for b.Loop() {
				size, told = 0, 0
				at := cursor
				for more := true; more; {
					frame, err := n.sync(n.applied(), "ann", 1, &pb.Sync{Cursor: at, Limit: 500})
					if err != nil {
						b.Fatal(err)
					}
					size += len(frame)
					b.StopTimer()
					next := &pb.Synced{}
					decode(b, mustParse(frame), protocol.TypeSynced, next)
					at, more = next.Cursor, next.More
					told += len(next.Conversations)
					b.StartTimer()
				}
			}
			if told != changed {
				b.Fatalf("%d conversations, %d have changed", told, changed)
			}
			b.ReportMetric(float64(size), "B/answer")
		})
		for _, page = sync(page.Cursor); page.More; {
			_, page = sync(page.Cursor)
		}
	}
}
