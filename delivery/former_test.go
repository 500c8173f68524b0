package delivery

import (
	"fmt"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/godwit-im/godwit/chat"
	"github.com/godwit-im/godwit/protocol"
	"github.com/godwit-im/godwit/protocol/pb"
)

// TestFormerMemberAsks puts bob out of a group, changes there everything that can be
// changed, and has him ask for it in every way that there is: each answer is the one
// that he got before anything changed. What is recalled is gone for him, too.
func TestFormerMemberAsks(t *testing.T) {
	now := time.Now()
	n := newNode(t, func(c *nodeConfig) { c.delivery.Now = func() time.Time { return now } }) // answers say when it is
	ann, bob, cid := n.connect("ann", "phone"), n.connect("bob", "phone"), n.connect("cid", "phone")
	const club = "g:ann:club"
	ann.group("", &pb.GroupRequest{Action: &pb.GroupRequest_Create{Create: &pb.CreateGroup{
		ClientId: "club", Name: "before", Users: []string{"bob", "cid"},
	}}})
	id := 0
	send := func(from *client, c chat.Command) uint64 {
		id++
		c.Op, c.Conversation, c.ClientID = chat.OpSend, club, fmt.Sprint(id)
		from.submit(c)
		n.settle()
		head, _, err := n.store.Head(club)
		if err != nil {
			t.Fatal(err)
		}
		return head.Seq
	}
	say := func(body string, mentions ...string) uint64 {
		return send(ann, chat.Command{Kind: pb.Kind_KIND_TEXT, Body: []byte(body), Mentions: mentions})
	}
	event := func(from *client, kind pb.Kind, target uint64, body string, mentions ...string) uint64 {
		return send(from, chat.Command{Kind: kind, Target: target, Body: []byte(body), Mentions: mentions})
	}
	const edit, react, recall = pb.Kind_KIND_EDIT, pb.Kind_KIND_REACTION, pb.Kind_KIND_RECALL
	plain, edited, liked, taken, last := say("plain"), say("edited", "bob"), say("liked"), say("taken back"), say("last")
	event(ann, edit, edited, "edited once", "bob")
	event(cid, react, liked, "+1")
	event(bob, react, liked, "+1")
	bob.group(club, &pb.GroupRequest{Action: &pb.GroupRequest_Leave{Leave: &pb.Nothing{}}})
	head, _, err := n.store.Head(club)
	if err != nil {
		t.Fatal(err)
	}
	end := head.Seq

	cursor := &pb.Synced{}
	frame, err := n.sync(n.applied(), "bob", 1, &pb.Sync{})
	decode(t, frameOf(t, frame, err), protocol.TypeSynced, cursor)
	pull := func(req *pb.Pull) func() ([]byte, error) {
		req.Conversation = club
		return func() ([]byte, error) { return n.pull("bob", 1, req) }
	}
	list := func(answer func() (proto.Message, error)) func() ([]byte, error) {
		return func() ([]byte, error) {
			m, err := answer()
			if err != nil {
				return nil, err
			}
			return proto.MarshalOptions{Deterministic: true}.Marshal(m)
		}
	}
	asks := []struct {
		name string
		ask  func() ([]byte, error)
	}{
		{"PULL", pull(&pb.Pull{})},
		{"PULL backward", pull(&pb.Pull{Backward: true})},
		{"PULL past the end", pull(&pb.Pull{From: end + 1})},
		{"PULL far past the end", pull(&pb.Pull{From: end + 2})},
		{"PULL a page", pull(&pb.Pull{From: edited, Limit: 2})},
		{"PULL around", pull(&pb.Pull{From: liked, Around: true, Limit: 3})},
		{"PULL around the end", pull(&pb.Pull{From: end, Around: true, Limit: 9})},
		{"PULL from a time", pull(&pb.Pull{FromTimeMs: 1})},
		{"PULL from a time after", pull(&pb.Pull{FromTimeMs: 1 << 50})},
		{"SYNC", func() ([]byte, error) { return conversationsOf(n.sync(n.applied(), "bob", 1, &pb.Sync{})) }},
		{"SYNC from the cursor", func() ([]byte, error) {
			return conversationsOf(n.sync(n.applied(), "bob", 1, &pb.Sync{Cursor: cursor.Cursor}))
		}},
		{"INFO", func() ([]byte, error) { return n.info("bob", 1, &pb.Info{Conversation: club}) }},
		{"MEMBERS", list(func() (proto.Message, error) { return n.memberList("bob", &pb.Members{Conversation: club}) })},
		{"READERS", list(func() (proto.Message, error) { return n.readerList("bob", &pb.Readers{Conversation: club, Seq: plain}) })},
		{"READERS past the end", list(func() (proto.Message, error) {
			return n.readerList("bob", &pb.Readers{Conversation: club, Seq: end + 1})
		})},
		{"REACTORS", list(func() (proto.Message, error) {
			return n.reactorList("bob", &pb.Reactors{Conversation: club, Seq: liked, Key: "+1"})
		})},
		{"REACTORS of what was edited", list(func() (proto.Message, error) {
			return n.reactorList("bob", &pb.Reactors{Conversation: club, Seq: edited, Key: "+1"})
		})},
	}
	answers := func() (all []string) {
		for _, a := range asks {
			answer, err := a.ask()
			all = append(all, fmt.Sprintf("%x %v", answer, err))
		}
		return all
	}
	want := answers()
	compare := func(when string) {
		t.Helper()
		for i, got := range answers() {
			if got != want[i] {
				t.Errorf("%s, after %s:\n got %s\nwant %s", asks[i].name, when, got, want[i])
			}
		}
	}
	compare("nothing")
	for _, step := range []struct {
		name string
		do   func()
	}{
		{"an edit that no longer mentions him", func() { event(ann, edit, edited, "edited twice") }},
		{"an edit that mentions him", func() { event(ann, edit, plain, "plain, not", "bob") }},
		{"another edit", func() { event(ann, edit, plain, "plain, or not", "bob") }},
		{"a reaction", func() { event(ann, react, liked, "+1") }},
		{"a reaction that is taken back", func() {
			send(cid, chat.Command{Kind: react, Target: liked, Body: []byte("+1"), Remove: true})
		}},
		{"reactions to the others", func() { event(cid, react, edited, "+1"); event(cid, react, last, "+1") }},
		{"messages", func() { say("after", "bob"); say("and after") }},
		{"a change of the group", func() {
			ann.group(club, &pb.GroupRequest{Action: &pb.GroupRequest_Change{Change: &pb.ChangeGroup{Name: proto.String("after")}}})
		}},
		{"somebody who joins", func() {
			ann.group(club, &pb.GroupRequest{Action: &pb.GroupRequest_Add{Add: &pb.Users{Users: []string{"dan"}}}})
		}},
		{"somebody who is promoted", func() {
			ann.group(club, &pb.GroupRequest{Action: &pb.GroupRequest_Role{Role: &pb.SetRole{Users: []string{"cid"}, Role: pb.Role_ROLE_ADMIN}}})
		}},
		{"read cursors", func() {
			cid.submit(chat.Command{Op: chat.OpMark, Conversation: club, ReadSeq: end})
			n.settle()
		}},
		{"somebody who leaves", func() {
			ann.group(club, &pb.GroupRequest{Action: &pb.GroupRequest_Remove{Remove: &pb.Users{Users: []string{"cid"}}}})
		}},
		{"an edit after that", func() { event(ann, edit, edited, "edited again", "bob") }},
	} {
		step.do()
		compare(step.name)
	}

	event(ann, edit, taken, "not taken back yet")
	recalled := event(ann, recall, taken, "")
	event(ann, recall, plain, "")
	page := &pb.Pulled{}
	frame, err = n.pull("bob", 1, &pb.Pull{Conversation: club, From: plain})
	decode(t, frameOf(t, frame, err), protocol.TypePulled, page)
	for _, m := range page.Messages {
		gone := m.Seq == taken || m.Seq == plain
		switch {
		case gone != (m.State == pb.MessageState_MESSAGE_STATE_RECALLED), gone && len(m.Body) > 0:
			t.Errorf("after the recalls: %v", m)
		case m.ChangedSeq > end, m.EditedSeq > end, gone && m.EditedMs != 0:
			t.Errorf("it tells of what came after %d (the recall at %d): %v", end, recalled, m)
		}
	}
	for _, seq := range []uint64{taken, plain} {
		m, err := n.reactorList("bob", &pb.Reactors{Conversation: club, Seq: seq, Key: "+1"})
		if protocol.CodeOf(err) != pb.Code_CODE_NOT_FOUND {
			t.Errorf("REACTORS of what was recalled: %v, %v", m, err)
		}
	}
}

// A preview is as of the end, too.
func TestFormerMembersPreview(t *testing.T) {
	n := newNode(t)
	ann, bob := n.connect("ann", "phone"), n.connect("bob", "phone")
	const news = "g:ann:news"
	// Where nobody is told of who leaves, so that the last message is what was said.
	ann.group("", &pb.GroupRequest{Action: &pb.GroupRequest_Create{Create: &pb.CreateGroup{
		ClientId: "news", Kind: pb.GroupKind_GROUP_KIND_BROADCAST, Users: []string{"bob"},
	}}})
	send := func(id string, c chat.Command) {
		c.Op, c.Conversation, c.ClientID = chat.OpSend, news, id
		ann.submit(c)
		n.settle()
	}
	send("1", chat.Command{Kind: pb.Kind_KIND_TEXT, Body: []byte("before")})
	bob.group(news, &pb.GroupRequest{Action: &pb.GroupRequest_Leave{Leave: &pb.Nothing{}}})
	for _, step := range []struct {
		id   string
		c    chat.Command
		body string
	}{
		{"2", chat.Command{Kind: pb.Kind_KIND_EDIT, Target: 2, Body: []byte("after")}, "before"},
		{"3", chat.Command{Kind: pb.Kind_KIND_REACTION, Target: 2, Body: []byte("+1")}, "before"},
		{"4", chat.Command{Kind: pb.Kind_KIND_RECALL, Target: 2}, ""},
	} {
		send(step.id, step.c)
		informed := &pb.Informed{}
		frame, err := n.info("bob", 1, &pb.Info{Conversation: news})
		decode(t, frameOf(t, frame, err), protocol.TypeInformed, informed)
		m := informed.State.Last
		if m.GetSeq() != 2 || string(m.Body) != step.body || len(m.Reactions) > 0 || m.ChangedSeq > 2 || m.EditedMs != 0 {
			t.Errorf("after %v the preview is %v", step.c.Kind, m)
		}
	}
}

func frameOf(t *testing.T, frame []byte, err error) protocol.Frame {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	return mustParse(frame)
}

// conversationsOf is SYNCED without its cursor, which counts all that happens on
// the server.
func conversationsOf(frame []byte, err error) ([]byte, error) {
	if err != nil {
		return nil, err
	}
	m := &pb.Synced{}
	if err := proto.Unmarshal(frame[protocol.HeaderSize:], m); err != nil {
		return nil, err
	}
	m.Cursor = nil
	return proto.MarshalOptions{Deterministic: true}.Marshal(m)
}
