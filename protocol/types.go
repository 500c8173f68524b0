package protocol

import (
	"fmt"

	"google.golang.org/protobuf/proto"

	"github.com/godwit-im/godwit/protocol/pb"
)

// Type is a frame's type. Numbers are stable: one is never given another
// meaning.
type Type uint8

// The frame types. C is the client, S the server. A request is answered by
// the type below it or by ERROR, with the same request id. A frame that is
// its header alone may yet have a body, which today's receivers ignore.
const (
	TypeConnect   Type = 0x01 // C→S pb.Connect; must be the first frame
	TypeConnected Type = 0x02 // S→C pb.Connected
	TypePing      Type = 0x03 // either way; header alone
	TypePong      Type = 0x04 // the answer, header alone, with the ping's request id
	TypeBye       Type = 0x05 // C→S header alone: the client ends the session; no answer
	TypeRenew     Type = 0x06 // C→S pb.Renew
	TypeRenewed   Type = 0x07 // S→C pb.Renewed
	TypeGoAway    Type = 0x08 // S→C pb.GoAway, push
	TypeError     Type = 0x09 // S→C pb.Error

	TypeSend    Type = 0x10 // C→S pb.Send
	TypeSent    Type = 0x11 // S→C pb.Sent
	TypePull    Type = 0x12 // C→S pb.Pull
	TypePulled  Type = 0x13 // S→C pb.Pulled
	TypeSync    Type = 0x14 // C→S pb.Sync
	TypeSynced  Type = 0x15 // S→C pb.Synced
	TypeMark    Type = 0x16 // C→S pb.Mark
	TypeMarked  Type = 0x17 // S→C pb.Marked
	TypeWho     Type = 0x18 // C→S pb.Who
	TypePresent Type = 0x19 // S→C pb.Present

	TypeMessage Type = 0x40 // S→C pb.Message, push
	TypeReceipt Type = 0x41 // S→C pb.Receipt, push
	TypeHeads   Type = 0x42 // S→C pb.Heads, push
)

var typeInfo = map[Type]struct {
	name string
	body proto.Message // an empty one; nil where the header is all there is
}{
	TypeConnect:   {"CONNECT", (*pb.Connect)(nil)},
	TypeConnected: {"CONNECTED", (*pb.Connected)(nil)},
	TypePing:      {"PING", nil},
	TypePong:      {"PONG", nil},
	TypeBye:       {"BYE", nil},
	TypeRenew:     {"RENEW", (*pb.Renew)(nil)},
	TypeRenewed:   {"RENEWED", (*pb.Renewed)(nil)},
	TypeGoAway:    {"GOAWAY", (*pb.GoAway)(nil)},
	TypeError:     {"ERROR", (*pb.Error)(nil)},
	TypeSend:      {"SEND", (*pb.Send)(nil)},
	TypeSent:      {"SENT", (*pb.Sent)(nil)},
	TypePull:      {"PULL", (*pb.Pull)(nil)},
	TypePulled:    {"PULLED", (*pb.Pulled)(nil)},
	TypeSync:      {"SYNC", (*pb.Sync)(nil)},
	TypeSynced:    {"SYNCED", (*pb.Synced)(nil)},
	TypeMark:      {"MARK", (*pb.Mark)(nil)},
	TypeMarked:    {"MARKED", (*pb.Marked)(nil)},
	TypeWho:       {"WHO", (*pb.Who)(nil)},
	TypePresent:   {"PRESENT", (*pb.Present)(nil)},
	TypeMessage:   {"MESSAGE", (*pb.Message)(nil)},
	TypeReceipt:   {"RECEIPT", (*pb.Receipt)(nil)},
	TypeHeads:     {"HEADS", (*pb.Heads)(nil)},
}

// String is the type's name in the documentation, "SEND".
func (t Type) String() string {
	if info, ok := typeInfo[t]; ok {
		return info.name
	}
	return fmt.Sprintf("type(0x%02x)", uint8(t))
}

// NewBody returns an empty message of the kind that is t's body, or nil where
// the header is all there is and for an unknown type.
func (t Type) NewBody() proto.Message {
	body := typeInfo[t].body
	if body == nil {
		return nil
	}
	return body.ProtoReflect().New().Interface()
}

// IsRequest reports whether t is a client's request: one that is answered.
func (t Type) IsRequest() bool {
	switch t {
	case TypeConnect, TypePing, TypeRenew, TypeSend, TypePull, TypeSync, TypeMark, TypeWho:
		return true
	}
	return false
}

// CheckFromClient returns an error where f's header is not one that a client
// sends: UNKNOWN_TYPE for a type that is unknown or the server's, BAD_FRAME for
// a request with request id 0, whose answer the client could not tell from a
// push. A PING may have any id. It does not look at the body.
func CheckFromClient(f Frame) error {
	switch {
	case f.Type == TypePing, f.Type == TypePong, f.Type == TypeBye:
		return nil
	case !f.Type.IsRequest():
		return Errorf(pb.Code_CODE_UNKNOWN_TYPE, "%v is not a frame that a client sends", f.Type)
	case f.Request == 0:
		return Errorf(pb.Code_CODE_BAD_FRAME, "%v needs a request id other than 0", f.Type)
	}
	return nil
}
