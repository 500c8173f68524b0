package presence

import (
	"cmp"

	"github.com/godwit-im/godwit/msgstore"
	"github.com/godwit-im/godwit/protocol"
	"github.com/godwit-im/godwit/protocol/pb"
	"github.com/godwit-im/godwit/session"
)

var (
	errNotAMember    = protocol.Errorf(pb.Code_CODE_NOT_A_MEMBER, "not a member of this conversation")
	errNoSuchMember  = protocol.Errorf(pb.Code_CODE_NOT_A_MEMBER, "the user is not in this conversation")
	errUnwelcome     = protocol.Errorf(pb.Code_CODE_NOT_ALLOWED, "you may not write to this user")
	errBlocked       = protocol.Errorf(pb.Code_CODE_BLOCKED, "this user has blocked you")
	errBroadcast     = protocol.Errorf(pb.Code_CODE_NOT_ALLOWED, "there are no signals in a broadcast")
	errWhoseDevice   = protocol.Errorf(pb.Code_CODE_BAD_ARGUMENT, "a device without its user")
	errSignalTooLong = protocol.Errorf(pb.Code_CODE_BAD_ARGUMENT, "the body of a signal is at most %d bytes", protocol.MaxSignal)
)

// CheckSignal reports what is wrong with a SIGNAL as such.
func CheckSignal(req *pb.Signal) error {
	if err := protocol.CheckConversation(req.Conversation); err != nil {
		return err
	}
	if err := protocol.CheckID("type", req.Type); err != nil {
		return err
	}
	if req.User != "" {
		if err := protocol.CheckID("user", req.User); err != nil {
			return err
		}
	}
	if req.Device != "" {
		if req.User == "" {
			return errWhoseDevice
		}
		if err := protocol.CheckID("device", req.Device); err != nil {
			return err
		}
	}
	if len(req.Body) > protocol.MaxSignal {
		return errSignalTooLong
	}
	return nil
}

// Signal passes a SIGNAL that CheckSignal has let through on, and answers it with
// SIGNALLED. It reads the store.
func (p *Presence) Signal(s *session.Session, request uint32, req *pb.Signal) ([]byte, error) {
	p.stats.signals.Add(1)
	users, err := p.addressees(s.User, req)
	if err != nil {
		return nil, err
	}
	frame := protocol.AppendProto(nil, protocol.TypeSignalFrom, 0, &pb.SignalFrom{
		Conversation: req.Conversation, Sender: s.User, Device: s.Device,
		Type: req.Type, Body: req.Body, TimeMs: p.cfg.Now().UnixMilli(),
	})
	reached := false
	var sessions []*session.Session
	for _, id := range users {
		told := false
		sessions = p.sessions.Sessions(sessions[:0], id)
		for _, to := range sessions {
			if to == s || req.Device != "" && req.Device != to.Device || !to.Offer(frame) {
				continue
			}
			told = true
			p.stats.signalled.Add(1)
		}
		// That somebody is there is for those to know who may see it.
		if told && !reached && id != s.User {
			if reached, err = p.visible(s.User, id); err != nil {
				return nil, err
			}
		}
	}
	return protocol.AppendProto(nil, protocol.TypeSignalled, request, &pb.Signalled{Reached: reached}), nil
}

// addressees are the users whose sessions get a signal of the user's.
func (p *Presence) addressees(id string, req *pb.Signal) ([]string, error) {
	switch protocol.KindOf(req.Conversation) {
	case protocol.Direct:
		peer, member := protocol.Peer(req.Conversation, id)
		switch {
		case !member:
			return nil, errNotAMember
		case req.User != "" && req.User != id && req.User != peer:
			return nil, errNoSuchMember
		}
		if err := p.welcome(req.Conversation, id, peer); err != nil {
			return nil, err
		}
		if req.User != "" {
			return []string{req.User}, nil
		}
		return []string{peer, id}, nil
	case protocol.System:
		switch {
		case req.Conversation != protocol.SystemID(id):
			return nil, errNotAMember
		case req.User != "" && req.User != id:
			return nil, errNoSuchMember
		}
		return []string{id}, nil
	}
	return p.groupAddressees(id, req)
}

// welcome refuses a signal from who may not write to peer, or has never talked
// with them: a signal is no way to come to know somebody, nor to find out whether
// one is blocked by them.
func (p *Presence) welcome(conversation, id, peer string) error {
	mine, _, err := p.store.Member(id, conversation)
	if err != nil {
		return err
	}
	takes, err := p.store.Takes(peer)
	if err != nil {
		return err
	}
	contacts := mine.Membership.GetContact() == pb.ContactState_CONTACT_STATE_CONTACT
	contactsOnly := p.cfg.Rules.NeedsContact(takes)
	if !contacts && !contactsOnly {
		if head, _, err := p.store.Head(conversation); err != nil || head.Seq == 0 {
			return cmp.Or(err, error(errNotAMember))
		}
	}
	theirs, _, err := p.store.Member(peer, conversation)
	switch {
	case err != nil:
		return err
	case theirs.Membership.GetBlocked():
		return p.blocked()
	case !contacts && contactsOnly:
		return errUnwelcome
	}
	return nil
}

func (p *Presence) blocked() error {
	if p.cfg.Rules.TellBlocked {
		return errBlocked
	}
	return errUnwelcome
}

// groupAddressees is addressees in a group. A signal to one member may pass in a
// group of any size, and is held to what that member wishes of the user.
func (p *Presence) groupAddressees(id string, req *pb.Signal) ([]string, error) {
	g, found, err := p.store.Group(req.Conversation)
	if err != nil {
		return nil, err
	}
	in, err := p.active(id, req.Conversation)
	switch {
	case err != nil:
		return nil, err
	case !found || !in || g.DissolvedSeq > 0:
		return nil, errNotAMember
	case g.Kind == pb.GroupKind_GROUP_KIND_BROADCAST:
		return nil, errBroadcast
	case req.User == id:
		return []string{id}, nil
	case req.User != "":
		return p.oneOf(id, req)
	case int(g.Members) > p.cfg.Rules.SignalMembers:
		return nil, protocol.Errorf(pb.Code_CODE_GROUP_TOO_LARGE, "the group has %d members, signals to all are for up to %d", g.Members, p.cfg.Rules.SignalMembers)
	}
	users := make([]string, 0, g.Members)
	_, err = p.store.GroupMembers(req.Conversation, false, "", p.cfg.Rules.SignalMembers, func(user string, _ msgstore.Member) error {
		users = append(users, user)
		return nil
	})
	return users, err
}

// oneOf is the one member of a group that a signal is for.
func (p *Presence) oneOf(id string, req *pb.Signal) ([]string, error) {
	in, err := p.active(req.User, req.Conversation)
	if err != nil {
		return nil, err
	}
	if !in {
		return nil, errNoSuchMember
	}
	theirs, _, err := p.store.Member(req.User, protocol.DirectID(id, req.User))
	if err != nil {
		return nil, err
	}
	switch {
	case !theirs.Membership.GetBlocked():
		return []string{req.User}, nil
	case p.cfg.Rules.TellBlocked:
		return nil, errBlocked
	}
	return nil, nil // as if they were not there
}

// active reports whether a user is a member of a group.
func (p *Presence) active(id, conversation string) (bool, error) {
	m, _, err := p.store.Member(id, conversation)
	return m.Membership.GetStanding() == pb.Standing_STANDING_ACTIVE, err
}
