package msgstore

import (
	"encoding/binary"
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/godwit-im/godwit/protocol/pb"
)

// Head is the newest message of a conversation, without its body.
type Head struct {
	// Seq is 0 in a conversation that never had a message.
	Seq    uint64
	ID     uint64
	TimeMs int64
	// Count is Message.count of that message, SenderCount its sender_count.
	Count       uint64
	Sender      string
	SenderCount uint64
	// MinSeq is the oldest seq that is kept; Seq+1 when none is.
	MinSeq uint64
	// Stamp is the log index at which the message was appended, or, before
	// the first one, the conversation created.
	Stamp uint64
	// Shown is the newest seq that is to be shown: the message's own, unless
	// its shown_seq names another.
	Shown uint64
	// Mentioned is the highest seq that mentions anybody, Gone the highest one
	// that has become a tombstone or will at a time.
	Mentioned, Gone uint64
	// Blocked: a member of a direct conversation has blocked the other one.
	Blocked bool
	// Left is the highest seq with which the reading of somebody who has left a
	// group ends; 0 = nobody has.
	Left uint64
}

// Others is how many countable messages of a direct conversation were not
// written by user, who must be one of its two members.
func (h Head) Others(user string) uint64 {
	if h.Sender == user {
		return h.Count - h.SenderCount
	}
	return h.SenderCount
}

// Member is a user's membership of a conversation.
type Member struct {
	// ReadSeq and DeliveredSeq are the user's cursors.
	ReadSeq, DeliveredSeq uint64
	// ReadOthers is how many countable messages of others there are up to
	// ReadSeq, so that unread = Head.Others(user) - ReadOthers.
	ReadOthers uint64
	// Joined is the log index at which the user became a member. The store
	// sets it.
	Joined uint64
	// Stamp is the log index of the last change. The store sets it.
	Stamp uint64
	// Moved is that of the last change of ReadSeq or DeliveredSeq, 0 as long as both
	// are: what others may know of. All else is the user's own. The store sets it.
	Moved uint64
	// Membership is the rest of what there is to a user; nil if nothing was ever
	// set. It is shared by all who read it and never changed.
	Membership *pb.Membership
}

// The values: a stamp (u64, big-endian), then varints. docs/STORAGE.md has the
// diagrams.

const stampSize = 8

// stampOf is the stamp of a value, which must be long enough to hold one.
func stampOf(value []byte) uint64 { return binary.BigEndian.Uint64(value) &^ rewritten }

// rewritten marks, in the stamp, the value of a message that is not as it was
// appended. The stamp stays that of the append, which is in the key of the
// client message id too, so it does not tell whether the present version is
// durable.
const rewritten = 1 << 63

func isRewritten(value []byte) bool { return binary.BigEndian.Uint64(value)&rewritten != 0 }

// movedFollows is in front of Member.Moved, where that isn't the stamp. Nothing in
// the encoding of a Membership begins so: it would be a field with number 0.
const movedFollows = 1

func (m *Member) hasCursors() bool { return m.ReadSeq|m.DeliveredSeq != 0 }

func appendMember(dst []byte, m Member) []byte {
	dst = binary.BigEndian.AppendUint64(dst, m.Stamp)
	dst = binary.AppendUvarint(dst, m.Joined)
	dst = binary.AppendUvarint(dst, m.ReadSeq)
	dst = binary.AppendUvarint(dst, m.DeliveredSeq)
	dst = binary.AppendUvarint(dst, m.ReadOthers)
	if m.Moved != m.Stamp && m.hasCursors() {
		dst = binary.AppendUvarint(append(dst, movedFollows), m.Moved)
	}
	if m.Membership != nil {
		// What Marshal refuses are strings that aren't UTF-8, and ours are.
		dst, _ = proto.MarshalOptions{Deterministic: true}.MarshalAppend(dst, m.Membership)
	}
	return dst
}

func decodeMember(value []byte) (Member, error) {
	d := decoder{b: value}
	m := Member{Stamp: d.fixed64(), Joined: d.uvarint(), ReadSeq: d.uvarint(), DeliveredSeq: d.uvarint(), ReadOthers: d.uvarint()}
	if m.hasCursors() {
		m.Moved = m.Stamp
	}
	if len(d.b) > 0 && d.b[0] == movedFollows {
		d.take(1)
		m.Moved = d.uvarint()
	}
	if len(d.b) > 0 && !d.bad {
		m.Membership = new(pb.Membership)
		if err := proto.Unmarshal(d.b, m.Membership); err != nil {
			return Member{}, fmt.Errorf("%w: bad membership value", ErrCorrupt)
		}
		d.b = nil
	}
	return m, d.done("membership")
}

// conversationRow is the row of a conversation.
type conversationRow struct {
	stamp   uint64
	created uint64 // log index
	minSeq  uint64
	// last is the newest message after retention has removed it; its Seq is 0
	// as long as it is there.
	last Head
	// As in Head.
	mentioned, gone uint64
	blocked         bool
	left            uint64
}

func appendConversationRow(dst []byte, c conversationRow) []byte {
	dst = binary.BigEndian.AppendUint64(dst, c.stamp)
	dst = binary.AppendUvarint(dst, c.created)
	dst = binary.AppendUvarint(dst, c.minSeq)
	marked := c.mentioned > 0 || c.gone > 0 || c.blocked || c.left > 0
	if c.last.Seq == 0 && !marked {
		return dst
	}
	dst = binary.AppendUvarint(dst, c.last.Seq)
	dst = binary.AppendUvarint(dst, c.last.ID)
	dst = binary.AppendVarint(dst, c.last.TimeMs)
	dst = binary.AppendUvarint(dst, c.last.Count)
	dst = binary.AppendUvarint(dst, c.last.SenderCount)
	dst = binary.AppendUvarint(dst, c.last.Stamp)
	dst = binary.AppendUvarint(dst, uint64(len(c.last.Sender)))
	dst = append(dst, c.last.Sender...)
	if !marked && c.last.Shown == c.last.Seq {
		return dst
	}
	dst = binary.AppendUvarint(dst, c.last.Shown)
	dst = binary.AppendUvarint(dst, c.mentioned)
	dst = binary.AppendUvarint(dst, c.gone)
	if !c.blocked && c.left == 0 {
		return dst
	}
	blocked := byte(0)
	if c.blocked {
		blocked = 1
	}
	if dst = append(dst, blocked); c.left == 0 {
		return dst
	}
	return binary.AppendUvarint(dst, c.left)
}

func decodeConversationRow(value []byte) (conversationRow, error) {
	d := decoder{b: value}
	c := conversationRow{stamp: d.fixed64(), created: d.uvarint(), minSeq: d.uvarint()}
	if len(d.b) > 0 {
		c.last = Head{
			Seq: d.uvarint(), ID: d.uvarint(), TimeMs: d.varint(), Count: d.uvarint(),
			SenderCount: d.uvarint(), Stamp: d.uvarint(), Sender: d.string(),
		}
		c.last.Shown = c.last.Seq
	}
	if len(d.b) > 0 {
		c.last.Shown, c.mentioned, c.gone = d.uvarint(), d.uvarint(), d.uvarint()
	}
	if len(d.b) > 0 {
		c.blocked = d.uvarint() == 1
		if !c.blocked || len(d.b) > 0 { // it is there for the sake of the other, or not at all
			c.left = d.uvarint()
		}
	}
	return c, d.done("conversation")
}

func appendApplied(dst []byte, index, maxID uint64) []byte {
	return binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(dst, index), maxID)
}

func decodeApplied(value []byte) (index, maxID uint64, err error) {
	d := decoder{b: value}
	index, maxID = d.fixed64(), d.fixed64()
	return index, maxID, d.done("applied index")
}

// decoder reads the fields of a value one after the other. Once one is
// missing, all that follow are zero, and done says so.
type decoder struct {
	b   []byte
	bad bool
}

func (d *decoder) take(n int) []byte {
	if n <= 0 || n > len(d.b) {
		d.bad, d.b = true, nil
		return nil
	}
	v := d.b[:n]
	d.b = d.b[n:]
	return v
}

func (d *decoder) fixed64() uint64 {
	if v := d.take(8); v != nil {
		return binary.BigEndian.Uint64(v)
	}
	return 0
}

func (d *decoder) uvarint() uint64 {
	v, n := binary.Uvarint(d.b)
	d.take(n)
	return v
}

func (d *decoder) varint() int64 {
	v, n := binary.Varint(d.b)
	d.take(n)
	return v
}

func (d *decoder) string() string {
	n := d.uvarint()
	if n == 0 || n > uint64(len(d.b)) {
		d.bad = d.bad || n > 0
		return ""
	}
	return string(d.take(int(n)))
}

func (d *decoder) done(what string) error {
	if d.bad || len(d.b) > 0 {
		return fmt.Errorf("%w: bad %s value", ErrCorrupt, what)
	}
	return nil
}

// message is what the store needs to know of a message. Its slices alias the
// encoding that it was read from.
type message struct {
	head             Head // without Sender, MinSeq and Stamp
	sender, clientID []byte
	// What has rows of its own.
	mentions   [][]byte
	mentionAll bool
	expiresMs  int64
	changed    bool // by an event
}

// decodeMessage reads the encoding of a message. It walks over the fields and
// leaves the body, which is most of a message, alone.
func decodeMessage(wire []byte) (m message, err error) {
	for b := wire; len(b) > 0; {
		num, typ, n := protowire.ConsumeTag(b)
		if n < 0 {
			return message{}, errBadMessage
		}
		b = b[n:]
		switch typ {
		case protowire.VarintType:
			var v uint64
			if v, n = protowire.ConsumeVarint(b); n >= 0 {
				m.setVarint(num, v)
			}
		case protowire.BytesType:
			var v []byte
			if v, n = protowire.ConsumeBytes(b); n >= 0 {
				m.setBytes(num, v)
			}
		default:
			n = protowire.ConsumeFieldValue(num, typ, b)
		}
		if n < 0 {
			return message{}, errBadMessage
		}
		b = b[n:]
	}
	if m.head.Shown == 0 {
		m.head.Shown = m.head.Seq
	}
	return m, nil
}

var errBadRow = fmt.Errorf("%w: bad row", ErrCorrupt)

var errBadMessage = fmt.Errorf("%w: bad message value", ErrCorrupt)

// The field numbers are those of Message in im.proto.

func (m *message) setVarint(num protowire.Number, v uint64) {
	switch num {
	case 2:
		m.head.Seq = v
	case 3:
		m.head.ID = v
	case 6:
		m.head.TimeMs = int64(v)
	case 10:
		m.head.Count = v
	case 11:
		m.head.SenderCount = v
	case 14:
		m.mentionAll = v != 0
	case 15:
		m.expiresMs = int64(v)
	case 20:
		m.changed = v != 0
	case 24:
		m.head.Shown = v
	}
}

func (m *message) setBytes(num protowire.Number, v []byte) {
	switch num {
	case 4:
		m.sender = v
	case 5:
		m.clientID = v
	case 13:
		m.mentions = append(m.mentions, v)
	}
}
