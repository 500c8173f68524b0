package crash

import (
	"github.com/godwit-im/godwit/bench/journal"
	godwit "github.com/godwit-im/godwit/sdk-go"
)

// entryOf is how the journal says that a message was handed, but for the state
// that it was in.
func entryOf(m *godwit.Message) journal.Entry {
	e := journal.Entry{
		Op: journal.OpReceive, Conversation: m.Conversation, Sender: m.Sender, ClientID: m.ClientID,
		Body: journal.Sum(m.Body), Seq: m.Seq, ID: m.ID, TimeMs: m.Time.UnixMilli(),
		Kind: kindOf(m.Kind, m.Remove), Target: m.Target, Gone: m.State != godwit.MessageNormal,
	}
	if n := m.Notice; n != nil {
		e.Kind, e.Notice, e.Actor, e.Users = journal.KindNotice, notices[n.Type], n.Actor, journal.Users(n.Users...)
		e.About = n.Conversation
	}
	return e
}

// sendOf is how it says that a draft is to be sent.
func sendOf(conversation, clientID string, d *godwit.Draft) journal.Entry {
	return journal.Entry{
		Op: journal.OpSend, Conversation: conversation, ClientID: clientID,
		Body: journal.Sum(d.Body), Kind: kindOf(d.Kind, d.Remove), Target: d.Target,
	}
}

var notices = map[godwit.NoticeType]string{
	godwit.NoticeGroupCreated:   journal.NoticeCreated,
	godwit.NoticeMembersAdded:   journal.NoticeAdded,
	godwit.NoticeMembersJoined:  journal.NoticeJoined,
	godwit.NoticeMemberLeft:     journal.NoticeLeft,
	godwit.NoticeMembersRemoved: journal.NoticeRemoved,
	godwit.NoticeGroupInvited:   journal.NoticeInvited,
}

func kindOf(k godwit.Kind, remove bool) journal.MessageKind {
	switch {
	case k == godwit.KindEdit:
		return journal.KindEdit
	case k == godwit.KindRecall:
		return journal.KindRecall
	case k == godwit.KindReaction && remove:
		return journal.KindUnreact
	case k == godwit.KindReaction:
		return journal.KindReact
	}
	return ""
}

func reactionsOf(m *godwit.Message) string {
	users := map[string][]string{}
	for _, r := range m.Reactions {
		users[journal.Sum([]byte(r.Key))] = r.Users
	}
	return journal.Reactions(users)
}

// isRefusal reports whether a message or a request may be refused like this, as
// groups and messages change while it is under way.
func isRefusal(code godwit.Code) bool {
	switch code.Name() {
	case "NOT_A_MEMBER", "NOT_ALLOWED", "NOT_FOUND", "TOO_LATE":
		return true
	}
	return false
}
