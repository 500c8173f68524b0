package chat

import (
	"slices"

	"google.golang.org/protobuf/proto"

	"github.com/godwit-im/godwit/msgstore"
	"github.com/godwit-im/godwit/protocol"
	"github.com/godwit-im/godwit/protocol/pb"
)

// What two users are to each other is in their rows of the direct conversation
// between them: one's row has what the other one is to them. So it is decided
// with the conversation, in its partition, and a SEND finds it there.
//
// A row is made when there is something to put into it. Who has blocked a
// stranger, or given them a name, has a row, and the stranger has none: to them
// there is no conversation.

var (
	// One refusal for both reasons: whoever gets it can't tell them apart.
	errUnwelcome = protocol.Errorf(pb.Code_CODE_NOT_ALLOWED, "this user takes no messages and no requests from you")
	errBlocked   = protocol.Errorf(pb.Code_CODE_BLOCKED, "this user has blocked you")

	errUnknownAction   = protocol.Errorf(pb.Code_CODE_BAD_ARGUMENT, "unknown action on a contact")
	errNoRequest       = protocol.Errorf(pb.Code_CODE_NOT_ALLOWED, "this user has not asked to be your contact")
	errTooManyContacts = protocol.Errorf(pb.Code_CODE_TOO_MANY_CONTACTS, "one of you has as many contacts, requests and blocked users as a user may have")
)

// refuseDirect is why cmd's user may not write to peer in their direct
// conversation; nil if they may.
func refuseDirect(tx *msgstore.Tx, cmd *Command, peer string) (*protocol.Error, error) {
	head, _, err := tx.Head(cmd.Conversation)
	if err != nil {
		return nil, err
	}
	if head.Blocked { // else the row need not be read, which costs as much as all the rest
		theirs, _, err := tx.Member(peer, cmd.Conversation)
		if err != nil {
			return nil, err
		}
		if theirs.Membership.GetBlocked() {
			return refuseBlocked(cmd.Rules), nil
		}
	}
	if !cmd.Rules.NeedsContact(cmd.Takes) {
		return nil, nil
	}
	mine, _, err := tx.Member(cmd.User, cmd.Conversation)
	if err != nil || mine.Membership.GetContact() == pb.ContactState_CONTACT_STATE_CONTACT {
		return nil, err
	}
	return errUnwelcome, nil
}

func refuseBlocked(rules *Rules) *protocol.Error {
	if rules.TellBlocked {
		return errBlocked
	}
	return errUnwelcome
}

// contact is one CONTACT while it is applied: what each of the two users is to
// the other one. Both memberships are copies, to be changed.
type contact struct {
	cmd          *Command
	peer         string
	mine, theirs *pb.Membership
	told         pb.NoticeType // what the peer's system conversation is to say
}

func applyContact(tx *msgstore.Tx, index uint64, cmd *Command, effects []Effect) (Result, []Effect, error) {
	peer, member := protocol.Peer(cmd.Conversation, cmd.User)
	if !member || peer != cmd.Contact.GetUser() {
		return Result{Err: errNotAMember}, effects, nil
	}
	mine, _, err := tx.Member(cmd.User, cmd.Conversation)
	if err != nil {
		return Result{}, effects, err
	}
	theirs, _, err := tx.Member(peer, cmd.Conversation)
	if err != nil {
		return Result{}, effects, err
	}
	c := contact{cmd: cmd, peer: peer, mine: ownMembership(mine), theirs: ownMembership(theirs)}
	if refusal := c.act(); refusal != nil {
		return Result{Err: refusal}, effects, err
	}
	if c.full(cmd.User, mine.Membership, c.mine) || c.full(peer, theirs.Membership, c.theirs) {
		return Result{Err: errTooManyContacts}, effects, nil
	}
	effects, err = putMembership(tx, index, cmd.User, cmd.Conversation, mine, c.mine, cmd.TimeMs, effects)
	if err != nil {
		return Result{}, effects, err
	}
	effects, err = putMembership(tx, index, peer, cmd.Conversation, theirs, c.theirs, cmd.TimeMs, effects)
	if err != nil {
		return Result{}, effects, err
	}
	head, _, err := tx.Head(cmd.Conversation)
	if err != nil {
		return Result{}, effects, err
	}
	if blocked := c.mine.Blocked || c.theirs.Blocked; blocked != head.Blocked {
		if err := tx.PutBlocked(index, cmd.Conversation, blocked); err != nil {
			return Result{}, effects, err
		}
	}
	// Who has blocked somebody hears nothing from them.
	if c.told != pb.NoticeType_NOTICE_TYPE_UNSPECIFIED && !c.theirs.Blocked {
		notice := &pb.Notice{Type: c.told, Actor: cmd.User, Users: []string{peer}, Text: cmd.Contact.Text}
		if effects, err = followUp(tx, index, cmd.Conversation, 0, peer, notice, effects); err != nil {
			return Result{}, effects, err
		}
	}
	return Result{Contact: NewContact(peer, c.mine)}, effects, nil
}

// act changes c as its command asks. What is so already changes nothing, and is
// no refusal: a request that is sent again has come true.
func (c *contact) act() *protocol.Error {
	switch c.cmd.Contact.Action {
	case pb.ContactAction_CONTACT_ACTION_REQUEST:
		return c.request()
	case pb.ContactAction_CONTACT_ACTION_ACCEPT:
		return c.accept()
	case pb.ContactAction_CONTACT_ACTION_REFUSE:
		if c.mine.Contact == pb.ContactState_CONTACT_STATE_PENDING {
			c.become(pb.ContactState_CONTACT_STATE_NONE, pb.ContactState_CONTACT_STATE_NONE)
			c.told = pb.NoticeType_NOTICE_TYPE_CONTACT_REFUSED
		}
	case pb.ContactAction_CONTACT_ACTION_REMOVE:
		if c.mine.Contact != pb.ContactState_CONTACT_STATE_NONE {
			c.become(pb.ContactState_CONTACT_STATE_NONE, pb.ContactState_CONTACT_STATE_NONE)
		}
	case pb.ContactAction_CONTACT_ACTION_REMARK:
		c.mine.Remark = c.cmd.Contact.Text
	case pb.ContactAction_CONTACT_ACTION_BLOCK:
		c.mine.Blocked = true
	case pb.ContactAction_CONTACT_ACTION_UNBLOCK:
		c.mine.Blocked = false
	default:
		return errUnknownAction
	}
	return nil
}

func (c *contact) request() *protocol.Error {
	switch {
	case c.theirs.Blocked:
		return refuseBlocked(c.cmd.Rules)
	case c.mine.Contact == pb.ContactState_CONTACT_STATE_PENDING: // both want it
		return c.accept()
	case c.mine.Contact == pb.ContactState_CONTACT_STATE_NONE:
		c.become(pb.ContactState_CONTACT_STATE_REQUESTED, pb.ContactState_CONTACT_STATE_PENDING)
		c.told = pb.NoticeType_NOTICE_TYPE_CONTACT_REQUESTED
	}
	return nil
}

func (c *contact) accept() *protocol.Error {
	switch c.mine.Contact {
	case pb.ContactState_CONTACT_STATE_CONTACT:
	case pb.ContactState_CONTACT_STATE_PENDING:
		c.become(pb.ContactState_CONTACT_STATE_CONTACT, pb.ContactState_CONTACT_STATE_CONTACT)
		c.told = pb.NoticeType_NOTICE_TYPE_CONTACT_ACCEPTED
	default:
		return errNoRequest
	}
	return nil
}

func (c *contact) become(mine, theirs pb.ContactState) {
	c.mine.Contact, c.mine.ContactMs = mine, c.cmd.TimeMs
	c.theirs.Contact, c.theirs.ContactMs = theirs, c.cmd.TimeMs
}

// full reports whether c would give user a contact more than they may have.
func (c *contact) full(user string, before, after *pb.Membership) bool {
	return !isContact(before) && isContact(after) && slices.Contains(c.cmd.Full, user)
}

// isContact reports whether the other user is anything to the one whose row of
// a direct conversation this is: what CONTACTS lists, and MaxContacts counts.
func isContact(m *pb.Membership) bool {
	return m.GetContact() != pb.ContactState_CONTACT_STATE_NONE || m.GetBlocked() || m.GetRemark() != ""
}

// NewContact is what user is to the one whose row of their direct conversation
// m is.
func NewContact(user string, m *pb.Membership) *pb.Contact {
	return &pb.Contact{
		User:    user,
		State:   m.GetContact(),
		Blocked: m.GetBlocked(),
		Remark:  m.GetRemark(),
		TimeMs:  m.GetContactMs(),
	}
}

// ownMembership returns a copy of a row's membership, to be changed.
func ownMembership(row msgstore.Member) *pb.Membership {
	if row.Membership == nil {
		return &pb.Membership{}
	}
	return proto.Clone(row.Membership).(*pb.Membership)
}
