package godwit

import (
	"strings"
	"unicode/utf8"

	"github.com/godwit-im/godwit/protocol"
	"github.com/godwit-im/godwit/protocol/pb"
)

// Draft is a message to be sent.
type Draft struct {
	Kind        Kind   // KindText if unspecified
	ContentType string // printable ASCII, say "image/png"; KindCustom needs one
	Body        []byte
}

// check fills in the default kind and returns why no server would take the
// message; what only the server can judge is left to it. maxBody is in bytes.
func (d *Draft) check(conversation string, maxBody int) error {
	if d.Kind == pb.Kind_KIND_UNSPECIFIED {
		d.Kind = KindText
	}
	if err := checkConversation(conversation); err != nil {
		return err
	}
	switch {
	case len(d.Body) > maxBody:
		return protocol.Errorf(pb.Code_CODE_BODY_TOO_LARGE, "body of %d bytes, the limit is %d", len(d.Body), maxBody)
	case d.Kind == KindText && !utf8.Valid(d.Body):
		return protocol.Errorf(pb.Code_CODE_BAD_ARGUMENT, "text that is not UTF-8")
	case d.Kind == KindCustom && d.ContentType == "":
		return protocol.Errorf(pb.Code_CODE_BAD_ARGUMENT, "a custom message needs a content type")
	case len(d.ContentType) > protocol.MaxContentType || !printable(d.ContentType):
		return protocol.Errorf(pb.Code_CODE_BAD_ARGUMENT, "content type must be printable ASCII of at most %d bytes", protocol.MaxContentType)
	}
	return nil
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
