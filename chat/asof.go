package chat

import (
	"errors"
	"fmt"

	"google.golang.org/protobuf/proto"

	"github.com/godwit-im/godwit/msgstore"
	"github.com/godwit-im/godwit/protocol"
	"github.com/godwit-im/godwit/protocol/pb"
)

// Who has left a group reads it as it was then: their end is the last seq that they
// may read, and an event past it is none of their business, whatever it did to a
// message before it. So an event that changes a message keeps what it replaces, if
// there is anybody for whom that is the present: if somebody has left since the
// message became what it is. An edit keeps the content, a reaction the reactions,
// each apart, so that a long message is not kept once more for every reaction.
//
// What is taken back is gone for these, too. A tombstone shows them that it is one,
// and nothing else of what came after.

// keep keeps what event is about to replace of target. left is the head's.
func keep(tx *msgstore.Tx, index, left uint64, target, event *pb.Message) error {
	if event.Kind == pb.Kind_KIND_EDIT && left >= max(target.Seq, target.EditedSeq) {
		was := protocol.AppendMessage(nil, &pb.Message{
			ContentType: target.ContentType, Body: target.Body, Mentions: target.Mentions, MentionAll: target.MentionAll,
			EditedMs: target.EditedMs, EditedSeq: target.EditedSeq,
		})
		if err := tx.PutReplaced(index, target.Conversation, target.Seq, msgstore.Content, event.Seq, was); err != nil {
			return err
		}
	}
	// An edit makes another version, too, and a recall one of which nothing is kept.
	if event.Kind == pb.Kind_KIND_RECALL || left < max(target.Seq, target.ChangedSeq) {
		return nil
	}
	was := protocol.AppendMessage(nil, &pb.Message{ChangedSeq: target.ChangedSeq, Reactions: target.Reactions})
	return tx.PutReplaced(index, target.Conversation, target.Seq, msgstore.Reactions, event.Seq, was)
}

// ErrNotKept is returned for a message that was removed while it was looked at.
var ErrNotKept = errors.New("chat: message not kept")

// AsOf returns a stored message of a group as it is to be shown to somebody whose
// last seq is end, at a time in Unix milliseconds: as it was then, or a tombstone.
// It may return wire itself. What is written meanwhile does no harm; a message that
// is removed meanwhile is an ErrNotKept.
func AsOf(store *msgstore.Store, wire []byte, end uint64, nowMs int64) ([]byte, error) {
	m := &pb.Message{}
	if err := proto.Unmarshal(wire, m); err != nil {
		return nil, fmt.Errorf("decode message: %w", err)
	}
	p := past{store: store, end: end, nowMs: nowMs}
	var err error
	switch {
	case m.Kind == pb.Kind_KIND_EDIT:
		m, err = p.edit(m)
	case hasContent(m.Kind):
		m, err = p.content(m)
	default: // nothing changes it
		return wire, nil
	}
	if err != nil {
		return nil, err
	}
	return protocol.AppendMessage(nil, m), nil
}

// past is how messages are to somebody whose last seq is end.
type past struct {
	store *msgstore.Store
	end   uint64
	nowMs int64
}

// content returns m, a message with content, as it was.
func (p *past) content(m *pb.Message) (*pb.Message, error) {
	for read := 1; ; read++ {
		whole, err := p.restore(m)
		if err != nil || whole {
			return m, err
		}
		// It has become a tombstone since it was read, or was removed.
		if read > 1 {
			return p.unknown(m)
		}
		if m, err = p.message(m.Conversation, m.Seq); err != nil {
			return nil, err
		}
	}
}

// restore makes m what it was, and reports whether all that takes was kept.
func (p *past) restore(m *pb.Message) (whole bool, err error) {
	switch {
	case m.State == pb.MessageState_MESSAGE_STATE_RECALLED:
		if m.ChangedSeq > p.end {
			m.ChangedSeq, m.EditedMs, m.EditedSeq = p.end, 0, 0
		}
		return true, nil
	case m.State != pb.MessageState_MESSAGE_STATE_NORMAL, isOver(m.ExpiresMs, p.nowMs):
		// It has its last version still, of before the end or after.
		empty(m, pb.MessageState_MESSAGE_STATE_EXPIRED)
		m.ChangedSeq, m.EditedMs, m.EditedSeq = 0, 0, 0
		return true, nil
	}
	if m.EditedSeq > p.end {
		was, err := p.replaced(m, msgstore.Content)
		if err != nil || was == nil {
			return false, err
		}
		m.ContentType, m.Body, m.Mentions, m.MentionAll = was.ContentType, was.Body, was.Mentions, was.MentionAll
		m.EditedMs, m.EditedSeq = was.EditedMs, was.EditedSeq
	}
	if m.ChangedSeq > p.end {
		was, err := p.replaced(m, msgstore.Reactions)
		if err != nil || was == nil {
			return false, err
		}
		m.ChangedSeq, m.Reactions = was.ChangedSeq, was.Reactions
	}
	return true, nil
}

// unknown is m, which has changed since the end and of which nothing from before is
// kept. That is so where somebody left before that was noted; of such a message
// they see that there was one.
func (p *past) unknown(m *pb.Message) (*pb.Message, error) {
	head, _, err := p.store.Head(m.Conversation)
	switch {
	case err != nil:
		return nil, err
	case head.Left >= p.end:
		return nil, fmt.Errorf("%w: what message %d of %q was at %d is missing", msgstore.ErrCorrupt, m.Seq, m.Conversation, p.end)
	}
	empty(m, pb.MessageState_MESSAGE_STATE_DELETED)
	m.ChangedSeq, m.EditedMs, m.EditedSeq = p.end, 0, 0
	return m, nil
}

// edit returns m, an edit, as it was. It says what its target says from it, and
// goes with it; once another one has outdated it, it says nothing.
func (p *past) edit(m *pb.Message) (*pb.Message, error) {
	target, err := p.message(m.Conversation, m.Target)
	if errors.Is(err, ErrNotKept) {
		// Whether it had been outdated by then nobody knows any more.
		empty(m, pb.MessageState_MESSAGE_STATE_RECALLED)
		return m, nil
	}
	if err == nil {
		target, err = p.content(target)
	}
	switch {
	case err != nil:
		return nil, err
	case target.State != pb.MessageState_MESSAGE_STATE_NORMAL:
		empty(m, target.State)
	case target.EditedSeq == m.Seq:
		m.State = pb.MessageState_MESSAGE_STATE_NORMAL
		m.ContentType, m.Body, m.Mentions, m.MentionAll = target.ContentType, target.Body, target.Mentions, target.MentionAll
	}
	return m, nil
}

func (p *past) replaced(m *pb.Message, part msgstore.Part) (*pb.Message, error) {
	wire, err := p.store.Replaced(m.Conversation, m.Seq, part, p.end)
	if err != nil || wire == nil {
		return nil, err
	}
	was := &pb.Message{}
	if err := proto.Unmarshal(wire, was); err != nil {
		return nil, fmt.Errorf("decode what message %d was: %w", m.Seq, err)
	}
	return was, nil
}

func (p *past) message(conversation string, seq uint64) (*pb.Message, error) {
	return readMessage(func(conversation string, seq uint64) ([]byte, error) {
		wire, kept, err := p.store.Message(conversation, seq)
		if err == nil && !kept {
			err = ErrNotKept
		}
		return wire, err
	}, conversation, seq)
}
