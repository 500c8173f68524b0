package godwit_test

import (
	"context"
	"fmt"
	"time"

	godwit "github.com/godwit-im/godwit/sdk-go"
	"github.com/godwit-im/godwit/sdk-go/internal/fakeserver"
)

// exampleClient dials as a user whose device is called after them.
func exampleClient(ctx context.Context, server *fakeserver.Server, user string, h godwit.Handler) *godwit.Client {
	client, err := godwit.Dial(ctx, godwit.Options{
		Addr: server.Addr(), Token: tokenOf(user), Device: user + "-phone", Platform: "ios", Handler: h,
	})
	if err != nil {
		panic(err)
	}
	return client
}

// must is for examples: it ends the program where a real one would look at the
// error.
func must[T any](result T, err error) T {
	if err != nil {
		panic(err)
	}
	return result
}

// A group of three: one makes it, one changes it, all see it.
func Example_groups() {
	server := exampleServer()
	defer server.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()

	notices := make(chan godwit.Message, 8)
	alice := exampleClient(ctx, server, "alice", godwit.Handler{})
	defer alice.Close()
	bob := exampleClient(ctx, server, "bob", godwit.Handler{
		OnMessage: func(m godwit.Message) { notices <- m },
	})
	defer bob.Close()

	made := must(alice.CreateGroup(godwit.NewGroup{Name: "Lunch", Users: []string{"bob", "carol"}}).Wait(ctx))
	group := made.Group.Conversation
	must(alice.SetRole(group, godwit.RoleAdmin, "bob").Wait(ctx))
	must(bob.ChangeGroup(group, godwit.GroupChange{Name: new("Lunch at noon")}).Wait(ctx))
	must(must(alice.SendText(ctx, group, "See you!", godwit.MentionAll())).Sent(ctx))

	for range 4 {
		switch m := <-notices; m.Kind {
		case godwit.KindNotice:
			fmt.Println(m.Notice.Type, "by", m.Notice.Actor)
		default:
			fmt.Printf("%s: %s\n", m.Sender, m.Text())
		}
	}
	for _, member := range must(bob.Members(ctx, group)) {
		fmt.Println(member.User, member.Role)
	}
	// Output:
	// NOTICE_TYPE_GROUP_CREATED by alice
	// NOTICE_TYPE_ROLE_CHANGED by alice
	// NOTICE_TYPE_GROUP_CHANGED by bob
	// alice: See you!
	// alice ROLE_OWNER
	// bob ROLE_ADMIN
	// carol ROLE_MEMBER
}

// Replies, mentions, edits, reactions and recalls. The application keeps the
// messages that it was handed and applies to them what happens later.
func Example_messages() {
	server := exampleServer()
	defer server.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()

	var kept []godwit.Message // belongs to the handler until done
	done := make(chan struct{})
	bob := exampleClient(ctx, server, "bob", godwit.Handler{
		OnMessage: func(m godwit.Message) {
			if kept = append(kept, m); m.Text() == "bye" {
				close(done)
			}
		},
		OnMessageChanged: func(c godwit.MessageChange) {
			for i := range kept {
				kept[i].Apply(c)
			}
		},
	})
	defer bob.Close()
	alice := exampleClient(ctx, server, "alice", godwit.Handler{})
	defer alice.Close()

	first := must(must(alice.SendText(ctx, "bob", "Lunhc?", godwit.Mention("bob"))).Sent(ctx))
	conversation := alice.Conversations()[0].ID
	must(must(alice.EditText(ctx, conversation, first.Seq, "Lunch?", godwit.Mention("bob"))).Sent(ctx))
	must(must(bob.React(ctx, conversation, first.Seq, "+1")).Sent(ctx))
	oops := must(must(alice.SendText(ctx, conversation, "oops", godwit.Reply(first.Seq))).Sent(ctx))
	must(must(alice.Recall(ctx, conversation, oops.Seq)).Sent(ctx))
	must(alice.SendText(ctx, conversation, "bye"))

	<-done
	for _, m := range kept {
		fmt.Printf("%d %q reply to %d, mentions %v, %v\n", m.Seq, m.Text(), m.Reply, m.Mentions, m.State)
	}
	// Output:
	// 1 "Lunch?" reply to 0, mentions [bob], MESSAGE_STATE_NORMAL
	// 4 "" reply to 1, mentions [], MESSAGE_STATE_RECALLED
	// 6 "bye" reply to 0, mentions [], MESSAGE_STATE_NORMAL
}

// A contact request arrives as a notice of the system conversation.
func Example_contacts() {
	server := exampleServer()
	defer server.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()

	requests := make(chan *godwit.Notice, 1)
	bob := exampleClient(ctx, server, "bob", godwit.Handler{
		OnMessage: func(m godwit.Message) {
			if m.Kind == godwit.KindNotice && m.Notice.Type == godwit.NoticeContactRequested {
				requests <- m.Notice
			}
		},
	})
	defer bob.Close()
	changes := make(chan godwit.Contact, 4)
	alice := exampleClient(ctx, server, "alice", godwit.Handler{
		OnContact: func(c godwit.Contact) { changes <- c },
	})
	defer alice.Close()

	must(alice.RequestContact("bob", "It's me").Wait(ctx))
	request := <-requests
	fmt.Printf("%s says %q\n", request.Actor, request.Text)
	must(bob.AcceptContact(request.Actor).Wait(ctx))
	must(bob.Remark(request.Actor, "Alice from work").Wait(ctx))
	for c := range changes {
		if c.State == godwit.ContactMutual {
			break
		}
	}
	fmt.Println(alice.Contacts()[0].User, alice.Contacts()[0].State)
	fmt.Println(bob.Contacts()[0].Remark)
	// Output:
	// alice says "It's me"
	// bob CONTACT_STATE_CONTACT
	// Alice from work
}

// Settings of a conversation are on all of the user's devices. The list comes in
// the order in which it is shown.
func ExampleClient_SetSettings() {
	server := exampleServer()
	defer server.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	server.Say("bob", "alice", "from bob")
	server.Say("carol", "alice", "from carol")
	server.Say("dave", "alice", "from dave")

	online := make(chan struct{})
	alice := exampleClient(ctx, server, "alice", godwit.Handler{
		OnState: func(s godwit.State) {
			if s.Phase == godwit.Online {
				close(online)
			}
		},
	})
	defer alice.Close()
	<-online
	conversations := make(map[string]string)
	for _, c := range alice.Conversations() {
		conversations[c.Peer] = c.ID
	}
	must(alice.SetSettings(conversations["bob"], godwit.SettingsChange{Pinned: new(true)}).Wait(ctx))
	must(alice.SetSettings(conversations["carol"], godwit.SettingsChange{Draft: new("Dear Ca")}).Wait(ctx))
	must(alice.SetSettings(conversations["dave"], godwit.SettingsChange{Archived: new(true)}).Wait(ctx))
	for _, c := range alice.Conversations() {
		fmt.Printf("%s, %d unread, draft %q\n", c.Peer, c.Unread, c.Settings.Draft)
	}
	for _, c := range alice.Archived() {
		fmt.Println("archived:", c.Peer)
	}
	// Output:
	// bob, 1 unread, draft ""
	// carol, 1 unread, draft "Dear Ca"
	// archived: dave
}

// Who comes and goes.
func ExampleClient_Subscribe() {
	server := exampleServer()
	defer server.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	changes := make(chan godwit.Presence, 4)
	alice := exampleClient(ctx, server, "alice", godwit.Handler{
		OnPresence: func(p godwit.Presence) { changes <- p },
	})
	defer alice.Close()
	for _, p := range must(alice.Subscribe([]string{"bob"}, true).Wait(ctx)) {
		fmt.Println(p.User, "online:", p.Online())
	}
	bob := exampleClient(ctx, server, "bob", godwit.Handler{})
	p := <-changes
	fmt.Println(p.User, "came, on", p.Platforms)
	bob.Close()
	p = <-changes
	fmt.Println(p.User, "left, last seen is known:", !p.LastSeen.IsZero())
	// Output:
	// bob online: false
	// bob came, on [ios]
	// bob left, last seen is known: true
}

// Somebody types.
func ExampleClient_Signal() {
	server := exampleServer()
	defer server.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	signals := make(chan godwit.Signal, 1)
	bob := exampleClient(ctx, server, "bob", godwit.Handler{
		OnSignal: func(s godwit.Signal) { signals <- s },
	})
	defer bob.Close()
	alice := exampleClient(ctx, server, "alice", godwit.Handler{})
	defer alice.Close()

	reached := must(alice.Signal(godwit.Signal{Conversation: "d:alice:bob", Type: "typing"}).Wait(ctx))
	fmt.Println("reached:", reached)
	s := <-signals
	fmt.Println(s.User, s.Device, s.Type)
	// Output:
	// reached: true
	// alice alice-phone typing
}

// The user's other sessions, and the end of one.
func ExampleClient_Devices() {
	server := exampleServer()
	defer server.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	phone := exampleClient(ctx, server, "alice", godwit.Handler{})
	defer phone.Close()
	tablet, err := godwit.Dial(ctx, godwit.Options{
		Addr: server.Addr(), Token: tokenOf("alice"), Device: "alice-tablet", Platform: "android",
	})
	if err != nil {
		panic(err)
	}
	defer tablet.Close()

	for _, d := range must(phone.Devices().Wait(ctx)) {
		fmt.Println(d.Device, d.Platform, "this one:", d.Self)
	}
	fmt.Println("found:", must(phone.EndDevice("alice-tablet").Wait(ctx)))
	<-tablet.Done()
	fmt.Println(tablet.Err())
	// Output:
	// alice-phone ios this one: true
	// alice-tablet android this one: false
	// found: true
	// DEVICE_ENDED (35): ended by another device, by device alice-phone (ios)
}
