package crash

import (
	"time"

	"github.com/godwit-im/godwit/bench/journal"
	"github.com/godwit-im/godwit/protocol"
	godwit "github.com/godwit-im/godwit/sdk-go"
)

// entryOf is how the journal says that a message was handed, but for the state
// that it was in.
func entryOf(m *godwit.Message) journal.Entry {
	e := journal.Entry{
		Op: journal.OpReceive, Conversation: m.Conversation, Sender: m.Sender, ClientID: m.ClientID,
		Body: journal.Sum(m.Body), Seq: m.Seq, ID: m.ID, TimeMs: m.Time.UnixMilli(),
		Kind: kindOf(m.Kind, m.Remove), Target: m.Target, Gone: m.State != godwit.MessageNormal, Lapse: lapseOf(m.State),
		Mentions: mentions(m.Mentions, m.MentionAll), At: time.Now().UnixMilli(),
	}
	if !m.Expires.IsZero() && !m.IsEvent() {
		e.Expires = m.Expires.UnixMilli()
	}
	if n := m.Notice; n != nil {
		e.Kind, e.Notice, e.Actor, e.Users = journal.KindNotice, notices[n.Type], n.Actor, journal.Users(n.Users...)
		e.About = n.Conversation
		if isSystem := protocol.KindOf(m.Conversation) == protocol.System; isSystem && n.Conversation == "" && len(n.Users) == 1 {
			e.About, e.Body = protocol.DirectID(n.Actor, n.Users[0]), journal.Sum([]byte(n.Text))
		}
	}
	return e
}

// lapses are the changes of messages that no event makes.
var lapses = map[godwit.ChangeType]string{
	godwit.ChangeExpired: journal.LapseExpired,
	godwit.ChangeDeleted: journal.LapseDeleted,
	godwit.ChangeCleared: journal.LapseCleared,
}

func lapseOf(s godwit.MessageState) string {
	switch s {
	case godwit.MessageExpired:
		return journal.LapseExpired
	case godwit.MessageDeleted:
		return journal.LapseDeleted
	}
	return ""
}

func mentions(users []string, all bool) string {
	if all {
		return journal.Everybody
	}
	return journal.Users(users...)
}

// sendOf is how it says that a draft is to be sent.
func sendOf(conversation, clientID string, d *godwit.Draft) journal.Entry {
	return journal.Entry{
		Op: journal.OpSend, Conversation: conversation, ClientID: clientID,
		Body: journal.Sum(d.Body), Kind: kindOf(d.Kind, d.Remove), Target: d.Target,
		Mentions: mentions(d.Mentions, d.MentionAll), TTL: d.TTL.Milliseconds(),
	}
}

var notices = map[godwit.NoticeType]string{
	godwit.NoticeGroupCreated:   journal.NoticeCreated,
	godwit.NoticeMembersAdded:   journal.NoticeAdded,
	godwit.NoticeMembersJoined:  journal.NoticeJoined,
	godwit.NoticeMemberLeft:     journal.NoticeLeft,
	godwit.NoticeMembersRemoved: journal.NoticeRemoved,
	godwit.NoticeGroupInvited:   journal.NoticeInvited,

	godwit.NoticeContactRequested: journal.NoticeRequested,
	godwit.NoticeContactAccepted:  journal.NoticeAccepted,
	godwit.NoticeContactRefused:   journal.NoticeRefused,
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
