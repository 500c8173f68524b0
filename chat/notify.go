package chat

import (
	"google.golang.org/protobuf/proto"

	"github.com/godwit-im/godwit/msgstore"
	"github.com/godwit-im/godwit/protocol"
	"github.com/godwit-im/godwit/protocol/pb"
)

// followUp notes, in the transaction of the command at index, that user's
// system conversation is to get a notice. The system conversation is in another
// partition as a rule, so the notice waits in the one of source, the command's
// conversation, until the log has put it there (see relay). n tells several
// notices of one command apart. notice must not be changed any more.
func followUp(tx *msgstore.Tx, index uint64, source string, n int, user string, notice *pb.Notice, effects []Effect) ([]Effect, error) {
	wire, err := proto.MarshalOptions{Deterministic: true}.Marshal(notice)
	if err != nil {
		return effects, err
	}
	conversation := protocol.SystemID(user)
	if err := tx.PutFollowUp(index, source, n, conversation, wire); err != nil {
		return effects, err
	}
	return append(effects, Effect{
		Kind:         EffectFollowUp,
		Conversation: conversation,
		Notice:       notice,
		Source:       source,
		Index:        index,
		FollowUp:     n,
	}), nil
}

// applyNotify appends a notice to a system conversation, which begins with its
// first one. A notice that is there already is not appended again: whoever
// wants it there can't know whether an earlier try came to anything.
func applyNotify(tx *msgstore.Tx, index uint64, cmd *Command, effects []Effect) (Result, []Effect, error) {
	user, system := protocol.SystemUser(cmd.Conversation)
	if !system {
		return Result{Err: errNotAMember}, effects, nil
	}
	seq, found, err := tx.FindByClientID(cmd.Conversation, "", cmd.ClientID)
	if err != nil {
		return Result{}, effects, err
	}
	if found {
		return Result{Seq: seq, Duplicate: true}, effects, nil
	}
	head, err := systemHead(tx, index, user)
	if err != nil {
		return Result{}, effects, err
	}
	body, err := proto.MarshalOptions{Deterministic: true}.Marshal(cmd.Notice)
	if err != nil {
		return Result{}, effects, err
	}
	m := &pb.Message{
		Conversation: cmd.Conversation,
		Seq:          head.Seq + 1,
		Id:           cmd.MessageID,
		ClientId:     cmd.ClientID,
		TimeMs:       max(cmd.TimeMs, head.TimeMs),
		Kind:         pb.Kind_KIND_NOTICE,
		Body:         body,
		// Unlike in a group: to say what is new is what these notices are for.
		Count: head.Count + 1,
	}
	frame := protocol.NewMessageFrame(m)
	if err := tx.Append(index, m, frame[protocol.HeaderSize:]); err != nil {
		return Result{}, effects, err
	}
	effects = append(effects, Effect{
		Kind:         EffectMessage,
		Conversation: m.Conversation,
		Users:        []string{user},
		Seq:          m.Seq,
		Frame:        frame,
	})
	return Result{Seq: m.Seq, ID: m.Id, TimeMs: m.TimeMs}, effects, nil
}

// systemHead returns the head of user's system conversation, which it makes if
// there is none.
func systemHead(tx *msgstore.Tx, index uint64, user string) (msgstore.Head, error) {
	conversation := protocol.SystemID(user)
	head, exists, err := tx.Head(conversation)
	if err != nil || exists {
		return head, err
	}
	if err := tx.Create(index, conversation, user); err != nil {
		return msgstore.Head{}, err
	}
	head, _, err = tx.Head(conversation)
	return head, err
}

// applyForget drops what followUp noted, once the notice is where it belongs.
// To drop it twice is no error.
func applyForget(tx *msgstore.Tx, index uint64, cmd *Command) (Result, error) {
	return Result{}, tx.DropFollowUp(index, cmd.Conversation, cmd.Index, cmd.FollowUp)
}
