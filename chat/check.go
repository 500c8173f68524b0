package chat

import (
	"slices"
	"unicode/utf8"

	"github.com/godwit-im/godwit/protocol"
	"github.com/godwit-im/godwit/protocol/pb"
)

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
	return nil
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
