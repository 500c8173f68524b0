package godwit_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/godwit-im/godwit/protocol"
	"github.com/godwit-im/godwit/protocol/pb"
	godwit "github.com/godwit-im/godwit/sdk-go"
	"github.com/godwit-im/godwit/sdk-go/internal/fakeserver"
)

func TestHistory(t *testing.T) {
	s := startServer(t, fakeserver.Config{PullLimit: 7})
	conv := direct("alice", "bob")
	for i := range 50 {
		s.Say("bob", "alice", fmt.Sprint(i+1))
	}
	s.Retain(conv, 4)
	alice := newApp(t, s, "alice")
	alice.opts.StartAtHead = true
	a := alice.dial()
	for _, test := range []struct {
		before   uint64
		limit    int
		from, to int
	}{
		{0, 10, 41, 50},
		{0, 1, 50, 50},
		{41, 10, 31, 40},
		{1000, 3, 48, 50},
		{11, 100, 4, 10},
		{0, 1000, 4, 50},
		{5, 1, 4, 4},
		{4, 5, 1, 0},
		{1, 5, 1, 0},
		{0, 0, 1, 0},
	} {
		got, err := a.History(within(t), conv, test.before, test.limit)
		if err != nil {
			t.Fatal(err)
		}
		var want []uint64
		for seq := test.from; seq <= test.to; seq++ {
			want = append(want, uint64(seq))
		}
		var seqs []uint64
		for _, m := range got {
			if m.Text() != fmt.Sprint(m.Seq) {
				t.Errorf("seq %d: %q", m.Seq, m.Text())
			}
			seqs = append(seqs, m.Seq)
		}
		if !slices.Equal(seqs, want) {
			t.Errorf("before %d, limit %d: %v", test.before, test.limit, seqs)
		}
	}
	if _, err := a.History(within(t), direct("bob", "carol"), 0, 1); godwit.CodeOf(err) != pb.Code_CODE_NOT_A_MEMBER {
		t.Errorf("of others: %v", err)
	}
	if _, err := a.History(within(t), "", 0, 1); godwit.CodeOf(err) != pb.Code_CODE_BAD_ID {
		t.Errorf("of nobody: %v", err)
	}
	alice.mu.Lock()
	defer alice.mu.Unlock()
	if n := len(alice.messages); n > 0 {
		t.Error("OnMessage was called for history")
	}
}

func TestConversations(t *testing.T) {
	s := startServer(t, fakeserver.Config{SyncLimit: 2})
	peers := []string{"bob", "carol", "dave", "erin", "frank"}
	for i, peer := range peers {
		for range i + 1 {
			s.Say(peer, "alice", "hello from "+peer)
		}
	}
	s.Say("alice", "erin", "hello back")
	s.Read("alice", "erin", 3, 4)
	s.Read("erin", "alice", 2, 5)
	s.Retain(direct("alice", "frank"), 6)
	a := newApp(t, s, "alice").dial()
	got, err := a.FetchConversations(within(t))
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != len(peers) {
		t.Fatalf("got %+v", got)
	}
	for _, c := range got {
		switch c.Peer {
		case "erin":
			if c.ID != direct("alice", "erin") || c.HeadSeq != 5 || c.MinSeq != 1 || c.Unread != 1 || c.ReadSeq != 3 ||
				c.DeliveredSeq != 4 || c.PeerReadSeq != 2 || c.PeerDeliveredSeq != 5 || c.Last == nil || c.Last.Text() != "hello back" {
				t.Errorf("got %+v", c)
			}
		case "frank":
			if c.Last != nil || c.MinSeq != 6 || c.HeadSeq != 5 {
				t.Errorf("got %+v", c)
			}
		}
	}
}

func TestOnline(t *testing.T) {
	s := startServer(t, fakeserver.Config{})
	a := newApp(t, s, "alice").dial()
	newApp(t, s, "bob").dial()
	newApp(t, s, "stranger").dial()
	s.Say("bob", "alice", "x")
	s.Say("carol", "alice", "x")
	users := []string{"bob", "carol", "stranger"}
	for i := range 250 {
		users = append(users, fmt.Sprint("user", i))
	}
	online, err := a.Online(within(t), users...)
	if err != nil || !slices.Equal(online, []string{"bob"}) {
		t.Errorf("online %q, %v", online, err)
	}
	if n := s.Requests(protocol.TypeWho); n != 3 {
		t.Errorf("%d requests", n)
	}
	if _, err := a.Online(within(t), "no id"); godwit.CodeOf(err) != pb.Code_CODE_BAD_ID {
		t.Errorf("got %v", err)
	}
}

// TestCallsOutliveConnections asks while the server cuts, drains and is busy.
func TestCallsOutliveConnections(t *testing.T) {
	t.Parallel()
	for name, faults := range map[string]fakeserver.Faults{
		"cut":        {Cut: 0.2, CutAnswer: 0.2},
		"busy":       {Refuse: 0.5},
		"at its end": {Refuse: 0.5, RefuseCode: pb.Code_CODE_TOO_MANY_IN_FLIGHT, Cut: 0.1},
	} {
		t.Run(name, func(t *testing.T) {
			s := startServer(t, fakeserver.Config{Seed: 1})
			s.Say("bob", "alice", "x")
			a := newApp(t, s, "alice").dial()
			s.SetFaults(faults)
			for range 8 {
				if m, err := a.History(within(t), direct("alice", "bob"), 0, 1); err != nil || len(m) != 1 {
					t.Fatal(m, err)
				}
			}
		})
	}
}

func TestCallEndsWithItsContext(t *testing.T) {
	s := startServer(t, fakeserver.Config{})
	a := newApp(t, s, "alice").dial()
	s.Close()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() {
		_, err := a.FetchConversations(ctx)
		done <- err
	}()
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}
