package delivery

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"github.com/godwit-im/godwit/chat"
	"github.com/godwit-im/godwit/protocol"
	"github.com/godwit-im/godwit/protocol/pb"
	"github.com/godwit-im/godwit/session"
)

// club is the log of one group, whose messages are its commands: the index of
// each is its seq.
type club struct {
	conversation string

	mu      sync.Mutex // guards what follows
	applied uint64
	// spans are the seqs that each user may see, from the notice that they joined
	// to the one that they left; the last one is open while they are a member.
	spans map[string][]span
	err   error // of Groups
}

type span struct{ from, until uint64 } // until 0 = open

func newClub() *club {
	return &club{conversation: protocol.GroupID("ann", "club"), spans: make(map[string][]span)}
}

// member is membership for a caller who holds mu.
func (c *club) member(user string) bool {
	s := c.spans[user]
	return len(s) > 0 && s[len(s)-1].until == 0
}

// admit makes user a member from the beginning.
func (c *club) admit(user string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.spans[user] = []span{{from: 1}}
}

// Groups implements memberships.
func (c *club) Groups(user string) ([]string, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.member(user) {
		return []string{c.conversation}, c.err
	}
	return nil, c.err
}

func (c *club) PartitionOf(string) int { return 0 }

func (c *club) Settled(int) uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.applied
}

// may reports whether user may see seq.
func (c *club) may(user string, seq uint64) bool {
	return slices.ContainsFunc(c.spans[user], func(s span) bool {
		return s.from <= seq && (s.until == 0 || seq <= s.until)
	})
}

// commit commits n commands: messages, and notices that users come and go. What
// it returns is to be delivered.
func (c *club) commit(n int, next func() (user string)) []chat.Outcome {
	c.mu.Lock()
	defer c.mu.Unlock()
	var outcomes []chat.Outcome
	for range n {
		c.applied++
		var more []chat.Effect
		if user := next(); user != "" {
			spans := c.spans[user]
			if c.member(user) {
				spans[len(spans)-1].until = c.applied
				more = []chat.Effect{{Kind: chat.EffectLeft, Conversation: c.conversation, Users: []string{user}}}
			} else {
				c.spans[user] = append(spans, span{from: c.applied})
				more = []chat.Effect{{Kind: chat.EffectJoined, Conversation: c.conversation, Users: []string{user}}}
			}
		}
		outcomes = append(outcomes, c.outcome(c.applied, more...))
	}
	return outcomes
}

// outcome is that of the message seq, with more effects.
func (c *club) outcome(seq uint64, more ...chat.Effect) chat.Outcome {
	message := chat.Effect{
		Kind: chat.EffectMessage, Conversation: c.conversation, Group: true, Seq: seq,
		Frame: protocol.MessageFrame(nil, &pb.Message{Conversation: c.conversation, Seq: seq, Id: seq, Body: []byte("x")}),
	}
	return chat.Outcome{Proposal: &chat.Proposal{}, Index: seq, Effects: append(more, message)}
}

// attach is connect, as the gateway does it.
func (n *node) attach(user, device string, loop int) *client {
	n.t.Helper()
	c := n.connect(user, device)
	n.Attach(c.Session, loop)
	return c
}

func (c *client) detach() {
	c.disconnect()
	c.node.Detach(c.Session)
}

// loaded waits until the reads that were queued for c so far are done, and
// returns what read then returns.
func (c *client) loaded(read func() uint64) uint64 {
	c.node.t.Helper()
	var got uint64
	c.read(func(s *session.Session, request uint32, inFlight int) error {
		return c.node.turns.add(s, job{request: request, inFlight: inFlight, read: func() ([]byte, error) {
			got = read()
			return protocol.AppendFrame(nil, protocol.TypePong, request, nil), nil
		}})
	})
	return got
}

// messages returns the seqs of the MESSAGEs among frames, and the heads of the
// HEADS.
func messages(t testing.TB, frames []protocol.Frame) (seqs []uint64, heads []*pb.Head) {
	t.Helper()
	for _, f := range frames {
		switch f.Type {
		case protocol.TypeMessage:
			m := &pb.Message{}
			decode(t, f, protocol.TypeMessage, m)
			seqs = append(seqs, m.Seq)
		case protocol.TypeHeads:
			m := &pb.Heads{}
			decode(t, f, protocol.TypeHeads, m)
			heads = append(heads, m.Heads...)
		}
	}
	return seqs, heads
}

// quiet waits until nobody has anything to be told any more.
func (n *node) quiet() {
	n.t.Helper()
	for i := range n.stage.lanes {
		l := &n.stage.lanes[i]
		eventually(n.t, func() bool {
			l.mu.Lock()
			defer l.mu.Unlock()
			return len(l.turns) == 0
		})
	}
}

// TestAudience: while users join and leave, and their sessions come, are replaced
// and go, all at the same time, every session that stays is told each message
// that its SYNC could not find, once, in order, and nobody is told one from
// before they joined or after they left.
func TestAudience(t *testing.T) {
	for name, size := range map[string]struct{ users, batches int }{
		"small": {8, 1500},
		"large": {4 * small, 1500},
	} {
		t.Run(name, func(t *testing.T) {
			n := newNode(t, func(c *nodeConfig) { c.delivery.Loops = 2 })
			club := newClub()
			n.members = club
			users := make([]string, size.users)
			for i := range users {
				users[i] = fmt.Sprintf("u%d", i)
			}
			// Two thirds of them are members from the beginning.
			n.Deliver(club.commit(size.users*2/3, func() func() string {
				i := -1
				return func() string { i++; return users[i] }
			}()))

			var (
				crowd sync.WaitGroup
				full  sync.WaitGroup
				stop  = make(chan struct{})
				mu    sync.Mutex // guards the next two
				stays []*stay
				gone  []*stay
			)
			full.Add(4)
			for g := range 4 {
				crowd.Go(func() {
					r := rand.New(rand.NewPCG(1, uint64(g)))
					online := make(map[string]*stay) // by user; each belongs to one goroutine
					come := func(user string, loop int) {
						s := &stay{client: n.attach(user, "phone", loop)}
						if old := online[user]; old != nil { // replaced: its connection closes later
							old.client.detach()
							mu.Lock()
							gone = append(gone, old)
							mu.Unlock()
						}
						s.synced = s.client.loaded(club.appliedNow)
						online[user] = s
					}
					for i := g; i < len(users); i += 4 {
						come(users[i], i/4%2)
					}
					full.Done()
					for i := 0; ; i++ {
						select {
						case <-stop:
							mu.Lock()
							stays = slices.AppendSeq(stays, maps.Values(online))
							mu.Unlock()
							return
						default:
						}
						user := users[r.IntN(size.users/4)*4+g]
						if old := online[user]; old != nil && r.IntN(3) == 0 {
							old.client.detach()
							mu.Lock()
							gone = append(gone, old)
							mu.Unlock()
							delete(online, user)
							continue
						}
						come(user, i%2)
					}
				})
			}
			full.Wait()
			staged := false
			r := rand.New(rand.NewPCG(2, 0))
			for range size.batches {
				n.Deliver(club.commit(1+r.IntN(4), func() string {
					if r.IntN(3) > 0 {
						return ""
					}
					return users[r.IntN(len(users))]
				}))
				staged = staged || n.Delivery.Stats().Backlog > 0
			}
			close(stop)
			crowd.Wait()
			n.quiet()
			if large := size.users > small; staged != large {
				t.Errorf("told by the stage: %v, want %v", staged, large)
			}

			for _, s := range gone {
				s.check(t, club, false)
			}
			told := 0
			for _, s := range stays {
				told += s.check(t, club, true)
			}
			if told == 0 || len(gone) == 0 {
				t.Errorf("%d messages were told to those who stayed, %d sessions went: nothing is tested", told, len(gone))
			}
			// Everybody who is there has their seat, and nobody else.
			want := 0
			for _, s := range stays {
				if club.member(s.client.User) {
					want++
				}
			}
			if got := n.Delivery.Stats().Seats; got != want {
				t.Errorf("%d seats are taken, want %d", got, want)
			}
			for _, s := range stays {
				s.client.detach()
			}
			if s := n.Delivery.Stats(); s.Groups != 0 || s.Seats != 0 || s.Backlog != 0 {
				t.Errorf("when all had gone: %+v", s)
			}
			for i := range n.present.crowds {
				if len(n.present.crowds[i].users) != 0 {
					t.Errorf("listeners are left: %v", n.present.crowds[i].users)
				}
			}
		})
	}
}

// stay is a session and what its SYNC has found: everything up to synced.
type stay struct {
	client *client
	synced uint64
}

// check looks at what s was told. whole: it is still there.
func (s *stay) check(t *testing.T, c *club, whole bool) int {
	t.Helper()
	user := s.client.User
	seqs, _ := messages(t, s.client.wire.take())
	for i, seq := range seqs {
		if i > 0 && seq <= seqs[i-1] {
			t.Fatalf("%s was told %d after %d", user, seq, seqs[i-1])
		}
		if !c.may(user, seq) {
			t.Fatalf("%s was told %d, but may see %v", user, seq, c.spans[user])
		}
	}
	for seq := s.synced + 1; whole && seq <= c.applied; seq++ {
		if _, told := slices.BinarySearch(seqs, seq); !told && c.may(user, seq) {
			t.Fatalf("%s was not told %d, synced up to %d, may see %v", user, seq, s.synced, c.spans[user])
		}
	}
	return len(seqs)
}

// A replaced session that closes late takes nothing from its successor.
func TestDetachAfterTakeover(t *testing.T) {
	n := newNode(t)
	club := newClub()
	n.members = club
	club.admit("bob")
	old := n.attach("bob", "phone", 0)
	successor := n.attach("bob", "phone", 0)
	successor.loaded(club.appliedNow)
	old.detach()
	old.detach()
	n.Deliver(club.commit(1, func() string { return "" }))
	if seqs, _ := messages(t, successor.wire.take()); !slices.Equal(seqs, []uint64{1}) {
		t.Errorf("the successor was told %v, want 1", seqs)
	}
	if s := n.Delivery.Stats(); s.Seats != 1 {
		t.Errorf("%d seats, want 1", s.Seats)
	}
}

func (c *club) appliedNow() uint64 { return c.Settled(0) }

// The groups are read before what the session asks for itself.
func TestLoadComesFirst(t *testing.T) {
	n := newNode(t, func(c *nodeConfig) { c.delivery.Workers = 1 })
	club := newClub()
	n.members = club
	club.admit("bob")
	release := n.hold(n.connect("dan", "d"))
	bob := n.attach("bob", "phone", 0)
	seats := -1
	bob.request++
	if err := bob.Begin(inFlight); err != nil {
		t.Fatal(err)
	}
	if err := n.turns.add(bob.Session, job{request: bob.request, inFlight: inFlight, read: func() ([]byte, error) {
		seats = n.Delivery.Stats().Seats
		return protocol.AppendFrame(nil, protocol.TypePong, bob.request, nil), nil
	}}); err != nil {
		t.Fatal(err)
	}
	release()
	bob.wire.answer(t, bob.request)
	if seats != 1 {
		t.Errorf("%d seats when the first request was read, want 1", seats)
	}
}

// A session whose groups can't be read must not go on as if it had none.
func TestLoadFails(t *testing.T) {
	n := newNode(t)
	club := newClub()
	n.members = club
	club.err = fmt.Errorf("disk")
	bob := n.attach("bob", "phone", 0)
	eventually(t, func() bool {
		bob.wire.mu.Lock()
		defer bob.wire.mu.Unlock()
		return bob.wire.closed
	})
	if n.Delivery.Stats().Failed != 1 {
		t.Error("the failed read was not counted")
	}
}

// A group that ends leaves nothing behind, nor does a group nobody is online of.
func TestDissolve(t *testing.T) {
	n := newNode(t)
	club := newClub()
	n.members = club
	club.admit("bob")
	club.admit("cid")
	bob, cid := n.attach("bob", "phone", 0), n.attach("cid", "phone", 0)
	bob.loaded(club.appliedNow)
	cid.loaded(club.appliedNow)
	last := club.outcome(1, chat.Effect{Kind: chat.EffectDissolve, Conversation: club.conversation})
	n.Deliver([]chat.Outcome{last})
	for _, c := range []*client{bob, cid} {
		if seqs, _ := messages(t, c.wire.take()); len(seqs) != 1 {
			t.Errorf("%s was told %v, want the notice that it is over", c.User, seqs)
		}
	}
	if s := n.Delivery.Stats(); s.Groups != 0 || s.Seats != 0 {
		t.Errorf("%+v", s)
	}
}
