package delivery

import (
	"fmt"
	"slices"
	"testing"

	"github.com/godwit-im/godwit/chat"
	"github.com/godwit-im/godwit/protocol"
	"github.com/godwit-im/godwit/protocol/pb"
)

// message is an outcome of from's with the message and nothing else.
func message(from *client, peer string, seq uint64, size int) chat.Outcome {
	m := &pb.Message{
		Conversation: protocol.DirectID(from.User, peer), Seq: seq, Id: seq, Sender: from.User,
		ClientId: fmt.Sprint(seq), Body: make([]byte, size),
	}
	if err := from.Begin(0); err != nil {
		from.node.t.Fatal(err)
	}
	return chat.Outcome{
		Proposal: &chat.Proposal{Origin: from.Session, Command: chat.Command{Op: chat.OpSend}},
		Result:   chat.Result{Seq: seq},
		Effects: []chat.Effect{{
			Kind: chat.EffectMessage, Conversation: m.Conversation, Users: []string{from.User, peer},
			Seq: seq, Frame: protocol.MessageFrame(nil, m),
		}},
	}
}

// Messages that a client sent to a conversation in a row are pushed together,
// up to a limit; others are not, and the order stays.
func TestPushTogether(t *testing.T) {
	n := newNode(t)
	alice, bob, carol := n.connect("alice", "phone"), n.connect("bob", "phone"), n.connect("carol", "phone")
	type pushed struct {
		slices int
		seqs   []uint64
	}
	for _, tc := range []struct {
		name       string
		outcomes   []chat.Outcome
		bob, carol pushed
	}{
		{
			"in a row",
			[]chat.Outcome{message(alice, "bob", 1, 10), message(alice, "bob", 2, 10), message(alice, "bob", 3, 10)},
			pushed{1, []uint64{1, 2, 3}},
			pushed{},
		},
		{
			"two conversations",
			[]chat.Outcome{message(alice, "bob", 4, 10), message(alice, "carol", 1, 10), message(alice, "bob", 5, 10), message(alice, "bob", 6, 10)},
			pushed{2, []uint64{4, 5, 6}},
			pushed{1, []uint64{1}},
		},
		{
			"two senders",
			[]chat.Outcome{message(alice, "bob", 7, 10), message(carol, "bob", 1, 10), message(alice, "bob", 8, 10)},
			pushed{3, []uint64{7, 1, 8}},
			pushed{},
		},
		{
			"the limit",
			[]chat.Outcome{message(alice, "bob", 9, maxJoined/2), message(alice, "bob", 10, maxJoined/3), message(alice, "bob", 11, maxJoined/2)},
			pushed{2, []uint64{9, 10, 11}},
			pushed{},
		},
	} {
		before := n.Stats().Messages
		n.Deliver(tc.outcomes)
		for _, c := range []struct {
			client *client
			want   pushed
		}{{bob, tc.bob}, {carol, tc.carol}} {
			got := pushed{slices: c.client.wire.takePushes()}
			for _, f := range c.client.wire.take() {
				if f.Type != protocol.TypeMessage {
					continue // carol's SENT
				}
				m := &pb.Message{}
				decode(t, f, protocol.TypeMessage, m)
				got.seqs = append(got.seqs, m.Seq)
			}
			if got.slices != c.want.slices || !slices.Equal(got.seqs, c.want.seqs) {
				t.Errorf("%s: %s got %+v, want %+v", tc.name, c.client.User, got, c.want)
			}
		}
		if got, want := n.Stats().Messages-before, uint64(len(tc.bob.seqs)+len(tc.carol.seqs)); got != want {
			t.Errorf("%s: %d messages counted, want %d", tc.name, got, want)
		}
	}
}

// A session that takes no more misses all of them, and is told the last one.
func TestPushTogetherWhileLagging(t *testing.T) {
	n := newNode(t)
	alice, bob := n.connect("alice", "phone"), n.connect("bob", "phone")
	bob.wire.setRoom(0)
	n.Deliver([]chat.Outcome{message(alice, "bob", 1, 10)}) // fills it
	n.Deliver([]chat.Outcome{message(alice, "bob", 2, 10), message(alice, "bob", 3, 10)})
	if got := len(bob.wire.take()); got != 1 {
		t.Fatalf("%d frames were pushed, want 1", got)
	}
	bob.Drained()
	heads := &pb.Heads{}
	decode(t, bob.wire.take()[0], protocol.TypeHeads, heads)
	if len(heads.Heads) != 1 || heads.Heads[0].Seq != 3 {
		t.Errorf("HEADS %v, want seq 3", heads)
	}
}
