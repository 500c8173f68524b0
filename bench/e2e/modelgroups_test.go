package e2e

import (
	"bytes"
	"maps"
	"slices"
	"time"

	"github.com/godwit-im/godwit/protocol/pb"
	godwit "github.com/godwit-im/godwit/sdk-go"
)

// Groups and contacts of the model.

// notice appends one of the group's; before it, what it tells of has been done.
func (w *world) notice(c *conversation, actor string, t godwit.NoticeType, users []string, member *godwit.Member) uint64 {
	return w.add(c, godwit.Message{Kind: godwit.KindNotice, Notice: &godwit.Notice{
		Type: t, Actor: actor, Users: users, Member: member,
		Members: c.group.Members, MembersVersion: c.group.MembersVersion,
	}})
}

func (w *world) create(user, id string, g godwit.NewGroup) (uint64, pb.Code) {
	c := &conversation{id: id, rows: make(map[string]*row)}
	w.conversations[id] = c
	c.group = &godwit.Group{
		Conversation: id, Kind: g.Kind, Owner: user, Name: g.Name, Join: g.Join, History: g.History,
		MembersInvite: g.MembersInvite, Version: 1, MembersVersion: 1,
	}
	members := []string{user}
	for _, other := range g.Users {
		if other != user {
			members = append(members, other)
		}
	}
	for _, member := range members {
		c.enter(w, member, 1)
	}
	c.rows[user].Role = godwit.RoleOwner
	if c.broadcast() { // whose followers are not told of one another
		members = members[:1]
	}
	return w.notice(c, user, godwit.NoticeGroupCreated, members, nil), ok
}

// enter makes a user a member who may read from a seq on.
func (c *conversation) enter(w *world, user string, from uint64) {
	r := c.row(user)
	r.Role, r.Standing, r.FromSeq, r.UntilSeq, r.was = godwit.RoleMember, godwit.StandingActive, from, 0, nil
	r.joinedAt = w.now
	r.spans = append(r.spans, span{from: from})
	c.group.Members++
}

// admits makes users members and tells the group. by is who lets them in.
func (w *world) admits(c *conversation, by string, users []string, t godwit.NoticeType) uint64 {
	if len(users) == 0 {
		return 0
	}
	head, from := c.head(), uint64(1)
	if c.group.History == godwit.HistoryFromJoin {
		from = head + 1
	}
	for _, user := range users {
		r := c.row(user)
		if user != by && r.Standing != godwit.StandingInvited {
			r.InvitedBy = by
		}
		c.enter(w, user, from)
		r.read = head
	}
	return w.noticeOf(c, by, t, users, nil)
}

// noticeOf tells of what members are now; those of a broadcast who are no admins
// are nobody's business.
func (w *world) noticeOf(c *conversation, by string, t godwit.NoticeType, users []string, member *godwit.Member) uint64 {
	named := c.named(users)
	if len(named) == 0 {
		return 0
	}
	c.group.MembersVersion++
	return w.notice(c, by, t, named, member)
}

func (c *conversation) named(users []string) (named []string) {
	for _, user := range users {
		if !c.broadcast() || user == c.group.Owner || slices.Contains(c.group.Admins, user) {
			named = append(named, user)
		}
	}
	return named
}

// puts ends memberships.
func (w *world) puts(c *conversation, by string, users []string, standing godwit.Standing, t godwit.NoticeType) (seq uint64) {
	if len(users) == 0 {
		return 0
	}
	c.group.Members -= len(users)
	seq = w.noticeOf(c, by, t, users, nil)
	c.group.Admins = without(c.group.Admins, users)
	for _, user := range users {
		c.rows[user].exit(standing, c.head())
		c.rows[user].was = c.copies()
	}
	return seq
}

// copies are the messages as they are now.
func (c *conversation) copies() (all []message) {
	for _, m := range c.messages {
		now := *m
		now.Reactions = nil
		for _, r := range m.Reactions {
			r.Users = slices.Clone(r.Users)
			now.Reactions = append(now.Reactions, r)
		}
		all = append(all, now)
	}
	return all
}

func (r *row) exit(standing godwit.Standing, until uint64) {
	r.Standing, r.Role, r.UntilSeq = standing, 0, until
	r.spans[len(r.spans)-1].to = until
}

func without(all, some []string) []string {
	return slices.DeleteFunc(slices.Clone(all), func(user string) bool { return slices.Contains(some, user) })
}

// standing returns those of users who stand so.
func (c *conversation) standing(users []string, standings ...godwit.Standing) (those []string) {
	for _, user := range users {
		var s godwit.Standing
		if r := c.rows[user]; r != nil {
			s = r.Standing
		}
		if slices.Contains(standings, s) {
			those = append(those, user)
		}
	}
	return those
}

var outside = []godwit.Standing{0, godwit.StandingLeft, godwit.StandingRemoved}

// groupAction is what a GROUP does; arguments that an action has no use for are
// not set.
type groupAction struct {
	name   string
	users  []string
	role   godwit.Role
	until  time.Time
	text   string // of a join, a nick, or the name of a group
	change godwit.GroupChange
}

// act is GROUP, but for create: the seq of the notice.
func (w *world) act(user string, c *conversation, a groupAction) (uint64, pb.Code) {
	if c.group.DissolvedSeq > 0 {
		return 0, w.putAway(user, c, a.name)
	}
	switch a.name {
	case "join":
		return w.join(user, c, a.text)
	case "refuse":
		return 0, w.refuse(user, c)
	}
	r := c.active(user)
	if r == nil {
		return 0, pb.Code_CODE_NOT_A_MEMBER
	}
	if !c.may(r, a.name) {
		return 0, pb.Code_CODE_NOT_ALLOWED
	}
	switch a.name {
	case "add":
		return w.admits(c, user, c.standing(a.users, append(outside, godwit.StandingInvited, godwit.StandingRequested)...), godwit.NoticeMembersAdded), ok
	case "invite":
		for _, invited := range c.standing(a.users, outside...) {
			row := c.row(invited)
			row.Standing, row.InvitedBy = godwit.StandingInvited, user
			w.tell(invited, godwit.NoticeGroupInvited, user, c.id, "")
		}
		return 0, ok
	case "admit", "decline":
		return w.answer(user, c, a), ok
	case "leave":
		return w.puts(c, user, []string{user}, godwit.StandingLeft, godwit.NoticeMemberLeft), ok
	case "remove":
		users, code := c.lower(r, a.users, false)
		if code != ok {
			return 0, code
		}
		return w.puts(c, user, users, godwit.StandingRemoved, godwit.NoticeMembersRemoved), ok
	case "change":
		return w.change(user, c, a.change), ok
	case "nick":
		if r.Nick == a.text {
			return 0, ok
		}
		r.Nick = a.text
		c.group.MembersVersion++
		return w.notice(c, user, godwit.NoticeNickChanged, []string{user}, &godwit.Member{Nick: a.text}), ok
	case "dissolve":
		c.group.DissolvedSeq = w.notice(c, user, godwit.NoticeGroupDissolved, nil, nil)
		return c.group.DissolvedSeq, ok
	}
	return w.rank(user, c, r, a)
}

// putAway is what can be done with a group that has ended.
func (w *world) putAway(user string, c *conversation, action string) pb.Code {
	r := c.rows[user]
	active := r != nil && r.Standing == godwit.StandingActive
	switch {
	case action == "leave" && active:
		r.exit(godwit.StandingLeft, c.group.DissolvedSeq)
		return ok
	case action == "refuse" && !active:
		return w.refuse(user, c)
	}
	return pb.Code_CODE_NOT_A_MEMBER
}

// may reports whether a member may do such a thing at all.
func (c *conversation) may(r *row, action string) bool {
	switch action {
	case "add", "invite":
		return admin(r) || c.group.MembersInvite && !c.broadcast()
	case "leave":
		return r.Role != godwit.RoleOwner
	case "nick":
		return admin(r) || !c.broadcast()
	case "role", "transfer", "dissolve":
		return r.Role == godwit.RoleOwner
	}
	return admin(r)
}

// rank is what only members of a lower role are done to.
func (w *world) rank(user string, c *conversation, r *row, a groupAction) (uint64, pb.Code) {
	if a.name == "transfer" && a.users[0] == user {
		return 0, ok
	}
	users, code := c.lower(r, a.users, true)
	if code != ok {
		return 0, code
	}
	changed := false
	set := func(user string, role godwit.Role, until time.Time) {
		r := c.rows[user]
		changed = changed || r.Role != role || !r.MutedUntil.Equal(until)
		r.Role, r.MutedUntil = role, until
	}
	for _, user := range users {
		switch r := c.rows[user]; a.name {
		case "role":
			set(user, a.role, r.MutedUntil)
		case "mute":
			set(user, r.Role, a.until)
		case "transfer":
			set(user, godwit.RoleOwner, r.MutedUntil)
			c.group.Owner = user
		}
	}
	if !changed {
		return 0, ok
	}
	switch a.name {
	case "mute":
		return w.noticeOf(c, user, godwit.NoticeMembersMuted, users, &godwit.Member{MutedUntil: a.until}), ok
	case "role":
		c.group.MembersVersion++
		c.group.Admins = without(c.group.Admins, users)
		if a.role == godwit.RoleAdmin {
			c.group.Admins = append(c.group.Admins, users...)
		}
		return w.notice(c, user, godwit.NoticeRoleChanged, users, &godwit.Member{Role: a.role}), ok
	}
	c.group.MembersVersion++
	r.Role = godwit.RoleMember
	c.group.Admins = without(c.group.Admins, users)
	return w.notice(c, user, godwit.NoticeOwnerChanged, users, nil), ok
}

// lower returns those of users who are members, if all of them are of a lower
// role than r's. all: and nobody is none.
func (c *conversation) lower(r *row, users []string, all bool) (members []string, code pb.Code) {
	for _, user := range users {
		switch other := c.active(user); {
		case other != nil && other.Role >= r.Role:
			return nil, pb.Code_CODE_NOT_ALLOWED
		case other != nil:
			members = append(members, user)
		case all:
			return nil, pb.Code_CODE_NOT_A_MEMBER
		}
	}
	return members, ok
}

func (w *world) join(user string, c *conversation, text string) (uint64, pb.Code) {
	var standing godwit.Standing
	if r := c.rows[user]; r != nil {
		standing = r.Standing
	}
	switch {
	case standing == godwit.StandingActive:
		return 0, ok
	case standing == godwit.StandingInvited, c.group.Join == godwit.JoinOpen:
		return w.admits(c, user, []string{user}, godwit.NoticeMembersJoined), ok
	case c.group.Join != godwit.JoinByApproval:
		return 0, pb.Code_CODE_NOT_A_MEMBER
	case standing != godwit.StandingRequested:
		c.row(user).Standing = godwit.StandingRequested
		for _, admin := range append([]string{c.group.Owner}, c.group.Admins...) {
			w.tell(admin, godwit.NoticeJoinRequested, user, c.id, text)
		}
	}
	return 0, ok
}

func (w *world) refuse(user string, c *conversation) pb.Code {
	switch r := c.rows[user]; {
	case r == nil:
	case r.Standing == godwit.StandingInvited, r.Standing == godwit.StandingRequested:
		r.back()
		return ok
	case r.Standing == godwit.StandingActive:
		return pb.Code_CODE_NOT_ALLOWED
	}
	return pb.Code_CODE_NOT_A_MEMBER
}

// back puts a user to where they were before they were asked, or asked.
func (r *row) back() {
	r.Standing, r.InvitedBy = 0, ""
	if r.UntilSeq > 0 {
		r.Standing = godwit.StandingLeft
	}
}

func (w *world) answer(user string, c *conversation, a groupAction) (seq uint64) {
	asked := c.standing(a.users, godwit.StandingRequested)
	told := godwit.NoticeJoinRefused
	if a.name == "admit" {
		told = godwit.NoticeJoinAccepted
		seq = w.admits(c, user, asked, godwit.NoticeMembersJoined)
	}
	for _, who := range asked {
		if a.name != "admit" {
			c.rows[who].back()
		}
		w.tell(who, told, user, c.id, "")
	}
	return seq
}

func (w *world) change(user string, c *conversation, change godwit.GroupChange) uint64 {
	g, before := c.group, *c.group
	if change.Name != nil {
		g.Name = *change.Name
	}
	if change.Join != nil {
		g.Join = *change.Join
	}
	if change.History != nil {
		g.History = *change.History
	}
	if change.MembersInvite != nil {
		g.MembersInvite = *change.MembersInvite
	}
	if change.Muted != nil {
		g.Muted = *change.Muted
	}
	quiet := g.Name == before.Name && g.Join == before.Join && g.History == before.History &&
		g.MembersInvite == before.MembersInvite && g.Muted == before.Muted
	g.Attributes = make(map[string][]byte)
	maps.Copy(g.Attributes, before.Attributes)
	for key, value := range change.Attributes {
		if g.Attributes[key] = value; len(value) == 0 {
			delete(g.Attributes, key)
		}
	}
	if quiet && maps.EqualFunc(g.Attributes, before.Attributes, bytes.Equal) {
		return 0
	}
	g.Version++
	seq := w.notice(c, user, godwit.NoticeGroupChanged, nil, nil)
	c.at(seq).quiet = quiet
	return seq
}

// contact is CONTACT.
func (w *world) contact(user, peer, action, text string) pb.Code {
	c := w.direct(user, peer)
	mine, theirs := c.stance(user), c.stance(peer)
	become := func(x, y godwit.ContactState) { mine.State, theirs.State = x, y }
	told := godwit.NoticeType(0)
	switch {
	case action == "request" && theirs.Blocked:
		return pb.Code_CODE_NOT_ALLOWED
	case action == "request" && mine.State == godwit.ContactNone:
		become(godwit.ContactRequested, godwit.ContactPending)
		told = godwit.NoticeContactRequested
	case (action == "request" || action == "accept") && mine.State == godwit.ContactPending:
		become(godwit.ContactMutual, godwit.ContactMutual)
		told = godwit.NoticeContactAccepted
	case action == "accept" && mine.State != godwit.ContactMutual:
		return pb.Code_CODE_NOT_ALLOWED
	case action == "refuse" && mine.State == godwit.ContactPending:
		become(godwit.ContactNone, godwit.ContactNone)
		told = godwit.NoticeContactRefused
	case action == "remove":
		become(godwit.ContactNone, godwit.ContactNone)
	case action == "remark":
		mine.Remark = text
	case action == "block":
		mine.Blocked = true
	case action == "unblock":
		mine.Blocked = false
	}
	c.setStance(user, mine)
	c.setStance(peer, theirs)
	if told != 0 && !theirs.Blocked { // who has blocked somebody hears nothing of them
		w.tell(peer, told, user, "", text)
	}
	return ok
}

func (c *conversation) stance(user string) godwit.Contact {
	if r := c.rows[user]; r != nil {
		return r.contact
	}
	return godwit.Contact{}
}

// setStance makes a row only where there is something to put into it.
func (c *conversation) setStance(user string, contact godwit.Contact) {
	if contact != c.stance(user) {
		c.row(user).contact = contact
	}
}
