package protocol

import (
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/godwit-im/godwit/protocol/pb"
)

// SizeMessage is the length of m's encoding in bytes.
func SizeMessage(m *pb.Message) int {
	return sizeKnown(m) + len(m.ProtoReflect().GetUnknown())
}

func sizeKnown(m *pb.Message) int {
	return sizeBytes(1, len(m.Conversation)) +
		sizeVarint(2, m.Seq) +
		sizeVarint(3, m.Id) +
		sizeBytes(4, len(m.Sender)) +
		sizeBytes(5, len(m.ClientId)) +
		sizeVarint(6, uint64(m.TimeMs)) +
		sizeVarint(7, uint64(m.Kind)) +
		sizeBytes(8, len(m.ContentType)) +
		sizeBytes(9, len(m.Body)) +
		sizeVarint(10, m.Count) +
		sizeVarint(11, m.SenderCount) +
		sizeVarint(12, m.ReplySeq) +
		sizeStrings(13, m.Mentions) +
		sizeBool(14, m.MentionAll) +
		sizeVarint(15, uint64(m.ExpiresMs)) +
		sizeVarint(16, uint64(m.Flags)) +
		sizeVarint(17, m.Target) +
		sizeBool(18, m.Remove) +
		sizeVarint(19, uint64(m.State)) +
		sizeVarint(20, m.ChangedSeq) +
		sizeVarint(21, uint64(m.EditedMs)) +
		sizeBytes(22, len(m.RecalledBy)) +
		sizeReactions(m.Reactions) +
		sizeVarint(24, m.ShownSeq) +
		sizeVarint(25, m.EditedSeq)
}

func sizeReactions(reactions []*pb.Reaction) (n int) {
	for _, r := range reactions {
		n += protowire.SizeTag(23) + protowire.SizeBytes(sizeReaction(r))
	}
	return n
}

func sizeReaction(r *pb.Reaction) int {
	return sizeBytes(1, len(r.Key)) + sizeVarint(2, r.Count) + sizeStrings(3, r.Users)
}

// AppendMessage appends m's encoding to dst: the same bytes as proto.Marshal.
// It does not check that m's strings are UTF-8, which ids and content types
// that were checked are. It allocates only where dst is too short.
func AppendMessage(dst []byte, m *pb.Message) []byte {
	return append(appendKnown(dst, m), m.ProtoReflect().GetUnknown()...)
}

func appendKnown(dst []byte, m *pb.Message) []byte {
	dst = appendString(dst, 1, m.Conversation)
	dst = appendVarint(dst, 2, m.Seq)
	dst = appendVarint(dst, 3, m.Id)
	dst = appendString(dst, 4, m.Sender)
	dst = appendString(dst, 5, m.ClientId)
	dst = appendVarint(dst, 6, uint64(m.TimeMs))
	dst = appendVarint(dst, 7, uint64(m.Kind))
	dst = appendString(dst, 8, m.ContentType)
	dst = appendBytes(dst, 9, m.Body)
	dst = appendVarint(dst, 10, m.Count)
	dst = appendVarint(dst, 11, m.SenderCount)
	dst = appendVarint(dst, 12, m.ReplySeq)
	dst = appendStrings(dst, 13, m.Mentions)
	dst = appendBool(dst, 14, m.MentionAll)
	dst = appendVarint(dst, 15, uint64(m.ExpiresMs))
	dst = appendVarint(dst, 16, uint64(m.Flags))
	dst = appendVarint(dst, 17, m.Target)
	dst = appendBool(dst, 18, m.Remove)
	dst = appendVarint(dst, 19, uint64(m.State))
	dst = appendVarint(dst, 20, m.ChangedSeq)
	dst = appendVarint(dst, 21, uint64(m.EditedMs))
	dst = appendString(dst, 22, m.RecalledBy)
	dst = appendReactions(dst, m.Reactions)
	dst = appendVarint(dst, 24, m.ShownSeq)
	return appendVarint(dst, 25, m.EditedSeq)
}

func appendReactions(dst []byte, reactions []*pb.Reaction) []byte {
	for _, r := range reactions {
		dst = protowire.AppendTag(dst, 23, protowire.BytesType)
		dst = protowire.AppendVarint(dst, uint64(sizeReaction(r)))
		dst = appendString(dst, 1, r.Key)
		dst = appendVarint(dst, 2, r.Count)
		dst = appendStrings(dst, 3, r.Users)
	}
	return dst
}

// MessageFrame appends the whole MESSAGE frame of m, a push, to dst. What
// follows its header, frame[len(dst)+HeaderSize:], is the stored form of m.
func MessageFrame(dst []byte, m *pb.Message) []byte {
	return AppendMessage(AppendHeader(dst, TypeMessage, 0, SizeMessage(m)), m)
}

// NewMessageFrame is MessageFrame for a message that was made here and so has
// no unknown fields: those would be left out. It allocates the frame and
// nothing else; that fields are not looked for keeps m off the heap.
func NewMessageFrame(m *pb.Message) []byte {
	size := sizeKnown(m)
	return appendKnown(AppendHeader(make([]byte, 0, HeaderSize+size), TypeMessage, 0, size), m)
}
