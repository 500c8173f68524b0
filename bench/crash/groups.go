package crash

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/godwit-im/godwit/bench/journal"
	"github.com/godwit-im/godwit/protocol"
	godwit "github.com/godwit-im/godwit/sdk-go"
)

// maxStay bounds the time between two things that one client does about who is
// in a group. With the clients that there are this stays below what the server
// lets a user add in a minute.
const maxStay = 1500 * time.Millisecond

const (
	groupName = "crash"
	newsName  = "news"
	founder   = "user2" // is in every group when it is made
	blocked   = "user3" // blocks others and is blocked now and then
	lazy      = "user1" // reads seldom, so that there is something unread in the end
)

// group is one of the groups that everybody is in and out of, but for its owner.
type group struct {
	id, owner, history string
	join               godwit.JoinPolicy
}

// news is a broadcast of user0's. Everybody follows it now and then.
func news() group {
	return group{protocol.GroupID("user0", newsName), "user0", journal.HistoryFollow, godwit.JoinOpen}
}

// groups returns all of them. They come into being during the run.
func groups() []group {
	return []group{
		{protocol.GroupID("user0", groupName), "user0", journal.HistoryAll, godwit.JoinOpen},
		{protocol.GroupID("user1", groupName), "user1", journal.HistoryJoin, godwit.JoinOpen},
		{protocol.GroupID("user3", groupName), "user3", journal.HistoryJoin, godwit.JoinByInvite},
	}
}

var histories = map[string]godwit.HistoryPolicy{
	journal.HistoryAll:  godwit.HistoryAll,
	journal.HistoryJoin: godwit.HistoryFromJoin,
}

// follow makes the client's user follow the news and leave them now and then, for
// one life of the client, until the fleet stops writing. The owner makes them.
func (c *client) follow(ctx context.Context, sdk *godwit.Client, rng *rand.Rand) {
	c.fleet.writers.Add(1)
	defer c.fleet.writers.Add(-1)
	n := news()
	if c.user == n.owner {
		c.ask(ctx, journal.Entry{Conversation: n.id, Notice: journal.NoticeCreated, Users: n.owner}, func() *godwit.Call[godwit.GroupResult] {
			return sdk.CreateGroup(godwit.NewGroup{
				ClientID: newsName, Kind: godwit.GroupKindBroadcast, Join: n.join, History: godwit.HistoryAll,
			})
		})
		return
	}
	for c.fleet.writing.Load() && rest(ctx, rng, maxStay) {
		call := sdk.JoinGroup
		if conversation, _ := sdk.Conversation(n.id); conversation.Membership.Standing == godwit.StandingActive {
			if rng.IntN(3) > 0 {
				continue
			}
			call = func(group, _ string) *godwit.Call[godwit.GroupResult] { return sdk.LeaveGroup(group) }
		}
		_, err := call(n.id, "").Wait(ctx)
		switch {
		case err == nil, ctx.Err() != nil, errors.Is(err, godwit.ErrClosed), isRefusal(godwit.CodeOf(err)):
		default:
			c.fleet.fail(fmt.Errorf("%s: the news: %w", c.name(), err))
		}
	}
}

// tend makes the client's user do something about who is in g now and then, for
// one life of the client, until the fleet stops writing. The owner makes the
// group, adds or invites users and removes them; the others leave and join.
func (c *client) tend(ctx context.Context, sdk *godwit.Client, g group, rng *rand.Rand) {
	c.fleet.writers.Add(1)
	defer c.fleet.writers.Add(-1)
	ask := func(notice, user string, request func() *godwit.Call[godwit.GroupResult]) {
		c.ask(ctx, journal.Entry{Conversation: g.id, Notice: notice, Users: user}, request)
	}
	if c.user == g.owner {
		ask(journal.NoticeCreated, journal.Users(g.owner, founder), func() *godwit.Call[godwit.GroupResult] {
			return sdk.CreateGroup(godwit.NewGroup{
				ClientID: groupName, Join: g.join, History: histories[g.history], Users: []string{founder},
			})
		})
	}
	for c.fleet.writing.Load() && rest(ctx, rng, maxStay) {
		user := fmt.Sprintf("user%d", rng.IntN(users))
		often := rng.IntN(3) > 0
		conversation, _ := sdk.Conversation(g.id)
		standing := conversation.Membership.Standing
		switch {
		case c.user == g.owner && user == g.owner:
		case c.user == g.owner && often && g.join == godwit.JoinByInvite:
			ask(journal.NoticeInvited, user, func() *godwit.Call[godwit.GroupResult] { return sdk.InviteMembers(g.id, user) })
		case c.user == g.owner && often:
			ask(journal.NoticeAdded, user, func() *godwit.Call[godwit.GroupResult] { return sdk.AddMembers(g.id, user) })
		case c.user == g.owner:
			ask(journal.NoticeRemoved, user, func() *godwit.Call[godwit.GroupResult] { return sdk.RemoveMembers(g.id, user) })
		case standing == godwit.StandingInvited, standing != godwit.StandingActive && g.join == godwit.JoinOpen:
			ask(journal.NoticeJoined, c.user, func() *godwit.Call[godwit.GroupResult] { return sdk.JoinGroup(g.id, "") })
		case standing == godwit.StandingActive && !often:
			ask(journal.NoticeLeft, c.user, func() *godwit.Call[godwit.GroupResult] { return sdk.LeaveGroup(g.id) })
		}
	}
}

// ask journals what is asked of a group, asks, and journals what comes of it.
func (c *client) ask(ctx context.Context, e journal.Entry, request func() *godwit.Call[godwit.GroupResult]) {
	e.Op = journal.OpAsk
	c.write(e)
	result, err := request().Wait(ctx)
	switch {
	case err == nil && result.Seq > 0:
		e.Op, e.Seq = journal.OpDone, result.Seq
		c.write(e)
	case err == nil, ctx.Err() != nil, errors.Is(err, godwit.ErrClosed), isRefusal(godwit.CodeOf(err)):
	default:
		c.fleet.fail(fmt.Errorf("%s: %s %s in %s: %w", c.name(), e.Notice, e.Users, e.Conversation, err))
	}
}
