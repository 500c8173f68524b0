package godwit

import (
	"testing"
	"time"

	"github.com/godwit-im/godwit/protocol"
	"github.com/godwit-im/godwit/protocol/pb"
)

// TestAStateBeforeItsMessages counts messages, one of which mentions the user,
// and then brings them.
func TestAStateBeforeItsMessages(t *testing.T) {
	now := time.Unix(1e9, 0)
	a, s := newTestSession(&Snapshot{}, 1, now)
	s.receiveSync(t, now)
	b := a.box("d:alice:bob")
	state := &pb.ConversationState{Conversation: b.id, HeadSeq: 2, MinSeq: 1, Unread: 2, MentionSeq: 2, CountedMs: now.UnixMilli()}
	if err := s.receive(protocol.TypeState, 0, &pb.State{State: state}, now); err != nil {
		t.Fatal(err)
	}
	for seq, mentions := range [][]string{nil, {a.user}} {
		a.offer(b, fromWire(&pb.Message{
			Conversation: b.id, Seq: uint64(seq + 1), Sender: "bob", Kind: KindText, Mentions: mentions, Count: uint64(seq + 1),
		}), viaPush, now)
	}
	if got := b.conversation(); got.Unread != 2 || got.MentionSeq != 2 {
		t.Errorf("unread %d, mention %d, want 2 and 2", got.Unread, got.MentionSeq)
	}
}

// TestReadBeforeItArrives reads what the server has counted and what has not
// arrived here: how many of the messages that were read count is not known.
func TestReadBeforeItArrives(t *testing.T) {
	now := time.Unix(1e9, 0)
	a, s := newTestSession(&Snapshot{}, 1, now)
	s.receiveSync(t, now)
	b := a.box("d:alice:bob")
	state := &pb.ConversationState{Conversation: b.id, HeadSeq: 2, MinSeq: 1, Unread: 1, CountedMs: now.UnixMilli()}
	if err := s.receive(protocol.TypeState, 0, &pb.State{State: state}, now); err != nil {
		t.Fatal(err)
	}
	a.raiseOwn(b, 1, 1)
	a.readUpTo(b, 0)
	if !b.view.infoWanted {
		t.Errorf("unread %d, and the server is not asked", b.unread)
	}
}

// TestClearedBeforeItArrives clears what has not arrived: the notices among it
// would have said what became of the group.
func TestClearedBeforeItArrives(t *testing.T) {
	now := time.Unix(1e9, 0)
	a, s := newTestSession(&Snapshot{}, 1, now)
	s.receiveSync(t, now)
	b := a.box("g:alice:1")
	a.learn(b, &pb.ConversationState{Conversation: b.id, HeadSeq: 2, MinSeq: 1, Membership: &pb.Membership{Standing: StandingActive}})
	a.forget(b, nil, 0, 2)
	if !b.view.infoWanted {
		t.Error("the server is not asked")
	}
}

// TestDeletedWhileSyncing deletes a message while a SYNC is under way, the answer
// to which still has it for a preview.
func TestDeletedWhileSyncing(t *testing.T) {
	now := time.Unix(1e9, 0)
	a, s := newTestSession(&Snapshot{User: "alice"}, 1, now)
	s.receiveSync(t, now)
	s.lastRequest = 7
	c := &Client{account: *a, done: make(chan struct{}), closing: make(chan struct{})}
	call := c.Delete("d:alice:bob", 1)
	call.call.learn(a, &pb.Deleted{})
	b := a.box("d:alice:bob")
	s.conversation(&pb.ConversationState{Conversation: b.id, HeadSeq: 1, MinSeq: 1, Last: &pb.Message{Conversation: b.id, Seq: 1, Body: []byte("hi")}}, 7)
	if !b.view.infoWanted {
		t.Error("the server is not asked")
	}
}

// TestMentionedByAnEdit reads a message that an edit made mention the user: the
// edit may be a mention itself.
func TestMentionedByAnEdit(t *testing.T) {
	now := time.Unix(1e9, 0)
	a, s := newTestSession(&Snapshot{User: "alice"}, 1, now)
	s.receiveSync(t, now)
	b := a.box("d:alice:bob")
	a.offer(b, fromWire(&pb.Message{Conversation: b.id, Seq: 1, Sender: "bob", Kind: KindText, Count: 1}), viaPush, now)
	a.offer(b, fromWire(&pb.Message{
		Conversation: b.id, Seq: 2, Sender: "bob", Kind: KindEdit, Target: 1, Mentions: []string{"alice"}, Count: 1, ShownSeq: 1,
	}), viaPush, now)
	a.learn(b, &pb.ConversationState{Conversation: b.id, HeadSeq: 2, MinSeq: 1, Unread: 1, MentionSeq: 1, CountedMs: now.UnixMilli()})
	b.view.infoWanted = false
	a.wantRead(b, 1, now)
	a.learnUnread(b, count{read: 1, delivered: 1, head: 2, mention: 2, at: now})
	if b.view.mention != 2 || b.view.infoWanted {
		t.Errorf("mention %d, the server is asked %t; want 2, for MARKED says so", b.view.mention, b.view.infoWanted)
	}
}

// TestAnEventIsNotDeleted deletes what turns out to be an edit: it is applied all
// the same, as the server has it.
func TestAnEventIsNotDeleted(t *testing.T) {
	now := time.Unix(1e9, 0)
	a, s := newTestSession(&Snapshot{User: "alice"}, 1, now)
	s.receiveSync(t, now)
	b := a.box("d:alice:bob")
	a.offer(b, fromWire(&pb.Message{Conversation: b.id, Seq: 1, Sender: "bob", Kind: KindText, Body: []byte("one"), Count: 1}), viaPush, now)
	a.forget(b, []uint64{2}, 0, 0)
	a.offer(b, fromWire(&pb.Message{
		Conversation: b.id, Seq: 2, Sender: "bob", Kind: KindEdit, Target: 1, Body: []byte("two"), Count: 1, ShownSeq: 1,
	}), viaPush, now)
	var view Message
	for _, e := range a.events {
		switch {
		case e.what != messageEvent:
		case e.message.IsEvent():
			view.Apply(e.message.Change())
		default:
			view = e.message
		}
	}
	if view.Text() != "two" {
		t.Errorf("the message says %q", view.Text())
	}
}

// TestNoLongerMentioned has an edit take back the only mention: none is shown
// from then on, whatever the server answers later.
func TestNoLongerMentioned(t *testing.T) {
	now := time.Unix(1e9, 0)
	a, s := newTestSession(&Snapshot{User: "alice"}, 1, now)
	s.receiveSync(t, now)
	b := a.box("d:alice:bob")
	a.offer(b, fromWire(&pb.Message{Conversation: b.id, Seq: 1, Sender: "bob", Kind: KindText, Mentions: []string{"alice"}, Count: 1}), viaPush, now)
	if b.view.mention != 1 {
		t.Fatalf("mention %d before the edit", b.view.mention)
	}
	a.offer(b, fromWire(&pb.Message{Conversation: b.id, Seq: 2, Sender: "bob", Kind: KindEdit, Target: 1, Count: 1, ShownSeq: 1}), viaPush, now)
	if b.view.mention != 0 {
		t.Errorf("mention %d after it", b.view.mention)
	}
}

// TestACountIsOfItsMoment has counts of the server and what they are of arrive in
// any order. Each is right for its moment; what is shown in the end is right for
// the last.
func TestACountIsOfItsMoment(t *testing.T) {
	now := time.Unix(1e9, 0)
	ends := now.Add(time.Second)
	text := func(seq uint64) *pb.Message {
		return &pb.Message{Conversation: "d:alice:bob", Seq: seq, Sender: "bob", Kind: KindText, Count: seq}
	}
	expiring := text(1)
	expiring.ExpiresMs, expiring.Mentions = ends.UnixMilli(), []string{"alice"}
	gone := text(1)
	gone.ExpiresMs, gone.State = ends.UnixMilli(), MessageExpired
	recall := &pb.Message{Conversation: "d:alice:bob", Seq: 2, Sender: "bob", Kind: KindRecall, Target: 1, Count: 1, ShownSeq: 1}
	before, after := now, ends

	for name, steps := range map[string][]any{
		// The count alone does not tell that it has one more message than there is here.
		"MARKED, then what it has counted": {text(1), text(2), count{read: 1, head: 3, unread: 2, at: now}, text(3), uint64(2)},
		"a count of before a message":      {text(1), text(2), count{head: 1, unread: 1, at: now}, uint64(2)},
		"a message that was counted":       {count{head: 1, unread: 1, at: now}, text(1), uint64(1)},
		"much is gone, and not counted":    {text(1), count{head: 1}, true},
		"a recall that was counted":        {text(1), count{head: 2, at: now}, recall, uint64(0)},
		"a recall that was not":            {text(1), count{head: 1, unread: 1, at: now}, recall, uint64(0)},
		"a recall, then a count before it": {text(1), recall, count{head: 1, unread: 1, at: now}, true},
		"expires":                          {expiring, ends, uint64(0)},
		"counted, then expires":            {expiring, count{head: 1, unread: 1, mention: 1, at: before}, ends, uint64(0)},
		"expires, then counted before":     {expiring, ends, count{head: 1, unread: 1, mention: 1, at: before}, uint64(0)},
		"counted after, then expires":      {expiring, text(2), count{head: 2, unread: 1, at: after}, ends, uint64(1)},
		"counted, comes, expires":          {count{head: 1, unread: 1, mention: 1, at: before}, expiring, ends, uint64(0)},
		"counted after, comes, expires":    {count{head: 2, unread: 1, at: after}, expiring, text(2), ends, uint64(1)},
		"counted, comes as it is since":    {count{head: 1, unread: 1, mention: 1, at: before}, gone, uint64(0)},
		"counted after, comes as it is":    {count{head: 2, unread: 1, at: after}, gone, text(2), uint64(1)},
		"expires, then is read":            {expiring, text(2), ends, count{read: 1, head: 2, unread: 1, at: after}, uint64(1)},
		"counted after, read, expires":     {expiring, text(2), count{head: 2, unread: 1, at: after}, count{read: 1, head: 2, unread: 1, at: after}, ends, uint64(1)},
	} {
		t.Run(name, func(t *testing.T) {
			a, s := newTestSession(&Snapshot{User: "alice"}, 1, now)
			s.receiveSync(t, now)
			b := a.box("d:alice:bob")
			for _, step := range steps {
				switch step := step.(type) {
				case *pb.Message:
					a.offer(b, fromWire(step), viaPush, now)
				case count:
					a.hearUnread(b, step)
				case time.Time:
					a.expire(step)
				case bool:
					if b.view.infoWanted != step {
						t.Errorf("the server is asked: %t", b.view.infoWanted)
					}
				case uint64:
					if b.unread != step || b.view.mention != 0 || b.view.infoWanted {
						t.Errorf("unread %d, mention %d, the server is asked %t, want unread %d", b.unread, b.view.mention, b.view.infoWanted, step)
					}
				}
			}
		})
	}
}

// TestExpiredAfterARestart has a message expire that an earlier process was
// handed: whether it counted is not known any more, so the server is asked, and
// later again if what it says is older.
func TestExpiredAfterARestart(t *testing.T) {
	now := time.Unix(1e9, 0)
	ends := now.Add(time.Second)
	old, s := newTestSession(&Snapshot{User: "alice"}, 1, now)
	s.receiveSync(t, now)
	b := old.box("d:alice:bob")
	old.offer(b, fromWire(&pb.Message{Conversation: b.id, Seq: 1, Sender: "bob", Kind: KindText, Count: 1, ExpiresMs: ends.UnixMilli()}), viaPush, now)
	b.handed = 1

	a, s := newTestSession(&Snapshot{User: "alice", Positions: []Position{b.position()}, States: []StateRecord{b.record()}}, 1, now)
	s.receiveSync(t, now)
	b = a.box(b.id)
	if b.unread != 1 || b.view.infoWanted {
		t.Fatalf("unread %d, the server is asked %t", b.unread, b.view.infoWanted)
	}
	a.expire(ends)
	inform := func(at time.Time, unread uint64) {
		t.Helper()
		out, _, _ := s.fill(nil, now)
		if all := frames(t, out); len(all) != 1 || all[0].Type != protocol.TypeInfo {
			t.Fatalf("the server is asked %d times, unread %d", len(all), b.unread)
		}
		state := &pb.ConversationState{Conversation: b.id, HeadSeq: 1, MinSeq: 1, Unread: unread, CountedMs: at.UnixMilli()}
		if err := s.receive(protocol.TypeInformed, s.lastRequest, &pb.Informed{State: state}, now); err != nil {
			t.Fatal(err)
		}
	}
	// This device's clock is ahead: there is no use in asking before the server's is there.
	inform(now, 1)
	if out, _, _ := s.fill(nil, now); len(out) > 0 {
		t.Fatal("the server is asked again at once")
	}
	s.fireTimers(time.Now().Add(time.Minute))
	inform(ends, 0)
	if b.unread != 0 || b.view.infoWanted || b.view.unsure {
		t.Errorf("unread %d, the server is asked %t", b.unread, b.view.infoWanted)
	}
}

// TestMarkedUnreadAfterwards marks a group as unread before a message of the
// user's own, which another device had written before that, arrives.
func TestMarkedUnreadAfterwards(t *testing.T) {
	now := time.Unix(1e9, 0)
	a, s := newTestSession(&Snapshot{User: "alice"}, 1, now)
	s.receiveSync(t, now)
	b := a.box("g:alice:1")
	a.learn(b, &pb.ConversationState{Conversation: b.id, MinSeq: 1, Membership: &pb.Membership{
		Standing: StandingActive, FromSeq: 1, Settings: &pb.Settings{MarkedUnread: true},
	}})
	a.offer(b, fromWire(&pb.Message{Conversation: b.id, Seq: 1, Sender: "alice", Kind: KindText, Count: 1}), viaPush, now)
	if !b.view.infoWanted {
		t.Error("the server is not asked")
	}
}

// TestReadFurtherBeforeTheMark reads messages that an earlier process has counted,
// and clears more before the MARK goes out, which is then not owed any more: the
// server is to tell what is left all the same.
func TestReadFurtherBeforeTheMark(t *testing.T) {
	now := time.Unix(1e9, 0)
	a, s := newTestSession(&Snapshot{User: "alice"}, 1, now)
	s.receiveSync(t, now)
	b := a.box("d:alice:bob")
	b.next = 2
	b.view.skipTo(2)
	a.learnUnread(b, count{head: 5, unread: 5, at: now})
	for seq := uint64(2); seq <= 5; seq++ {
		a.offer(b, fromWire(&pb.Message{Conversation: b.id, Seq: seq, Sender: "bob", Kind: KindText, Count: seq}), viaPush, now)
	}
	a.wantRead(b, 3, now)
	if b.view.infoWanted {
		t.Error("the server is asked, although MARK will tell")
	}
	c := &Client{account: *a, done: make(chan struct{}), closing: make(chan struct{})}
	c.Clear(b.id, 4).call.learn(a, &pb.Deleted{ClearedSeq: 4})
	if !b.view.infoWanted {
		t.Errorf("unread %d, and the server is not asked", b.unread)
	}
}

// TestAnEditBeforeTheLast brings a message as its last edit has left it, and then
// the one before, which mentioned nobody: the first mention stays what the server
// has said.
func TestAnEditBeforeTheLast(t *testing.T) {
	now := time.Unix(1e9, 0)
	a, s := newTestSession(&Snapshot{User: "alice"}, 1, now)
	s.receiveSync(t, now)
	b := a.box("d:alice:bob")
	a.learnUnread(b, count{head: 3, unread: 1, mention: 1, at: now})
	for _, m := range []*pb.Message{
		{Seq: 1, Kind: KindText, ChangedSeq: 3, Mentions: []string{"alice"}},
		{Seq: 2, Kind: KindEdit, Target: 1, ShownSeq: 1, State: MessageRecalled},
		{Seq: 3, Kind: KindEdit, Target: 1, ShownSeq: 1, Mentions: []string{"alice"}},
	} {
		m.Conversation, m.Sender, m.Count = b.id, "bob", 1
		a.offer(b, fromWire(m), viaPush, now)
	}
	if b.view.mention != 1 || b.unread != 1 || b.view.recent.mention(0) != 1 {
		t.Errorf("mention %d, unread %d, mentions here: %+v", b.view.mention, b.unread, b.view.recent)
	}
}

// TestExpiredBeforeItWasHanded has a message expire that an earlier process knew
// and did not come to hand: it is pulled again, comes as it was, and is over then.
func TestExpiredBeforeItWasHanded(t *testing.T) {
	now := time.Unix(1e9, 0)
	ends := now.Add(time.Second)
	old, s := newTestSession(&Snapshot{User: "alice"}, 1, now)
	s.receiveSync(t, now)
	b := old.box("d:alice:bob")
	wire := &pb.Message{Conversation: b.id, Seq: 1, Sender: "bob", Kind: KindText, Count: 1, ExpiresMs: ends.UnixMilli()}
	old.offer(b, fromWire(wire), viaPush, now)

	a, _ := newTestSession(&Snapshot{User: "alice", Positions: []Position{b.position()}, States: []StateRecord{b.record()}}, 1, now)
	b = a.box(b.id)
	a.expire(ends)
	a.offer(b, fromWire(wire), viaPull, now)
	a.expire(ends)
	var view Message
	for _, e := range a.events {
		switch e.what {
		case messageEvent:
			view = e.message
		case changeEvent:
			view.Apply(*e.change)
		}
	}
	if view.Seq != 1 || view.State != MessageExpired {
		t.Errorf("message %d is handed and %v", view.Seq, view.State)
	}
}

// TestAnEditGoesWithItsMessage has a message end that was read, and an edit of which
// is the first mention.
func TestAnEditGoesWithItsMessage(t *testing.T) {
	now := time.Unix(1e9, 0)
	ends := now.Add(time.Second)
	for name, end := range map[string]func(a *account, b *box){
		"expires": func(a *account, _ *box) { a.expire(ends) },
		"is recalled": func(a *account, b *box) {
			a.offer(b, fromWire(&pb.Message{Conversation: b.id, Seq: 3, Sender: "bob", Kind: KindRecall, Target: 1, ShownSeq: 1}), viaPush, now)
		},
	} {
		a, s := newTestSession(&Snapshot{User: "alice"}, 1, now)
		s.receiveSync(t, now)
		b := a.box("d:alice:bob")
		for _, m := range []*pb.Message{
			{Seq: 1, Kind: KindText, ExpiresMs: ends.UnixMilli()},
			{Seq: 2, Kind: KindEdit, Target: 1, ShownSeq: 1, Mentions: []string{"alice"}},
		} {
			m.Conversation, m.Sender, m.Count = b.id, "bob", 1
			a.offer(b, fromWire(m), viaPush, now)
		}
		a.learnUnread(b, count{read: 1, head: 2, mention: 2, at: now})
		b.view.infoWanted = false
		if end(a, b); !b.view.infoWanted {
			t.Errorf("it %s: mention %d, and the server is not asked", name, b.view.mention)
		}
	}
}
