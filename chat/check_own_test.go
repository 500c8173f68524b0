package chat

import (
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/godwit-im/godwit/protocol"
	"github.com/godwit-im/godwit/protocol/pb"
)

func TestCheckOwnConversation(t *testing.T) {
	for conversation, want := range map[string]protocol.Code{
		"d:ann:bob":     0,
		"d:bob:cid":     pb.Code_CODE_NOT_A_MEMBER,
		"d:bob:ann":     pb.Code_CODE_BAD_ID,
		"g:bob:friends": 0, // Apply knows whether ann is in it
		"g:bob":         pb.Code_CODE_BAD_ID,
		"s:ann":         0,
		"s:bob":         pb.Code_CODE_NOT_A_MEMBER,
		"s:":            pb.Code_CODE_BAD_ID,
		"":              pb.Code_CODE_BAD_ID,
	} {
		for what, err := range map[string]error{
			"MARK":     CheckMark("ann", &pb.Mark{Conversation: conversation}),
			"SETTINGS": CheckSettings("ann", &pb.SetSettings{Conversation: conversation}),
			"DELETE":   CheckDelete("ann", &pb.Delete{Conversation: conversation, ClearSeq: 1}),
		} {
			if protocol.CodeOf(err) != want {
				t.Errorf("%s in %q: got %v, want %s", what, conversation, err, want.Name())
			}
		}
	}
}

func TestCheckSettings(t *testing.T) {
	for size, want := range map[int]protocol.Code{protocol.MaxDraft: 0, protocol.MaxDraft + 1: pb.Code_CODE_BAD_ARGUMENT} {
		req := &pb.SetSettings{Conversation: "d:ann:bob", Draft: proto.String(strings.Repeat("x", size))}
		if err := CheckSettings("ann", req); protocol.CodeOf(err) != want {
			t.Errorf("a draft of %d bytes: got %v, want %s", size, err, want.Name())
		}
	}
}

func TestCheckDelete(t *testing.T) {
	seqs := func(n int) []uint64 {
		s := make([]uint64, n)
		for i := range s {
			s[i] = uint64(i + 1)
		}
		return s
	}
	for name, test := range map[string]struct {
		req  *pb.Delete
		want protocol.Code
	}{
		"most":     {&pb.Delete{Seqs: seqs(protocol.MaxDelete)}, 0},
		"too many": {&pb.Delete{Seqs: seqs(protocol.MaxDelete + 1)}, pb.Code_CODE_BAD_ARGUMENT},
		"clear":    {&pb.Delete{ClearSeq: 1}, 0},
		"both":     {&pb.Delete{Seqs: seqs(1), ClearSeq: 1}, 0},
		"nothing":  {&pb.Delete{}, pb.Code_CODE_BAD_ARGUMENT},
		"seq 0":    {&pb.Delete{Seqs: []uint64{1, 0}}, pb.Code_CODE_BAD_ARGUMENT},
	} {
		test.req.Conversation = "d:ann:bob"
		if err := CheckDelete("ann", test.req); protocol.CodeOf(err) != test.want {
			t.Errorf("%s: got %v, want %s", name, err, test.want.Name())
		}
	}
}

func TestCheckContact(t *testing.T) {
	for name, test := range map[string]struct {
		req  *pb.ContactRequest
		want protocol.Code
	}{
		"request":        {&pb.ContactRequest{User: "bob", Action: pb.ContactAction_CONTACT_ACTION_REQUEST}, 0},
		"last action":    {&pb.ContactRequest{User: "bob", Action: pb.ContactAction_CONTACT_ACTION_UNBLOCK}, 0},
		"longest text":   {&pb.ContactRequest{User: "bob", Action: 1, Text: strings.Repeat("x", protocol.MaxText)}, 0},
		"long text":      {&pb.ContactRequest{User: "bob", Action: 1, Text: strings.Repeat("x", protocol.MaxText+1)}, pb.Code_CODE_BAD_ARGUMENT},
		"no action":      {&pb.ContactRequest{User: "bob"}, pb.Code_CODE_BAD_ARGUMENT},
		"unknown action": {&pb.ContactRequest{User: "bob", Action: 8}, pb.Code_CODE_BAD_ARGUMENT},
		"negative":       {&pb.ContactRequest{User: "bob", Action: -1}, pb.Code_CODE_BAD_ARGUMENT},
		"oneself":        {&pb.ContactRequest{User: "ann", Action: 1}, pb.Code_CODE_BAD_ARGUMENT},
		"nobody":         {&pb.ContactRequest{Action: 1}, pb.Code_CODE_BAD_ID},
		"bad id":         {&pb.ContactRequest{User: "b:b", Action: 1}, pb.Code_CODE_BAD_ID},
	} {
		if err := CheckContact("ann", test.req); protocol.CodeOf(err) != test.want {
			t.Errorf("%s: got %v, want %s", name, err, test.want.Name())
		}
	}
}

func TestCheckAccount(t *testing.T) {
	for audience, want := range map[pb.Audience]protocol.Code{
		pb.Audience_AUDIENCE_UNSPECIFIED: 0,
		pb.Audience_AUDIENCE_EVERYBODY:   0,
		4:                                pb.Code_CODE_BAD_ARGUMENT,
		-1:                               pb.Code_CODE_BAD_ARGUMENT,
	} {
		if err := CheckAccount(&pb.SetAccount{Presence: &audience}); protocol.CodeOf(err) != want {
			t.Errorf("audience %d: got %v, want %s", audience, err, want.Name())
		}
	}
	for audience, want := range map[pb.Audience]protocol.Code{
		pb.Audience_AUDIENCE_UNSPECIFIED: 0,
		pb.Audience_AUDIENCE_NOBODY:      pb.Code_CODE_BAD_ARGUMENT,
		pb.Audience_AUDIENCE_CONTACTS:    0,
		pb.Audience_AUDIENCE_EVERYBODY:   0,
		4:                                pb.Code_CODE_BAD_ARGUMENT,
	} {
		if err := CheckAccount(&pb.SetAccount{Messages: &audience}); protocol.CodeOf(err) != want {
			t.Errorf("messages for %d: got %v, want %s", audience, err, want.Name())
		}
	}
	if err := CheckAccount(&pb.SetAccount{}); err != nil {
		t.Error(err)
	}
}
