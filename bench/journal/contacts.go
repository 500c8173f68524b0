package journal

import (
	"maps"
	"slices"
)

// isOfContacts reports whether a notice tells of two users who are or are not
// contacts.
func (e *Entry) isOfContacts() bool {
	return e.Notice == NoticeRequested || e.Notice == NoticeAccepted || e.Notice == NoticeRefused
}

// mirrored is what the other one of two users is to one of them, where the one is this
// to the other.
func mirrored(state string) string {
	switch state {
	case Requested:
		return Pending
	case Pending:
		return Requested
	}
	return state
}

// outcomes are what a request about a contact may make of them, for who asks.
func outcomes(asked string) []string {
	if asked == Requested {
		return []string{Requested, Contact} // the latter where the other one asks, too
	}
	return []string{asked}
}

// judgeContact checks what the two users of a direct conversation are to each
// other in the end, and what each was told of that in the feed. The rule:
//
//   - It is the same for both. It is what the newest change made it of which either
//     was told, by its time, or what a request may have made of it that was made since
//     and not answered. (Both may ask at a time. The clock is not set back in a run.)
//   - Each request that came true is told to the other one once, and so is that
//     it was accepted, unless one of the two blocks the other; nothing is told more
//     often than it was asked for.
func (c *checker) judgeContact(id string, conv *conversation) {
	var users []string
	for key := range conv.rows {
		if key.Row == RowContact {
			users = append(users, key.user)
		}
	}
	slices.Sort(users)
	for i, user := range users {
		var theirs *row // absent where the other one was never asked anything
		if len(users) == 2 {
			theirs = conv.rows[rowKey{users[1-i], RowContact}]
		}
		c.judgeContactOf(id, user, conv.rows[rowKey{user, RowContact}], theirs)
	}
	c.judgeContactNotices(id, conv, users)
}

func (c *checker) judgeContactOf(id, user string, mine, theirs *row) {
	if theirs == nil {
		theirs = &row{}
	}
	var newest int64
	may := map[string]bool{}
	take := func(r *row, seen func(string) string) {
		for _, e := range r.said {
			if e.TimeMs > newest {
				newest = e.TimeMs
				clear(may)
			}
			if e.TimeMs == newest {
				may[seen(e.Value)] = true
			}
		}
	}
	asSaid := func(state string) string { return state }
	take(mine, asSaid)
	take(theirs, mirrored)
	if newest == 0 {
		may[NoContact] = true
	}
	open := func(r *row, seen func(string) string) {
		for _, asked := range r.may[min(1, len(r.may)):] { // after the one that was confirmed
			for _, state := range outcomes(asked) {
				may[seen(state)] = true
			}
		}
	}
	open(mine, asSaid)
	open(theirs, mirrored)
	for _, e := range mine.last {
		if !may[e.Value] || e.Value != NoContact && e.TimeMs < newest {
			c.violation(Undone, id, "to %s the other one is %s since %d, and may be %q since %d", user, e.Value, e.TimeMs, slices.Sorted(maps.Keys(may)), newest)
		}
		for _, other := range theirs.last {
			if e.Value != mirrored(other.Value) || e.Value != NoContact && e.TimeMs != other.TimeMs {
				c.violation(Forked, id, "to %s the other one is %s since %d, and the other way round it is %s since %d", user, e.Value, e.TimeMs, other.Value, other.TimeMs)
			}
		}
	}
}

// saying is what is told of what a user did.
type saying struct{ notice, actor string }

func (c *checker) judgeContactNotices(id string, conv *conversation, users []string) {
	told := map[saying]int{}
	texts := map[string]int{}
	for _, other := range c.conversations {
		for _, r := range other.records {
			if e := (Entry{Notice: r.notice}); r.about == id && e.isOfContacts() {
				told[saying{r.notice, r.actor}]++
				c.report.Contacts++
				if r.notice == NoticeRequested {
					texts[r.actor+" "+r.body]++
				}
			}
		}
	}
	asked := map[saying]int{}
	for _, user := range users {
		for _, e := range conv.rows[rowKey{user, RowContact}].sets {
			switch e.Value {
			case Requested:
				asked[saying{NoticeRequested, user}]++
				asked[saying{NoticeAccepted, user}]++
				texts[user+" "+e.Body]--
			case Contact:
				asked[saying{NoticeAccepted, user}]++
			case NoContact:
				asked[saying{NoticeRefused, user}]++
			}
		}
	}
	for s, n := range told {
		if n > asked[s] {
			c.violation(Phantom, id, "%d notices say that %s has %s, which was asked %d times", n, s.actor, s.notice, asked[s])
		}
	}
	for text, n := range texts {
		if n > 0 {
			c.violation(Doubled, id, "the request %s is told %d times more often than it was made", text, n)
		}
	}
	c.judgeOwed(id, conv, users, told)
}

// judgeOwed checks that there are as many notices as there were changes at different
// times.
func (c *checker) judgeOwed(id string, conv *conversation, users []string, told map[saying]int) {
	requested, accepted := map[string]map[int64]bool{}, map[int64]bool{}
	for _, user := range users {
		requested[user] = map[int64]bool{}
	}
	blocks := false
	for i, user := range users {
		r := conv.rows[rowKey{user, RowContact}]
		blocks = blocks || len(conv.row(user, RowBlocked).sets) > 0
		for _, e := range slices.Concat(r.said, r.last) {
			switch {
			case e.Value == Requested:
				requested[user][e.TimeMs] = true
			case e.Value == Pending && len(users) == 2:
				requested[users[1-i]][e.TimeMs] = true
			case e.Value == Contact:
				accepted[e.TimeMs] = true
			}
		}
	}
	tells := 0
	for _, user := range users {
		tells += told[saying{NoticeAccepted, user}]
		if n, owed := told[saying{NoticeRequested, user}], len(requested[user]); n < owed {
			c.violation(Undone, id, "%d notices tell of requests by %s, of which there were %d", n, user, owed)
		}
	}
	if tells < len(accepted) && !blocks {
		c.violation(Undone, id, "%d notices tell that the two are contacts, which they became %d times", tells, len(accepted))
	}
}
