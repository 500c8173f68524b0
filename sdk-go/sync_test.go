package godwit_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/godwit-im/godwit/protocol"
	godwit "github.com/godwit-im/godwit/sdk-go"
	"github.com/godwit-im/godwit/sdk-go/internal/fakeserver"
)

// TestCatchUp is away while messages arrive in several conversations, in more
// than one page of everything, and checks that Online comes after the last.
func TestCatchUp(t *testing.T) {
	s := startServer(t, fakeserver.Config{PullLimit: 30, SyncLimit: 2})
	peers := []string{"bob", "carol", "dave", "erin", "frank"}
	const each = 100
	for i := range each {
		for _, peer := range peers {
			s.Say(peer, "alice", fmt.Sprint(i))
		}
	}
	alice := newApp(t, s, "alice")
	alice.opts.Store = godwit.NewMemoryStore()
	online := make(chan int, 1)
	onState := alice.opts.Handler.OnState
	alice.opts.Handler.OnState = func(st godwit.State) {
		onState(st)
		if st.Phase == godwit.Online {
			alice.mu.Lock()
			defer alice.mu.Unlock()
			n := 0
			for _, all := range alice.messages {
				n += len(all)
			}
			online <- n
		}
	}
	a := alice.dial()
	if n := <-online; n != each*len(peers) {
		t.Errorf("online after %d messages", n)
	}
	for _, peer := range peers {
		alice.untilSeqs(direct("alice", peer), 1, each)
	}
	a.Close()

	// Away again, with a position now. One conversation changes.
	s.Say("carol", "alice", "news")
	pulls := s.Requests(protocol.TypePull)
	alice.dial()
	if n := <-online; n != each*len(peers)+1 {
		t.Errorf("online after %d messages", n)
	}
	if n := s.Requests(protocol.TypePull) - pulls; n != 1 {
		t.Errorf("%d PULLs for one message", n)
	}
}

// TestLiveMessagesNeedNoPull checks that a working server is not asked for
// what it pushes.
func TestLiveMessagesNeedNoPull(t *testing.T) {
	s := startServer(t, fakeserver.Config{})
	alice := newApp(t, s, "alice")
	a := alice.dial()
	alice.untilPhase(godwit.Online)
	for i := range 50 {
		s.Say("bob", "alice", fmt.Sprint(i))
		if i%5 == 0 {
			out, err := a.SendText(within(t), "bob", "me too")
			if err != nil {
				t.Fatal(err)
			}
			if _, err := out.Sent(within(t)); err != nil {
				t.Fatal(err)
			}
		}
	}
	alice.untilSeqs(direct("alice", "bob"), 1, 60)
	if n := s.Requests(protocol.TypePull); n > 0 {
		t.Errorf("%d PULLs", n)
	}
}

func TestHolesArePulled(t *testing.T) {
	for name, faults := range map[string]fakeserver.Faults{
		"lost pushes": {LosePush: 0.5},
		"HEADS":       {Heads: 1},
		"empty HEADS": {EmptyHeads: 1},
		"disorder":    {ReorderPush: 0.5, DuplicatePush: 0.5},
	} {
		t.Run(name, func(t *testing.T) {
			s := startServer(t, fakeserver.Config{})
			alice := newApp(t, s, "alice")
			alice.dial()
			alice.untilPhase(godwit.Online)
			s.SetFaults(faults)
			for i := range 100 {
				s.Say("bob", "alice", fmt.Sprint(i))
			}
			if name == "lost pushes" {
				s.SetFaults(fakeserver.Faults{})
				s.Say("bob", "alice", "that arrives, and shows the hole")
				alice.untilSeqs(direct("alice", "bob"), 1, 101)
				return
			}
			alice.untilSeqs(direct("alice", "bob"), 1, 100)
		})
	}
}

// TestRefusedReadsAreAskedAgain has SYNC, PULL and MARK refused for a while.
func TestRefusedReadsAreAskedAgain(t *testing.T) {
	t.Parallel()
	s := startServer(t, fakeserver.Config{SyncLimit: 1, PullLimit: 3})
	for _, peer := range []string{"bob", "carol"} {
		for i := range 8 {
			s.Say(peer, "alice", fmt.Sprint(i))
		}
	}
	s.SetFaults(fakeserver.Faults{Refuse: 0.5})
	alice := newApp(t, s, "alice")
	alice.dial()
	for _, peer := range []string{"bob", "carol"} {
		conv := direct("alice", peer)
		alice.untilSeqs(conv, 1, 8)
		if !s.Until(patience, func() bool { _, delivered := s.Cursors(conv, "alice"); return delivered == 8 }) {
			t.Errorf("%s is not marked as delivered", conv)
		}
	}
}

func TestUnknownCursorSyncsEverything(t *testing.T) {
	s := startServer(t, fakeserver.Config{})
	store := godwit.NewMemoryStore()
	if err := store.Save(&godwit.Batch{User: "alice", Cursor: &godwit.Cursor{Epoch: 1, Sync: []byte("nonsense")}}); err != nil {
		t.Fatal(err)
	}
	s.Say("bob", "alice", "hello")
	alice := newApp(t, s, "alice")
	alice.opts.Store = store
	alice.dial()
	alice.untilSeqs(direct("alice", "bob"), 1, 1)
	alice.untilPhase(godwit.Online)
}

func TestStartAtHead(t *testing.T) {
	s := startServer(t, fakeserver.Config{})
	for i := range 10 {
		s.Say("bob", "alice", fmt.Sprint("old ", i))
	}
	alice := newApp(t, s, "alice")
	alice.opts.StartAtHead = true
	alice.opts.Store = godwit.NewMemoryStore()
	a := alice.dial()
	alice.untilPhase(godwit.Online)
	s.Say("bob", "alice", "new")
	s.Say("carol", "alice", "new too")
	alice.untilSeqs(direct("alice", "bob"), 11, 11)
	alice.untilSeqs(direct("alice", "carol"), 1, 1)
	a.Close()

	// Only the very first start is at the head.
	s.Say("bob", "alice", "missed")
	s.Say("dave", "alice", "missed too")
	alice.dial()
	alice.untilSeqs(direct("alice", "bob"), 11, 12)
	alice.untilSeqs(direct("alice", "dave"), 1, 1)
}

// TestStartAtHeadWhileMessagesArrive has messages arrive, and one sent, before
// the first SYNC is answered. They count as new, even where SYNC reports them.
func TestStartAtHeadWhileMessagesArrive(t *testing.T) {
	s := startServer(t, fakeserver.Config{})
	for i := range 10 {
		s.Say("bob", "alice", fmt.Sprint("old ", i))
	}
	alice := newApp(t, s, "alice")
	alice.opts.StartAtHead = true
	s.SetFaults(fakeserver.Faults{Refuse: 1})
	a := alice.dial()
	s.Say("bob", "alice", "11")
	s.Say("bob", "alice", "12")
	s.Say("carol", "alice", "1")
	if _, err := a.SendText(within(t), "carol", "2"); err != nil {
		t.Fatal(err)
	}
	s.SetFaults(fakeserver.Faults{})
	alice.untilSeqs(direct("alice", "bob"), 11, 12)
	alice.untilSeqs(direct("alice", "carol"), 1, 2)
	alice.untilPhase(godwit.Online)
}

func TestRetentionLeavesAGap(t *testing.T) {
	s := startServer(t, fakeserver.Config{PullLimit: 5})
	conv := direct("alice", "bob")
	alice := newApp(t, s, "alice")
	alice.opts.Store = godwit.NewMemoryStore()
	for i := range 3 {
		s.Say("bob", "alice", fmt.Sprint(i))
	}
	a := alice.dial()
	alice.untilSeqs(conv, 1, 3)
	a.Close()
	for i := range 20 {
		s.Say("bob", "alice", fmt.Sprint(i))
	}
	s.Retain(conv, 11)
	alice.dial()
	alice.until("messages after the gap", func() bool {
		all := alice.messages[conv]
		return len(all) == 16 && all[3].Seq == 11 && all[15].Seq == 23
	})
	alice.record(func() {
		if want := []string{conv + " 4-10"}; !slices.Equal(alice.gaps, want) {
			t.Errorf("gaps %q, want %q", alice.gaps, want)
		}
	})
	// Retention that removed everything, and a live message after it.
	a.Close()
	s.Retain(conv, 24)
	s.Say("bob", "alice", "24")
	alice.until("the live message", func() bool { return alice.messages[conv][len(alice.messages[conv])-1].Seq == 24 })
}

// TestRestoredServer goes back to an older state three times: the past that
// this client was handed is still there; it is not; the conversation is gone.
func TestRestoredServer(t *testing.T) {
	s := startServer(t, fakeserver.Config{PullLimit: 4})
	conv, other := direct("alice", "bob"), direct("alice", "carol")
	for i := range 10 {
		s.Say("bob", "alice", fmt.Sprint(i))
		s.Say("carol", "alice", fmt.Sprint(i))
	}
	alice := newApp(t, s, "alice")
	alice.opts.Store = godwit.NewMemoryStore()
	a := alice.dial()
	alice.untilSeqs(conv, 1, 10)
	alice.untilSeqs(other, 1, 10)

	all := func(_ string, head uint64) uint64 { return head }
	s.Restore(all)
	s.Say("bob", "alice", "11")
	alice.untilSeqs(conv, 1, 11)
	alice.record(func() {
		if len(alice.resets) > 0 {
			t.Fatalf("reset %q", alice.resets)
		}
	})

	// While the client is away, so that it must find out from its store.
	a.Close()
	s.Restore(func(id string, head uint64) uint64 {
		if id == conv {
			return 8
		}
		return head
	})
	for i := range 7 {
		s.Say("bob", "alice", fmt.Sprint("another ", i))
	}
	alice.dial()
	alice.until("the conversation from its beginning", func() bool {
		return len(alice.resets) == 1 && alice.resets[0] == conv && alice.hasSeqs(conv, 1, 15)
	})
	if last := alice.received(conv)[14].Text(); last != "another 6" {
		t.Errorf("the last message is %q", last)
	}
	alice.untilSeqs(other, 1, 10)

	s.Restore(func(id string, head uint64) uint64 {
		if id == conv {
			return 0
		}
		return head
	})
	s.Say("bob", "alice", "once more")
	alice.until("the conversation anew", func() bool {
		return len(alice.resets) == 2 && alice.resets[1] == conv && alice.hasSeqs(conv, 1, 1)
	})
	alice.untilSeqs(other, 1, 10)
}

// TestShorterHistoryAfterRestore is restored to before what this client has,
// with nothing new since: SYNC alone shows it.
func TestShorterHistoryAfterRestore(t *testing.T) {
	s := startServer(t, fakeserver.Config{})
	conv := direct("alice", "bob")
	for i := range 10 {
		s.Say("bob", "alice", fmt.Sprint(i))
	}
	alice := newApp(t, s, "alice")
	alice.dial()
	alice.untilSeqs(conv, 1, 10)
	s.Restore(func(string, uint64) uint64 { return 4 })
	alice.until("the reset", func() bool { return len(alice.resets) == 1 && alice.hasSeqs(conv, 1, 4) })
	s.Say("bob", "alice", "5")
	alice.untilSeqs(conv, 1, 5)
	if !s.Until(patience, func() bool { _, d := s.Cursors(conv, "alice"); return d == 5 }) {
		t.Error("not marked as delivered")
	}
	// And to before there was such a conversation.
	s.Restore(func(string, uint64) uint64 { return 0 })
	alice.until("the second reset", func() bool { return len(alice.resets) == 2 })
	s.Say("bob", "alice", "1")
	alice.untilSeqs(conv, 1, 1)
}

func TestDeliveredMarksAreCoalesced(t *testing.T) {
	s := startServer(t, fakeserver.Config{})
	conv := direct("alice", "bob")
	alice := newApp(t, s, "alice")
	a := alice.dial()
	alice.untilPhase(godwit.Online)
	began := time.Now()
	for i := range 200 {
		s.Say("bob", "alice", fmt.Sprint(i))
		alice.untilSeqs(conv, 1, uint64(i+1)) // there is something to mark each time
	}
	if err := a.MarkRead(conv, 0); err != nil {
		t.Fatal(err)
	}
	if !s.Until(patience, func() bool { _, delivered := s.Cursors(conv, "alice"); return delivered == 200 }) {
		t.Fatal("not marked as delivered")
	}
	// One waits for others for 50 ms: so many fit into the time that it took.
	took := time.Since(began)
	if n := s.Requests(protocol.TypeMark); n > 2+int(took/(50*time.Millisecond)) {
		t.Errorf("%d MARKs in %v", n, took)
	}
	if read, _ := s.Cursors(conv, "alice"); read != 0 {
		t.Errorf("read up to %d", read)
	}
}

// TestOwnMessagesAreNotMarked checks that there is no MARK for what the user
// wrote.
func TestOwnMessagesAreNotMarked(t *testing.T) {
	s := startServer(t, fakeserver.Config{})
	alice := newApp(t, s, "alice")
	a := alice.dial()
	for range 3 {
		if _, err := a.SendText(within(t), "bob", "x"); err != nil {
			t.Fatal(err)
		}
	}
	alice.untilSeqs(direct("alice", "bob"), 1, 3)
	a.Close() // sends what marks are owed
	if n := s.Requests(protocol.TypeMark); n > 0 {
		t.Errorf("%d MARKs", n)
	}
}

// TestReadMarksSurvive marks while the server is away, and ends the program.
func TestReadMarksSurvive(t *testing.T) {
	s := startServer(t, fakeserver.Config{})
	conv := direct("alice", "bob")
	for i := range 5 {
		s.Say("bob", "alice", fmt.Sprint(i))
	}
	alice := newApp(t, s, "alice")
	alice.opts.Store = godwit.NewMemoryStore()
	a := alice.dial()
	alice.untilSeqs(conv, 1, 5)
	if !s.Until(patience, func() bool { _, d := s.Cursors(conv, "alice"); return d == 5 }) {
		t.Fatal("not marked as delivered")
	}
	s.SetFaults(fakeserver.Faults{RefuseConnect: 1})
	s.Cut("alice")
	alice.until("offline", func() bool { return alice.states[len(alice.states)-1].Phase != godwit.Online })
	for _, seq := range []uint64{2, 4, 3} {
		if err := a.MarkRead(conv, seq); err != nil {
			t.Fatal(err)
		}
	}
	a.Close()
	s.SetFaults(fakeserver.Faults{})
	marks := s.Requests(protocol.TypeMark)
	alice.dial()
	if !s.Until(patience, func() bool { read, _ := s.Cursors(conv, "alice"); return read == 4 }) {
		t.Fatal("not marked as read")
	}
	if n := s.Requests(protocol.TypeMark) - marks; n != 1 {
		t.Errorf("%d MARKs", n)
	}
}

// TestMarksThatAreRefused marks past the newest message, which comes down to
// all there is, and in a conversation of others, which is dropped.
func TestMarksThatAreRefused(t *testing.T) {
	s := startServer(t, fakeserver.Config{})
	conv := direct("alice", "bob")
	s.Say("bob", "alice", "1")
	alice := newApp(t, s, "alice")
	a := alice.dial()
	if !s.Until(patience, func() bool { _, delivered := s.Cursors(conv, "alice"); return delivered == 1 }) {
		t.Fatal("not marked as delivered")
	}
	for _, conversation := range []string{conv, direct("bob", "carol")} {
		if err := a.MarkRead(conversation, 99); err != nil {
			t.Fatal(err)
		}
	}
	if !s.Until(patience, func() bool { read, _ := s.Cursors(conv, "alice"); return read == 1 }) {
		t.Fatal("not marked as read")
	}
	if !s.Until(patience, func() bool { return s.Requests(protocol.TypeMark) >= 4 }) {
		t.Fatal("no mark in the conversation of others")
	}
	a.Close() // sends what marks are owed: none
	if n := s.Requests(protocol.TypeMark); n != 4 {
		t.Errorf("%d MARKs", n)
	}
}

// TestReceiptsNeverGoBack has receipts arrive in disorder, and again by SYNC.
func TestReceiptsNeverGoBack(t *testing.T) {
	s := startServer(t, fakeserver.Config{Seed: 3})
	conv := direct("alice", "bob")
	alice := newApp(t, s, "alice")
	alice.dial()
	alice.untilPhase(godwit.Online)
	for range 40 {
		s.Say("alice", "bob", "x")
	}
	alice.untilSeqs(conv, 1, 40)
	s.SetFaults(fakeserver.Faults{ReorderPush: 0.4, DuplicatePush: 0.3, LosePush: 0.3})
	for seq := range uint64(40) {
		s.Read("bob", "alice", seq, seq+1)
	}
	s.SetFaults(fakeserver.Faults{})
	s.Cut("alice")
	alice.until("the last receipt", func() bool {
		n := len(alice.receipts)
		return n > 0 && alice.receipts[n-1].DeliveredSeq == 40 && alice.receipts[n-1].ReadSeq == 39
	})
	alice.record(func() {
		var before godwit.Receipt
		for _, r := range alice.receipts {
			if r.Conversation != conv || r.User != "bob" || r.ReadSeq < before.ReadSeq || r.DeliveredSeq < before.DeliveredSeq || r == before {
				t.Errorf("%+v after %+v", r, before)
			}
			before = r
		}
	})
}

// TestOtherDeviceReads checks that a device learns what another one of the
// same user has read, live and by SYNC.
func TestOtherDeviceReads(t *testing.T) {
	s := startServer(t, fakeserver.Config{})
	conv := direct("alice", "bob")
	for range 5 {
		s.Say("bob", "alice", "x")
	}
	phone := newApp(t, s, "alice")
	phone.dial()
	phone.untilSeqs(conv, 1, 5)
	s.Read("alice", "bob", 2, 2)
	has := func(read, unread uint64) func() bool {
		return func() bool {
			return slices.ContainsFunc(phone.receipts, func(r godwit.Receipt) bool {
				return r.Conversation == conv && r.User == "alice" && r.ReadSeq == read && r.Unread == unread
			})
		}
	}
	phone.until("the receipt", has(2, 3))
	s.SetFaults(fakeserver.Faults{LosePush: 1})
	s.Read("alice", "bob", 4, 4)
	s.Cut("alice")
	phone.until("the receipt by SYNC", has(4, 1))
}

// TestDeliveredWhileAway checks that handles see receipts that came while
// there was no connection.
func TestDeliveredWhileAway(t *testing.T) {
	s := startServer(t, fakeserver.Config{})
	alice := newApp(t, s, "alice")
	a := alice.dial()
	out, err := a.SendText(within(t), "bob", "x")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := out.Sent(within(t)); err != nil {
		t.Fatal(err)
	}
	delivered := make(chan error, 1)
	go func() { delivered <- out.Delivered(within(t)) }()
	s.SetFaults(fakeserver.Faults{RefuseConnect: 1})
	s.Cut("alice")
	s.Read("bob", "alice", 0, 1)
	s.SetFaults(fakeserver.Faults{})
	if err := <-delivered; err != nil {
		t.Fatal(err)
	}
	if out.Status() != godwit.StatusDelivered {
		t.Errorf("status %v", out.Status())
	}
}

// TestServerThatLostSomething goes back without a new epoch, so that only its
// answer to SYNC shows it.
func TestServerThatLostSomething(t *testing.T) {
	s := startServer(t, fakeserver.Config{})
	conv, other := direct("alice", "bob"), direct("alice", "carol")
	for i := range 10 {
		s.Say("bob", "alice", fmt.Sprint(i))
		s.Say("carol", "alice", fmt.Sprint(i))
	}
	alice := newApp(t, s, "alice")
	alice.dial()
	alice.untilSeqs(conv, 1, 10)
	alice.untilSeqs(other, 1, 10)
	alice.untilPhase(godwit.Online)
	s.Lose(func(id string, head uint64) uint64 {
		if id == conv {
			return 8
		}
		return head
	})
	for i := range 3 {
		s.Say("bob", "alice", fmt.Sprint("another ", i))
	}
	alice.until("the conversation from its beginning", func() bool {
		return len(alice.resets) == 1 && alice.resets[0] == conv && alice.hasSeqs(conv, 1, 11)
	})
	s.Say("carol", "alice", "11")
	alice.untilSeqs(other, 1, 11)
}

// TestMessageOfALostServer covers a server that lost what it had pushed
// without a new epoch: the client notices by PULL and begins anew.
func TestMessageOfALostServer(t *testing.T) {
	s := startServer(t, fakeserver.Config{})
	conv := direct("alice", "bob")
	store := godwit.NewMemoryStore()
	if err := store.Save(&godwit.Batch{User: "alice", Positions: []godwit.Position{{
		Conversation: conv, Epoch: 1, Seq: 10, ID: 99, HeadSeq: 12,
	}}}); err != nil {
		t.Fatal(err)
	}
	s.Say("bob", "alice", "all there is")
	alice := newApp(t, s, "alice")
	alice.opts.Store = store
	alice.dial()
	alice.until("the reset", func() bool { return len(alice.resets) == 1 && alice.hasSeqs(conv, 1, 1) })
}

// TestNoLongerAMember has a conversation that may not be pulled any more.
func TestNoLongerAMember(t *testing.T) {
	s := startServer(t, fakeserver.Config{})
	store := godwit.NewMemoryStore()
	if err := store.Save(&godwit.Batch{User: "alice", Cursor: &godwit.Cursor{Epoch: 1}, Positions: []godwit.Position{{
		Conversation: "g:1", Epoch: 1, Seq: 3, ID: 3, HeadSeq: 5,
	}}}); err != nil {
		t.Fatal(err)
	}
	alice := newApp(t, s, "alice")
	alice.opts.Store = store
	alice.dial()
	alice.untilPhase(godwit.Online)
	if n := s.Requests(protocol.TypePull); n != 1 {
		t.Errorf("%d PULLs", n)
	}
}
