package delivery

import (
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/godwit-im/godwit/chat"
	"github.com/godwit-im/godwit/protocol"
	"github.com/godwit-im/godwit/protocol/pb"
)

// loops are event loops that do one thing at a time, when they are told to.
type loops struct {
	mu    sync.Mutex // guards calls
	calls []func()
}

func (l *loops) post(_ int, f func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.calls = append(l.calls, f)
}

// step does the oldest thing and reports whether there was one.
func (l *loops) step() bool {
	l.mu.Lock()
	if len(l.calls) == 0 {
		l.mu.Unlock()
		return false
	}
	f := l.calls[0]
	l.calls = l.calls[1:]
	l.mu.Unlock()
	f()
	return true
}

// hallFull is a node of one loop, whose groups have so many sessions online,
// loaded, each of a user of its own.
func hallFull(t testing.TB, size int, clubs ...*club) (*node, *loops, [][]*client) {
	t.Helper()
	l := &loops{}
	n := newNode(t, func(c *nodeConfig) { c.delivery.Post = l.post })
	var all [][]*client
	for _, club := range clubs {
		n.members = club
		var clients []*client
		for i := range size {
			user := fmt.Sprintf("%s%d", club.conversation[len("g:ann:"):], i)
			club.admit(user)
			clients = append(clients, n.attach(user, "phone", 0))
		}
		for _, c := range clients {
			c.loaded(club.appliedNow)
		}
		all = append(all, clients)
	}
	return n, l, all
}

func say(n *node, c *club, messages int) {
	for range messages {
		n.Deliver(c.commit(1, func() string { return "" }))
	}
}

// reached counts those of clients who were told something, which it takes.
func reached(t testing.TB, clients []*client) (count int) {
	t.Helper()
	for _, c := range clients {
		if len(c.wire.take()) > 0 {
			count++
		}
	}
	return count
}

// A large audience is told by and by, other audiences have their turn in
// between, and a small one, or a direct chat, doesn't wait at all.
func TestPieces(t *testing.T) {
	big, other, few := newClub(), newClub(), newClub()
	other.conversation, few.conversation = protocol.GroupID("ann", "other"), protocol.GroupID("ann", "few")
	n, loops, all := hallFull(t, 3*maxPiece, big, other)
	n.members = few
	few.admit("dan")
	dan := n.attach("dan", "phone", 0)
	dan.loaded(few.appliedNow)

	say(n, big, 1)
	say(n, other, 1)
	say(n, few, 1)
	if got := len(dan.wire.take()); got != 1 {
		t.Errorf("a small audience was told %d messages at once, want 1", got)
	}
	if got := reached(t, slices.Concat(all...)); got != 0 {
		t.Errorf("%d sessions were told before their loop came to it", got)
	}
	for round := range 3 {
		for i := range all {
			if !loops.step() {
				t.Fatal("the loop has nothing to do")
			}
			if got := reached(t, all[i]); got != maxPiece {
				t.Errorf("round %d: %d sessions of audience %d were told, want %d", round, got, i, maxPiece)
			}
			if got := reached(t, all[1-i]); got != 0 {
				t.Errorf("round %d: %d sessions were told out of turn", round, got)
			}
		}
	}
	if loops.step() {
		t.Error("something is left to do")
	}
	if s := n.Delivery.Stats(); s.Messages != 2*3*maxPiece+1 || s.Backlog != 0 {
		t.Errorf("%+v", s)
	}
}

// What is behind leaves together: one slice for all that waited.
func TestCatchUp(t *testing.T) {
	club := newClub()
	n, loops, all := hallFull(t, small+1, club)
	say(n, club, 5)
	for loops.step() {
	}
	for _, c := range all[0] {
		if got := c.wire.takePushes(); got != 1 {
			t.Fatalf("%d slices, want 1", got)
		}
		if seqs, _ := messages(t, c.wire.take()); !slices.Equal(seqs, []uint64{1, 2, 3, 4, 5}) {
			t.Fatalf("told %v", seqs)
		}
	}
}

// An audience that a loop can't keep up with costs a bounded amount of memory.
// Its sessions are told what there was room for, then that they missed the rest,
// and then what comes next.
func TestBacklog(t *testing.T) {
	club := newClub()
	n, loops, all := hallFull(t, small+1, club)
	say(n, club, 1)
	most := maxStream/newsOverhead + 1
	say(n, club, most)
	if s := n.Delivery.Stats(); s.Backlog > maxStream || s.Missed == 0 {
		t.Fatalf("backlog %d bytes of at most %d, %d missed", s.Backlog, maxStream, s.Missed)
	}
	missed := n.Delivery.Stats().Missed
	n.Deliver([]chat.Outcome{{Proposal: &chat.Proposal{}, Index: club.applied, Effects: []chat.Effect{
		{Kind: chat.EffectReceipt, Conversation: club.conversation, Group: true, User: "somebody", ReadSeq: 1},
	}}})
	last := club.applied
	for loops.step() {
	}
	for _, c := range all[0] {
		seqs, heads := messages(t, c.wire.take())
		if uint64(len(seqs)) != last-missed || seqs[len(seqs)-1] != last-missed {
			t.Fatalf("%d messages up to %d, %d of %d were missed", len(seqs), seqs[len(seqs)-1], missed, last)
		}
		if len(heads) != 2 || heads[0].Seq != last || heads[1].Seq != 0 || heads[0].Conversation != club.conversation {
			t.Fatalf("heads %v, want %d and one for the receipt", heads, last)
		}
	}
	say(n, club, 1)
	for loops.step() {
	}
	for _, c := range all[0] {
		if seqs, heads := messages(t, c.wire.take()); !slices.Equal(seqs, []uint64{last + 1}) || len(heads) != 0 {
			t.Fatalf("told %v and %v afterwards, want %d", seqs, heads, last+1)
		}
	}
	if s := n.Delivery.Stats(); s.Backlog != 0 {
		t.Errorf("%d bytes are charged when all is told", s.Backlog)
	}
}

// All audiences of a loop together cost a bounded amount of memory, and an
// audience that nothing waits for is told something even then.
func TestLaneIsBounded(t *testing.T) {
	n, _, all := hallFull(t, small+1, newClub())
	l := &n.stage.lanes[0]
	l.bytes = maxLane // as if others waited
	club := n.members.(*club)
	say(n, club, 2)
	if got := n.Delivery.Stats().Missed; got != 1 {
		t.Errorf("%d news were missed, want 1", got)
	}
	l.bytes -= maxLane
	for len(l.turns) > 0 {
		l.run()
	}
	for _, c := range all[0] {
		if seqs, heads := messages(t, c.wire.take()); !slices.Equal(seqs, []uint64{1}) || len(heads) != 1 || heads[0].Seq != 2 {
			t.Fatalf("told %v and %v", seqs, heads)
		}
	}
}

// A member who takes nothing lags, alone.
func TestStalledMember(t *testing.T) {
	club := newClub()
	n, loops, all := hallFull(t, 2*small, club)
	stalled := all[0][small/2]
	stalled.wire.setRoom(0)
	for range 3 {
		say(n, club, 2)
		for loops.step() {
		}
	}
	for _, c := range all[0] {
		seqs, _ := messages(t, c.wire.take())
		want := []uint64{1, 2, 3, 4, 5, 6}
		if c == stalled {
			want = []uint64{1, 2}
		}
		if !slices.Equal(seqs, want) {
			t.Fatalf("%s was told %v, want %v", c.User, seqs, want)
		}
	}
	stalled.Drained()
	if _, heads := messages(t, stalled.wire.take()); len(heads) != 1 || heads[0].Seq != 6 {
		t.Errorf("HEADS %v, want 6", heads)
	}
}

// The sender has an answer, in a large audience as in a small one, and in news
// that are told together; who joined since is not told the news from before.
func TestNotForAll(t *testing.T) {
	for _, size := range []int{3, small + 1} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			club := newClub()
			n, loops, all := hallFull(t, size, club)
			ann, bob := all[0][0], all[0][1]
			other := n.attach(ann.User, "tablet", 0)
			other.loaded(club.appliedNow)
			send := func(from *client) {
				o := club.commit(1, func() string { return "" })[0]
				o.Proposal = &chat.Proposal{Origin: from.Session, Command: chat.Command{Op: chat.OpSend}}
				if err := from.Begin(0); err != nil {
					t.Fatal(err)
				}
				n.Deliver([]chat.Outcome{o})
			}
			send(ann)
			send(bob)
			club.commit(1, func() string { return "late" }) // committed before late's groups are read,
			late := n.attach("late", "phone", 0)
			late.loaded(club.appliedNow)
			n.Deliver([]chat.Outcome{club.outcome(3)}) // and delivered after
			send(ann)
			for loops.step() {
			}
			for _, c := range []struct {
				client *client
				want   []uint64
			}{{ann, []uint64{2, 3}}, {bob, []uint64{1, 3, 4}}, {all[0][2], []uint64{1, 2, 3, 4}}, {other, []uint64{1, 2, 3, 4}}, {late, []uint64{4}}} {
				if seqs, _ := messages(t, c.client.wire.take()); !slices.Equal(seqs, c.want) {
					t.Errorf("%s was told %v, want %v", c.client.User, seqs, c.want)
				}
			}
		})
	}
}

// A RECEIPT in a group: the unread count is for the user's own sessions.
func TestGroupReceipt(t *testing.T) {
	for _, size := range []int{2, small + 1} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			club := newClub()
			n, loops, all := hallFull(t, size, club)
			ann, bob := all[0][0], all[0][1]
			tablet := n.attach(ann.User, "tablet", 0)
			tablet.loaded(club.appliedNow)
			if err := ann.Begin(0); err != nil {
				t.Fatal(err)
			}
			n.Deliver([]chat.Outcome{{
				Proposal: &chat.Proposal{Origin: ann.Session, Command: chat.Command{Op: chat.OpMark}}, Index: 1,
				Effects: []chat.Effect{
					{
						Kind: chat.EffectReceipt, Conversation: club.conversation, Users: []string{ann.User},
						User: ann.User, ReadSeq: 4, DeliveredSeq: 5, Count: chat.Count{Unread: 6},
					},
					{
						Kind: chat.EffectReceipt, Conversation: club.conversation, Group: true,
						User: ann.User, ReadSeq: 4, DeliveredSeq: 5,
					},
				},
			}})
			for loops.step() {
			}
			for c, unread := range map[*client]uint64{bob: 0, tablet: 6} {
				frames := c.wire.take()
				if len(frames) != 1 {
					t.Fatalf("%s was told %v, want one RECEIPT", c.User, frames)
				}
				m := &pb.Receipt{}
				decode(t, frames[0], protocol.TypeReceipt, m)
				if m.User != ann.User || m.ReadSeq != 4 || m.DeliveredSeq != 5 || m.Unread != unread {
					t.Errorf("%s was told %v", c.User, m)
				}
			}
			if f := ann.wire.take(); len(f) != 1 || f[0].Type != protocol.TypeMarked {
				t.Errorf("the asking session got %v", f)
			}
		})
	}
}
