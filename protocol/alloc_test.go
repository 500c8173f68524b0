package protocol_test

import (
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/godwit-im/godwit/protocol"
	"github.com/godwit-im/godwit/protocol/pb"
)

// sampleMessage is a chat message of the usual size: 164 bytes encoded.
func sampleMessage() *pb.Message {
	return &pb.Message{
		Conversation: "d:alice:bob", Seq: 1234, Id: 1987654321098765432, Sender: "alice", ClientId: "01JGFJJZ00Q4V1XKQ0ZC",
		TimeMs: 1767225600000, Kind: pb.Kind_KIND_TEXT, Body: make([]byte, 88), Count: 1200, SenderCount: 600,
	}
}

func sampleSend() *pb.Send {
	m := sampleMessage()
	return &pb.Send{Conversation: m.Conversation, ClientId: m.ClientId, Kind: m.Kind, Body: m.Body}
}

func sampleSent() *pb.Sent {
	m := sampleMessage()
	return &pb.Sent{Seq: m.Seq, Id: m.Id, TimeMs: m.TimeMs}
}

func TestFramePathAllocations(t *testing.T) {
	message, sent := sampleMessage(), sampleSent()
	body := marshal(t, sampleSend())
	wire := protocol.AppendMessage(nil, message)
	frame := protocol.AppendFrame(nil, protocol.TypeSend, 1, body)
	dst := make([]byte, 0, 4<<10)
	for _, c := range []struct {
		name string
		want float64
		f    func()
	}{
		{"Parse", 0, func() {
			if _, n, err := protocol.Parse(frame, protocol.PreAuthMaxFrame); n != len(frame) || err != nil {
				t.Fatal(n, err)
			}
		}},
		{"Parse of a part", 0, func() {
			if _, n, err := protocol.Parse(frame[:20], protocol.PreAuthMaxFrame); n != 0 || err != nil {
				t.Fatal(n, err)
			}
		}},
		{"CheckFromClient", 0, func() {
			if err := protocol.CheckFromClient(protocol.Frame{Type: protocol.TypeSend, Request: 1}); err != nil {
				t.Fatal(err)
			}
		}},
		{"AppendHeader", 0, func() { protocol.AppendHeader(dst, protocol.TypeSend, 1, len(body)) }},
		{"AppendFrame", 0, func() { protocol.AppendFrame(dst, protocol.TypeSend, 1, body) }},
		{"AppendMessage", 0, func() { protocol.AppendMessage(dst, message) }},
		{"MessageFrame", 0, func() { protocol.MessageFrame(dst, message) }},
		{"NewMessageFrame", 1, func() { protocol.NewMessageFrame(&pb.Message{Conversation: "d:alice:bob", Body: body}) }},
		{"AppendSent", 0, func() { protocol.AppendSent(dst, sent) }},
		{"SentFrame", 0, func() { protocol.SentFrame(dst, 1, sent) }},
		{"AppendStored", 0, func() { protocol.AppendStored(dst, wire) }},
		{"ParseSend", 2, func() { // the strings and the content, as documented
			var send pb.Send // not on the heap
			if err := protocol.ParseSend(body, &send); err != nil {
				t.Fatal(err)
			}
		}},
	} {
		if got := testing.AllocsPerRun(1000, c.f); got != c.want {
			t.Errorf("%s: %v allocations, want %v", c.name, got, c.want)
		}
	}
}

func BenchmarkParse(b *testing.B) {
	frame := protocol.MessageFrame(nil, sampleMessage())
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := protocol.Parse(frame, protocol.PreAuthMaxFrame); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkAppendMessage(b *testing.B) {
	m, dst := sampleMessage(), make([]byte, 0, 4<<10)
	b.Run("hand", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			protocol.MessageFrame(dst, m)
		}
	})
	b.Run("generated", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			protocol.AppendProto(dst, protocol.TypeMessage, 0, m)
		}
	})
}

func BenchmarkParseSend(b *testing.B) {
	body, m := marshal(b, sampleSend()), new(pb.Send)
	b.Run("hand", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if err := protocol.ParseSend(body, m); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("generated", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if err := proto.Unmarshal(body, m); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkAppendSent(b *testing.B) {
	m, dst := sampleSent(), make([]byte, 0, 4<<10)
	b.Run("hand", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			protocol.SentFrame(dst, 1, m)
		}
	})
	b.Run("generated", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			protocol.AppendProto(dst, protocol.TypeSent, 1, m)
		}
	})
}

func BenchmarkPulled(b *testing.B) {
	m := sampleMessage()
	wire, dst := protocol.AppendMessage(nil, m), make([]byte, 0, 4<<10)
	b.Run("stored", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			protocol.AppendStored(dst, wire)
		}
	})
	b.Run("generated", func(b *testing.B) {
		pulled := &pb.Pulled{Messages: []*pb.Message{m}}
		b.ReportAllocs()
		for b.Loop() {
			if _, err := (proto.MarshalOptions{}).MarshalAppend(dst, pulled); err != nil {
				b.Fatal(err)
			}
		}
	})
}
