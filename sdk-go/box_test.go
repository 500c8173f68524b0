package godwit

import (
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/godwit-im/godwit/protocol/pb"
)

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
