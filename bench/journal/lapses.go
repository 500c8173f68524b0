package journal

import (
	"maps"
	"slices"
)

// mayLapse reports whether the message at e.Seq may say nothing any more to user
// for the reason that e gives.
//
// The rule: a message with a time to live says what it was sent with until that is
// over, and nothing afterwards; so does an edit of it. A user may delete messages for
// themselves, single ones and all up to one. What they asked for may be done at any
// time, as an answer may be lost; nothing else may.
func (conv *conversation) mayLapse(user string, e Entry) bool {
	switch e.Lapse {
	case LapseExpired:
		due := conv.due(e.Seq)
		return due != 0 && e.At >= due
	case LapseDeleted:
		_, asked := conv.row(user, RowDeleted).seqs[e.Seq]
		return asked
	case LapseCleared:
		_, asked := conv.row(user, RowCleared).seqs[e.Seq]
		return asked
	}
	return false
}

// mustLapse reports whether a message must be gone for the reader, by when they were
// handed it: they were started when its time was over, or they came when all was over
// and its deletion had been confirmed.
func (conv *conversation) mustLapse(r *reader, seq uint64) bool {
	if due := conv.due(seq); due != 0 && r.began[seq] >= due {
		return true
	}
	return r.quiet && (conv.row(r.user, RowDeleted).seqs[seq] || seq <= conv.row(r.user, RowCleared).confirmed())
}

// due is when the time of the message at seq is over, or, for an edit, that of its
// target; 0 for never.
func (conv *conversation) due(seq uint64) int64 {
	r := conv.records[seq]
	if r != nil && r.kind == KindEdit {
		r = conv.records[r.target]
	}
	if r == nil {
		return 0
	}
	return r.expires
}

// judgeLapses checks that what is gone for a reader may be, and that what must be
// is.
func (c *checker) judgeLapses(id string, conv *conversation, r *reader) {
	for _, e := range r.lapses {
		c.report.Lapsed++
		if !conv.mayLapse(r.user, e) {
			c.violation(Early, id, "for %s seq %d was %s at %d; its time is over at %d", r.name, e.Seq, e.Lapse, e.At, conv.due(e.Seq))
		}
	}
	cleared := conv.row(r.user, RowCleared).confirmed()
	for _, seq := range slices.Sorted(maps.Keys(r.handed)) {
		e := r.handed[seq]
		speaks := !e.Gone && (e.Kind == "" || e.Kind == KindEdit)
		switch {
		case r.quiet && seq <= cleared:
			c.violation(Returned, id, "%s was handed seq %d, having cleared all up to %d", r.name, seq, cleared)
		case speaks && conv.mustLapse(r, seq):
			c.violation(Returned, id, "%s was handed seq %d as it was sent; it was over at %d or deleted", r.name, seq, conv.due(seq))
		}
	}
}
