package chat

import (
	"slices"

	"github.com/godwit-im/godwit/msgstore"
	"github.com/godwit-im/godwit/protocol"
	"github.com/godwit-im/godwit/protocol/pb"
)

// An event is a message that changes another one, its target: it edits or
// recalls it, or reacts to it. Like every message it has a seq, is acked, pushed
// and pulled; it is neither shown nor counted. In the same transaction the
// target's record becomes what the event makes of it, with the event's seq as
// its version. So who pulls the target late sees it as it is, who has it already
// applies the event, and both end with the same.

var (
	errTargetGone       = protocol.Errorf(pb.Code_CODE_NOT_FOUND, "there is no such message any more, or it is one that can't be changed")
	errNotTheSender     = protocol.Errorf(pb.Code_CODE_NOT_ALLOWED, "only the sender may do this to a message")
	errTooLate          = protocol.Errorf(pb.Code_CODE_TOO_LATE, "the time in which the sender may change this message is over")
	errTooManyReactions = protocol.Errorf(pb.Code_CODE_TOO_MANY_REACTIONS, "this message has as many different reactions as it may have")
)

// applyEvent appends cmd's event and changes its target.
func applyEvent(tx *msgstore.Tx, index uint64, cmd *Command, head msgstore.Head, from *sender, effects []Effect) (Result, []Effect, error) {
	switch {
	case cmd.Target > head.Seq:
		return Result{Err: errPastHead}, effects, nil
	case cmd.Target < max(head.MinSeq, from.first()):
		return Result{Err: errTargetGone}, effects, nil
	}
	target, err := readMessage(tx.Message, cmd.Conversation, cmd.Target)
	if err != nil {
		return Result{}, effects, err
	}
	m := &pb.Message{}
	fill(m, cmd, &head, from)
	if !hasContent(target.Kind) || target.State != pb.MessageState_MESSAGE_STATE_NORMAL || isOver(target.ExpiresMs, m.TimeMs) {
		return Result{Err: errTargetGone}, effects, nil
	}
	var refusal *protocol.Error
	switch cmd.Kind {
	case pb.Kind_KIND_EDIT:
		refusal = refuseEdit(cmd, target, m.TimeMs)
		m.ExpiresMs = target.ExpiresMs // what it says must not outlive the target
	case pb.Kind_KIND_RECALL:
		refusal = refuseRecall(cmd, target, m.TimeMs, from)
	case pb.Kind_KIND_REACTION:
		var has bool
		has, err = tx.Reacted(cmd.Conversation, cmd.Target, string(cmd.Body), cmd.User)
		if err == nil && has != cmd.Remove {
			r, err := answerUnchanged(tx, target)
			return r, effects, err
		}
		refusal = refuseReaction(cmd, target)
	}
	if err != nil || refusal != nil {
		return Result{Err: refusal}, effects, err
	}
	r, effects, err := push(tx, index, m, from, effects)
	if err != nil {
		return Result{}, effects, err
	}
	if err := keep(tx, index, head.Left, target, m); err != nil {
		return Result{}, effects, err
	}
	target.ChangedSeq = m.Seq
	switch cmd.Kind {
	case pb.Kind_KIND_EDIT:
		err = edit(tx, index, target, m)
	case pb.Kind_KIND_RECALL:
		target.RecalledBy = cmd.User
		err = bury(tx, index, target, pb.MessageState_MESSAGE_STATE_RECALLED)
	case pb.Kind_KIND_REACTION:
		err = react(tx, index, target, m)
	}
	return r, effects, err
}

// answerUnchanged answers a reaction that is there already, or is to be taken
// back and isn't: nothing is appended, and the answer names the event that made
// the target what it is, or the target itself.
func answerUnchanged(tx *msgstore.Tx, target *pb.Message) (Result, error) {
	m := target
	if target.ChangedSeq != 0 {
		var err error
		if m, err = readMessage(tx.Message, target.Conversation, target.ChangedSeq); err != nil {
			return Result{}, err
		}
	}
	return Result{Seq: m.Seq, ID: m.Id, TimeMs: m.TimeMs, Duplicate: true}, nil
}

func refuseEdit(cmd *Command, target *pb.Message, nowMs int64) *protocol.Error {
	switch {
	case target.Sender != cmd.User:
		return errNotTheSender
	case isLate(target, nowMs, cmd.Rules.EditWindow.Milliseconds()):
		return errTooLate
	}
	return checkBody(target.Kind, cmd.ContentType, cmd.Body)
}

func refuseRecall(cmd *Command, target *pb.Message, nowMs int64, from *sender) *protocol.Error {
	switch {
	case from.mayRecall(target.Sender, nowMs):
		return nil
	case target.Sender != cmd.User:
		return errNotTheSender
	case isLate(target, nowMs, cmd.Rules.RecallWindow.Milliseconds()):
		return errTooLate
	}
	return nil
}

// isLate reports whether a window that opened with m, 0 for one that never
// closes, is closed at nowMs.
func isLate(m *pb.Message, nowMs, windowMs int64) bool {
	return windowMs > 0 && nowMs-m.TimeMs > windowMs
}

func refuseReaction(cmd *Command, target *pb.Message) *protocol.Error {
	if !cmd.Remove && len(target.Reactions) >= cmd.Rules.MaxReactions && reaction(target, string(cmd.Body)) < 0 {
		return errTooManyReactions
	}
	return nil
}

// reaction returns where in m's reactions the one with this key is, -1 if
// nowhere.
func reaction(m *pb.Message, key string) int {
	return slices.IndexFunc(m.Reactions, func(r *pb.Reaction) bool { return r.Key == key })
}

// edit makes target what the edit m says. Those whom it mentions find that at
// target, as if it had always been there; those who may have read target without
// it, at the edit too.
func edit(tx *msgstore.Tx, index uint64, target, m *pb.Message) error {
	anew, allAnew, err := mentionedAnew(tx, target, m)
	if err != nil {
		return err
	}
	if err := putMentions(tx, index, target.Conversation, m.Seq, m.Sender, anew, allAnew); err != nil {
		return err
	}
	if err := putExpiry(tx, index, m); err != nil {
		return err
	}
	if err := tx.DropMentions(index, target.Conversation, target.Seq, target.Mentions, target.MentionAll); err != nil {
		return err
	}
	if err := putMentions(tx, index, target.Conversation, target.Seq, m.Sender, m.Mentions, m.MentionAll); err != nil {
		return err
	}
	if target.EditedSeq != 0 {
		if err := silence(tx, index, target.Conversation, target.EditedSeq, pb.MessageState_MESSAGE_STATE_RECALLED); err != nil {
			return err
		}
	}
	target.ContentType, target.Body = m.ContentType, m.Body
	target.Mentions, target.MentionAll = m.Mentions, m.MentionAll
	target.EditedMs, target.EditedSeq = m.TimeMs, m.Seq
	return rewrite(tx, index, target)
}

// mentionedAnew returns whom the edit m mentions who may not know it yet: those
// whom target did not mention, and those who are to find it at the edit before,
// which m outdates, and have not come to that. Whether everybody has can't be
// told.
func mentionedAnew(tx *msgstore.Tx, target, m *pb.Message) (users []string, all bool, err error) {
	pending := func(user string) (bool, error) {
		if target.EditedSeq == 0 {
			return false, nil
		}
		return tx.Mentioned(target.Conversation, target.EditedSeq, user)
	}
	for _, user := range m.Mentions {
		anew := !slices.Contains(target.Mentions, user)
		if !anew {
			if anew, err = pending(user); err != nil {
				return nil, false, err
			}
			if anew {
				row, _, err := tx.Member(user, target.Conversation)
				if err != nil {
					return nil, false, err
				}
				anew = row.ReadSeq < target.EditedSeq
			}
		}
		if anew {
			users = append(users, user)
		}
	}
	if all = m.MentionAll && !target.MentionAll; m.MentionAll && !all {
		all, err = pending("")
	}
	return users, all, err
}

// react makes m's reaction one of target's, or takes it back. Reactions are in
// the order in which the first user had each. The users that are named are the
// first by id.
func react(tx *msgstore.Tx, index uint64, target, m *pb.Message) error {
	key := string(m.Body)
	if err := tx.PutReaction(index, target.Conversation, target.Seq, key, m.Sender, !m.Remove); err != nil {
		return err
	}
	i := reaction(target, key)
	if m.Remove {
		if err := takeBack(tx, target, i, m.Sender); err != nil {
			return err
		}
		return rewrite(tx, index, target)
	}
	if i < 0 {
		i = len(target.Reactions)
		target.Reactions = append(target.Reactions, &pb.Reaction{Key: key})
	}
	r := target.Reactions[i]
	r.Count++
	at, _ := slices.BinarySearch(r.Users, m.Sender)
	r.Users = slices.Insert(r.Users, at, m.Sender)
	r.Users = r.Users[:min(len(r.Users), protocol.MaxReactionUsers)]
	return rewrite(tx, index, target)
}

// takeBack takes user, who has it, from the i-th of target's reactions.
func takeBack(tx *msgstore.Tx, target *pb.Message, i int, user string) (err error) {
	r := target.Reactions[i]
	if r.Count--; r.Count == 0 {
		target.Reactions = slices.Delete(target.Reactions, i, i+1)
		return nil
	}
	at, named := slices.BinarySearch(r.Users, user)
	switch {
	case !named:
	case r.Count < protocol.MaxReactionUsers:
		r.Users = slices.Delete(r.Users, at, at+1)
	default: // somebody moves up
		r.Users, err = tx.FirstReactors(target.Conversation, target.Seq, r.Key, protocol.MaxReactionUsers)
	}
	return err
}
