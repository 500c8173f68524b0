package protocol_test

import (
	"bytes"
	"math"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"github.com/godwit-im/godwit/protocol"
	"github.com/godwit-im/godwit/protocol/pb"
)

// The hand-written codec against the generated one.

// tester is what *testing.T and *rapid.T have in common for a helper.
type tester interface {
	Helper()
	Fatal(args ...any)
	Fatalf(format string, args ...any)
}

func marshal(t tester, m proto.Message) []byte {
	t.Helper()
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func drawUnknown(t *rapid.T) []byte {
	var b []byte
	for range rapid.IntRange(0, 2).Draw(t, "unknown fields") {
		b = protowire.AppendTag(b, protowire.Number(rapid.IntRange(50, math.MaxInt16).Draw(t, "number")), protowire.BytesType)
		b = protowire.AppendBytes(b, rapid.SliceOf(rapid.Byte()).Draw(t, "value"))
	}
	return b
}

func drawMessage(t *rapid.T) *pb.Message {
	m := &pb.Message{
		Conversation: rapid.String().Draw(t, "conversation"),
		Seq:          rapid.Uint64().Draw(t, "seq"),
		Id:           rapid.Uint64().Draw(t, "id"),
		Sender:       rapid.String().Draw(t, "sender"),
		ClientId:     rapid.String().Draw(t, "client id"),
		TimeMs:       rapid.Int64().Draw(t, "time"),
		Kind:         pb.Kind(rapid.Int32().Draw(t, "kind")),
		ContentType:  rapid.String().Draw(t, "content type"),
		Body:         rapid.SliceOf(rapid.Byte()).Draw(t, "body"),
		Count:        rapid.Uint64().Draw(t, "count"),
		SenderCount:  rapid.Uint64().Draw(t, "sender count"),
		ReplySeq:     rapid.Uint64().Draw(t, "reply seq"),
		Mentions:     rapid.SliceOfN(rapid.String(), 0, 3).Draw(t, "mentions"),
		MentionAll:   rapid.Bool().Draw(t, "mention all"),
		ExpiresMs:    rapid.Int64().Draw(t, "expires"),
		Flags:        rapid.Uint32().Draw(t, "flags"),
		Target:       rapid.Uint64().Draw(t, "target"),
		Remove:       rapid.Bool().Draw(t, "remove"),
		State:        pb.MessageState(rapid.Int32().Draw(t, "state")),
		ChangedSeq:   rapid.Uint64().Draw(t, "changed seq"),
		EditedMs:     rapid.Int64().Draw(t, "edited"),
		RecalledBy:   rapid.String().Draw(t, "recalled by"),
		ShownSeq:     rapid.Uint64().Draw(t, "shown seq"),
	}
	for range rapid.IntRange(0, 2).Draw(t, "reactions") {
		m.Reactions = append(m.Reactions, &pb.Reaction{
			Key:   rapid.String().Draw(t, "key"),
			Count: rapid.Uint64().Draw(t, "reaction count"),
			Users: rapid.SliceOfN(rapid.String(), 0, 3).Draw(t, "users"),
		})
	}
	m.ProtoReflect().SetUnknown(drawUnknown(t))
	return m
}

func checkMessage(t tester, m *pb.Message) {
	t.Helper()
	want := marshal(t, m)
	if got := protocol.AppendMessage(nil, m); !bytes.Equal(got, want) {
		t.Fatalf("AppendMessage:\n%x, want\n%x", got, want)
	}
	if got := protocol.SizeMessage(m); got != len(want) {
		t.Fatalf("SizeMessage: %d, want %d", got, len(want))
	}
	frame := protocol.MessageFrame([]byte("before"), m)
	if want := protocol.AppendFrame([]byte("before"), protocol.TypeMessage, 0, want); !bytes.Equal(frame, want) {
		t.Fatalf("MessageFrame:\n%x, want\n%x", frame, want)
	}
	known := proto.Clone(m).(*pb.Message)
	known.ProtoReflect().SetUnknown(nil)
	if frame, want := protocol.NewMessageFrame(m), protocol.MessageFrame(nil, known); !bytes.Equal(frame, want) || cap(frame) != len(frame) {
		t.Fatalf("NewMessageFrame:\n%x of capacity %d, want\n%x", frame, cap(frame), want)
	}
}

func checkSent(t tester, m *pb.Sent) {
	t.Helper()
	want := marshal(t, m)
	if got := protocol.AppendSent(nil, m); !bytes.Equal(got, want) {
		t.Fatalf("AppendSent:\n%x, want\n%x", got, want)
	}
	if got := protocol.SizeSent(m); got != len(want) {
		t.Fatalf("SizeSent: %d, want %d", got, len(want))
	}
	frame := protocol.SentFrame([]byte("before"), 7, m)
	if want := protocol.AppendFrame([]byte("before"), protocol.TypeSent, 7, want); !bytes.Equal(frame, want) {
		t.Fatalf("SentFrame:\n%x, want\n%x", frame, want)
	}
}

// checkParseSend holds ParseSend against proto.Unmarshal on any bytes.
func checkParseSend(t tester, body []byte) {
	t.Helper()
	want := new(pb.Send)
	wantErr := proto.Unmarshal(body, want)
	want.ProtoReflect().SetUnknown(nil)

	got := &pb.Send{Conversation: "left", ClientId: "over", Kind: 9, ContentType: "from", Body: []byte("before")}
	gotErr := protocol.ParseSend(body, got)
	if (gotErr == nil) != (wantErr == nil) {
		t.Fatalf("%x: %v, but proto.Unmarshal: %v", body, gotErr, wantErr)
	}
	if gotErr != nil {
		if protocol.CodeOf(gotErr) != pb.Code_CODE_MALFORMED_BODY {
			t.Fatalf("%x: %v", body, gotErr)
		}
		return
	}
	if !proto.Equal(got, want) {
		t.Fatalf("%x:\n%v, want\n%v", body, got, want)
	}
}

func TestMessageCodec(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) { checkMessage(t, drawMessage(t)) })
}

func TestSentCodec(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := &pb.Sent{
			Seq:       rapid.Uint64().Draw(t, "seq"),
			Id:        rapid.Uint64().Draw(t, "id"),
			TimeMs:    rapid.Int64().Draw(t, "time"),
			Duplicate: rapid.Bool().Draw(t, "duplicate"),
		}
		m.ProtoReflect().SetUnknown(drawUnknown(t))
		checkSent(t, m)
	})
}

func TestSendCodec(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := &pb.Send{
			ReplySeq:     rapid.Uint64().Draw(t, "reply seq"),
			Mentions:     rapid.SliceOfN(rapid.String(), 0, 3).Draw(t, "mentions"),
			MentionAll:   rapid.Bool().Draw(t, "mention all"),
			TtlMs:        rapid.Int64().Draw(t, "ttl"),
			Flags:        rapid.Uint32().Draw(t, "flags"),
			Target:       rapid.Uint64().Draw(t, "target"),
			Remove:       rapid.Bool().Draw(t, "remove"),
			Conversation: rapid.String().Draw(t, "conversation"),
			ClientId:     rapid.String().Draw(t, "client id"),
			Kind:         pb.Kind(rapid.Int32().Draw(t, "kind")),
			ContentType:  rapid.String().Draw(t, "content type"),
			Body:         rapid.SliceOf(rapid.Byte()).Draw(t, "body"),
		}
		m.ProtoReflect().SetUnknown(drawUnknown(t))
		body, err := proto.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		checkParseSend(t, body)
		if len(body) > 0 { // and damaged
			body[rapid.IntRange(0, len(body)-1).Draw(t, "at")] ^= rapid.ByteMin(1).Draw(t, "damage")
			checkParseSend(t, body)
		}
	})
}

func TestPulledOfStoredMessages(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := &pb.Pulled{More: rapid.Bool().Draw(t, "more"), HeadSeq: rapid.Uint64().Draw(t, "head"), MinSeq: rapid.Uint64().Draw(t, "min")}
		var body []byte
		for range rapid.IntRange(0, 3).Draw(t, "messages") {
			m := drawMessage(t)
			want.Messages = append(want.Messages, m)
			wire := protocol.AppendMessage(nil, m)
			before := len(body)
			body = protocol.AppendStored(body, wire)
			if got := len(body) - before; got != protocol.SizeStored(len(wire)) {
				t.Fatalf("AppendStored appended %d bytes, SizeStored said %d", got, protocol.SizeStored(len(wire)))
			}
		}
		rest := &pb.Pulled{More: want.More, HeadSeq: want.HeadSeq, MinSeq: want.MinSeq}
		body, err := proto.MarshalOptions{}.MarshalAppend(body, rest)
		if err != nil {
			t.Fatal(err)
		}
		if whole := marshal(t, want); !bytes.Equal(body, whole) {
			t.Fatalf("%x, want\n%x", body, whole)
		}
	})
}

// The goldens too: those of SEND to ParseSend, and all others as bodies of a
// SEND that they aren't.
func TestCodecGolden(t *testing.T) {
	for _, v := range allVectors(t) {
		for b := v.wire; len(b) > 0; {
			f, n, err := protocol.Parse(b, v.limit)
			if err != nil || n == 0 {
				break
			}
			b = b[n:]
			checkParseSend(t, f.Body)
			switch m := f.Type.NewBody().(type) {
			case *pb.Message:
				if protocol.Decode(f, m) == nil {
					checkMessage(t, m)
				}
			case *pb.Sent:
				if protocol.Decode(f, m) == nil {
					checkSent(t, m)
				}
			}
		}
	}
}

// The largest message that can be stored fits the frame that MessageOverhead
// promises, alone in a PULLED too.
func TestMessageOverhead(t *testing.T) {
	for _, maxBody := range []int{0, 1, 64 << 10, 1 << 20, protocol.MaxBody - protocol.MessageOverhead} {
		m := &pb.Message{
			Conversation: strings.Repeat("c", protocol.MaxConversationID),
			Seq:          math.MaxUint64,
			Id:           math.MaxUint64,
			Sender:       strings.Repeat("s", protocol.MaxID),
			ClientId:     strings.Repeat("i", protocol.MaxID),
			TimeMs:       -1,
			Kind:         -1,
			ContentType:  strings.Repeat("t", protocol.MaxContentType),
			Body:         make([]byte, maxBody),
			Count:        math.MaxUint64,
			SenderCount:  math.MaxUint64,
			ReplySeq:     math.MaxUint64,
			MentionAll:   true,
			ExpiresMs:    -1,
			Flags:        math.MaxUint32,
			Target:       math.MaxUint64,
			Remove:       true,
			State:        -1,
			ChangedSeq:   math.MaxUint64,
			EditedMs:     -1,
			RecalledBy:   strings.Repeat("r", protocol.MaxID),
			ShownSeq:     math.MaxUint64,
		}
		user := strings.Repeat("u", protocol.MaxID)
		for range protocol.MaxMentions {
			m.Mentions = append(m.Mentions, user)
		}
		for range protocol.MaxReactions {
			r := &pb.Reaction{Key: strings.Repeat("k", protocol.MaxReaction), Count: math.MaxUint64}
			for range protocol.MaxReactionUsers {
				r.Users = append(r.Users, user)
			}
			m.Reactions = append(m.Reactions, r)
		}
		rest := &pb.Pulled{More: true, HeadSeq: math.MaxUint64, MinSeq: math.MaxUint64}
		if got := protocol.SizeStored(protocol.SizeMessage(m)) + proto.Size(rest); got > maxBody+protocol.MessageOverhead {
			t.Errorf("a body of %d bytes makes a PULLED of %d, over by %d", maxBody, got, got-maxBody-protocol.MessageOverhead)
		}
	}
}
