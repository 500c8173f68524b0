package godwit

import (
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"slices"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/godwit-im/godwit/protocol"
	"github.com/godwit-im/godwit/protocol/pb"
)

// newTestSession returns the state of a client that is connected and has
// synced, with nothing known yet.
func newTestSession(snap *Snapshot, epoch uint64, now time.Time) (*account, *session) {
	o := Options{Pipeline: 1, Logger: slog.New(slog.DiscardHandler)}
	a := new(account)
	a.init(&o, snap)
	return a, a.newTestSession(epoch, now)
}

// newTestSession connects.
func (a *account) newTestSession(epoch uint64, now time.Time) *session {
	s := newSession(a, &pb.Connected{
		User: "alice", HeartbeatMs: 60_000, MaxFrame: 1 << 20, MaxInFlight: 100, Epoch: epoch, ServerTimeMs: now.UnixMilli(),
	}, now)
	if err := a.connected(s, "alice", epoch); err != nil {
		panic(err)
	}
	return s
}

// receiveSync ends the session's first SYNC, which reports nothing.
func (s *session) receiveSync(t interface{ Fatal(...any) }, now time.Time) {
	s.fill(nil, now)
	if err := s.receive(protocol.TypeSynced, s.lastRequest, &pb.Synced{Epoch: s.account.epoch, Cursor: []byte("c")}, now); err != nil {
		t.Fatal(err)
	}
}

// frames takes apart what fill returns.
func frames(t *testing.T, b []byte) (all []protocol.Frame) {
	t.Helper()
	for len(b) > 0 {
		f, n, err := protocol.Parse(b, protocol.MaxBody)
		if err != nil || n == 0 {
			t.Fatalf("frame: %d bytes, %v", n, err)
		}
		all = append(all, f)
		b = b[n:]
	}
	return all
}

func TestUnansweredRequestEndsTheSession(t *testing.T) {
	now := time.Unix(1e9, 0)
	_, s := newTestSession(&Snapshot{}, 1, now)
	out, wake, err := s.fill(nil, now)
	if err != nil || len(frames(t, out)) != 1 {
		t.Fatalf("%d bytes, %v", len(out), err)
	}
	if want := now.Add(requestTimeout); !wake.Equal(want) {
		t.Errorf("wakes at %v, want %v", wake, want)
	}
	if _, _, err := s.fill(nil, now.Add(requestTimeout-1)); err != nil {
		t.Errorf("too early: %v", err)
	}
	if _, _, err := s.fill(nil, now.Add(requestTimeout)); err == nil {
		t.Error("it waits for ever")
	}
}

func TestPingIsAnswered(t *testing.T) {
	now := time.Unix(1e9, 0)
	_, s := newTestSession(&Snapshot{}, 1, now)
	s.receiveSync(t, now)
	for id := range uint32(100) { // more than anybody waits for
		if err := s.receive(protocol.TypePing, id, nil, now); err != nil {
			t.Fatal(err)
		}
	}
	out, _, _ := s.fill(nil, now)
	pongs := frames(t, out)
	if len(pongs) == 0 || len(pongs) > 20 {
		t.Fatalf("%d answers", len(pongs))
	}
	for i, f := range pongs {
		if f.Type != protocol.TypePong || f.Request != uint32(i) {
			t.Errorf("%v %d", f.Type, f.Request)
		}
	}
}

func TestRequestIDIsNeverZero(t *testing.T) {
	now := time.Unix(1e9, 0)
	_, s := newTestSession(&Snapshot{}, 1, now)
	s.lastRequest = math.MaxUint32
	out, _, _ := s.fill(nil, now)
	if id := binary.BigEndian.Uint32(out[4:]); id != 1 {
		t.Errorf("request id %d", id)
	}
}

func TestStateEventsAreBounded(t *testing.T) {
	a, _ := newTestSession(&Snapshot{}, 1, time.Unix(1e9, 0))
	for i := range 1000 {
		a.setState(State{Phase: Waiting, RetryIn: time.Duration(i)})
	}
	if len(a.events) > maxStateEvents {
		t.Errorf("%d events", len(a.events))
	}
	if last := a.events[len(a.events)-1].state; last.RetryIn != 999 || a.state != last {
		t.Errorf("the last is %+v", last)
	}
}

// TestPingOnlyWhenIdle pings an interval after the last write, whatever that
// was, and not before.
func TestPingOnlyWhenIdle(t *testing.T) {
	start := time.Unix(1e9, 0)
	a, s := newTestSession(&Snapshot{}, 1, start)
	s.receiveSync(t, start)
	s.heartbeat = 10 * time.Second
	var wrote []string
	for second := range uint64(35) {
		now := start.Add(time.Duration(second) * time.Second)
		if second == 0 || second == 16 {
			a.wantRead(a.box("d:alice:bob"), second+1, now.Add(-markDelay))
		}
		out, _, err := s.fill(nil, now)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range frames(t, out) {
			wrote = append(wrote, fmt.Sprint(second, " ", f.Type))
			var answer proto.Message // PONG has none
			if f.Type == protocol.TypeMark {
				answer = &pb.Marked{ReadSeq: second + 1, HeadSeq: second + 1, CountedMs: now.UnixMilli()}
			}
			if err := s.receive(f.Type+1, f.Request, answer, now); err != nil {
				t.Fatal(err)
			}
		}
	}
	if want := []string{"0 MARK", "10 PING", "16 MARK", "26 PING"}; !slices.Equal(wrote, want) {
		t.Errorf("wrote %q, want %q", wrote, want)
	}
}

// TestCursorsNeverGoBack has receipts arrive in disorder.
func TestCursorsNeverGoBack(t *testing.T) {
	now := time.Unix(1e9, 0)
	a, s := newTestSession(&Snapshot{}, 1, now)
	s.receiveSync(t, now)
	b := a.box("d:alice:bob")
	a.events = nil
	receipt := func(user string, read, delivered uint64) {
		if err := s.receive(protocol.TypeReceipt, 0, &pb.Receipt{Conversation: b.id, User: user, ReadSeq: read, DeliveredSeq: delivered}, now); err != nil {
			t.Fatal(err)
		}
	}
	receipt("bob", 5, 7)
	b.peerReceipt = false // it was handed
	receipt("bob", 4, 6)
	receipt("bob", 5, 7)
	receipt("mallory", 9, 9) // who is no member
	if b.peerRead != 5 || b.peerDelivered != 7 || len(a.events) != 1 {
		t.Errorf("peer has read %d, delivered %d; %d events", b.peerRead, b.peerDelivered, len(a.events))
	}
	receipt("bob", 8, 3) // read implies delivered
	if b.peerRead != 8 || b.peerDelivered != 8 {
		t.Errorf("peer has read %d, delivered %d", b.peerRead, b.peerDelivered)
	}
	receipt("alice", 5, 7)
	receipt("alice", 4, 6)
	if b.readKnown != 5 || b.deliveredKnown != 7 {
		t.Errorf("the user has read %d, delivered %d", b.readKnown, b.deliveredKnown)
	}
}

// TestRenewal follows a token that lives for 1,000 seconds.
func TestRenewal(t *testing.T) {
	now := time.Unix(1e9, 0)
	_, s := newTestSession(&Snapshot{}, 1, now)
	s.receiveSync(t, now)
	s.heartbeat = time.Hour
	// The server's clock is a day ahead, which is none of our business.
	s.renew.skew = 24 * time.Hour
	s.expires(now.Add(24*time.Hour+1000*time.Second).UnixMilli(), now)
	fetched := 0
	s.renew.fetch = func() { fetched++ }

	if _, wake, _ := s.fill(nil, now); !wake.Equal(now.Add(800 * time.Second)) {
		t.Fatalf("renews after %v", wake.Sub(now))
	}
	now = now.Add(800 * time.Second)
	s.fill(nil, now)
	s.fill(nil, now)
	if fetched != 1 {
		t.Fatalf("fetched %d times", fetched)
	}
	s.renewWith("", errors.New("no network"), now)
	now = now.Add(50 * time.Second)
	s.fill(nil, now)
	if fetched != 2 {
		t.Fatalf("fetched %d times after an error", fetched)
	}
	s.renewWith("second", nil, now)
	out, _, _ := s.fill(nil, now)
	all := frames(t, out)
	if len(all) != 1 || all[0].Type != protocol.TypeRenew {
		t.Fatalf("%d frames", len(all))
	}
	renew := new(pb.Renew)
	if err := proto.Unmarshal(all[0].Body, renew); err != nil || renew.Token != "second" {
		t.Fatalf("%+v, %v", renew, err)
	}
	if err := s.receive(protocol.TypeError, all[0].Request, &pb.Error{Code: pb.Code_CODE_TOKEN_EXPIRED}, now); err != nil {
		t.Fatalf("a refused RENEW ends the session: %v", err)
	}
	now = now.Add(50 * time.Second)
	s.fill(nil, now)
	if fetched != 3 {
		t.Fatalf("fetched %d times after a refusal", fetched)
	}
	s.renewWith("third", nil, now)
	out, _, _ = s.fill(nil, now)
	if err := s.receive(protocol.TypeRenewed, frames(t, out)[0].Request, &pb.Renewed{
		ExpiresMs: now.Add(24*time.Hour + 500*time.Second).UnixMilli(),
	}, now); err != nil {
		t.Fatal(err)
	}
	if _, wake, _ := s.fill(nil, now); !wake.Equal(now.Add(400 * time.Second)) {
		t.Errorf("renews after %v", wake.Sub(now))
	}
}

// TestCompare is what a PULL of the last message that was handed on can show
// when the server's store has another epoch.
func TestCompare(t *testing.T) {
	const id = "d:alice:bob"
	message := func(seq, messageID uint64) *pb.Message {
		return &pb.Message{Conversation: id, Seq: seq, Id: messageID}
	}
	for name, test := range map[string]struct {
		page  *pb.Pulled
		reset bool
		gap   bool
		next  uint64
	}{
		"same":           {&pb.Pulled{HeadSeq: 5, MinSeq: 1, Messages: []*pb.Message{message(5, 55)}}, false, false, 6},
		"same, and more": {&pb.Pulled{HeadSeq: 6, MinSeq: 1, Messages: []*pb.Message{message(5, 55), message(6, 66)}}, false, false, 7},
		"another":        {&pb.Pulled{HeadSeq: 5, MinSeq: 1, Messages: []*pb.Message{message(5, 56)}}, true, false, 1},
		"none":           {&pb.Pulled{HeadSeq: 4, MinSeq: 3}, true, false, 3},
		"no longer kept": {&pb.Pulled{HeadSeq: 9, MinSeq: 8, Messages: []*pb.Message{message(8, 88)}}, false, true, 9},
		"kept up to it":  {&pb.Pulled{HeadSeq: 9, MinSeq: 6, Messages: []*pb.Message{message(6, 66)}}, false, false, 7},
	} {
		t.Run(name, func(t *testing.T) {
			now := time.Unix(1e9, 0)
			a, s := newTestSession(&Snapshot{User: "alice", Positions: []Position{
				{Conversation: id, Epoch: 1, Seq: 5, ID: 55, HeadSeq: 5},
			}}, 2, now)
			b := a.box(id)
			s.fill(nil, now)
			if err := s.synced(request{id: 1}, &pb.Synced{Epoch: 2, Conversations: []*pb.ConversationState{
				{Conversation: id, HeadSeq: test.page.HeadSeq + 1, MinSeq: test.page.MinSeq, CountedMs: 1},
			}}); err != nil {
				t.Fatal(err)
			}
			if test.page.HeadSeq >= 5 {
				a.offer(b, Message{Conversation: id, Seq: 6, ID: 99}, viaPush, now) // must wait
			}
			out, _, _ := s.fill(nil, now)
			pull := new(pb.Pull)
			if all := frames(t, out); len(all) != 1 || all[0].Type != protocol.TypePull || proto.Unmarshal(all[0].Body, pull) != nil || pull.From != 5 {
				t.Fatalf("asks %+v", pull)
			}
			if err := s.receive(protocol.TypePulled, s.lastRequest, test.page, now); err != nil {
				t.Fatal(err)
			}
			var reset, gap bool
			for _, e := range a.events {
				reset = reset || e.what == resetEvent
				gap = gap || e.what == gapEvent
			}
			if reset != test.reset || gap != test.gap || b.next != test.next || a.inDoubt(b) {
				t.Errorf("reset %v, gap %v, next %d", reset, gap, b.next)
			}
		})
	}
}

// TestHeadsAreStoredWithTheCursor checks that what SYNC said is stored by the
// time that its cursor is: a process that ends in between would never be told
// again, and not miss the messages.
func TestHeadsAreStoredWithTheCursor(t *testing.T) {
	now := time.Unix(1e9, 0)
	a, s := newTestSession(&Snapshot{}, 1, now)
	s.fill(nil, now)
	s.receive(protocol.TypeSynced, s.lastRequest, &pb.Synced{Epoch: 1, Cursor: []byte("page"), More: true, Conversations: []*pb.ConversationState{
		{Conversation: "d:alice:bob", HeadSeq: 7, MinSeq: 1},
	}}, now)
	if b, _ := a.batch(); b.Cursor != nil {
		t.Errorf("the cursor of a page is stored: %q", b.Cursor.Sync)
	} else if len(b.Positions) != 1 || b.Positions[0].HeadSeq != 7 || b.Positions[0].Seq != 0 {
		t.Errorf("positions %+v", b.Positions)
	}
	out, _, _ := s.fill(nil, now)
	next := new(pb.Sync)
	if err := proto.Unmarshal(frames(t, out)[0].Body, next); err != nil || string(next.Cursor) != "page" {
		t.Fatalf("the next page: %q, %v", next.Cursor, err)
	}
	s.receive(protocol.TypeSynced, 2, &pb.Synced{Epoch: 1, Cursor: []byte("end"), Conversations: []*pb.ConversationState{
		{Conversation: "d:alice:carol", HeadSeq: 8, MinSeq: 1},
	}}, now)
	if b, _ := a.batch(); b.Cursor == nil || string(b.Cursor.Sync) != "end" || len(b.Positions) != 1 || b.Positions[0].HeadSeq != 8 {
		t.Errorf("stored %+v", b)
	}
}

// types are those of the frames that the session writes now.
func (s *session) types(t *testing.T, now time.Time) (all []protocol.Type) {
	t.Helper()
	out, _, err := s.fill(nil, now)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range frames(t, out) {
		all = append(all, f.Type)
	}
	return all
}

func TestOneMarkAtATime(t *testing.T) {
	now := time.Unix(1e9, 0)
	a, s := newTestSession(&Snapshot{}, 1, now)
	s.receiveSync(t, now)
	b := a.box("d:alice:bob")
	a.wantRead(b, 3, now.Add(-markDelay))
	s.fireTimers(now) // it waits for the window, say, when Close comes
	s.close(now)
	if got := s.types(t, now); !slices.Equal(got, []protocol.Type{protocol.TypeMark}) {
		t.Errorf("wrote %v", got)
	}
}

func TestHeadsOfReceiptsAskForSync(t *testing.T) {
	now := time.Unix(1e9, 0)
	_, s := newTestSession(&Snapshot{}, 1, now)
	s.receiveSync(t, now)
	if err := s.receive(protocol.TypeHeads, 0, &pb.Heads{Heads: []*pb.Head{{Conversation: "d:alice:bob"}}}, now); err != nil {
		t.Fatal(err)
	}
	if got := s.types(t, now); !slices.Equal(got, []protocol.Type{protocol.TypeSync}) {
		t.Errorf("wrote %v", got)
	}
}

// TestPullThatBringsNothing has a server that speaks of messages and does not
// give them: it is asked again, but not in a loop.
func TestPullThatBringsNothing(t *testing.T) {
	now := time.Unix(1e9, 0)
	_, s := newTestSession(&Snapshot{}, 1, now)
	s.receiveSync(t, now)
	s.receive(protocol.TypeHeads, 0, &pb.Heads{Heads: []*pb.Head{{Conversation: "d:alice:bob", Seq: 5}}}, now)
	pull := []protocol.Type{protocol.TypePull}
	for range 3 {
		if got := s.types(t, now); !slices.Equal(got, pull) {
			t.Fatalf("wrote %v", got)
		}
		if err := s.receive(protocol.TypePulled, s.lastRequest, &pb.Pulled{HeadSeq: 5, MinSeq: 1}, now); err != nil {
			t.Fatal(err)
		}
		if got := s.types(t, now.Add(retryDelay-1)); len(got) > 0 {
			t.Fatalf("wrote %v too soon", got)
		}
		now = now.Add(retryDelay)
	}
}

// TestMarksAreOwedAgain restores the server to before it was told of a mark.
func TestMarksAreOwedAgain(t *testing.T) {
	now := time.Unix(1e9, 0)
	a, s := newTestSession(&Snapshot{}, 1, now)
	s.receiveSync(t, now)
	b := a.box("d:alice:bob")
	a.offer(b, Message{Conversation: b.id, Seq: 1, ID: 11, Sender: "bob"}, viaPush, now)
	a.wantRead(b, 1, now)
	a.raiseOwn(b, 1, 1)
	a.disconnected()

	s = a.newTestSession(2, now)
	s.fill(nil, now)
	s.receive(protocol.TypeSynced, s.lastRequest, &pb.Synced{Epoch: 2, Cursor: []byte("c"), Conversations: []*pb.ConversationState{
		{Conversation: b.id, HeadSeq: 1, MinSeq: 1, Unread: 1, CountedMs: now.UnixMilli()},
	}}, now)
	s.fill(nil, now)
	s.receive(protocol.TypePulled, s.lastRequest, &pb.Pulled{HeadSeq: 1, MinSeq: 1, Messages: []*pb.Message{
		{Conversation: b.id, Seq: 1, Id: 11},
	}}, now)
	if got := s.types(t, now); !slices.Equal(got, []protocol.Type{protocol.TypeMark}) {
		t.Errorf("wrote %v", got)
	}
}

// TestAnswerOfAnotherKind breaks the session and nothing else: what was asked
// is asked again.
func TestAnswerOfAnotherKind(t *testing.T) {
	now := time.Unix(1e9, 0)
	a, s := newTestSession(&Snapshot{}, 1, now)
	s.receiveSync(t, now)
	mine := &call{kind: protocol.TypePull, body: &pb.Pull{Conversation: "d:alice:bob"}, done: make(chan struct{})}
	a.calls = append(a.calls, mine)
	s.fill(nil, now)
	if err := s.receive(protocol.TypeSynced, s.lastRequest, &pb.Synced{}, now); err == nil {
		t.Error("SYNCED for PULL was taken")
	}
	a.disconnected()
	if len(a.calls) != 1 || a.calls[0] != mine {
		t.Error("the call is lost")
	}
}

// TestDoubtSurvivesACrash stores what is in doubt in such a way that the next
// process doubts it too.
func TestDoubtSurvivesACrash(t *testing.T) {
	now := time.Unix(1e9, 0)
	snap := &Snapshot{User: "alice", Cursor: Cursor{Epoch: 7, Sync: []byte("c")}, Positions: []Position{
		{Conversation: "d:alice:bob", Epoch: 7, Seq: 5, ID: 55, HeadSeq: 5},
		{Conversation: "d:alice:carol", Epoch: 7, HeadSeq: 3},
	}}
	a, s := newTestSession(snap, 7, now)
	if err := s.synced(request{id: 1}, &pb.Synced{Epoch: 7, Reset_: true, Cursor: []byte("d"), Conversations: []*pb.ConversationState{
		{Conversation: "d:alice:bob", HeadSeq: 5, MinSeq: 1},
	}}); err != nil {
		t.Fatal(err)
	}
	bob, carol := a.box("d:alice:bob"), a.box("d:alice:carol")
	if p := bob.position(); p.Epoch == 7 || p.Seq != 5 {
		t.Errorf("in doubt: %+v", p)
	}
	if p := carol.position(); p.Epoch != 7 {
		t.Errorf("nothing to doubt: %+v", p)
	}
	s.pulling++
	if err := s.pulled(request{box: bob, from: 5, compare: true}, &pb.Pulled{
		HeadSeq: 5, MinSeq: 1, Messages: []*pb.Message{{Conversation: bob.id, Seq: 5, Id: 55}},
	}, now); err != nil {
		t.Fatal(err)
	}
	if p := bob.position(); p.Epoch != 7 || p.Seq != 5 {
		t.Errorf("compared: %+v", p)
	}
}

// TestOneReactionAtATime: a reaction that would have changed nothing leaves no trace
// on the server, so that, sent again after a later one, it would undo that. Others
// go along with it.
func TestOneReactionAtATime(t *testing.T) {
	now := time.Unix(1e9, 0)
	a, s := newTestSession(&Snapshot{}, 1, now)
	a.pipeline = 10
	s.receiveSync(t, now)
	b := a.box("d:alice:bob")
	put := func(clientID string, d Draft) {
		a.stored(&Outgoing{
			client: &Client{}, entry: Entry{ClientID: clientID, Conversation: b.id, Draft: d}, answered: make(chan struct{}), box: b,
		})
	}
	react := func(target uint64, remove bool) Draft {
		return Draft{Kind: KindReaction, Body: []byte("+1"), Target: target, Remove: remove}
	}
	put("text", Draft{Body: []byte("hello")})
	put("no, of 1", react(1, true))
	put("yes, of 2", react(2, false))
	put("yes, of 1", react(1, false))
	put("more text", Draft{Body: []byte("there")})
	// sends returns what is sent, each by its client id.
	sends := func() (ids []string) {
		out, _, _ := s.fill(nil, now)
		for _, f := range frames(t, out) {
			m := &pb.Send{}
			if err := protocol.Decode(f, m); f.Type != protocol.TypeSend || err != nil {
				t.Fatalf("%v, %v", f.Type, err)
			}
			ids = append(ids, m.ClientId)
		}
		return ids
	}
	if got := sends(); !slices.Equal(got, []string{"text", "no, of 1", "yes, of 2"}) {
		t.Fatalf("sent %q", got)
	}
	answered := s.lastRequest - 1
	if err := s.receive(protocol.TypeSent, answered, &pb.Sent{Duplicate: true}, now); err != nil {
		t.Fatal(err)
	}
	if got := sends(); !slices.Equal(got, []string{"yes, of 1", "more text"}) {
		t.Errorf("sent then %q", got)
	}
}

// TestAckOfAnExpiredMessage: a message that was stored by an earlier life, and is
// acked when its time is over, is handed as the tombstone that it is for all.
func TestAckOfAnExpiredMessage(t *testing.T) {
	now := time.Unix(1e9, 0)
	a, s := newTestSession(&Snapshot{}, 1, now)
	s.receiveSync(t, now)
	b := a.box("d:alice:bob")
	a.stored(&Outgoing{
		client: &Client{}, answered: make(chan struct{}), box: b,
		entry: Entry{ClientID: "1", Conversation: b.id, Draft: Draft{Body: []byte("for a second"), TTL: time.Second}},
	})
	s.fill(nil, now)
	sent := &pb.Sent{Seq: 1, Id: 1, TimeMs: now.Add(-time.Second).UnixMilli(), Duplicate: true}
	if err := s.receive(protocol.TypeSent, s.lastRequest, sent, now); err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(a.events, func(e event) bool { return e.what == messageEvent })
	if i < 0 {
		t.Fatal("it is not handed")
	}
	if m := a.events[i].message; m.State != MessageExpired || m.Body != nil {
		t.Errorf("it is handed as %+v", m)
	}
}
