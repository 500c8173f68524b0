package godwit

import (
	"slices"
	"time"

	"github.com/godwit-im/godwit/protocol/pb"
)

// Role is what a member of a group may do. The table is in docs/PROTOCOL.md.
type Role = pb.Role

// The roles.
const (
	RoleMember = pb.Role_ROLE_MEMBER
	RoleAdmin  = pb.Role_ROLE_ADMIN
	RoleOwner  = pb.Role_ROLE_OWNER
)

// Standing is where a user stands in a group.
type Standing = pb.Standing

// The standings. With the zero one a user has nothing to do with the group.
const (
	StandingActive    = pb.Standing_STANDING_ACTIVE    // a member
	StandingLeft      = pb.Standing_STANDING_LEFT      // keeps what there was until then
	StandingRemoved   = pb.Standing_STANDING_REMOVED   // likewise
	StandingInvited   = pb.Standing_STANDING_INVITED   // may join
	StandingRequested = pb.Standing_STANDING_REQUESTED // waits to be admitted
)

// GroupKind tells groups from broadcasts.
type GroupKind = pb.GroupKind

// The kinds of groups.
const (
	GroupKindGroup = pb.GroupKind_GROUP_KIND_GROUP
	// GroupKindBroadcast: the owner and admins write, all may follow, and
	// followers are not told of one another.
	GroupKindBroadcast = pb.GroupKind_GROUP_KIND_BROADCAST
)

// JoinPolicy says who may join a group.
type JoinPolicy = pb.JoinPolicy

// The policies. An invitation lets in under each.
const (
	JoinByInvite   = pb.JoinPolicy_JOIN_POLICY_INVITE
	JoinByApproval = pb.JoinPolicy_JOIN_POLICY_APPROVAL // an admin answers each request
	JoinOpen       = pb.JoinPolicy_JOIN_POLICY_OPEN
)

// HistoryPolicy says what a new member sees of a group's past.
type HistoryPolicy = pb.HistoryPolicy

// The policies.
const (
	HistoryFromJoin = pb.HistoryPolicy_HISTORY_POLICY_FROM_JOIN
	HistoryAll      = pb.HistoryPolicy_HISTORY_POLICY_ALL
)

// Group is a group's own data, the same for all of its members.
type Group struct {
	Conversation  string
	Kind          GroupKind
	Owner         string
	Admins        []string
	Name          string
	Avatar        string // a URL or an object key
	Notice        string // what everybody should read
	Attributes    map[string][]byte
	Join          JoinPolicy
	History       HistoryPolicy
	MembersInvite bool // members may invite; else only the owner and admins
	Muted         bool // only the owner and admins may write
	// Members is how many there are. Of a broadcast, how many there were when its
	// data were told last: who comes and goes is told to nobody. FetchConversations
	// has how many there are now.
	Members int
	// Version rises with every change of the fields above but Members and
	// Admins, MembersVersion with every change of who is a member, and as what.
	Version        uint64
	MembersVersion uint64
	Created        time.Time
	DissolvedSeq   uint64 // of the notice that ended the group; 0 = it lives
}

// Member is what a group knows of a member.
type Member struct {
	User       string
	Role       Role
	Nick       string
	MutedUntil time.Time // may not write until then; zero = may
	Joined     time.Time
}

// Membership is where the user of a client stands in a group.
type Membership struct {
	Role     Role
	Standing Standing
	// The seqs that the user may read: from FromSeq to UntilSeq, where 0 is no
	// end.
	FromSeq, UntilSeq uint64
	MutedUntil        time.Time
	Nick              string
	Joined            time.Time
	InvitedBy         string
}

// groupFromWire copies what it keeps of g.
func groupFromWire(g *pb.Group) Group {
	group := Group{
		Conversation: g.Conversation, Kind: g.Kind, Owner: g.Owner, Admins: slices.Clone(g.Admins),
		Name: g.Name, Avatar: g.Avatar, Notice: g.Notice,
		Join: g.Join, History: g.History, MembersInvite: g.MembersInvite, Muted: g.Muted,
		Members: int(g.Members), Version: g.Version, MembersVersion: g.MembersVersion,
		Created: timeOf(g.CreatedMs), DissolvedSeq: g.DissolvedSeq,
	}
	if len(g.Attributes) > 0 {
		group.Attributes = make(map[string][]byte, len(g.Attributes))
		for _, a := range g.Attributes {
			group.Attributes[a.Key] = slices.Clone(a.Value)
		}
	}
	return group
}

func memberFromWire(m *pb.Member) Member {
	return Member{
		User: m.User, Role: m.Role, Nick: m.Nick,
		MutedUntil: timeOf(m.MutedUntilMs), Joined: timeOf(m.JoinedMs),
	}
}

func membershipFromWire(m *pb.Membership) Membership {
	return Membership{
		Role: m.GetRole(), Standing: m.GetStanding(), FromSeq: m.GetFromSeq(), UntilSeq: m.GetUntilSeq(),
		MutedUntil: timeOf(m.GetMutedUntilMs()), Nick: m.GetNick(), Joined: timeOf(m.GetJoinedMs()),
		InvitedBy: m.GetInvitedBy(),
	}
}
