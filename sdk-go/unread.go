package godwit

import (
	"slices"
	"sort"

	"github.com/godwit-im/godwit/protocol/pb"
)

// maxRecent bounds recent.
const maxRecent = 256

// recent holds the newest messages past the read cursor that count or mention
// the user, so that one that is recalled, or what was read meanwhile, can be
// taken off the count. Where it does not go back far enough, the server is
// asked.
type recent struct {
	after   uint64 // it has all such messages that were seen with a seq past this
	entries []recentMessage
}

type recentMessage struct {
	seq      uint64
	counts   bool
	mentions bool
}

func (r *recent) add(m recentMessage) {
	if len(r.entries) >= maxRecent {
		n := maxRecent / 4
		r.after = r.entries[n-1].seq
		r.entries = slices.Delete(r.entries, 0, n)
	}
	r.entries = append(r.entries, m)
}

// read removes the messages up to seq and returns how many of them counted.
func (r *recent) read(seq uint64) (counted uint64) {
	n := sort.Search(len(r.entries), func(i int) bool { return r.entries[i].seq > seq })
	for _, m := range r.entries[:n] {
		if m.counts {
			counted++
		}
	}
	r.entries = slices.Delete(r.entries, 0, n)
	return counted
}

// past is how many messages past seq count.
func (r *recent) past(seq uint64) (counted uint64) {
	for _, m := range r.entries {
		if m.counts && m.seq > seq {
			counted++
		}
	}
	return counted
}

// remove removes the message at seq.
func (r *recent) remove(seq uint64) (m recentMessage, ok bool) {
	i := slices.IndexFunc(r.entries, func(m recentMessage) bool { return m.seq == seq })
	if i < 0 {
		return m, false
	}
	m = r.entries[i]
	r.entries = slices.Delete(r.entries, i, i+1)
	return m, true
}

// mention is the first past seq that mentions the user, 0 if none does.
func (r *recent) mention(seq uint64) uint64 {
	for _, m := range r.entries {
		if m.mentions && m.seq > seq {
			return m.seq
		}
	}
	return 0
}

// isRead is how far the user has read, the server's word or not.
func (b *box) isRead() uint64 { return max(b.readKnown, b.readWant) }

// count counts a message that was just seen.
func (a *account) count(b *box, m *Message) {
	v := &b.view
	if m.Seq <= b.isRead() {
		return
	}
	entry := recentMessage{seq: m.Seq, counts: m.counts(a.user), mentions: m.Sender != a.user && m.Mentioned(a.user)}
	// A message that the user deleted counts until it is read.
	switch gone := m.State != MessageNormal && m.State != MessageDeleted; {
	case !entry.counts && !entry.mentions:
		return
	case m.Seq <= v.unreadAt:
		// The server has counted it, unless it was gone by then.
		if gone && m.Version <= v.unreadAt {
			return
		}
	case gone:
		return
	default:
		if entry.counts {
			b.unread++
		}
		if entry.mentions && v.mention == 0 {
			v.mention = m.Seq
		}
	}
	v.recent.add(entry)
}

// recalled takes a RECALL's target off the count.
func (a *account) recalled(b *box, event *Message) {
	b.view.recallAt = event.Seq
	delete(b.view.expiring, event.Target)
	a.uncount(b, event.Target, event.Seq <= b.view.unreadAt)
}

// edited looks whether an EDIT by another user mentions this one, or no longer
// does. Where the first mention then is depends on what was read when, so the
// server tells.
func (a *account) edited(b *box, event *Message) {
	v := &b.view
	did, does := false, event.Sender != a.user && event.Mentioned(a.user)
	if does {
		v.calledAt = event.Seq
	}
	for i := range v.recent.entries {
		if m := &v.recent.entries[i]; m.seq == event.Target {
			did, m.mentions = m.mentions, does
		}
	}
	first := v.mention == event.Target
	if first && !does {
		v.mention = v.recent.mention(event.Target) // as far as is known here
	}
	if event.Sender != a.user && event.Seq > v.unreadAt && (did || does || first) {
		a.wantInfo(b)
	}
}

// uncount takes a message that is gone off the count. known says that the server
// did so already.
func (a *account) uncount(b *box, seq uint64, known bool) {
	v := &b.view
	if seq <= b.isRead() {
		return
	}
	entry, here := v.recent.remove(seq)
	switch {
	case known:
	case here:
		if entry.counts && b.unread > 0 {
			b.unread--
		}
	case seq <= v.recent.after:
		a.wantInfo(b) // it may have been a countable one
	}
	if v.mention == seq {
		v.mention = 0
		a.nextMention(b, seq)
	}
}

// readUpTo takes off the count what was read since the cursor was at old.
func (a *account) readUpTo(b *box, old uint64) {
	v, read := &b.view, b.isRead()
	counted := v.recent.read(read)
	switch {
	case read >= max(v.applied, v.unreadAt):
		b.unread = 0
	case v.recent.after <= old && v.applied >= min(read, v.unreadAt): // all that was counted is there
		b.unread -= min(b.unread, counted)
	case !b.owesMark(): // else the answer to MARK tells
		a.wantInfo(b)
	}
	if v.mention != 0 && v.mention <= read {
		v.mention = 0
		a.nextMention(b, read)
	}
}

// nextMention looks for the first mention past a seq.
func (a *account) nextMention(b *box, seq uint64) {
	v := &b.view
	switch {
	case v.calledAt > seq: // which may be a mention itself
		if !b.owesMark() { // else the answer to MARK has the server asked
			a.wantInfo(b)
		}
	case v.recent.after <= seq && v.applied >= v.unreadAt:
		v.mention = v.recent.mention(seq)
	case b.unread > 0:
		a.wantInfo(b)
	}
}

// learnUnread takes the server's count, of a time when the head was at
// cs.HeadSeq. Messages may have been seen since.
func (a *account) learnUnread(b *box, cs *pb.ConversationState) {
	v := &b.view
	a.raiseOwn(b, cs.ReadSeq, cs.DeliveredSeq)
	v.recent.read(b.isRead())
	switch read := b.isRead(); {
	case read > cs.ReadSeq && read < cs.HeadSeq:
		// The count is older than the cursor, or a MARK is owed: its answer tells.
		return
	case read > cs.ReadSeq:
		b.unread, v.mention = v.recent.past(read), v.recent.mention(read)
	default:
		b.unread, v.mention = cs.Unread+v.recent.past(cs.HeadSeq), cs.MentionSeq
		if v.mention == 0 {
			v.mention = v.recent.mention(cs.HeadSeq)
		}
	}
	v.unreadAt = cs.HeadSeq
	if b.reads() && b.until() == 0 && v.applied > cs.HeadSeq && (v.recallAt > cs.HeadSeq || v.recent.after > cs.HeadSeq) {
		a.wantInfo(b)
	}
}

// markedUnread takes the user's cursors and the count that came with them in MARKED
// or RECEIPT. They do not say which messages were counted, so where the count
// is not the one that is known here the server is asked.
func (a *account) markedUnread(b *box, read, delivered, unread uint64) {
	old := b.isRead()
	a.raiseOwn(b, read, delivered)
	if b.isRead() > old {
		a.readUpTo(b, old)
	}
	if read == b.isRead() && (unread != b.unread || b.view.calledAt > read) {
		b.unread = unread
		a.wantInfo(b)
	}
	a.changed(b)
}
