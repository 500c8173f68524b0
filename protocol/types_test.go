package protocol_test

import (
	"slices"
	"testing"

	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/godwit-im/godwit/protocol"
	"github.com/godwit-im/godwit/protocol/pb"
)

// allTypes returns every known frame type.
func allTypes() []protocol.Type {
	var types []protocol.Type
	for n := range 256 {
		if t := protocol.Type(n); t.String()[0] < 'a' {
			types = append(types, t)
		}
	}
	return types
}

// unsetField names a field of m, or of a message in it, that has its zero
// value; "" where there is none.
func unsetField(m protoreflect.Message) protoreflect.FullName {
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		fd := fields.Get(i)
		if !m.Has(fd) {
			if one := fd.ContainingOneof(); one != nil && m.WhichOneof(one) != nil {
				continue
			}
			return fd.FullName()
		}
		if fd.Kind() != protoreflect.MessageKind {
			continue
		}
		inner := m.Get(fd)
		if !fd.IsList() {
			if unset := unsetField(inner.Message()); unset != "" {
				return unset
			}
			continue
		}
		if unset := unsetField(inner.List().Get(0).Message()); unset != "" {
			return unset
		}
	}
	return ""
}

func TestTypes(t *testing.T) {
	types := allTypes()
	if len(types) != 53 {
		t.Errorf("%d frame types, want 53", len(types))
	}
	for _, typ := range types {
		if typ.IsRequest() {
			if next := typ + 1; next.IsRequest() || !slices.Contains(types, next) {
				t.Errorf("%v is not followed by its answer", typ)
			}
		}
	}
	if got := protocol.Type(0x7f).String(); got != "type(0x7f)" {
		t.Errorf("got %q", got)
	}
	if protocol.Type(0x7f).NewBody() != nil || protocol.TypePing.NewBody() != nil {
		t.Error("a type without a body has one")
	}
	a, b := protocol.TypeSend.NewBody(), protocol.TypeSend.NewBody()
	a.(*pb.Send).ClientId = "mine"
	if b.(*pb.Send).ClientId != "" {
		t.Error("two bodies are one")
	}
}

func TestCheckFromClient(t *testing.T) {
	client := map[protocol.Type]bool{ // and whether request id 0 is fine
		protocol.TypeConnect: false, protocol.TypeRenew: false, protocol.TypeSend: false, protocol.TypePull: false,
		protocol.TypeSync: false, protocol.TypeMark: false, protocol.TypeWho: false,
		protocol.TypeGroup: false, protocol.TypeMembers: false, protocol.TypeReaders: false, protocol.TypeReactors: false,
		protocol.TypeInfo: false, protocol.TypeSettings: false, protocol.TypeDelete: false, protocol.TypeContact: false,
		protocol.TypeContacts: false, protocol.TypeAccount: false, protocol.TypeSubscribe: false, protocol.TypeSignal: false,
		protocol.TypeDevices: false, protocol.TypeEnd: false,
		protocol.TypePing: true, protocol.TypePong: true, protocol.TypeBye: true,
	}
	for n := range 256 {
		typ := protocol.Type(n)
		zeroFine, sends := client[typ]
		want, wantZero := pb.Code_CODE_UNSPECIFIED, pb.Code_CODE_UNSPECIFIED
		if !sends {
			want, wantZero = pb.Code_CODE_UNKNOWN_TYPE, pb.Code_CODE_UNKNOWN_TYPE
		} else if !zeroFine {
			wantZero = pb.Code_CODE_BAD_FRAME
		}
		if got := protocol.CodeOf(protocol.CheckFromClient(protocol.Frame{Type: typ, Request: 1})); got != want {
			t.Errorf("%v with request id 1: %v, want %v", typ, got, want)
		}
		if got := protocol.CodeOf(protocol.CheckFromClient(protocol.Frame{Type: typ})); got != wantZero {
			t.Errorf("%v with request id 0: %v, want %v", typ, got, wantZero)
		}
	}
}
