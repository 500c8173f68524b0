package godwit

import (
	"slices"
	"sort"
	"time"
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
	version  uint64    // the seq of the newest event in this
	expires  time.Time // zero = never
	// gone: its time is over, here or on the server. It stays, for a count of before
	// that may be on its way has it.
	gone bool
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
		if m.counts && !m.gone {
			counted++
		}
	}
	r.entries = slices.Delete(r.entries, 0, n)
	return counted
}

// past is how many messages past seq count.
func (r *recent) past(seq uint64) (counted uint64) {
	for _, m := range r.entries {
		if m.counts && !m.gone && m.seq > seq {
			counted++
		}
	}
	return counted
}

// at returns the message at seq, nil if it isn't there.
func (r *recent) at(seq uint64) *recentMessage {
	i := slices.IndexFunc(r.entries, func(m recentMessage) bool { return m.seq == seq })
	if i < 0 {
		return nil
	}
	return &r.entries[i]
}

// settle takes over what the server has left out of a count of the messages up to
// seq at a time, and returns how many are in the count that are gone since.
func (r *recent) settle(seq uint64, counted time.Time) (gone uint64) {
	for i := range r.entries {
		m := &r.entries[i]
		switch {
		case m.seq > seq || m.expires.IsZero():
		case !m.expires.After(counted):
			m.gone = true
		case m.gone && m.counts:
			gone++
		}
	}
	return gone
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
		if m.mentions && !m.gone && m.seq > seq {
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
	entry := recentMessage{
		seq: m.Seq, counts: m.counts(a.user), mentions: m.Sender != a.user && m.Mentioned(a.user), version: m.Version,
		expires: m.Expires, gone: m.State == MessageExpired,
	}
	counted := m.Seq <= v.unreadAt // by the server, unless it was gone by then
	switch {
	case counted && (!m.Expires.IsZero() && !m.Expires.After(v.countedAt) || m.State == MessageRecalled && m.Version <= v.unreadAt):
		return
	case !counted && (entry.gone || m.State == MessageRecalled):
		return
	case counted && entry.gone:
		if entry.counts {
			b.unread -= min(b.unread, 1)
		}
		a.notMentioned(b, m.Seq)
	case counted:
	default: // A message that the user deleted counts until it is read.
		if entry.counts {
			b.unread++
		}
		if entry.mentions && v.mention == 0 {
			v.mention = m.Seq
		}
	}
	if entry.counts || entry.mentions {
		v.recent.add(entry)
	}
}

// expired takes a message off the count whose time is over.
func (a *account) expired(b *box, seq uint64, expires time.Time) {
	v := &b.view
	a.editGone(b, seq)
	if seq <= b.isRead() {
		return
	}
	switch m := v.recent.at(seq); {
	case m != nil:
		if m.counts && !m.gone {
			b.unread -= min(b.unread, 1)
		}
		m.gone = true
	case seq <= v.unreadAt && !expires.After(v.countedAt): // the server has left it out
	case seq <= v.recent.after:
		v.lost = later(v.lost, expires)
		a.wantInfo(b) // it may have been a countable one
	}
	a.notMentioned(b, seq)
}

// editGone has the server asked where the first mention may be an edit of the
// message at seq, which is gone, read or not: its edits are gone with it.
func (a *account) editGone(b *box, seq uint64) {
	if m := b.view.recent.at(b.view.mention); b.view.mention > seq && (m == nil || !m.mentions) {
		a.wantInfo(b)
	}
}

// notMentioned looks for the next mention where the message at seq, which is
// gone, was the first.
func (a *account) notMentioned(b *box, seq uint64) {
	if b.view.mention == seq {
		b.view.mention = 0
		a.nextMention(b, seq)
	}
}

// recalled takes a RECALL's target off the count.
func (a *account) recalled(b *box, event *Message) {
	b.view.recallAt = event.Seq
	delete(b.view.expiring, event.Target)
	if event.Seq > b.view.unreadAt {
		a.editGone(b, event.Target)
	}
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
		if m := &v.recent.entries[i]; m.seq == event.Target && event.Seq > m.version {
			did, m.mentions, m.version = m.mentions, does, event.Seq
		}
	}
	if event.Seq <= v.unreadAt {
		return // the server's first mention is of after it
	}
	first := v.mention == event.Target
	if first && !does {
		v.mention = v.recent.mention(event.Target) // as far as is known here
	}
	if event.Sender != a.user && (did || does || first) {
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
		if entry.counts && !entry.gone {
			b.unread -= min(b.unread, 1)
		}
	case seq <= v.recent.after:
		a.wantInfo(b) // it may have been a countable one
	}
	a.notMentioned(b, seq)
}

// readUpTo takes off the count what was read since the cursor was at old.
func (a *account) readUpTo(b *box, old uint64) {
	v, read := &b.view, b.isRead()
	counted := v.recent.read(read)
	switch {
	case read >= max(v.applied, v.unreadAt):
		b.unread, v.unsure = 0, false
	case !v.unsure && v.recent.after <= old && v.applied >= min(read, v.unreadAt): // all that was counted is there
		b.unread -= min(b.unread, counted)
	default:
		a.unsure(b)
	}
	if v.mention != 0 && v.mention <= read {
		v.mention = 0
		a.nextMention(b, read)
	}
}

// unsure notes that what is unread is not known here. The answer to MARK tells, or,
// where none is owed, any more, that to INFO.
func (a *account) unsure(b *box) {
	b.view.unsure = true
	if !b.owesMark() {
		a.wantInfo(b)
	}
}

// nextMention looks for the first mention past a seq.
func (a *account) nextMention(b *box, seq uint64) {
	v := &b.view
	switch {
	case v.calledAt > seq: // which may be a mention itself
		a.unsure(b)
	case v.recent.after <= seq && v.applied >= v.unreadAt:
		v.mention = v.recent.mention(seq)
	case b.unread > 0:
		a.wantInfo(b)
	}
}

// A count is what the server says is unread past a cursor, of the messages up to
// a head and without what had expired by a time.
type count struct {
	read, delivered uint64 // the user's cursors
	head            uint64
	at              time.Time // zero = not counted, where hearUnread may be told so
	unread, mention uint64
}

// hearUnread takes what STATE, MARKED or RECEIPT say is unread. Where that is nothing,
// for it takes too long to count, it is what INFO is for.
func (a *account) hearUnread(b *box, c count) {
	if c.at.IsZero() && c.head > 0 {
		a.raiseOwn(b, c.read, c.delivered)
		a.unsure(b)
		return
	}
	a.learnUnread(b, c)
}

// learnUnread takes the server's count. It may be older than what has been seen
// since, and than other counts.
func (a *account) learnUnread(b *box, c count) {
	v := &b.view
	a.raiseOwn(b, c.read, c.delivered)
	v.recent.read(b.isRead())
	gone := v.recent.settle(c.head, c.at)
	switch read := b.isRead(); {
	case read > c.read && read < c.head:
		// The count is older than the cursor, or a MARK is owed: its answer tells.
		if v.unsure {
			a.unsure(b)
		}
		return
	case read > c.read, c.read > c.head:
		b.unread, v.mention = v.recent.past(read), v.recent.mention(read)
	default:
		b.unread, v.mention = c.unread-min(c.unread, gone)+v.recent.past(c.head), c.mention
		if v.mention == 0 {
			v.mention = v.recent.mention(c.head)
		}
	}
	v.unreadAt, v.countedAt, v.unsure = c.head, c.at, false
	if m := v.recent.at(v.mention); m != nil && m.gone {
		a.notMentioned(b, m.seq)
	}
	newer := v.applied > c.head && max(v.recallAt, v.calledAt, v.recent.after) > c.head
	// A cursor past the head: of an older server's MARK, which does not say what it
	// has counted, or of a row that is newer than the head it was read with.
	if b.reads() && b.until() == 0 && newer || c.read > c.head {
		a.wantInfo(b)
	}
	if v.lost.After(c.at) {
		// Not before the server's clock is there, too: this device's may be far ahead.
		v.unsure = true
		if s := a.session; s != nil {
			s.timers.add(time.Now().Add(v.lost.Sub(c.at)), b, infoTimer)
			a.sessionBell.ring()
		}
	}
}
