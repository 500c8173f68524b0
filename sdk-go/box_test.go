package godwit

import (
	"log/slog"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/godwit-im/godwit/protocol/pb"
)

// newTestSession returns the state of a client that is connected and has
// synced, with nothing known yet.
func newTestSession(snap *Snapshot, epoch uint64, now time.Time) (*account, *session) {
	o := Options{Addr: "fake", Token: nil, Logger: slog.New(slog.DiscardHandler)}
	a := new(account)
	a.init(&o, snap)
	s := newSession(a, &pb.Connected{
		User: "alice", HeartbeatMs: 60_000, MaxFrame: 1 << 20, MaxInFlight: 100, Epoch: epoch, ServerTimeMs: now.UnixMilli(),
	}, now)
	if err := a.connected(s, "alice", epoch); err != nil {
		panic(err)
	}
	return a, s
}

// TestBoxDeliversOnceInOrder offers a conversation's messages in any order,
// again and again, by push, ack and pull, with holes and with retention moving
// on, and checks that the handler's queue has each seq once and in order, and
// names every one that it leaves out.
func TestBoxDeliversOnceInOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		now := time.Unix(1e9, 0)
		a, s := newTestSession(&Snapshot{}, 1, now)
		s.receiveSync(t, now)
		b := a.box("d:alice:bob")
		const head = 300
		message := func(seq uint64) *pb.Message {
			return &pb.Message{Conversation: b.id, Seq: seq, Id: 1000 + seq, Sender: "bob", Body: make([]byte, seq%7)}
		}
		var minSeq uint64 = 1
		pull := func() {
			from := b.next
			page := &pb.Pulled{HeadSeq: head, MinSeq: minSeq}
			for seq := max(from, minSeq); seq <= head && len(page.Messages) < 40; seq++ {
				page.Messages = append(page.Messages, message(seq))
			}
			s.pulling++
			if err := s.pulled(request{box: b, from: from}, page, now); err != nil {
				t.Fatal(err)
			}
		}
		for b.next <= head {
			switch rapid.IntRange(0, 9).Draw(t, "what") {
			case 0:
				pull()
			case 1:
				minSeq = rapid.Uint64Range(minSeq, min(minSeq+20, head)).Draw(t, "min")
			default:
				// Mostly what is next, with others around it.
				low := max(int(b.next)-5, 1)
				seq := uint64(rapid.IntRange(low, min(int(b.next)+80, head)).Draw(t, "seq"))
				if rapid.Bool().Draw(t, "next") {
					seq = b.next
				}
				how := []via{viaPush, viaAck}[rapid.IntRange(0, 1).Draw(t, "how")]
				a.offer(b, fromWire(message(seq)), how, now)
			}
			if b.behind() && !b.sessionPart.gapTimed && !b.sessionPart.pullQueued {
				t.Fatalf("nobody looks after the hole at %d", b.next)
			}
			if len(b.gap) > maxGapMessages || b.gapBytes > maxGapBytes {
				t.Fatalf("gap buffer of %d messages, %d bytes", len(b.gap), b.gapBytes)
			}
		}
		next, messages, size := uint64(1), 0, 0
		for _, e := range a.events {
			switch e.what {
			case messageEvent:
				if e.message.Seq != next || e.message.ID != 1000+next {
					t.Fatalf("queued seq %d, want %d", e.message.Seq, next)
				}
				next++
				messages++
				size += len(e.message.Body)
			case gapEvent:
				if e.from != next || e.to < e.from {
					t.Fatalf("gap %d-%d, want it from %d", e.from, e.to, next)
				}
				next = e.to + 1
			}
		}
		if next != head+1 {
			t.Fatalf("queued up to %d", next-1)
		}
		if a.backlog != messages || a.backlogBytes != size {
			t.Fatalf("backlog counts %d messages and %d bytes, there are %d and %d", a.backlog, a.backlogBytes, messages, size)
		}
	})
}

// TestDoubtSurvivesACrash stores what is in doubt in such a way that the next
// process doubts it too.
func TestDoubtSurvivesACrash(t *testing.T) {
	now := time.Unix(1e9, 0)
	snap := &Snapshot{User: "alice", Cursor: Cursor{Epoch: 7, Sync: []byte("c")}, Positions: []Position{
		{Conversation: "d:alice:bob", Epoch: 7, Seq: 5, ID: 55, HeadSeq: 5},
		{Conversation: "d:alice:carol", Epoch: 7, HeadSeq: 3},
	}}
	a, s := newTestSession(snap, 7, now)
	if err := s.synced(&pb.Synced{Epoch: 7, Reset_: true, Cursor: []byte("d"), Conversations: []*pb.ConversationState{
		{Conversation: "d:alice:bob", HeadSeq: 5, MinSeq: 1},
	}}, now); err != nil {
		t.Fatal(err)
	}
	bob, carol := a.box("d:alice:bob"), a.box("d:alice:carol")
	if p := bob.position(); p.Epoch == 7 || p.Seq != 5 {
		t.Errorf("in doubt: %+v", p)
	}
	if p := carol.position(); p.Epoch != 7 {
		t.Errorf("nothing to doubt: %+v", p)
	}
	s.pulling++
	if err := s.pulled(request{box: bob, from: 5, compare: true}, &pb.Pulled{
		HeadSeq: 5, MinSeq: 1, Messages: []*pb.Message{{Conversation: bob.id, Seq: 5, Id: 55}},
	}, now); err != nil {
		t.Fatal(err)
	}
	if p := bob.position(); p.Epoch != 7 || p.Seq != 5 {
		t.Errorf("compared: %+v", p)
	}
}

// receiveSync ends the session's first SYNC, which reports nothing.
func (s *session) receiveSync(t interface{ Fatal(...any) }, now time.Time) {
	s.fill(nil, now)
	if err := s.synced(&pb.Synced{Epoch: s.account.epoch, Cursor: []byte("c")}, now); err != nil {
		t.Fatal(err)
	}
}

// TestBacklogIsBounded has pushes arrive while the handler stands still: what
// is kept is bounded, and it all comes by pull once the handler goes on.
func TestBacklogIsBounded(t *testing.T) {
	now := time.Unix(1e9, 0)
	a, s := newTestSession(&Snapshot{}, 1, now)
	s.receiveSync(t, now)
	b := a.box("d:alice:bob")
	push := func(seq uint64) {
		a.offer(b, Message{Conversation: b.id, Seq: seq, ID: seq, Sender: "bob", Body: make([]byte, 1000)}, viaPush, now)
	}
	const pushed = 3 * maxBacklogMessages
	for seq := range uint64(pushed) {
		push(seq + 1)
	}
	if a.backlog != maxBacklogMessages || b.head != pushed {
		t.Fatalf("backlog of %d messages, head %d", a.backlog, b.head)
	}
	now = now.Add(gapPatience)
	if s.fireTimers(now); len(s.appendPull(nil, now)) > 0 {
		t.Fatal("a pull while the backlog is full")
	}
	messages := slices.DeleteFunc(a.events, func(e event) bool { return e.what != messageEvent })
	for i, e := range messages {
		a.handed(e.box, &e.message, now)
		pulls := len(s.appendPull(nil, now)) > 0
		if pulls != (i+1 == maxBacklogMessages/2) {
			t.Fatalf("pull: %v, after %d messages", pulls, i+1)
		}
	}
	if b.next != maxBacklogMessages+1 {
		t.Fatalf("next is %d", b.next)
	}
}
