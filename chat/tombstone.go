package chat

import (
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/godwit-im/godwit/msgstore"
	"github.com/godwit-im/godwit/protocol"
	"github.com/godwit-im/godwit/protocol/pb"
)

// The numbers of Message's fields.
const (
	fieldExpiresMs = 15
	fieldState     = 19
)

// Expired reports whether a stored message's time to live is over at nowMs
// (Unix milliseconds) and it is not a tombstone yet: to readers it is one, see
// Tombstone. It decodes nothing and allocates nothing.
func Expired(wire []byte, nowMs int64) bool {
	if !mayExpire(wire) {
		return false
	}
	var expires, state uint64
	for len(wire) > 0 {
		num, typ, n := protowire.ConsumeTag(wire)
		if n < 0 {
			return false
		}
		wire = wire[n:]
		switch typ {
		case protowire.VarintType:
			var v uint64
			v, n = protowire.ConsumeVarint(wire)
			switch num {
			case fieldExpiresMs:
				expires = v
			case fieldState:
				state = v
			}
		case protowire.BytesType:
			_, n = protowire.ConsumeBytes(wire)
		default:
			n = protowire.ConsumeFieldValue(num, typ, wire)
		}
		if n < 0 {
			return false
		}
		wire = wire[n:]
	}
	return state == 0 && isOver(int64(expires), nowMs)
}

// mayExpire reports whether a stored message has a time to live. Hardly any
// has, and every one that is read is asked, so this goes by what
// protocol.AppendMessage makes: fields in the order of their numbers, those up to
// expires_ms with tags of one byte.
func mayExpire(wire []byte) bool {
	const tag = fieldExpiresMs << 3
	for i := 0; i < len(wire) && wire[i] <= tag; {
		if wire[i] == tag {
			return true
		}
		isBytes := protowire.Type(wire[i]&7) == protowire.BytesType
		var v, shift uint64
		for i++; i < len(wire) && wire[i] >= 0x80 && shift < 63; i++ {
			v |= uint64(wire[i]&0x7f) << shift
			shift += 7
		}
		if i == len(wire) {
			return true // cut off
		}
		v |= uint64(wire[i]) << shift
		i++
		if isBytes {
			if v > uint64(len(wire)-i) {
				return true
			}
			i += int(v)
		}
	}
	return false
}

// isOver reports whether a time to live that ends at expiresMs, 0 for never, is
// over at nowMs.
func isOver(expiresMs, nowMs int64) bool { return expiresMs != 0 && expiresMs <= nowMs }

// Tombstone returns how a stored message is shown to somebody for whom it is
// gone, in the encoding of a Message: without what it said, and with its place,
// sender, time and counts. One that is a tombstone already stays what it is. The
// result is the caller's.
func Tombstone(wire []byte, state pb.MessageState) ([]byte, error) {
	m := &pb.Message{}
	if err := proto.Unmarshal(wire, m); err != nil {
		return nil, fmt.Errorf("decode message: %w", err)
	}
	if m.State == pb.MessageState_MESSAGE_STATE_NORMAL {
		empty(m, state)
	}
	return protocol.AppendMessage(nil, m), nil
}

// empty takes from m what it says.
func empty(m *pb.Message, state pb.MessageState) {
	m.State = state
	m.ContentType, m.Body = "", nil
	m.Mentions, m.MentionAll = nil, false
	m.Reactions = nil
}

// bury makes a tombstone of the message m, which is stored and none yet, and of
// the edit that its body is from, and forgets what was kept of it for those who
// left. m is as it will be but for what it says: changed_seq and recalled_by are
// the caller's. Its reactions keep their rows
// until it is removed itself: there may be many, and nobody is told of them any
// more.
func bury(tx *msgstore.Tx, index uint64, m *pb.Message, state pb.MessageState) error {
	if err := tx.DropMentions(index, m.Conversation, m.Seq, m.Mentions, m.MentionAll); err != nil {
		return err
	}
	if m.ExpiresMs != 0 {
		if err := tx.DropExpiry(index, m.Conversation, m.Seq, m.ExpiresMs); err != nil {
			return err
		}
	}
	if err := tx.DropReplaced(index, m.Conversation, m.Seq); err != nil {
		return err
	}
	empty(m, state)
	if err := rewrite(tx, index, m); err != nil {
		return err
	}
	if err := putGone(tx, index, m, state == pb.MessageState_MESSAGE_STATE_RECALLED); err != nil {
		return err
	}
	if m.EditedSeq == 0 {
		return nil
	}
	return silence(tx, index, m.Conversation, m.EditedSeq, state)
}

// putGone notes that m is gone, by an event or when its time is over.
func putGone(tx *msgstore.Tx, index uint64, m *pb.Message, recalled bool) error {
	return tx.PutGone(index, m.Conversation, m.Seq, msgstore.Gone{
		Sender: m.Sender, Counted: counts(m), ExpiresMs: m.ExpiresMs, Recalled: recalled,
	})
}

// silence takes from an edit that a later event outdates what it says, whom it
// mentions included. Who looks for what is new finds that event too.
func silence(tx *msgstore.Tx, index uint64, conversation string, seq uint64, state pb.MessageState) error {
	edit, err := readMessage(tx.Message, conversation, seq)
	if err != nil {
		return err
	}
	if err := tx.DropMentions(index, conversation, seq, edit.Mentions, edit.MentionAll); err != nil {
		return err
	}
	empty(edit, state)
	return rewrite(tx, index, edit)
}

func rewrite(tx *msgstore.Tx, index uint64, m *pb.Message) error {
	return tx.Rewrite(index, m, protocol.AppendMessage(nil, m))
}
