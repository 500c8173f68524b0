package godwit

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/godwit-im/godwit/protocol"
	"github.com/godwit-im/godwit/protocol/pb"
)

// ContactState is what another user is to the user.
type ContactState = pb.ContactState

// The states.
const (
	ContactNone      = pb.ContactState_CONTACT_STATE_NONE
	ContactRequested = pb.ContactState_CONTACT_STATE_REQUESTED // the user asked them
	ContactPending   = pb.ContactState_CONTACT_STATE_PENDING   // they asked the user
	ContactMutual    = pb.ContactState_CONTACT_STATE_CONTACT
)

// Contact is a user who is something to the user of the client: a contact, one
// who was asked or who asks, a blocked one, or one with a remark.
type Contact struct {
	User    string
	State   ContactState
	Blocked bool
	Remark  string    // what the user calls them
	Changed time.Time // when State did last
}

// contact is what the peer is to the user, if they are anything.
func (b *box) contact() (contact Contact, is bool) {
	row := b.view.membership
	contact = Contact{
		User: b.peer, State: row.GetContact(), Blocked: row.GetBlocked(), Remark: row.GetRemark(),
		Changed: timeOf(row.GetContactMs()),
	}
	return contact, b.peer != "" && (contact.State != ContactNone || contact.Blocked || contact.Remark != "")
}

func contactFromWire(c *pb.Contact) Contact {
	return Contact{User: c.User, State: c.State, Blocked: c.Blocked, Remark: c.Remark, Changed: timeOf(c.TimeMs)}
}

// Contacts returns all users who are something to this one, by user id. It asks
// nobody: the list is as of the last SYNC, and kept right by what was pushed
// since.
func (c *Client) Contacts() []Contact {
	c.mu.Lock()
	var contacts []Contact
	for _, b := range c.account.boxes {
		if contact, is := b.contact(); is {
			contacts = append(contacts, contact)
		}
	}
	c.mu.Unlock()
	slices.SortFunc(contacts, func(x, y Contact) int { return cmp.Compare(x.User, y.User) })
	return contacts
}

// FetchContacts asks the server for what Contacts returns, waiting for a
// connection if there is none.
func (c *Client) FetchContacts(ctx context.Context) ([]Contact, error) {
	var contacts []Contact
	for after := ""; ; {
		answer, err := c.ask(ctx, protocol.TypeContacts, &pb.Contacts{After: after})
		if err != nil {
			return nil, err
		}
		page := answer.(*pb.ContactList)
		for _, contact := range page.Contacts {
			contacts = append(contacts, contactFromWire(contact))
			after = contact.User
		}
		if !page.More || len(page.Contacts) == 0 {
			return contacts, nil
		}
	}
}

// RequestContact asks a user to be a contact, with a text of at most
// protocol.MaxText bytes. Where both ask each other they are contacts at once.
func (c *Client) RequestContact(user, text string) *Call[Contact] {
	return c.contact(user, pb.ContactAction_CONTACT_ACTION_REQUEST, text)
}

// AcceptContact makes a contact of a user who asked.
func (c *Client) AcceptContact(user string) *Call[Contact] {
	return c.contact(user, pb.ContactAction_CONTACT_ACTION_ACCEPT, "")
}

// RefuseContact does not.
func (c *Client) RefuseContact(user string) *Call[Contact] {
	return c.contact(user, pb.ContactAction_CONTACT_ACTION_REFUSE, "")
}

// RemoveContact ends it for both, and takes a request back.
func (c *Client) RemoveContact(user string) *Call[Contact] {
	return c.contact(user, pb.ContactAction_CONTACT_ACTION_REMOVE, "")
}

// Remark notes what the user calls another one; empty for nothing.
func (c *Client) Remark(user, remark string) *Call[Contact] {
	return c.contact(user, pb.ContactAction_CONTACT_ACTION_REMARK, remark)
}

// Block has a user be unable to write to this one, to signal, or to see whether
// they are online.
func (c *Client) Block(user string) *Call[Contact] {
	return c.contact(user, pb.ContactAction_CONTACT_ACTION_BLOCK, "")
}

// Unblock ends it.
func (c *Client) Unblock(user string) *Call[Contact] {
	return c.contact(user, pb.ContactAction_CONTACT_ACTION_UNBLOCK, "")
}

func (c *Client) contact(user string, action pb.ContactAction, text string) *Call[Contact] {
	if err := protocol.CheckID("user", user); err != nil {
		return failed[Contact](c, fmt.Errorf("godwit: contact: %w", err))
	}
	learn := func(a *account, answer proto.Message) {
		contact := answer.(*pb.Contacted).Contact
		a.own(a.box(protocol.DirectID(a.user, user)), func(row *pb.Membership) {
			row.Contact, row.Blocked, row.Remark = contact.GetState(), contact.GetBlocked(), contact.GetRemark()
			row.ContactMs = contact.GetTimeMs()
		})
	}
	body := &pb.ContactRequest{User: user, Action: action, Text: text}
	return start(c, protocol.TypeContact, body, learn, func(m proto.Message) Contact {
		return contactFromWire(m.(*pb.Contacted).Contact)
	})
}
