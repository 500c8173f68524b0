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

	TypeGroup       Type = 0x20 // C→S pb.GroupRequest
	TypeGrouped     Type = 0x21 // S→C pb.Grouped
	TypeMembers     Type = 0x22 // C→S pb.Members
	TypeMemberList  Type = 0x23 // S→C pb.MemberList
	TypeReaders     Type = 0x24 // C→S pb.Readers
	TypeReaderList  Type = 0x25 // S→C pb.ReaderList
	TypeReactors    Type = 0x26 // C→S pb.Reactors
	TypeReactorList Type = 0x27 // S→C pb.ReactorList
	TypeInfo        Type = 0x28 // C→S pb.Info
	TypeInformed    Type = 0x29 // S→C pb.Informed
	TypeSettings    Type = 0x2a // C→S pb.SetSettings
	TypeSet         Type = 0x2b // S→C pb.Set
	TypeDelete      Type = 0x2c // C→S pb.Delete
	TypeDeleted     Type = 0x2d // S→C pb.Deleted
	TypeContact     Type = 0x2e // C→S pb.ContactRequest
	TypeContacted   Type = 0x2f // S→C pb.Contacted
	TypeContacts    Type = 0x30 // C→S pb.Contacts
	TypeContactList Type = 0x31 // S→C pb.ContactList
	TypeAccount     Type = 0x32 // C→S pb.SetAccount
	TypeAccounted   Type = 0x33 // S→C pb.Accounted
	TypeSubscribe   Type = 0x34 // C→S pb.Subscribe
	TypeSubscribed  Type = 0x35 // S→C pb.Subscribed
	TypeSignal      Type = 0x36 // C→S pb.Signal
	TypeSignalled   Type = 0x37 // S→C pb.Signalled
	TypeDevices     Type = 0x38 // C→S pb.Devices
	TypeDeviceList  Type = 0x39 // S→C pb.DeviceList
	TypeEnd         Type = 0x3a // C→S pb.End
	TypeEnded       Type = 0x3b // S→C pb.Ended

	TypeMessage    Type = 0x40 // S→C pb.Message, push
	TypeReceipt    Type = 0x41 // S→C pb.Receipt, push
	TypeHeads      Type = 0x42 // S→C pb.Heads, push
	TypeState      Type = 0x43 // S→C pb.State, push
	TypePresence   Type = 0x44 // S→C pb.Presence, push
	TypeSignalFrom Type = 0x45 // S→C pb.SignalFrom, push
)

var typeInfo = map[Type]struct {
	name string
	body proto.Message // an empty one; nil where the header is all there is
}{
	TypeConnect:     {"CONNECT", (*pb.Connect)(nil)},
	TypeConnected:   {"CONNECTED", (*pb.Connected)(nil)},
	TypePing:        {"PING", nil},
	TypePong:        {"PONG", nil},
	TypeBye:         {"BYE", nil},
	TypeRenew:       {"RENEW", (*pb.Renew)(nil)},
	TypeRenewed:     {"RENEWED", (*pb.Renewed)(nil)},
	TypeGoAway:      {"GOAWAY", (*pb.GoAway)(nil)},
	TypeError:       {"ERROR", (*pb.Error)(nil)},
	TypeSend:        {"SEND", (*pb.Send)(nil)},
	TypeSent:        {"SENT", (*pb.Sent)(nil)},
	TypePull:        {"PULL", (*pb.Pull)(nil)},
	TypePulled:      {"PULLED", (*pb.Pulled)(nil)},
	TypeSync:        {"SYNC", (*pb.Sync)(nil)},
	TypeSynced:      {"SYNCED", (*pb.Synced)(nil)},
	TypeMark:        {"MARK", (*pb.Mark)(nil)},
	TypeMarked:      {"MARKED", (*pb.Marked)(nil)},
	TypeWho:         {"WHO", (*pb.Who)(nil)},
	TypePresent:     {"PRESENT", (*pb.Present)(nil)},
	TypeGroup:       {"GROUP", (*pb.GroupRequest)(nil)},
	TypeGrouped:     {"GROUPED", (*pb.Grouped)(nil)},
	TypeMembers:     {"MEMBERS", (*pb.Members)(nil)},
	TypeMemberList:  {"MEMBER_LIST", (*pb.MemberList)(nil)},
	TypeReaders:     {"READERS", (*pb.Readers)(nil)},
	TypeReaderList:  {"READER_LIST", (*pb.ReaderList)(nil)},
	TypeReactors:    {"REACTORS", (*pb.Reactors)(nil)},
	TypeReactorList: {"REACTOR_LIST", (*pb.ReactorList)(nil)},
	TypeInfo:        {"INFO", (*pb.Info)(nil)},
	TypeInformed:    {"INFORMED", (*pb.Informed)(nil)},
	TypeSettings:    {"SETTINGS", (*pb.SetSettings)(nil)},
	TypeSet:         {"SET", (*pb.Set)(nil)},
	TypeDelete:      {"DELETE", (*pb.Delete)(nil)},
	TypeDeleted:     {"DELETED", (*pb.Deleted)(nil)},
	TypeContact:     {"CONTACT", (*pb.ContactRequest)(nil)},
	TypeContacted:   {"CONTACTED", (*pb.Contacted)(nil)},
	TypeContacts:    {"CONTACTS", (*pb.Contacts)(nil)},
	TypeContactList: {"CONTACT_LIST", (*pb.ContactList)(nil)},
	TypeAccount:     {"ACCOUNT", (*pb.SetAccount)(nil)},
	TypeAccounted:   {"ACCOUNTED", (*pb.Accounted)(nil)},
	TypeSubscribe:   {"SUBSCRIBE", (*pb.Subscribe)(nil)},
	TypeSubscribed:  {"SUBSCRIBED", (*pb.Subscribed)(nil)},
	TypeSignal:      {"SIGNAL", (*pb.Signal)(nil)},
	TypeSignalled:   {"SIGNALLED", (*pb.Signalled)(nil)},
	TypeDevices:     {"DEVICES", (*pb.Devices)(nil)},
	TypeDeviceList:  {"DEVICE_LIST", (*pb.DeviceList)(nil)},
	TypeEnd:         {"END", (*pb.End)(nil)},
	TypeEnded:       {"ENDED", (*pb.Ended)(nil)},
	TypeMessage:     {"MESSAGE", (*pb.Message)(nil)},
	TypeReceipt:     {"RECEIPT", (*pb.Receipt)(nil)},
	TypeHeads:       {"HEADS", (*pb.Heads)(nil)},
	TypeState:       {"STATE", (*pb.State)(nil)},
	TypePresence:    {"PRESENCE", (*pb.Presence)(nil)},
	TypeSignalFrom:  {"SIGNAL_FROM", (*pb.SignalFrom)(nil)},
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
	case TypeConnect, TypePing, TypeRenew, TypeSend, TypePull, TypeSync, TypeMark, TypeWho,
		TypeGroup, TypeMembers, TypeReaders, TypeReactors, TypeInfo, TypeSettings, TypeDelete, TypeContact, TypeContacts, TypeAccount, TypeSubscribe, TypeSignal, TypeDevices, TypeEnd:
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
