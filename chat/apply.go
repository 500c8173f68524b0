package chat

import (
	"bytes"
	"fmt"

	"github.com/godwit-im/godwit/msgstore"
	"github.com/godwit-im/godwit/protocol"
	"github.com/godwit-im/godwit/protocol/pb"
)

// The refusals of Apply. They are shared by all results and never changed.
var (
	errNotAMember     = protocol.Errorf(pb.Code_CODE_NOT_A_MEMBER, "not a member of this conversation")
	errClientIDReused = protocol.Errorf(pb.Code_CODE_CLIENT_ID_REUSED, "this client message id names another message")
	errPastHead       = protocol.Errorf(pb.Code_CODE_SEQ_OUT_OF_RANGE, "there is no such seq in this conversation yet")
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
	default:
		err = fmt.Errorf("unknown op %d", cmd.Op)
	}
	if err != nil {
		return Result{}, effects, fmt.Errorf("apply op %d at index %d: %w", cmd.Op, index, err)
	}
	return r, effects, nil
}

func applySend(tx *msgstore.Tx, index uint64, cmd *Command, effects []Effect) (Result, []Effect, error) {
	peer, member := protocol.Peer(cmd.Conversation, cmd.User)
	if !member {
		return Result{Err: errNotAMember}, effects, nil
	}
	seq, found, err := tx.FindByClientID(cmd.Conversation, cmd.User, cmd.ClientID)
	if err != nil {
		return Result{}, effects, err
	}
	if found {
		r, err := answerResend(tx, seq, cmd)
		return r, effects, err
	}
	return appendMessage(tx, index, cmd, peer, effects)
}

// answerResend answers a SEND whose client message id is that of the message at
// seq. Whoever resends gets the first answer again; an id that is used for
// something else is a defect in the client that must not pass for success.
func answerResend(tx *msgstore.Tx, seq uint64, cmd *Command) (Result, error) {
	m, err := readMessage(tx.Message, cmd.Conversation, seq)
	if err != nil {
		return Result{}, err
	}
	if m.Kind != cmd.Kind || m.ContentType != cmd.ContentType || !bytes.Equal(m.Body, cmd.Body) {
		return Result{Err: errClientIDReused}, nil
	}
	return Result{Seq: m.Seq, ID: m.Id, TimeMs: m.TimeMs, Duplicate: true}, nil
}

// appendMessage stores cmd's message at the end of its conversation, which
// comes into being with its first one.
func appendMessage(tx *msgstore.Tx, index uint64, cmd *Command, peer string, effects []Effect) (Result, []Effect, error) {
	head, exists, err := tx.Head(cmd.Conversation)
	if err != nil {
		return Result{}, effects, err
	}
	users := []string{cmd.User, peer}
	if !exists {
		if err := tx.Create(index, cmd.Conversation, users...); err != nil {
			return Result{}, effects, err
		}
	}
	m := &pb.Message{
		Conversation: cmd.Conversation,
		Seq:          head.Seq + 1,
		Id:           cmd.MessageID,
		Sender:       cmd.User,
		ClientId:     cmd.ClientID,
		// A clock that was set back, or another node's that is behind, must not
		// make time run backwards within a conversation.
		TimeMs:      max(cmd.TimeMs, head.TimeMs),
		Kind:        cmd.Kind,
		ContentType: cmd.ContentType,
		Body:        cmd.Body,
		Count:       head.Count + 1,
		SenderCount: head.Count - head.Others(cmd.User) + 1,
	}
	frame := protocol.NewMessageFrame(m)
	if err := tx.Append(index, m, frame[protocol.HeaderSize:]); err != nil {
		return Result{}, effects, err
	}
	effects = append(effects, Effect{
		Kind:         EffectMessage,
		Conversation: m.Conversation,
		Users:        users,
		Seq:          m.Seq,
		Frame:        frame,
	})
	return Result{Seq: m.Seq, ID: m.Id, TimeMs: m.TimeMs}, effects, nil
}

func applyMark(tx *msgstore.Tx, index uint64, cmd *Command, effects []Effect) (Result, []Effect, error) {
	peer, member := protocol.Peer(cmd.Conversation, cmd.User)
	if !member {
		return Result{Err: errNotAMember}, effects, nil
	}
	head, exists, err := tx.Head(cmd.Conversation)
	switch {
	case err != nil:
		return Result{}, effects, err
	case !exists:
		return Result{Err: errNotAMember}, effects, nil
	case cmd.ReadSeq > head.Seq || cmd.DeliveredSeq > head.Seq:
		return Result{Err: errPastHead}, effects, nil
	}
	row, found, err := tx.Member(cmd.User, cmd.Conversation)
	switch {
	case err != nil:
		return Result{}, effects, err
	case !found:
		return Result{}, effects, fmt.Errorf("conversation without its member's row at seq %d", head.Seq)
	}

	read := max(row.ReadSeq, cmd.ReadSeq)
	delivered := max(row.DeliveredSeq, cmd.DeliveredSeq, read) // what is read was delivered
	moved := read > row.ReadSeq || delivered > row.DeliveredSeq
	if read > row.ReadSeq {
		row.ReadOthers, err = othersUpTo(tx.Message, head, cmd.Conversation, cmd.User, read)
		if err != nil {
			return Result{}, effects, err
		}
	}
	row.ReadSeq, row.DeliveredSeq = read, delivered
	unread, err := Unread(tx.Message, head, row, cmd.Conversation, cmd.User)
	if err != nil {
		return Result{}, effects, err
	}
	if moved {
		if err := tx.PutMember(index, cmd.User, cmd.Conversation, row); err != nil {
			return Result{}, effects, err
		}
		effects = append(effects, Effect{
			Kind:         EffectReceipt,
			Conversation: cmd.Conversation,
			Users:        []string{cmd.User, peer},
			User:         cmd.User,
			ReadSeq:      read,
			DeliveredSeq: delivered,
			Unread:       unread,
		})
	}
	return Result{ReadSeq: read, DeliveredSeq: delivered, Unread: unread}, effects, nil
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
