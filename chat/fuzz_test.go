package chat

import (
	"encoding/binary"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"google.golang.org/protobuf/proto"

	"github.com/godwit-im/godwit/msgstore"
	"github.com/godwit-im/godwit/protocol"
	"github.com/godwit-im/godwit/protocol/pb"
)

// fuzzBody is the largest body of a message in FuzzRequests.
const fuzzBody = 1 << 10

// fuzzRequest is a request as a client may send it.
type fuzzRequest struct {
	user string
	body proto.Message
}

var fuzzUsers = []string{"ann", "bob", "cid"}

// fuzzRequests are those in data: the kind, the user, the length, the body.
func fuzzRequests(data []byte) (all []fuzzRequest) {
	for len(data) >= 4 && len(all) < 16 {
		kind, user, n := data[0], fuzzUsers[int(data[1])%len(fuzzUsers)], int(binary.BigEndian.Uint16(data[2:]))
		data = data[4:]
		n = min(n, len(data))
		body := [...]proto.Message{
			&pb.Send{}, &pb.Mark{}, &pb.GroupRequest{}, &pb.SetSettings{}, &pb.Delete{}, &pb.ContactRequest{}, &pb.SetAccount{},
		}[kind%7]
		if proto.Unmarshal(data[:n], body) == nil {
			all = append(all, fuzzRequest{user, body})
		}
		data = data[n:]
	}
	return all
}

func appendFuzzRequest(data []byte, kind, user byte, m proto.Message) []byte {
	body, err := proto.Marshal(m)
	if err != nil {
		panic(err)
	}
	data = append(data, kind, user)
	return append(binary.BigEndian.AppendUint16(data, uint16(len(body))), body...)
}

// command makes the command of a request that passes its check, as the gateway
// does.
func (r *fuzzRequest) command() (c Command, err error) {
	c.User = r.user
	switch req := r.body.(type) {
	case *pb.Send:
		c = Command{
			Op: OpSend, Conversation: req.Conversation, User: r.user, ClientID: req.ClientId, Kind: req.Kind,
			ContentType: req.ContentType, Body: req.Body, ReplySeq: req.ReplySeq, Mentions: req.Mentions, MentionAll: req.MentionAll,
			TTLMs: req.TtlMs, Flags: req.Flags, Target: req.Target, Remove: req.Remove,
		}
		err = CheckSend(r.user, req, fuzzBody)
	case *pb.Mark:
		c.Op, c.Conversation, c.ReadSeq, c.DeliveredSeq = OpMark, req.Conversation, req.ReadSeq, req.DeliveredSeq
		err = CheckMark(r.user, req)
	case *pb.GroupRequest:
		err = CheckGroup(r.user, req)
		c.Op, c.Conversation, c.Group = OpGroup, req.Conversation, req
	case *pb.SetSettings:
		c.Op, c.Conversation, c.Settings = OpSettings, req.Conversation, req
		err = CheckSettings(r.user, req)
	case *pb.Delete:
		c.Op, c.Conversation, c.Delete = OpDelete, req.Conversation, req
		err = CheckDelete(r.user, req)
	case *pb.ContactRequest:
		c.Op, c.Conversation, c.Contact = OpContact, protocol.DirectID(r.user, req.User), req
		err = CheckContact(r.user, req)
	case *pb.SetAccount:
		c.Op, c.Conversation, c.Account = OpAccount, protocol.SystemID(r.user), req
		err = CheckAccount(req)
	}
	return c, err
}

// FuzzRequests: what passes the checks of the gateway is no error of Apply, which
// would end the log, and what it makes is bounded: a message fits a frame, and
// so does what else is told.
func FuzzRequests(f *testing.F) {
	store, err := msgstore.Open(storeOptions(vfs.NewMem()))
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() {
		if err := store.Close(); err != nil {
			f.Error(err)
		}
	})
	const direct, club = "d:ann:bob", "g:ann:club"
	create := createGroup(&pb.CreateGroup{ClientId: "club", Name: "n", Users: fuzzUsers[1:2], Join: pb.JoinPolicy_JOIN_POLICY_APPROVAL, MembersInvite: true})
	text := func(to, id string) *pb.Send {
		return &pb.Send{Conversation: to, ClientId: id, Kind: pb.Kind_KIND_TEXT, Body: []byte("hi"), TtlMs: 5}
	}
	var begin []byte
	begin = appendFuzzRequest(begin, 2, 0, create)
	begin = appendFuzzRequest(begin, 0, 0, text(direct, "a"))
	begin = appendFuzzRequest(begin, 0, 1, text(club, "b"))
	group := func(req *pb.GroupRequest) *pb.GroupRequest { req.Conversation = club; return req }
	for _, s := range []struct {
		kind, user byte
		body       proto.Message
	}{
		{0, 1, &pb.Send{Conversation: club, ClientId: "r", Kind: pb.Kind_KIND_REACTION, Body: []byte("+1"), Target: 2}},
		{0, 1, &pb.Send{Conversation: club, ClientId: "e", Kind: pb.Kind_KIND_EDIT, Body: []byte("x"), Target: 2, Mentions: []string{"ann"}}},
		{0, 0, &pb.Send{Conversation: direct, ClientId: "d", Kind: pb.Kind_KIND_RECALL, Target: 1}},
		{0, 0, &pb.Send{Conversation: club, ClientId: "m", Kind: pb.Kind_KIND_TEXT, MentionAll: true, ReplySeq: 1, Flags: 7}},
		{1, 1, &pb.Mark{Conversation: direct, ReadSeq: 1}},
		{2, 2, group(&pb.GroupRequest{Action: &pb.GroupRequest_Join{Join: &pb.Join{Text: "me"}}})},
		{2, 0, group(&pb.GroupRequest{Action: &pb.GroupRequest_Admit{Admit: &pb.Users{Users: []string{"cid"}}}})},
		{2, 0, group(&pb.GroupRequest{Action: &pb.GroupRequest_Invite{Invite: &pb.Users{Users: []string{"cid"}}}})},
		{2, 0, group(&pb.GroupRequest{Action: &pb.GroupRequest_Role{Role: &pb.SetRole{Users: []string{"bob"}, Role: pb.Role_ROLE_ADMIN}}})},
		{2, 0, group(&pb.GroupRequest{Action: &pb.GroupRequest_Mute{Mute: &pb.MuteMembers{Users: []string{"bob"}, UntilMs: 1 << 62}}})},
		{2, 0, group(&pb.GroupRequest{Action: &pb.GroupRequest_Transfer{Transfer: "bob"}})},
		{2, 0, group(&pb.GroupRequest{Action: &pb.GroupRequest_Change{Change: &pb.ChangeGroup{Attributes: attributes(0, 2, 10)}}})},
		{2, 1, group(&pb.GroupRequest{Action: &pb.GroupRequest_Leave{}})},
		{2, 0, group(&pb.GroupRequest{Action: &pb.GroupRequest_Remove{Remove: &pb.Users{Users: []string{"bob"}}}})},
		{2, 0, group(&pb.GroupRequest{Action: &pb.GroupRequest_Dissolve{}})},
		{2, 1, group(&pb.GroupRequest{Action: &pb.GroupRequest_Nick{Nick: "b"}})},
		{3, 0, &pb.SetSettings{Conversation: direct, Pinned: proto.Bool(true), Draft: proto.String("d"), Hidden: proto.Bool(true)}},
		{4, 0, &pb.Delete{Conversation: club, Seqs: []uint64{1, 2}, ClearSeq: 1}},
		{5, 0, &pb.ContactRequest{User: "cid", Action: pb.ContactAction_CONTACT_ACTION_REQUEST, Text: "t"}},
		{5, 2, &pb.ContactRequest{User: "ann", Action: pb.ContactAction_CONTACT_ACTION_BLOCK}},
		{6, 0, &pb.SetAccount{Presence: pb.Audience_AUDIENCE_NOBODY.Enum()}},
	} {
		f.Add(appendFuzzRequest(begin[:len(begin):len(begin)], s.kind, s.user, s.body))
	}
	rules := DefaultRules()
	rules.MaxReactions, rules.MaxMembers, rules.MaxDeleted = 2, 3, 2
	f.Fuzz(func(t *testing.T, data []byte) {
		tx := store.Begin()
		defer tx.Discard()
		for i, r := range fuzzRequests(data) {
			c, err := r.command()
			if err != nil {
				continue
			}
			c.TimeMs, c.MessageID, c.Rules = int64(i+1), uint64(i+1), &rules
			result, effects, err := Apply(tx, uint64(i+1), &c, nil)
			if err != nil {
				t.Fatalf("%v by %s: %v", r.body, r.user, err)
			}
			if result.Err != nil && len(effects) > 0 {
				t.Errorf("%v by %s is refused, and has effects", r.body, r.user)
			}
			if n := proto.Size(result.Group); n > 20<<10 {
				t.Errorf("%v by %s: the group has %d bytes", r.body, r.user, n)
			}
			for _, e := range effects {
				if most := protocol.HeaderSize + fuzzBody + protocol.MessageOverhead; len(e.Frame) > most || proto.Size(e.Notice) > most {
					t.Errorf("%v by %s: a frame of %d bytes, a notice of %d", r.body, r.user, len(e.Frame), proto.Size(e.Notice))
				}
			}
		}
	})
}
