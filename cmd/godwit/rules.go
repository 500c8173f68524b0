package main

import (
	"io"

	"github.com/godwit-im/godwit/cmd/godwit/internal/knob"
	"github.com/godwit-im/godwit/server"
	"github.com/godwit-im/godwit/session"
)

// ruleFields are what the knob "rules" holds: what people may do, and how much
// of it. The code in brackets is the answer to what goes beyond a limit.
func ruleFields(c *server.Config) []knob.Field {
	r := &c.Chat.Rules
	return []knob.Field{
		{Name: "members", Value: knob.Int(&r.MaxMembers), Doc: "members of a group [TOO_MANY_MEMBERS]"},
		{Name: "followers", Value: knob.Int(&r.MaxFollowers), Doc: "members of a broadcast [TOO_MANY_MEMBERS]"},
		{Name: "groups", Value: knob.Int(&r.MaxGroups), Doc: "groups and broadcasts that a user is in [TOO_MANY_GROUPS]"},
		{Name: "contacts", Value: knob.Int(&r.MaxContacts), Doc: "a user's contacts, requests and blocked users [TOO_MANY_CONTACTS]"},
		{Name: "mentions", Value: knob.Int(&r.MaxMentions), Doc: "users that a message mentions, up to 100 [TOO_MANY_MENTIONS]"},
		{Name: "reactions", Value: knob.Int(&r.MaxReactions), Doc: "different reactions to a message, up to 20 [TOO_MANY_REACTIONS]"},
		{Name: "deleted", Value: knob.Int(&r.MaxDeleted), Doc: "single messages of a conversation that a user has deleted for themselves [TOO_MANY_DELETED]"},
		{Name: "subscriptions", Value: knob.Int(&r.MaxSubscriptions), Doc: "users whose presence a session is told, contacts included [TOO_MANY_SUBSCRIPTIONS]"},
		{Name: "receipt-members", Value: knob.Int(&r.ReceiptMembers), Doc: "members of a group in which others see who has read what [GROUP_TOO_LARGE]"},
		{Name: "signal-members", Value: knob.Int(&r.SignalMembers), Doc: "members of a group that signals can be sent to [GROUP_TOO_LARGE]"},
		{Name: "signals-per-second", Value: knob.Int(&c.Session.SignalRate), Doc: "signals that a session sends for long [RATE_LIMITED]"},
		{Name: "signal-burst", Value: knob.Int(&c.Session.SignalBurst), Doc: "signals that a session sends at once [RATE_LIMITED]"},
		{Name: "offline-after", Value: knob.Duration(&c.Presence.Delay), Doc: "time after which a user who has gone is told to be offline; who is back before was never away"},
		{Name: "invites-per-minute", Value: knob.Int(&r.InvitesPerMinute), Doc: "users that one adds or invites to groups or asks to be a contact, and groups that one makes, joins or asks to join, in a minute [RATE_LIMITED]"},
		{Name: "devices", Value: knob.Int(&c.Session.MaxDevices), Doc: "devices that a user has connected at a time [TOO_MANY_DEVICES]"},
		{Name: "login", Value: knob.Choice(&c.Session.LoginPolicy,
			knob.Option[session.LoginPolicy]{Name: "all", Value: session.LoginAll},
			knob.Option[session.LoginPolicy]{Name: "platform", Value: session.LoginPlatform},
			knob.Option[session.LoginPolicy]{Name: "one", Value: session.LoginOne},
		), Doc: "which devices of a user may be connected together: `all`, one per `platform`, or `one`; the others are ended [REPLACED]"},
		{Name: "recall-window", Value: knob.Duration(&r.RecallWindow), Doc: "time in which senders may recall a message; 0 = any [TOO_LATE]"},
		{Name: "edit-window", Value: knob.Duration(&r.EditWindow), Doc: "time in which senders may edit a message; 0 = any [TOO_LATE]"},
		{Name: "max-ttl", Value: knob.Duration(&r.MaxTTL), Doc: "longest time to live that a sender may ask for; 0 = any [BAD_ARGUMENT]"},
		{Name: "contacts-only", Value: knob.Bool(&r.ContactsOnly), Doc: "only contacts may write to one another, unless the user has chosen otherwise [NOT_ALLOWED]"},
		{Name: "tell-blocked", Value: knob.Bool(&r.TellBlocked), Doc: "whoever writes to a user who has blocked them learns why [BLOCKED] instead of that they may not [NOT_ALLOWED]"},
		{Name: "ask-first", Value: knob.Bool(&r.AskFirst), Doc: "nobody is added to a group without agreeing: it can only invite [NOT_ALLOWED]"},
	}
}

// rulesIntro is what docs/CONFIG.md says before the table of the rules.
const rulesIntro = "\n" + `## Rules

What the key ` + "`" + `rules` + "`" + ` holds: limits and policies, by name, separated by commas. Those that it does not name keep their defaults.

` + "```" + `toml
rules = "members=500, recall-window=24h, contacts-only=true"
` + "```" + `

A refusal of the server has the code in brackets ([PROTOCOL.md](PROTOCOL.md#codes)).` + "\n\n"

// writeMarkdown prints the tables of docs/CONFIG.md: those of all knobs, and that
// of the rules, which share one.
func (s *settings) writeMarkdown(w io.Writer) error {
	if err := s.knobs.Markdown(w); err != nil {
		return err
	}
	say(w, "%s", rulesIntro)
	say(w, "| Rule | Default | What it bounds or decides, and the code of a refusal |\n| --- | --- | --- |\n")
	for _, f := range s.rules.All() {
		say(w, "| `%s` | `%s` | %s |\n", f.Name, f.Default(), f.Doc)
	}
	return nil
}
