package e2e

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	godwit "github.com/godwit-im/godwit/sdk-go"
)

// What is compared is text, one line for each thing, so that a difference can be
// read. What is left out of it: ids, times (the order of a list has them), and
// delivered cursors, which move by themselves.

func feedLine(t godwit.NoticeType, actor, conversation, text string) string {
	return fmt.Sprintf("%s by %s in %q: %q", strings.TrimPrefix(t.String(), "NOTICE_TYPE_"), actor, conversation, text)
}

func messageLine(m godwit.Message) string {
	var b strings.Builder
	fmt.Fprintf(&b, "#%d %s", m.Seq, strings.TrimPrefix(m.Kind.String(), "KIND_"))
	if m.Sender != "" {
		fmt.Fprintf(&b, " by %s", m.Sender)
	}
	switch n := m.Notice; {
	case n != nil:
		fmt.Fprintf(&b, " %s by %s to %v (%d members, version %d)",
			strings.TrimPrefix(n.Type.String(), "NOTICE_TYPE_"), n.Actor, n.Users, n.Members, n.MembersVersion)
		if n.Member != nil {
			fmt.Fprintf(&b, " role %d nick %q muted %t", n.Member.Role, n.Member.Nick, !n.Member.MutedUntil.IsZero())
		}
	case m.State != godwit.MessageNormal:
		fmt.Fprintf(&b, " %s", strings.TrimPrefix(m.State.String(), "MESSAGE_STATE_"))
	default:
		fmt.Fprintf(&b, " %q", m.Body)
	}
	if m.ContentType != "" {
		fmt.Fprintf(&b, " (%s)", m.ContentType)
	}
	if m.Reply != 0 {
		fmt.Fprintf(&b, " to #%d", m.Reply)
	}
	if len(m.Mentions) > 0 || m.MentionAll {
		fmt.Fprintf(&b, " @%v all %t", m.Mentions, m.MentionAll)
	}
	if m.Flags != 0 {
		fmt.Fprintf(&b, " flags %d", m.Flags)
	}
	if m.Version != 0 {
		fmt.Fprintf(&b, " version %d", m.Version)
	}
	if !m.Edited.IsZero() {
		b.WriteString(" edited")
	}
	if m.RecalledBy != "" {
		fmt.Fprintf(&b, " recalled by %s", m.RecalledBy)
	}
	for _, r := range m.Reactions {
		fmt.Fprintf(&b, " %s×%d %v", r.Key, r.Count, r.Users)
	}
	return b.String()
}

func groupLine(g *godwit.Group) string {
	if g == nil {
		return "none"
	}
	members := fmt.Sprint(g.Members)
	if g.Kind == godwit.GroupKindBroadcast {
		members = "some" // who is there is not told of those who come and go
	}
	var attributes []string
	for _, key := range slices.Sorted(maps.Keys(g.Attributes)) {
		attributes = append(attributes, fmt.Sprintf("%s=%s", key, g.Attributes[key]))
	}
	return fmt.Sprintf("kind %d owner %s admins %v name %q attributes %v join %d history %d invite %t muted %t members %s versions %d %d dissolved %d",
		g.Kind, g.Owner, slices.Sorted(slices.Values(g.Admins)), g.Name, attributes, g.Join, g.History, g.MembersInvite, g.Muted,
		members, g.Version, g.MembersVersion, g.DissolvedSeq)
}

func settingsLine(s godwit.Settings) string {
	return fmt.Sprintf("pinned %t muted %t archived %t draft %q marked %t hidden %d",
		!s.Pinned.IsZero(), s.Muted, s.Archived, s.Draft, s.MarkedUnread, s.HiddenSeq)
}

func membershipLine(m godwit.Membership) string {
	return fmt.Sprintf("role %d standing %d from %d until %d muted %t nick %q invited by %q",
		m.Role, m.Standing, m.FromSeq, m.UntilSeq, !m.MutedUntil.IsZero(), m.Nick, m.InvitedBy)
}

func contactLine(c *godwit.Contact) string {
	if c == nil {
		return "none"
	}
	return fmt.Sprintf("state %d blocked %t remark %q", c.State, c.Blocked, c.Remark)
}

// lines is a conversation as it is to be seen; what can't be told is left out.
type lines struct {
	group  bool // it is one
	partly bool // the user was put out, and something that they saw was recalled since
	reads  bool // they are shown it as theirs
	member bool // of a group, and it is kept up to date
}

func (l lines) of(c godwit.Conversation) string {
	if !l.reads {
		return "not theirs; " + fmt.Sprintf("standing %d invited by %q", c.Membership.Standing, c.Membership.InvitedBy)
	}
	all := []string{
		fmt.Sprintf("seqs %d to %d, read %d", c.MinSeq, c.HeadSeq, c.ReadSeq),
		"settings: " + settingsLine(c.Settings),
	}
	if !l.partly {
		last := "none"
		if c.Last != nil {
			last = messageLine(*c.Last)
		}
		all = append(all, fmt.Sprintf("unread %d, mention %d", c.Unread, c.MentionSeq), "last: "+last)
	}
	if l.group {
		all = append(all, "membership: "+membershipLine(c.Membership))
		if l.member {
			all = append(all, "group: "+groupLine(c.Group))
		}
	} else {
		all = append(all, fmt.Sprintf("peer read %d", c.PeerReadSeq), "contact: "+contactLine(c.Contact))
	}
	return strings.Join(all, "\n    ")
}

// expected is a conversation as the model has it.
func (c *conversation) expected(user string) (godwit.Conversation, lines) {
	r := c.rows[user]
	first, last := c.bounds(r)
	e := godwit.Conversation{ID: c.id, HeadSeq: last, MinSeq: first, ReadSeq: r.read, Settings: r.settings, Group: c.group, Membership: r.Membership}
	if r.pinned {
		e.Settings.Pinned = e.Settings.Pinned.Add(1)
	}
	e.Unread, e.MentionSeq = c.unread(user, r)
	if newest := c.newest(last); newest >= first && newest > 0 {
		m := c.seen(r, newest)
		e.Last = &m
	}
	if c.group == nil {
		if peer := c.rows[c.peer(user)]; peer != nil {
			e.PeerReadSeq = peer.read
		}
		if r.contact.State != 0 || r.contact.Blocked || r.contact.Remark != "" {
			e.Contact = &r.contact
		}
	}
	return e, lines{group: c.group != nil, partly: c.past(r), reads: c.reads(r), member: r.Standing == godwit.StandingActive}
}

// differs compares all that a device knows with the model, and returns the
// first difference, empty if there is none. live: the device was there all the
// time, so it can't know of messages that were not pushed.
func (w *world) differs(d *device, live bool) string {
	for _, c := range w.conversations {
		if !c.has(d.user) || live && c.unpushed() {
			continue
		}
		if diff := w.differsIn(d, c); diff != "" {
			return fmt.Sprintf("%s, %s: %s", d, c.id, diff)
		}
	}
	for _, diff := range []string{w.differsInFeed(d), w.differsInList(d, live), w.differsInContacts(d)} {
		if diff != "" {
			return fmt.Sprintf("%s: %s", d, diff)
		}
	}
	if got, want := d.client.Account(), w.accounts[d.user]; got != want {
		return fmt.Sprintf("%s: account %v, want %v", d, got, want)
	}
	return ""
}

// unpushed reports whether nothing was pushed after a message that wasn't.
func (c *conversation) unpushed() bool {
	return c.head() > 0 && c.at(c.head()).Flags&godwit.Unpushed != 0
}

func (w *world) differsIn(d *device, c *conversation) string {
	r := c.rows[d.user]
	got, _ := d.client.Conversation(c.id)
	if r == nil {
		if got.HeadSeq > 0 || got.Last != nil || got.Unread > 0 || len(d.view(c.id)) > 0 {
			return fmt.Sprintf("knows of a conversation that is not the user's: %+v", got)
		}
		return ""
	}
	if got.Last != nil && r.UntilSeq > 0 && got.Last.State == godwit.MessageExpired {
		unversioned(got.Last)
	}
	want, l := c.expected(d.user)
	if got, want := l.of(got), l.of(want); got != want {
		return fmt.Sprintf("\n got %s\nwant %s", got, want)
	}
	return w.differsInMessages(d, c, r)
}

func (w *world) differsInMessages(d *device, c *conversation, r *row) string {
	view := d.view(c.id)
	for seq := range view {
		if !c.ever(d.user, seq) {
			return fmt.Sprintf("was handed a message that is not for the user: %s", messageLine(view[seq]))
		}
	}
	first, last := c.bounds(r)
	for seq := uint64(1); seq <= last; seq++ {
		got, has := view[seq]
		switch {
		case c.at(seq).isEvent():
			if has {
				return fmt.Sprintf("event %d was handed as a message", seq)
			}
			continue
		case !has && seq >= max(first, r.begin()) && c.reads(r):
			return fmt.Sprintf("message %d was not handed: want %s", seq, messageLine(c.seen(r, seq)))
		case !has:
			continue
		case seq <= r.cleared:
			if got.State == godwit.MessageNormal || len(got.Body) > 0 {
				return fmt.Sprintf("message %d was cleared: got %s", seq, messageLine(got))
			}
			continue
		case seq < first || c.recalledAfter(r, seq):
			continue
		case r.UntilSeq > 0 && got.State == godwit.MessageExpired:
			unversioned(&got)
		}
		if got, want := messageLine(got), messageLine(c.seen(r, seq)); got != want {
			return fmt.Sprintf("\n got %s\nwant %s", got, want)
		}
	}
	return ""
}

// differsInHistory compares all messages that the server hands out to r's user.
func (c *conversation) differsInHistory(r *row, got []godwit.Message) string {
	first, last := c.bounds(r)
	if uint64(len(got)) != last+1-first {
		return fmt.Sprintf("%d messages, want those from %d to %d", len(got), first, last)
	}
	for i := range got {
		seq := first + uint64(i)
		want := c.seen(r, seq)
		if want.Kind == godwit.KindEdit {
			if body := c.says(r, seq); string(got[i].Body) != body {
				return fmt.Sprintf("edit %d says %q, want %q", seq, got[i].Body, body)
			}
			continue
		}
		if got, want := messageLine(got[i]), messageLine(want); got != want {
			return fmt.Sprintf("\n got %s\nwant %s", got, want)
		}
	}
	return ""
}

func (w *world) differsInFeed(d *device) string {
	f := w.feeds[d.user]
	var got []string
	for _, m := range d.view(d.client.System()) {
		if n := m.Notice; n != nil {
			got = append(got, feedLine(n.Type, n.Actor, n.Conversation, n.Text))
		}
	}
	slices.Sort(got)
	if want := slices.Sorted(slices.Values(f.notices)); !slices.Equal(got, want) {
		return fmt.Sprintf("system conversation\n got %s\nwant %s", strings.Join(got, "\n     "), strings.Join(want, "\n     "))
	}
	head := uint64(len(f.notices))
	c, _ := d.client.Conversation(d.client.System())
	if c.HeadSeq != head || c.ReadSeq != f.read || c.Unread != head-f.read {
		return fmt.Sprintf("system conversation: head %d read %d unread %d, want %d %d %d", c.HeadSeq, c.ReadSeq, c.Unread, head, f.read, head-f.read)
	}
	return ""
}

// differsInList compares the order of the list with that of the commands: of
// two messages in one millisecond either may be the newer one.
func (w *world) differsInList(d *device, live bool) string {
	for _, archived := range []bool{false, true} {
		list := d.client.Conversations()
		if archived {
			list = d.client.Archived()
		}
		var got, want []string
		for i, c := range list {
			mc := w.conversations[c.ID]
			if mc == nil || mc.rows[d.user] == nil {
				return fmt.Sprintf("%s is listed", c.ID)
			}
			if live && mc.unpushed() {
				continue
			}
			got = append(got, c.ID)
			if i == 0 || live && w.conversations[list[i-1].ID].unpushed() {
				continue
			}
			if p := &list[i-1]; w.after(d.user, p, &c) {
				return fmt.Sprintf("%s (%v) is listed before %s (%v)", p.ID, p.Time(), c.ID, c.Time())
			}
		}
		for id, c := range w.conversations {
			if c.has(d.user) && c.listed(d.user) && c.rows[d.user].settings.Archived == archived && (!live || !c.unpushed()) {
				want = append(want, id)
			}
		}
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			return fmt.Sprintf("listed (archived %t) are %v, want %v", archived, got, want)
		}
	}
	return ""
}

// after reports whether x belongs after y.
func (w *world) after(user string, x, y *godwit.Conversation) bool {
	cx, cy := w.conversations[x.ID], w.conversations[y.ID]
	rx, ry := cx.rows[user], cy.rows[user]
	switch {
	case rx.pinned != ry.pinned:
		return ry.pinned
	case x.Time().Equal(y.Time()):
		return x.ID > y.ID
	}
	return cx.time(user) < cy.time(user)
}

func (w *world) differsInContacts(d *device) string {
	var got, want []string
	for _, c := range d.client.Contacts() {
		got = append(got, c.User+" "+contactLine(&c))
	}
	for _, peer := range w.users {
		if peer == d.user {
			continue
		}
		if c := w.direct(d.user, peer).stance(d.user); c.State != 0 || c.Blocked || c.Remark != "" {
			want = append(want, peer+" "+contactLine(&c))
		}
	}
	slices.Sort(want)
	if !slices.Equal(got, want) {
		return fmt.Sprintf("contacts %q, want %q", got, want)
	}
	return ""
}

// members is how the model has the members of a group.
func (c *conversation) members() (all []string) {
	for user, r := range c.rows {
		if r.Standing == godwit.StandingActive {
			all = append(all, memberLine(godwit.Member{User: user, Role: r.Role, Nick: r.Nick, MutedUntil: r.MutedUntil}))
		}
	}
	slices.Sort(all)
	return all
}

func memberLine(m godwit.Member) string {
	return fmt.Sprintf("%s role %d nick %q muted %t", m.User, m.Role, m.Nick, !m.MutedUntil.IsZero())
}
