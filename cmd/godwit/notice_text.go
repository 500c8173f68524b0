package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/godwit-im/godwit/sdk-go"
)

// noticeText is a notice of the server in one line.
func noticeText(n *godwit.Notice) string {
	if n == nil {
		return "a notice that this version does not know"
	}
	users, is := strings.Join(n.Users, ", "), "is"
	was := "was"
	if len(n.Users) > 1 {
		is, was = "are", "were"
	}
	who := n.Actor
	switch n.Type {
	case godwit.NoticeGroupCreated:
		return fmt.Sprintf("%s made the group %s; in it %s %s", who, groupName(n.Group, ""), is, users)
	case godwit.NoticeMembersAdded:
		return fmt.Sprintf("%s %s added by %s", users, was, who)
	case godwit.NoticeMembersJoined:
		if users == who {
			return who + " joined"
		}
		return fmt.Sprintf("%s %s let in by %s", users, was, who)
	case godwit.NoticeMemberLeft:
		return who + " left"
	case godwit.NoticeMembersRemoved:
		return fmt.Sprintf("%s %s removed by %s", users, was, who)
	case godwit.NoticeRoleChanged:
		role := "a member"
		switch isAdmin := n.Member != nil && n.Member.Role == godwit.RoleAdmin; {
		case isAdmin && len(n.Users) > 1:
			role = "admins"
		case isAdmin:
			role = "an admin"
		case len(n.Users) > 1:
			role = "members"
		}
		return fmt.Sprintf("%s made %s %s", who, users, role)
	case godwit.NoticeOwnerChanged:
		return fmt.Sprintf("%s made %s the owner", who, users)
	case godwit.NoticeGroupChanged:
		return who + " changed the group: " + groupText(n.Group)
	case godwit.NoticeMembersMuted:
		if n.Member == nil || n.Member.MutedUntil.IsZero() {
			return fmt.Sprintf("%s may write again, by %s", users, who)
		}
		return fmt.Sprintf("%s may not write until %s, by %s", users, n.Member.MutedUntil.Local().Format("2 January 15:04"), who)
	case godwit.NoticeNickChanged:
		if n.Member == nil || n.Member.Nick == "" {
			return who + " has no nick any more"
		}
		return who + " is called " + harmless(n.Member.Nick)
	case godwit.NoticeGroupDissolved:
		return who + " dissolved the group"
	}
	return systemText(n)
}

// systemText is a notice of the user's system conversation.
func systemText(n *godwit.Notice) string {
	said := ""
	if n.Text != "" {
		said = `, saying "` + harmless(n.Text) + `"`
	}
	group := groupName(n.Group, n.Conversation)
	switch n.Type {
	case godwit.NoticeContactRequested:
		return n.Actor + " asks to be your contact" + said
	case godwit.NoticeContactAccepted:
		return n.Actor + " is your contact now"
	case godwit.NoticeContactRefused:
		return n.Actor + " refused to be your contact"
	case godwit.NoticeGroupInvited:
		return n.Actor + " invites you to the group " + group
	case godwit.NoticeJoinRequested:
		return n.Actor + " asks to join the group " + group + said
	case godwit.NoticeJoinAccepted:
		return n.Actor + " let you into the group " + group
	case godwit.NoticeJoinRefused:
		return n.Actor + " did not let you into the group " + group
	}
	return "a notice that this version does not know"
}

// groupName names a group: with its id, where that is not plain.
func groupName(g *godwit.Group, id string) string {
	if g == nil || g.Name == "" {
		return firstOf(id, "without a name")
	}
	name := `"` + harmless(g.Name) + `"`
	if id != "" {
		name += " (" + id + ")"
	}
	return name
}

// groupText is what a group says of itself.
func groupText(g *godwit.Group) string {
	if g == nil {
		return "unknown"
	}
	text := "it is " + groupName(g, "") + ", " + joinTexts[g.Join]
	if g.Muted {
		text += ", only the owner and admins may write"
	}
	if g.History == godwit.HistoryAll {
		text += ", all of it for new members to see"
	}
	if g.MembersInvite {
		text += ", members may invite"
	}
	if g.Notice != "" {
		text += ", its notice: " + harmless(g.Notice)
	}
	if g.Avatar != "" {
		text += ", its avatar: " + harmless(g.Avatar)
	}
	for i, key := range slices.Sorted(maps.Keys(g.Attributes)) {
		text += either(i == 0, ", its attributes: ", ", ") + harmless(key) + "=" + valueText(g.Attributes[key])
	}
	return text
}

// maxValue is the longest value of an attribute that is shown, in bytes.
const maxValue = 64

// valueText is the value of an attribute, which may be anything.
func valueText(value []byte) string {
	if len(value) > maxValue || !utf8.Valid(value) {
		return fmt.Sprintf("(%d bytes)", len(value))
	}
	return harmless(string(value))
}

var joinTexts = map[godwit.JoinPolicy]string{
	godwit.JoinByInvite:   "for those invited",
	godwit.JoinByApproval: "for those whom an admin lets in",
	godwit.JoinOpen:       "open to all",
}

func roleText(r godwit.Role) string {
	switch r {
	case godwit.RoleOwner:
		return "owner"
	case godwit.RoleAdmin:
		return "admin"
	}
	return "member"
}
