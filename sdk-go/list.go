package godwit

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/godwit-im/godwit/protocol"
	"github.com/godwit-im/godwit/protocol/pb"
)

// Conversation is how a conversation stands for the user. It shares nothing
// with the client.
type Conversation struct {
	ID   string
	Peer string // the other member of a direct conversation

	HeadSeq          uint64 // of the newest message that the user may read
	MinSeq           uint64 // of the oldest one
	Unread           uint64 // countable messages of others after ReadSeq
	MentionSeq       uint64 // the first unread message that mentions the user; 0 if none does
	ReadSeq          uint64 // the user's own cursors
	DeliveredSeq     uint64
	PeerReadSeq      uint64 // the other member's, in a direct conversation
	PeerDeliveredSeq uint64

	// Last is the newest message that is shown, for a preview, as it is now; nil
	// if none is known. It may be a tombstone.
	Last *Message

	Settings   Settings
	Group      *Group     // of a group, as far as it is known; nil of others
	Membership Membership // the user's, in a group
	Contact    *Contact   // what the peer of a direct conversation is to the user; nil if nothing
}

// Time is what a list of conversations is ordered by: when the last message was
// sent or the draft was written, the later of the two.
func (c *Conversation) Time() time.Time {
	t := c.Membership.Joined
	if c.Last != nil {
		t = c.Last.Time
	}
	if c.Settings.Draft != "" {
		t = later(t, c.Settings.DraftTime)
	}
	return t
}

// Conversations returns the user's conversations in the order in which a list
// shows them: the pinned ones first, and within both parts those with the
// newest message or draft first. Not among them are those that are archived or
// hidden, the system conversation, and groups that the user is only invited to.
//
// It asks nobody: the list is as of the last SYNC, of this process or of the one
// that the Store is from, and kept right by what was pushed since.
func (c *Client) Conversations() []Conversation { return c.list(false) }

// Archived returns the archived conversations, in the order of Conversations.
func (c *Client) Archived() []Conversation { return c.list(true) }

func (c *Client) list(archived bool) []Conversation {
	c.mu.Lock()
	var list []Conversation
	for _, b := range c.account.boxes {
		if b.listed() && b.view.membership.GetSettings().GetArchived() == archived {
			list = append(list, b.conversation())
		}
	}
	c.mu.Unlock()
	slices.SortFunc(list, func(x, y Conversation) int {
		pinned := func(c *Conversation) int {
			if c.Settings.Pinned.IsZero() {
				return 1
			}
			return 0
		}
		return cmp.Or(cmp.Compare(pinned(&x), pinned(&y)), y.Time().Compare(x.Time()), cmp.Compare(x.ID, y.ID))
	})
	return list
}

// Conversation returns how one conversation stands, and whether it is known:
// any one, also those that Conversations leaves out. It asks nobody.
func (c *Client) Conversation(id string) (conversation Conversation, known bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	b := c.account.boxes[id]
	if b == nil {
		return Conversation{}, false
	}
	return b.conversation(), true
}

// System is the id of the user's system conversation, in which the server tells
// of contact requests, invitations and the like: its notices come to OnMessage.
// Its unread count is its own and no part of the chats'.
func (c *Client) System() string { return protocol.SystemID(c.User()) }

// listed reports whether the conversation is in the list or archived.
func (b *box) listed() bool {
	if isSystem(b.id) {
		return false
	}
	settings := b.view.membership.GetSettings()
	if hidden := settings.GetHiddenSeq(); hidden > 0 && (b.view.preview == nil || b.view.preview.Seq <= hidden) {
		return false
	}
	if isGroup(b.id) {
		return b.reads() && (b.view.membership != nil || b.view.preview != nil)
	}
	return b.head > 0 || b.view.preview != nil ||
		settings.GetDraft() != "" || settings.GetPinnedMs() != 0 || settings.GetMarkedUnread()
}

func (b *box) conversation() Conversation {
	v := &b.view
	c := Conversation{
		ID:               b.id,
		Peer:             b.peer,
		HeadSeq:          b.head,
		MinSeq:           max(v.first, 1),
		Unread:           b.unread,
		MentionSeq:       v.mention,
		ReadSeq:          b.isRead(),
		DeliveredSeq:     max(b.deliveredKnown, b.deliveredWant, b.isRead()),
		PeerReadSeq:      b.peerRead,
		PeerDeliveredSeq: b.peerDelivered,
		Settings:         settingsFromWire(v.membership.GetSettings()),
		Membership:       membershipFromWire(v.membership),
	}
	if !b.reads() {
		c.HeadSeq, c.Unread = 0, 0
	}
	if !b.reads() || v.membership.GetUntilSeq() > 0 { // nothing calls on who has left
		c.MentionSeq = 0
	}
	if v.preview != nil {
		c.Last = v.preview.clone()
	}
	if v.group != nil {
		c.Group = new(groupFromWire(v.group))
	}
	if contact, is := b.contact(); is {
		c.Contact = &contact
	}
	return c
}

// FetchConversations asks the server for all conversations of the user, the
// newest first, waiting for a connection if there is none. Conversations has
// them without asking; this is for those who doubt it.
func (c *Client) FetchConversations(ctx context.Context) ([]Conversation, error) {
	var all []Conversation
	for cursor := []byte(nil); ; {
		answer, err := c.ask(ctx, protocol.TypeSync, &pb.Sync{Cursor: cursor})
		if err != nil {
			return nil, err
		}
		page := answer.(*pb.Synced)
		if page.Reset_ && cursor != nil {
			// Between two pages the server was restored.
			all, cursor = nil, nil
			continue
		}
		for _, cs := range page.Conversations {
			all = append(all, c.fetched(cs))
		}
		if !page.More {
			return all, nil
		}
		cursor = page.Cursor
	}
}

// fetched is a conversation as the server alone tells of it.
func (c *Client) fetched(cs *pb.ConversationState) Conversation {
	b := &box{
		id: cs.Conversation, head: cs.HeadSeq, unread: cs.Unread,
		readKnown: cs.ReadSeq, deliveredKnown: cs.DeliveredSeq,
		peerRead: cs.PeerReadSeq, peerDelivered: cs.PeerDeliveredSeq,
		view: view{membership: cs.Membership, group: cs.Group, first: cs.MinSeq, mention: cs.MentionSeq},
	}
	b.peer, _ = protocol.Peer(b.id, c.User())
	if cs.Last != nil {
		b.view.preview = new(fromWire(cs.Last))
	}
	return b.conversation()
}
