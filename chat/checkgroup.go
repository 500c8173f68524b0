package chat

import (
	"unicode/utf8"

	"github.com/godwit-im/godwit/protocol"
	"github.com/godwit-im/godwit/protocol/pb"
)

// CheckGroup is CheckSend for a GROUP. It sets the conversation of a group that
// is to be created.
func CheckGroup(user string, req *pb.GroupRequest) error {
	if create := req.GetCreate(); create != nil {
		if req.Conversation != "" {
			return protocol.Errorf(pb.Code_CODE_BAD_ARGUMENT, "a group that is to be created has no id yet")
		}
		if err := checkCreate(create); err != nil {
			return err
		}
		req.Conversation = protocol.GroupID(user, create.ClientId)
		return nil
	}
	if err := protocol.CheckConversation(req.Conversation); err != nil {
		return err
	}
	if protocol.KindOf(req.Conversation) != protocol.Group {
		return protocol.Errorf(pb.Code_CODE_BAD_ARGUMENT, "this conversation is no group")
	}
	return checkAction(req)
}

func checkAction(req *pb.GroupRequest) error {
	switch action := req.Action.(type) {
	case *pb.GroupRequest_Add:
		return checkUsers(action.Add.GetUsers(), true)
	case *pb.GroupRequest_Invite:
		return checkUsers(action.Invite.GetUsers(), true)
	case *pb.GroupRequest_Admit:
		return checkUsers(action.Admit.GetUsers(), true)
	case *pb.GroupRequest_Decline:
		return checkUsers(action.Decline.GetUsers(), true)
	case *pb.GroupRequest_Remove:
		return checkUsers(action.Remove.GetUsers(), true)
	case *pb.GroupRequest_Role:
		if role := action.Role.GetRole(); role != pb.Role_ROLE_MEMBER && role != pb.Role_ROLE_ADMIN {
			return protocol.Errorf(pb.Code_CODE_BAD_ARGUMENT, "role must be member or admin; to make another the owner, transfer the group")
		}
		return checkUsers(action.Role.GetUsers(), true)
	case *pb.GroupRequest_Mute:
		if action.Mute.GetUntilMs() < 0 {
			return protocol.Errorf(pb.Code_CODE_BAD_ARGUMENT, "until must not be negative")
		}
		return checkUsers(action.Mute.GetUsers(), true)
	case *pb.GroupRequest_Transfer:
		return protocol.CheckID("user", action.Transfer)
	case *pb.GroupRequest_Join:
		return checkText("text", action.Join.GetText(), protocol.MaxText)
	case *pb.GroupRequest_Nick:
		return checkText("nick", action.Nick, protocol.MaxNick)
	case *pb.GroupRequest_Change:
		return checkChange(action.Change)
	case *pb.GroupRequest_Refuse, *pb.GroupRequest_Leave, *pb.GroupRequest_Dissolve:
		return nil
	}
	return errUnknownGroupOp
}

func checkCreate(req *pb.CreateGroup) error {
	if err := protocol.CheckID("client id", req.ClientId); err != nil {
		return err
	}
	if _, known := pb.GroupKind_name[int32(req.Kind)]; !known {
		return protocol.Errorf(pb.Code_CODE_BAD_ARGUMENT, "unknown kind of group %d", int32(req.Kind))
	}
	if err := checkUsers(req.Users, false); err != nil {
		return err
	}
	return checkChange(&pb.ChangeGroup{
		Name: &req.Name, Avatar: &req.Avatar, Notice: &req.Notice, Attributes: req.Attributes, Join: &req.Join, History: &req.History,
	})
}

func checkChange(req *pb.ChangeGroup) error {
	for _, text := range []struct {
		what, text string
		most       int
	}{
		{"name", req.GetName(), protocol.MaxGroupName},
		{"avatar", req.GetAvatar(), protocol.MaxGroupAvatar},
		{"notice", req.GetNotice(), protocol.MaxGroupNotice},
	} {
		if err := checkText(text.what, text.text, text.most); err != nil {
			return err
		}
	}
	if _, known := pb.JoinPolicy_name[int32(req.GetJoin())]; !known {
		return protocol.Errorf(pb.Code_CODE_BAD_ARGUMENT, "unknown join policy %d", int32(req.GetJoin()))
	}
	if _, known := pb.HistoryPolicy_name[int32(req.GetHistory())]; !known {
		return protocol.Errorf(pb.Code_CODE_BAD_ARGUMENT, "unknown history policy %d", int32(req.GetHistory()))
	}
	if len(req.Attributes) > protocol.MaxAttributes {
		return errTooManyAttributes
	}
	for _, attribute := range req.Attributes {
		if err := protocol.CheckID("attribute's key", attribute.GetKey()); err != nil {
			return err
		}
	}
	return nil
}

// checkUsers checks a list of users; required: it must not be empty.
func checkUsers(users []string, required bool) error {
	if len(users) > protocol.MaxUsers || required && len(users) == 0 {
		return protocol.Errorf(pb.Code_CODE_BAD_ARGUMENT, "%d users, 1 to %d are allowed", len(users), protocol.MaxUsers)
	}
	seen := make(map[string]bool, len(users))
	for _, user := range users {
		if err := protocol.CheckID("user", user); err != nil {
			return err
		}
		if seen[user] {
			return protocol.Errorf(pb.Code_CODE_BAD_ARGUMENT, "%s is named twice", user)
		}
		seen[user] = true
	}
	return nil
}

func checkText(what, text string, most int) error {
	if len(text) > most || !utf8.ValidString(text) {
		return protocol.Errorf(pb.Code_CODE_BAD_ARGUMENT, "%s must be UTF-8 of at most %d bytes, got %d", what, most, len(text))
	}
	return nil
}
