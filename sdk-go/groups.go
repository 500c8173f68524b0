package godwit

import (
	"context"
	"fmt"
	"iter"
	"maps"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/godwit-im/godwit/protocol"
	"github.com/godwit-im/godwit/protocol/pb"
)

// NewGroup describes a group that is to be made.
type NewGroup struct {
	// ClientID names the group before it has an id: a program that is not sure
	// whether it made one, and makes it with the same ClientID, gets that one.
	// Empty = any.
	ClientID      string
	Kind          GroupKind // GroupKindGroup if unspecified
	Name          string
	Avatar        string
	Notice        string
	Attributes    map[string][]byte
	Join          JoinPolicy    // JoinByInvite if unspecified
	History       HistoryPolicy // HistoryFromJoin if unspecified
	MembersInvite bool
	Users         []string // the first members besides the creator, protocol.MaxUsers at most
}

// GroupChange changes a group's own data; what is nil stays as it is.
type GroupChange struct {
	Name, Avatar, Notice *string
	// Attributes by key; one without a value is removed, others stay.
	Attributes    map[string][]byte
	Join          *JoinPolicy
	History       *HistoryPolicy
	MembersInvite *bool
	Muted         *bool
	// IfVersion, if it is not 0, has the change refused unless Group.Version is
	// this one.
	IfVersion uint64
}

// GroupResult is what became of a request about a group.
type GroupResult struct {
	Group Group
	Seq   uint64 // of the notice about it; 0 = there was nothing to change
	// Standing is, with Join, whether the user is in or has asked to be.
	Standing Standing
}

// CreateGroup makes a group that the user owns.
func (c *Client) CreateGroup(g NewGroup) *Call[GroupResult] {
	if g.ClientID == "" {
		g.ClientID = newClientID()
	}
	return c.group(&pb.GroupRequest{Action: &pb.GroupRequest_Create{Create: &pb.CreateGroup{
		ClientId: g.ClientID, Kind: g.Kind, Name: g.Name, Avatar: g.Avatar, Notice: g.Notice,
		Attributes: attributes(g.Attributes), Join: g.Join, History: g.History, MembersInvite: g.MembersInvite,
		Users: slices.Clone(g.Users),
	}}}, true)
}

// AddMembers makes users members without asking them.
func (c *Client) AddMembers(group string, users ...string) *Call[GroupResult] {
	return c.group(&pb.GroupRequest{Conversation: group, Action: &pb.GroupRequest_Add{Add: usersOf(users)}}, false)
}

// InviteMembers asks users; they answer with JoinGroup or RefuseInvitation.
func (c *Client) InviteMembers(group string, users ...string) *Call[GroupResult] {
	return c.group(&pb.GroupRequest{Conversation: group, Action: &pb.GroupRequest_Invite{Invite: usersOf(users)}}, false)
}

// JoinGroup joins, accepts an invitation or, by the group's policy, asks to be
// let in, saying a text of at most protocol.MaxText bytes.
func (c *Client) JoinGroup(group, text string) *Call[GroupResult] {
	return c.group(&pb.GroupRequest{Conversation: group, Action: &pb.GroupRequest_Join{Join: &pb.Join{Text: text}}}, true)
}

// RefuseInvitation refuses one.
func (c *Client) RefuseInvitation(group string) *Call[GroupResult] {
	return c.group(&pb.GroupRequest{Conversation: group, Action: &pb.GroupRequest_Refuse{Refuse: new(pb.Nothing)}}, true)
}

// AdmitMembers lets users in who asked.
func (c *Client) AdmitMembers(group string, users ...string) *Call[GroupResult] {
	return c.group(&pb.GroupRequest{Conversation: group, Action: &pb.GroupRequest_Admit{Admit: usersOf(users)}}, false)
}

// DeclineMembers does not.
func (c *Client) DeclineMembers(group string, users ...string) *Call[GroupResult] {
	return c.group(&pb.GroupRequest{Conversation: group, Action: &pb.GroupRequest_Decline{Decline: usersOf(users)}}, false)
}

// LeaveGroup leaves. What there was until then stays readable. An owner
// transfers or dissolves the group first.
func (c *Client) LeaveGroup(group string) *Call[GroupResult] {
	return c.group(&pb.GroupRequest{Conversation: group, Action: &pb.GroupRequest_Leave{Leave: new(pb.Nothing)}}, true)
}

// RemoveMembers removes users.
func (c *Client) RemoveMembers(group string, users ...string) *Call[GroupResult] {
	return c.group(&pb.GroupRequest{Conversation: group, Action: &pb.GroupRequest_Remove{Remove: usersOf(users)}}, false)
}

// SetRole makes members admins, or admins members.
func (c *Client) SetRole(group string, role Role, users ...string) *Call[GroupResult] {
	return c.group(&pb.GroupRequest{Conversation: group, Action: &pb.GroupRequest_Role{
		Role: &pb.SetRole{Users: slices.Clone(users), Role: role},
	}}, false)
}

// TransferGroup makes another member the owner.
func (c *Client) TransferGroup(group, user string) *Call[GroupResult] {
	return c.group(&pb.GroupRequest{Conversation: group, Action: &pb.GroupRequest_Transfer{Transfer: user}}, true)
}

// ChangeGroup changes the group's own data.
func (c *Client) ChangeGroup(group string, change GroupChange) *Call[GroupResult] {
	return c.group(&pb.GroupRequest{Conversation: group, Action: &pb.GroupRequest_Change{Change: &pb.ChangeGroup{
		Name: change.Name, Avatar: change.Avatar, Notice: change.Notice, Attributes: attributes(change.Attributes),
		Join: change.Join, History: change.History, MembersInvite: change.MembersInvite, Muted: change.Muted,
		IfVersion: change.IfVersion,
	}}}, false)
}

// MuteMembers has users not write until a time by the server's clock; the zero
// time lets them again.
func (c *Client) MuteMembers(group string, until time.Time, users ...string) *Call[GroupResult] {
	return c.group(&pb.GroupRequest{Conversation: group, Action: &pb.GroupRequest_Mute{
		Mute: &pb.MuteMembers{Users: slices.Clone(users), UntilMs: millis(until)},
	}}, false)
}

// SetNick sets what the user is called in the group, in at most protocol.MaxNick
// bytes; empty for nothing.
func (c *Client) SetNick(group, nick string) *Call[GroupResult] {
	return c.group(&pb.GroupRequest{Conversation: group, Action: &pb.GroupRequest_Nick{Nick: nick}}, true)
}

// DissolveGroup ends a group for all. What there was stays readable.
func (c *Client) DissolveGroup(group string) *Call[GroupResult] {
	return c.group(&pb.GroupRequest{Conversation: group, Action: &pb.GroupRequest_Dissolve{Dissolve: new(pb.Nothing)}}, true)
}

// group makes a GROUP. own says that it changes the user's own row.
func (c *Client) group(body *pb.GroupRequest, own bool) *Call[GroupResult] {
	if body.GetCreate() == nil && !isGroup(body.Conversation) {
		err := protocol.Errorf(pb.Code_CODE_BAD_ID, "%q is no group", body.Conversation)
		return failed[GroupResult](c, fmt.Errorf("godwit: group: %w", err))
	}
	mine := &call{kind: protocol.TypeGroup, body: body, learn: func(a *account, answer proto.Message) {
		grouped := answer.(*pb.Grouped)
		b := a.box(grouped.Conversation)
		if grouped.Group != nil {
			a.learnGroup(b, grouped.Group)
		}
		a.existsHere(b, grouped.Seq, time.Now())
		a.changed(b)
	}}
	if own {
		mine.informs = func(answer proto.Message) string { return answer.(*pb.Grouped).Conversation }
	}
	return begin(c, mine, func(m proto.Message) GroupResult {
		grouped := m.(*pb.Grouped)
		result := GroupResult{Seq: grouped.Seq, Standing: grouped.Standing}
		if grouped.Group != nil {
			result.Group = groupFromWire(grouped.Group)
		}
		return result
	})
}

func usersOf(users []string) *pb.Users { return &pb.Users{Users: slices.Clone(users)} }

func attributes(m map[string][]byte) (all []*pb.Attribute) {
	for _, key := range slices.Sorted(maps.Keys(m)) {
		all = append(all, &pb.Attribute{Key: key, Value: slices.Clone(m[key])})
	}
	return all
}

// FetchMembers asks the server for a group's members, by user id, a page of 200
// at a time as the loop goes on. A user may be missed or come although they have
// left where the group changes meanwhile; Members has one consistent list.
func (c *Client) FetchMembers(ctx context.Context, group string) iter.Seq2[Member, error] {
	return c.memberPages(ctx, group, false)
}

// JoinRequests asks for those who asked to join, which admins may, in the manner
// of FetchMembers.
func (c *Client) JoinRequests(ctx context.Context, group string) iter.Seq2[Member, error] {
	return c.memberPages(ctx, group, true)
}

func (c *Client) memberPages(ctx context.Context, group string, requests bool) iter.Seq2[Member, error] {
	return func(yield func(Member, error) bool) {
		for after := ""; ; {
			page, err := c.memberPage(ctx, group, after, requests)
			if err != nil {
				yield(Member{}, err)
				return
			}
			for _, m := range page.Members {
				if !yield(memberFromWire(m), nil) {
					return
				}
				after = m.User
			}
			if !page.More || len(page.Members) == 0 {
				return
			}
		}
	}
}

func (c *Client) memberPage(ctx context.Context, group, after string, requests bool) (*pb.MemberList, error) {
	if err := checkConversation(group); err != nil {
		return nil, fmt.Errorf("godwit: members: %w", err)
	}
	answer, err := c.ask(ctx, protocol.TypeMembers, &pb.Members{Conversation: group, After: after, Limit: pullLimit, Requests: requests})
	if err != nil {
		return nil, err
	}
	return answer.(*pb.MemberList), nil
}

// Readers is who of a group has read a message.
type Readers struct {
	Read      int // members, the sender not among them, who have
	Delivered int // on a device of whom it has arrived
	Members   int // of how many
	Users     []string
}

// Readers tells who has read the message at seq, in groups up to a size that the
// server sets: past it the code is GROUP_TOO_LARGE.
func (c *Client) Readers(group string, seq uint64) *Call[Readers] {
	return start(c, protocol.TypeReaders, &pb.Readers{Conversation: group, Seq: seq}, nil, func(m proto.Message) Readers {
		list := m.(*pb.ReaderList)
		return Readers{
			Read: int(list.Read), Delivered: int(list.Delivered), Members: int(list.Members),
			Users: slices.Clone(list.Readers),
		}
	})
}

// Reactors returns all users who have a reaction to the message at seq.
func (c *Client) Reactors(ctx context.Context, conversation string, seq uint64, key string) ([]string, error) {
	var users []string
	for after := ""; ; {
		answer, err := c.ask(ctx, protocol.TypeReactors, &pb.Reactors{
			Conversation: conversation, Seq: seq, Key: key, After: after, Limit: pullLimit,
		})
		if err != nil {
			return nil, err
		}
		page := answer.(*pb.ReactorList)
		users = append(users, page.Users...)
		if !page.More || len(page.Users) == 0 {
			return users, nil
		}
		after = users[len(users)-1]
	}
}

// Refresh asks the server how a conversation stands, for the local model, which
// is right without it, and returns what it then is.
func (c *Client) Refresh(conversation string) *Call[Conversation] {
	if err := checkConversation(conversation); err != nil {
		return failed[Conversation](c, fmt.Errorf("godwit: refresh: %w", err))
	}
	learn := func(a *account, answer proto.Message) {
		a.learn(a.box(conversation), answer.(*pb.Informed).State)
	}
	return start(c, protocol.TypeInfo, &pb.Info{Conversation: conversation}, learn, func(proto.Message) Conversation {
		conv, _ := c.Conversation(conversation)
		return conv
	})
}
