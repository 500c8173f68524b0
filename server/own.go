package server

import (
	"time"

	"github.com/godwit-im/godwit/chat"
	"github.com/godwit-im/godwit/protocol"
	"github.com/godwit-im/godwit/protocol/pb"
	"github.com/godwit-im/godwit/session"
)

// What users change for themselves.

// onSettings changes how a conversation is shown.
func (g *gateway) onSettings(s *session.Session, f protocol.Frame, now time.Time) error {
	var req pb.SetSettings
	if err := protocol.Decode(f, &req); err != nil {
		return err
	}
	if err := chat.CheckSettings(s.User, &req); err != nil {
		return err
	}
	return g.submit(s, f, now, chat.Command{
		Op: chat.OpSettings, Conversation: req.Conversation, User: s.User, Settings: &req,
	})
}

// onDelete deletes messages for the user alone.
func (g *gateway) onDelete(s *session.Session, f protocol.Frame, now time.Time) error {
	var req pb.Delete
	if err := protocol.Decode(f, &req); err != nil {
		return err
	}
	if err := chat.CheckDelete(s.User, &req); err != nil {
		return err
	}
	return g.submit(s, f, now, chat.Command{
		Op: chat.OpDelete, Conversation: req.Conversation, User: s.User, Delete: &req,
	})
}

// onContact changes what another user is to this one.
func (g *gateway) onContact(s *session.Session, f protocol.Frame, now time.Time) error {
	var req pb.ContactRequest
	if err := protocol.Decode(f, &req); err != nil {
		return err
	}
	if err := chat.CheckContact(s.User, &req); err != nil {
		return err
	}
	cmd := chat.Command{
		Op: chat.OpContact, Conversation: protocol.DirectID(s.User, req.User), User: s.User, Contact: &req,
	}
	switch req.Action {
	case pb.ContactAction_CONTACT_ACTION_REQUEST:
		if err := g.invites.take(s.User, 1, now); err != nil {
			return err
		}
		return g.submitFull(s, f, now, cmd, []string{s.User, req.User}, g.limits.fullOfContacts)
	case pb.ContactAction_CONTACT_ACTION_BLOCK, pb.ContactAction_CONTACT_ACTION_REMARK:
		return g.submitFull(s, f, now, cmd, []string{s.User}, g.limits.fullOfContacts)
	}
	return g.submit(s, f, now, cmd)
}

// onAccount changes the user's own choices.
func (g *gateway) onAccount(s *session.Session, f protocol.Frame, now time.Time) error {
	var req pb.SetAccount
	if err := protocol.Decode(f, &req); err != nil {
		return err
	}
	if err := chat.CheckAccount(&req); err != nil {
		return err
	}
	return g.submit(s, f, now, chat.Command{
		Op: chat.OpAccount, Conversation: protocol.SystemID(s.User), User: s.User, Account: &req,
	})
}
