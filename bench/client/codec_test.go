package client

import (
	"bytes"
	"testing"
	"time"
	"unicode/utf8"

	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"

	"github.com/godwit-im/godwit/protocol"
	"github.com/godwit-im/godwit/protocol/pb"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestDraft decodes what a draft makes with the generated codec.
func TestDraft(t *testing.T) {
	const size = 300
	draft := NewDraft("d:u1:u2", "u1", "run-0000", size)
	texts := map[string]bool{}
	for _, count := range []uint32{0, 1, 0xfedcba98} {
		f, n, err := protocol.Parse(draft.Append([]byte("before"), 77, count, 5*time.Second)[6:], protocol.MaxBody)
		if err != nil || n == 0 {
			t.Fatal(n, err)
		}
		var m pb.Send
		if err := protocol.Decode(f, &m); err != nil {
			t.Fatal(err)
		}
		if f.Request != 77 || m.Conversation != "d:u1:u2" || m.Kind != pb.Kind_KIND_TEXT || len(m.Body) != size || !utf8.Valid(m.Body) {
			t.Errorf("request %d: %v", f.Request, &m)
		}
		if want := map[uint32]string{0: "run-000000000000", 1: "run-000000000001", 0xfedcba98: "run-0000fedcba98"}[count]; m.ClientId != want {
			t.Errorf("client id %s, want %s", m.ClientId, want)
		}
		if sent, ok := readBody(m.Body, seed("u1"), count, size); !ok || sent != 5*time.Second {
			t.Errorf("the body of %d says %v, %v", count, sent, ok)
		}
		if _, ok := readBody(m.Body, seed("u2"), count, size); ok {
			t.Error("another sender's body is the same")
		}
		texts[string(m.Body[StampSize:])] = true
	}
	if len(texts) != 3 {
		t.Errorf("%d different texts of 3", len(texts))
	}
}

// TestParse compares the hand-written decoders with the generated encoder.
func TestParse(t *testing.T) {
	encode := func(kind protocol.Type, m proto.Message) []byte {
		return protocol.AppendProto(nil, kind, 0, m)[protocol.HeaderSize:]
	}
	whole := &pb.Message{
		Conversation: "d:u1:u2", Seq: 1 << 40, Id: 1 << 60, Sender: "u1", ClientId: "c", TimeMs: 99, Kind: pb.Kind_KIND_CUSTOM,
		ContentType: "x/y", Body: []byte("body"), Count: 3, SenderCount: 2,
	}
	var m Message
	if err := m.Parse(encode(protocol.TypeMessage, whole)); err != nil {
		t.Fatal(err)
	}
	if string(m.Conversation) != whole.Conversation || m.Seq != whole.Seq || string(m.Sender) != whole.Sender || !bytes.Equal(m.Body, whole.Body) {
		t.Errorf("%+v", m)
	}
	var s Sent
	if err := s.Parse(encode(protocol.TypeSent, &pb.Sent{Seq: 300, Id: 1, TimeMs: 2, Duplicate: true})); err != nil || s != (Sent{300, true}) {
		t.Errorf("%+v, %v", s, err)
	}
	var p Pulled
	if err := p.Parse(encode(protocol.TypePulled, &pb.Pulled{Messages: []*pb.Message{whole, {Seq: 5}}, More: true, HeadSeq: 9, MinSeq: 1})); err != nil || !p.More || p.Head != 9 {
		t.Errorf("%+v, %v", p, err)
	}
	for _, want := range []uint64{1 << 40, 5} {
		if some, err := p.Next(&m); err != nil || !some || m.Seq != want {
			t.Errorf("%+v, %v, %v, want seq %d", m, some, err, want)
		}
	}
	if some, err := p.Next(&m); some || err != nil {
		t.Errorf("a third message: %v, %v", some, err)
	}
	for name, err := range map[string]error{
		"message": m.Parse([]byte{0x0a, 5, 'd'}), "sent": s.Parse([]byte{0x08}), "pulled": p.Parse([]byte{0x0a, 9}),
	} {
		if err == nil {
			t.Errorf("a %s that is cut off was accepted", name)
		}
	}
}

// TestAllocs holds the load to what the package promises: nothing is allocated
// for a message.
func TestAllocs(t *testing.T) {
	draft := NewDraft("d:alice:bob", "alice", "run-0000", bodySize)
	buf := make([]byte, 0, 1024)
	if n := testing.AllocsPerRun(100, func() { buf = draft.Append(buf[:0], 1, 2, 3) }); n != 0 {
		t.Errorf("%v allocations to send", n)
	}
	sent := protocol.AppendProto(nil, protocol.TypeSent, 1, &pb.Sent{Seq: 8, Id: 9})[protocol.HeaderSize:]
	if n := testing.AllocsPerRun(100, func() {
		var s Sent
		if s.Parse(sent) != nil {
			t.Fail()
		}
	}); n != 0 {
		t.Errorf("%v allocations for an ack", n)
	}
	onBob(t, func(bob *Device) {
		const runs = 100
		delivered := 0
		inbox := NewInbox(bob, bodySize, func(*Conversation, Delivery) { delivered++ })
		inbox.Add("alice", 1)
		frames := make([]protocol.Frame, runs+1) // AllocsPerRun runs once more
		for i := range frames {
			frames[i] = frame(t, protocol.TypeMessage, 0, message(uint64(i+1), uint32(i)))
		}
		if n := testing.AllocsPerRun(runs, func() {
			if _, err := inbox.OnFrame(frames[delivered]); err != nil {
				t.Fatal(err)
			}
		}); n != 0 {
			t.Errorf("%v allocations to receive", n)
		}
	})
}
