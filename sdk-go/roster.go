package godwit

import (
	"context"
	"maps"
	"slices"
)

// roster is the members of a group as of a Group.MembersVersion. A nil one is
// not known.
type roster struct {
	version uint64
	members map[string]Member
}

// noticed is the roster after a notice; nil where one before it was missed. It
// never changes one that others may read.
func (r *roster) noticed(n *Notice) *roster {
	switch {
	case r == nil || n.MembersVersion < r.version:
		return r
	case n.MembersVersion > r.version+1:
		return nil
	}
	change := func(user string, f func(m *Member)) {
		m, is := r.members[user]
		if is {
			f(&m)
			r.members[user] = m
		}
	}
	switch n.Type {
	case NoticeMembersAdded, NoticeMembersJoined:
		for _, user := range n.Users {
			m := Member{Role: RoleMember}
			if n.Member != nil {
				m = *n.Member
			}
			m.User, m.Role = user, max(m.Role, RoleMember)
			r.members[user] = m
		}
	case NoticeMemberLeft, NoticeMembersRemoved:
		for _, user := range n.Users {
			delete(r.members, user)
		}
	case NoticeRoleChanged, NoticeMembersMuted:
		if n.Member == nil {
			return nil
		}
		for _, user := range n.Users {
			change(user, func(m *Member) {
				if n.Type == NoticeRoleChanged {
					m.Role = n.Member.Role
				} else {
					m.MutedUntil = n.Member.MutedUntil
				}
			})
		}
	case NoticeNickChanged:
		if n.Member == nil {
			return nil
		}
		change(n.Actor, func(m *Member) { m.Nick = n.Member.Nick })
	case NoticeOwnerChanged:
		for user, m := range r.members {
			if m.Role == RoleOwner {
				m.Role = RoleMember
				r.members[user] = m
			}
		}
		for _, user := range n.Users {
			change(user, func(m *Member) { m.Role = RoleOwner })
		}
	default:
		if n.MembersVersion > r.version {
			return nil // of a kind that is not known here
		}
	}
	r.version = n.MembersVersion
	return r
}

// rosterAttempts is how often the list is fetched anew because it changed
// between two pages, before one that mixes both is taken for what it is.
const rosterAttempts = 5

// Members returns the members of a group by user id. The first call asks the
// server, waiting for a connection if there is none; from then on the list is
// kept right by the group's notices, and only asked for again when one of them
// was missed. Only admins of a broadcast get its followers.
func (c *Client) Members(ctx context.Context, group string) ([]Member, error) {
	if members, known := c.roster(group); known {
		return members, nil
	}
	for attempt := 1; ; attempt++ {
		r, whole, err := c.fetchRoster(ctx, group)
		if err != nil {
			return nil, err
		}
		if !whole && attempt < rosterAttempts {
			continue
		}
		members := r.sorted()
		if whole {
			c.mu.Lock()
			b := c.account.box(group)
			// Notices that were seen meanwhile may be newer than the list.
			// Of a broadcast there are none.
			g := b.view.group
			if g.GetMembersVersion() <= r.version && g.GetKind() != GroupKindBroadcast {
				b.view.roster = r
			}
			c.mu.Unlock()
		}
		return members, nil
	}
}

// roster is the list that is known of a group.
func (c *Client) roster(group string) (members []Member, known bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	b := c.account.boxes[group]
	if b == nil || b.view.roster == nil {
		return nil, false
	}
	if b.view.group.GetMembersVersion() > b.view.roster.version {
		b.view.roster = nil
		return nil, false
	}
	return b.view.roster.sorted(), true
}

func (r *roster) sorted() []Member {
	members := make([]Member, 0, len(r.members))
	for _, user := range slices.Sorted(maps.Keys(r.members)) {
		members = append(members, r.members[user])
	}
	return members
}

// fetchRoster asks for all pages. whole is false where the group changed between
// them.
func (c *Client) fetchRoster(ctx context.Context, group string) (r *roster, whole bool, err error) {
	r, whole = &roster{members: make(map[string]Member)}, true
	for after := ""; ; {
		page, err := c.memberPage(ctx, group, after, false)
		if err != nil {
			return nil, false, err
		}
		if after != "" && page.MembersVersion != r.version {
			whole = false
		}
		r.version = page.MembersVersion
		for _, m := range page.Members {
			r.members[m.User] = memberFromWire(m)
			after = m.User
		}
		if !page.More || len(page.Members) == 0 {
			return r, whole, nil
		}
	}
}
