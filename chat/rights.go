package chat

import (
	"github.com/godwit-im/godwit/protocol"
	"github.com/godwit-im/godwit/protocol/pb"
)

// right is what a member may do in a group.
type right uint8

const (
	rightPost         right = iota // write a message, edit one's own
	rightMentionAll                // mention everybody
	rightReact                     // react to a message, take a reaction back
	rightRecallOthers              // recall a message of somebody who is not the owner
	rightAdd                       // make users members, unless the server's rules forbid it
	rightInvite                    // invite users
	rightAdmit                     // let those in who ask, or not, and see who they are
	rightRemove                    // remove members of a lower role
	rightMute                      // silence members of a lower role
	rightChange                    // change the name, avatar, notice, attributes and policies
	rightRole                      // make members admins, and admins members
	rightTransfer                  // give the group to another member
	rightDissolve                  // end the group
	rightLeave                     // leave it
	rightNick                      // have a nick
	rightList                      // see who the members are
)

// verdict is what the table says about a right and a role.
type verdict uint8

const (
	no verdict = iota
	yes
	unlessMuted // the group or the member; admins and the owner only themselves
	ifInviting  // where the group lets its members invite
)

// grant is a row of the table of rights: for member, admin and owner.
type grant struct {
	right            right
	name             string // in docs/PROTOCOL.md
	group, broadcast [3]verdict
}

// rights says who may do what. A test compares it with the table in
// docs/PROTOCOL.md, and another tries every cell.
var rights = [...]grant{
	{rightPost, "write, edit one's own messages", [3]verdict{unlessMuted, unlessMuted, yes}, [3]verdict{no, unlessMuted, yes}},
	{rightMentionAll, "mention everybody", [3]verdict{no, yes, yes}, [3]verdict{no, no, no}},
	{rightReact, "react", [3]verdict{unlessMuted, unlessMuted, yes}, [3]verdict{unlessMuted, unlessMuted, yes}},
	{rightRecallOthers, "recall others' messages, but the owner's", [3]verdict{no, yes, yes}, [3]verdict{no, yes, yes}},
	{rightAdd, "add users", [3]verdict{ifInviting, yes, yes}, [3]verdict{no, yes, yes}},
	{rightInvite, "invite users", [3]verdict{ifInviting, yes, yes}, [3]verdict{no, yes, yes}},
	{rightAdmit, "admit, decline, see who asks", [3]verdict{no, yes, yes}, [3]verdict{no, yes, yes}},
	{rightRemove, "remove members of a lower role", [3]verdict{no, yes, yes}, [3]verdict{no, yes, yes}},
	{rightMute, "mute members of a lower role", [3]verdict{no, yes, yes}, [3]verdict{no, yes, yes}},
	{rightChange, "change name, avatar, notice, attributes, policies, mute all", [3]verdict{no, yes, yes}, [3]verdict{no, yes, yes}},
	{rightRole, "make admins and members of each other", [3]verdict{no, no, yes}, [3]verdict{no, no, yes}},
	{rightTransfer, "give the group to another member", [3]verdict{no, no, yes}, [3]verdict{no, no, yes}},
	{rightDissolve, "dissolve the group", [3]verdict{no, no, yes}, [3]verdict{no, no, yes}},
	{rightLeave, "leave", [3]verdict{yes, yes, no}, [3]verdict{yes, yes, no}},
	{rightNick, "have a nick", [3]verdict{yes, yes, yes}, [3]verdict{no, yes, yes}},
	{rightList, "list the members", [3]verdict{yes, yes, yes}, [3]verdict{no, yes, yes}},
}

// MayList reports whether somebody with this role may list a group's members.
// requests: those who asked to be.
func MayList(g *pb.Group, role pb.Role, requests bool) bool {
	r := rightList
	if requests {
		r = rightAdmit
	}
	return may(g, &pb.Membership{Role: role}, r, 0)
}

// may reports whether a member with row m may do what r says, at a time in Unix
// milliseconds.
func may(g *pb.Group, m *pb.Membership, r right, nowMs int64) bool {
	return refuse(g, m, r, nowMs) == nil
}

// refuse is why a member may not do what r says; nil if they may.
func refuse(g *pb.Group, m *pb.Membership, r right, nowMs int64) *protocol.Error {
	if m.GetRole() == pb.Role_ROLE_UNSPECIFIED {
		return errNotAllowed
	}
	verdicts := &rights[r].group
	if g.Kind == pb.GroupKind_GROUP_KIND_BROADCAST {
		verdicts = &rights[r].broadcast
	}
	switch verdict := verdicts[m.Role-pb.Role_ROLE_MEMBER]; {
	case verdict == yes, verdict == ifInviting && g.MembersInvite:
		return nil
	case verdict == unlessMuted && !muted(g, m, nowMs):
		return nil
	case verdict == unlessMuted:
		return errMuted
	}
	return errNotAllowed
}

// muted reports whether a member may not write for now.
func muted(g *pb.Group, m *pb.Membership, nowMs int64) bool {
	return m.GetMutedUntilMs() > nowMs || g.Muted && m.GetRole() == pb.Role_ROLE_MEMBER
}
