package protocol

import (
	"encoding/binary"
	"math"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/godwit-im/godwit/protocol/pb"
)

// HeaderSize is the length of a frame header in bytes.
const HeaderSize = 8

// MaxBody is the longest body that the header's 24-bit length can express, in
// bytes. What a peer accepts is much less: see Limits.
const MaxBody = 1<<24 - 1

// Version is the only protocol version so far. CONNECT offers a range and the
// server picks, so a later server can speak several.
const Version = 1

// Frame is one frame. Body aliases the buffer it was parsed from and is valid
// as long as that buffer is.
type Frame struct {
	Type    Type
	Request uint32
	Body    []byte
}

// Parse reads the frame at the start of b. It returns the frame and its whole
// length in bytes, or a length of 0 and no error when b holds only a part of
// it. A body longer than maxBody is an error as soon as the header is there,
// before any of the body has arrived. Parse does not allocate on success, and
// the frame's Body aliases b.
func Parse(b []byte, maxBody int) (f Frame, n int, err error) {
	if len(b) < HeaderSize {
		return Frame{}, 0, nil
	}
	size := bodySize(b)
	if size > maxBody {
		return Frame{}, 0, tooLarge(size, maxBody, b)
	}
	if len(b) < HeaderSize+size {
		return Frame{}, 0, nil
	}
	n = HeaderSize + size
	return Frame{
		Type:    Type(b[3]),
		Request: binary.BigEndian.Uint32(b[4:]),
		Body:    b[HeaderSize:n:n],
	}, n, nil
}

// bodySize is the length that the header at the start of b declares.
func bodySize(b []byte) int { return int(binary.BigEndian.Uint32(b) >> 8) }

// AppendHeader appends a frame header to dst. size is the body's length; one
// over MaxBody is a defect of the caller and panics.
func AppendHeader(dst []byte, t Type, request uint32, size int) []byte {
	if size < 0 || size > MaxBody {
		panic("protocol: frame body size out of range")
	}
	dst = binary.BigEndian.AppendUint32(dst, uint32(size)<<8|uint32(t))
	return binary.BigEndian.AppendUint32(dst, request)
}

// AppendFrame appends a whole frame to dst, copying body.
func AppendFrame(dst []byte, t Type, request uint32, body []byte) []byte {
	return append(AppendHeader(dst, t, request, len(body)), body...)
}

// AppendProto appends a frame whose body is m's encoding to dst. m must be
// valid to encode (its strings UTF-8); a message that isn't, or whose encoding
// is longer than MaxBody, is a defect of the caller and panics. Text that came
// from a peer has been checked before it gets here.
func AppendProto(dst []byte, t Type, request uint32, m proto.Message) []byte {
	start := len(dst)
	dst = append(dst, make([]byte, HeaderSize)...)
	dst, err := proto.MarshalOptions{}.MarshalAppend(dst, m)
	if err != nil {
		panic("protocol: " + err.Error())
	}
	AppendHeader(dst[start:start:len(dst)], t, request, len(dst)-start-HeaderSize)
	return dst
}

// AppendError appends the ERROR frame for err to dst: e's own code where err
// is or wraps an *Error, CODE_INTERNAL with a fixed text otherwise, so that
// nothing about the server's inside leaks. The text is cut to MaxErrorText and
// made valid UTF-8.
func AppendError(dst []byte, request uint32, err error) []byte {
	e := AsError(err)
	return AppendProto(dst, TypeError, request, &pb.Error{
		Code:         e.Code,
		Text:         fitText(e.Text),
		Retryable:    e.Code.Retryable(),
		RetryAfterMs: retryAfterMs(e.RetryAfter),
		ByDevice:     e.ByDevice,
		ByPlatform:   e.ByPlatform,
	})
}

// fitText makes text fit for a message: it may quote bytes of the peer.
func fitText(text string) string {
	if len(text) > MaxErrorText {
		text = text[:MaxErrorText]
	}
	return strings.ToValidUTF8(text, "")
}

func retryAfterMs(d time.Duration) uint32 {
	return uint32(min(max(d.Milliseconds(), 0), math.MaxUint32))
}
