package chat

import (
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"github.com/godwit-im/godwit/protocol"
	"github.com/godwit-im/godwit/protocol/pb"
)

func fullMessage() *pb.Message {
	return &pb.Message{
		Conversation: "g:ann:club", Seq: 7, Id: 8, Sender: "bob", ClientId: "c1", TimeMs: 1000,
		Kind: pb.Kind_KIND_CUSTOM, ContentType: "a/b", Body: []byte("secret"), Count: 5, ReplySeq: 3,
		Mentions: []string{"cid"}, MentionAll: true, ExpiresMs: 2000, Flags: 4, ChangedSeq: 9, EditedMs: 1500, EditedSeq: 9,
		Reactions: []*pb.Reaction{{Key: "+", Count: 1, Users: []string{"ann"}}},
	}
}

func TestTombstone(t *testing.T) {
	wire := protocol.AppendMessage(nil, fullMessage())
	wire = protowire.AppendVarint(protowire.AppendTag(wire, 99, protowire.VarintType), 1) // of a later version
	got, err := Tombstone(wire, pb.MessageState_MESSAGE_STATE_DELETED)
	if err != nil {
		t.Fatal(err)
	}
	want := fullMessage()
	want.State, want.ContentType, want.Body = pb.MessageState_MESSAGE_STATE_DELETED, "", nil
	want.Mentions, want.MentionAll, want.Reactions = nil, false, nil
	want.ProtoReflect().SetUnknown(wire[len(wire)-3:])
	if m := decode(t, got); !proto.Equal(m, want) {
		t.Errorf("got  %v\nwant %v", m, want)
	}

	// What was recalled is so for everybody.
	recalled, err := Tombstone(got, pb.MessageState_MESSAGE_STATE_EXPIRED)
	if err != nil {
		t.Fatal(err)
	}
	if m := decode(t, recalled); m.State != pb.MessageState_MESSAGE_STATE_DELETED {
		t.Errorf("a tombstone became another one: %v", m.State)
	}
	if _, err := Tombstone([]byte{0xff}, 0); err == nil {
		t.Error("no error for what is no message")
	}
}

func TestExpired(t *testing.T) {
	encode := func(change func(*pb.Message)) []byte {
		m := fullMessage()
		change(m)
		return protocol.AppendMessage(nil, m)
	}
	wire := encode(func(*pb.Message) {})
	for name, test := range map[string]struct {
		wire  []byte
		nowMs int64
		want  bool
	}{
		"before":   {wire, 1999, false},
		"at":       {wire, 2000, true},
		"after":    {wire, 3000, true},
		"never":    {encode(func(m *pb.Message) { m.ExpiresMs = 0 }), 1 << 60, false},
		"is one":   {encode(func(m *pb.Message) { m.State = pb.MessageState_MESSAGE_STATE_RECALLED }), 3000, false},
		"cut off":  {wire[:len(wire)-1], 3000, false},
		"nonsense": {[]byte{0xff}, 3000, false},
		"nothing":  {nil, 3000, false},
	} {
		if got := Expired(test.wire, test.nowMs); got != test.want {
			t.Errorf("%s: %v", name, got)
		}
	}
	if n := testing.AllocsPerRun(100, func() { Expired(wire, 3000) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// TestMayExpire: by the bytes that say so in every kind of message, whatever else
// there is in it.
func TestMayExpire(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		some := func(name string) bool { return rapid.Bool().Draw(t, name) }
		m := &pb.Message{
			Conversation: "d:ann:bob", Seq: rapid.Uint64().Draw(t, "seq"), Id: rapid.Uint64().Draw(t, "id"),
			TimeMs: rapid.Int64().Draw(t, "time"), Count: rapid.Uint64().Draw(t, "count"),
			Body: rapid.SliceOfN(rapid.Byte(), 0, 300).Draw(t, "body"), MentionAll: some("all"),
			ExpiresMs: rapid.SampledFrom([]int64{0, 1, 1 << 40}).Draw(t, "expires"),
		}
		if some("mentions") {
			m.Mentions = []string{"ann", "x"}
		}
		if some("flags") {
			m.Flags, m.State, m.EditedSeq = 3, 1, 1<<40
		}
		if got := mayExpire(protocol.AppendMessage(nil, m)); got != (m.ExpiresMs != 0) {
			t.Fatalf("%v: %v", m, got)
		}
	})
}

func BenchmarkExpired(b *testing.B) {
	wire := protocol.AppendMessage(nil, &pb.Message{
		Conversation: "d:user-1:user-2", Seq: 70000, Id: 1 << 60, Sender: "user-1", ClientId: "0123456789abcdef",
		TimeMs: 1_800_000_000_000, Kind: pb.Kind_KIND_TEXT, Body: make([]byte, 256), Count: 70000, SenderCount: 35000,
	})
	for b.Loop() {
		Expired(wire, 1_900_000_000_000)
	}
}
