package journal

import (
	"maps"
	"slices"
	"strings"
)

// Row names a part of what a conversation is to a user: what they set, and what
// the server keeps for them.
type Row string

// The rows. Which rule each is held to is said in judgeRows.
const (
	RowSettings Row = "settings" // how it is shown; Value is all of it
	RowBlocked  Row = "blocked"  // the other one of a direct conversation is
	RowRemark   Row = "remark"   // what the user calls them
	RowFollows  Row = "follows"  // a broadcast: Following or Left, the latter up to the seq To

	RowContact Row = "contact" // what the other one is to the user, since TimeMs

	RowDeleted Row = "deleted" // the message at Seq is, for the user
	RowCleared Row = "cleared" // and all up to Seq

	RowRead      Row = "read"      // up to Seq, by the user or, if there is one, User
	RowDelivered Row = "delivered" // likewise

	// RowMention: the first unread message that mentions the user is at Seq, 0 for
	// none, of those from From to To.
	RowMention Row = "mention"
)

// What RowFollows may be.
const (
	Following = "following"
	Left      = "left"
)

// What RowContact may be, and what is asked for of it, besides Contact to accept,
// and Requested to ask or to accept.
const (
	NoContact = "none" // to refuse, or to remove
	Requested = "requested"
	Pending   = "pending"
	Contact   = "contact"
)

type rowKey struct {
	user string
	Row
}

// row is what is known of a row of a user.
type row struct {
	// may are the values that it may have: the one confirmed last, and those asked for
	// since. One client asks at a time.
	may []string
	// seqs are those asked for, true where that was confirmed.
	seqs map[uint64]bool
	told uint64 // the furthest that anybody was told it is
	// sets are all that was asked for, said all answers.
	sets, said []Entry
	last       []Entry // how it is in the end, as each who came last was told
}

// initial are the values of what was never set.
var initial = map[Row]string{RowBlocked: "false", RowContact: NoContact}

func (conv *conversation) row(user string, part Row) *row {
	key := rowKey{user, part}
	r := conv.rows[key]
	if r == nil {
		r = &row{may: []string{initial[part]}, seqs: map[uint64]bool{}}
		conv.rows[key] = r
	}
	return r
}

// asked is the last seq asked for, confirmed the last one that was confirmed.
func (r *row) asked() (last uint64) {
	for seq := range r.seqs {
		last = max(last, seq)
	}
	return last
}

func (r *row) confirmed() (last uint64) {
	for seq, confirmed := range r.seqs {
		if confirmed {
			last = max(last, seq)
		}
	}
	return last
}

// learnRows takes what a client asked for and was told of rows.
func (c *checker) learnRows(j *Journal) {
	quiet := false
	for _, e := range j.Entries {
		quiet = quiet || e.Op == OpQuiet
		if e.Op != OpSet && e.Op != OpIsSet && e.Op != OpRow {
			continue
		}
		user := j.User
		if e.User != "" {
			user = e.User
		}
		r := c.conversation(e.Conversation).row(user, e.Row)
		switch e.Op {
		case OpSet:
			r.sets = append(r.sets, e)
			r.may = append(r.may, e.Value)
			if !r.seqs[e.Seq] {
				r.seqs[e.Seq] = false
			}
		case OpIsSet:
			c.report.Set++
			r.may = []string{e.Value}
			r.seqs[e.Seq] = true
			r.said = append(r.said, e)
		case OpRow:
			if quiet {
				r.last = append(r.last, e)
			} else {
				r.told = max(r.told, e.Seq)
			}
		}
	}
}

// judgeRows checks how the rows of a conversation are in the end. The rules:
//   - What one client sets is what was confirmed last, or something that was asked
//     for since.
//   - A cursor is not behind where anybody was told that it is.
//   - The first unread mention is the one that the log has.
//   - Two users are the same to each other: see judgeContact.
//   - What was deleted or cleared is gone: see mustLapse.
func (c *checker) judgeRows(id string, conv *conversation) {
	keys := slices.SortedFunc(maps.Keys(conv.rows), func(a, b rowKey) int {
		return strings.Compare(string(a.Row)+" "+a.user, string(b.Row)+" "+b.user)
	})
	for _, key := range keys {
		r := conv.rows[key]
		for _, e := range r.last {
			switch key.Row {
			case RowSettings, RowBlocked, RowRemark, RowFollows:
				if !slices.Contains(r.may, e.Value) {
					c.violation(Undone, id, "%s of %s is %q, and may be %q", key.Row, key.user, e.Value, r.may)
				}
			case RowRead, RowDelivered:
				if e.Seq < r.told {
					c.violation(Retreated, id, "%s has %s up to %d, and up to %d before", key.user, key.Row, e.Seq, r.told)
				}
			case RowMention:
				c.judgeMention(id, conv, key.user, e)
			}
		}
		if len(r.last) == 0 && (len(r.said) > 0 || r.told > 0) && key.Row != RowDeleted && key.Row != RowCleared {
			c.violation(Undone, id, "nobody was told of %s of %s in the end", key.Row, key.user)
		}
	}
	c.judgeContact(id, conv)
}

// judgeMention checks where the first unread mention of a user is said to be. It
// is that of the first message of another one that mentions them as it is in the
// end. What has a time to live may be forgotten when that is over, and what the
// user has deleted at any time; an edit may mention whom its target did not.
func (c *checker) judgeMention(id string, conv *conversation, user string, e Entry) {
	var may []uint64
	sure := false
	for _, seq := range slices.Sorted(maps.Keys(conv.records)) {
		r := conv.records[seq]
		if seq < e.From || seq > e.To || r.sender == user {
			continue
		}
		if r.kind == KindEdit && mentions(conv.sent[r.name].Mentions, user) {
			may = append(may, seq)
		}
		states := conv.states[seq]
		if len(states) == 0 || !mentions(states[len(states)-1].mentions, user) {
			continue
		}
		may = append(may, seq)
		if _, deleted := conv.row(user, RowDeleted).seqs[seq]; r.expires == 0 && !deleted {
			sure = true // here at the latest
			break
		}
	}
	if e.Seq > 0 {
		c.report.Mentioned++
	}
	if e.Seq == 0 && sure || e.Seq > 0 && !slices.Contains(may, e.Seq) {
		c.violation(Unmentioned, id, "the first mention of %s from %d to %d is said to be at %d, and may be at %v", user, e.From, e.To, e.Seq, may)
	}
}

func mentions(users, user string) bool { return contains(users, user) || contains(users, Everybody) }

// followed is spans for a broadcast: a follower reads all of it, one who left what
// there was until then, and who followed it when is only known from what they are
// told in the end.
func (conv *conversation) followed() map[string][]span {
	spans := map[string][]span{}
	for key, r := range conv.rows {
		if key.Row != RowFollows {
			continue
		}
		for _, e := range r.last {
			switch e.Value {
			case Following:
				spans[key.user] = []span{{from: 1}}
			case Left:
				spans[key.user] = []span{{from: 1, until: e.To}}
			}
		}
	}
	return spans
}
