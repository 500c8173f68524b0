package godwit

import (
	"fmt"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/godwit-im/godwit/protocol"
	"github.com/godwit-im/godwit/protocol/pb"
)

// Settings is how the user wants a conversation to be shown, on all devices.
type Settings struct {
	Pinned    time.Time // when it was; zero = it isn't
	Muted     bool
	Archived  bool
	Draft     string // the user's unfinished message
	DraftTime time.Time
	// MarkedUnread has it shown as unread, whatever the count. MarkRead takes it
	// away.
	MarkedUnread bool
	HiddenSeq    uint64 // it is not shown until there is a message to be shown past this
}

// SettingsChange changes Settings; what is nil stays as it is: a change that
// pins is SettingsChange{Pinned: new(true)}.
type SettingsChange struct {
	Pinned, Muted, Archived, MarkedUnread *bool
	Hidden                                *bool   // until the next message that is to be shown
	Draft                                 *string // at most protocol.MaxDraft bytes; empty = none
}

func settingsFromWire(s *pb.Settings) Settings {
	return Settings{
		Pinned: timeOf(s.GetPinnedMs()), Muted: s.GetMuted(), Archived: s.GetArchived(),
		Draft: s.GetDraft(), DraftTime: timeOf(s.GetDraftMs()),
		MarkedUnread: s.GetMarkedUnread(), HiddenSeq: s.GetHiddenSeq(),
	}
}

// SetSettings changes how a conversation is shown, on all of the user's
// devices.
func (c *Client) SetSettings(conversation string, change SettingsChange) *Call[Settings] {
	if err := checkConversation(conversation); err != nil {
		return failed[Settings](c, fmt.Errorf("godwit: settings: %w", err))
	}
	body := &pb.SetSettings{
		Conversation: conversation,
		Pinned:       change.Pinned, Muted: change.Muted, Archived: change.Archived, Draft: change.Draft,
		MarkedUnread: change.MarkedUnread, Hidden: change.Hidden,
	}
	learn := func(a *account, answer proto.Message) {
		a.own(a.box(conversation), func(row *pb.Membership) { row.Settings = answer.(*pb.Set).Settings })
	}
	return start(c, protocol.TypeSettings, body, learn, func(m proto.Message) Settings {
		return settingsFromWire(m.(*pb.Set).Settings)
	})
}

// Delete deletes messages for the user alone, on all devices: protocol.MaxDelete
// at a time. Others keep them. One that was not read counts as unread still,
// until it is.
func (c *Client) Delete(conversation string, seqs ...uint64) *Call[struct{}] {
	return c.delete(&pb.Delete{Conversation: conversation, Seqs: slices.Clone(seqs)})
}

// Clear deletes everything up to seq for the user alone, on all devices.
func (c *Client) Clear(conversation string, seq uint64) *Call[struct{}] {
	return c.delete(&pb.Delete{Conversation: conversation, ClearSeq: seq})
}

func (c *Client) delete(body *pb.Delete) *Call[struct{}] {
	if err := checkConversation(body.Conversation); err != nil {
		return failed[struct{}](c, fmt.Errorf("godwit: delete: %w", err))
	}
	learn := func(a *account, answer proto.Message) {
		b, cleared := a.box(body.Conversation), answer.(*pb.Deleted).ClearedSeq
		before := b.view.membership.GetClearedSeq()
		if cleared > before {
			a.own(b, func(row *pb.Membership) { row.ClearedSeq = cleared })
			old := b.isRead()
			a.raiseOwn(b, cleared, cleared)
			a.readUpTo(b, old)
			a.stated(b)
		}
		a.forget(b, body.Seqs, before, cleared)
		a.stated(b) // a SYNC that is under way may bring a preview of before
		a.changed(b)
	}
	return start(c, protocol.TypeDelete, body, learn, func(proto.Message) struct{} { return struct{}{} })
}

// Audience is who may know something of the user.
type Audience = pb.Audience

// The audiences. With the zero one it is the server's default: everybody with
// whom there is a conversation.
const (
	AudienceNobody    = pb.Audience_AUDIENCE_NOBODY
	AudienceContacts  = pb.Audience_AUDIENCE_CONTACTS
	AudienceEverybody = pb.Audience_AUDIENCE_EVERYBODY
)

// Account is what the user has chosen for themselves.
type Account struct {
	Presence Audience // who may see whether the user is online, and when they were
	// Messages is who may write to the user directly: contacts or everybody. Zero:
	// as the server's policy says.
	Messages Audience
}

// AccountChange changes an Account; what is nil stays as it is.
type AccountChange struct {
	Presence *Audience
	Messages *Audience
}

// Account returns the user's own choices. It asks nobody.
func (c *Client) Account() Account {
	c.mu.Lock()
	defer c.mu.Unlock()
	b := c.account.boxes[protocol.SystemID(c.account.user)]
	if b == nil {
		return Account{}
	}
	return accountFromWire(b.view.membership.GetAccount())
}

// SetAccount changes the user's own choices.
func (c *Client) SetAccount(change AccountChange) *Call[Account] {
	learn := func(a *account, answer proto.Message) {
		a.own(a.box(protocol.SystemID(a.user)), func(row *pb.Membership) { row.Account = answer.(*pb.Accounted).Account })
	}
	return start(c, protocol.TypeAccount, &pb.SetAccount{Presence: change.Presence, Messages: change.Messages}, learn, func(m proto.Message) Account {
		return accountFromWire(m.(*pb.Accounted).Account)
	})
}

func accountFromWire(a *pb.Account) Account {
	return Account{Presence: a.GetPresence(), Messages: a.GetMessages()}
}
