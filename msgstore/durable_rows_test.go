package msgstore

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"google.golang.org/protobuf/proto"

	"github.com/godwit-im/godwit/protocol"
	"github.com/godwit-im/godwit/protocol/pb"
)

const (
	testGroup     = "g:ann:1"
	testBroadcast = "g:ann:news"
)

// broadcast is the data of the test broadcast, with so many followers.
func broadcast(followers uint32) *pb.Group {
	return &pb.Group{Conversation: testBroadcast, Kind: pb.GroupKind_GROUP_KIND_BROADCAST, Members: followers}
}

// standing puts a user's standing in the test group.
func (w *writer) standing(user string, standing pb.Standing) error {
	return w.begin().PutMember(w.next(testGroup), user, testGroup, Member{Membership: &pb.Membership{Standing: standing}})
}

// say appends a message of ann's to the test group.
func (w *writer) say(m *pb.Message) (*pb.Message, error) {
	tx := w.begin()
	h, _, err := tx.Head(testGroup)
	if err != nil {
		return nil, err
	}
	w.now++
	m.Conversation, m.Seq, m.Id, m.Sender, m.TimeMs, m.Count = testGroup, h.Seq+1, w.id(), "ann", w.now, h.Count+1
	m.ClientId = fmt.Sprint("say", m.Seq)
	return m, tx.Append(w.next(testGroup), m, encode(m))
}

// everything is what readers can see of the test group and what is beside it, by
// what they call.
func everything(t *testing.T, s *Store) map[string]string {
	t.Helper()
	got := make(map[string]string)
	put := func(what string, v any, err error) {
		t.Helper()
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		got[what] = fmt.Sprint(v)
	}
	body := func(wire []byte) string {
		var m pb.Message
		check(t, proto.Unmarshal(wire, &m))
		return fmt.Sprint(m.Seq, string(m.Body), m.ChangedSeq)
	}
	wire, _, err := s.Message(testGroup, 1)
	put("Message", body(wire), err)
	for _, backward := range []bool{false, true} {
		r, err := s.Range(testGroup, 0, 0, backward, 10, 1<<20, nil)
		var all []string
		for _, m := range pulled(t, r) {
			all = append(all, fmt.Sprint(m.Seq, string(m.Body), m.ChangedSeq))
		}
		put(fmt.Sprint("Range, backward: ", backward), all, err)
	}
	v := s.View()
	wire, _, err = v.Message(testGroup, 1)
	put("View.Message", body(wire), err)
	h, _, err := v.Newest(testGroup)
	if err == nil {
		h, err = v.Complete(testGroup, h)
	}
	put("View's head", h, err)
	check(t, v.Close())
	h, _, err = s.Head(testGroup)
	put("Head", h, err)
	g, stamp, _, err := s.GroupAt(testGroup)
	put("GroupAt", fmt.Sprint(g.GetName(), stamp), err)
	g, _, err = s.Group(testBroadcast)
	put("Group's followers", g.GetMembers(), err)
	for _, requests := range []bool{false, true} {
		var users []string
		_, err = s.GroupMembers(testGroup, requests, "", 10, func(user string, m Member) error {
			users = append(users, fmt.Sprint(user, m.Stamp))
			return nil
		})
		put(fmt.Sprint("GroupMembers, requests: ", requests), users, err)
	}
	groups, err := s.Groups("carol")
	put("Groups of who joins", groups, err)
	groups, err = s.Groups("bob")
	put("Groups of who leaves", groups, err)
	n, err := s.FirstMention("bob", testGroup, 0, Moment{})
	put("FirstMention", n, err)
	n, err = s.FirstMention("carol", testGroup, 0, Moment{})
	put("FirstMention of all", n, err)
	n, err = s.GoneBetween(testGroup, "", 0, 10, Moment{})
	put("GoneBetween", n, err)
	for _, key := range []string{"taken back", "given", "changes hands"} {
		users, _, err := s.Reactors(testGroup, 2, key, "", 10)
		put("Reactors: "+key, users, err)
	}
	was, err := s.Replaced(testGroup, 1, Content, 3)
	put("Replaced", string(was), err)
	was, err = s.Replaced(testGroup, 2, Reactions, 0)
	put("Replaced and forgotten", string(was), err)
	seqs, err := s.DeletedSince("bob", testGroup, 0)
	put("DeletedSince", seqs, err)
	p := s.PartitionOf(testGroup)
	var due, followUps []string
	check(t, s.Expired(p, 1000, 10, func(_ string, seq uint64, ms int64) error {
		due = append(due, fmt.Sprint(seq, ms))
		return nil
	}))
	put("Expired", due, nil)
	check(t, s.FollowUps(p, func(_ string, _ uint64, n int, conversation string, notice []byte) error {
		followUps = append(followUps, fmt.Sprint(n, conversation, string(notice)))
		return nil
	}))
	put("FollowUps", followUps, nil)
	seen, err := s.Seen(testGroup, "ann")
	put("Seen", seen, err)
	seen, err = s.Seen(testGroup, "bob")
	put("Seen of who wasn't before", seen, err)
	var contacts []string
	_, err = s.Contacts("ann", "", 10, func(peer string, m *pb.Membership) error {
		contacts = append(contacts, fmt.Sprint(peer, m.Remark))
		return nil
	})
	put("Contacts", contacts, err)
	takes, err := s.Takes("ann")
	put("Takes", takes, err)
	return got
}

// fillGroup makes what changeGroup changes.
func fillGroup(t *testing.T, w *writer) {
	t.Helper()
	tx := w.begin()
	check(t, tx.Create(w.next(testGroup), testGroup))
	check(t, errors.Join(w.standing("ann", pb.Standing_STANDING_ACTIVE), w.standing("bob", pb.Standing_STANDING_ACTIVE)))
	check(t, w.standing("carol", pb.Standing_STANDING_REQUESTED))
	for _, m := range []*pb.Message{{Mentions: []string{"bob"}}, {MentionAll: true}, {}} {
		m.Body = []byte("as it was sent")
		_, err := w.say(m)
		check(t, err)
	}
	next := func() uint64 { return w.next(testGroup) }
	check(t, errors.Join(
		tx.PutGroup(next(), &pb.Group{Conversation: testGroup, Name: "old"}),
		tx.PutMentions(next(), testGroup, 1, "ann", []string{"bob"}, false),
		tx.PutMentions(next(), testGroup, 2, "ann", nil, true),
		tx.PutReaction(next(), testGroup, 2, "taken back", "ann", true),
		tx.PutReaction(next(), testGroup, 2, "changes hands", "bob", true),
		tx.PutExpiry(next(), testGroup, 3, 500),
		tx.PutFollowUp(next(), testGroup, 0, "s:bob", []byte("first")),
		tx.PutSeen(next(), testGroup, "ann", 100),
	))
	_, err := tx.PutDeleted(next(), "bob", testGroup, []uint64{1})
	check(t, err)
	check(t, errors.Join(tx.PutGroup(w.next(testBroadcast), broadcast(300)), w.takes("ann", pb.Audience_AUDIENCE_CONTACTS)))
	id := protocol.DirectID("ann", "bob")
	check(t, tx.Create(w.next(id), id, "ann", "bob"))
	check(t, tx.PutMember(w.next(id), "ann", id, Member{Membership: &pb.Membership{Remark: "old"}}))
	check(t, errors.Join(
		tx.PutLeft(next(), testGroup),
		tx.PutReplaced(next(), testGroup, 2, Reactions, 3, []byte("of before")),
	))
}

// changeGroup changes all that everything shows.
func changeGroup(t *testing.T, w *writer) {
	t.Helper()
	tx := w.begin()
	wire, err := tx.Message(testGroup, 1)
	check(t, err)
	m := new(pb.Message)
	check(t, proto.Unmarshal(wire, m))
	_, err = w.say(&pb.Message{Kind: pb.Kind_KIND_EDIT})
	check(t, err)
	m.Body, m.ChangedSeq = []byte("as it is now"), 4
	next := func() uint64 { return w.next(testGroup) }
	followUp := uint64(0)
	check(t, w.s.FollowUps(w.s.PartitionOf(testGroup), func(_ string, index uint64, _ int, _ string, _ []byte) error {
		followUp = index
		return nil
	}))
	check(t, errors.Join(
		tx.Rewrite(next(), m, encode(m)),
		tx.DropMentions(next(), testGroup, 1, []string{"bob"}, false),
		tx.DropMentions(next(), testGroup, 2, nil, true),
		tx.PutMentions(next(), testGroup, 3, "ann", []string{"dave"}, false),
		tx.PutGone(next(), testGroup, 1, Gone{Sender: "ann", Counted: true}),
		tx.PutGroup(next(), &pb.Group{Conversation: testGroup, Name: "new"}),
		w.standing("bob", pb.Standing_STANDING_LEFT),
		w.standing("carol", pb.Standing_STANDING_ACTIVE),
		tx.PutReaction(next(), testGroup, 2, "taken back", "ann", false),
		tx.PutReaction(next(), testGroup, 2, "given", "ann", true),
		tx.PutReaction(next(), testGroup, 2, "changes hands", "bob", false),
		tx.PutReaction(next(), testGroup, 2, "changes hands", "carol", true),
		tx.DropDeleted(next(), "bob", testGroup, 1),
		tx.DropExpiry(next(), testGroup, 3, 500),
		tx.PutExpiry(next(), testGroup, 2, 600),
		tx.DropFollowUp(next(), testGroup, followUp, 0),
		tx.PutFollowUp(next(), testGroup, 1, "s:carol", []byte("second")),
		tx.PutSeen(next(), testGroup, "ann", 200),
		tx.PutSeen(next(), testGroup, "bob", 200),
	))
	_, err = tx.PutDeleted(next(), "bob", testGroup, []uint64{2})
	check(t, err)
	check(t, errors.Join(tx.PutFollowers(w.next(testBroadcast), broadcast(301)), w.takes("ann", pb.Audience_AUDIENCE_EVERYBODY)))
	id := protocol.DirectID("ann", "bob")
	check(t, tx.PutMember(w.next(id), "ann", id, Member{Membership: &pb.Membership{Remark: "new"}}))
	check(t, errors.Join(
		tx.PutReplaced(next(), testGroup, 1, Content, 4, []byte("as it was sent")),
		tx.DropReplaced(next(), testGroup, 2),
		tx.PutLeft(next(), testGroup),
	))
}

// forgetAll empties the caches.
func (s *Store) forgetAll() {
	s.heads = newHeadCache(64)
	s.groups = newCache[groupAt](64, nil)
	s.joined = newCache[[]string](64, nil)
}

// What a commit in progress changes, adds and deletes is seen as it was before,
// in all that can be read, until the sync has ended: messages that are rewritten,
// rows, lists and what is counted by them.
func TestReadersSeeOnlyDurableRows(t *testing.T) {
	for _, cached := range []bool{true, false} {
		t.Run(fmt.Sprint("cached: ", cached), func(t *testing.T) {
			g := &gate{waiting: make(chan struct{}, 10), open: make(chan struct{})}
			s := open(t, memOptions(t, onLogSync(vfs.NewMem(), g.pass)))
			defer closeStore(t, s)
			defer g.release()
			w := newWriter(s)
			fillGroup(t, w)
			check(t, w.commit())
			before := everything(t, s)
			changeGroup(t, w)

			g.shut.Store(true)
			committed := make(chan error, 1)
			go func() { committed <- w.commit() }()
			<-g.waiting
			eventually(t, "Pebble shows the batch", func() bool {
				value, err := s.value(appendMessageKey(nil, s.PartitionOf(testGroup), testGroup, 1))
				return err == nil && isRewritten(value)
			})
			for range 2 {
				if !cached {
					s.forgetAll()
				}
				for what, got := range everything(t, s) {
					if got != before[what] {
						t.Errorf("%s is %s before the sync has ended; was %s", what, got, before[what])
					}
				}
			}
			g.release()
			check(t, <-committed)
			for range 2 {
				after := everything(t, s)
				for _, what := range slices.Sorted(maps.Keys(after)) {
					if after[what] == before[what] {
						t.Errorf("%s is still %s", what, after[what])
					}
				}
				s.forgetAll()
			}
			for p, rows := range s.inflight.rows {
				if rows != nil {
					t.Errorf("still in flight in partition %d: %v", p, rows)
				}
			}
		})
	}
}
