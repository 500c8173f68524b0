package protocol_test

import (
	"strings"
	"testing"

	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"

	"github.com/godwit-im/godwit/protocol"
	"github.com/godwit-im/godwit/protocol/pb"
)

// The goldens test the trace with contents of every frame; here is the rest.

func frameOf(t *testing.T, b []byte) protocol.Frame {
	t.Helper()
	f, n, err := protocol.Parse(b, protocol.MaxBody)
	if err != nil || n != len(b) {
		t.Fatalf("%d, %v", n, err)
	}
	return f
}

func TestTraceWithoutContents(t *testing.T) {
	secret := &pb.Message{Conversation: "d:alice:bob", Seq: 1, Body: []byte("between us")}
	for want, b := range map[string][]byte{
		`MESSAGE #0 conversation="d:alice:bob" seq=1 body=<10 bytes>`:                                        protocol.AppendProto(nil, protocol.TypeMessage, 0, secret),
		`PULLED #4 messages=[{conversation="d:alice:bob" seq=1 body=<10 bytes>}]`:                            protocol.AppendProto(nil, protocol.TypePulled, 4, &pb.Pulled{Messages: []*pb.Message{secret}}),
		`SEND #5 client_id="` + strings.Repeat("x", 256) + `"+44 body=<3 bytes>`:                             protocol.AppendProto(nil, protocol.TypeSend, 5, &pb.Send{ClientId: strings.Repeat("x", 300), Body: []byte("abc")}),
		`SEND #6 <malformed 1 bytes>`:                                                                        protocol.AppendFrame(nil, protocol.TypeSend, 6, []byte{0xff}),
		`CONNECT #1 token=<redacted> device="phone"`:                                                         protocol.AppendProto(nil, protocol.TypeConnect, 1, &pb.Connect{Token: "secret", Device: "phone"}),
		`CONNECT #1 <malformed 12 bytes>`:                                                                    protocol.AppendFrame(nil, protocol.TypeConnect, 1, []byte("\x1a\x20secret-tok")),
		`SYNCED #2 conversations=[{conversation="d:alice:bob"} {conversation="d:alice:carol" last={seq=1}}]`: protocol.AppendProto(nil, protocol.TypeSynced, 2, &pb.Synced{Conversations: []*pb.ConversationState{{Conversation: "d:alice:bob"}, {Conversation: "d:alice:carol", Last: &pb.Message{Seq: 1}}}}),
	} {
		if got := frameOf(t, b).String(); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
}

// Every field that holds a token is marked in im.proto, and no trace shows it.
func TestTraceNeverShowsTokens(t *testing.T) {
	const secret = "eyJhbGciOiJFZERTQSJ9.claims.signature"
	found := 0
	for _, typ := range allTypes() {
		m := typ.NewBody()
		if m == nil {
			continue
		}
		fields := m.ProtoReflect().Descriptor().Fields()
		for i := range fields.Len() {
			fd := fields.Get(i)
			options, _ := fd.Options().(*descriptorpb.FieldOptions)
			if isToken := strings.Contains(string(fd.Name()), "token"); isToken != options.GetDebugRedact() {
				t.Errorf("%s: debug_redact is %v", fd.FullName(), options.GetDebugRedact())
			} else if isToken {
				m.ProtoReflect().Set(fd, protoreflect.ValueOfString(secret))
				found++
			}
		}
		f := frameOf(t, protocol.AppendProto(nil, typ, 1, m))
		for _, contents := range []bool{false, true} {
			if got := string(protocol.AppendTrace(nil, f, contents)); strings.Contains(got, secret) {
				t.Errorf("%s", got)
			}
		}
	}
	if found != 2 {
		t.Errorf("%d fields hold a token, want those of CONNECT and RENEW", found)
	}
}

func TestTraceAppends(t *testing.T) {
	if got := string(protocol.AppendTrace([]byte("-> "), protocol.Frame{Type: protocol.TypePing, Request: 9}, false)); got != "-> PING #9" {
		t.Errorf("got %q", got)
	}
}
