package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/godwit-im/godwit/sdk-go"
)

var groupCommands = []command{
	{"about", "", "what the group says of itself", inGroup(func(_ context.Context, t *talk, _ []string) error {
		conversation, _ := t.client.Conversation(t.conversation)
		t.note(groupText(conversation.Group))
		return nil
	})},
	{"members", "", "who is in it", inGroup(func(ctx context.Context, t *talk, _ []string) error { return t.members(ctx) })},
	{"add", "USER...", "make users members", changing("", func(t *talk, args []string) groupCall {
		return t.client.AddMembers(t.conversation, args...)
	})},
	{"invite", "USER...", "invite users", changing("invited", func(t *talk, args []string) groupCall {
		return t.client.InviteMembers(t.conversation, args...)
	})},
	{"remove", "USER...", "remove members", changing("", func(t *talk, args []string) groupCall {
		return t.client.RemoveMembers(t.conversation, args...)
	})},
	{"join", "[TEXT]", "join, accept an invitation, or ask to join, saying TEXT", changing("", func(t *talk, args []string) groupCall {
		return t.client.JoinGroup(t.conversation, strings.Join(args, " "))
	})},
	{"leave", "", "leave, or refuse an invitation", changing("", (*talk).leave)},
	{"requests", "", "who asks to join", inGroup(func(ctx context.Context, t *talk, _ []string) error { return t.requests(ctx) })},
	{"admit", "USER...", "let users in who asked", changing("", func(t *talk, args []string) groupCall {
		return t.client.AdmitMembers(t.conversation, args...)
	})},
	{"decline", "USER...", "do not", changing("declined", func(t *talk, args []string) groupCall {
		return t.client.DeclineMembers(t.conversation, args...)
	})},
	{"name", "TEXT", "name the group", changing("", func(t *talk, args []string) groupCall {
		return t.client.ChangeGroup(t.conversation, godwit.GroupChange{Name: &args[0]})
	})},
	{"notice", "TEXT", "set what everybody should read", changing("", func(t *talk, args []string) groupCall {
		return t.client.ChangeGroup(t.conversation, godwit.GroupChange{Notice: &args[0]})
	})},
	{"avatar", "[TEXT]", "set its avatar, a URL or an object key, or none", changing("", func(t *talk, args []string) groupCall {
		return t.client.ChangeGroup(t.conversation, godwit.GroupChange{Avatar: new(strings.Join(args, " "))})
	})},
	{"attribute", "KEY [TEXT]", "set an attribute of the app's own, or remove it", inGroup(func(ctx context.Context, t *talk, args []string) error {
		change := godwit.GroupChange{Attributes: map[string][]byte{args[0]: []byte(strings.Join(args[1:], " "))}}
		if err := t.changeGroup(ctx, "", t.client.ChangeGroup(t.conversation, change)); err != nil {
			return err
		}
		t.note("the attributes are changed") // of which no message is shown
		return nil
	})},
	{"policy", "invite|approval|open", "who may join", choosing(map[string]godwit.GroupChange{
		"invite":   {Join: new(godwit.JoinByInvite)},
		"approval": {Join: new(godwit.JoinByApproval)},
		"open":     {Join: new(godwit.JoinOpen)},
	})},
	{"past", "join|all", "what new members see of it: from when they join, or all", choosing(map[string]godwit.GroupChange{
		"join": {History: new(godwit.HistoryFromJoin)},
		"all":  {History: new(godwit.HistoryAll)},
	})},
	{"writers", "admins|all", "who may write", choosing(map[string]godwit.GroupChange{
		"admins": {Muted: new(true)},
		"all":    {Muted: new(false)},
	})},
	{"inviters", "admins|all", "who may invite", choosing(map[string]godwit.GroupChange{
		"admins": {MembersInvite: new(false)},
		"all":    {MembersInvite: new(true)},
	})},
	{"role", "USER admin|member", "make a member an admin, or an admin a member", inGroup(func(ctx context.Context, t *talk, args []string) error {
		role, ok := map[string]godwit.Role{"admin": godwit.RoleAdmin, "member": godwit.RoleMember}[args[1]]
		if !ok {
			t.note("the role is admin or member; /transfer gives the group away")
			return nil
		}
		return t.changeGroup(ctx, "", t.client.SetRole(t.conversation, role, args[0]))
	})},
	{"silence", "USER MINUTES", "have a member not write for a while; 0 ends it", inGroup(func(ctx context.Context, t *talk, args []string) error {
		return t.silence(ctx, args[0], args[1])
	})},
	{"nick", "[TEXT]", "set what you are called in the group", changing("", func(t *talk, args []string) groupCall {
		return t.client.SetNick(t.conversation, strings.Join(args, " "))
	})},
	{"transfer", "USER", "give the group to another member", changing("", func(t *talk, args []string) groupCall {
		return t.client.TransferGroup(t.conversation, args[0])
	})},
	{"dissolve", "", "end the group for all", changing("", func(t *talk, _ []string) groupCall {
		return t.client.DissolveGroup(t.conversation)
	})},
}

type groupCall = *godwit.Call[godwit.GroupResult]

// inGroup is a command that needs a group and the server's answer.
func inGroup(run func(ctx context.Context, t *talk, args []string) error) func(context.Context, *talk, input, []string) error {
	ask := asking(run)
	return func(ctx context.Context, t *talk, in input, args []string) error {
		if t.peer != "" {
			t.note("that is for groups, and this is a chat with " + t.peer)
			return nil
		}
		return ask(ctx, t, in, args)
	}
}

// changing is a command that changes the group. done is told where the group is
// not told itself.
func changing(done string, call func(t *talk, args []string) groupCall) func(context.Context, *talk, input, []string) error {
	return inGroup(func(ctx context.Context, t *talk, args []string) error {
		return t.changeGroup(ctx, done, call(t, args))
	})
}

// choosing is a command that changes the group in one of several ways.
func choosing(changes map[string]godwit.GroupChange) func(context.Context, *talk, input, []string) error {
	return inGroup(func(ctx context.Context, t *talk, args []string) error {
		change, ok := changes[args[0]]
		if !ok {
			t.note("it is one of " + strings.Join(slices.Sorted(maps.Keys(changes)), ", "))
			return nil
		}
		return t.changeGroup(ctx, "", t.client.ChangeGroup(t.conversation, change))
	})
}

func (t *talk) changeGroup(ctx context.Context, done string, call groupCall) error {
	result, err := answer(ctx, call)
	switch {
	case err != nil:
		return err
	case result.Standing == godwit.StandingRequested:
		t.note("you have asked to join; an admin has to let you in")
	case result.Seq == 0:
		t.note(firstOf(done, "done"))
	default:
		t.mu.Lock()
		defer t.mu.Unlock()
		t.wait(ctx, func() bool { return t.told >= result.Seq }) // the notice tells
	}
	return nil
}

// leave refuses where there is nothing but an invitation or a request.
func (t *talk) leave([]string) groupCall {
	conversation, _ := t.client.Conversation(t.conversation)
	switch conversation.Membership.Standing {
	case godwit.StandingInvited, godwit.StandingRequested:
		return t.client.RefuseInvitation(t.conversation)
	}
	return t.client.LeaveGroup(t.conversation)
}

// maxMembersShown bounds what /members prints of a large group.
const maxMembersShown = 200

func (t *talk) members(ctx context.Context) error {
	shown := 0
	for m, err := range t.client.FetchMembers(ctx, t.conversation) {
		if err != nil {
			return err
		}
		if shown == maxMembersShown {
			t.note(fmt.Sprintf("and more: these are the first %d by id", maxMembersShown))
			break
		}
		shown++
		t.note(memberText(m))
	}
	return nil
}

func memberText(m godwit.Member) string {
	text := m.User
	if m.Nick != "" {
		text += ` "` + harmless(m.Nick) + `"`
	}
	if m.Role != godwit.RoleMember {
		text += ": " + roleText(m.Role)
	}
	if m.MutedUntil.After(time.Now()) {
		text += ", may not write until " + m.MutedUntil.Local().Format("2 January 15:04")
	}
	return text
}

func (t *talk) requests(ctx context.Context) error {
	asked := 0
	for m, err := range t.client.JoinRequests(ctx, t.conversation) {
		if err != nil {
			return err
		}
		asked++
		t.note(m.User + " asks to join")
	}
	if asked == 0 {
		t.note("nobody asks to join")
	}
	return nil
}

func (t *talk) silence(ctx context.Context, user, minutes string) error {
	const year = 365 * 24 * 60
	n, err := strconv.ParseUint(minutes, 10, 32)
	if bad := err != nil || n > year; bad {
		t.note("the minutes are a number, of a year at most")
		return nil
	}
	var until time.Time
	if n > 0 {
		until = t.client.ServerTime().Add(time.Duration(n) * time.Minute)
	}
	return t.changeGroup(ctx, "", t.client.MuteMembers(t.conversation, until, user))
}
