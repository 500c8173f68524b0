package protocol

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/godwit-im/godwit/protocol/pb"
)

// Error is a refusal that crosses the wire: a stable code and a text that is
// fit for the eyes of the peer. Test for a code with CodeOf.
type Error struct {
	Code Code
	Text string
	// RetryAfter is how long the peer should wait; 0 leaves it to its backoff.
	RetryAfter time.Duration
	// ByDevice and ByPlatform are the device that a session had to make room
	// for, or that ended it. Empty where it is about something else.
	ByDevice, ByPlatform string
}

// Code is pb.Code with the properties that every code has.
type Code = pb.Code

// Error implements error.
func (e *Error) Error() string {
	return fmt.Sprintf("%s (%d): %s", e.Code.Name(), int(e.Code), e.Text)
}

// Errorf makes an Error. The text goes to the peer: no secrets, no bodies.
func Errorf(code Code, format string, args ...any) *Error {
	return &Error{Code: code, Text: fmt.Sprintf(format, args...)}
}

// After returns a copy of e that asks the peer to wait for d, or up to a half
// longer, so that those who were refused together don't return together.
func (e *Error) After(d time.Duration) *Error {
	c := *e
	c.RetryAfter = d + rand.N(d/2+1)
	return &c
}

// By returns a copy of e that names a device, an id, and its platform.
func (e *Error) By(device, platform string) *Error {
	c := *e
	c.ByDevice, c.ByPlatform = device, platform
	return &c
}

// AsError returns the *Error that err is or wraps, or an INTERNAL one.
func AsError(err error) *Error {
	var e *Error
	if errors.As(err, &e) {
		return e
	}
	return &Error{Code: pb.Code_CODE_INTERNAL, Text: "internal error"}
}

// CodeOf is the code of the *Error that err is or wraps; CODE_UNSPECIFIED for
// nil, CODE_INTERNAL for any other error.
func CodeOf(err error) Code {
	if err == nil {
		return pb.Code_CODE_UNSPECIFIED
	}
	return AsError(err).Code
}

// tooLarge explains an oversized length, with a hint where the bytes are
// plainly those of another protocol, a client's or a server's. A length that
// these bytes stand for is over every limit in use.
func tooLarge(size, maxBody int, b []byte) error {
	switch {
	case bytes.HasPrefix(b, []byte{0x16, 0x03}), bytes.HasPrefix(b, []byte{0x15, 0x03}): // handshake, alert
		return Errorf(pb.Code_CODE_BAD_FRAME, "this looks like TLS; this port speaks Godwit's protocol over plain TCP")
	case LooksLikeHTTP(b):
		return Errorf(pb.Code_CODE_BAD_FRAME, "this looks like HTTP; this port speaks Godwit's protocol over raw TCP")
	}
	return Errorf(pb.Code_CODE_FRAME_TOO_LARGE, "frame body of %d bytes, the limit is %d", size, maxBody)
}

// LooksLikeHTTP reports whether b begins as an HTTP request or response does.
// Parse has refused such bytes; a server may answer them in HTTP.
func LooksLikeHTTP(b []byte) bool {
	for _, start := range []string{"GET ", "POST", "HEAD", "PUT ", "OPTI", "DELE", "CONN", "PATC", "TRAC", "PRI ", "HTTP"} {
		if bytes.HasPrefix(b, []byte(start)) {
			return true
		}
	}
	return false
}
