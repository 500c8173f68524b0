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
// What retention removed is unread to nobody: it can't be read any more. What
// was recalled or has expired goes on counting in those numbers, which every
// later message carries, and is taken off what is unread.

// counts reports whether a message counts as unread for those who did not write
// it. In a system conversation the notices do, which are all that there is.
func counts(m *pb.Message) bool {
	if m.Kind == pb.Kind_KIND_NOTICE {
		return protocol.KindOf(m.Conversation) == protocol.System
	}
	return hasContent(m.Kind) && m.Flags&uint32(pb.Flag_FLAG_UNCOUNTED) == 0
}

// Count is what a user has yet to read of a conversation.
type Count struct {
	Unread     uint64
	MentionSeq uint64 // the first message of that which mentions them; 0 if none does
	// What it is of: the messages up to HeadSeq, the last one that the user may read,
	// with what became of them by TimeMs (Unix milliseconds; 0: it was not counted).
	HeadSeq uint64
	TimeMs  int64
}

// GoneFunc returns how many messages in (after, upto] counted as unread, were
// gone at a moment, and were not sent by except.
type GoneFunc func(conversation, except string, after, upto uint64, at msgstore.Moment) (uint64, error)

// ReadFunc returns the encoding of a message that is kept; one that isn't is an
// error.
type ReadFunc func(conversation string, seq uint64) (wire []byte, err error)

// Unread is how many messages of a conversation user has yet to read, given its
// head and user's row, at nowMs. It depends on nothing else: what was recalled or
// expired later than that counts. Where retention has overtaken the read cursor it reads
// the oldest message that is kept, and where the user has left, the last one of
// theirs, and no other; where there may be tombstones after the cursor it asks
// for them.
func Unread(read ReadFunc, gone GoneFunc, head msgstore.Head, row msgstore.Member, conversation, user string, nowMs int64) (uint64, error) {
	seen, after := row.ReadOthers, row.ReadSeq
	if after+1 < head.MinSeq {
		after = head.MinSeq - 1
		removed, err := othersUpTo(read, head, conversation, user, after)
		if err != nil {
			return 0, err
		}
		seen = max(seen, removed)
	}
	others, upto := headOthers(head, conversation, user), head.Seq
	if until := row.Membership.GetUntilSeq(); until > 0 && until < head.Seq {
		upto = until
		var err error
		if others, err = othersUpTo(read, head, conversation, user, until); err != nil {
			return 0, err
		}
	}
	if head.Gone > after && upto > after {
		n, err := gone(conversation, user, after, upto, msgstore.Moment{Stamp: head.Stamp, TimeMs: nowMs})
		if err != nil {
			return 0, err
		}
		seen += n
	}
	return others - min(others, seen), nil // a row may be newer than the head it is read with
}

// MentionFunc returns the first seq past after of a message by others that
// mentions user and was not gone at a moment; 0 if there is none.
type MentionFunc func(user, conversation string, after uint64, at msgstore.Moment) (uint64, error)

// FirstMention is the first message that user has yet to read and that mentions
// them, at nowMs; 0 if there is none. Nothing calls on who has left: what the
// messages say now is not for them.
func FirstMention(find MentionFunc, head msgstore.Head, row msgstore.Member, conversation, user string, nowMs int64) (uint64, error) {
	first, last := Bounds(head, row.Membership)
	after := max(row.ReadSeq, first-1)
	if head.Mentioned <= after || row.Membership.GetUntilSeq() > 0 {
		return 0, nil
	}
	seq, err := find(user, conversation, after, msgstore.Moment{Stamp: head.Stamp, TimeMs: nowMs})
	if seq > last {
		seq = 0
	}
	return seq, err
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
	if seq < head.MinSeq && counts(m) && (!mine || protocol.KindOf(conversation) != protocol.Direct) {
		others-- // m itself is kept
	}
	return others, nil
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
