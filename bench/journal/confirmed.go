package journal

import (
	"maps"
	"slices"
	"strings"
)

// request is what a client asks of a group.
type request struct{ notice, actor, users string }

// wasAsked reports whether somebody asked for what the notice e tells. A request
// may be about more users than there was something to be done for.
func (conv *conversation) wasAsked(e Entry) bool {
	if conv.asked[request{e.Notice, e.Actor, e.Users}] {
		return true
	}
	for asked := range conv.asked {
		if asked.notice == e.Notice && asked.actor == e.Actor && contains(asked.users, e.Users) {
			return true
		}
	}
	return false
}

// contains reports whether all of some are among users.
func contains(users, some string) bool {
	all := strings.Fields(users)
	return !slices.ContainsFunc(strings.Fields(some), func(user string) bool { return !slices.Contains(all, user) })
}

// claim is what a client was told of a reaction of its own that is not stored:
// that the version of the target, which is the event at seq or the target itself,
// was as the client wanted it already.
type claim struct {
	client, user string
	sent         Entry
	seq          uint64
}

// done is what a client was told of a request about a group.
type done struct {
	client, user string
	Entry
}

// confirmed takes what else a client was told: acks of reactions, and that
// something was done to a group.
func (c *checker) confirmed(j *Journal) {
	for _, e := range j.Entries {
		switch e.Op {
		case OpDone:
			conv := c.conversation(e.Conversation)
			conv.done = append(conv.done, done{j.Name(), j.User, e})
		case OpAck:
			conv := c.conversation(e.Conversation)
			n := name{j.User, e.ClientID}
			sent := conv.sent[n]
			if sent.Kind != KindReact && sent.Kind != KindUnreact {
				continue
			}
			_, stored := conv.seqs[n]
			if other := conv.records[e.Seq]; !stored && other != nil && other.name != n {
				conv.claims = append(conv.claims, claim{j.Name(), j.User, sent, e.Seq})
				continue
			}
			e.Sender, e.Kind, e.Target = j.User, sent.Kind, sent.Target
			if c.place(j, e) && !conv.records[e.Seq].acked {
				conv.records[e.Seq].acked = true
				c.report.Acked++
			}
		}
	}
}

// judgeConfirmed checks that what was confirmed is so.
func (c *checker) judgeConfirmed(id string, conv *conversation) {
	for _, d := range conv.done {
		r := conv.records[d.Seq]
		if r == nil || r.kind != KindNotice || r.notice != d.Notice || r.actor != d.user || !contains(d.Users, r.users) {
			c.violation(Undone, id, "%s was told that seq %d says %s %s, but it doesn't", d.client, d.Seq, d.Notice, d.Users)
		}
	}
	for _, m := range conv.claims {
		states := conv.states[m.sent.Target]
		i := slices.IndexFunc(states, func(s state) bool {
			return s.version == m.seq || s.version == 0 && m.sent.Target == m.seq
		})
		if i < 0 || slices.Contains(states[i].reactions, m.sent.Body+" of "+m.user) != (m.sent.Kind == KindReact) {
			c.violation(Undone, id, "%s was told that its %s to seq %d changes nothing since seq %d, but it would", m.client, m.sent.Kind, m.sent.Target, m.seq)
		}
	}
}

// judgeInvitations checks that whoever was invited into a group was told so, once.
// It is for groups that one can't join in another way, so that an invitation ends
// with the user's joining, or with somebody's adding them, or is still open.
func (c *checker) judgeInvitations(id string, conv *conversation) {
	invites := false
	for asked := range conv.asked {
		invites = invites || asked.notice == NoticeInvited
	}
	if !invites {
		return
	}
	joined, added, told := map[string]int{}, map[string]int{}, map[string]int{}
	for _, r := range conv.records {
		for _, user := range strings.Fields(r.users) {
			switch r.notice {
			case NoticeJoined:
				joined[user]++
			case NoticeAdded:
				added[user]++
			}
		}
	}
	for _, other := range c.conversations {
		for _, r := range other.records {
			if r.notice == NoticeInvited && r.about == id {
				told[r.users]++
				c.report.Invitations++
			}
		}
	}
	users := maps.Clone(joined)
	maps.Copy(users, told)
	for _, user := range slices.Sorted(maps.Keys(users)) {
		least := joined[user]
		if n, most := told[user], least+added[user]+1; n < least || n > most {
			c.violation(Undone, id, "%s was told of %d invitations, having joined %d times and been added %d times", user, n, least, added[user])
		}
	}
}
