package presence

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/godwit-im/godwit/chat"
	"github.com/godwit-im/godwit/protocol"
	"github.com/godwit-im/godwit/protocol/pb"
)

// group makes a group of its owner and others.
func (pl *place) group(kind pb.GroupKind, owner, name string, others ...string) string {
	pl.t.Helper()
	id := protocol.GroupID(owner, name)
	pl.do(chat.Command{Op: chat.OpGroup, Conversation: id, User: owner, Group: &pb.GroupRequest{
		Action: &pb.GroupRequest_Create{Create: &pb.CreateGroup{ClientId: name, Kind: kind, Name: name, Join: pb.JoinPolicy_JOIN_POLICY_OPEN, Users: others}},
	}})
	return id
}

func (c *client) signal(req *pb.Signal) (reached bool, err error) {
	c.pl.t.Helper()
	if err := CheckSignal(req); err != nil {
		return false, err
	}
	frame, err := c.pl.Signal(c.Session, 7, req)
	if err != nil {
		return false, err
	}
	m := &pb.Signalled{}
	c.pl.decode(frame, protocol.TypeSignalled, 7, m)
	return m.Reached, nil
}

// signals returns the types of the signals that the client was pushed.
func (c *client) signals() string {
	c.pl.t.Helper()
	var types []string
	for _, f := range c.wire.take() {
		if f.Type == protocol.TypeSignalFrom {
			m := &pb.SignalFrom{}
			c.pl.decode(protocol.AppendFrame(nil, f.Type, f.Request, f.Body), f.Type, 0, m)
			types = append(types, m.Type)
		}
	}
	return strings.Join(types, " ")
}

func TestSignalsReach(t *testing.T) {
	pl := newPlace(t)
	pl.talk("ann", "bob")
	pl.talk("ann", "cid")
	club := pl.group(pb.GroupKind_GROUP_KIND_GROUP, "ann", "club", "bob", "cid")
	clients := map[string]*client{}
	for _, name := range []string{"ann/phone", "ann/desk", "bob/phone", "bob/desk", "cid/phone"} {
		user, device, _ := strings.Cut(name, "/")
		clients[name] = pl.connect(user, device, "test")
	}
	phone := clients["ann/phone"]
	for i, c := range []struct {
		req     *pb.Signal
		told    string
		reached bool
	}{
		{&pb.Signal{Conversation: "d:ann:bob"}, "ann/desk bob/desk bob/phone", true},
		{&pb.Signal{Conversation: "d:ann:bob", User: "bob"}, "bob/desk bob/phone", true},
		{&pb.Signal{Conversation: "d:ann:bob", User: "bob", Device: "phone"}, "bob/phone", true},
		{&pb.Signal{Conversation: "d:ann:bob", User: "bob", Device: "watch"}, "", false},
		{&pb.Signal{Conversation: "d:ann:bob", User: "ann"}, "ann/desk", false},
		{&pb.Signal{Conversation: "s:ann"}, "ann/desk", false},
		{&pb.Signal{Conversation: "s:ann", User: "ann", Device: "desk"}, "ann/desk", false},
		{&pb.Signal{Conversation: club}, "ann/desk bob/desk bob/phone cid/phone", true},
		{&pb.Signal{Conversation: club, User: "cid"}, "cid/phone", true},
		{&pb.Signal{Conversation: club, User: "ann"}, "ann/desk", false},
		{&pb.Signal{Conversation: club, User: "bob", Device: "desk"}, "bob/desk", true},
	} {
		c.req.Type = fmt.Sprint("t", i)
		reached, err := phone.signal(c.req)
		if err != nil {
			t.Fatalf("%v: %v", c.req, err)
		}
		var told []string
		for _, name := range []string{"ann/desk", "ann/phone", "bob/desk", "bob/phone", "cid/phone"} {
			if got := clients[name].signals(); got == c.req.Type {
				told = append(told, name)
			} else if got != "" {
				t.Errorf("%v: %s got %s", c.req, name, got)
			}
		}
		if got := strings.Join(told, " "); got != c.told || reached != c.reached {
			t.Errorf("%v: told %q, reached %v; want %q, %v", c.req, got, reached, c.told, c.reached)
		}
	}
	if st := pl.Stats(); st.Signals != 11 || st.Signalled == 0 {
		t.Errorf("%+v", st)
	}
}

func TestSignalFrom(t *testing.T) {
	pl := newPlace(t)
	pl.talk("ann", "bob")
	ann, bob := pl.connect("ann", "phone", "ios"), pl.connect("bob", "phone", "ios")
	if _, err := ann.signal(&pb.Signal{Conversation: "d:ann:bob", Type: "typing", Body: []byte{1, 2}}); err != nil {
		t.Fatal(err)
	}
	frames := bob.wire.take()
	if len(frames) != 1 {
		t.Fatalf("bob got %v", frames)
	}
	got := &pb.SignalFrom{}
	pl.decode(protocol.AppendFrame(nil, frames[0].Type, 0, frames[0].Body), protocol.TypeSignalFrom, 0, got)
	want := &pb.SignalFrom{
		Conversation: "d:ann:bob", Sender: "ann", Device: "phone", Type: "typing", Body: []byte{1, 2},
		TimeMs: pl.clock.Now().UnixMilli(),
	}
	if !proto.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	// Who lags is left out, and is not told later either.
	bob.wire.setFull(true)
	bob.PushMessage("d:ann:bob", 1, protocol.AppendHeader(nil, protocol.TypeMessage, 0, 0))
	bob.wire.setFull(false)
	if reached, err := ann.signal(&pb.Signal{Conversation: "d:ann:bob", Type: "typing"}); reached || err != nil {
		t.Errorf("reached one who lags: %v, %v", reached, err)
	}
	bob.Drained()
	if got := bob.signals(); got != "" {
		t.Errorf("then it got %s", got)
	}
}

func TestSignalsAreRefused(t *testing.T) {
	pl := newPlace(t, func(c *Config) { c.Rules.SignalMembers = 3 })
	pl.talk("ann", "bob")
	pl.talk("ann", "blocker")
	pl.contact("blocker", "ann", pb.ContactAction_CONTACT_ACTION_BLOCK)
	pl.contact("stranger", "ann", pb.ContactAction_CONTACT_ACTION_BLOCK)
	pl.contact("ann", "asked", pb.ContactAction_CONTACT_ACTION_REQUEST)
	small := pl.group(pb.GroupKind_GROUP_KIND_GROUP, "bob", "small", "ann", "blocker")
	large := pl.group(pb.GroupKind_GROUP_KIND_GROUP, "bob", "large", "ann", "cid", "blocker")
	others := pl.group(pb.GroupKind_GROUP_KIND_GROUP, "bob", "others", "cid")
	news := pl.group(pb.GroupKind_GROUP_KIND_BROADCAST, "bob", "news", "ann")
	past := pl.group(pb.GroupKind_GROUP_KIND_GROUP, "ann", "past", "bob")
	pl.do(chat.Command{Op: chat.OpGroup, Conversation: past, User: "ann", Group: &pb.GroupRequest{Action: &pb.GroupRequest_Dissolve{Dissolve: &pb.Nothing{}}}})
	left := pl.group(pb.GroupKind_GROUP_KIND_GROUP, "bob", "left", "ann")
	pl.do(chat.Command{Op: chat.OpGroup, Conversation: left, User: "ann", Group: &pb.GroupRequest{Action: &pb.GroupRequest_Leave{Leave: &pb.Nothing{}}}})

	ann, bob, blocker := pl.connect("ann", "phone", "ios"), pl.connect("bob", "phone", "ios"), pl.connect("blocker", "phone", "ios")
	for _, c := range []struct {
		req  *pb.Signal
		want pb.Code
	}{
		{&pb.Signal{}, pb.Code_CODE_BAD_ID},
		{&pb.Signal{Conversation: "d:ann:bob", Type: "no id"}, pb.Code_CODE_BAD_ID},
		{&pb.Signal{Conversation: "d:ann:bob", Type: "t", User: "no id"}, pb.Code_CODE_BAD_ID},
		{&pb.Signal{Conversation: "d:ann:bob", Type: "t", User: "bob", Device: "no id"}, pb.Code_CODE_BAD_ID},
		{&pb.Signal{Conversation: "d:ann:bob", Type: "t", Device: "phone"}, pb.Code_CODE_BAD_ARGUMENT},
		{&pb.Signal{Conversation: "d:ann:bob", Type: "t", Body: make([]byte, protocol.MaxSignal+1)}, pb.Code_CODE_BAD_ARGUMENT},
		{&pb.Signal{Conversation: "d:bob:cid", Type: "t"}, pb.Code_CODE_NOT_A_MEMBER},
		{&pb.Signal{Conversation: "d:ann:unknown", Type: "t"}, pb.Code_CODE_NOT_A_MEMBER},
		{&pb.Signal{Conversation: "d:ann:stranger", Type: "t"}, pb.Code_CODE_NOT_A_MEMBER}, // who has blocked them
		{&pb.Signal{Conversation: "d:ann:asked", Type: "t"}, pb.Code_CODE_NOT_A_MEMBER},
		{&pb.Signal{Conversation: "d:ann:bob", Type: "t", User: "cid"}, pb.Code_CODE_NOT_A_MEMBER},
		{&pb.Signal{Conversation: "d:ann:blocker", Type: "t"}, pb.Code_CODE_NOT_ALLOWED},
		{&pb.Signal{Conversation: "s:bob", Type: "t"}, pb.Code_CODE_NOT_A_MEMBER},
		{&pb.Signal{Conversation: "s:ann", Type: "t", User: "bob"}, pb.Code_CODE_NOT_A_MEMBER},
		{&pb.Signal{Conversation: "g:bob:none", Type: "t"}, pb.Code_CODE_NOT_A_MEMBER},
		{&pb.Signal{Conversation: others, Type: "t"}, pb.Code_CODE_NOT_A_MEMBER},
		{&pb.Signal{Conversation: left, Type: "t"}, pb.Code_CODE_NOT_A_MEMBER},
		{&pb.Signal{Conversation: past, Type: "t"}, pb.Code_CODE_NOT_A_MEMBER},
		{&pb.Signal{Conversation: news, Type: "t"}, pb.Code_CODE_NOT_ALLOWED},
		{&pb.Signal{Conversation: large, Type: "t"}, pb.Code_CODE_GROUP_TOO_LARGE},
		{&pb.Signal{Conversation: small, Type: "t", User: "cid"}, pb.Code_CODE_NOT_A_MEMBER},
	} {
		if _, err := ann.signal(c.req); protocol.CodeOf(err) != c.want {
			t.Errorf("%v: %v, want %s", c.req, err, c.want.Name())
		}
	}
	if got := bob.signals() + blocker.signals(); got != "" {
		t.Errorf("somebody got %s", got)
	}
	// One member of a group that is too large for signals to all.
	if reached, err := ann.signal(&pb.Signal{Conversation: large, Type: "t", User: "bob"}); !reached || err != nil {
		t.Errorf("%v, %v", reached, err)
	}

	// To one of a group who has blocked the sender, as if they were not there.
	if reached, err := ann.signal(&pb.Signal{Conversation: small, Type: "t", User: "blocker"}); reached || err != nil || blocker.signals() != "" {
		t.Errorf("to who has blocked the sender: %v, %v", reached, err)
	}
	pl.cfg.Rules.TellBlocked = true
	_, err := ann.signal(&pb.Signal{Conversation: small, Type: "t", User: "blocker"})
	wantCode(t, err, pb.Code_CODE_BLOCKED)
	_, err = ann.signal(&pb.Signal{Conversation: "d:ann:blocker", Type: "t"})
	wantCode(t, err, pb.Code_CODE_BLOCKED)
	for i, try := range []struct {
		only bool
		bob  pb.Audience
		want pb.Code
	}{
		{false, pb.Audience_AUDIENCE_CONTACTS, pb.Code_CODE_NOT_ALLOWED},
		{true, pb.Audience_AUDIENCE_EVERYBODY, pb.Code_CODE_UNSPECIFIED},
		{true, pb.Audience_AUDIENCE_UNSPECIFIED, pb.Code_CODE_NOT_ALLOWED},
	} {
		pl.cfg.Rules.ContactsOnly = try.only
		pl.do(chat.Command{Op: chat.OpAccount, Conversation: "s:bob", User: "bob", Account: &pb.SetAccount{Messages: &try.bob}})
		if _, err := ann.signal(&pb.Signal{Conversation: "d:ann:bob", Type: "t"}); protocol.CodeOf(err) != try.want {
			t.Errorf("%d: %v, want %s", i, err, try.want.Name())
		}
	}
	pl.befriend("ann", "bob")
	_, err = ann.signal(&pb.Signal{Conversation: "d:ann:bob", Type: "t"})
	wantCode(t, err, pb.Code_CODE_UNSPECIFIED)
}

// A signal arrives all the same, but whether anybody is there is told only to those
// who may see it.
func TestReachedIsPrivate(t *testing.T) {
	pl := newPlace(t)
	pl.talk("ann", "bob")
	club := pl.group(pb.GroupKind_GROUP_KIND_GROUP, "ann", "club", "bob")
	ann, bob := pl.connect("ann", "phone", "ios"), pl.connect("bob", "phone", "ios")
	pl.show("bob", pb.Audience_AUDIENCE_NOBODY)
	for _, conversation := range []string{"d:ann:bob", club} {
		if reached, err := ann.signal(&pb.Signal{Conversation: conversation, Type: "t"}); reached || err != nil {
			t.Errorf("%s: %v, %v", conversation, reached, err)
		}
		if got := bob.signals(); got != "t" {
			t.Errorf("bob got %q", got)
		}
	}
	pl.show("bob", pb.Audience_AUDIENCE_EVERYBODY)
	bob.leave()
	pl.pass(time.Minute)
	if reached, err := ann.signal(&pb.Signal{Conversation: "d:ann:bob", Type: "t"}); reached || err != nil {
		t.Errorf("one who is gone was reached: %v, %v", reached, err)
	}
}
