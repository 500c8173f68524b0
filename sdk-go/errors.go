package godwit

import (
	"errors"
	"fmt"

	"github.com/godwit-im/godwit/protocol"
	"github.com/godwit-im/godwit/protocol/pb"
)

var (
	// ErrClosed is returned by every method of a client that is closed. If
	// it ended by itself, the error wraps the reason too.
	ErrClosed = errors.New("godwit: client closed")

	// ErrOutboxFull is returned by Send when Options.OutboxLimit messages are
	// waiting for their ack.
	ErrOutboxFull = errors.New("godwit: outbox full")

	// ErrNotConnected is the error of a call that is not to be repeated and for
	// which there was no connection, or none any more when its answer was due: it
	// may have been done.
	ErrNotConnected = errors.New("godwit: not connected")

	// ErrTooManyCalls is the error of a call that was made while 1,000 were
	// waiting.
	ErrTooManyCalls = errors.New("godwit: too many calls")

	// ErrOtherUser ends a client whose Store, or whose earlier token, belongs
	// to another user.
	ErrOtherUser = errors.New("godwit: the token is another user's")

	// ErrStore ends a client whose Store failed: it could no longer promise
	// to hand on each message once, or to send what it accepted.
	ErrStore = errors.New("godwit: store failed")
)

// Code is a code of the server's errors, such as pb.Code_CODE_NOT_A_MEMBER.
// The table is in docs/PROTOCOL.md.
type Code = protocol.Code

// CodeOf is the code of the refusal of the server that err is or wraps, and 0
// if it is none.
func CodeOf(err error) Code {
	var e *protocol.Error
	if errors.As(err, &e) {
		return e.Code
	}
	return pb.Code_CODE_UNSPECIFIED
}

// SendError is the final error of an Outgoing: the server refused the message
// and would refuse it again. It has left the outbox.
type SendError struct {
	Conversation string
	ClientID     string
	Err          error // wraps a *protocol.Error
}

// Error implements error.
func (e *SendError) Error() string {
	return fmt.Sprintf("godwit: message %s to %s refused: %v", e.ClientID, e.Conversation, e.Err)
}

// Unwrap returns the cause.
func (e *SendError) Unwrap() error { return e.Err }

// EndedError ends a client whose session the server ended on behalf of a device:
// REPLACED, because that one had to be let in, or DEVICE_ENDED, because it asked
// for it. State.Err and Client.Err are one.
type EndedError struct {
	Device, Platform string // of the user, empty if the server does not say
	Err              *protocol.Error
}

// Error implements error.
func (e *EndedError) Error() string {
	if e.Device == "" {
		return e.Err.Error()
	}
	return fmt.Sprintf("%v, by device %s (%s)", e.Err, e.Device, e.Platform)
}

// Unwrap returns the server's error.
func (e *EndedError) Unwrap() error { return e.Err }
