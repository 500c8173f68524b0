package e2e

import (
	"cmp"
	"slices"
	"time"

	"github.com/godwit-im/godwit/protocol/pb"
	godwit "github.com/godwit-im/godwit/sdk-go"
)

// world is the model that the server and all devices are held to: what a reader
// of docs/PROTOCOL.md would say there is after a run of commands. It has no
// notion of connections, seqs given anew or what a device missed: commands come
// one by one, and everybody sees the same. It shares no code with the server; of
// the SDK it uses the types alone.
//
// Times are counted in commands, but for the ends of messages that live for a
// while.
type world struct {
	users         []string
	conversations map[string]*conversation // direct ones and groups
	feeds         map[string]*feed         // by user: the system conversations
	accounts      map[string]godwit.Account
	now           int64
}

type conversation struct {
	id       string
	peers    [2]string // of a direct conversation
	messages []*message
	group    *godwit.Group // nil of a direct conversation
	rows     map[string]*row
}

// message is one of the log in its present state, with the author and nobody's
// private changes in it.
type message struct {
	godwit.Message
	at int64
	// calls are those whom the message calls on at its seq: whom it mentions and, of
	// an edit, those of them who may have read the target without being mentioned.
	calls []string
	all   bool      // and everybody
	edit  uint64    // the seq of the edit that the message has its body from
	quiet bool      // a notice that nobody is shown
	ends  time.Time // when it expires; zero = never
}

// row is what a conversation is to one user.
type row struct {
	godwit.Membership
	read, cleared uint64
	deleted       map[uint64]bool
	settings      godwit.Settings
	pinned        bool
	contact       godwit.Contact

	joinedAt, draftAt int64
	// spans are the seqs that the user was ever allowed to read, joining by joining;
	// an end of 0 is open. What is before the beginning of any of them a device may
	// have passed by.
	spans []span
	// was are the messages as they were when the user left, whom nothing of what
	// changed them since concerns; nil of a member.
	was []message
}

type span struct{ from, to uint64 }

// feed is a user's system conversation. In what order commands of different
// conversations get there is not defined.
type feed struct {
	notices []string
	read    uint64
}

const ok = pb.Code_CODE_UNSPECIFIED

func newWorld(users []string) *world {
	w := &world{
		users: users, conversations: make(map[string]*conversation),
		feeds: make(map[string]*feed), accounts: make(map[string]godwit.Account),
	}
	for i, user := range users {
		w.feeds[user] = &feed{}
		for _, peer := range users[:i] {
			x, y := min(user, peer), max(user, peer)
			c := &conversation{id: "d:" + x + ":" + y, peers: [2]string{x, y}, rows: make(map[string]*row)}
			w.conversations[c.id] = c
		}
	}
	return w
}

func (w *world) direct(user, peer string) *conversation {
	return w.conversations["d:"+min(user, peer)+":"+max(user, peer)]
}

func (w *world) groups() (ids []string) {
	for id, c := range w.conversations {
		if c.group != nil {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids
}

func (w *world) tell(user string, t godwit.NoticeType, actor, conversation, text string) {
	f := w.feeds[user]
	f.notices = append(f.notices, feedLine(t, actor, conversation, text))
}

func (c *conversation) head() uint64 { return uint64(len(c.messages)) }

func (c *conversation) at(seq uint64) *message { return c.messages[seq-1] }

func (c *conversation) has(user string) bool {
	return c.group != nil || user == c.peers[0] || user == c.peers[1]
}

func (c *conversation) peer(user string) string {
	if c.peers[0] == user {
		return c.peers[1]
	}
	return c.peers[0]
}

// row is the user's, made if there is none.
func (c *conversation) row(user string) *row {
	r := c.rows[user]
	if r == nil {
		r = &row{deleted: make(map[uint64]bool)}
		c.rows[user] = r
	}
	return r
}

// mine is the row of a user who may read something of the conversation, nil if
// they may not.
func (c *conversation) mine(user string) *row {
	r := c.rows[user]
	if r == nil || c.group != nil && r.Standing != godwit.StandingActive && r.UntilSeq == 0 {
		return nil
	}
	return r
}

// active is the row of a member of a living group, nil of anybody else.
func (c *conversation) active(user string) *row {
	r := c.rows[user]
	if c.group == nil || c.group.DissolvedSeq > 0 || r == nil || r.Standing != godwit.StandingActive {
		return nil
	}
	return r
}

// reads reports whether the user is shown the conversation as theirs: one who
// left is.
func (c *conversation) reads(r *row) bool {
	return c.group == nil || r.Standing == godwit.StandingActive || r.UntilSeq > 0
}

func (c *conversation) bounds(r *row) (first, last uint64) {
	last = c.head()
	if r.UntilSeq > 0 {
		last = min(last, r.UntilSeq)
	}
	return min(max(1, r.FromSeq, r.cleared+1), last+1), last
}

// shown reports whether a message has a place in what users see.
func (m *message) shown() bool {
	return !m.isEvent() && !m.quiet && (m.Notice == nil || m.Notice.Type != godwit.NoticeNickChanged)
}

func (m *message) isEvent() bool { return m.Target > 0 }

func (m *message) hasContent() bool { return !m.isEvent() && m.Kind != godwit.KindNotice }

func (m *message) callsOn(user string) bool { return m.all || slices.Contains(m.calls, user) }

// newest is the seq of the newest message up to last that is shown, 0 if there
// is none.
func (c *conversation) newest(last uint64) uint64 {
	for seq := last; seq > 0; seq-- {
		if c.at(seq).shown() {
			return seq
		}
	}
	return 0
}

// unread is how many messages the user has yet to read, and the first of them
// that mentions them.
func (c *conversation) unread(user string, r *row) (unread, mention uint64) {
	first, last := c.bounds(r)
	for seq := max(first, r.read+1); seq <= last; seq++ {
		m := c.at(seq) // who wrote it never changes, and what is gone is gone for all
		if m.Sender == user || m.State != godwit.MessageNormal {
			continue
		}
		if m.hasContent() && m.Flags&godwit.Uncounted == 0 {
			unread++
		}
		if mention == 0 && m.callsOn(user) && r.UntilSeq == 0 { // nothing calls on who left
			mention = seq
		}
	}
	return unread, mention
}

// listed reports whether the conversation is in the list of the user's.
func (c *conversation) listed(user string) bool {
	r := c.rows[user]
	if r == nil || !c.reads(r) {
		return false
	}
	first, last := c.bounds(r)
	newest := c.newest(last)
	if newest < first {
		newest = 0
	}
	if r.settings.HiddenSeq > 0 && newest <= r.settings.HiddenSeq {
		return false
	}
	return c.group != nil || last > 0 || r.settings.Draft != "" || r.pinned || r.settings.MarkedUnread
}

// time is by what a list is ordered.
func (c *conversation) time(user string) (t int64) {
	r := c.rows[user]
	first, last := c.bounds(r)
	if newest := c.newest(last); newest >= first && newest > 0 {
		t = c.at(newest).at
	} else if c.group != nil {
		t = r.joinedAt
	}
	if r.settings.Draft != "" {
		t = max(t, r.draftAt)
	}
	return t
}

// past reports whether something that r's user may read was recalled after they
// left: who looks it up finds it gone, and who had it still has it.
func (c *conversation) past(r *row) bool {
	first, last := c.bounds(r)
	for seq := first; r.UntilSeq > 0 && seq <= last; seq++ {
		if c.recalledAfter(r, seq) {
			return true
		}
	}
	return false
}

// recalledAfter reports whether a message was recalled after r's user had left.
func (c *conversation) recalledAfter(r *row, seq uint64) bool {
	m := c.at(seq)
	return r.UntilSeq > 0 && m.State == godwit.MessageRecalled && m.Version > r.UntilSeq
}

// begin is the first seq that every device of r's user must have been handed.
func (r *row) begin() (from uint64) {
	for _, s := range r.spans {
		from = max(from, s.from)
	}
	return from
}

// ever reports whether the user was ever allowed to read seq.
func (c *conversation) ever(user string, seq uint64) bool {
	r := c.rows[user]
	if r == nil || seq > c.head() {
		return false
	}
	return c.group == nil || slices.ContainsFunc(r.spans, func(s span) bool { return seq >= s.from && (s.to == 0 || seq <= s.to) })
}

// seen is a message as the user is to see it. One that is gone for all is that
// to those, too, who have deleted it.
func (c *conversation) seen(r *row, seq uint64) godwit.Message {
	m := c.at(seq).Message
	switch {
	case c.recalledAfter(r, seq): // that it is gone is all that they are told
		m.Version, m.Edited = r.UntilSeq, time.Time{}
	case r.UntilSeq > 0 && m.State == godwit.MessageExpired:
		unversioned(&m)
	case r.was != nil:
		m = r.was[seq-1].Message
	}
	if m.State == godwit.MessageNormal && (r.deleted[seq] || seq <= r.cleared) {
		bury(&m, godwit.MessageDeleted)
	}
	return m
}

// unversioned takes from an expired message of who left which version it was: the
// server doesn't say, and who had it knows.
func unversioned(m *godwit.Message) { m.Version, m.Edited = 0, time.Time{} }

// says is what an edit says to a user: nothing as soon as it is outdated.
func (c *conversation) says(r *row, seq uint64) string {
	target := c.at(c.at(seq).Target)
	if r.was != nil && target.State == godwit.MessageNormal {
		target = &r.was[target.Seq-1]
	}
	if target.State != godwit.MessageNormal || target.edit != seq {
		return ""
	}
	return string(c.at(seq).Body)
}

func bury(m *godwit.Message, state godwit.MessageState) {
	m.State, m.Body, m.ContentType, m.Notice, m.Media = state, nil, "", nil, nil
	m.Mentions, m.MentionAll, m.Reactions = nil, false, nil
}

// add appends a message.
func (w *world) add(c *conversation, m godwit.Message) uint64 {
	m.Conversation, m.Seq = c.id, c.head()+1
	c.messages = append(c.messages, &message{Message: m, at: w.now, calls: m.Mentions, all: m.MentionAll})
	return m.Seq
}

func admin(r *row) bool { return r.Role == godwit.RoleAdmin || r.Role == godwit.RoleOwner }

func (c *conversation) broadcast() bool { return c.group.Kind == godwit.GroupKindBroadcast }

// mayReact is why a member may not react; mayWrite, why they may not write.
func (c *conversation) mayReact(r *row) pb.Code {
	muted := !r.MutedUntil.IsZero() || c.group.Muted && r.Role == godwit.RoleMember
	if muted && r.Role != godwit.RoleOwner {
		return pb.Code_CODE_MUTED
	}
	return ok
}

func (c *conversation) mayWrite(r *row) pb.Code {
	if c.broadcast() && !admin(r) {
		return pb.Code_CODE_NOT_ALLOWED
	}
	return c.mayReact(r)
}

// send is SEND: the seq of the message, or of what made the target of an event
// that changes nothing what it is.
func (w *world) send(user string, c *conversation, d godwit.Draft) (uint64, pb.Code) {
	r := &row{}
	if c.group == nil {
		if own := c.rows[user]; own != nil {
			r = own
		}
		strange := c.stance(user).State != godwit.ContactMutual
		switch peer := c.rows[c.peer(user)]; {
		case d.MentionAll:
			return 0, pb.Code_CODE_BAD_ARGUMENT
		case peer != nil && peer.contact.Blocked, strange && w.accounts[c.peer(user)].Messages == godwit.AudienceContacts:
			return 0, pb.Code_CODE_NOT_ALLOWED
		}
	} else {
		if r = c.active(user); r == nil {
			return 0, pb.Code_CODE_NOT_A_MEMBER
		}
		code := ok
		switch d.Kind {
		case godwit.KindRecall:
		case godwit.KindReaction:
			code = c.mayReact(r)
		default:
			code = c.mayWrite(r)
		}
		if code == ok && d.MentionAll && (c.broadcast() || !admin(r)) {
			code = pb.Code_CODE_NOT_ALLOWED
		}
		if code != ok {
			return 0, code
		}
	}
	if d.Reply > c.head() {
		return 0, pb.Code_CODE_SEQ_OUT_OF_RANGE
	}
	m := godwit.Message{
		Sender: user, Kind: d.Kind, ContentType: d.ContentType, Body: d.Body, Reply: d.Reply,
		Mentions: d.Mentions, MentionAll: d.MentionAll, Flags: d.Flags, Target: d.Target, Remove: d.Remove,
	}
	if d.Target > 0 {
		return w.event(user, c, r, m)
	}
	if c.group == nil && c.head() == 0 {
		c.row(c.peers[0])
		c.row(c.peers[1])
	}
	seq := w.add(c, m)
	if c.group != nil { // who writes has read
		r.read = seq
		r.settings.MarkedUnread = false
	}
	return seq, ok
}

func (w *world) event(user string, c *conversation, r *row, e godwit.Message) (uint64, pb.Code) {
	switch {
	case e.Target > c.head():
		return 0, pb.Code_CODE_SEQ_OUT_OF_RANGE
	case e.Target < max(r.FromSeq, r.cleared+1):
		return 0, pb.Code_CODE_NOT_FOUND
	}
	m := c.at(e.Target)
	if !m.hasContent() || m.State != godwit.MessageNormal {
		return 0, pb.Code_CODE_NOT_FOUND
	}
	switch e.Kind {
	case godwit.KindEdit:
		if m.Sender != user {
			return 0, pb.Code_CODE_NOT_ALLOWED
		}
		m.Version = w.add(c, e)
		edit := c.at(m.Version)
		edit.calls = c.callsAnew(m, e.Mentions)
		edit.all = e.MentionAll && (!m.MentionAll || m.edit > 0 && c.at(m.edit).all)
		c.outdate(m)
		m.Body, m.ContentType, m.Mentions, m.MentionAll, m.calls, m.all = e.Body, e.ContentType, e.Mentions, e.MentionAll, e.Mentions, e.MentionAll
		m.edit, m.Edited = m.Version, m.Edited.Add(1)
	case godwit.KindRecall:
		others := c.group != nil && admin(r) && (m.Sender != c.group.Owner || r.Role == godwit.RoleOwner)
		if m.Sender != user && !others {
			return 0, pb.Code_CODE_NOT_ALLOWED
		}
		m.Version = w.add(c, e)
		c.silence(m, godwit.MessageRecalled)
		m.RecalledBy = user
	case godwit.KindReaction:
		if !m.react(string(e.Body), user, e.Remove) {
			return cmp.Or(m.Version, m.Seq), ok
		}
		m.Version = w.add(c, e)
	}
	return m.Version, ok
}

// callsAnew returns those of users, whom an edit of m mentions, who may not know
// it: m did not mention them, or the edit before did and they have not come to
// that.
func (c *conversation) callsAnew(m *message, users []string) (anew []string) {
	for _, user := range users {
		var read uint64
		if r := c.rows[user]; r != nil {
			read = r.read
		}
		if !slices.Contains(m.Mentions, user) || m.edit > 0 && slices.Contains(c.at(m.edit).calls, user) && read < m.edit {
			anew = append(anew, user)
		}
	}
	return anew
}

// expire is the end of m's time.
func (c *conversation) expire(m *message) { c.silence(m, godwit.MessageExpired) }

func (c *conversation) silence(m *message, state godwit.MessageState) {
	c.outdate(m)
	m.calls, m.all = nil, false
	bury(&m.Message, state)
}

// outdate has the edit that m has its body from call on nobody any more.
func (c *conversation) outdate(m *message) {
	if m.edit > 0 {
		c.at(m.edit).calls, c.at(m.edit).all = nil, false
	}
}

// react reports whether it changes anything.
func (m *message) react(key, user string, remove bool) bool {
	i := slices.IndexFunc(m.Reactions, func(r godwit.Reaction) bool { return r.Key == key })
	has := i >= 0 && slices.Contains(m.Reactions[i].Users, user)
	switch {
	case has != remove:
		return false
	case i < 0:
		m.Reactions = append(m.Reactions, godwit.Reaction{Key: key, Count: 1, Users: []string{user}})
	case remove && m.Reactions[i].Count == 1:
		m.Reactions = slices.Delete(m.Reactions, i, i+1)
	case remove:
		m.Reactions[i].Count--
		m.Reactions[i].Users = slices.DeleteFunc(m.Reactions[i].Users, func(u string) bool { return u == user })
	default:
		m.Reactions[i].Count++
		m.Reactions[i].Users = append(m.Reactions[i].Users, user)
		slices.Sort(m.Reactions[i].Users)
	}
	return true
}

// mark is MARK.
func (w *world) mark(r *row, seq uint64) {
	r.read = max(r.read, seq)
	r.settings.MarkedUnread = false
}

// set is SETTINGS.
func (w *world) set(user string, c *conversation, change godwit.SettingsChange) pb.Code {
	r := c.mine(user)
	if r == nil {
		return pb.Code_CODE_NOT_A_MEMBER
	}
	s := &r.settings
	put := func(to *bool, from *bool) {
		if from != nil {
			*to = *from
		}
	}
	put(&r.pinned, change.Pinned)
	put(&s.Muted, change.Muted)
	put(&s.Archived, change.Archived)
	put(&s.MarkedUnread, change.MarkedUnread)
	if change.Draft != nil && *change.Draft != s.Draft {
		s.Draft, r.draftAt = *change.Draft, w.now
	}
	if change.Hidden != nil {
		s.HiddenSeq = 0
		if *change.Hidden {
			_, last := c.bounds(r)
			s.HiddenSeq = c.newest(last)
		}
	}
	return ok
}

// remove is DELETE of one message, clear of all up to one.
func (w *world) remove(user string, c *conversation, seq uint64) pb.Code {
	r := c.mine(user)
	if r == nil {
		return pb.Code_CODE_NOT_A_MEMBER
	}
	first, last := c.bounds(r)
	switch {
	case seq > last:
		return pb.Code_CODE_SEQ_OUT_OF_RANGE
	case seq >= first && !c.at(seq).isEvent(): // an event is nothing that is shown
		r.deleted[seq] = true
	}
	return ok
}

func (w *world) clear(user string, c *conversation, seq uint64) pb.Code {
	r := c.mine(user)
	if r == nil {
		return pb.Code_CODE_NOT_A_MEMBER
	}
	if _, last := c.bounds(r); seq > last {
		return pb.Code_CODE_SEQ_OUT_OF_RANGE
	}
	if seq > r.cleared {
		r.cleared = seq
		r.read = max(r.read, seq)
	}
	return ok
}
