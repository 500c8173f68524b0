package chat

import (
	"unicode/utf8"

	"github.com/godwit-im/godwit/protocol"
	"github.com/godwit-im/godwit/protocol/pb"
)

// CheckSend reports what is wrong with a SEND by user, as far as that can be
// told without the store: what passes is fit for a Command. maxBody is the
// largest body in bytes. The error is a *protocol.Error.
func CheckSend(user string, req *pb.Send, maxBody int) error {
	if err := checkMember(user, req.Conversation); err != nil {
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
	switch req.Kind {
	case pb.Kind_KIND_TEXT:
		if !utf8.Valid(req.Body) {
			return protocol.Errorf(pb.Code_CODE_BAD_ARGUMENT, "the body of a text message must be UTF-8")
		}
	case pb.Kind_KIND_CUSTOM:
		if req.ContentType == "" {
			return protocol.Errorf(pb.Code_CODE_BAD_ARGUMENT, "a custom message needs a content type")
		}
	default:
		return protocol.Errorf(pb.Code_CODE_BAD_ARGUMENT, "unknown message kind %d", int32(req.Kind))
	}
	return nil
}

// CheckMark is CheckSend for a MARK. Whether the seqs exist is Apply's to say.
func CheckMark(user string, req *pb.Mark) error {
	return checkMember(user, req.Conversation)
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
