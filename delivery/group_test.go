package delivery

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/godwit-im/godwit/chat"
	"github.com/godwit-im/godwit/protocol"
	"github.com/godwit-im/godwit/protocol/pb"
)

// group asks for something to be done with a group and waits until it is.
func (c *client) group(conversation string, req *pb.GroupRequest) {
	c.node.t.Helper()
	if create := req.GetCreate(); create != nil {
		conversation = protocol.GroupID(c.User, create.ClientId)
	}
	c.submit(chat.Command{Op: chat.OpGroup, Conversation: conversation, Group: req})
	c.node.settle()
}

// A group from its creation on, through the log and the store: who is online, who
// comes later, who is removed.
func TestGroupThroughTheLog(t *testing.T) {
	n := newNode(t)
	ann, bob := n.attach("ann", "phone", 0), n.attach("bob", "phone", 0)
	for _, c := range []*client{ann, bob} {
		c.synced(nil, 0)
	}
	ann.group("", &pb.GroupRequest{Action: &pb.GroupRequest_Create{Create: &pb.CreateGroup{
		ClientId: "club", Kind: pb.GroupKind_GROUP_KIND_GROUP, Join: pb.JoinPolicy_JOIN_POLICY_OPEN, Users: []string{"bob", "cid"},
	}}})
	const club = "g:ann:club"
	say := func(from *client, id string) {
		from.submit(chat.Command{Op: chat.OpSend, Conversation: club, ClientID: id, Kind: pb.Kind_KIND_TEXT, Body: []byte("x")})
		n.settle()
	}
	say(bob, "1")
	cid := n.attach("cid", "phone", 0) // a member who comes now
	cid.synced(nil, 0)
	say(ann, "1")
	ann.group(club, &pb.GroupRequest{Action: &pb.GroupRequest_Remove{Remove: &pb.Users{Users: []string{"bob"}}}})
	say(ann, "2")
	for _, c := range []struct {
		client *client
		want   []uint64
	}{
		{ann, []uint64{1, 2, 4}}, // both notices, bob's
		{bob, []uint64{1, 3, 4}}, // the notice that he is a member, ann's, the notice that he isn't
		{cid, []uint64{3, 4, 5}}, // what came after his SYNC
	} {
		if seqs, _ := messages(t, c.client.wire.take()); !slices.Equal(seqs, c.want) {
			t.Errorf("%s was told %v, want %v", c.client.User, seqs, c.want)
		}
	}
}

// A user may be in any number of groups that were dissolved, and they take up no
// memory of the user's sessions.
func TestNoSeatsInDissolvedGroups(t *testing.T) {
	rules := chat.DefaultRules()
	rules.MaxGroups = 2
	n := newNode(t, func(c *nodeConfig) { c.chat.Rules, c.delivery.Rules = rules, &rules })
	ann := n.attach("ann", "phone", 0)
	for i := range 20 {
		id := fmt.Sprintf("g%d", i)
		ann.group("", &pb.GroupRequest{Action: &pb.GroupRequest_Create{Create: &pb.CreateGroup{ClientId: id}}})
		if i >= rules.MaxGroups {
			ann.group(protocol.GroupID("ann", id), &pb.GroupRequest{Action: &pb.GroupRequest_Dissolve{Dissolve: &pb.Nothing{}}})
		}
	}
	before := n.present.seats.Load()
	n.attach("ann", "desk", 0).synced(nil, 0)
	if added := n.present.seats.Load() - before; added != int64(rules.MaxGroups) {
		t.Errorf("a session has %d seats, in %d groups", added, rules.MaxGroups)
	}
}

// BenchmarkLoad is what a login costs for its user's groups, and the end of the
// session: ns/first at the first one since the server's start, ns/op afterwards.
func BenchmarkLoad(b *testing.B) {
	for _, groups := range []int{0, 50} {
		b.Run(fmt.Sprintf("groups=%d", groups), func(b *testing.B) {
			const users, page = 2000, protocol.MaxUsers
			n := newNode(b)
			ann := n.connect("ann", "phone")
			all := make([]string, users)
			for i := range all {
				all[i] = fmt.Sprintf("u%d", i)
			}
			for g := range groups {
				id := fmt.Sprint(g)
				ann.group("", &pb.GroupRequest{Action: &pb.GroupRequest_Create{Create: &pb.CreateGroup{
					ClientId: id, Kind: pb.GroupKind_GROUP_KIND_GROUP, Join: pb.JoinPolicy_JOIN_POLICY_OPEN,
				}}})
				for some := range slices.Chunk(all, page) {
					ann.group(protocol.GroupID("ann", id), &pb.GroupRequest{Action: &pb.GroupRequest_Add{Add: &pb.Users{Users: some}}})
				}
			}
			sessions := make([]*client, users)
			for i := range sessions {
				sessions[i] = n.connect(all[i], "phone")
			}
			login := func(i int) {
				l := n.present.attach(sessions[i].Session, 0)
				if err := n.load(l); err != nil {
					b.Fatal(err)
				}
				n.Detach(l.session)
			}
			began := time.Now()
			for i := range sessions {
				login(i)
			}
			first := time.Since(began)
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				login(i % users)
				i++
			}
			b.ReportMetric(float64(first.Nanoseconds())/users, "ns/first")
			if err := n.load(n.present.attach(sessions[0].Session, 0)); err != nil || n.Delivery.Stats().Seats != groups {
				b.Fatalf("%d seats, want %d; %v", n.Delivery.Stats().Seats, groups, err)
			}
		})
	}
}
