package server

import (
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/godwit-im/godwit/chat"
	"github.com/godwit-im/godwit/netpoll"
	"github.com/godwit-im/godwit/protocol"
	"github.com/godwit-im/godwit/protocol/pb"
	"github.com/godwit-im/godwit/session"
)

// dispatch calls the handler for a frame of an authenticated session. Every
// request is answered exactly once: by the handler, by whom it hands the
// request to, or, when it returns an error, by the caller.
func (g *gateway) dispatch(c *netpoll.Conn, s *session.Session, f protocol.Frame, now time.Time) error {
	if err := protocol.CheckFromClient(f); err != nil {
		return err
	}
	switch f.Type {
	case protocol.TypePing:
		s.Reply(protocol.AppendHeader(nil, protocol.TypePong, f.Request, 0))
		return nil
	case protocol.TypePong:
		return nil
	case protocol.TypeBye:
		c.Close(nil)
		return nil
	case protocol.TypeSend:
		return g.onSend(s, f, now)
	case protocol.TypeMark:
		return g.onMark(s, f, now)
	case protocol.TypeGroup:
		return g.onGroup(s, f, now)
	case protocol.TypeSettings:
		return g.onSettings(s, f, now)
	case protocol.TypeDelete:
		return g.onDelete(s, f, now)
	case protocol.TypeContact:
		return g.onContact(s, f, now)
	case protocol.TypeAccount:
		return g.onAccount(s, f, now)
	case protocol.TypePull:
		var req pb.Pull
		return read(s, f, &req, func(n int) error { return g.delivery.Pull(s, f.Request, &req, n) })
	case protocol.TypeSync:
		var req pb.Sync
		return read(s, f, &req, func(n int) error { return g.delivery.Sync(s, f.Request, &req, n) })
	case protocol.TypeInfo:
		var req pb.Info
		return read(s, f, &req, func(n int) error { return g.delivery.Info(s, f.Request, &req, n) })
	case protocol.TypeMembers:
		var req pb.Members
		return read(s, f, &req, func(n int) error { return g.delivery.Members(s, f.Request, &req, n) })
	case protocol.TypeReaders:
		var req pb.Readers
		return read(s, f, &req, func(n int) error { return g.delivery.Readers(s, f.Request, &req, n) })
	case protocol.TypeReactors:
		var req pb.Reactors
		return read(s, f, &req, func(n int) error { return g.delivery.Reactors(s, f.Request, &req, n) })
	case protocol.TypeContacts:
		var req pb.Contacts
		return read(s, f, &req, func(n int) error { return g.delivery.Contacts(s, f.Request, &req, n) })
	case protocol.TypeWho:
		return g.onWho(s, f)
	case protocol.TypeSubscribe:
		return g.onSubscribe(s, f)
	case protocol.TypeSignal:
		return g.onSignal(s, f, now)
	case protocol.TypeDevices:
		return g.onDevices(s, f)
	case protocol.TypeEnd:
		return g.onEnd(s, f)
	case protocol.TypeRenew:
		return g.onRenew(s, f)
	case protocol.TypeConnect:
		return protocol.Errorf(pb.Code_CODE_ALREADY_CONNECTED, "this connection is already connected")
	}
	return protocol.Errorf(pb.Code_CODE_UNKNOWN_TYPE, "%v has no handler", f.Type)
}

// submit puts a command into the log within the session's window. delivery
// answers it, and gives the share of the window back, after the commit.
func (g *gateway) submit(s *session.Session, f protocol.Frame, now time.Time, cmd chat.Command) error {
	return g.begin(s, f, func(inFlight int) error {
		return g.log.Submit(&chat.Proposal{Command: cmd, Origin: s, Request: f.Request, InFlight: inFlight, Accepted: now})
	})
}

// submitFull is submit for a command that needs to know which of users have as
// many groups, or contacts, as they may have, as full finds them. That takes a
// look at the disk, on one of delivery's workers.
func (g *gateway) submitFull(s *session.Session, f protocol.Frame, now time.Time, cmd chat.Command, users []string, full func(users []string) ([]string, error)) error {
	return g.begin(s, f, func(inFlight int) error {
		p := &chat.Proposal{Command: cmd, Origin: s, Request: f.Request, InFlight: inFlight, Accepted: now}
		return g.delivery.Prepare(s, f.Request, inFlight, func() (err error) {
			if p.Command.Full, err = full(users); err != nil {
				return err
			}
			return g.log.Submit(p)
		})
	})
}

// begin has hand, which hands a request that changes something to others, take
// it on within the session's window.
func (g *gateway) begin(s *session.Session, f protocol.Frame, hand func(inFlight int) error) error {
	if g.draining.Load() {
		return draining()
	}
	if err := s.Begin(len(f.Body)); err != nil {
		return err
	}
	if err := hand(len(f.Body)); err != nil {
		s.End(len(f.Body))
		return err
	}
	return nil
}

// read queues a request for delivery's readers within the session's window.
func read(s *session.Session, f protocol.Frame, req proto.Message, queue func(inFlight int) error) error {
	if err := protocol.Decode(f, req); err != nil {
		return err
	}
	if err := s.Begin(len(f.Body)); err != nil {
		return err
	}
	if err := queue(len(f.Body)); err != nil {
		s.End(len(f.Body))
		return err
	}
	return nil
}

// onRenew extends the session with a newer token.
func (g *gateway) onRenew(s *session.Session, f protocol.Frame) error {
	var req pb.Renew
	if err := protocol.Decode(f, &req); err != nil {
		return err
	}
	expires, err := g.sessions.Renew(s, req.Token)
	if err != nil {
		return err
	}
	s.Reply(protocol.AppendProto(nil, protocol.TypeRenewed, f.Request, &pb.Renewed{ExpiresMs: expires}))
	return nil
}
