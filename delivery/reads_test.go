package delivery

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/godwit-im/godwit/chat"
	"github.com/godwit-im/godwit/protocol"
	"github.com/godwit-im/godwit/protocol/pb"
)

// TestFrameLimit: pages of large messages are cut to the frame limit, and
// nothing is left out on the way through them.
func TestFrameLimit(t *testing.T) {
	const maxFrame = 32 << 10
	n := newNode(t, func(c *nodeConfig) { c.delivery.MaxFrame = maxFrame })
	ann := n.connect("ann", "d")
	const conversations, messages = 30, 3
	size := func(i, j int) int { return (i*977 + j*4001) % (maxFrame - 1<<10) }
	for j := range messages {
		for i := range conversations {
			ann.submit(chat.Command{
				Op: chat.OpSend, Conversation: protocol.DirectID("ann", fmt.Sprintf("x%02d", i)),
				ClientID: fmt.Sprint(j), Kind: pb.Kind_KIND_CUSTOM, ContentType: "x",
				Body: bytes.Repeat([]byte{byte(j)}, size(i, j)),
			})
			n.settle()
		}
	}
	ann.wire.take()

	seen := map[string]bool{}
	pages := 0
	for cursor, more := []byte(nil), true; more; pages++ {
		f := ann.sync(&pb.Sync{Cursor: cursor, Limit: 100})
		if len(f.Body) > maxFrame {
			t.Fatalf("a SYNCED of %d bytes, the limit is %d", len(f.Body), maxFrame)
		}
		m := &pb.Synced{}
		decode(t, f, protocol.TypeSynced, m)
		for _, c := range m.Conversations {
			if seen[c.Conversation] {
				t.Errorf("%s came twice", c.Conversation)
			}
			seen[c.Conversation] = true
			var i int
			if _, err := fmt.Sscanf(c.Conversation, "d:ann:x%d", &i); err != nil {
				t.Fatal(err)
			}
			if c.Last == nil || len(c.Last.Body) != size(i, messages-1) {
				t.Errorf("%s: the preview is not the last message", c.Conversation)
			}
		}
		cursor, more = m.Cursor, m.More
	}
	if len(seen) != conversations || pages < 3 {
		t.Errorf("%d conversations in %d pages, want %d in some", len(seen), pages, conversations)
	}
	for i := range conversations {
		next := uint64(1)
		for more := true; more; {
			f := ann.pull(&pb.Pull{Conversation: protocol.DirectID("ann", fmt.Sprintf("x%02d", i)), From: next})
			if len(f.Body) > maxFrame {
				t.Fatalf("a PULLED of %d bytes, the limit is %d", len(f.Body), maxFrame)
			}
			m := &pb.Pulled{}
			decode(t, f, protocol.TypePulled, m)
			for _, message := range m.Messages {
				if message.Seq != next || len(message.Body) != size(i, int(next-1)) {
					t.Fatalf("seq %d with %d bytes, want %d", message.Seq, len(message.Body), next)
				}
				next++
			}
			more = m.More
		}
		if next != messages+1 {
			t.Errorf("the pages end at seq %d", next-1)
		}
	}
}

// TestPreviewThatDoesNotFit: a message that leaves no room for the rest of the
// state is left out of it, and the state is not.
func TestPreviewThatDoesNotFit(t *testing.T) {
	n := newNode(t, func(c *nodeConfig) {
		c.store.Partitions = 256 // the largest cursors
		c.delivery.MaxFrame = minFrame
	})
	ann := n.connect("ann", "d")
	ann.send("bob", "c1", strings.Repeat("x", minFrame-1<<10))
	ann.send("cid", "c2", "short")
	m := ann.synced(nil, 0)
	for m.More {
		next := ann.synced(m.Cursor, 0)
		next.Conversations = append(m.Conversations, next.Conversations...)
		m = next
	}
	if len(m.Conversations) != 2 {
		t.Fatalf("%d conversations, want 2", len(m.Conversations))
	}
	for _, c := range m.Conversations {
		if c.HeadSeq != 1 || (c.Last != nil) != (c.Conversation == "d:ann:cid") {
			t.Errorf("got %v", c)
		}
	}
	if page := ann.pulled(&pb.Pull{Conversation: "d:ann:bob"}); len(page.Messages) != 1 {
		t.Errorf("the message can't be pulled: %v", page)
	}
}

// TestLimits: the client's limit counts up to the server's.
func TestLimits(t *testing.T) {
	n := newNode(t, func(c *nodeConfig) {
		c.delivery.PullLimit, c.delivery.MaxPull = 3, 5
		c.delivery.SyncLimit, c.delivery.MaxSync = 2, 4
	})
	ann := n.connect("ann", "d")
	for i := range 10 {
		ann.send("bob", fmt.Sprint(i), "x")
		ann.send(fmt.Sprintf("x%d", i), "c", "x")
	}
	for limit, want := range map[uint32][2]int{0: {3, 2}, 1: {1, 1}, 4: {4, 4}, 100: {5, 4}} {
		p := ann.pulled(&pb.Pull{Conversation: "d:ann:bob", Limit: limit})
		s := ann.synced(nil, limit)
		if len(p.Messages) != want[0] || len(s.Conversations) != want[1] || !p.More || !s.More {
			t.Errorf("limit %d: %d messages and %d conversations, want %v", limit, len(p.Messages), len(s.Conversations), want)
		}
	}
}

// TestCursors: a cursor of another epoch or from the future starts the SYNC
// over, and says so; what is no cursor at all is refused.
func TestCursors(t *testing.T) {
	n := newNode(t)
	ann := n.connect("ann", "d")
	ann.send("bob", "c1", "x")
	ann.send("cid", "c1", "x")
	good := ann.synced(nil, 0).Cursor
	if m := ann.synced(good, 0); m.Reset_ || len(m.Conversations) != 0 || m.Epoch != n.store.Epoch() {
		t.Errorf("from a good cursor: %v", m)
	}
	foreign := (&cursor{epoch: n.store.Epoch() + 1, base: make([]uint64, 1)}).append(nil)
	future := &cursor{epoch: n.store.Epoch(), base: make([]uint64, n.store.Partitions())}
	future.base[1] = n.store.Applied(1) + 1
	for name, c := range map[string][]byte{"foreign": foreign, "future": future.append(nil)} {
		if m := ann.synced(c, 0); !m.Reset_ || len(m.Conversations) != 2 {
			t.Errorf("from a %s cursor: %v", name, m)
		}
	}
	page := ann.synced(nil, 1).Cursor
	for name, c := range map[string][]byte{
		"a byte":    {1},
		"garbage":   []byte("garbage that is long enough to hold an epoch"),
		"version":   append([]byte{2}, good[1:]...),
		"cut":       good[:len(good)-1],
		"longer":    append(bytes.Clone(good), 0),
		"cut page":  page[:len(page)-len("d:ann:bob")],
		"page's id": append(bytes.Clone(page), ':'),
	} {
		if f := ann.sync(&pb.Sync{Cursor: c}); f.Type != protocol.TypeError {
			t.Errorf("%s: got %s", name, show(f))
		} else {
			wantError(t, f, pb.Code_CODE_BAD_CURSOR)
		}
	}
}

// FuzzCursor: parsing never panics, and what parses is written back the same.
func FuzzCursor(f *testing.F) {
	f.Add((&cursor{epoch: 7, base: []uint64{1, 2, 300, 4}}).append(nil))
	f.Add((&cursor{epoch: 7, base: []uint64{1, 2, 300, 4}, page: &position{
		watermark: []uint64{1, 5, 400, 1 << 60}, timeMs: 1_800_000_000_000, conversation: "d:ann:bob",
	}}).append(nil))
	f.Add([]byte{1, 0, 0, 0, 0, 0, 0, 0, 1, 0x80, 0x00, 0, 0, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := parseCursor(b, 4)
		if err != nil {
			if protocol.CodeOf(err) != pb.Code_CODE_BAD_CURSOR {
				t.Errorf("the error is %v", err)
			}
			return
		}
		again, err := parseCursor(c.append(nil), 4)
		if err != nil {
			t.Fatalf("%+v does not parse: %v", c, err)
		}
		if !slices.Equal(again.base, c.base) || (again.page == nil) != (c.page == nil) {
			t.Errorf("%+v became %+v", c, again)
		}
		if len(c.append(nil)) > maxCursor(4) {
			t.Errorf("a cursor of %d bytes, the bound is %d", len(c.append(nil)), maxCursor(4))
		}
	})
}

// TestAnswersAreKept: an answer waits for its client while others are made.
func TestAnswersAreKept(t *testing.T) {
	n := newNode(t)
	ann, bob := n.connect("ann", "d"), n.connect("bob", "d")
	ann.send("bob", "a1", "one")
	ann.send("cid", "a2", "two")
	n.settle()
	pull := ann.pull(&pb.Pull{Conversation: "d:ann:bob", From: 1})
	sync := ann.sync(&pb.Sync{})
	want := [][]byte{bytes.Clone(pull.Body), bytes.Clone(sync.Body)}
	for range 10 {
		ann.pull(&pb.Pull{Conversation: "d:ann:cid", From: 1})
		bob.sync(&pb.Sync{})
	}
	if !bytes.Equal(pull.Body, want[0]) || !bytes.Equal(sync.Body, want[1]) {
		t.Error("an answer has changed after it was given")
	}
}
