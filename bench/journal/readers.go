package journal

import (
	"math"
	"slices"
	"strings"
)

// reader is one client in one conversation.
type reader struct {
	name, user string
	last       uint64 // the seq that was handed last
	handed     map[uint64]Entry
	quiet      bool // it came when all was over
	jumps      []jump
	wire       []uint64
	messages   map[uint64]*state
	began      map[uint64]int64 // when the life began in which a message was handed
	// lapses are what they were told to have no content any more, and lapsed the seqs
	// of what is not compared any more for that reason.
	lapses []Entry
	lapsed map[uint64]bool
}

// jump is where a reader was not handed what follows after. told: the client
// said so to the application.
type jump struct {
	after, next uint64
	told        bool
}

func (conv *conversation) reader(j *Journal) *reader {
	r := conv.readers[j.Name()]
	if r == nil {
		r = &reader{name: j.Name(), user: j.User, handed: map[uint64]Entry{}, messages: map[uint64]*state{}, began: map[uint64]int64{}, lapsed: map[uint64]bool{}}
		conv.readers[j.Name()] = r
	}
	return r
}

func (r *reader) jump(next uint64, told bool) {
	r.jumps = append(r.jumps, jump{r.last, next, told})
}

// take applies what the reader is handed, in a life that began at a time.
func (r *reader) take(e Entry, quiet bool, began int64) {
	r.handed[e.Seq], r.began[e.Seq] = e, began
	r.quiet = quiet
	switch {
	case e.Kind == "":
		r.messages[e.Seq] = &state{version: e.Version, gone: e.Gone, body: e.Body, mentions: e.Mentions, reactions: pairs(e.Reactions)}
	case e.Kind.isEvent() && r.messages[e.Target] != nil:
		r.messages[e.Target].apply(e)
	}
	if e.Lapse != "" {
		r.lapse(e)
	}
}

// lapse notes that a message says nothing any more to the reader. What an edit
// said that did lapse is not known, so neither is what its target is.
func (r *reader) lapse(e Entry) {
	r.lapses = append(r.lapses, e)
	r.lapsed[e.Seq] = true
	if e.Kind == KindEdit {
		r.lapsed[e.Target] = true
	}
}

// span is what a user may read: from a seq on, and up to one; 0 is no end.
type span struct{ from, until uint64 }

func (s span) holds(seq uint64) bool { return seq >= s.from && (s.until == 0 || seq <= s.until) }

// spans returns what each user may have read of a group at one time or another,
// in the order of the times, as its notices tell. It returns nil for what is no
// group, which its readers may read from end to end.
//
// The rule: a member reads from the notice that says so, or from the beginning
// where the group's history says all; who leaves or is removed keeps what there
// was up to the notice that says so, and gets nothing after; who comes back reads
// as a new member does.
func (conv *conversation) spans(seqs []uint64) map[string][]span {
	switch conv.history {
	case "":
		return nil
	case HistoryFollow:
		return conv.followed()
	}
	spans := map[string][]span{}
	for _, seq := range seqs {
		r := conv.records[seq]
		for _, user := range strings.Fields(r.users) {
			switch r.notice {
			case NoticeCreated, NoticeAdded, NoticeJoined:
				from := seq
				if conv.history == HistoryAll {
					from = 1
				}
				spans[user] = append(spans[user], span{from: from})
			case NoticeLeft, NoticeRemoved:
				if n := len(spans[user]); n > 0 {
					spans[user][n-1].until = seq
				}
			}
		}
	}
	return spans
}

// judgeReader checks that a reader was handed what there is for them, nothing
// else, and that in the end they see it as it is.
func (c *checker) judgeReader(id string, conv *conversation, seqs []uint64, r *reader, groups map[string][]span) {
	mine := []span{{from: 1}}
	if groups != nil {
		mine = groups[r.user]
	}
	readable := func(seq uint64) bool {
		return slices.ContainsFunc(mine, func(s span) bool { return s.holds(seq) })
	}
	cleared := conv.row(r.user, RowCleared)
	for _, j := range r.jumps {
		begins := slices.ContainsFunc(mine, func(s span) bool { return s.from == j.next && s.from > 1 })
		_, clears := cleared.seqs[j.next-1]
		if !clears && (!begins || !j.told && j.after > 0) {
			c.violation(Gap, id, "%s was handed seq %d after %d", r.name, j.next, j.after)
		}
	}
	for _, seq := range r.wire {
		if !readable(seq) {
			c.violation(Leaked, id, "%s, who may read %v, was sent seq %d", r.name, mine, seq)
		}
	}
	c.judgeLapses(id, conv, r)
	last := span{from: math.MaxUint64} // of who never was a member
	if len(mine) > 0 {
		last = mine[len(mine)-1]
	}
	for _, seq := range seqs {
		record := conv.records[seq]
		handed, has := r.handed[seq]
		switch {
		case !has && seq <= cleared.asked():
		case !has && last.holds(seq):
			c.violation(record.missing(), id, "%s never got seq %d, %s of %s", r.name, seq, record.clientID, record.sender)
		case !has:
		case !readable(seq):
			c.violation(Leaked, id, "%s, who may read %v, was handed seq %d", r.name, mine, seq)
		case last.holds(seq) && record.kind == "" && handed.Kind == "": // else it is forked
			c.judgeState(id, conv, r, handed, last)
		}
	}
}

// judgeState checks what a message is in the end to a reader who has been handed
// it and may still read it. Who is no member any more is not told of what became of
// it after their end, but for a recall, and may not have heard of what became of it
// before.
func (c *checker) judgeState(id string, conv *conversation, r *reader, handed Entry, may span) {
	if r.lapsed[handed.Seq] || handed.Seq <= conv.row(r.user, RowCleared).asked() {
		return // and events that were cleared with it were not handed
	}
	states, got := conv.states[handed.Seq], r.messages[handed.Seq]
	var want *state // that which the reader should see
	for i := range states {
		if may.until == 0 || states[i].version == got.version && got.version <= may.until {
			want = &states[i]
		}
		if s := states[i].version; r.quiet && s > handed.Version && may.holds(s) {
			c.violation(Stale, id, "%s was handed seq %d at version %d when it had long been at %d", r.name, handed.Seq, handed.Version, s)
			return
		}
	}
	if last := len(states) - 1; want == nil && last >= 0 && states[last].gone && states[last].version > may.until {
		want = &state{version: may.until, gone: true} // recalled after their end: a tombstone, and nothing more
	}
	switch {
	case may.until != 0 && got.blind: // the edit that outdates the one they saw came too late for them
	case want == nil:
		c.violation(Altered, id, "for %s seq %d is at version %d, of which nobody knows", r.name, handed.Seq, got.version)
	case got.blind || !got.equals(want):
		c.violation(Altered, id, "for %s seq %d is %v, but its events make it %v", r.name, handed.Seq, got, want)
	}
}
