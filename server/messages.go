package server

import (
	"time"

	"github.com/godwit-im/godwit/chat"
	"github.com/godwit-im/godwit/protocol"
	"github.com/godwit-im/godwit/protocol/pb"
	"github.com/godwit-im/godwit/session"
)

// onSend hands a message to the command log.
func (g *gateway) onSend(s *session.Session, f protocol.Frame, now time.Time) error {
	var req pb.Send
	if err := protocol.ParseSend(f.Body, &req); err != nil {
		return err
	}
	if err := chat.CheckSend(s.User, &req, g.maxBody); err != nil {
		return err
	}
	return g.submit(s, f, now, chat.Command{
		Op:           chat.OpSend,
		Conversation: req.Conversation,
		User:         s.User,
		ClientID:     req.ClientId,
		Kind:         req.Kind,
		ContentType:  req.ContentType,
		Body:         req.Body,
		ReplySeq:     req.ReplySeq,
		Mentions:     req.Mentions,
		MentionAll:   req.MentionAll,
		TTLMs:        req.TtlMs,
		Flags:        req.Flags,
		Target:       req.Target,
		Remove:       req.Remove,
	})
}

// onMark moves the user's cursors in a conversation.
func (g *gateway) onMark(s *session.Session, f protocol.Frame, now time.Time) error {
	var req pb.Mark
	if err := protocol.Decode(f, &req); err != nil {
		return err
	}
	if err := chat.CheckMark(s.User, &req); err != nil {
		return err
	}
	return g.submit(s, f, now, chat.Command{
		Op:           chat.OpMark,
		Conversation: req.Conversation,
		User:         s.User,
		ReadSeq:      req.ReadSeq,
		DeliveredSeq: req.DeliveredSeq,
	})
}
