package godwit

import "github.com/godwit-im/godwit/protocol/pb"

// NoticeType says what a notice tells.
type NoticeType = pb.NoticeType

// What notices tell: in a group ...
const (
	NoticeGroupCreated   = pb.NoticeType_NOTICE_TYPE_GROUP_CREATED
	NoticeMembersAdded   = pb.NoticeType_NOTICE_TYPE_MEMBERS_ADDED  // Users were, by Actor
	NoticeMembersJoined  = pb.NoticeType_NOTICE_TYPE_MEMBERS_JOINED // Users did; or Actor let them in
	NoticeMemberLeft     = pb.NoticeType_NOTICE_TYPE_MEMBER_LEFT
	NoticeMembersRemoved = pb.NoticeType_NOTICE_TYPE_MEMBERS_REMOVED
	NoticeRoleChanged    = pb.NoticeType_NOTICE_TYPE_ROLE_CHANGED  // Users have Member.Role now
	NoticeOwnerChanged   = pb.NoticeType_NOTICE_TYPE_OWNER_CHANGED // Users[0] is the owner now
	NoticeGroupChanged   = pb.NoticeType_NOTICE_TYPE_GROUP_CHANGED // Group says what it is now
	NoticeMembersMuted   = pb.NoticeType_NOTICE_TYPE_MEMBERS_MUTED // Users are, until Member.MutedUntil
	NoticeNickChanged    = pb.NoticeType_NOTICE_TYPE_NICK_CHANGED  // Actor's is Member.Nick now; not shown
	NoticeGroupDissolved = pb.NoticeType_NOTICE_TYPE_GROUP_DISSOLVED
)

// ... and in the user's system conversation.
const (
	NoticeContactRequested = pb.NoticeType_NOTICE_TYPE_CONTACT_REQUESTED // by Actor, who says Text
	NoticeContactAccepted  = pb.NoticeType_NOTICE_TYPE_CONTACT_ACCEPTED
	NoticeContactRefused   = pb.NoticeType_NOTICE_TYPE_CONTACT_REFUSED
	NoticeGroupInvited     = pb.NoticeType_NOTICE_TYPE_GROUP_INVITED  // by Actor, into Conversation
	NoticeJoinRequested    = pb.NoticeType_NOTICE_TYPE_JOIN_REQUESTED // Actor wants to join Conversation
	NoticeJoinAccepted     = pb.NoticeType_NOTICE_TYPE_JOIN_ACCEPTED
	NoticeJoinRefused      = pb.NoticeType_NOTICE_TYPE_JOIN_REFUSED
)

// Notice is what the server tells in a message of KindNotice.
type Notice struct {
	Type         NoticeType
	Actor        string   // who did it
	Users        []string // to whom
	Conversation string   // the group, where the notice is in a system conversation
	Text         string
	Group        *Group  // as it is now; nil where its own data did not change
	Member       *Member // what is new of Users; nil if nothing is
	Members      int     // how many the group has now
	// MembersVersion is Group.MembersVersion after this.
	MembersVersion uint64
}

func noticeFromWire(n *pb.Notice) *Notice {
	notice := &Notice{
		Type: n.Type, Actor: n.Actor, Users: n.Users, Conversation: n.Conversation, Text: n.Text,
		Members: int(n.Members), MembersVersion: n.MembersVersion,
	}
	if n.Group != nil {
		notice.Group = new(groupFromWire(n.Group))
	}
	if n.Member != nil {
		notice.Member = new(memberFromWire(n.Member))
	}
	return notice
}
