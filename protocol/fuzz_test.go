package protocol_test

import (
	"bytes"
	"io"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/godwit-im/godwit/protocol"
	"github.com/godwit-im/godwit/protocol/pb"
)

// The seeds of all targets are the golden vectors; `go test` runs those, and
// go test -fuzz=FuzzParse and so on looks further.

// FuzzParse: Parse never panics, what it returns encodes to the same bytes,
// what it says of a part of the bytes agrees with what it says of the whole,
// and whatever is in a frame its trace is one printable line.
func FuzzParse(f *testing.F) {
	for _, v := range allVectors(f) {
		if len(v.wire) <= 1<<10 {
			f.Add(v.wire, uint32(v.limit))
		}
	}
	f.Fuzz(func(t *testing.T, b []byte, limit uint32) {
		maxBody := int(limit & protocol.MaxBody)
		frame, n, err := protocol.Parse(b, maxBody)
		switch {
		case err != nil:
			if n != 0 || frame.Body != nil {
				t.Fatalf("an error and %d bytes: %v", n, frame)
			}
			if code := protocol.CodeOf(err); code != pb.Code_CODE_FRAME_TOO_LARGE && code != pb.Code_CODE_BAD_FRAME {
				t.Fatalf("%v", err)
			}
		case n > 0:
			if len(frame.Body) > maxBody {
				t.Fatalf("a body of %d bytes, the limit is %d", len(frame.Body), maxBody)
			}
			if again := protocol.AppendFrame(nil, frame.Type, frame.Request, frame.Body); !bytes.Equal(again, b[:n]) {
				t.Fatalf("%x encodes as %x", b[:n], again)
			}
			for _, contents := range []bool{false, true} {
				line := protocol.AppendTrace(nil, frame, contents)
				if i := slices.IndexFunc(line, func(c byte) bool { return c < ' ' || c > '~' }); i >= 0 {
					t.Fatalf("the trace %q is not one printable line", line)
				}
			}
		}
		// Whatever follows changes nothing, and a part is either too short to
		// tell or gives the same error.
		for cut := range min(len(b), 64) {
			part, partN, partErr := protocol.Parse(b[:cut], maxBody)
			switch {
			case n > 0 && cut >= n:
				if partN != n || partErr != nil || !bytes.Equal(part.Body, frame.Body) {
					t.Fatalf("the first %d bytes: %d, %v", cut, partN, partErr)
				}
			case err != nil && cut >= protocol.HeaderSize:
				if !sameError(partErr, err) {
					t.Fatalf("the first %d bytes: %v, want %v", cut, partErr, err)
				}
			case partN != 0 || partErr != nil:
				t.Fatalf("the first %d bytes: %d, %v", cut, partN, partErr)
			}
		}
	})
}

// FuzzReader: a Reader returns what Parse finds in the whole, however the
// stream is cut into reads.
func FuzzReader(f *testing.F) {
	for _, v := range allVectors(f) {
		if len(v.wire) <= 1<<10 {
			f.Add(v.wire, []byte{1, 7, 0, 3}, uint16(1<<10))
		}
	}
	f.Fuzz(func(t *testing.T, b, cuts []byte, limit uint16) {
		var want []string
		wantErr := io.EOF
		for rest := b; len(rest) > 0; {
			_, n, err := protocol.Parse(rest, int(limit))
			if err == nil && n == 0 {
				err = io.ErrUnexpectedEOF
			}
			if err != nil {
				wantErr = err
				break
			}
			want = append(want, string(rest[:n]))
			rest = rest[n:]
		}
		got, err := readFrames(&cutReader{b, cuts}, int(limit))
		if !slices.Equal(got, want) || !sameError(err, wantErr) {
			t.Fatalf("got %q and %v, want %q and %v", got, err, want, wantErr)
		}
	})
}

// cutReader returns b in pieces of the sizes in cuts, and then the rest.
type cutReader struct{ b, cuts []byte }

func (r *cutReader) Read(p []byte) (int, error) {
	if len(r.b) == 0 {
		return 0, io.EOF
	}
	n := len(r.b)
	if len(r.cuts) > 0 {
		n = min(n, max(1, int(r.cuts[0])))
		r.cuts = r.cuts[1:]
	}
	n = copy(p, r.b[:n])
	r.b = r.b[n:]
	return n, nil
}

// FuzzSendCodec: the hand-written codec and the generated one agree on any
// body of a SEND, and on the MESSAGE and the SENT that come of it.
func FuzzSendCodec(f *testing.F) {
	for _, v := range allVectors(f) {
		for b := v.wire; len(b) > 0; {
			frame, n, err := protocol.Parse(b, v.limit)
			if err != nil || n == 0 {
				break
			}
			if n <= 1<<10 {
				f.Add(bytes.Clone(frame.Body), uint64(1), int64(1767225600000))
			}
			b = b[n:]
		}
	}
	f.Fuzz(func(t *testing.T, body []byte, seq uint64, timeMs int64) {
		checkParseSend(t, body)
		send := new(pb.Send)
		if protocol.ParseSend(body, send) != nil {
			return
		}
		checkMessage(t, &pb.Message{
			Conversation: send.Conversation, Seq: seq, Id: seq << 7, Sender: send.ClientId, ClientId: send.ClientId, TimeMs: timeMs,
			Kind: send.Kind, ContentType: send.ContentType, Body: send.Body, Count: seq, SenderCount: seq / 3,
		})
		checkSent(t, &pb.Sent{Seq: seq, Id: seq << 7, TimeMs: timeMs, Duplicate: seq%2 == 1})
		stored := new(pb.Message) // any body may be one of a stored message, and keeps its unknown fields
		if proto.Unmarshal(body, stored) == nil {
			checkMessage(t, stored)
		}
	})
}

// FuzzIDs: the id of a direct conversation gives back its users, in either
// order, and different pairs have different ids.
func FuzzIDs(f *testing.F) {
	users := append(idCases(f, "user.good"), idCases(f, "user.bad.hex")...)
	for i, user := range users {
		f.Add(user, users[(i+1)%len(users)], "alice", "bob", protocol.DirectID(user, "bob"))
	}
	for _, id := range idCases(f, "conversation.bad.hex") {
		f.Add("a", "b", "a", "b", id)
	}
	f.Fuzz(func(t *testing.T, a, b, c, d, any string) {
		id := protocol.DirectID(a, b)
		if id != protocol.DirectID(b, a) {
			t.Fatalf("%q and %q have two ids", a, b)
		}
		valid := protocol.CheckID("a", a) == nil && protocol.CheckID("b", b) == nil && a != b
		x, y, err := protocol.ParseDirect(id)
		if valid != (err == nil) {
			t.Fatalf("ParseDirect(%q): %v", id, err)
		}
		if valid {
			if x != min(a, b) || y != max(a, b) || len(id) > protocol.MaxConversationID {
				t.Fatalf("%q holds %q and %q", id, x, y)
			}
			if peer, ok := protocol.Peer(id, a); !ok || peer != b {
				t.Fatalf("Peer(%q, %q) = %q, %v", id, a, peer, ok)
			}
			samePair := a == c && b == d || a == d && b == c
			if validOther := protocol.CheckID("c", c) == nil && protocol.CheckID("d", d) == nil; validOther && samePair != (protocol.DirectID(c, d) == id) {
				t.Fatalf("%q is shared by (%q %q) and (%q %q)", id, a, b, c, d)
			}
		}
		if x, y, err := protocol.ParseDirect(any); err == nil && protocol.DirectID(x, y) != any {
			t.Fatalf("%q is an id of %q and %q, but so is %q", any, x, y, protocol.DirectID(x, y))
		}
		if err := protocol.CheckID("any", any); err == nil && strings.Contains(any, ":") {
			t.Fatalf("%q is a user id", any)
		}
	})
}
