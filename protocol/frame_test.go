package protocol_test

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"google.golang.org/protobuf/proto"

	"github.com/godwit-im/godwit/protocol"
	"github.com/godwit-im/godwit/protocol/pb"
)

func TestParseBodyCannotGrowIntoTheNextFrame(t *testing.T) {
	b := protocol.AppendFrame(nil, protocol.TypeMessage, 0, []byte("first"))
	b = protocol.AppendFrame(b, protocol.TypeMessage, 0, []byte("second"))
	want := bytes.Clone(b)
	f, _, err := protocol.Parse(b, 100)
	if err != nil {
		t.Fatal(err)
	}
	_ = append(f.Body, "overwritten"...)
	if !bytes.Equal(b, want) {
		t.Fatal("appending to a body changed the frame after it")
	}
}

func TestAppendKeepsWhatIsThere(t *testing.T) {
	dst := append(make([]byte, 0, 100), "before"...)
	body := &pb.Renewed{ExpiresMs: 1}
	encoded, err := proto.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	want := "before" + string(protocol.AppendFrame(nil, protocol.TypeRenewed, 5, encoded))
	if got := protocol.AppendProto(dst, protocol.TypeRenewed, 5, body); string(got) != want {
		t.Errorf("with room: %x, want %x", got, want)
	}
	if got := protocol.AppendProto(dst[:6:6], protocol.TypeRenewed, 5, body); string(got) != want {
		t.Errorf("without room: %x, want %x", got, want)
	}
}

func TestAppendHeaderRange(t *testing.T) {
	for _, size := range []int{-1, protocol.MaxBody + 1} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("a body of %d bytes was accepted", size)
				}
			}()
			protocol.AppendHeader(nil, protocol.TypeSend, 1, size)
		}()
	}
	if got := protocol.AppendHeader(nil, protocol.TypeSend, 1, protocol.MaxBody); !bytes.Equal(got, []byte{0xff, 0xff, 0xff, 0x10, 0, 0, 0, 1}) {
		t.Errorf("got %x", got)
	}
}

func decodeError(t *testing.T, b []byte) *pb.Error {
	t.Helper()
	f, n, err := protocol.Parse(b, protocol.PreAuthMaxFrame)
	if err != nil || n != len(b) || f.Type != protocol.TypeError {
		t.Fatalf("%v, %d, %v", f, n, err)
	}
	m := new(pb.Error)
	if err := protocol.Decode(f, m); err != nil {
		t.Fatal(err)
	}
	return m
}

func TestAppendError(t *testing.T) {
	busy := protocol.Errorf(pb.Code_CODE_BUSY, "try %s", "later")
	busy.RetryAfter = 1500 * time.Millisecond
	got := decodeError(t, protocol.AppendError(nil, 3, fmt.Errorf("queue 7: %w", busy)))
	if want := (&pb.Error{Code: pb.Code_CODE_BUSY, Text: "try later", Retryable: true, RetryAfterMs: 1500}); !proto.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if got := decodeError(t, protocol.AppendError(nil, 3, errors.New("/secret/path: no such file"))); got.Code != pb.Code_CODE_INTERNAL || strings.Contains(got.Text, "secret") {
		t.Errorf("an inner error shows: %v", got)
	}
}

// A text may quote what the peer sent, whatever that is.
func TestAppendErrorBy(t *testing.T) {
	e := protocol.Errorf(pb.Code_CODE_REPLACED, "replaced")
	got := decodeError(t, protocol.AppendError(nil, 0, e.By("phone", "ios")))
	if got.GetByDevice() != "phone" || got.GetByPlatform() != "ios" || e.ByDevice != "" {
		t.Errorf("got %v; the original has %q", got, e.ByDevice)
	}
}

func TestAppendErrorText(t *testing.T) {
	for _, quoted := range []string{"\xff\xfe", strings.Repeat("é", 100_000), strings.Repeat("x", 1<<20)} {
		got := decodeError(t, protocol.AppendError(nil, 1, protocol.Errorf(pb.Code_CODE_BAD_ID, "bad id %s", quoted)))
		if !strings.HasPrefix(got.Text, "bad id ") || !utf8.ValidString(got.Text) || len(got.Text) > protocol.MaxErrorText {
			t.Errorf("%d bytes: %.40q", len(got.Text), got.Text)
		}
	}
}

func TestAppendErrorRetryAfterRange(t *testing.T) {
	for after, want := range map[time.Duration]uint32{-time.Second: 0, 0: 0, time.Millisecond: 1, math.MaxInt64: math.MaxUint32} {
		e := protocol.Errorf(pb.Code_CODE_BUSY, "later")
		e.RetryAfter = after
		if got := decodeError(t, protocol.AppendError(nil, 1, e)).RetryAfterMs; got != want {
			t.Errorf("%v: %d, want %d", after, got, want)
		}
	}
}

func TestErrorAfterSpreads(t *testing.T) {
	e := protocol.Errorf(pb.Code_CODE_BUSY, "later")
	seen := map[time.Duration]bool{}
	for range 100 {
		after := e.After(time.Second).RetryAfter
		if after < time.Second || after > 1500*time.Millisecond {
			t.Fatalf("%v is not within 1 s and 1.5 s", after)
		}
		seen[after] = true
	}
	if len(seen) < 50 {
		t.Errorf("%d different delays of 100", len(seen))
	}
	if e.RetryAfter != 0 {
		t.Error("After changed its receiver")
	}
}

func TestCodeOf(t *testing.T) {
	for want, err := range map[protocol.Code]error{
		pb.Code_CODE_UNSPECIFIED: nil,
		pb.Code_CODE_INTERNAL:    errors.New("other"),
		pb.Code_CODE_BUSY:        fmt.Errorf("wrapped: %w", protocol.Errorf(pb.Code_CODE_BUSY, "later")),
	} {
		if got := protocol.CodeOf(err); got != want {
			t.Errorf("%v: %v, want %v", err, got, want)
		}
	}
	if got := protocol.Errorf(pb.Code_CODE_BUSY, "later").Error(); got != "BUSY (40): later" {
		t.Errorf("got %q", got)
	}
}

func TestDecodeCopies(t *testing.T) {
	body, err := proto.Marshal(&pb.Send{Conversation: "d:a:b", ClientId: "id", ContentType: "type", Body: []byte("content")})
	if err != nil {
		t.Fatal(err)
	}
	for name, decode := range map[string]func([]byte, *pb.Send) error{
		"Decode": func(b []byte, m *pb.Send) error {
			return protocol.Decode(protocol.Frame{Type: protocol.TypeSend, Body: b}, m)
		},
		"ParseSend": protocol.ParseSend,
	} {
		b, m := bytes.Clone(body), new(pb.Send)
		if err := decode(b, m); err != nil {
			t.Fatal(err)
		}
		clear(b)
		if m.Conversation != "d:a:b" || m.ClientId != "id" || m.ContentType != "type" || string(m.Body) != "content" {
			t.Errorf("%s: %v changed with the frame's buffer", name, m)
		}
	}
}

func TestDecodeMalformed(t *testing.T) {
	for _, typ := range allTypes() {
		m := typ.NewBody()
		if m == nil {
			continue
		}
		err := protocol.Decode(protocol.Frame{Type: typ, Request: 1, Body: []byte{0xff}}, m)
		if protocol.CodeOf(err) != pb.Code_CODE_MALFORMED_BODY {
			t.Errorf("%v: %v, want MALFORMED_BODY", typ, err)
			continue
		}
		if name := string(m.ProtoReflect().Descriptor().FullName()); !strings.Contains(err.Error(), typ.String()) || !strings.Contains(err.Error(), name) {
			t.Errorf("%q does not name %v and %v", err, typ, name)
		}
	}
}
