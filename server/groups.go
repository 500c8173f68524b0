package server

import (
	"time"

	"github.com/godwit-im/godwit/chat"
	"github.com/godwit-im/godwit/protocol"
	"github.com/godwit-im/godwit/protocol/pb"
	"github.com/godwit-im/godwit/session"
)

// onGroup does one thing with a group.
func (g *gateway) onGroup(s *session.Session, f protocol.Frame, now time.Time) error {
	var req pb.GroupRequest
	if err := protocol.Decode(f, &req); err != nil {
		return err
	}
	if err := chat.CheckGroup(s.User, &req); err != nil {
		return err
	}
	if err := g.invites.take(s.User, asked(&req), now); err != nil {
		return err
	}
	cmd := chat.Command{Op: chat.OpGroup, Conversation: req.Conversation, User: s.User, Group: &req}
	if users := entering(s.User, &req); len(users) > 0 {
		return g.submitFull(s, f, now, cmd, users, g.limits.fullOfGroups)
	}
	return g.submit(s, f, now, cmd)
}

// asked returns how many a request adds, invites, or brings to the doors of others.
func asked(req *pb.GroupRequest) int {
	switch action := req.Action.(type) {
	case *pb.GroupRequest_Create:
		// One at the least: a group that is made, and dissolved, is kept for good.
		return max(1, len(action.Create.GetUsers()))
	case *pb.GroupRequest_Add:
		return len(action.Add.GetUsers())
	case *pb.GroupRequest_Invite:
		return len(action.Invite.GetUsers())
	case *pb.GroupRequest_Join:
		return 1 // it may ask the owner and every admin, again after each refuse
	}
	return 0
}

// entering returns the users whom a request of user's may make members.
func entering(user string, req *pb.GroupRequest) []string {
	switch action := req.Action.(type) {
	case *pb.GroupRequest_Create:
		return append([]string{user}, action.Create.GetUsers()...)
	case *pb.GroupRequest_Add:
		return action.Add.GetUsers()
	case *pb.GroupRequest_Join:
		return []string{user}
	case *pb.GroupRequest_Admit:
		return action.Admit.GetUsers()
	}
	return nil
}
