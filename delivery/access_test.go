package delivery

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/godwit-im/godwit/chat"
	"github.com/godwit-im/godwit/protocol"
	"github.com/godwit-im/godwit/protocol/pb"
)

// TestNothingAfterRemoval puts somebody out of a group and takes them back, over
// and over, while they read: what is written while they are out, and what is made
// of an earlier message then, must never be shown to them, however the reads fall
// between the commits.
func TestNothingAfterRemoval(t *testing.T) {
	n := newNode(t)
	const turns = 500
	group := protocol.GroupID("ann", "club")
	submit := func(c chat.Command) {
		c.Conversation, c.User = group, "ann"
		if err := n.log.Submit(&chat.Proposal{Command: c}); err != nil {
			t.Error(err)
		}
		n.submitted++
	}
	act := func(req *pb.GroupRequest) { submit(chat.Command{Op: chat.OpGroup, Group: req}) }
	id := 0
	say := func(text string) {
		for range 3 {
			id++
			submit(chat.Command{Op: chat.OpSend, ClientID: fmt.Sprint(id), Kind: pb.Kind_KIND_TEXT, Body: []byte(text)})
		}
	}
	act(&pb.GroupRequest{Action: &pb.GroupRequest_Create{Create: &pb.CreateGroup{ClientId: "club"}}})
	n.settle()
	bob := &pb.Users{Users: []string{"bob"}}
	var done, stop atomic.Bool
	var writer sync.WaitGroup
	defer writer.Wait()
	defer stop.Store(true)
	writer.Go(func() {
		defer done.Store(true)
		for turn := range uint64(turns) {
			if stop.Load() {
				return
			}
			// A turn is a notice and three messages, twice, and the edit.
			edited := 9*turn + 5
			act(&pb.GroupRequest{Action: &pb.GroupRequest_Add{Add: bob}})
			say("in")
			n.settle() // so that commits are many
			act(&pb.GroupRequest{Action: &pb.GroupRequest_Remove{Remove: bob}})
			say("out")
			submit(chat.Command{Op: chat.OpSend, ClientID: fmt.Sprint("edit", turn), Kind: pb.Kind_KIND_EDIT, Target: edited, Body: []byte("out")})
			n.settle()
		}
	})
	seen := 0
	check := func(what string, m *pb.Message) {
		if string(m.GetBody()) == "out" {
			t.Fatalf("%s shows what was written after: %v", what, m)
		}
		if m != nil {
			seen++
		}
	}
	for last := false; !last; {
		last = done.Load()
		frame, err := n.pull("bob", 1, &pb.Pull{Conversation: group})
		if err == nil {
			page := &pb.Pulled{}
			decode(t, mustParse(frame), protocol.TypePulled, page)
			for _, m := range page.Messages {
				check("PULL", m)
			}
		} else if protocol.CodeOf(err) != pb.Code_CODE_NOT_A_MEMBER {
			t.Fatal(err)
		}
		frame, err = n.sync(n.applied(), "bob", 1, &pb.Sync{})
		if err != nil {
			t.Fatal(err)
		}
		page := &pb.Synced{}
		decode(t, mustParse(frame), protocol.TypeSynced, page)
		for _, c := range page.Conversations {
			check("SYNC", c.Last)
			if c.Group == nil && c.Membership.GetStanding() == pb.Standing_STANDING_ACTIVE {
				t.Fatalf("a member knows nothing of the group: %v", c)
			}
		}
	}
	if seen < turns {
		t.Errorf("bob has seen only %d messages", seen)
	}
}
