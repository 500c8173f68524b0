package presence

import (
	"github.com/godwit-im/godwit/protocol"
	"github.com/godwit-im/godwit/protocol/pb"
)

// audience is who may see the user's presence, as they have chosen.
func (p *Presence) audience(user string) (pb.Audience, error) {
	m, _, err := p.store.Member(user, protocol.SystemID(user))
	return m.Membership.GetAccount().GetPresence(), err
}

// visible reports whether viewer may see the user's presence. It reads the store.
func (p *Presence) visible(viewer, user string) (bool, error) {
	audience, err := p.audience(user)
	if err != nil {
		return false, err
	}
	return p.sees(audience, viewer, user)
}

// sees is visible where the user's audience is known.
//
// Those whom the user has blocked see nothing, whatever the audience. Where
// nothing was chosen it takes a message between the two, not just a conversation:
// asking to be a contact makes one, and must not show anything to who asked.
func (p *Presence) sees(audience pb.Audience, viewer, user string) (bool, error) {
	if viewer == user {
		return true, nil
	}
	if audience == pb.Audience_AUDIENCE_NOBODY {
		return false, nil
	}
	conversation := protocol.DirectID(viewer, user)
	m, _, err := p.store.Member(user, conversation)
	switch {
	case err != nil || m.Membership.GetBlocked():
		return false, err
	case audience == pb.Audience_AUDIENCE_EVERYBODY, m.Membership.GetContact() == pb.ContactState_CONTACT_STATE_CONTACT:
		return true, nil
	case audience == pb.Audience_AUDIENCE_CONTACTS:
		return false, nil
	}
	head, _, err := p.store.Head(conversation)
	return head.Seq > 0, err
}
