package crash

import (
	"context"
	"fmt"
	"slices"

	"github.com/godwit-im/godwit/bench/journal"
	"github.com/godwit-im/godwit/protocol"
	"github.com/godwit-im/godwit/protocol/pb"
	godwit "github.com/godwit-im/godwit/sdk-go"
)

// setOf is how the journal says what f, a request of user, asks for; without a Row
// if it is about none.
func setOf(user string, f protocol.Frame) (e journal.Entry, err error) {
	switch f.Type {
	case protocol.TypeMark:
		m := &pb.Mark{}
		err = protocol.Decode(f, m)
		return journal.Entry{Conversation: m.Conversation, Row: journal.RowRead}, err
	case protocol.TypeSettings:
		m := &pb.SetSettings{}
		err = protocol.Decode(f, m)
		value := settings(m.GetPinned(), m.GetMuted(), m.GetArchived(), m.GetDraft())
		return journal.Entry{Conversation: m.Conversation, Row: journal.RowSettings, Value: value}, err
	case protocol.TypeDelete:
		m := &pb.Delete{}
		err = protocol.Decode(f, m)
		if len(m.Seqs) == 1 {
			return journal.Entry{Conversation: m.Conversation, Row: journal.RowDeleted, Seq: m.Seqs[0]}, err
		}
		return journal.Entry{Conversation: m.Conversation, Row: journal.RowCleared, Seq: m.ClearSeq}, err
	case protocol.TypeContact:
		m := &pb.ContactRequest{}
		err = protocol.Decode(f, m)
		return setOfContact(protocol.DirectID(user, m.User), m), err
	case protocol.TypeGroup:
		m := &pb.GroupRequest{}
		err = protocol.Decode(f, m)
		return setOfGroup(user, m), err
	}
	return e, nil
}

func setOfContact(conversation string, m *pb.ContactRequest) journal.Entry {
	e := journal.Entry{Conversation: conversation, Row: journal.RowContact}
	switch m.Action {
	case pb.ContactAction_CONTACT_ACTION_REQUEST:
		e.Value, e.Body = journal.Requested, journal.Sum([]byte(m.Text))
	case pb.ContactAction_CONTACT_ACTION_ACCEPT:
		e.Value = journal.Contact
	case pb.ContactAction_CONTACT_ACTION_REFUSE, pb.ContactAction_CONTACT_ACTION_REMOVE:
		e.Value = journal.NoContact
	case pb.ContactAction_CONTACT_ACTION_REMARK:
		e.Row, e.Value = journal.RowRemark, m.Text
	case pb.ContactAction_CONTACT_ACTION_BLOCK, pb.ContactAction_CONTACT_ACTION_UNBLOCK:
		e.Row, e.Value = journal.RowBlocked, fmt.Sprint(m.Action == pb.ContactAction_CONTACT_ACTION_BLOCK)
	}
	return e
}

// setOfGroup looks at who follows the broadcast; all else is in the groups' logs.
func setOfGroup(user string, m *pb.GroupRequest) journal.Entry {
	e := journal.Entry{Conversation: m.Conversation, Row: journal.RowFollows}
	switch {
	case m.GetCreate().GetClientId() == newsName:
		e.Conversation, e.Value = protocol.GroupID(user, newsName), journal.Following
	case m.Conversation != news().id:
		return journal.Entry{}
	case m.GetJoin() != nil:
		e.Value = journal.Following
	case m.GetLeave() != nil:
		e.Value = journal.Left
	}
	return e
}

// isSet is how it says that f is the answer to asked.
func isSet(asked journal.Entry, f protocol.Frame) ([]journal.Entry, error) {
	e := asked
	e.Op = journal.OpIsSet
	switch f.Type {
	case protocol.TypeMarked:
		m := &pb.Marked{}
		err := protocol.Decode(f, m)
		return cursors(e.Conversation, "", m.ReadSeq, m.DeliveredSeq), err
	case protocol.TypeSet:
		m := &pb.Set{}
		err := protocol.Decode(f, m)
		s := m.Settings
		e.Value = settings(s.GetPinnedMs() != 0, s.GetMuted(), s.GetArchived(), s.GetDraft())
		return []journal.Entry{e}, err
	case protocol.TypeContacted:
		m := &pb.Contacted{}
		err := protocol.Decode(f, m)
		is := rowsOfContact(e.Conversation, m.Contact)
		if e.Row != journal.RowContact {
			// The answer to a remark tells of the contact, too, but as nobody asked.
			return []journal.Entry{e}, err
		}
		is[0].Op = journal.OpIsSet
		return is[:1], err
	}
	return []journal.Entry{e}, nil
}

// cursors is how it says how far somebody's are; user is empty for the client's own.
func cursors(conversation, user string, read, delivered uint64) []journal.Entry {
	return []journal.Entry{
		{Op: journal.OpRow, Conversation: conversation, User: user, Row: journal.RowRead, Seq: read},
		{Op: journal.OpRow, Conversation: conversation, User: user, Row: journal.RowDelivered, Seq: delivered},
	}
}

// settings is how it says how a conversation is to be shown; empty where nothing was
// ever set.
func settings(pinned, muted, archived bool, draft string) string {
	if !pinned && !muted && !archived && draft == "" {
		return ""
	}
	return fmt.Sprintf("pinned %t, muted %t, archived %t, %s", pinned, muted, archived, draft)
}

var contactStates = map[godwit.ContactState]string{
	godwit.ContactNone:      journal.NoContact,
	godwit.ContactRequested: journal.Requested,
	godwit.ContactPending:   journal.Pending,
	godwit.ContactMutual:    journal.Contact,
}

// rowsOfContact is how it says what the other one of a direct conversation is.
func rowsOfContact(conversation string, c *pb.Contact) []journal.Entry {
	return []journal.Entry{
		{Op: journal.OpRow, Conversation: conversation, Row: journal.RowContact, Value: contactStates[c.GetState()], TimeMs: c.GetTimeMs()},
		{Op: journal.OpRow, Conversation: conversation, Row: journal.RowBlocked, Value: fmt.Sprint(c.GetBlocked())},
		{Op: journal.OpRow, Conversation: conversation, Row: journal.RowRemark, Value: c.GetRemark()},
	}
}

// writeRows journals how each of the client's conversations stands, as the server
// says: one that it says nothing of is as if nothing had ever been set.
func (c *client) writeRows(ctx context.Context) error {
	sdk := c.current()
	if sdk == nil {
		return fmt.Errorf("%s is not there in the end", c.name())
	}
	stands, err := sdk.FetchConversations(ctx)
	if err != nil {
		return err
	}
	contacts, err := sdk.FetchContacts(ctx)
	if err != nil {
		return err
	}
	byID := map[string]godwit.Conversation{}
	for _, s := range stands {
		byID[s.ID] = s
	}
	byPeer := map[string]*pb.Contact{}
	for _, p := range contacts {
		byPeer[p.User] = &pb.Contact{State: p.State, Blocked: p.Blocked, Remark: p.Remark, TimeMs: p.Changed.UnixMilli()}
	}
	for _, id := range append(slices.Clone(c.conversations), protocol.SystemID(c.user)) {
		s := byID[id]
		called := s.HeadSeq // the last message that may call on the user: who has left is called on by none
		if s.Membership.UntilSeq > 0 {
			called = 0
		}
		rows := cursors(id, "", s.ReadSeq, s.DeliveredSeq)
		rows = append(rows,
			journal.Entry{
				Op: journal.OpRow, Conversation: id, Row: journal.RowSettings,
				Value: settings(!s.Settings.Pinned.IsZero(), s.Settings.Muted, s.Settings.Archived, s.Settings.Draft),
			},
			journal.Entry{
				Op: journal.OpRow, Conversation: id, Row: journal.RowMention,
				Seq: s.MentionSeq, From: max(s.ReadSeq+1, s.MinSeq), To: called,
			})
		if peer, direct := protocol.Peer(id, c.user); direct {
			rows = append(rows, cursors(id, peer, s.PeerReadSeq, s.PeerDeliveredSeq)...)
			rows = append(rows, rowsOfContact(id, byPeer[peer])...)
		}
		if id == news().id {
			row := journal.Entry{Op: journal.OpRow, Conversation: id, Row: journal.RowFollows, To: s.Membership.UntilSeq}
			switch s.Membership.Standing {
			case godwit.StandingActive:
				row.Value = journal.Following
			case godwit.StandingLeft:
				row.Value = journal.Left
			}
			rows = append(rows, row)
		}
		for _, row := range rows {
			c.write(row)
		}
	}
	return nil
}
