package chat

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"

	"google.golang.org/protobuf/proto"

	"github.com/godwit-im/godwit/msgstore"
	"github.com/godwit-im/godwit/protocol"
	"github.com/godwit-im/godwit/protocol/pb"
)

// groupView is a group as far as the power-loss test looks at it.
type groupView struct {
	Head            uint64
	Owner           string
	Admins          []string
	Members         int
	Seats           map[string]groupSeat // of all users with a row
	Listed, Waiting []string             // in the lists of members and of requests
}

type groupSeat struct {
	Role              pb.Role
	Standing          pb.Standing
	From, Until, Read uint64
}

// crashModel is a conversation as its commands should make it: a model that shares
// no code with Apply. Each command is one that is not refused.
type crashModel interface {
	log() *crashLog
	// next is the next command.
	next(random *rand.Rand) *Proposal
	// viewIn is the conversation as a store has it, "" where it hasn't.
	viewIn(store *msgstore.Store) (string, error)
}

// crashLog is the commands of a model.
type crashLog struct {
	id    string // of the conversation
	steps []*crashStep
}

func (l *crashLog) log() *crashLog { return l }

// crashStep is a command of a model and what it makes of it.
type crashStep struct {
	log     *crashLog
	n       int // the first is 1
	view    string
	message string      // that it appends; "" = none
	notices []noticeFor // that follow from it
}

// noticeFor is a notice for a user's system conversation.
type noticeFor struct {
	user, group string
	notice      pb.NoticeType
}

// crashGroup is a crashModel of a group, or of a broadcast.
type crashGroup struct {
	crashLog
	owner  string
	create *pb.CreateGroup
	v      groupView
}

func newCrashGroup(owner string, n int) *crashGroup {
	g := &crashGroup{owner: owner, create: &pb.CreateGroup{
		ClientId: fmt.Sprint(n), Users: []string{"u0", "u1"},
		Join:    []pb.JoinPolicy{pb.JoinPolicy_JOIN_POLICY_OPEN, pb.JoinPolicy_JOIN_POLICY_APPROVAL}[n%2],
		History: []pb.HistoryPolicy{pb.HistoryPolicy_HISTORY_POLICY_ALL, pb.HistoryPolicy_HISTORY_POLICY_FROM_JOIN}[n/2%2],
	}}
	if n%5 == 4 {
		g.create.Kind = pb.GroupKind_GROUP_KIND_BROADCAST
	}
	g.id = protocol.GroupID(owner, g.create.ClientId)
	return g
}

// isQuiet reports whether nobody is told that user comes or goes.
func (g *crashGroup) isQuiet(user string) bool {
	return g.create.Kind == pb.GroupKind_GROUP_KIND_BROADCAST && !slices.Contains(g.v.Admins, user)
}

// next implements crashModel.
func (g *crashGroup) next(random *rand.Rand) *Proposal {
	if len(g.steps) == 0 {
		g.v = groupView{Head: 1, Owner: g.owner, Members: 3, Seats: map[string]groupSeat{}}
		for _, user := range []string{g.owner, "u0", "u1"} {
			g.v.Seats[user] = groupSeat{Role: pb.Role_ROLE_MEMBER, Standing: pb.Standing_STANDING_ACTIVE, From: 1}
		}
		g.change(g.owner, func(s *groupSeat) { s.Role = pb.Role_ROLE_OWNER })
		named := []string{g.owner, "u0", "u1"}
		if g.isQuiet("u0") {
			named = named[:1]
		}
		return g.step(g.owner, createGroup(g.create), fmt.Sprint(pb.NoticeType_NOTICE_TYPE_GROUP_CREATED, named))
	}
	user := fmt.Sprintf("u%d", random.IntN(5))
	s := g.v.Seats[user]
	choice := random.IntN(3)
	switch s.Standing {
	case pb.Standing_STANDING_ACTIVE:
		switch random.IntN(8) {
		case 0:
			return g.leave(user, user, leaveGroup, pb.Standing_STANDING_LEFT, pb.NoticeType_NOTICE_TYPE_MEMBER_LEFT)
		case 1:
			return g.leave(g.owner, user, removeUsers(user), pb.Standing_STANDING_REMOVED, pb.NoticeType_NOTICE_TYPE_MEMBERS_REMOVED)
		case 2:
			return g.setRole(user)
		}
		if g.isQuiet(user) {
			user = g.owner // others do not write there
		}
		return g.send(user)
	case pb.Standing_STANDING_REQUESTED:
		return g.enter(g.owner, user, admitUsers(user), pb.NoticeType_NOTICE_TYPE_MEMBERS_JOINED,
			noticeFor{user, g.id, pb.NoticeType_NOTICE_TYPE_JOIN_ACCEPTED})
	case pb.Standing_STANDING_INVITED:
		return g.enter(user, user, joinGroup, pb.NoticeType_NOTICE_TYPE_MEMBERS_JOINED)
	}
	switch {
	case choice == 0:
		return g.enter(g.owner, user, addUsers(user), pb.NoticeType_NOTICE_TYPE_MEMBERS_ADDED)
	case choice == 1:
		g.change(user, func(s *groupSeat) { s.Standing = pb.Standing_STANDING_INVITED })
		return g.step(g.owner, inviteUsers(user), "", noticeFor{user, g.id, pb.NoticeType_NOTICE_TYPE_GROUP_INVITED})
	case g.create.Join == pb.JoinPolicy_JOIN_POLICY_OPEN:
		return g.enter(user, user, joinGroup, pb.NoticeType_NOTICE_TYPE_MEMBERS_JOINED)
	}
	g.change(user, func(s *groupSeat) { s.Standing = pb.Standing_STANDING_REQUESTED })
	asked := []noticeFor{{g.owner, g.id, pb.NoticeType_NOTICE_TYPE_JOIN_REQUESTED}}
	for _, admin := range g.v.Admins {
		asked = append(asked, noticeFor{admin, g.id, pb.NoticeType_NOTICE_TYPE_JOIN_REQUESTED})
	}
	return g.step(user, joinGroup, "", asked...)
}

func (g *crashGroup) change(user string, change func(s *groupSeat)) {
	s := g.v.Seats[user]
	change(&s)
	g.v.Seats[user] = s
}

func (g *crashGroup) enter(by, user string, req *pb.GroupRequest, told pb.NoticeType, follow ...noticeFor) *Proposal {
	seat := groupSeat{Role: pb.Role_ROLE_MEMBER, Standing: pb.Standing_STANDING_ACTIVE, From: 1, Read: g.v.Head}
	if g.create.History == pb.HistoryPolicy_HISTORY_POLICY_FROM_JOIN {
		seat.From = g.v.Head + 1
	}
	message := g.tell(told, user)
	g.v.Members++
	g.v.Seats[user] = seat
	return g.step(by, req, message, follow...)
}

func (g *crashGroup) leave(by, user string, req *pb.GroupRequest, to pb.Standing, told pb.NoticeType) *Proposal {
	message := g.tell(told, user)
	g.v.Members--
	g.v.Admins = slices.DeleteFunc(slices.Clone(g.v.Admins), func(admin string) bool { return admin == user })
	g.change(user, func(s *groupSeat) { s.Role, s.Standing, s.Until = pb.Role_ROLE_UNSPECIFIED, to, g.v.Head })
	return g.step(by, req, message)
}

// tell is the notice that a user comes or goes, "" where there is none.
func (g *crashGroup) tell(told pb.NoticeType, user string) string {
	if g.isQuiet(user) {
		return ""
	}
	g.v.Head++
	return fmt.Sprint(told, []string{user})
}

// setRole makes a member an admin, or an admin a member.
func (g *crashGroup) setRole(user string) *Proposal {
	g.v.Head++
	role := pb.Role_ROLE_ADMIN
	if slices.Contains(g.v.Admins, user) {
		role = pb.Role_ROLE_MEMBER
		g.v.Admins = slices.DeleteFunc(slices.Clone(g.v.Admins), func(admin string) bool { return admin == user })
	} else {
		g.v.Admins = slices.Sorted(slices.Values(append(slices.Clone(g.v.Admins), user)))
	}
	g.change(user, func(s *groupSeat) { s.Role = role })
	return g.step(g.owner, setRole(role, user), fmt.Sprint(pb.NoticeType_NOTICE_TYPE_ROLE_CHANGED, []string{user}))
}

func (g *crashGroup) send(user string) *Proposal {
	g.v.Head++
	g.change(user, func(s *groupSeat) { s.Read = g.v.Head })
	p := g.step(user, nil, "")
	p.Command.Op, p.Command.ClientID = OpSend, fmt.Sprint(len(g.steps))
	p.Command.Kind, p.Command.Body = pb.Kind_KIND_TEXT, []byte("hello")
	g.steps[len(g.steps)-1].message = user + " " + p.Command.ClientID
	return p
}

// step notes how the group is after a command, and returns that.
func (g *crashGroup) step(user string, req *pb.GroupRequest, message string, follow ...noticeFor) *Proposal {
	g.v.Listed, g.v.Waiting = nil, nil
	for _, user := range slices.Sorted(maps.Keys(g.v.Seats)) {
		switch g.v.Seats[user].Standing {
		case pb.Standing_STANDING_ACTIVE:
			g.v.Listed = append(g.v.Listed, user)
		case pb.Standing_STANDING_REQUESTED:
			g.v.Waiting = append(g.v.Waiting, user)
		}
	}
	return g.add(fmt.Sprintf("%+v", g.v), message, follow, Command{Op: OpGroup, User: user, Group: req})
}

// add notes a command and what it makes of the conversation, and returns it.
func (l *crashLog) add(view, message string, notices []noticeFor, c Command) *Proposal {
	s := &crashStep{log: l, n: len(l.steps) + 1, view: view, message: message, notices: notices}
	l.steps = append(l.steps, s)
	c.Conversation = l.id
	return &Proposal{Origin: s, Command: c}
}

// viewIn implements crashModel.
func (g *crashGroup) viewIn(store *msgstore.Store) (string, error) {
	group, found, err := store.Group(g.id)
	if err != nil || !found {
		return "", err
	}
	head, _, err := store.Head(g.id)
	if err != nil {
		return "", err
	}
	v := groupView{
		Head: head.Seq, Owner: group.Owner, Admins: group.Admins, Members: int(group.Members), Seats: map[string]groupSeat{},
	}
	for _, user := range []string{g.owner, "u0", "u1", "u2", "u3", "u4"} {
		row, found, err := store.Member(user, g.id)
		if err != nil {
			return "", err
		}
		if m := row.Membership; found {
			v.Seats[user] = groupSeat{m.GetRole(), m.GetStanding(), m.GetFromSeq(), m.GetUntilSeq(), row.ReadSeq}
		}
	}
	for list, requests := range map[*[]string]bool{&v.Listed: false, &v.Waiting: true} {
		_, err := store.GroupMembers(g.id, requests, "", 100, func(user string, _ msgstore.Member) error {
			*list = append(*list, user)
			return nil
		})
		if err != nil {
			return "", err
		}
	}
	return fmt.Sprintf("%+v", v), nil
}

// messagesIn is the conversation's log in a store, each as in crashStep.
func (l *crashLog) messagesIn(store *msgstore.Store) (messages []string, err error) {
	r, err := store.Range(l.id, 1, 0, false, 1<<30, 1<<30, nil)
	if err != nil {
		return nil, err
	}
	var page pb.Pulled
	if err := proto.Unmarshal(r.Encoded, &page); err != nil {
		return nil, err
	}
	for _, m := range page.Messages {
		text := m.Sender + " " + m.ClientId
		if m.Kind == pb.Kind_KIND_NOTICE {
			notice := &pb.Notice{}
			if err := proto.Unmarshal(m.Body, notice); err != nil {
				return nil, err
			}
			text = fmt.Sprint(notice.Type, notice.Users)
		}
		messages = append(messages, text)
	}
	return messages, nil
}
