package delivery

import (
	"fmt"
	"testing"

	"github.com/godwit-im/godwit/chat"
	"github.com/godwit-im/godwit/protocol"
	"github.com/godwit-im/godwit/protocol/pb"
)

const testNews = "g:ann:news"

// newBroadcast has ann make a broadcast, which users follow.
func (n *node) newBroadcast(users ...string) (ann *client) {
	n.t.Helper()
	ann = n.connect("ann", "phone")
	ann.group("", &pb.GroupRequest{Action: &pb.GroupRequest_Create{Create: &pb.CreateGroup{
		ClientId: "news", Kind: pb.GroupKind_GROUP_KIND_BROADCAST, Name: "News", Users: users,
	}}})
	return ann
}

// follow has n others join the broadcast, each by themselves, and every tenth of
// them leave again.
func (n *node) follow(others int) (followers int) {
	n.t.Helper()
	submit := func(user string, req *pb.GroupRequest) {
		req.Conversation = testNews
		c := chat.Command{Op: chat.OpGroup, Conversation: testNews, User: user, Group: req}
		if err := n.log.Submit(&chat.Proposal{Command: c}); err != nil {
			n.t.Fatal(err)
		}
		n.submitted++
	}
	for i := range others {
		user := fmt.Sprintf("follower%d", i)
		submit(user, &pb.GroupRequest{Action: &pb.GroupRequest_Join{Join: &pb.Join{}}})
		if followers++; i%10 == 9 {
			submit(user, &pb.GroupRequest{Action: &pb.GroupRequest_Leave{Leave: &pb.Nothing{}}})
			followers--
		}
		n.settle() // so that no queue overflows
	}
	return followers
}

func (c *client) informed(conversation string) *pb.ConversationState {
	c.node.t.Helper()
	m := &pb.Informed{}
	frame, err := c.node.info(c.User, 1, &pb.Info{Conversation: conversation})
	if err != nil {
		c.node.t.Fatal(err)
	}
	decode(c.node.t, mustParse(frame), protocol.TypeInformed, m)
	return m.State
}

// TestFollowersAreNoNews: who else follows a broadcast is nothing that a follower's
// SYNC reports, or reads anything for, and it is counted all the same.
func TestFollowersAreNoNews(t *testing.T) {
	// By chance a name shares a slot with one that changed, about once in a
	// thousand times, and is looked at in vain. Not so often in a row.
	looked := true
	for try := 0; looked && try < 5; try++ {
		n := newNode(t, func(c *nodeConfig) { c.store.Partitions = 1 })
		ann := n.newBroadcast("bob")
		bob := n.connect("bob", "phone")
		cursors := map[*client][]byte{ann: ann.synced(nil, 0).Cursor, bob: bob.synced(nil, 0).Cursor}
		followers := n.follow(1000)
		looked = false
		for c, cursor := range cursors {
			before := n.store.Stats()
			page := c.synced(cursor, 0)
			after := n.store.Stats()
			if len(page.Conversations) > 0 {
				t.Fatalf("%s is told %v", c.User, page.Conversations)
			}
			looked = looked || after.HeadHits+after.HeadMisses > before.HeadHits+before.HeadMisses
			if g := c.informed(testNews).Group; g.GetMembers() != uint32(2+followers) || g.GetName() != "News" {
				t.Errorf("after %d came, %s finds %v", followers, c.User, g)
			}
		}
	}
	if looked {
		t.Error("a SYNC looks at the broadcast to find nothing")
	}
}

// TestFollowerLearnsOfBroadcast: the devices of who has begun to follow are told
// of the broadcast, though nothing of it has changed, and once.
func TestFollowerLearnsOfBroadcast(t *testing.T) {
	n := newNode(t)
	n.newBroadcast()
	bob := n.connect("bob", "phone")
	cursor := bob.synced(nil, 0).Cursor
	act := func(req *pb.GroupRequest) {
		t.Helper()
		bob.group(testNews, req)
	}
	expect := func(what string, told bool, members uint32) {
		t.Helper()
		page := bob.synced(cursor, 0)
		cursor = page.Cursor
		if len(page.Conversations) != 1 {
			t.Fatalf("%s: %v", what, page)
		}
		if g := page.Conversations[0].Group; (g != nil) != told || told && (g.Members != members || g.Name != "News") {
			t.Errorf("%s: the SYNC tells %v", what, g)
		}
	}
	join := &pb.GroupRequest{Action: &pb.GroupRequest_Join{Join: &pb.Join{}}}
	act(join)
	expect("who joined", true, 2)
	if err := n.log.Submit(&chat.Proposal{Command: chat.Command{
		Op: chat.OpSettings, Conversation: testNews, User: "bob",
		Settings: &pb.SetSettings{Conversation: testNews, Muted: new(true)},
	}}); err != nil {
		t.Fatal(err)
	}
	n.submitted++
	n.settle()
	expect("who muted it", false, 0)
	act(&pb.GroupRequest{Action: &pb.GroupRequest_Leave{Leave: &pb.Nothing{}}})
	expect("who left", false, 0)
	n.follow(1)
	act(join)
	expect("who came back", true, 3)
}
