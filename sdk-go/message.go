package godwit

import (
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/godwit-im/godwit/protocol"
	"github.com/godwit-im/godwit/protocol/pb"
)

// Kind says what a message's body is.
type Kind = pb.Kind

// The kinds of messages. Handler.OnMessage is given those of the first group;
// those of the second change another message and are given to
// Handler.OnMessageChanged.
const (
	KindText   = pb.Kind_KIND_TEXT   // UTF-8 text
	KindCustom = pb.Kind_KIND_CUSTOM // opaque; ContentType says what it is
	KindMedia  = pb.Kind_KIND_MEDIA  // metadata of an object: Message.Media
	KindNotice = pb.Kind_KIND_NOTICE // written by the server: Message.Notice

	KindEdit     = pb.Kind_KIND_EDIT
	KindRecall   = pb.Kind_KIND_RECALL
	KindReaction = pb.Kind_KIND_REACTION
)

// MessageState is what became of a message.
type MessageState = pb.MessageState

// The states of messages. All but the first are tombstones: the message keeps
// its seq and has no body.
const (
	MessageNormal   = pb.MessageState_MESSAGE_STATE_NORMAL
	MessageRecalled = pb.MessageState_MESSAGE_STATE_RECALLED
	MessageExpired  = pb.MessageState_MESSAGE_STATE_EXPIRED
	MessageDeleted  = pb.MessageState_MESSAGE_STATE_DELETED // by the user, for the user alone
)

// Flags is a set of what a message does not do.
type Flags uint32

// The flags of messages.
const (
	Uncounted = Flags(pb.Flag_FLAG_UNCOUNTED) // does not count as unread
	Unpushed  = Flags(pb.Flag_FLAG_UNPUSHED)  // is not pushed: it comes with the next SYNC or PULL
	Silent    = Flags(pb.Flag_FLAG_SILENT)    // is shown without a sound or a notification
)

// Message is a message of a conversation, as the server stored it and in the
// state that it had when it was read: what changes it later is given to
// Handler.OnMessageChanged, for [Message.Apply].
type Message struct {
	Conversation string
	Seq          uint64 // 1, 2, 3, ... within the conversation
	ID           uint64 // unique on the server, roughly ordered by time
	Sender       string // empty where Kind is KindNotice
	ClientID     string // the sender's client message id
	Time         time.Time
	Kind         Kind
	ContentType  string
	Body         []byte
	Media        *Media  // where Kind is KindMedia and the message is no tombstone
	Notice       *Notice // where Kind is KindNotice

	Reply      uint64    // the seq of the message that this one answers; 0 if none
	Mentions   []string  // the users whom it mentions
	MentionAll bool      // it mentions everybody in the group
	Expires    time.Time // when it becomes a tombstone, by the server's clock; zero = never
	Flags      Flags

	State      MessageState
	Version    uint64    // the seq of the newest event in this state; 0 = as it was sent
	Edited     time.Time // when it was edited last; zero = never
	RecalledBy string
	Reactions  []Reaction // in the order in which each was first given

	Target uint64 // of an event: the seq of the message that it changes
	Remove bool   // of a KindReaction: it takes the sender's earlier one back

	shownSeq uint64 // as in pb.Message
}

// Reaction is a reaction to a message, and who has it.
type Reaction struct {
	Key   string // a smiley, say
	Count uint64
	// Users are the first of them by id, protocol.MaxReactionUsers at most. Where
	// there are more, one who takes it back leaves a place that Apply can't fill.
	// Client.Reactors has them all.
	Users []string
}

// Media describes an object that is kept elsewhere.
type Media struct {
	ObjectKey     string // where: at most protocol.MaxObjectKey bytes
	ContentType   string // the media type, image/jpeg
	Size          uint64 // in bytes
	Name          string
	Width, Height uint32
	Duration      time.Duration // in whole milliseconds
	Thumbnail     []byte        // at most protocol.MaxThumbnail bytes
	SHA256        []byte
}

// ChangeType says how a message changed.
type ChangeType int

// The types of changes. The first three come from events, of which
// MessageChange.Event is one.
const (
	ChangeEdited ChangeType = iota + 1
	ChangeRecalled
	ChangeReacted
	ChangeExpired // its time to live is over
	ChangeDeleted // the user deleted it for themselves, on this or another device
	ChangeCleared // the user deleted everything up to Seq for themselves
)

var changeNames = [...]string{"unknown", "edited", "recalled", "reacted", "expired", "deleted", "cleared"}

// String is the type's name in lower case.
func (t ChangeType) String() string {
	if t < 0 || int(t) >= len(changeNames) {
		return changeNames[0]
	}
	return changeNames[t]
}

// MessageChange is what happened to a message that may have been handed to
// OnMessage before.
type MessageChange struct {
	Conversation string
	Seq          uint64 // of the message that changed
	Type         ChangeType
	// Event is the message of the log that says so, with a Seq of its own: who
	// did it, when, and the new body or the reaction. The zero Message for a
	// change that no event makes.
	Event Message
}

// IsEvent reports whether m changes another message, m.Target, and is nothing
// to be shown itself.
func (m *Message) IsEvent() bool {
	return m.Kind == KindEdit || m.Kind == KindRecall || m.Kind == KindReaction
}

// IsShown reports whether m has a place in what the user sees, as all but
// events and a few notices have.
func (m *Message) IsShown() bool { return !m.IsEvent() && m.shownSeq == 0 }

// Text is the body as a string.
func (m Message) Text() string { return string(m.Body) }

// Mentioned reports whether m mentions user.
func (m *Message) Mentioned(user string) bool {
	return m.MentionAll || slices.Contains(m.Mentions, user)
}

// Change is the change that an event makes, the zero one where m is none.
func (m *Message) Change() MessageChange {
	types := map[Kind]ChangeType{KindEdit: ChangeEdited, KindRecall: ChangeRecalled, KindReaction: ChangeReacted}
	if types[m.Kind] == 0 {
		return MessageChange{}
	}
	return MessageChange{Conversation: m.Conversation, Seq: m.Target, Type: types[m.Kind], Event: *m}
}

// Apply changes m as c says, and reports whether it did: c may be about another
// message, or be in m already. What m refers to is replaced and not written to,
// so copies of m stay as they are.
func (m *Message) Apply(c MessageChange) bool {
	e := &c.Event
	switch {
	case c.Conversation != m.Conversation:
		return false
	case c.Type == ChangeCleared:
		return m.Seq <= c.Seq && m.bury(MessageDeleted)
	case c.Seq != m.Seq || e.Seq != 0 && e.Seq <= m.Version:
		return false
	}
	switch c.Type {
	case ChangeDeleted:
		return m.bury(MessageDeleted)
	case ChangeExpired:
		return m.bury(MessageExpired)
	}
	m.Version = e.Seq
	normal := m.State == MessageNormal
	switch {
	case c.Type == ChangeEdited:
		m.Edited = e.Time
		if normal && e.State == MessageNormal { // else a later event has made it void
			m.Body, m.ContentType = slices.Clone(e.Body), e.ContentType
			m.Mentions, m.MentionAll = slices.Clone(e.Mentions), e.MentionAll
			m.decode()
		}
	case c.Type == ChangeRecalled:
		m.RecalledBy = e.Sender
		m.bury(MessageRecalled)
	case c.Type == ChangeReacted && normal:
		m.react(e.Text(), e.Sender, e.Remove)
	}
	return true
}

// graves has the states of messages by what goes before what. What a message is
// for all goes before what it is for the user who deleted it; and one that was
// recalled was that before it could expire, whatever is heard of first.
var graves = []MessageState{MessageNormal, MessageDeleted, MessageExpired, MessageRecalled}

// bury makes m a tombstone, and reports whether it is another one than before.
func (m *Message) bury(state MessageState) bool {
	if slices.Index(graves, state) <= slices.Index(graves, m.State) {
		return false
	}
	m.State = state
	m.Body, m.Media, m.Notice, m.ContentType = nil, nil, nil, ""
	m.Reactions, m.Mentions, m.MentionAll = nil, nil, false
	return true
}

func (m *Message) react(key, user string, remove bool) {
	const most = protocol.MaxReactionUsers
	m.Reactions = cloneReactions(m.Reactions)
	i := slices.IndexFunc(m.Reactions, func(r Reaction) bool { return r.Key == key })
	switch {
	case remove && i < 0:
	case remove:
		r := &m.Reactions[i]
		r.Users = slices.DeleteFunc(r.Users, func(other string) bool { return other == user })
		if r.Count--; r.Count == 0 {
			m.Reactions = slices.Delete(m.Reactions, i, i+1)
		}
	case i < 0:
		m.Reactions = append(m.Reactions, Reaction{Key: key, Count: 1, Users: []string{user}})
	default:
		r := &m.Reactions[i]
		r.Count++
		at, _ := slices.BinarySearch(r.Users, user)
		r.Users = slices.Insert(r.Users, at, user)
		r.Users = r.Users[:min(len(r.Users), most)]
	}
}

func cloneReactions(reactions []Reaction) []Reaction {
	c := slices.Clone(reactions)
	for i := range c {
		c[i].Users = slices.Clone(c[i].Users)
	}
	return c
}

// clone returns a message that shares nothing with m.
func (m *Message) clone() *Message {
	c := *m
	c.Body, c.Mentions = slices.Clone(m.Body), slices.Clone(m.Mentions)
	c.Reactions = cloneReactions(m.Reactions)
	c.decode()
	return &c
}

// decode sets what the body says, where it says more than bytes.
func (m *Message) decode() {
	m.Media, m.Notice = nil, nil
	if m.State != MessageNormal {
		return
	}
	switch m.Kind {
	case KindMedia:
		if wire := new(pb.Media); proto.Unmarshal(m.Body, wire) == nil {
			m.Media = mediaFromWire(wire)
		}
	case KindNotice:
		if wire := new(pb.Notice); proto.Unmarshal(m.Body, wire) == nil {
			m.Notice = noticeFromWire(wire)
		}
	}
}

// counts reports whether m is one of the unread messages of user as long as it
// was not read. Notices count in system conversations, where there is nothing
// else.
func (m *Message) counts(user string) bool {
	switch m.Kind {
	case KindText, KindCustom, KindMedia:
		return m.Sender != user && m.Flags&Uncounted == 0
	case KindNotice:
		return isSystem(m.Conversation) && m.Flags&Uncounted == 0
	}
	return false
}

func mediaFromWire(m *pb.Media) *Media {
	return &Media{
		ObjectKey: m.ObjectKey, ContentType: m.ContentType, Size: m.Size, Name: m.Name,
		Width: m.Width, Height: m.Height, Duration: time.Duration(m.DurationMs) * time.Millisecond,
		Thumbnail: m.Thumbnail, SHA256: m.Sha256,
	}
}

func (m *Media) toWire() *pb.Media {
	return &pb.Media{
		ObjectKey: m.ObjectKey, ContentType: m.ContentType, Size: m.Size, Name: m.Name,
		Width: m.Width, Height: m.Height, DurationMs: uint32(m.Duration.Milliseconds()),
		Thumbnail: m.Thumbnail, Sha256: m.SHA256,
	}
}

// fromWire is a message as the application sees it. It takes what m refers to.
func fromWire(m *pb.Message) Message {
	message := Message{
		Conversation: m.Conversation,
		Seq:          m.Seq,
		ID:           m.Id,
		Sender:       m.Sender,
		ClientID:     m.ClientId,
		Time:         time.UnixMilli(m.TimeMs),
		Kind:         m.Kind,
		ContentType:  m.ContentType,
		Body:         m.Body,
		Reply:        m.ReplySeq,
		Mentions:     m.Mentions,
		MentionAll:   m.MentionAll,
		Expires:      timeOf(m.ExpiresMs),
		Flags:        Flags(m.Flags),
		State:        m.State,
		Version:      m.ChangedSeq,
		Edited:       timeOf(m.EditedMs),
		RecalledBy:   m.RecalledBy,
		Target:       m.Target,
		Remove:       m.Remove,
		shownSeq:     m.ShownSeq,
	}
	for _, r := range m.Reactions {
		message.Reactions = append(message.Reactions, Reaction{Key: r.Key, Count: r.Count, Users: r.Users})
	}
	message.decode()
	return message
}

// toWire is the opposite, for the store.
func (m *Message) toWire() *pb.Message {
	wire := &pb.Message{
		Conversation: m.Conversation,
		Seq:          m.Seq,
		Id:           m.ID,
		Sender:       m.Sender,
		ClientId:     m.ClientID,
		TimeMs:       m.Time.UnixMilli(),
		Kind:         m.Kind,
		ContentType:  m.ContentType,
		Body:         m.Body,
		ReplySeq:     m.Reply,
		Mentions:     m.Mentions,
		MentionAll:   m.MentionAll,
		ExpiresMs:    millis(m.Expires),
		Flags:        uint32(m.Flags),
		State:        m.State,
		ChangedSeq:   m.Version,
		EditedMs:     millis(m.Edited),
		RecalledBy:   m.RecalledBy,
		Target:       m.Target,
		Remove:       m.Remove,
		ShownSeq:     m.shownSeq,
	}
	for _, r := range m.Reactions {
		wire.Reactions = append(wire.Reactions, &pb.Reaction{Key: r.Key, Count: r.Count, Users: r.Users})
	}
	return wire
}

// timeOf is a time of the wire, on which 0 is none.
func timeOf(ms int64) time.Time {
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms)
}

func millis(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}
