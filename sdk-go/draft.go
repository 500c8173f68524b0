package godwit

import (
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/godwit-im/godwit/protocol"
	"github.com/godwit-im/godwit/protocol/pb"
)

// Draft is a message to be sent. Text, Custom and Media make the common ones.
type Draft struct {
	Kind        Kind   // KindText if unspecified
	ContentType string // printable ASCII, say "image/png"; KindCustom needs one
	Body        []byte

	// As in Message.
	Reply      uint64
	Mentions   []string // at most protocol.MaxMentions
	MentionAll bool     // in groups, where the role allows it
	Flags      Flags

	// TTL is how long the message is kept, in whole milliseconds; 0 = as long as
	// any other.
	TTL time.Duration

	// Of an event, which Edit, Recall, React and Unreact make: as in Message.
	Target uint64
	Remove bool
}

// SendOption adds to a message that is to be sent.
type SendOption func(*Draft)

// Reply has the message answer the one at seq.
func Reply(seq uint64) SendOption { return func(d *Draft) { d.Reply = seq } }

// Mention has the message mention users.
func Mention(users ...string) SendOption {
	return func(d *Draft) { d.Mentions = append(slices.Clip(d.Mentions), users...) }
}

// MentionAll has the message mention all members of the group.
func MentionAll() SendOption { return func(d *Draft) { d.MentionAll = true } }

// TTL has the message become a tombstone after a while, which is counted in
// whole milliseconds from when the server stores it.
func TTL(while time.Duration) SendOption { return func(d *Draft) { d.TTL = while } }

// WithFlags sets flags of the message.
func WithFlags(flags Flags) SendOption { return func(d *Draft) { d.Flags |= flags } }

// check fills in the default kind and returns why no server would take the
// message; what only the server can judge is left to it. maxBody is in bytes.
func (d *Draft) check(conversation string, maxBody int) error {
	if d.Kind == pb.Kind_KIND_UNSPECIFIED {
		d.Kind = KindText
	}
	if err := checkConversation(conversation); err != nil {
		return err
	}
	event := d.Kind == KindEdit || d.Kind == KindRecall || d.Kind == KindReaction
	switch {
	case len(d.Body) > maxBody:
		return protocol.Errorf(pb.Code_CODE_BODY_TOO_LARGE, "body of %d bytes, the limit is %d", len(d.Body), maxBody)
	case d.Kind == KindNotice:
		return protocol.Errorf(pb.Code_CODE_BAD_ARGUMENT, "notices are the server's")
	case (d.Kind == KindText || d.Kind == KindReaction) && !utf8.Valid(d.Body):
		return protocol.Errorf(pb.Code_CODE_BAD_ARGUMENT, "text that is not UTF-8")
	case d.Kind == KindReaction && (len(d.Body) == 0 || len(d.Body) > protocol.MaxReaction):
		return protocol.Errorf(pb.Code_CODE_BAD_ARGUMENT, "a reaction has 1 to %d bytes", protocol.MaxReaction)
	case d.Kind == KindCustom && d.ContentType == "":
		return protocol.Errorf(pb.Code_CODE_BAD_ARGUMENT, "a custom message needs a content type")
	case len(d.ContentType) > protocol.MaxContentType || !printable(d.ContentType):
		return protocol.Errorf(pb.Code_CODE_BAD_ARGUMENT, "content type must be printable ASCII of at most %d bytes", protocol.MaxContentType)
	case len(d.Mentions) > protocol.MaxMentions:
		return protocol.Errorf(pb.Code_CODE_TOO_MANY_MENTIONS, "%d mentions, the limit is %d", len(d.Mentions), protocol.MaxMentions)
	case event != (d.Target > 0):
		return protocol.Errorf(pb.Code_CODE_BAD_ARGUMENT, "an event, and nothing else, has a target")
	case d.TTL < 0:
		return protocol.Errorf(pb.Code_CODE_BAD_ARGUMENT, "a negative time to live")
	}
	for _, user := range d.Mentions {
		if err := protocol.CheckID("mentioned user", user); err != nil {
			return err
		}
	}
	return nil
}

// clone returns a draft that shares nothing with d.
func (d Draft) clone() Draft {
	d.Body, d.Mentions = slices.Clone(d.Body), slices.Clone(d.Mentions)
	return d
}

func printable(s string) bool {
	return strings.IndexFunc(s, func(r rune) bool { return r < ' ' || r > '~' }) < 0
}

// checkConversation refuses what can be no conversation's id.
func checkConversation(id string) error {
	if id == "" || len(id) > protocol.MaxConversationID {
		return protocol.Errorf(pb.Code_CODE_BAD_ID, "conversation id must be 1 to %d bytes, got %d", protocol.MaxConversationID, len(id))
	}
	if !printable(id) || strings.Contains(id, " ") {
		return protocol.Errorf(pb.Code_CODE_BAD_ID, "conversation id must be printable ASCII without spaces")
	}
	return nil
}

// isGroup and isSystem tell the kinds of conversations apart.
func isGroup(conversation string) bool { return strings.HasPrefix(conversation, "g:") }

func isSystem(conversation string) bool { return strings.HasPrefix(conversation, "s:") }
