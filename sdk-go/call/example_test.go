package call_test

import (
	"context"
	"fmt"
	"time"

	godwit "github.com/godwit-im/godwit/sdk-go"
	"github.com/godwit-im/godwit/sdk-go/call"
	"github.com/godwit-im/godwit/sdk-go/internal/fakeserver"
)

// telephone is a device that can call and be called.
func telephone(ctx context.Context, server *fakeserver.Server, user string, h call.Handler) (*godwit.Client, *call.Calls, error) {
	calls := call.New(call.Options{Handler: h})
	client, err := godwit.Dial(ctx, godwit.Options{
		Addr: server.Addr(), Device: user + "-phone", Platform: "ios",
		// A real program gets its tokens from its own backend.
		Token:   func(context.Context) (string, error) { return user, nil },
		Handler: godwit.Handler{OnSignal: func(s godwit.Signal) { calls.Handle(s) }},
	})
	if err != nil {
		calls.Close(ctx)
		return nil, nil, err
	}
	calls.Attach(client)
	return client, calls, nil
}

// Alice calls bob, who answers. What goes through the call as bytes here is WebRTC's
// in a real program.
func Example() {
	server, err := fakeserver.Start(fakeserver.Config{})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer server.Close()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	over := make(chan struct{})

	bob, bobsCalls, err := telephone(ctx, server, "bob", call.Handler{
		OnCall: func(c *call.Call) {
			fmt.Printf("bob's phone rings: %s, offering %s\n", c.User(), c.Offer())
			err := c.Ring()
			if err == nil {
				err = c.Accept([]byte("an answer"))
			}
			if err != nil {
				fmt.Println(err) // the call has ended meanwhile
			}
		},
		OnPayload: func(_ *call.Call, candidate []byte) { fmt.Printf("bob has %s\n", candidate) },
		OnState: func(_ *call.Call, s call.Status) {
			if s.State == call.Ended {
				fmt.Println("bob's call has ended:", s.Reason)
				close(over)
			}
		},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer bob.Close()
	defer bobsCalls.Close(ctx)

	active := make(chan struct{})
	alice, alicesCalls, err := telephone(ctx, server, "alice", call.Handler{
		OnState: func(c *call.Call, s call.Status) {
			if s.State == call.Active {
				fmt.Printf("alice has %s of bob's device %s\n", c.Answer(), s.Device)
				close(active)
			}
		},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer alice.Close()
	defer alicesCalls.Close(ctx)

	// A server lets users signal who have written to each other, or are contacts.
	placed, err := alicesCalls.Place("bob", []byte("an offer"))
	if err != nil {
		fmt.Println(err)
		return
	}
	<-active
	if err := placed.Send([]byte("a candidate")); err != nil {
		fmt.Println(err)
	}
	if err := placed.HangUp(); err != nil {
		fmt.Println(err)
	}
	<-over
	// Output:
	// bob's phone rings: alice, offering an offer
	// alice has an answer of bob's device bob-phone
	// bob has a candidate
	// bob's call has ended: hung up
}
