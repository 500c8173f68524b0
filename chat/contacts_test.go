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
				takes := pb.Audience(rapid.SampledFrom([]int32{0, 2, 3}).Draw(t, "the peer takes messages from"))
				r := apply(Command{Op: OpSend, User: user, ClientID: fmt.Sprint(index), Kind: pb.Kind_KIND_TEXT, Rules: rules, Takes: takes})
				strangers := takes == pb.Audience_AUDIENCE_EVERYBODY || takes == 0 && !rules.ContactsOnly
				if may := !model.blocked[peer] && (model.contacts || strangers); may != (r.Err == nil) {
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

// TestTakes: the log holds a SEND to what the other user has chosen, from the
// commit of the choice on and over a restart, whatever the rules say.
func TestTakes(t *testing.T) {
	const (
		policy    = pb.Audience_AUDIENCE_UNSPECIFIED
		contacts  = pb.Audience_AUDIENCE_CONTACTS
		everybody = pb.Audience_AUDIENCE_EVERYBODY
	)
	opts := storeOptions(vfs.NewMem())
	store, err := msgstore.Open(opts)
	if err != nil {
		t.Fatal(err)
	}
	cfg, sink := testConfig(t), newCollector()
	cfg.Rules = *rulesOf("")
	e := startLog(t, cfg, store, sink)
	done := 0
	do := func(p *Proposal) Result {
		t.Helper()
		if err := e.Submit(p); err != nil {
			t.Fatal(err)
		}
		done++
		return sink.wait(t, done)[done-1].Result
	}
	restart := func(rules string) {
		t.Helper()
		closeLog(t, e)
		if err := store.Close(); err != nil {
			t.Fatal(err)
		}
		if store, err = msgstore.Open(opts); err != nil {
			t.Fatal(err)
		}
		cfg.Rules = *rulesOf(rules)
		e = startLog(t, cfg, store, sink)
	}
	choose := func(takes pb.Audience) {
		t.Helper()
		r := do(&Proposal{Command: Command{
			Op: OpAccount, Conversation: "s:bob", User: "bob", Account: &pb.SetAccount{Messages: &takes},
		}})
		if r.Err != nil || r.Account.GetMessages() != takes {
			t.Fatalf("bob chose %v and got %+v", takes, r)
		}
	}
	n := 0
	expect := func(what string, code protocol.Code) {
		t.Helper()
		n++
		if r := do(send("ann", "d:ann:bob", fmt.Sprint(n), "hi")); codeOf(r) != code {
			t.Errorf("%s: %v, want %s", what, r.Err, code.Name())
		}
	}
	const refused = pb.Code_CODE_NOT_ALLOWED
	expect("nothing chosen", 0)
	choose(contacts)
	expect("contacts", refused)
	if r := do(send("bob", "d:ann:bob", "b", "hi")); r.Err != nil {
		t.Errorf("the choice binds who made it: %v", r.Err)
	}
	if r := do(send("ann", "d:ann:bob", "1", "hi")); r.Err != nil || !r.Duplicate {
		t.Errorf("what was stored before is %+v", r)
	}
	restart("")
	expect("contacts, after a restart", refused)
	choose(policy)
	expect("nothing any more", 0)
	restart("contacts-only")
	expect("the policy", refused)
	choose(everybody)
	expect("everybody", 0)
	choose(contacts)
	for _, c := range []struct {
		user, peer string
		action     pb.ContactAction
	}{{"ann", "bob", pb.ContactAction_CONTACT_ACTION_REQUEST}, {"bob", "ann", pb.ContactAction_CONTACT_ACTION_ACCEPT}} {
		r := do(&Proposal{Command: Command{
			Op: OpContact, Conversation: "d:ann:bob", User: c.user, Contact: &pb.ContactRequest{User: c.peer, Action: c.action},
		}})
		if r.Err != nil {
			t.Errorf("%v: %v", c, r.Err)
		}
	}
	expect("a contact", 0)
	closeLog(t, e)
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
}
