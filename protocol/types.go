package protocol

import "fmt"

// Type is a frame's type. Numbers are stable: one is never given another
// meaning.
type Type uint8

// The frame types. C is the client, S the server. A request is answered by
// the type below it or by ERROR, with the same request id.
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

var typeNames = map[Type]string{
	TypeConnect: "CONNECT", TypeConnected: "CONNECTED",
	TypePing: "PING", TypePong: "PONG", TypeBye: "BYE",
	TypeRenew: "RENEW", TypeRenewed: "RENEWED",
	TypeGoAway: "GOAWAY", TypeError: "ERROR",
	TypeSend: "SEND", TypeSent: "SENT",
	TypePull: "PULL", TypePulled: "PULLED",
	TypeSync: "SYNC", TypeSynced: "SYNCED",
	TypeMark: "MARK", TypeMarked: "MARKED",
	TypeWho: "WHO", TypePresent: "PRESENT",
	TypeMessage: "MESSAGE", TypeReceipt: "RECEIPT", TypeHeads: "HEADS",
}

// String is the type's name in the documentation, "SEND".
func (t Type) String() string {
	if s, ok := typeNames[t]; ok {
		return s
	}
	return fmt.Sprintf("type(0x%02x)", uint8(t))
}
