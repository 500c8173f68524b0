//go:build !race

// The race detector allocates too, and has pools forget what they hold.

package server_test

import (
	"encoding/binary"
	"encoding/hex"
	"runtime"
	"testing"

	"github.com/godwit-im/godwit/protocol"
	"github.com/godwit-im/godwit/protocol/pb"
)

// maxAllocsPerMessage bounds what the server allocates for a message that is
// sent, stored, acked and pushed. By name, for each message:
//
//   - its three strings (protocol.ParseSend),
//   - its body (protocol.ParseSend),
//   - the proposal (server.gateway.submit),
//   - the users of its effect (chat.appendMessage),
//   - its frame, which is stored and pushed (protocol.NewMessageFrame).
//
// The rest is shared by a batch: the answers of a run (delivery.answer), the
// doorbells, and Pebble's tables.
const maxAllocsPerMessage = 6

// TestAllocationsPerMessage has one client pipeline messages to another over
// real sockets, in frames that are made beforehand: what is allocated
// meanwhile, the server allocates.
func TestAllocationsPerMessage(t *testing.T) {
	n := startNode(t, nil)
	alice, bob := n.login("alice", "phone"), n.login("bob", "phone")
	frame, idAt := sendFrame(t, protocol.DirectID("alice", "bob"))
	const window, rounds = 64, 100
	burst := make([]byte, 0, window*len(frame))
	number := uint32(0)
	exchange := func() {
		burst = burst[:0]
		for range window {
			number++
			at := len(burst)
			burst = append(burst, frame...)
			binary.BigEndian.PutUint32(burst[at+4:], number) // the request id
			hex.Encode(burst[at+idAt:], burst[at+4:at+8])
		}
		if _, err := alice.nc.Write(burst); err != nil {
			t.Fatal(err)
		}
		alice.expectRun(protocol.TypeSent, window)
		bob.expectRun(protocol.TypeMessage, window)
	}
	for range rounds { // the conversation, the pools, the readers' buffers
		exchange()
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range rounds {
		exchange()
	}
	runtime.ReadMemStats(&after)
	each := float64(after.Mallocs-before.Mallocs) / (rounds * window)
	t.Logf("%.2f allocations and %.0f bytes a message", each, float64(after.TotalAlloc-before.TotalAlloc)/(rounds*window))
	if each > maxAllocsPerMessage {
		t.Errorf("%.2f allocations a message, want at most %d", each, maxAllocsPerMessage)
	}
}

// sendFrame is a SEND, and where its client message id of 8 digits begins.
func sendFrame(t *testing.T, conversation string) (frame []byte, idAt int) {
	t.Helper()
	frame = protocol.AppendProto(nil, protocol.TypeSend, 1, &pb.Send{
		Conversation: conversation, ClientId: "00000000", Kind: pb.Kind_KIND_TEXT, Body: make([]byte, 256),
	})
	return frame, protocol.HeaderSize + 2 + len(conversation) + 2 // behind the tags and lengths
}

// expectRun reads n frames, all of one type.
func (c *client) expectRun(want protocol.Type, n int) {
	c.t.Helper()
	for range n {
		f, err := c.r.ReadFrame()
		if err != nil {
			c.t.Fatal(err)
		}
		if f.Type != want {
			c.t.Fatalf("%v came where %v was due", f.Type, want)
		}
	}
}
