package chat

import (
	"bytes"
	"slices"
	"unicode"
	"unicode/utf8"

	"google.golang.org/protobuf/proto"

	"github.com/godwit-im/godwit/protocol"
	"github.com/godwit-im/godwit/protocol/pb"
)

// maxTTLMs is the longest time to live that any server takes: a hundred years,
// so that the sum with a time is always in range.
const maxTTLMs = 100 * 365 * 24 * 3600 * 1000

// knownFlags are the bits that Send.flags may have.
const knownFlags = uint32(pb.Flag_FLAG_UNCOUNTED | pb.Flag_FLAG_UNPUSHED | pb.Flag_FLAG_SILENT)

// isEvent reports whether a message of this kind changes another one.
func isEvent(kind pb.Kind) bool {
	switch kind {
	case pb.Kind_KIND_EDIT, pb.Kind_KIND_RECALL, pb.Kind_KIND_REACTION:
		return true
	}
	return false
}

// hasContent reports whether a message of this kind is what somebody had to
// say: all but notices and events.
func hasContent(kind pb.Kind) bool {
	switch kind {
	case pb.Kind_KIND_TEXT, pb.Kind_KIND_CUSTOM, pb.Kind_KIND_MEDIA:
		return true
	}
	return false
}

// CheckSend reports what is wrong with a SEND by user, as far as that can be
// told without the store: what passes is fit for a Command. maxBody is the
// largest body in bytes. The error is a *protocol.Error.
func CheckSend(user string, req *pb.Send, maxBody int) error {
	if err := checkOwn(user, req.Conversation); err != nil {
		return err
	}
	if err := protocol.CheckID("client message id", req.ClientId); err != nil {
		return err
	}
	if len(req.Body) > maxBody {
		return protocol.Errorf(pb.Code_CODE_BODY_TOO_LARGE, "message body of %d bytes, the limit is %d", len(req.Body), maxBody)
	}
	if err := checkContentType(req.ContentType); err != nil {
		return err
	}
	if req.Flags&^knownFlags != 0 {
		return protocol.Errorf(pb.Code_CODE_BAD_ARGUMENT, "unknown flags 0x%x", req.Flags&^knownFlags)
	}
	if req.TtlMs < 0 || req.TtlMs > maxTTLMs {
		return protocol.Errorf(pb.Code_CODE_BAD_ARGUMENT, "time to live of %d ms", req.TtlMs)
	}
	if err := checkMentions(req); err != nil {
		return err
	}
	switch {
	case hasContent(req.Kind):
		return checkContent(req)
	case isEvent(req.Kind):
		return checkEvent(req)
	case req.Kind == pb.Kind_KIND_NOTICE:
		return protocol.Errorf(pb.Code_CODE_BAD_ARGUMENT, "notices are the server's to write")
	}
	return protocol.Errorf(pb.Code_CODE_BAD_ARGUMENT, "unknown message kind %d", int32(req.Kind))
}

// checkContent checks what only a message with content is held to.
func checkContent(req *pb.Send) error {
	if req.Target != 0 || req.Remove {
		return protocol.Errorf(pb.Code_CODE_BAD_ARGUMENT, "only an event has a target, and only a reaction is removed")
	}
	// Not returned at once: a nil *protocol.Error is no nil error.
	if err := checkBody(req.Kind, req.ContentType, req.Body); err != nil {
		return err
	}
	return nil
}

// checkEvent checks what only events are held to. Whether an edit's body is one
// that its target may have is Apply's to say.
func checkEvent(req *pb.Send) error {
	switch {
	case req.Target == 0:
		return protocol.Errorf(pb.Code_CODE_BAD_ARGUMENT, "an event needs a target")
	case req.ReplySeq != 0 || req.TtlMs != 0:
		return protocol.Errorf(pb.Code_CODE_BAD_ARGUMENT, "an event neither answers a message nor has a time to live")
	case req.Remove && req.Kind != pb.Kind_KIND_REACTION:
		return protocol.Errorf(pb.Code_CODE_BAD_ARGUMENT, "only a reaction is removed")
	case req.Kind == pb.Kind_KIND_EDIT:
		return nil
	case len(req.Mentions) > 0 || req.MentionAll || req.ContentType != "":
		return protocol.Errorf(pb.Code_CODE_BAD_ARGUMENT, "a recall or a reaction has no content type and mentions nobody")
	case req.Kind == pb.Kind_KIND_RECALL && len(req.Body) > 0:
		return protocol.Errorf(pb.Code_CODE_BAD_ARGUMENT, "a recall has no body")
	case req.Kind == pb.Kind_KIND_REACTION && !isReaction(req.Body):
		return protocol.Errorf(pb.Code_CODE_BAD_ARGUMENT, "a reaction must be 1 to %d bytes of UTF-8 without control characters", protocol.MaxReaction)
	}
	return nil
}

func isReaction(body []byte) bool {
	return len(body) > 0 && len(body) <= protocol.MaxReaction && utf8.Valid(body) && bytes.IndexFunc(body, unicode.IsControl) < 0
}

// checkBody returns what makes a body wrong for a message of a kind with
// content, nil for nothing. An edit is held to the kind of its target.
func checkBody(kind pb.Kind, contentType string, body []byte) *protocol.Error {
	switch kind {
	case pb.Kind_KIND_TEXT:
		if !utf8.Valid(body) {
			return protocol.Errorf(pb.Code_CODE_BAD_ARGUMENT, "the body of a text message must be UTF-8")
		}
	case pb.Kind_KIND_CUSTOM:
		if contentType == "" {
			return protocol.Errorf(pb.Code_CODE_BAD_ARGUMENT, "a custom message needs a content type")
		}
	case pb.Kind_KIND_MEDIA:
		return checkMedia(body)
	}
	return nil
}

func checkMedia(body []byte) *protocol.Error {
	var m pb.Media
	switch err := proto.Unmarshal(body, &m); {
	case err != nil:
		return protocol.Errorf(pb.Code_CODE_BAD_ARGUMENT, "the body of a media message must be a Media")
	case m.ObjectKey == "" || len(m.ObjectKey) > protocol.MaxObjectKey:
		return protocol.Errorf(pb.Code_CODE_BAD_ARGUMENT, "an object key must be 1 to %d bytes, got %d", protocol.MaxObjectKey, len(m.ObjectKey))
	case len(m.ContentType) > protocol.MaxContentType:
		return protocol.Errorf(pb.Code_CODE_BAD_ARGUMENT, "media type of %d bytes, the limit is %d", len(m.ContentType), protocol.MaxContentType)
	case len(m.Thumbnail) > protocol.MaxThumbnail:
		return protocol.Errorf(pb.Code_CODE_BAD_ARGUMENT, "thumbnail of %d bytes, the limit is %d", len(m.Thumbnail), protocol.MaxThumbnail)
	case len(m.Sha256) != 0 && len(m.Sha256) != 32:
		return protocol.Errorf(pb.Code_CODE_BAD_ARGUMENT, "a SHA-256 has 32 bytes, not %d", len(m.Sha256))
	}
	return nil
}

// checkMentions checks the form of a list of mentions. They need not be members:
// whoever has just left may be mentioned.
func checkMentions(req *pb.Send) error {
	if len(req.Mentions) > protocol.MaxMentions {
		return protocol.Errorf(pb.Code_CODE_TOO_MANY_MENTIONS, "%d mentions, the limit is %d", len(req.Mentions), protocol.MaxMentions)
	}
	for i, user := range req.Mentions {
		if err := protocol.CheckID("a mentioned user", user); err != nil {
			return err
		}
		if slices.Contains(req.Mentions[:i], user) {
			return protocol.Errorf(pb.Code_CODE_BAD_ARGUMENT, "%s is mentioned twice", user)
		}
	}
	if req.MentionAll && protocol.KindOf(req.Conversation) != protocol.Group {
		return protocol.Errorf(pb.Code_CODE_BAD_ARGUMENT, "all can be mentioned in a group only")
	}
	return nil
}

// CheckMark is CheckSend for a MARK. Whether the seqs exist is Apply's to say.
func CheckMark(user string, req *pb.Mark) error {
	return checkOwn(user, req.Conversation)
}

// CheckSettings is CheckSend for a SETTINGS.
func CheckSettings(user string, req *pb.SetSettings) error {
	if len(req.GetDraft()) > protocol.MaxDraft {
		return protocol.Errorf(pb.Code_CODE_BAD_ARGUMENT, "draft of %d bytes, the limit is %d", len(req.GetDraft()), protocol.MaxDraft)
	}
	return checkOwn(user, req.Conversation)
}

// CheckDelete is CheckSend for a DELETE. Whether the seqs exist is Apply's to
// say.
func CheckDelete(user string, req *pb.Delete) error {
	switch {
	case len(req.Seqs) > protocol.MaxDelete:
		return protocol.Errorf(pb.Code_CODE_BAD_ARGUMENT, "%d seqs to delete, the limit is %d", len(req.Seqs), protocol.MaxDelete)
	case slices.Contains(req.Seqs, 0):
		return protocol.Errorf(pb.Code_CODE_BAD_ARGUMENT, "seqs begin with 1")
	case len(req.Seqs) == 0 && req.ClearSeq == 0:
		return protocol.Errorf(pb.Code_CODE_BAD_ARGUMENT, "nothing to delete")
	}
	return checkOwn(user, req.Conversation)
}

// CheckContact is CheckSend for a CONTACT.
func CheckContact(user string, req *pb.ContactRequest) error {
	if err := protocol.CheckID("user", req.User); err != nil {
		return err
	}
	switch {
	case req.User == user:
		return protocol.Errorf(pb.Code_CODE_BAD_ARGUMENT, "nobody is their own contact")
	case req.Action < pb.ContactAction_CONTACT_ACTION_REQUEST || req.Action > pb.ContactAction_CONTACT_ACTION_UNBLOCK:
		return errUnknownAction
	case len(req.Text) > protocol.MaxText:
		return protocol.Errorf(pb.Code_CODE_BAD_ARGUMENT, "text of %d bytes, the limit is %d", len(req.Text), protocol.MaxText)
	}
	return nil
}

// CheckAccount is CheckSend for an ACCOUNT.
func CheckAccount(req *pb.SetAccount) error {
	if _, known := pb.Audience_name[int32(req.GetPresence())]; !known {
		return protocol.Errorf(pb.Code_CODE_BAD_ARGUMENT, "unknown audience %d", int32(req.GetPresence()))
	}
	switch req.GetMessages() {
	case pb.Audience_AUDIENCE_UNSPECIFIED, pb.Audience_AUDIENCE_CONTACTS, pb.Audience_AUDIENCE_EVERYBODY:
		return nil
	}
	return protocol.Errorf(pb.Code_CODE_BAD_ARGUMENT, "messages can be for contacts or for everybody, not %d", int32(req.GetMessages()))
}

// checkOwn reports what can be told of a conversation's id without the store:
// it is none, or that of somebody else's conversation.
func checkOwn(user, conversation string) error {
	if err := protocol.CheckConversation(conversation); err != nil {
		return err
	}
	switch protocol.KindOf(conversation) {
	case protocol.Direct:
		return checkMember(user, conversation)
	case protocol.System:
		if conversation != protocol.SystemID(user) {
			return errNotAMember
		}
	}
	return nil
}

func checkMember(user, conversation string) error {
	a, b, err := protocol.ParseDirect(conversation)
	if err != nil {
		return err
	}
	if user != a && user != b {
		return errNotAMember
	}
	return nil
}

// checkContentType accepts printable ASCII: a content type ends up in logs and
// HTTP headers of other people's making.
func checkContentType(s string) error {
	if len(s) > protocol.MaxContentType {
		return protocol.Errorf(pb.Code_CODE_BAD_ARGUMENT, "content type of %d bytes, the limit is %d", len(s), protocol.MaxContentType)
	}
	for i := range len(s) {
		if s[i] < 0x20 || s[i] > 0x7e {
			return protocol.Errorf(pb.Code_CODE_BAD_ARGUMENT, "the content type has a bad byte 0x%02x at %d", s[i], i)
		}
	}
	return nil
}
