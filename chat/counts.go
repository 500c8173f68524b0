package chat

import (
	"fmt"

	"google.golang.org/protobuf/proto"

	"github.com/godwit-im/godwit/msgstore"
	"github.com/godwit-im/godwit/protocol"
	"github.com/godwit-im/godwit/protocol/pb"
)

// Every message carries two running counts: how many messages up to and with
// it count as unread for those who didn't write them, and how many of those its
// own sender wrote. In a direct conversation that tells, at any message and for
// either member, how many the other one wrote so far. A member's row keeps that
// number at its read cursor; what the other one wrote since is unread. In a
// system conversation the server writes, so all that counts is unread to the
// user.
//
// What retention removed is unread to nobody: it can't be read any more.

// ReadFunc returns the encoding of a message that is kept; one that isn't is an
// error.
type ReadFunc func(conversation string, seq uint64) (wire []byte, err error)

// Unread is how many messages of a conversation user has yet to read, given its
// head and user's row. Where retention has overtaken the read cursor
// it reads the oldest message that is kept, and no other.
func Unread(read ReadFunc, head msgstore.Head, row msgstore.Member, conversation, user string) (uint64, error) {
	seen := row.ReadOthers
	if row.ReadSeq+1 < head.MinSeq {
		gone, err := othersUpTo(read, head, conversation, user, head.MinSeq-1)
		if err != nil {
			return 0, err
		}
		seen = max(seen, gone)
	}
	others := headOthers(head, conversation, user)
	if until := row.Membership.GetUntilSeq(); until > 0 && until < head.Seq {
		var err error
		if others, err = othersUpTo(read, head, conversation, user, until); err != nil {
			return 0, err
		}
	}
	return others - min(others, seen), nil // a row may be newer than the head it is read with
}

// othersUpTo is how many messages with a seq of 1 to seq somebody else than
// user wrote. Below the oldest message that is kept that is no longer known
// seq by seq: everything that was removed counts.
func othersUpTo(read ReadFunc, head msgstore.Head, conversation, user string, seq uint64) (uint64, error) {
	if seq >= head.Seq || head.MinSeq > head.Seq {
		return headOthers(head, conversation, user), nil
	}
	m, err := readMessage(read, conversation, max(seq, head.MinSeq))
	if err != nil {
		return 0, err
	}
	mine := m.Sender == user
	others := m.SenderCount
	switch {
	case protocol.KindOf(conversation) != protocol.Direct:
		others = m.Count
	case mine:
		others = m.Count - m.SenderCount
	}
	if seq < head.MinSeq && countable(m) && (!mine || protocol.KindOf(conversation) != protocol.Direct) {
		others-- // m itself is kept
	}
	return others, nil
}

// countable reports whether a message counts as unread for those who did not
// write it. In a system conversation there is nothing but notices.
func countable(m *pb.Message) bool {
	switch m.Kind {
	case pb.Kind_KIND_EDIT, pb.Kind_KIND_RECALL, pb.Kind_KIND_REACTION:
		return false
	case pb.Kind_KIND_NOTICE:
		return protocol.KindOf(m.Conversation) == protocol.System
	}
	return m.Flags&uint32(pb.Flag_FLAG_UNCOUNTED) == 0
}

// headOthers is how many countable messages up to the head user did not write.
func headOthers(head msgstore.Head, conversation, user string) uint64 {
	if protocol.KindOf(conversation) != protocol.Direct {
		return head.Count
	}
	return head.Others(user)
}

func readMessage(read ReadFunc, conversation string, seq uint64) (*pb.Message, error) {
	wire, err := read(conversation, seq)
	if err != nil {
		return nil, err
	}
	m := &pb.Message{}
	if err := proto.Unmarshal(wire, m); err != nil {
		return nil, fmt.Errorf("decode message at seq %d: %w", seq, err)
	}
	return m, nil
}
