package delivery

import (
	"fmt"
	"testing"
	"time"

	"github.com/godwit-im/godwit/chat"
	"github.com/godwit-im/godwit/protocol/pb"
)

// later makes a node whose readers are two hours ahead of its log, which has
// swept nothing yet.
func later(c *nodeConfig) {
	c.delivery.Now = func() time.Time { return time.Now().Add(2 * time.Hour) }
}

func (c *client) sendFor(ttl time.Duration, conversation, clientID, text string) {
	c.node.t.Helper()
	c.submit(chat.Command{
		Op: chat.OpSend, Conversation: conversation, ClientID: clientID, Kind: pb.Kind_KIND_TEXT,
		Body: []byte(text), TTLMs: ttl.Milliseconds(),
	})
	c.node.settle()
}

// What has expired, and what the user has deleted, is shown as a tombstone, on a
// page and as a preview; to others it is what it was.
func TestWhatIsGone(t *testing.T) {
	n := newNode(t, later)
	ann, bob := n.connect("ann", "d"), n.connect("bob", "d")
	ann.sendFor(time.Hour, "d:ann:bob", "a1", "expired")
	ann.sendFor(3*time.Hour, "d:ann:bob", "a2", "expires")
	ann.sendFor(0, "d:ann:bob", "a3", "for good")
	ann.submit(chat.Command{Op: chat.OpDelete, Conversation: "d:ann:bob", Delete: &pb.Delete{Seqs: []uint64{1, 3}}})
	n.settle()
	ann.sendFor(time.Hour, "d:ann:cid", "a4", "expired")
	bob.send("ann", "b1", "last")
	bob.submit(chat.Command{Op: chat.OpDelete, Conversation: "d:ann:bob", Delete: &pb.Delete{Seqs: []uint64{4}}})
	n.settle()
	const normal, expired, deleted = pb.MessageState_MESSAGE_STATE_NORMAL, pb.MessageState_MESSAGE_STATE_EXPIRED, pb.MessageState_MESSAGE_STATE_DELETED
	for _, tc := range []struct {
		of           *client
		conversation string
		want         []pb.MessageState
	}{
		{ann, "d:ann:bob", []pb.MessageState{expired, normal, deleted, normal}},
		{bob, "d:ann:bob", []pb.MessageState{expired, normal, normal, deleted}},
		{ann, "d:ann:cid", []pb.MessageState{expired}},
	} {
		check := func(what string, m *pb.Message, want pb.MessageState) {
			t.Helper()
			if m.GetState() != want || (len(m.GetBody()) > 0) != (want == normal) || m.GetSender() == "" {
				t.Errorf("%s to %s: %v, want %v", what, tc.of.User, m, want)
			}
		}
		for _, backward := range []bool{false, true} {
			page := tc.of.pulled(&pb.Pull{Conversation: tc.conversation, Backward: backward})
			if len(page.Messages) != len(tc.want) {
				t.Fatalf("%s to %s: %v", tc.conversation, tc.of.User, page)
			}
			for i, m := range page.Messages {
				check(fmt.Sprintf("%s %d", tc.conversation, i+1), m, tc.want[i])
			}
		}
		for _, c := range tc.of.synced(nil, 0).Conversations {
			if c.Conversation == tc.conversation {
				check("the preview of "+tc.conversation, c.Last, tc.want[len(tc.want)-1])
			}
		}
	}
}

// A tombstone is more than a message that said nothing: a page that is full of
// such messages must fit its frame all the same, and leave nothing out.
func TestTombstonesFit(t *testing.T) {
	n := newNode(t, later, func(c *nodeConfig) { c.delivery.MaxFrame = minFrame })
	ann := n.connect("ann", "d")
	const messages = 900
	for i := range messages {
		ann.submit(chat.Command{
			Op: chat.OpSend, Conversation: "d:ann:bob", ClientID: fmt.Sprint(i), Kind: pb.Kind_KIND_TEXT, TTLMs: time.Hour.Milliseconds(),
		})
		n.settle()
	}
	pull := func(req *pb.Pull) *pb.Pulled {
		t.Helper()
		req.Conversation, req.Limit = "d:ann:bob", 1000
		f := ann.pull(req)
		if len(f.Body) > minFrame {
			t.Fatalf("a PULLED of %d bytes, the limit is %d", len(f.Body), minFrame)
		}
		return ann.pulled(req)
	}
	next := uint64(1)
	for more := true; more; {
		page := pull(&pb.Pull{From: next})
		for _, m := range page.Messages {
			if m.Seq != next || m.State != pb.MessageState_MESSAGE_STATE_EXPIRED {
				t.Fatalf("%v, want seq %d", m, next)
			}
			next++
		}
		more = page.More
	}
	if next != messages+1 {
		t.Errorf("the pages end at %d", next-1)
	}
	if page := pull(&pb.Pull{Backward: true}); page.Messages[len(page.Messages)-1].Seq != messages || !page.More {
		t.Errorf("the newest page ends at %d, more: %t", page.Messages[len(page.Messages)-1].Seq, page.More)
	}
	around := pull(&pb.Pull{From: messages / 2, Around: true})
	for i, m := range around.Messages[1:] {
		if m.Seq != around.Messages[i].Seq+1 {
			t.Fatalf("%d follows %d", m.Seq, around.Messages[i].Seq)
		}
	}
	if first, last := around.Messages[0].Seq, around.Messages[len(around.Messages)-1].Seq; first >= messages/2 || last <= messages/2 || !around.More {
		t.Errorf("around %d: %d to %d, more: %t", messages/2, first, last, around.More)
	}
}

// Around a message next to one that has no room beside it, the other one is left
// for a page of its own.
func TestAroundLargeMessages(t *testing.T) {
	n := newNode(t, func(c *nodeConfig) { c.delivery.MaxFrame = minFrame })
	ann := n.connect("ann", "d")
	for i := range 3 {
		ann.sendFor(0, "d:ann:bob", fmt.Sprint(i), string(make([]byte, minFrame-1<<10)))
	}
	f := ann.pull(&pb.Pull{Conversation: "d:ann:bob", From: 2, Around: true})
	if len(f.Body) > minFrame {
		t.Fatalf("a PULLED of %d bytes, the limit is %d", len(f.Body), minFrame)
	}
	page := ann.pulled(&pb.Pull{Conversation: "d:ann:bob", From: 2, Around: true})
	if len(page.Messages) != 1 || page.Messages[0].Seq != 2 || !page.More {
		t.Errorf("got %d messages, more: %t", len(page.Messages), page.More)
	}
}
