package godwit

import (
	"encoding/binary"
	"errors"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/godwit-im/godwit/protocol/pb"
)

// A StateRecord's data is a version, uvarints and then a pb.ConversationState, of
// which the fields that a Position has are left out:
//
//	version u8, applied, unreadAt, countedAt in Unix milliseconds, doubtful,
//	n, n × (seq, expires in Unix milliseconds),
//	n, n × (seq, type of a change that the handler was not given yet)
const recordVersion = 3

var errRecord = errors.New("damaged state record")

// record is what is stored of the view.
func (b *box) record() StateRecord {
	v := &b.view
	data := []byte{recordVersion}
	doubtful := uint64(0)
	if v.infoWanted || v.unsure {
		doubtful = 1
	}
	for _, n := range []uint64{v.applied, v.unreadAt, uint64(millis(v.countedAt)), doubtful, uint64(len(v.expiring))} {
		data = binary.AppendUvarint(data, n)
	}
	for seq, expires := range v.expiring {
		data = binary.AppendUvarint(data, seq)
		data = binary.AppendUvarint(data, uint64(expires.UnixMilli()))
	}
	data = binary.AppendUvarint(data, uint64(len(v.untold)))
	for _, c := range v.untold {
		data = binary.AppendUvarint(data, c.Seq)
		data = binary.AppendUvarint(data, uint64(c.Type))
	}
	state := &pb.ConversationState{
		MinSeq: v.first, Unread: b.unread, ReadSeq: b.readKnown, DeliveredSeq: b.deliveredKnown,
		Membership: v.membership, Group: v.group, MentionSeq: v.mention,
	}
	if v.preview != nil {
		state.Last = v.preview.toWire()
	}
	// It can't fail: what came from the wire is valid UTF-8.
	data, _ = proto.MarshalOptions{}.MarshalAppend(data, state)
	return StateRecord{Conversation: b.id, Data: data}
}

// restore takes a record over.
func (a *account) restore(b *box, data []byte) error {
	if len(data) == 0 || data[0] != recordVersion {
		return errRecord
	}
	data = data[1:]
	bad := false
	next := func() uint64 {
		n, size := binary.Uvarint(data)
		if size <= 0 {
			bad = true
			return 0
		}
		data = data[size:]
		return n
	}
	applied, unreadAt, countedMs, doubtful, n := next(), next(), next(), next(), next()
	if n > maxExpiring {
		return errRecord
	}
	expiring := make(map[uint64]time.Time)
	for range n {
		seq := next()
		expiring[seq] = time.UnixMilli(int64(next()))
	}
	var untold []MessageChange
	for n := next(); n > 0 && !bad; n-- {
		untold = append(untold, MessageChange{Conversation: b.id, Seq: next(), Type: ChangeType(next())})
	}
	state := new(pb.ConversationState)
	if bad || proto.Unmarshal(data, state) != nil {
		return errRecord
	}
	v := &b.view
	v.applied, v.unreadAt, v.countedAt, v.infoWanted = applied, unreadAt, timeOf(int64(countedMs)), doubtful != 0
	v.recent.after = max(applied, unreadAt)
	v.first, v.membership, v.group, v.mention = state.MinSeq, state.Membership, state.Group, state.MentionSeq
	b.unread, b.readKnown, b.deliveredKnown = state.Unread, state.ReadSeq, state.DeliveredSeq
	if state.Last != nil {
		v.preview = new(fromWire(state.Last))
	}
	for seq, expires := range expiring {
		a.watchUntil(b, seq, expires)
	}
	for _, c := range untold {
		a.change(b, c)
	}
	return nil
}
