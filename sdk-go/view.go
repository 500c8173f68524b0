package godwit

import (
	"maps"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/godwit-im/godwit/protocol/pb"
)

// view is what the local model knows of a conversation besides its sequence.
// It is made of what the server says (learn) and of the messages that come
// after that (see). What its pointers lead to is shared with those who read and
// never changed: a change puts another one in its place.
type view struct {
	membership *pb.Membership
	group      *pb.Group
	first      uint64   // the oldest seq that the user may read
	preview    *Message // the newest message that is shown
	mention    uint64   // the first unread message that mentions the user
	// unreadAt is the head of when the server counted box.unread, countedAt the time,
	// by its clock. Messages past that head are counted here, and those that expire
	// later are taken off.
	unreadAt  uint64
	countedAt time.Time
	recent    recent
	// lost is when the last message was over of which it is not known here whether
	// the server has counted it. An older count is of no use.
	lost time.Time
	// applied is the seq up to which messages are in the view. Those that are
	// handed again after a crash are not seen again.
	applied  uint64
	recallAt uint64 // the seq of the newest RECALL that was seen
	calledAt uint64 // and of the newest EDIT that mentions the user
	unsure   bool   // what is unread is not known here
	// infoWanted is set where the server must be asked, because what is known here
	// may not be right.
	infoWanted bool
	// expiring are the messages with a time to live that is not over, by seq.
	expiring map[uint64]time.Time
	roster   *roster // nil until it is asked for
	// untold are the changes that no event makes and that the handler was not given
	// yet, in their order. They are stored: what the server said of them, it does not
	// say again.
	untold []MessageChange
	// deleted are messages that the user deleted, from box.next on: they come as they
	// were before that, if they are on their way already.
	deleted map[uint64]struct{}

	// What the handler is to be told of, queued as one event.
	queued, newGroup, newContact bool
}

// reads reports whether the user may read anything in the conversation.
func (b *box) reads() bool {
	if !isGroup(b.id) {
		return true
	}
	m := b.view.membership
	// One who was a member keeps that, also while they are invited again.
	return m == nil || m.Standing == StandingActive || m.UntilSeq > 0
}

// until is the last seq that the user may ever read; 0 = there is no last.
func (b *box) until() uint64 {
	if until := b.view.membership.GetUntilSeq(); until != 0 {
		return until
	}
	return b.view.group.GetDissolvedSeq()
}

// skipTo notes that messages before seq are not seen.
func (v *view) skipTo(seq uint64) {
	v.applied = max(v.applied, seq-1)
	v.recent.after = max(v.recent.after, seq-1)
	v.recent.read(seq - 1)
	maps.DeleteFunc(v.deleted, func(deleted uint64, _ struct{}) bool { return deleted < seq })
}

// learn takes what the server says of a conversation in a SYNC or an INFO.
func (a *account) learn(b *box, cs *pb.ConversationState) { a.learnWith(b, cs, a.learnUnread) }

// learnWith takes what the server says of a conversation, and has unread take the
// count.
func (a *account) learnWith(b *box, cs *pb.ConversationState, unread func(*box, count)) {
	v := &b.view
	old := v.membership
	v.membership, v.first = cs.Membership, cs.MinSeq
	if cs.Group != nil {
		a.learnGroup(b, cs.Group)
	}
	switch until := b.until(); {
	case !b.reads():
		b.head = b.next - 1 // there is nothing to pull
		v.preview = nil
	case until != 0:
		b.head = min(max(b.head, cs.HeadSeq), until)
	default:
		b.head = max(b.head, cs.HeadSeq)
	}
	if p := &b.sessionPart; p.catching {
		p.target = min(p.target, b.head)
		a.progressed(b)
	}
	a.begin(b, v.membership.GetFromSeq())
	a.forget(b, cs.Deleted, old.GetClearedSeq(), v.membership.GetClearedSeq())
	if last := cs.Last; last != nil {
		m := fromWire(last)
		a.preview(b, &m)
	}
	if v.preview != nil && v.preview.Seq < v.first {
		v.preview = nil
	}
	a.raisePeer(b, cs.PeerReadSeq, cs.PeerDeliveredSeq)
	unread(b, count{
		read: cs.ReadSeq, delivered: cs.DeliveredSeq, head: cs.HeadSeq, at: timeOf(cs.CountedMs),
		unread: cs.Unread, mention: cs.MentionSeq,
	})
	v.newContact = v.newContact || !sameContact(old, v.membership)
	a.changed(b)
}

// own changes the user's row of a conversation, as the answer to a request of
// this device says, of which no STATE is pushed to it.
func (a *account) own(b *box, change func(row *pb.Membership)) {
	old := b.view.membership
	row := new(pb.Membership)
	if old != nil {
		row = proto.Clone(old).(*pb.Membership)
	}
	change(row)
	b.view.membership = row
	b.view.newContact = b.view.newContact || !sameContact(old, row)
	a.stated(b)
	a.changed(b)
}

// forget notes what the user deleted for themselves: the messages at seqs, and
// everything up to cleared, where that was up to before.
func (a *account) forget(b *box, seqs []uint64, before, cleared uint64) {
	for _, seq := range seqs {
		if seq >= b.next {
			if b.view.deleted == nil {
				b.view.deleted = make(map[uint64]struct{})
			}
			b.view.deleted[seq] = struct{}{}
		}
		a.change(b, MessageChange{Conversation: b.id, Seq: seq, Type: ChangeDeleted})
	}
	if cleared <= before {
		return
	}
	a.change(b, MessageChange{Conversation: b.id, Seq: cleared, Type: ChangeCleared})
	if p := b.view.preview; p != nil && p.Seq <= cleared {
		b.view.preview = nil
	}
	b.view.first = max(b.view.first, cleared+1)
	if cleared >= b.next && b.started && !a.inDoubt(b) {
		a.enqueue(event{what: gapEvent, box: b, from: b.next, to: cleared, known: true})
		a.skipTo(b, cleared+1)
		if isGroup(b.id) {
			a.wantInfo(b) // there may have been notices among them
		}
	}
}

// begin has a group begin where the user's membership does. What is before the
// first message of it is no gap.
func (a *account) begin(b *box, from uint64) {
	if b.next > 1 || from <= b.next || !b.started || !isGroup(b.id) || a.inDoubt(b) {
		return
	}
	a.enqueue(event{what: gapEvent, box: b, from: b.next, to: from - 1, known: true})
	a.skipTo(b, from)
}

// change tells the handler of a change that no event makes, and makes it in
// the preview.
func (a *account) change(b *box, c MessageChange) {
	a.applyToPreview(b, c)
	b.view.untold = append(b.view.untold, c)
	a.touch(b)
	a.enqueue(event{what: changeEvent, box: b, change: &c})
}

// told notes that the handler was given a change.
func (a *account) told(b *box, c *MessageChange) {
	if v := &b.view; len(v.untold) > 0 && v.untold[0].Seq == c.Seq && v.untold[0].Type == c.Type { // else there was a reset
		v.untold = v.untold[1:]
		a.touch(b)
	}
}

func (a *account) applyToPreview(b *box, c MessageChange) {
	if b.view.preview == nil {
		return
	}
	if m := *b.view.preview; m.Apply(c) {
		b.view.preview = &m
	}
}

// see takes a message that is next in its conversation into the view.
func (a *account) see(b *box, m *Message) {
	v := &b.view
	if m.Seq <= v.applied {
		a.watch(b, m) // it may have expired before it was handed
		return
	}
	v.applied = m.Seq
	if m.Sender == a.user && isGroup(b.id) && !m.IsEvent() && m.Seq > b.readKnown {
		// Who writes in a group has read it.
		old := max(b.readKnown, b.readWant)
		b.readKnown, b.deliveredKnown = m.Seq, max(b.deliveredKnown, m.Seq)
		if m.Seq > v.unreadAt {
			a.readUpTo(b, old)
			if b.view.membership.GetSettings().GetMarkedUnread() {
				// Unless they marked it after they wrote this, which arrived late.
				b.unmarkUnread()
				a.wantInfo(b)
			}
		}
	}
	switch {
	case m.IsEvent():
		a.applyToPreview(b, m.Change())
		switch m.Kind {
		case KindRecall:
			a.recalled(b, m)
		case KindEdit:
			a.edited(b, m)
		}
	default:
		a.count(b, m)
		a.preview(b, m)
		a.noticed(b, m)
		a.watch(b, m)
	}
	a.changed(b)
}

// unmarkUnread takes Settings.MarkedUnread away, as the server does when the
// user reads or writes.
func (b *box) unmarkUnread() {
	if !b.view.membership.GetSettings().GetMarkedUnread() {
		return
	}
	row := proto.Clone(b.view.membership).(*pb.Membership)
	row.Settings.MarkedUnread = false
	b.view.membership = row
}

// preview takes a message for the preview if there is none that is newer.
func (a *account) preview(b *box, m *Message) {
	p := b.view.preview
	if !m.IsShown() || m.Seq <= b.view.membership.GetClearedSeq() ||
		p != nil && (m.Seq < p.Seq || m.Seq == p.Seq && m.Version < p.Version) {
		return
	}
	b.view.preview = m.clone()
	a.watch(b, b.view.preview)
}

// changed has the handler told of the conversation, and the store.
func (a *account) changed(b *box) {
	a.touch(b)
	if a.tellViews && !b.view.queued {
		b.view.queued = true
		a.enqueue(event{what: viewEvent, box: b})
	}
}

// learnGroup takes a group's data, unless what is known is newer: both versions
// only rise.
func (a *account) learnGroup(b *box, g *pb.Group) {
	known := b.view.group
	if known != nil && (g.Version < known.Version || g.MembersVersion < known.MembersVersion ||
		g.DissolvedSeq < known.DissolvedSeq) {
		return
	}
	b.view.group = g
	b.view.newGroup = true
}

// noticed takes what a notice says of the group.
func (a *account) noticed(b *box, m *Message) {
	n := m.Notice
	if n == nil || !isGroup(b.id) {
		return
	}
	b.view.roster = b.view.roster.noticed(n)
	wire := new(pb.Notice)
	if proto.Unmarshal(m.Body, wire) != nil {
		return
	}
	if wire.Group != nil {
		a.learnGroup(b, wire.Group)
		return
	}
	if b.view.group == nil || n.MembersVersion <= b.view.group.MembersVersion && n.Type != NoticeGroupDissolved {
		return
	}
	g := proto.Clone(b.view.group).(*pb.Group)
	g.MembersVersion, g.Members = max(n.MembersVersion, g.MembersVersion), wire.Members
	noAdmins := func() {
		g.Admins = slices.DeleteFunc(g.Admins, func(admin string) bool { return slices.Contains(n.Users, admin) })
	}
	switch n.Type {
	case NoticeRoleChanged:
		noAdmins()
		if n.Member != nil && n.Member.Role == RoleAdmin {
			g.Admins = append(g.Admins, n.Users...)
			slices.Sort(g.Admins)
		}
	case NoticeMembersRemoved, NoticeMemberLeft:
		noAdmins()
	case NoticeOwnerChanged:
		noAdmins()
		if len(n.Users) > 0 {
			g.Owner = n.Users[0]
		}
	case NoticeGroupDissolved:
		g.DissolvedSeq = m.Seq
	}
	b.view.group = g
	b.view.newGroup = true
}

func sameContact(x, y *pb.Membership) bool {
	return x.GetContact() == y.GetContact() && x.GetBlocked() == y.GetBlocked() && x.GetRemark() == y.GetRemark()
}
