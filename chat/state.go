package chat

import (
	"fmt"

	"google.golang.org/protobuf/proto"

	"github.com/godwit-im/godwit/msgstore"
	"github.com/godwit-im/godwit/protocol"
	"github.com/godwit-im/godwit/protocol/pb"
)

// Bounds returns the first and the last seq of a conversation that the user may
// read whose membership m is, given its head: what is kept, from where the user
// joined or cleared it, to where they left it or to the head. Where there is
// none of it the first is the last plus one.
func Bounds(head msgstore.Head, m *pb.Membership) (first, last uint64) {
	last = head.Seq
	if until := m.GetUntilSeq(); until > 0 {
		last = min(last, until)
	}
	first = max(head.MinSeq, m.GetFromSeq(), m.GetClearedSeq()+1)
	return min(first, last+1), last
}

// ownRow returns the head of a conversation and the row that user has in it, or
// why there is nothing of it that is theirs: there is no such conversation, or
// they are not, and were not, in it.
func ownRow(tx *msgstore.Tx, conversation, user string) (msgstore.Head, msgstore.Member, *protocol.Error, error) {
	head, exists, err := tx.Head(conversation)
	if err != nil {
		return msgstore.Head{}, msgstore.Member{}, nil, err
	}
	if !exists {
		return msgstore.Head{}, msgstore.Member{}, errNotAMember, nil
	}
	row, found, err := tx.Member(user, conversation)
	switch {
	case err != nil:
		return msgstore.Head{}, msgstore.Member{}, nil, err
	case !found, protocol.KindOf(conversation) == protocol.Group && !inside(row.Membership):
		return msgstore.Head{}, msgstore.Member{}, errNotAMember, nil
	}
	return head, row, nil, nil
}

// inside reports whether a user is in a group, or was.
func inside(m *pb.Membership) bool {
	return m.GetStanding() == pb.Standing_STANDING_ACTIVE || m.GetUntilSeq() > 0
}

// putMembership puts m into user's row, which is row as it stands, and tells
// the user's devices, unless it says nothing new. A conversation begins with the
// first row in it.
func putMembership(tx *msgstore.Tx, index uint64, user, conversation string, row msgstore.Member, m *pb.Membership, nowMs int64, effects []Effect) ([]Effect, error) {
	if proto.Equal(m, ownMembership(row)) {
		return effects, nil
	}
	_, exists, err := tx.Head(conversation)
	if err != nil {
		return effects, err
	}
	if !exists {
		if err := tx.Create(index, conversation); err != nil {
			return effects, err
		}
	}
	row.Membership = orNil(m)
	if err := tx.PutMember(index, user, conversation, row); err != nil {
		return effects, err
	}
	return tellState(tx, user, conversation, nowMs, nil, effects)
}

// orNil is m, or nil where m says nothing: a row that is read again has nil
// there.
func orNil(m *pb.Membership) *pb.Membership {
	if proto.Size(m) == 0 {
		return nil
	}
	return m
}

// tellState adds the effect that tells all of user's devices how a conversation
// stands for them now, and which single messages they have just deleted in it.
func tellState(tx *msgstore.Tx, user, conversation string, nowMs int64, deleted []uint64, effects []Effect) ([]Effect, error) {
	return tellStateWith(tx, user, conversation, nowMs, effects, func(s *pb.ConversationState) { s.Deleted = deleted })
}

// tellStateWith is tellState with what add adds.
func tellStateWith(tx *msgstore.Tx, user, conversation string, nowMs int64, effects []Effect, add func(*pb.ConversationState)) ([]Effect, error) {
	head, _, err := tx.Head(conversation)
	if err != nil {
		return effects, err
	}
	row, found, err := tx.Member(user, conversation)
	if err != nil {
		return effects, err
	}
	if !found {
		return effects, fmt.Errorf("no row of %q in %q to tell of", user, conversation)
	}
	state := &pb.ConversationState{Conversation: conversation, MinSeq: 1, Membership: row.Membership}
	if protocol.KindOf(conversation) != protocol.Group || inside(row.Membership) {
		if err := describe(tx, state, head, row, user, nowMs); err != nil {
			return effects, err
		}
	}
	add(state)
	return append(effects, Effect{
		Kind:         EffectState,
		Conversation: conversation,
		Users:        []string{user},
		Frame:        protocol.AppendProto(nil, protocol.TypeState, 0, &pb.State{State: state}),
	}), nil
}

// describe fills in what there is of a conversation at nowMs for user, who may
// read something of it.
func describe(tx *msgstore.Tx, state *pb.ConversationState, head msgstore.Head, row msgstore.Member, user string, nowMs int64) (err error) {
	conversation := state.Conversation
	first, last := Bounds(head, row.Membership)
	state.HeadSeq, state.MinSeq = last, first
	state.ReadSeq, state.DeliveredSeq = row.ReadSeq, row.DeliveredSeq
	c, err := count(tx, head, row, conversation, user, nowMs)
	if err != nil {
		return err
	}
	state.Unread, state.MentionSeq, state.CountedMs = c.Unread, c.MentionSeq, c.TimeMs
	switch {
	case last == head.Seq:
		state.HeadId = head.ID
	case last >= head.MinSeq:
		m, err := readMessage(tx.Message, conversation, last)
		if err != nil {
			return err
		}
		state.HeadId = m.Id
	}
	if peer, direct := protocol.Peer(conversation, user); direct {
		theirs, _, err := tx.Member(peer, conversation)
		if err != nil {
			return err
		}
		state.PeerReadSeq, state.PeerDeliveredSeq = theirs.ReadSeq, theirs.DeliveredSeq
	}
	return nil
}

// count is what user has yet to read of a conversation at nowMs. It has no time
// where that takes more than a command may cost; INFO and SYNC tell, which are
// nobody else's concern.
func count(tx *msgstore.Tx, head msgstore.Head, row msgstore.Member, conversation, user string, nowMs int64) (c Count, err error) {
	_, c.HeadSeq = Bounds(head, row.Membership)
	c.TimeMs = nowMs
	c.Unread, err = Unread(tx.Message, tx.GoneBetween, head, row, conversation, user, nowMs)
	if err == nil {
		c.MentionSeq, err = FirstMention(tx.FirstMention, head, row, conversation, user, nowMs)
	}
	if msgstore.TooMany(err) {
		return Count{HeadSeq: c.HeadSeq}, nil
	}
	return c, err
}
