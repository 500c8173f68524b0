package chat

import (
	"cmp"

	"google.golang.org/protobuf/proto"

	"github.com/godwit-im/godwit/msgstore"
	"github.com/godwit-im/godwit/protocol"
	"github.com/godwit-im/godwit/protocol/pb"
)

func applySettings(tx *msgstore.Tx, index uint64, cmd *Command, effects []Effect) (Result, []Effect, error) {
	head, row, refusal, err := ownRow(tx, cmd.Conversation, cmd.User)
	if err != nil || refusal != nil {
		return Result{Err: refusal}, effects, err
	}
	m := ownMembership(row)
	if m.Settings == nil {
		m.Settings = &pb.Settings{}
	}
	shown := head.Shown
	_, last := Bounds(head, m)
	if last < head.Seq && last >= head.MinSeq {
		newest, err := readMessage(tx.Message, cmd.Conversation, last)
		if err != nil {
			return Result{}, effects, err
		}
		shown = cmp.Or(newest.ShownSeq, newest.Seq)
	}
	set(m.Settings, cmd.Settings, cmd.TimeMs, min(shown, last))
	settings := m.Settings
	if proto.Size(settings) == 0 {
		m.Settings = nil
	}
	effects, err = putMembership(tx, index, cmd.User, cmd.Conversation, row, m, cmd.TimeMs, effects)
	return Result{Settings: settings}, effects, err
}

// set makes the changes that req asks for. What is pinned, and stays so, keeps
// its time. shown is the newest seq that is to be shown to the user.
func set(s *pb.Settings, req *pb.SetSettings, nowMs int64, shown uint64) {
	if req.Pinned != nil && *req.Pinned != (s.PinnedMs > 0) {
		s.PinnedMs = 0
		if *req.Pinned {
			s.PinnedMs = nowMs
		}
	}
	if req.Muted != nil {
		s.Muted = *req.Muted
	}
	if req.Archived != nil {
		s.Archived = *req.Archived
	}
	if req.Draft != nil && *req.Draft != s.Draft {
		s.Draft, s.DraftMs = *req.Draft, 0
		if s.Draft != "" {
			s.DraftMs = nowMs
		}
	}
	if req.MarkedUnread != nil {
		s.MarkedUnread = *req.MarkedUnread
	}
	if req.Hidden != nil {
		s.HiddenSeq = 0
		if *req.Hidden {
			s.HiddenSeq = shown
		}
	}
}

// withoutMark is m without the mark that a user reads what they had marked as
// unread by hand.
func withoutMark(m *pb.Membership) *pb.Membership {
	m = proto.Clone(m).(*pb.Membership)
	m.Settings.MarkedUnread = false
	if proto.Size(m.Settings) == 0 {
		m.Settings = nil
	}
	return orNil(m)
}

// applyAccount changes a user's own choices, which are in the row of their
// system conversation.
func applyAccount(tx *msgstore.Tx, index uint64, cmd *Command, effects []Effect) (Result, []Effect, error) {
	if cmd.Conversation != protocol.SystemID(cmd.User) {
		return Result{Err: errNotAMember}, effects, nil
	}
	row, _, err := tx.Member(cmd.User, cmd.Conversation)
	if err != nil {
		return Result{}, effects, err
	}
	m := ownMembership(row)
	account := m.Account
	if account == nil {
		account = &pb.Account{}
	}
	if req := cmd.Account; req.Presence != nil {
		account.Presence = *req.Presence
	}
	if req := cmd.Account; req.Messages != nil {
		account.Messages = *req.Messages
	}
	if m.Account = account; proto.Size(account) == 0 {
		m.Account = nil
	}
	effects, err = putMembership(tx, index, cmd.User, cmd.Conversation, row, m, cmd.TimeMs, effects)
	return Result{Account: account}, effects, err
}

// applySeen notes when a user was online last. It is told to those who ask.
func applySeen(tx *msgstore.Tx, index uint64, cmd *Command) (Result, error) {
	if cmd.Conversation != protocol.SystemID(cmd.User) {
		return Result{Err: errNotAMember}, nil
	}
	return Result{}, tx.PutSeen(index, cmd.Conversation, cmd.User, cmd.SeenMs)
}
