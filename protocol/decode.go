package protocol

import (
	"google.golang.org/protobuf/proto"

	"github.com/godwit-im/godwit/protocol/pb"
)

// Decode decodes f's body into m, whose former contents are lost. The error is
// MALFORMED_BODY and names the frame's type. Nothing in m aliases f.Body:
// strings and byte slices are copies.
func Decode(f Frame, m proto.Message) error {
	if proto.Unmarshal(f.Body, m) != nil {
		return malformed(f.Type, m)
	}
	return nil
}

// malformed leaves out protobuf's own error text, which is meant to vary from
// one build to the next.
func malformed(t Type, m proto.Message) error {
	return Errorf(pb.Code_CODE_MALFORMED_BODY, "the body of %v is not a valid %s", t, m.ProtoReflect().Descriptor().FullName())
}
