package delivery

import (
	"bytes"
	"encoding/binary"
	"errors"
	"slices"

	"github.com/godwit-im/godwit/chat"
	"github.com/godwit-im/godwit/msgstore"
	"github.com/godwit-im/godwit/protocol"
	"github.com/godwit-im/godwit/protocol/pb"
)

// pulledTail bounds the encoding of Pulled's fields but messages.
const pulledTail = 2 + 11 + 11

// pull reads a page of a conversation.
func (d *Delivery) pull(user string, request uint32, req *pb.Pull) (frame []byte, err error) {
	for {
		if frame, err = d.tryPull(user, request, req); !errors.Is(err, errMoved) {
			return frame, err
		}
	}
}

// tryPull is pull, which may fail with errMoved. How long a page is shows when it is
// read: it grows in a draft that is used again, and what waits for the session is
// of its size.
func (d *Delivery) tryPull(user string, request uint32, req *pb.Pull) ([]byte, error) {
	x, err := d.extract(user, req.Conversation)
	if err != nil {
		return nil, err
	}
	from, err := d.from(req, x)
	if err != nil {
		return nil, err
	}
	limit := limit(req.Limit, d.cfg.PullLimit, d.cfg.MaxPull)
	room := d.cfg.MaxFrame - pulledTail
	draft := d.drafts.Get().(*[]byte)
	defer d.drafts.Put(draft)
	dst := (*draft)[:protocol.HeaderSize]
	var page msgstore.RangeResult
	if req.Around {
		page, err = d.around(x, from, limit, room, dst)
	} else {
		page, err = d.page(x, from, req.Until, req.Backward, limit, room, dst)
	}
	if err != nil {
		return nil, err
	}
	*draft = appendProto(page.Encoded, &pb.Pulled{More: page.More, HeadSeq: x.last, MinSeq: x.first})
	return bytes.Clone(finish(*draft, protocol.TypePulled, request)), nil
}

// from returns the seq at which the page that req wants begins, 0 for the first
// or, backward, the last one, or what is wrong with it.
func (d *Delivery) from(req *pb.Pull, x *extract) (uint64, error) {
	switch {
	case req.From > x.last+1:
		return 0, protocol.Errorf(pb.Code_CODE_SEQ_OUT_OF_RANGE, "from is %d, the head is %d", req.From, x.last)
	case req.FromTimeMs != 0 && (req.From != 0 || req.FromTimeMs < 0):
		return 0, protocol.Errorf(pb.Code_CODE_BAD_ARGUMENT, "from a seq, or from a time past 1970")
	case req.Around && (req.Backward || req.Until != 0 || req.From == 0 && req.FromTimeMs == 0):
		return 0, protocol.Errorf(pb.Code_CODE_BAD_ARGUMENT, "around a seq or a time, and nothing else")
	}
	from := req.From
	if req.FromTimeMs > 0 {
		at, err := d.store.SeqAtTime(x.conversation, req.FromTimeMs)
		if err != nil {
			return 0, err
		}
		from = min(max(at, x.first), x.last+1)
	}
	if req.Until != 0 && from != 0 && (req.Backward && req.Until > from || !req.Backward && req.Until < from) {
		return 0, protocol.Errorf(pb.Code_CODE_BAD_ARGUMENT, "until %d lies the wrong way from %d", req.Until, from)
	}
	return from, nil
}

// extract is what one user may read of a conversation.
type extract struct {
	user, conversation string
	first, last        uint64   // none: first is last plus one
	from, until        uint64   // the membership's; an end: the user has left, and reads what there was then
	deleted            []uint64 // those that the user has deleted, ascending
	nowMs              int64    // what expires by then is over
}

// extract returns what user may read of a conversation.
func (d *Delivery) extract(user, conversation string) (*extract, error) {
	head, row, err := d.own(user, conversation)
	if err != nil {
		return nil, err
	}
	x := &extract{
		user: user, conversation: conversation,
		from: row.Membership.GetFromSeq(), until: row.Membership.GetUntilSeq(), nowMs: d.cfg.Now().UnixMilli(),
	}
	x.first, x.last = chat.Bounds(head, row.Membership)
	if row.Membership.GetDeletedSeq() >= x.first {
		x.deleted, err = d.store.DeletedSince(user, conversation, 0)
	}
	return x, err
}

// around appends half of limit of messages up to the one at from, and as many
// after it, to dst.
func (d *Delivery) around(x *extract, from uint64, limit, room int, dst []byte) (msgstore.RangeResult, error) {
	page, err := d.page(x, from, 0, true, limit-limit/2, room/2, dst)
	if err != nil {
		return page, err
	}
	room -= len(page.Encoded) - len(dst)
	after, err := d.page(x, from+1, 0, false, limit/2, room, nil)
	if err != nil {
		return page, err
	}
	if len(after.Encoded) > room { // a single message, which would have a page of its own
		page.More = true
		return page, nil
	}
	page.Encoded = append(page.Encoded, after.Encoded...)
	page.More = page.More || after.More
	return page, nil
}

// page is store.Range within x, with what is gone for the user as tombstones.
// Where retention has moved the beginning, x's moves along.
func (d *Delivery) page(x *extract, from, until uint64, backward bool, limit, room int, dst []byte) (msgstore.RangeResult, error) {
	if x.first > x.last {
		return msgstore.RangeResult{Encoded: dst}, nil
	}
	if backward {
		if from == 0 || from > x.last {
			from = x.last
		}
		until = max(until, x.first)
	} else {
		from = max(from, x.first)
		if until == 0 || until > x.last {
			until = x.last
		}
	}
	for most := room; ; {
		page, err := d.store.Range(x.conversation, from, until, backward, limit, most, dst)
		if err != nil {
			return page, err
		}
		x.first = min(max(x.first, page.Min), x.last+1)
		if err := d.settle(x); err != nil {
			return page, err
		}
		messages := page.Encoded[len(dst):]
		if x.until == 0 && !x.anyGone(page.First, messages) {
			return page, nil
		}
		page.Encoded, err = d.appendShown(slices.Clone(dst), x, page.First, messages)
		if errors.Is(err, chat.ErrNotKept) {
			continue // retention was faster
		}
		over := len(page.Encoded) - len(dst) - room
		if err != nil || over <= 0 || page.N == 1 {
			return page, err
		}
		most -= over // a message that was almost nothing is less than its tombstone
	}
}

// errMoved: the user has left a group and come back since their extract was made,
// which holds for that no more.
var errMoved = errors.New("delivery: become a member again")

// settle looks whether the user has left the group after x was made. It comes after
// a read of messages: these may say what came after the end, but are none of them.
func (d *Delivery) settle(x *extract) error {
	if x.until > 0 || protocol.KindOf(x.conversation) != protocol.Group {
		return nil
	}
	row, _, err := d.store.Member(x.user, x.conversation)
	if err == nil && row.Membership.GetFromSeq() != x.from {
		err = errMoved
	}
	x.until = row.Membership.GetUntilSeq()
	return err
}

// anyGone reports whether any of these messages, the first of which has seq
// first, is gone for the user.
func (x *extract) anyGone(first uint64, messages []byte) bool {
	for seq := first; len(messages) > 0; seq++ {
		var wire []byte
		if wire, messages = nextStored(messages); x.gone(seq, wire) != pb.MessageState_MESSAGE_STATE_NORMAL {
			return true
		}
	}
	return false
}

// appendShown appends the messages, the first of which has seq first, to dst, as the
// user is to see them.
func (d *Delivery) appendShown(dst []byte, x *extract, first uint64, messages []byte) (_ []byte, err error) {
	for seq := first; len(messages) > 0; seq++ {
		var wire []byte
		wire, messages = nextStored(messages)
		if wire, err = d.shown(x, seq, wire); err != nil {
			return nil, err
		}
		dst = protocol.AppendStored(dst, wire)
	}
	return dst, nil
}

// shown returns a message as the user is to see it.
func (d *Delivery) shown(x *extract, seq uint64, wire []byte) (_ []byte, err error) {
	if x.until > 0 {
		if wire, err = chat.AsOf(d.store, wire, x.until, x.nowMs); err != nil {
			return nil, err
		}
	}
	if state := x.gone(seq, wire); state != pb.MessageState_MESSAGE_STATE_NORMAL {
		return chat.Tombstone(wire, state)
	}
	return wire, nil
}

// gone returns what became of a message for the user that its stored form
// doesn't say.
func (x *extract) gone(seq uint64, wire []byte) pb.MessageState {
	if chat.Expired(wire, x.nowMs) { // as it will be once it is swept, whoever has deleted it
		return pb.MessageState_MESSAGE_STATE_EXPIRED
	}
	if len(x.deleted) > 0 {
		if _, deleted := slices.BinarySearch(x.deleted, seq); deleted {
			return pb.MessageState_MESSAGE_STATE_DELETED
		}
	}
	return pb.MessageState_MESSAGE_STATE_NORMAL
}

// nextStored returns the first of messages, which protocol.AppendStored has
// appended, and those that follow.
func nextStored(messages []byte) (wire, rest []byte) {
	size, n := binary.Uvarint(messages[1:]) // after a tag of one byte
	rest = messages[1+n:]
	return rest[:size], rest[size:]
}
