package protocol

import (
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/godwit-im/godwit/protocol/pb"
)

// SizeSent is the length of m's encoding in bytes.
func SizeSent(m *pb.Sent) int {
	return sizeVarint(1, m.Seq) +
		sizeVarint(2, m.Id) +
		sizeVarint(3, uint64(m.TimeMs)) +
		sizeVarint(4, protowire.EncodeBool(m.Duplicate)) +
		len(m.ProtoReflect().GetUnknown())
}

// AppendSent appends m's encoding to dst: the same bytes as proto.Marshal. It
// allocates only where dst is too short.
func AppendSent(dst []byte, m *pb.Sent) []byte {
	dst = appendVarint(dst, 1, m.Seq)
	dst = appendVarint(dst, 2, m.Id)
	dst = appendVarint(dst, 3, uint64(m.TimeMs))
	dst = appendVarint(dst, 4, protowire.EncodeBool(m.Duplicate))
	return append(dst, m.ProtoReflect().GetUnknown()...)
}

// SentFrame appends the whole SENT frame that answers request to dst.
func SentFrame(dst []byte, request uint32, m *pb.Sent) []byte {
	return AppendSent(AppendHeader(dst, TypeSent, request, SizeSent(m)), m)
}
