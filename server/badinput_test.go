package server_test

import (
	"io"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/godwit-im/godwit/protocol"
	"github.com/godwit-im/godwit/protocol/pb"
	"github.com/godwit-im/godwit/server"
	"github.com/godwit-im/godwit/session"
)

// Every case below runs beside a healthy pair of users; afterwards the pair's
// conversation must be what it was and their connections must still work.
func withBystanders(t *testing.T, n *node, bad func()) {
	t.Helper()
	alice, bob := n.login("alice", "bystander"), n.login("bob", "bystander")
	alice.send(aliceBob, "before", "hi")
	bad()
	if sent := alice.send(aliceBob, "after", "hi"); sent.Seq != 2 {
		t.Errorf("the bystanders' conversation is at seq %d", sent.Seq)
	}
	wantDense(t, bob.pull(aliceBob), 2)
}

func TestBadFirstFrames(t *testing.T) {
	n := startNode(t, nil)
	frame := func(typ protocol.Type, m proto.Message) []byte { return protocol.AppendProto(nil, typ, 1, m) }
	connect := func(edit func(*pb.Connect)) []byte {
		req := n.connect("mallory", "phone")
		edit(req)
		return frame(protocol.TypeConnect, req)
	}
	token := func(token string) []byte { return connect(func(r *pb.Connect) { r.Token = token }) }
	strangers, err := session.GenerateKeySet("EdDSA")
	if err != nil {
		t.Fatal(err)
	}
	sign := func(keys *session.KeySet, alg, issuer, audience, user string, ttl time.Duration) string {
		token, err := session.Sign(keys, keys.Kids()[0], alg, issuer, audience, user, ttl, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		return token
	}
	auth := n.cfg.Auth
	good := n.token("mallory", time.Hour)
	cases := []struct {
		name string
		sent []byte
		want pb.Code
	}{
		{"a SEND", frame(protocol.TypeSend, textTo(aliceBob, "m1", "hi")), pb.Code_CODE_NOT_CONNECTED},
		{"a PING", protocol.AppendHeader(nil, protocol.TypePing, 1, 0), pb.Code_CODE_NOT_CONNECTED},
		{"an unknown type", protocol.AppendHeader(nil, 0xee, 1, 0), pb.Code_CODE_NOT_CONNECTED},
		{"request id 0", protocol.AppendProto(nil, protocol.TypeConnect, 0, n.connect("mallory", "phone")), pb.Code_CODE_BAD_FRAME},
		{"a body that is no protobuf", protocol.AppendFrame(nil, protocol.TypeConnect, 1, []byte{0xff, 0xff}), pb.Code_CODE_MALFORMED_BODY},
		{"an empty body", protocol.AppendHeader(nil, protocol.TypeConnect, 1, 0), pb.Code_CODE_UNSUPPORTED_VERSION},
		{"a body over the limit", protocol.AppendHeader(nil, protocol.TypeConnect, 1, protocol.PreAuthMaxFrame+1), pb.Code_CODE_FRAME_TOO_LARGE},
		{"TLS", []byte("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"), pb.Code_CODE_BAD_FRAME},
		{"a newer version", connect(func(r *pb.Connect) { r.MinVersion, r.MaxVersion = 2, 9 }), pb.Code_CODE_UNSUPPORTED_VERSION},
		{"a bad device id", connect(func(r *pb.Connect) { r.Device = "a b" }), pb.Code_CODE_BAD_ID},
		{"no device id", connect(func(r *pb.Connect) { r.Device = "" }), pb.Code_CODE_BAD_ID},
		{"a bad platform", connect(func(r *pb.Connect) { r.Platform = strings.Repeat("x", 65) }), pb.Code_CODE_BAD_ID},
		{"no token", token(""), pb.Code_CODE_TOKEN_MALFORMED},
		{"a token that is none", token("a.b.c"), pb.Code_CODE_TOKEN_MALFORMED},
		{"a huge token", token(strings.Repeat("x", protocol.MaxToken+1)), pb.Code_CODE_TOKEN_TOO_LARGE},
		{"a tampered token", token(good[:len(good)-6] + "AAAAAA"), pb.Code_CODE_TOKEN_SIGNATURE},
		{"a stranger's token", token(sign(strangers, "EdDSA", auth.Issuer, auth.Audience, "mallory", time.Hour)), pb.Code_CODE_TOKEN_SIGNATURE},
		{"an expired token", token(n.tokenAt("mallory", time.Hour, time.Now().Add(-2*time.Hour))), pb.Code_CODE_TOKEN_EXPIRED},
		{"another issuer", token(sign(n.keys, "EdDSA", "elsewhere", auth.Audience, "mallory", time.Hour)), pb.Code_CODE_TOKEN_CLAIMS},
		{"another audience", token(sign(n.keys, "EdDSA", auth.Issuer, "elsewhere", "mallory", time.Hour)), pb.Code_CODE_TOKEN_CLAIMS},
	}
	withBystanders(t, n, func() {
		for _, tc := range cases {
			t.Run(tc.name, func(t *testing.T) {
				c := n.dial()
				c.t = t
				c.write(tc.sent)
				if code := c.closed(); code != tc.want {
					t.Errorf("closed with %s, want %s", code.Name(), tc.want.Name())
				}
			})
		}
		if online := n.login("alice", "other"); online != nil {
			var p pb.Present
			online.call(protocol.TypeWho, &pb.Who{Users: []string{"mallory"}}, protocol.TypePresent, &p)
			if len(p.Online) != 0 {
				t.Error("a refused peer is online")
			}
		}
	})
}

func TestHTTPIsRefusedInItsOwnWords(t *testing.T) {
	n := startNode(t, nil)
	c := n.dial()
	c.write([]byte("GET / HTTP/1.1\r\nHost: example\r\n\r\n"))
	if err := c.nc.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	answer, err := io.ReadAll(c.nc)
	if err != nil || !strings.HasPrefix(string(answer), "HTTP/1.1 400 ") {
		t.Errorf("answered %q, %v", answer, err)
	}
}

func TestBadRequests(t *testing.T) {
	n := startNode(t, func(c *server.Config) { c.Session.MaxBody = 1000 })
	cases := []struct {
		name string
		typ  protocol.Type
		req  proto.Message
		want pb.Code
	}{
		{"CONNECT again", protocol.TypeConnect, n.connect("mallory", "phone"), pb.Code_CODE_ALREADY_CONNECTED},
		{"an unknown type", 0xee, &pb.Sync{}, pb.Code_CODE_UNKNOWN_TYPE},
		{"a server's type", protocol.TypeMessage, &pb.Message{}, pb.Code_CODE_UNKNOWN_TYPE},
		{"SEND to others' conversation", protocol.TypeSend, textTo(aliceBob, "m", "hi"), pb.Code_CODE_NOT_A_MEMBER},
		{"SEND to no conversation", protocol.TypeSend, textTo("", "m", "hi"), pb.Code_CODE_BAD_ID},
		{"SEND to users out of order", protocol.TypeSend, textTo("d:mallory:bob", "m", "hi"), pb.Code_CODE_BAD_ID},
		{"SEND to oneself", protocol.TypeSend, textTo("d:mallory:mallory", "m", "hi"), pb.Code_CODE_BAD_ID},
		{"SEND with a NUL in the id", protocol.TypeSend, textTo("d:bob\x00:mallory", "m", "hi"), pb.Code_CODE_BAD_ID},
		{"SEND without a client id", protocol.TypeSend, textTo("d:bob:mallory", "", "hi"), pb.Code_CODE_BAD_ID},
		{"SEND with a long client id", protocol.TypeSend, textTo("d:bob:mallory", strings.Repeat("x", 65), "hi"), pb.Code_CODE_BAD_ID},
		{"SEND over max body", protocol.TypeSend, textTo("d:bob:mallory", "m", strings.Repeat("x", 1001)), pb.Code_CODE_BODY_TOO_LARGE},
		{"SEND of text that is not UTF-8", protocol.TypeSend, textTo("d:bob:mallory", "m", "\xff"), pb.Code_CODE_BAD_ARGUMENT},
		{"SEND of an unknown kind", protocol.TypeSend, &pb.Send{Conversation: "d:bob:mallory", ClientId: "m", Kind: 99}, pb.Code_CODE_BAD_ARGUMENT},
		{"PULL of others' conversation", protocol.TypePull, &pb.Pull{Conversation: aliceBob, From: 1}, pb.Code_CODE_NOT_A_MEMBER},
		{"PULL of a conversation that is not", protocol.TypePull, &pb.Pull{Conversation: "d:mallory:zoe", From: 1}, pb.Code_CODE_NOT_A_MEMBER},
		{"PULL past the head", protocol.TypePull, &pb.Pull{Conversation: "d:alice:mallory", From: 3}, pb.Code_CODE_SEQ_OUT_OF_RANGE},
		{"MARK past the head", protocol.TypeMark, &pb.Mark{Conversation: "d:alice:mallory", ReadSeq: 2}, pb.Code_CODE_SEQ_OUT_OF_RANGE},
		{"MARK of others' conversation", protocol.TypeMark, &pb.Mark{Conversation: aliceBob, ReadSeq: 1}, pb.Code_CODE_NOT_A_MEMBER},
		{"SYNC with a forged cursor", protocol.TypeSync, &pb.Sync{Cursor: []byte("forged")}, pb.Code_CODE_BAD_CURSOR},
		{"SYNC with a huge cursor", protocol.TypeSync, &pb.Sync{Cursor: make([]byte, 100_000)}, pb.Code_CODE_BAD_CURSOR},
		{"WHO about too many", protocol.TypeWho, &pb.Who{Users: make([]string, protocol.MaxWho+1)}, pb.Code_CODE_BAD_ARGUMENT},
		{"WHO with a bad id", protocol.TypeWho, &pb.Who{Users: []string{"a b"}}, pb.Code_CODE_BAD_ID},
		{"INFO without an id", protocol.TypeInfo, &pb.Info{}, pb.Code_CODE_BAD_ID},
		{"INFO of others' conversation", protocol.TypeInfo, &pb.Info{Conversation: aliceBob}, pb.Code_CODE_NOT_A_MEMBER},
		{"INFO of others' system conversation", protocol.TypeInfo, &pb.Info{Conversation: "s:alice"}, pb.Code_CODE_NOT_A_MEMBER},
		{"PULL without an id", protocol.TypePull, &pb.Pull{}, pb.Code_CODE_BAD_ID},
		{"PULL of others' group", protocol.TypePull, &pb.Pull{Conversation: "g:alice:club"}, pb.Code_CODE_NOT_A_MEMBER},
		{"MEMBERS of no group", protocol.TypeMembers, &pb.Members{Conversation: "s:mallory"}, pb.Code_CODE_BAD_ARGUMENT},
		{"READERS without an id", protocol.TypeReaders, &pb.Readers{Seq: 1}, pb.Code_CODE_BAD_ID},
		{"REACTORS of others' message", protocol.TypeReactors, &pb.Reactors{Conversation: aliceBob, Seq: 1, Key: "+"}, pb.Code_CODE_NOT_A_MEMBER},
		{"REACTORS with a long key", protocol.TypeReactors, &pb.Reactors{
			Conversation: "d:alice:mallory", Seq: 1, Key: strings.Repeat("x", protocol.MaxReaction+1),
		}, pb.Code_CODE_BAD_ARGUMENT},
		{"GROUP without an action", protocol.TypeGroup, &pb.GroupRequest{Conversation: "g:alice:x"}, pb.Code_CODE_BAD_ARGUMENT},
		{"GROUP with a direct conversation", protocol.TypeGroup, leave("d:bob:mallory"), pb.Code_CODE_BAD_ARGUMENT},
		{"GROUP with no id", protocol.TypeGroup, leave("g:"), pb.Code_CODE_BAD_ID},
		{"GROUP of others", protocol.TypeGroup, leave("g:alice:club"), pb.Code_CODE_NOT_A_MEMBER},
		{"GROUP that is not", protocol.TypeGroup, leave("g:alice:none"), pb.Code_CODE_NOT_A_MEMBER},
		{"GROUP that adds nobody", protocol.TypeGroup, add("g:alice:club"), pb.Code_CODE_BAD_ARGUMENT},
		{"GROUP that adds one twice", protocol.TypeGroup, add("g:alice:club", "x", "x"), pb.Code_CODE_BAD_ARGUMENT},
		{"SETTINGS of others' conversation", protocol.TypeSettings, &pb.SetSettings{Conversation: aliceBob}, pb.Code_CODE_NOT_A_MEMBER},
		{"SETTINGS with a long draft", protocol.TypeSettings, &pb.SetSettings{
			Conversation: "d:alice:mallory", Draft: proto.String(strings.Repeat("x", protocol.MaxDraft+1)),
		}, pb.Code_CODE_BAD_ARGUMENT},
		{"DELETE of nothing", protocol.TypeDelete, &pb.Delete{Conversation: "d:alice:mallory"}, pb.Code_CODE_BAD_ARGUMENT},
		{"DELETE past the head", protocol.TypeDelete, &pb.Delete{Conversation: "d:alice:mallory", Seqs: []uint64{2}}, pb.Code_CODE_SEQ_OUT_OF_RANGE},
		{"DELETE in others' conversation", protocol.TypeDelete, &pb.Delete{Conversation: aliceBob, ClearSeq: 1}, pb.Code_CODE_NOT_A_MEMBER},
		{"DELETE in others' system conversation", protocol.TypeDelete, &pb.Delete{Conversation: "s:alice", ClearSeq: 1}, pb.Code_CODE_NOT_A_MEMBER},
		{"CONTACT with oneself", protocol.TypeContact, &pb.ContactRequest{User: "mallory", Action: 1}, pb.Code_CODE_BAD_ARGUMENT},
		{"CONTACT that does nothing", protocol.TypeContact, &pb.ContactRequest{User: "bob"}, pb.Code_CODE_BAD_ARGUMENT},
		{"CONTACT nobody asked for", protocol.TypeContact, &pb.ContactRequest{
			User: "bob", Action: pb.ContactAction_CONTACT_ACTION_ACCEPT,
		}, pb.Code_CODE_NOT_ALLOWED},
		{"ACCOUNT with an unknown audience", protocol.TypeAccount, &pb.SetAccount{Presence: pb.Audience(9).Enum()}, pb.Code_CODE_BAD_ARGUMENT},
		{"RENEW with rubbish", protocol.TypeRenew, &pb.Renew{Token: "rubbish"}, pb.Code_CODE_TOKEN_MALFORMED},
	}
	withBystanders(t, n, func() {
		c := n.login("mallory", "phone")
		c.send("d:alice:mallory", "ok", "hi")
		n.login("alice", "another").group("club")
		for _, tc := range cases {
			t.Run(tc.name, func(t *testing.T) {
				c.t = t
				c.refused(tc.typ, tc.req, tc.want)
			})
		}
		c.t = t
		for _, typ := range []protocol.Type{
			protocol.TypeSend, protocol.TypePull, protocol.TypeSync, protocol.TypeMark, protocol.TypeWho, protocol.TypeRenew,
			protocol.TypeGroup, protocol.TypeSettings, protocol.TypeDelete, protocol.TypeContact, protocol.TypeAccount,
			protocol.TypeInfo, protocol.TypeMembers, protocol.TypeReaders, protocol.TypeReactors, protocol.TypeContacts,
		} {
			c.last++
			c.write(protocol.AppendFrame(nil, typ, c.last, []byte{0xff, 0xff}))
			c.wantError(c.answer(c.last), pb.Code_CODE_MALFORMED_BODY)
		}
		// After all that the session still works.
		wantDense(t, c.pull("d:alice:mallory"), 1)
	})
}

func TestWhatEndsAConnectedPeer(t *testing.T) {
	n := startNode(t, nil)
	cases := []struct {
		name string
		sent []byte
		want pb.Code
	}{
		{"a frame over max_frame", protocol.AppendHeader(nil, protocol.TypeSend, 1, n.cfg.Net.MaxFrame+1), pb.Code_CODE_FRAME_TOO_LARGE},
		{"a request with id 0", protocol.AppendProto(nil, protocol.TypeSync, 0, &pb.Sync{}), pb.Code_CODE_BAD_FRAME},
	}
	withBystanders(t, n, func() {
		for _, tc := range cases {
			c := n.login("mallory", "phone")
			c.write(tc.sent)
			if code := c.closed(); code != tc.want {
				t.Errorf("%s: closed with %s, want %s", tc.name, code.Name(), tc.want.Name())
			}
		}
	})
}

func TestTheInFlightWindowIsEnforced(t *testing.T) {
	n := startNode(t, func(c *server.Config) { c.Session.MaxInFlight = 4 })
	c := n.login("alice", "phone")
	const count = 200
	var burst []byte
	for i := range count {
		burst = protocol.AppendProto(burst, protocol.TypeSend, uint32(i+10), textTo(aliceBob, clientID(i), "hi"))
	}
	c.write(burst)
	var acked, refused int
	for acked+refused < count {
		f, err := c.next()
		if err != nil {
			t.Fatal(err)
		}
		if f.Type == protocol.TypeSent {
			acked++
		} else {
			c.wantError(f, pb.Code_CODE_TOO_MANY_IN_FLIGHT)
			refused++
		}
	}
	if acked < 4 || refused == 0 {
		t.Errorf("%d acked, %d refused", acked, refused)
	}
	wantDense(t, c.pull(aliceBob), acked)
}

func TestConnectionsPastTheCapAreRefusedWithADelay(t *testing.T) {
	n := startNode(t, func(c *server.Config) { c.Net.MaxConns, c.Net.MaxUnauthenticated = 2, 2 })
	n.login("alice", "phone")
	bob := n.login("bob", "phone")
	third := n.dial()
	if code := third.closed(); code != pb.Code_CODE_TOO_MANY_CONNECTIONS {
		t.Errorf("the third was closed with %s", code.Name())
	}
	bob.write(protocol.AppendHeader(nil, protocol.TypeBye, 0, 0))
	bob.closed()
	eventually(t, "there is room again", func() bool {
		c := n.dial()
		c.write(protocol.AppendProto(nil, protocol.TypeConnect, 1, n.connect("carol", "phone")))
		f, err := c.next()
		return err == nil && f.Type == protocol.TypeConnected
	})
}

func TestDevicesPastTheLimitAreRefused(t *testing.T) {
	n := startNode(t, func(c *server.Config) { c.Session.MaxDevices = 2 })
	n.login("alice", "one")
	n.login("alice", "two")
	c := n.dial()
	c.write(protocol.AppendProto(nil, protocol.TypeConnect, 1, n.connect("alice", "three")))
	if code := c.closed(); code != pb.Code_CODE_TOO_MANY_DEVICES {
		t.Errorf("the third device was closed with %s", code.Name())
	}
	n.login("alice", "two") // a known one takes over
}
