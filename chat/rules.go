package chat

import (
	"errors"
	"fmt"
	"time"

	"github.com/godwit-im/godwit/protocol"
	"github.com/godwit-im/godwit/protocol/pb"
)

// Rules are the limits and policies that Apply holds commands to. A command
// carries them, so a log decides the same way wherever it is applied. They are
// shared and must not be changed.
type Rules struct {
	MaxMembers       int // of a group
	MaxFollowers     int // of a broadcast
	MaxGroups        int // that a user is in
	MaxContacts      int // of a user: contacts, requests and blocked users
	MaxMentions      int // of a message; protocol.MaxMentions at most
	MaxReactions     int // different ones to a message; protocol.MaxReactions at most
	MaxDeleted       int // single messages that a user has deleted in a conversation
	MaxSubscriptions int // of a session, to the presence of users, its contacts counted
	// ReceiptMembers is how many members a group may have for its read cursors
	// to be shown to others; SignalMembers, for signals to all of them.
	ReceiptMembers int
	SignalMembers  int
	// InvitesPerMinute is how many users one may add or invite to groups, or ask
	// to be a contact, in a minute.
	InvitesPerMinute int

	// RecallWindow and EditWindow are how long after a message its sender may
	// recall and edit it; 0 = for ever.
	RecallWindow time.Duration
	EditWindow   time.Duration
	// MaxTTL bounds the time to live that a sender may ask for; 0 = no bound.
	MaxTTL time.Duration

	// ContactsOnly: only contacts may write directly to those who have chosen
	// nothing by their account.
	ContactsOnly bool
	// TellBlocked: a blocked sender learns it, by BLOCKED instead of NOT_ALLOWED.
	TellBlocked bool
	// AskFirst: nobody becomes a member without agreeing; groups can only invite.
	AskFirst bool
}

// NeedsContact reports whether only contacts may write directly to a user who has
// chosen takes, Account.messages.
func (r *Rules) NeedsContact(takes pb.Audience) bool {
	switch takes {
	case pb.Audience_AUDIENCE_CONTACTS:
		return true
	case pb.Audience_AUDIENCE_EVERYBODY:
		return false
	}
	return r.ContactsOnly
}

// DefaultRules returns the defaults.
func DefaultRules() Rules {
	return Rules{
		MaxMembers:       100_000,
		MaxFollowers:     1_000_000,
		MaxGroups:        2000,
		MaxContacts:      5000,
		MaxMentions:      50,
		MaxReactions:     protocol.MaxReactions,
		MaxDeleted:       1000,
		MaxSubscriptions: 1000,
		ReceiptMembers:   100,
		SignalMembers:    100,
		InvitesPerMinute: 200,
		RecallWindow:     2 * time.Minute,
		EditWindow:       15 * time.Minute,
	}
}

// Validate reports what is wrong with r.
func (r *Rules) Validate() error {
	var errs []error
	for _, limit := range []struct {
		name            string
		value, min, max int
	}{
		{"members", r.MaxMembers, 2, 1_000_000},
		{"followers", r.MaxFollowers, 2, 100_000_000},
		{"groups", r.MaxGroups, 1, 100_000},
		{"contacts", r.MaxContacts, 1, 100_000},
		{"mentions", r.MaxMentions, 0, protocol.MaxMentions},
		{"reactions", r.MaxReactions, 0, protocol.MaxReactions},
		{"deleted", r.MaxDeleted, 0, 100_000},
		{"subscriptions", r.MaxSubscriptions, 0, 100_000},
		{"receipt members", r.ReceiptMembers, 0, 10_000},
		{"signal members", r.SignalMembers, 0, 10_000},
		{"invites per minute", r.InvitesPerMinute, 1, 1_000_000},
	} {
		if limit.value < limit.min || limit.value > limit.max {
			errs = append(errs, fmt.Errorf("chat: %s must be %d to %d, got %d", limit.name, limit.min, limit.max, limit.value))
		}
	}
	for _, window := range []struct {
		name  string
		value time.Duration
	}{
		{"recall window", r.RecallWindow},
		{"edit window", r.EditWindow},
		{"time to live", r.MaxTTL},
	} {
		if window.value < 0 {
			errs = append(errs, fmt.Errorf("chat: %s must not be negative, got %s", window.name, window.value))
		}
	}
	return errors.Join(errs...)
}
