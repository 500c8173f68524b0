package chat

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

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
		"unknown kind":        {func(m *pb.Send) { m.Kind = 5 }, pb.Code_CODE_BAD_ARGUMENT},
		"notice":              {func(m *pb.Send) { m.Kind = pb.Kind_KIND_NOTICE }, pb.Code_CODE_BAD_ARGUMENT},
		"negative kind":       {func(m *pb.Send) { m.Kind = -1 }, pb.Code_CODE_BAD_ARGUMENT},
		"text not UTF-8":      {func(m *pb.Send) { m.Body = []byte{0xff} }, pb.Code_CODE_BAD_ARGUMENT},
		"custom, no type":     {func(m *pb.Send) { m.Kind = pb.Kind_KIND_CUSTOM }, pb.Code_CODE_BAD_ARGUMENT},
		"long type":           {func(m *pb.Send) { m.ContentType = strings.Repeat("x", protocol.MaxContentType+1) }, pb.Code_CODE_BAD_ARGUMENT},
		"type with newline":   {func(m *pb.Send) { m.ContentType = "a\nb" }, pb.Code_CODE_BAD_ARGUMENT},
		"type not ASCII":      {func(m *pb.Send) { m.ContentType = "ä" }, pb.Code_CODE_BAD_ARGUMENT},
		"all that text has": {func(m *pb.Send) {
			m.ReplySeq, m.Mentions, m.TtlMs, m.Flags = 7, []string{"bob", "cid"}, 1, 7
		}, 0},
		"unknown flag":      {func(m *pb.Send) { m.Flags = 8 }, pb.Code_CODE_BAD_ARGUMENT},
		"negative ttl":      {func(m *pb.Send) { m.TtlMs = -1 }, pb.Code_CODE_BAD_ARGUMENT},
		"endless ttl":       {func(m *pb.Send) { m.TtlMs = 1 << 62 }, pb.Code_CODE_BAD_ARGUMENT},
		"mention of no id":  {func(m *pb.Send) { m.Mentions = []string{"b b"} }, pb.Code_CODE_BAD_ID},
		"mentioned twice":   {func(m *pb.Send) { m.Mentions = []string{"bob", "cid", "bob"} }, pb.Code_CODE_BAD_ARGUMENT},
		"most mentions":     {func(m *pb.Send) { m.Mentions = manyUsers(protocol.MaxMentions) }, 0},
		"too many mentions": {func(m *pb.Send) { m.Mentions = manyUsers(protocol.MaxMentions + 1) }, pb.Code_CODE_TOO_MANY_MENTIONS},
		"all of two":        {func(m *pb.Send) { m.MentionAll = true }, pb.Code_CODE_BAD_ARGUMENT},
		"text with target":  {func(m *pb.Send) { m.Target = 1 }, pb.Code_CODE_BAD_ARGUMENT},
		"text to remove":    {func(m *pb.Send) { m.Remove = true }, pb.Code_CODE_BAD_ARGUMENT},

		"media":              {asMedia(func(*pb.Media) {}), 0},
		"media of no Media":  {func(m *pb.Send) { m.Kind, m.Body = pb.Kind_KIND_MEDIA, []byte{0xff} }, pb.Code_CODE_BAD_ARGUMENT},
		"media without key":  {asMedia(func(m *pb.Media) { m.ObjectKey = "" }), pb.Code_CODE_BAD_ARGUMENT},
		"short hash":         {asMedia(func(m *pb.Media) { m.Sha256 = make([]byte, 31) }), pb.Code_CODE_BAD_ARGUMENT},
		"media with a hash":  {asMedia(func(m *pb.Media) { m.Sha256 = make([]byte, 32) }), 0},
		"edit":               {asEvent(pb.Kind_KIND_EDIT, func(m *pb.Send) { m.Mentions, m.ContentType = []string{"bob"}, "a/b" }), 0},
		"event, no target":   {asEvent(pb.Kind_KIND_EDIT, func(m *pb.Send) { m.Target = 0 }), pb.Code_CODE_BAD_ARGUMENT},
		"event that answers": {asEvent(pb.Kind_KIND_EDIT, func(m *pb.Send) { m.ReplySeq = 1 }), pb.Code_CODE_BAD_ARGUMENT},
		"event that expires": {asEvent(pb.Kind_KIND_REACTION, func(m *pb.Send) { m.TtlMs = 1 }), pb.Code_CODE_BAD_ARGUMENT},
		"edit to remove":     {asEvent(pb.Kind_KIND_EDIT, func(m *pb.Send) { m.Remove = true }), pb.Code_CODE_BAD_ARGUMENT},
		"recall":             {asEvent(pb.Kind_KIND_RECALL, func(m *pb.Send) { m.Body = nil }), 0},
		"recall with a body": {asEvent(pb.Kind_KIND_RECALL, func(*pb.Send) {}), pb.Code_CODE_BAD_ARGUMENT},
		"recall to remove":   {asEvent(pb.Kind_KIND_RECALL, func(m *pb.Send) { m.Body, m.Remove = nil, true }), pb.Code_CODE_BAD_ARGUMENT},
		"reaction":           {asEvent(pb.Kind_KIND_REACTION, func(*pb.Send) {}), 0},
		"reaction to remove": {asEvent(pb.Kind_KIND_REACTION, func(m *pb.Send) { m.Remove = true }), 0},
		"no reaction":        {asEvent(pb.Kind_KIND_REACTION, func(m *pb.Send) { m.Body = nil }), pb.Code_CODE_BAD_ARGUMENT},
		"long reaction":      {asEvent(pb.Kind_KIND_REACTION, func(m *pb.Send) { m.Body = make([]byte, protocol.MaxReaction+1) }), pb.Code_CODE_BAD_ARGUMENT},
		"reaction not UTF-8": {asEvent(pb.Kind_KIND_REACTION, func(m *pb.Send) { m.Body = []byte{0xff} }), pb.Code_CODE_BAD_ARGUMENT},
		"typed reaction":     {asEvent(pb.Kind_KIND_REACTION, func(m *pb.Send) { m.ContentType = "x" }), pb.Code_CODE_BAD_ARGUMENT},
		"reaction mentions":  {asEvent(pb.Kind_KIND_REACTION, func(m *pb.Send) { m.Mentions = []string{"bob"} }), pb.Code_CODE_BAD_ARGUMENT},
	} {
		m := good()
		test.change(m)
		if err := CheckSend("ann", m, maxBody); protocol.CodeOf(err) != test.want {
			t.Errorf("%s: got %v, want %s", name, err, test.want.Name())
		}
	}
}

// asMedia makes a Send a media message.
func asMedia(change func(*pb.Media)) func(*pb.Send) {
	return func(m *pb.Send) {
		media := &pb.Media{ObjectKey: "a/b.jpg", ContentType: "image/jpeg", Size: 1000}
		change(media)
		body, err := proto.Marshal(media)
		if err != nil {
			panic(err)
		}
		m.Kind, m.Body = pb.Kind_KIND_MEDIA, body
	}
}

// TestCheckMedia: the limits that are larger than the body that TestCheckSend
// allows.
func TestCheckMedia(t *testing.T) {
	for name, test := range map[string]struct {
		change func(*pb.Media)
		good   bool
	}{
		"longest key":       {func(m *pb.Media) { m.ObjectKey = strings.Repeat("k", protocol.MaxObjectKey) }, true},
		"long key":          {func(m *pb.Media) { m.ObjectKey = strings.Repeat("k", protocol.MaxObjectKey+1) }, false},
		"largest thumbnail": {func(m *pb.Media) { m.Thumbnail = make([]byte, protocol.MaxThumbnail) }, true},
		"large thumbnail":   {func(m *pb.Media) { m.Thumbnail = make([]byte, protocol.MaxThumbnail+1) }, false},
		"longest type":      {func(m *pb.Media) { m.ContentType = strings.Repeat("x", protocol.MaxContentType) }, true},
		"long type":         {func(m *pb.Media) { m.ContentType = strings.Repeat("x", protocol.MaxContentType+1) }, false},
	} {
		m := &pb.Send{Conversation: "d:ann:bob", ClientId: "c1"}
		asMedia(test.change)(m)
		want := protocol.Code(0)
		if !test.good {
			want = pb.Code_CODE_BAD_ARGUMENT
		}
		if err := CheckSend("ann", m, 64<<10); protocol.CodeOf(err) != want {
			t.Errorf("%s: got %v, want %s", name, err, want.Name())
		}
	}
}

// asEvent makes a Send an event.
func asEvent(kind pb.Kind, change func(*pb.Send)) func(*pb.Send) {
	return func(m *pb.Send) {
		m.Kind, m.Target, m.Body = kind, 1, []byte("+1")
		change(m)
	}
}

// manyUsers returns the ids of n users.
func manyUsers(n int) []string {
	users := make([]string, n)
	for i := range users {
		users[i] = fmt.Sprintf("u%d", i)
	}
	return users
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
		ReplySeq: 1<<64 - 1, MentionAll: true, ExpiresMs: -1, Flags: 1<<32 - 1, Target: 1<<64 - 1, Remove: true,
		State: 1 << 30, ChangedSeq: 1<<64 - 1, EditedMs: -1, RecalledBy: a, ShownSeq: 1<<64 - 1,
	}
	for i := range protocol.MaxMentions {
		m.Mentions = append(m.Mentions, fmt.Sprintf("%064d", i))
	}
	for range protocol.MaxReactions {
		r := &pb.Reaction{Key: strings.Repeat("k", protocol.MaxReaction), Count: 1<<64 - 1}
		for i := range protocol.MaxReactionUsers {
			r.Users = append(r.Users, fmt.Sprintf("%064d", i))
		}
		m.Reactions = append(m.Reactions, r)
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
