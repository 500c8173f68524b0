package chat

import (
	"bytes"
	"fmt"
	"slices"

	"github.com/godwit-im/godwit/msgstore"
	"github.com/godwit-im/godwit/protocol"
	"github.com/godwit-im/godwit/protocol/pb"
)

// The refusals of Apply. They are shared by all results and never changed.
var (
	errNotAMember     = protocol.Errorf(pb.Code_CODE_NOT_A_MEMBER, "not a member of this conversation")
	errClientIDReused = protocol.Errorf(pb.Code_CODE_CLIENT_ID_REUSED, "this client message id names another message")
	errPastHead       = protocol.Errorf(pb.Code_CODE_SEQ_OUT_OF_RANGE, "there is no such seq in this conversation yet")

	errTooManyMentions = protocol.Errorf(pb.Code_CODE_TOO_MANY_MENTIONS, "more mentions than this server allows")
	errLongTTL         = protocol.Errorf(pb.Code_CODE_BAD_ARGUMENT, "a longer time to live than this server allows")
)

// Apply decides cmd and makes the change in tx, at the given index of the
// partition's log. It appends what others must learn of to effects, to be acted
// upon after tx is committed.
//
// Apply reads tx and cmd and nothing else: no clock, no randomness, no state of
// the process, no map order. A test holds the functions that it reaches to
// that. Whatever the command, it leaves tx consistent: a refused one changes
// nothing. An error is not about the command but about the store, and tx must
// then be discarded.
//
// The caller keeps the partition's applied index.
func Apply(tx *msgstore.Tx, index uint64, cmd *Command, effects []Effect) (Result, []Effect, error) {
	var (
		r   Result
		err error
	)
	switch cmd.Op {
	case OpSend:
		r, effects, err = applySend(tx, index, cmd, effects)
	case OpMark:
		r, effects, err = applyMark(tx, index, cmd, effects)
	case OpTrim:
		r, err = applyTrim(tx, index, cmd)
	case OpGroup:
		r, effects, err = applyGroup(tx, index, cmd, effects)
	case OpSettings:
		r, effects, err = applySettings(tx, index, cmd, effects)
	case OpDelete:
		r, effects, err = applyDelete(tx, index, cmd, effects)
	case OpContact:
		r, effects, err = applyContact(tx, index, cmd, effects)
	case OpAccount:
		r, effects, err = applyAccount(tx, index, cmd, effects)
	case OpSeen:
		r, err = applySeen(tx, index, cmd)
	case OpNotify:
		r, effects, err = applyNotify(tx, index, cmd, effects)
	case OpForget:
		r, err = applyForget(tx, index, cmd)
	case OpExpire:
		r, err = applyExpire(tx, index, cmd)
	default:
		err = fmt.Errorf("unknown op %d", cmd.Op)
	}
	if err != nil {
		return Result{}, effects, fmt.Errorf("apply op %d at index %d: %w", cmd.Op, index, err)
	}
	return r, effects, nil
}

func applySend(tx *msgstore.Tx, index uint64, cmd *Command, effects []Effect) (Result, []Effect, error) {
	// Whoever sent it, even if they are no member any more, gets the first answer.
	seq, found, err := tx.FindByClientID(cmd.Conversation, cmd.User, cmd.ClientID)
	if err != nil {
		return Result{}, effects, err
	}
	if found {
		r, err := answerResend(tx, seq, cmd)
		return r, effects, err
	}
	from, refusal, err := senderOf(tx, cmd)
	if err == nil && refusal == nil {
		refusal = from.refuseSend(cmd)
	}
	if err != nil || refusal != nil {
		return Result{Err: refusal}, effects, err
	}
	return post(tx, index, cmd, &from, effects)
}

// answerResend answers a SEND whose client message id is that of the message at
// seq. Whoever resends gets the first answer again; an id that is used for
// something else is a defect in the client that must not pass for success.
func answerResend(tx *msgstore.Tx, seq uint64, cmd *Command) (Result, error) {
	m, err := readMessage(tx.Message, cmd.Conversation, seq)
	if err != nil {
		return Result{}, err
	}
	if !makes(cmd, m) {
		return Result{Err: errClientIDReused}, nil
	}
	return Result{Seq: m.Seq, ID: m.Id, TimeMs: m.TimeMs, Duplicate: true}, nil
}

// makes reports whether cmd is the SEND that made m, as far as m still tells:
// what an edit replaced and a tombstone has lost can't be compared.
func makes(cmd *Command, m *pb.Message) bool {
	if m.Kind != cmd.Kind || m.ReplySeq != cmd.ReplySeq || m.Flags != cmd.Flags || m.Target != cmd.Target || m.Remove != cmd.Remove {
		return false
	}
	if hasContent(m.Kind) && m.ExpiresMs != expiry(m.TimeMs, cmd.TTLMs) {
		return false
	}
	if m.State != pb.MessageState_MESSAGE_STATE_NORMAL || m.EditedSeq != 0 {
		return true
	}
	return m.ContentType == cmd.ContentType && bytes.Equal(m.Body, cmd.Body) &&
		slices.Equal(m.Mentions, cmd.Mentions) && m.MentionAll == cmd.MentionAll
}

// expiry is when a message of timeMs with this time to live expires, 0 for
// never.
func expiry(timeMs, ttlMs int64) int64 {
	if ttlMs == 0 {
		return 0
	}
	return timeMs + ttlMs
}

// post appends cmd's message to its conversation, unless that or the rules are
// against it.
func post(tx *msgstore.Tx, index uint64, cmd *Command, from *sender, effects []Effect) (Result, []Effect, error) {
	head, exists, err := tx.Head(cmd.Conversation)
	if err != nil {
		return Result{}, effects, err
	}
	switch {
	case cmd.ReplySeq > head.Seq:
		return Result{Err: errPastHead}, effects, nil
	case len(cmd.Mentions) > 0 && len(cmd.Mentions) > cmd.Rules.MaxMentions:
		return Result{Err: errTooManyMentions}, effects, nil
	case cmd.TTLMs > 0 && cmd.Rules.MaxTTL > 0 && cmd.TTLMs > cmd.Rules.MaxTTL.Milliseconds():
		return Result{Err: errLongTTL}, effects, nil
	case isEvent(cmd.Kind):
		return applyEvent(tx, index, cmd, head, from, effects)
	}
	// A direct conversation comes into being with its first message, and its
	// members' rows do, unless there was something to put into them before.
	if !exists {
		if err := tx.Create(index, cmd.Conversation); err != nil {
			return Result{}, effects, err
		}
	}
	if head.Seq == 0 {
		if err := addMembers(tx, index, cmd.Conversation, from.users); err != nil {
			return Result{}, effects, err
		}
	}
	var m pb.Message
	fill(&m, cmd, &head, from)
	r, effects, err := push(tx, index, &m, from, effects)
	if err == nil && from.group != nil {
		err = from.read(tx, index, cmd, &m)
	}
	if err == nil {
		err = putMentions(tx, index, m.Conversation, m.Seq, m.Sender, m.Mentions, m.MentionAll)
	}
	if err == nil {
		err = putExpiry(tx, index, &m)
	}
	return r, effects, err
}

// fill makes m the message that cmd appends after head.
func fill(m *pb.Message, cmd *Command, head *msgstore.Head, from *sender) {
	m.Conversation = cmd.Conversation
	m.Seq = head.Seq + 1
	m.Id = cmd.MessageID
	m.Sender = cmd.User
	m.ClientId = cmd.ClientID
	// A clock that was set back, or another node's that is behind, must not
	// make time run backwards within a conversation.
	m.TimeMs = max(cmd.TimeMs, head.TimeMs)
	m.Kind = cmd.Kind
	m.ContentType = cmd.ContentType
	m.Body = cmd.Body
	m.Count = head.Count
	m.ReplySeq = cmd.ReplySeq
	m.Mentions = cmd.Mentions
	m.MentionAll = cmd.MentionAll
	m.Flags = cmd.Flags
	m.Target = cmd.Target
	m.Remove = cmd.Remove
	m.ExpiresMs = expiry(m.TimeMs, cmd.TTLMs)
	if from.group == nil {
		m.SenderCount = head.Count - head.Others(cmd.User)
	}
	if counts(m) {
		m.Count++
		if from.group == nil {
			m.SenderCount++
		}
	}
	if isEvent(m.Kind) {
		m.ShownSeq = head.Shown
	}
}

// push appends m and adds the effect that pushes it.
func push(tx *msgstore.Tx, index uint64, m *pb.Message, from *sender, effects []Effect) (Result, []Effect, error) {
	frame := protocol.NewMessageFrame(m)
	if err := tx.Append(index, m, frame[protocol.HeaderSize:]); err != nil {
		return Result{}, effects, err
	}
	if m.Flags&uint32(pb.Flag_FLAG_UNPUSHED) == 0 {
		effects = append(effects, Effect{
			Kind:         EffectMessage,
			Conversation: m.Conversation,
			Users:        from.users,
			Group:        from.group != nil,
			Seq:          m.Seq,
			Frame:        frame,
		})
	}
	return Result{Seq: m.Seq, ID: m.Id, TimeMs: m.TimeMs}, effects, nil
}

// putExpiry notes when m, which was just appended, is gone, if it ever is.
func putExpiry(tx *msgstore.Tx, index uint64, m *pb.Message) error {
	if m.ExpiresMs == 0 {
		return nil
	}
	if err := tx.PutExpiry(index, m.Conversation, m.Seq, m.ExpiresMs); err != nil {
		return err
	}
	return putGone(tx, index, m, false)
}

// putMentions is tx.PutMentions, where anybody else than the sender is
// mentioned: nobody is to be called on by what they wrote themselves.
func putMentions(tx *msgstore.Tx, index uint64, conversation string, seq uint64, sender string, users []string, all bool) error {
	if slices.Contains(users, sender) {
		users = slices.DeleteFunc(slices.Clone(users), func(user string) bool { return user == sender })
	}
	if len(users) == 0 && !all {
		return nil
	}
	return tx.PutMentions(index, conversation, seq, sender, users, all)
}

// addMembers makes the rows of those users who have none: before its first
// message a direct conversation may have only one of them, or none.
func addMembers(tx *msgstore.Tx, index uint64, conversation string, users []string) error {
	for _, user := range users {
		_, found, err := tx.Member(user, conversation)
		if err != nil {
			return err
		}
		if found {
			continue
		}
		if err := tx.PutMember(index, user, conversation, msgstore.Member{}); err != nil {
			return err
		}
	}
	return nil
}

func applyMark(tx *msgstore.Tx, index uint64, cmd *Command, effects []Effect) (Result, []Effect, error) {
	head, row, refusal, err := ownRow(tx, cmd.Conversation, cmd.User)
	if err != nil || refusal != nil {
		return Result{Err: refusal}, effects, err
	}
	if _, last := Bounds(head, row.Membership); cmd.ReadSeq > last || cmd.DeliveredSeq > last {
		return Result{Err: errPastHead}, effects, nil
	}
	row, moved, err := moveCursors(tx, head, row, cmd.Conversation, cmd.User, cmd.ReadSeq, cmd.DeliveredSeq)
	if err != nil {
		return Result{}, effects, err
	}
	// To read is to take back what the user marked as unread by hand, to have
	// it delivered is not.
	unmarks := cmd.ReadSeq > 0 && row.Membership.GetSettings().GetMarkedUnread()
	if unmarks {
		row.Membership = withoutMark(row.Membership)
	}
	r := Result{ReadSeq: row.ReadSeq, DeliveredSeq: row.DeliveredSeq}
	r.Count, err = count(tx, head, row, cmd.Conversation, cmd.User, cmd.TimeMs)
	if err != nil {
		return Result{}, effects, err
	}
	if moved || unmarks {
		if err := tx.PutMember(index, cmd.User, cmd.Conversation, row); err != nil {
			return Result{}, effects, err
		}
	}
	if moved {
		if effects, err = tellReceipt(tx, cmd, row, r, effects); err != nil {
			return Result{}, effects, err
		}
	}
	if unmarks {
		if effects, err = tellState(tx, cmd.User, cmd.Conversation, cmd.TimeMs, nil, effects); err != nil {
			return Result{}, effects, err
		}
	}
	return r, effects, nil
}

// tellReceipt adds the effects of the user's cursors having moved: for their own
// devices, for the other one of a direct conversation, and for all others in a
// group that is small enough.
func tellReceipt(tx *msgstore.Tx, cmd *Command, row msgstore.Member, r Result, effects []Effect) ([]Effect, error) {
	receipt := Effect{
		Kind:         EffectReceipt,
		Conversation: cmd.Conversation,
		Users:        []string{cmd.User},
		User:         cmd.User,
		ReadSeq:      r.ReadSeq,
		DeliveredSeq: r.DeliveredSeq,
		Count:        r.Count,
	}
	switch protocol.KindOf(cmd.Conversation) {
	case protocol.Direct:
		peer, _ := protocol.Peer(cmd.Conversation, cmd.User)
		receipt.Users = append(receipt.Users, peer)
	case protocol.Group:
		g, _, err := tx.Group(cmd.Conversation)
		if err != nil {
			return effects, err
		}
		if ShowsReceipts(g, cmd.Rules) && row.Membership.GetStanding() == pb.Standing_STANDING_ACTIVE {
			toAll := receipt
			toAll.Users, toAll.Group, toAll.Count = nil, true, Count{}
			effects = append(effects, toAll)
		}
	}
	return append(effects, receipt), nil
}

// moveCursors returns row with the cursors moved forward to read and delivered,
// and whether that moved any.
func moveCursors(tx *msgstore.Tx, head msgstore.Head, row msgstore.Member, conversation, user string, read, delivered uint64) (msgstore.Member, bool, error) {
	before := row
	row.ReadSeq = max(row.ReadSeq, read)
	row.DeliveredSeq = max(row.DeliveredSeq, delivered, row.ReadSeq) // what is read was delivered
	if row.ReadSeq > before.ReadSeq {
		var err error
		row.ReadOthers, err = othersUpTo(tx.Message, head, conversation, user, row.ReadSeq)
		if err != nil {
			return msgstore.Member{}, false, err
		}
	}
	return row, row.ReadSeq > before.ReadSeq || row.DeliveredSeq > before.DeliveredSeq, nil
}

// applyTrim removes messages from the old end. It is no business of the
// members' sessions: what went is told to those who ask for it.
func applyTrim(tx *msgstore.Tx, index uint64, cmd *Command) (Result, error) {
	_, exists, err := tx.Head(cmd.Conversation)
	if err != nil || !exists {
		return Result{}, err
	}
	removed, err := tx.Trim(index, cmd.Conversation, cmd.Below)
	return Result{Removed: removed}, err
}
