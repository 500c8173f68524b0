package godwit_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"time"

	"github.com/godwit-im/godwit/protocol"
	"github.com/godwit-im/godwit/protocol/pb"
	godwit "github.com/godwit-im/godwit/sdk-go"
	"github.com/godwit-im/godwit/sdk-go/internal/fakeserver"
)

// The examples run against a fake server, for which a user's id is a good
// token. A real program gets its tokens from its own backend.
func exampleServer() *fakeserver.Server {
	server, err := fakeserver.Start(fakeserver.Config{})
	if err != nil {
		log.Fatal(err)
	}
	return server
}

func tokenOf(user string) func(context.Context) (string, error) {
	return func(context.Context) (string, error) { return user, nil }
}

// Two users, one message: from Send to the read tick.
func Example() {
	server := exampleServer()
	defer server.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()

	arrived := make(chan godwit.Message, 1)
	bob, err := godwit.Dial(ctx, godwit.Options{
		Addr:   server.Addr(),
		Token:  tokenOf("bob"),
		Device: "laptop",
		Handler: godwit.Handler{
			OnMessage: func(m godwit.Message) { arrived <- m },
		},
	})
	if err != nil {
		log.Fatal(err)
	}
	defer bob.Close()

	alice, err := godwit.Dial(ctx, godwit.Options{
		Addr:   server.Addr(),
		Token:  tokenOf("alice"),
		Device: "phone",
	})
	if err != nil {
		log.Fatal(err)
	}
	defer alice.Close()

	out, err := alice.SendText(ctx, "bob", "Hello!")
	if err != nil {
		log.Fatal(err) // not accepted: the outbox is full, or the text is too long
	}
	ack, err := out.Sent(ctx)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("stored as seq %d of %s\n", ack.Seq, out.Conversation())

	m := <-arrived
	fmt.Printf("%s wrote %q\n", m.Sender, m.Text())
	if err := bob.MarkRead(m.Conversation, m.Seq); err != nil {
		log.Fatal(err)
	}
	if err := out.Read(ctx); err != nil {
		log.Fatal(err)
	}
	fmt.Println(out.Status())
	// Output:
	// stored as seq 1 of d:alice:bob
	// alice wrote "Hello!"
	// read
}

// A program that is told about its connection. The states come in order; here
// the server asks its clients to leave for a moment.
func ExampleDial() {
	server := exampleServer()
	defer server.Close()

	online := make(chan struct{}, 2)
	client, err := godwit.Dial(context.Background(), godwit.Options{
		Addr:    server.Addr(),
		Token:   tokenOf("alice"),
		Device:  "phone",
		Backoff: godwit.Backoff{Min: time.Millisecond, Max: time.Second},
		Handler: godwit.Handler{
			OnState: func(s godwit.State) {
				switch s.Phase {
				case godwit.Waiting:
					fmt.Println(s.Phase, "because of", godwit.CodeOf(s.Err).Name())
				case godwit.Online:
					fmt.Println(s.Phase)
					online <- struct{}{}
				default:
					fmt.Println(s.Phase)
				}
			},
		},
	})
	if err != nil {
		log.Fatal(err)
	}
	<-online
	server.GoAway("alice", 10*time.Millisecond)
	<-online
	client.Close()
	// Output:
	// connecting
	// syncing
	// online
	// waiting because of DRAINING
	// connecting
	// syncing
	// online
	// closed
}

// A bot that answers. Send and MarkRead may be called from the handler.
func ExampleHandler() {
	server := exampleServer()
	defer server.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()

	dialled := make(chan *godwit.Client, 1) // the first message may come before Dial returns
	var bot *godwit.Client
	client, err := godwit.Dial(ctx, godwit.Options{
		Addr:   server.Addr(),
		Token:  tokenOf("bot"),
		Device: "server-1",
		Handler: godwit.Handler{
			OnMessage: func(m godwit.Message) {
				if bot == nil {
					bot = <-dialled
				}
				if m.Sender == bot.User() {
					return // its own messages are handed to it too, at their place
				}
				if _, err := bot.SendText(ctx, m.Sender, "You said: "+m.Text()); err != nil {
					log.Print(err)
				}
				if err := bot.MarkRead(m.Conversation, m.Seq); err != nil {
					log.Print(err)
				}
			},
		},
	})
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	dialled <- client

	server.Say("alice", "bot", "ping")
	server.Until(2*time.Minute, func() bool { return len(server.Messages("d:alice:bot")) == 2 })
	for _, m := range server.Messages("d:alice:bot") {
		fmt.Printf("%d %s: %s\n", m.Seq, m.Sender, m.Body)
	}
	// Output:
	// 1 alice: ping
	// 2 bot: You said: ping
}

// Many messages at once. Send does not wait for the server, so they travel
// together, and arrive in their order.
func ExampleClient_Send() {
	server := exampleServer()
	defer server.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	alice, err := godwit.Dial(ctx, godwit.Options{Addr: server.Addr(), Token: tokenOf("alice"), Device: "phone"})
	if err != nil {
		log.Fatal(err)
	}
	defer alice.Close()

	var handles []*godwit.Outgoing
	for i := range 3 {
		out, err := alice.Send(ctx, protocol.DirectID("alice", "bob"), godwit.Draft{
			Kind:        godwit.KindCustom,
			ContentType: "application/json",
			Body:        fmt.Appendf(nil, `{"n": %d}`, i),
		})
		if err != nil {
			log.Fatal(err)
		}
		handles = append(handles, out)
	}
	for _, out := range handles {
		ack, err := out.Sent(ctx)
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println("seq", ack.Seq)
	}
	// Output:
	// seq 1
	// seq 2
	// seq 3
}

// A message that the server refuses for good.
func ExampleSendError() {
	server := exampleServer()
	defer server.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	alice, err := godwit.Dial(ctx, godwit.Options{Addr: server.Addr(), Token: tokenOf("alice"), Device: "phone"})
	if err != nil {
		log.Fatal(err)
	}
	defer alice.Close()

	out, err := alice.Send(ctx, protocol.DirectID("bob", "carol"), godwit.Draft{Body: []byte("May I?")})
	if err != nil {
		log.Fatal(err)
	}
	_, err = out.Sent(ctx)
	var refused *godwit.SendError
	if errors.As(err, &refused) {
		fmt.Println("refused by", refused.Conversation)
	}
	if godwit.CodeOf(err) == pb.Code_CODE_NOT_A_MEMBER {
		fmt.Println("not a member of it")
	}
	fmt.Println(out.Status())
	// Output:
	// refused by d:bob:carol
	// not a member of it
	// failed
}

// A program that ends with messages in its outbox, and starts again on the
// same file. They keep their client message ids, so none is stored twice even
// if its ack was what got lost.
func ExampleOpenFileStore() {
	server := exampleServer()
	defer server.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	dir, err := os.MkdirTemp("", "godwit")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)

	handed := make(chan godwit.Message)
	run := func(work func(*godwit.Client)) {
		store, err := godwit.OpenFileStore(filepath.Join(dir, "alice"))
		if err != nil {
			log.Fatal(err)
		}
		defer store.Close()
		client, err := godwit.Dial(ctx, godwit.Options{
			Addr: server.Addr(), Token: tokenOf("alice"), Device: "phone", Store: store,
			Handler: godwit.Handler{OnMessage: func(m godwit.Message) { handed <- m }},
		})
		if err != nil {
			log.Fatal(err)
		}
		defer client.Close() // before the store
		work(client)
	}

	server.SetFaults(fakeserver.Faults{Refuse: 1}) // it is busy, and stays so
	run(func(client *godwit.Client) {
		if _, err := client.SendText(ctx, "bob", "Are you there?"); err != nil {
			log.Fatal(err)
		}
	})
	server.Say("bob", "alice", "Hello?")
	run(func(client *godwit.Client) {
		waiting := client.Outbox()
		fmt.Println("in the outbox:", len(waiting))
		server.SetFaults(fakeserver.Faults{})
		ack, err := waiting[0].Sent(ctx)
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println("sent as seq", ack.Seq)
		for range 2 {
			m := <-handed
			fmt.Printf("%d %s: %s\n", m.Seq, m.Sender, m.Text())
		}
	})
	run(func(client *godwit.Client) {
		fmt.Println("in the outbox:", len(client.Outbox()))
	})
	// Output:
	// in the outbox: 1
	// sent as seq 2
	// 1 bob: Hello?
	// 2 alice: Are you there?
	// in the outbox: 0
}

// The messages of a conversation, backwards, a page at a time.
func ExampleClient_History() {
	server := exampleServer()
	defer server.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	for i := range 5 {
		server.Say("bob", "alice", fmt.Sprint("message ", i+1))
	}
	alice, err := godwit.Dial(ctx, godwit.Options{
		Addr: server.Addr(), Token: tokenOf("alice"), Device: "phone",
		StartAtHead: true, // OnMessage is for what is new
	})
	if err != nil {
		log.Fatal(err)
	}
	defer alice.Close()

	before := uint64(0) // the newest
	for {
		page, err := alice.History(ctx, protocol.DirectID("alice", "bob"), before, 2)
		if err != nil {
			log.Fatal(err)
		}
		if len(page) == 0 {
			break
		}
		fmt.Println("page:")
		for _, m := range page {
			fmt.Println(" ", m.Text())
		}
		before = page[0].Seq
	}
	// Output:
	// page:
	//   message 4
	//   message 5
	// page:
	//   message 2
	//   message 3
	// page:
	//   message 1
}

// The list of conversations that a chat program opens with.
func ExampleClient_FetchConversations() {
	server := exampleServer()
	defer server.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	server.Say("bob", "alice", "Lunch?")
	server.Say("carol", "alice", "The report is ready.")
	server.Say("carol", "alice", "Have a look.")
	server.Read("alice", "carol", 1, 2)

	alice, err := godwit.Dial(ctx, godwit.Options{
		Addr: server.Addr(), Token: tokenOf("alice"), Device: "phone", StartAtHead: true,
	})
	if err != nil {
		log.Fatal(err)
	}
	defer alice.Close()
	conversations, err := alice.FetchConversations(ctx)
	if err != nil {
		log.Fatal(err)
	}
	unread := make(map[string]uint64)
	for _, c := range conversations {
		unread[c.Peer] = c.Unread
		if c.Peer == "carol" {
			fmt.Printf("%s: %q\n", c.Peer, c.Last.Text())
		}
	}
	fmt.Println("unread:", unread)
	// Output:
	// carol: "Have a look."
	// unread: map[bob:1 carol:1]
}

// Who is there?
func ExampleClient_Online() {
	server := exampleServer()
	defer server.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	var clients []*godwit.Client
	for _, user := range []string{"alice", "bob"} {
		client, err := godwit.Dial(ctx, godwit.Options{Addr: server.Addr(), Token: tokenOf(user), Device: "phone"})
		if err != nil {
			log.Fatal(err)
		}
		defer client.Close()
		clients = append(clients, client)
	}
	server.Say("bob", "alice", "Hi.")   // presence is told
	server.Say("carol", "alice", "Hi.") // to those who talk to each other
	online, err := clients[0].Online(ctx, "bob", "carol")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(online)
	// Output:
	// [bob]
}
