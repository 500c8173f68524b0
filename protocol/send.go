package protocol

import (
	"bytes"
	"strings"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/godwit-im/godwit/protocol/pb"
)

// The tags of Send's fields: number<<3 | wire type.
const (
	sendConversation = 1<<3 | uint64(protowire.BytesType)
	sendClientID     = 2<<3 | uint64(protowire.BytesType)
	sendKind         = 3<<3 | uint64(protowire.VarintType)
	sendContentType  = 4<<3 | uint64(protowire.BytesType)
	sendBody         = 5<<3 | uint64(protowire.BytesType)
	sendReplySeq     = 6<<3 | uint64(protowire.VarintType)
	sendMentions     = 7<<3 | uint64(protowire.BytesType)
	sendMentionAll   = 8<<3 | uint64(protowire.VarintType)
	sendTTL          = 9<<3 | uint64(protowire.VarintType)
	sendFlags        = 10<<3 | uint64(protowire.VarintType)
	sendTarget       = 11<<3 | uint64(protowire.VarintType)
	sendRemove       = 12<<3 | uint64(protowire.VarintType)
)

// ParseSend decodes the body of a SEND into m, all of whose fields it sets. It
// accepts what proto.Unmarshal accepts and skips unknown fields. The error is
// MALFORMED_BODY.
//
// Nothing in m aliases body: a SEND outlives the buffer that it arrived in. So
// ParseSend allocates twice, once for m.Body and once for the three strings
// together; keeping one of them keeps all three. Mentions are allocated one by
// one.
func ParseSend(body []byte, m *pb.Send) error {
	var conversation, clientID, contentType, content []byte
	var mentions []string
	var kind, replySeq, mentionAll, ttl, flags, target, remove uint64
	for b := body; len(b) > 0; {
		num, typ, n := protowire.ConsumeTag(b)
		if n < 0 || !num.IsValid() {
			return malformed(TypeSend, (*pb.Send)(nil))
		}
		b = b[n:]
		switch protowire.EncodeTag(num, typ) {
		case sendConversation:
			conversation, n = consumeString(b)
		case sendClientID:
			clientID, n = consumeString(b)
		case sendKind:
			kind, n = protowire.ConsumeVarint(b)
		case sendContentType:
			contentType, n = consumeString(b)
		case sendBody:
			content, n = protowire.ConsumeBytes(b)
		case sendReplySeq:
			replySeq, n = protowire.ConsumeVarint(b)
		case sendMentions:
			var user []byte
			if user, n = consumeString(b); n >= 0 {
				mentions = append(mentions, string(user))
			}
		case sendMentionAll:
			mentionAll, n = protowire.ConsumeVarint(b)
		case sendTTL:
			ttl, n = protowire.ConsumeVarint(b)
		case sendFlags:
			flags, n = protowire.ConsumeVarint(b)
		case sendTarget:
			target, n = protowire.ConsumeVarint(b)
		case sendRemove:
			remove, n = protowire.ConsumeVarint(b)
		default:
			n = protowire.ConsumeFieldValue(num, typ, b)
		}
		if n < 0 {
			return malformed(TypeSend, (*pb.Send)(nil))
		}
		b = b[n:]
	}

	var all strings.Builder
	all.Grow(len(conversation) + len(clientID) + len(contentType))
	all.Write(conversation)
	all.Write(clientID)
	all.Write(contentType)
	s := all.String()
	m.Conversation, s = s[:len(conversation)], s[len(conversation):]
	m.ClientId, m.ContentType = s[:len(clientID)], s[len(clientID):]
	m.Kind = pb.Kind(kind)
	m.Body = bytes.Clone(content)
	m.ReplySeq, m.Mentions, m.MentionAll = replySeq, mentions, mentionAll != 0
	m.TtlMs, m.Flags, m.Target, m.Remove = int64(ttl), uint32(flags), target, remove != 0
	return nil
}
