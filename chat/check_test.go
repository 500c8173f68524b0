package chat

import (
	"strings"
	"testing"
	"time"

	"github.com/godwit-im/godwit/protocol"
	"github.com/godwit-im/godwit/protocol/pb"
)

func TestCheckSend(t *testing.T) {
	const maxBody = 100
	good := func() *pb.Send {
		return &pb.Send{Conversation: "d:ann:bob", ClientId: "c1", Kind: pb.Kind_KIND_TEXT, Body: []byte("hello")}
	}
	for name, test := range map[string]struct {
		change func(*pb.Send)
		want   protocol.Code
	}{
		"good":                {func(*pb.Send) {}, 0},
		"empty text":          {func(m *pb.Send) { m.Body = nil }, 0},
		"largest body":        {func(m *pb.Send) { m.Body = make([]byte, maxBody) }, 0},
		"custom":              {func(m *pb.Send) { m.Kind, m.ContentType, m.Body = pb.Kind_KIND_CUSTOM, "a/b; c=d", []byte{0xff} }, 0},
		"text with a type":    {func(m *pb.Send) { m.ContentType = "text/markdown" }, 0},
		"longest type":        {func(m *pb.Send) { m.ContentType = strings.Repeat("x", protocol.MaxContentType) }, 0},
		"no conversation":     {func(m *pb.Send) { m.Conversation = "" }, pb.Code_CODE_BAD_ID},
		"users out of order":  {func(m *pb.Send) { m.Conversation = "d:bob:ann" }, pb.Code_CODE_BAD_ID},
		"oneself":             {func(m *pb.Send) { m.Conversation = "d:ann:ann" }, pb.Code_CODE_BAD_ID},
		"others' business":    {func(m *pb.Send) { m.Conversation = "d:bob:cid" }, pb.Code_CODE_NOT_A_MEMBER},
		"no client id":        {func(m *pb.Send) { m.ClientId = "" }, pb.Code_CODE_BAD_ID},
		"long client id":      {func(m *pb.Send) { m.ClientId = strings.Repeat("x", protocol.MaxID+1) }, pb.Code_CODE_BAD_ID},
		"client id with zero": {func(m *pb.Send) { m.ClientId = "a\x00b" }, pb.Code_CODE_BAD_ID},
		"large body":          {func(m *pb.Send) { m.Body = make([]byte, maxBody+1) }, pb.Code_CODE_BODY_TOO_LARGE},
		"no kind":             {func(m *pb.Send) { m.Kind = 0 }, pb.Code_CODE_BAD_ARGUMENT},
		"unknown kind":        {func(m *pb.Send) { m.Kind = 3 }, pb.Code_CODE_BAD_ARGUMENT},
		"negative kind":       {func(m *pb.Send) { m.Kind = -1 }, pb.Code_CODE_BAD_ARGUMENT},
		"text not UTF-8":      {func(m *pb.Send) { m.Body = []byte{0xff} }, pb.Code_CODE_BAD_ARGUMENT},
		"custom, no type":     {func(m *pb.Send) { m.Kind = pb.Kind_KIND_CUSTOM }, pb.Code_CODE_BAD_ARGUMENT},
		"long type":           {func(m *pb.Send) { m.ContentType = strings.Repeat("x", protocol.MaxContentType+1) }, pb.Code_CODE_BAD_ARGUMENT},
		"type with newline":   {func(m *pb.Send) { m.ContentType = "a\nb" }, pb.Code_CODE_BAD_ARGUMENT},
		"type not ASCII":      {func(m *pb.Send) { m.ContentType = "ä" }, pb.Code_CODE_BAD_ARGUMENT},
	} {
		m := good()
		test.change(m)
		if err := CheckSend("ann", m, maxBody); protocol.CodeOf(err) != test.want {
			t.Errorf("%s: got %v, want %s", name, err, test.want.Name())
		}
	}
}

func TestCheckMark(t *testing.T) {
	for conversation, want := range map[string]protocol.Code{
		"d:ann:bob": 0,
		"d:bob:cid": pb.Code_CODE_NOT_A_MEMBER,
		"g:1":       pb.Code_CODE_BAD_ID,
	} {
		if err := CheckMark("ann", &pb.Mark{Conversation: conversation}); protocol.CodeOf(err) != want {
			t.Errorf("%s: got %v, want %s", conversation, err, want.Name())
		}
	}
}

// TestOverhead: the largest message that passes the checks fits the room that
// the protocol sets aside around its body.
func TestOverhead(t *testing.T) {
	a, b := strings.Repeat("a", protocol.MaxID), strings.Repeat("b", protocol.MaxID)
	m := &pb.Message{
		Conversation: protocol.DirectID(a, b), Seq: 1<<64 - 1, Id: 1<<64 - 1, Sender: b,
		ClientId: strings.Repeat("c", protocol.MaxID), TimeMs: -1, Kind: pb.Kind_KIND_CUSTOM,
		ContentType: strings.Repeat("t", protocol.MaxContentType), Body: make([]byte, 64<<10),
		Count: 1<<64 - 1, SenderCount: 1<<64 - 1,
	}
	if over := protocol.SizeMessage(m) - len(m.Body); over > protocol.MessageOverhead {
		t.Errorf("a message takes %d bytes on top of its body, %d are set aside", over, protocol.MessageOverhead)
	}
}

func TestConfigValidate(t *testing.T) {
	if err := DefaultConfig().Validate(); err != nil {
		t.Errorf("the defaults: %v", err)
	}
	for name, change := range map[string]func(*Config){
		"writers":            func(c *Config) { c.Writers = -1 },
		"queue commands":     func(c *Config) { c.QueueCommands = 0 },
		"queue bytes":        func(c *Config) { c.QueueBytes = 0 },
		"batch commands":     func(c *Config) { c.BatchCommands = 0 },
		"batch bytes":        func(c *Config) { c.BatchBytes = -1 },
		"warmers":            func(c *Config) { c.Warmers = 0 },
		"retention max age":  func(c *Config) { c.Retention.MaxAge = -time.Second },
		"retention interval": func(c *Config) { c.Retention.MaxCount, c.Retention.Interval = 1, 0 },
	} {
		c := DefaultConfig()
		change(&c)
		if err := c.Validate(); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: got %v", name, err)
		}
		if _, err := NewEmbedded(c, nil, nil); err == nil {
			t.Errorf("%s: a log was started", name)
		}
	}
}
