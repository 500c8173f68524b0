package journal

import (
	"fmt"
	"strings"
)

// Kind is a way of breaking a promise.
type Kind string

// What Check looks for.
const (
	// Lost: a message was acked, and a reader of its conversation never got it.
	Lost Kind = "lost"
	// Incomplete: a reader never got a message that another reader got.
	Incomplete Kind = "incomplete"
	// Doubled: one client message id of one sender stands at two seqs.
	Doubled Kind = "doubled"
	// Gap: a reader's seqs do not start at 1 or skip one.
	Gap Kind = "gap"
	// Repeated: a reader was handed a seq again, or one below the last.
	Repeated Kind = "repeated"
	// Forked: two clients saw different messages, or different acks, at one seq.
	Forked Kind = "forked"
	// Phantom: a reader got a message that nobody sent, or with another body.
	Phantom Kind = "phantom"
	// SenderOrder: two messages of one client stand in the other order than it
	// sent them.
	SenderOrder Kind = "sender order"
	// TimeBackwards: a message's time is below that of the seq before it.
	TimeBackwards Kind = "time backwards"
	// SharedID: two messages have one server-wide message id.
	SharedID Kind = "shared id"
	// Leaked: a client was given a message of a group that its user may not read:
	// from before they were a member, or from after.
	Leaked Kind = "leaked"
	// Stored: a message that was refused is stored.
	Stored Kind = "refused and stored"
	// Altered: a message is in another state than the events in the log make of it,
	// in the end, for one of its readers.
	Altered Kind = "altered"
	// Stale: a reader who came when all was over was handed a message as it had
	// been before an event that is in the log.
	Stale Kind = "stale"
	// Undone: something was confirmed and did not happen: there is no such notice in
	// the group, or a reaction that is said to change nothing would have. Or what was
	// done was not told where it should be: an invitation to who was invited.
	Undone Kind = "undone"
	// Early: a message said nothing any more to somebody before its time was over, or
	// without their having deleted it.
	Early Kind = "gone too early"
	// Returned: a message was handed as it had been when its time was long over, or
	// when its reader had long deleted it.
	Returned Kind = "returned"
	// Retreated: a cursor is, in the end, behind where somebody was told that it is.
	Retreated Kind = "cursor retreated"
	// Unmentioned: the first unread mention of a user is, in the end, not where the
	// log has it.
	Unmentioned Kind = "unmentioned"
)

// Violation is one broken promise.
type Violation struct {
	Kind         Kind
	Conversation string
	Detail       string
}

func (v Violation) String() string {
	return fmt.Sprintf("%s in %s: %s", v.Kind, v.Conversation, v.Detail)
}

// Report is the checker's verdict.
type Report struct {
	Clients, Conversations int
	// Sent counts messages, Acked those of them that were acked to their
	// sender, Stored those that have a seq.
	Sent, Acked, Stored int
	// Events counts those of the stored messages that change another one, Notices
	// those that tell of a group.
	Events, Notices int
	// Invitations counts those that were told, Contacts what else was between users.
	Invitations, Contacts int
	// Set counts confirmed changes of what a conversation is to a user, Lapsed the
	// times that a reader was told that a message says nothing any more to them,
	// and Mentioned the readers who end with an unread mention.
	Set, Lapsed, Mentioned int
	// Received counts deliveries: every message once per reader.
	Received   int
	Violations []Violation
}

// Err is nil for a clean report, and otherwise names the first few violations.
func (r *Report) Err() error {
	if len(r.Violations) == 0 {
		return nil
	}
	const shown = 10
	var b strings.Builder
	for _, v := range r.Violations[:min(shown, len(r.Violations))] {
		fmt.Fprintf(&b, "\n  %s", v)
	}
	return fmt.Errorf("%d violations:%s", len(r.Violations), &b)
}

func (r *Report) String() string {
	return fmt.Sprintf("%d clients, %d conversations, %d sent, %d acked, %d stored (%d events, %d notices, %d of them invitations and %d of contacts), %d received, %d set, %d lapsed, %d mentioned, %d violations",
		r.Clients, r.Conversations, r.Sent, r.Acked, r.Stored, r.Events, r.Notices, r.Invitations, r.Contacts, r.Received, r.Set, r.Lapsed, r.Mentioned, len(r.Violations))
}
