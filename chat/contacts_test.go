package chat

import (
	"fmt"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"pgregory.net/rapid"

	"github.com/godwit-im/godwit/msgstore"
	"github.com/godwit-im/godwit/protocol"
	"github.com/godwit-im/godwit/protocol/pb"
)

// onePair is what a plain reading of docs/PROTOCOL.md makes of two users.
type onePair struct {
	asked    string // who wants to be a contact of the other one; "" = nobody
	contacts bool
	blocked  map[string]bool // by the one who blocks
	notices  map[string]int  // that each one's system conversation has got
}

// state is what the other one is to user.
func (p *onePair) state(user string) pb.ContactState {
	switch {
	case p.contacts:
		return pb.ContactState_CONTACT_STATE_CONTACT
	case p.asked == user:
		return pb.ContactState_CONTACT_STATE_REQUESTED
	case p.asked != "":
		return pb.ContactState_CONTACT_STATE_PENDING
	}
	return pb.ContactState_CONTACT_STATE_NONE
}

// act does what user asks, and reports whether they may.
func (p *onePair) act(user, peer string, action pb.ContactAction) bool {
	tell := func() {
		if !p.blocked[peer] {
			p.notices[peer]++
		}
	}
	accept := func() bool {
		if !p.contacts && p.asked != peer {
			return false
		}
		if !p.contacts {
			p.asked, p.contacts = "", true
			tell()
		}
		return true
	}
	switch action {
	case pb.ContactAction_CONTACT_ACTION_REQUEST:
		switch {
		case p.blocked[peer]:
			return false
		case p.contacts, p.asked == user:
		case p.asked == peer:
			return accept()
		default:
			p.asked = user
			tell()
		}
	case pb.ContactAction_CONTACT_ACTION_ACCEPT:
		return accept()
	case pb.ContactAction_CONTACT_ACTION_REFUSE:
		if p.asked == peer {
			p.asked = ""
			tell()
		}
	case pb.ContactAction_CONTACT_ACTION_REMOVE:
		p.asked, p.contacts = "", false
	case pb.ContactAction_CONTACT_ACTION_BLOCK:
		p.blocked[user] = true
	case pb.ContactAction_CONTACT_ACTION_UNBLOCK:
		p.blocked[user] = false
	}
	return true
}

// TestContactsModel compares what two users do to each other with onePair: their
// states, who may write, and who was told.
func TestContactsModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		store, err := msgstore.Open(storeOptions(vfs.NewMem()))
		if err != nil {
			t.Fatal(err)
		}
		defer store.Close()
		const conversation = "d:ann:bob"
		partition := store.PartitionOf(conversation)
		index, notices := uint64(0), map[string]int{}
		apply := func(c Command) Result {
			index++
			c.Conversation, c.MessageID, c.TimeMs = conversation, index, int64(index)
			tx := store.Begin()
			r, effects, err := Apply(tx, index, &c, nil)
			if err != nil {
				t.Fatal(err)
			}
			tx.SetApplied(partition, index)
			if err := tx.Commit(); err != nil {
				t.Fatal(err)
			}
			for _, e := range effects {
				if e.Kind == EffectFollowUp {
					user, _ := protocol.SystemUser(e.Conversation)
					notices[user]++
				}
			}
			return r
		}
		model := &onePair{blocked: map[string]bool{}, notices: map[string]int{}}
		peers := map[string]string{"ann": "bob", "bob": "ann"}
		for range rapid.IntRange(1, 30).Draw(t, "steps") {
			user := rapid.SampledFrom([]string{"ann", "bob"}).Draw(t, "user")
			peer := peers[user]
			if rapid.IntRange(0, 3).Draw(t, "send") == 0 {
				rules := rulesOf(rapid.SampledFrom([]string{"", "contacts-only"}).Draw(t, "rules"))
				r := apply(Command{Op: OpSend, User: user, ClientID: fmt.Sprint(index), Kind: pb.Kind_KIND_TEXT, Rules: rules})
				if may := !model.blocked[peer] && (model.contacts || !rules.ContactsOnly); may != (r.Err == nil) {
					t.Fatalf("%s may write: %v, and got %v", user, may, r.Err)
				}
				continue
			}
			action := pb.ContactAction(rapid.IntRange(1, 7).Filter(func(n int) bool { return n != int(pb.ContactAction_CONTACT_ACTION_REMARK) }).Draw(t, "action"))
			r := apply(Command{
				Op: OpContact, User: user, Rules: rulesOf(""), Contact: &pb.ContactRequest{User: peer, Action: action},
			})
			if may := model.act(user, peer, action); may != (r.Err == nil) {
				t.Fatalf("%s may %v: %v, and got %v", user, action, may, r.Err)
			}
			if r.Err == nil && (r.Contact.State != model.state(user) || r.Contact.Blocked != model.blocked[user]) {
				t.Fatalf("%s was answered %v", user, r.Contact)
			}
			for u, p := range peers {
				row, _, err := store.Member(u, conversation)
				if err != nil {
					t.Fatal(err)
				}
				if c := NewContact(p, row.Membership); c.State != model.state(u) || c.Blocked != model.blocked[u] {
					t.Fatalf("after %v by %s, %s has %v", action, user, u, c)
				}
				if notices[u] != model.notices[u] {
					t.Fatalf("after %v by %s, %s got %d notices, want %d", action, user, u, notices[u], model.notices[u])
				}
			}
		}
	})
}
