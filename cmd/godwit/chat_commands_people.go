package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/godwit-im/godwit/protocol"
	"github.com/godwit-im/godwit/sdk-go"
)

var peopleCommands = []command{
	{"who", "", "who of those you have a conversation with is online", asking(func(ctx context.Context, t *talk, _ []string) error {
		return t.who(ctx)
	})},
	{"contacts", "", "your contacts, requests and blocked users", asking(func(ctx context.Context, t *talk, _ []string) error {
		return t.contacts(ctx)
	})},
	{"contact", "ACTION USER [TEXT]", "add (saying TEXT), accept, refuse, remove, block, unblock, remark (TEXT)", asking(func(ctx context.Context, t *talk, args []string) error {
		return t.contact(ctx, args[0], args[1], strings.Join(args[2:], " "))
	})},
	{"presence", "AUDIENCE", "who may see you online: nobody, contacts or everybody", asking(func(ctx context.Context, t *talk, args []string) error {
		return t.presence(ctx, args[0])
	})},
	{"strangers", "yes|no|default", "may who is no contact write to you? default is as the server says", asking(func(ctx context.Context, t *talk, args []string) error {
		return t.strangers(ctx, args[0])
	})},
}

// who tells which of the users with whom there is a conversation are online.
func (t *talk) who(ctx context.Context) error {
	conversations, err := t.client.FetchConversations(ctx)
	if err != nil {
		return err
	}
	var online []string
	var peers []string
	for _, c := range conversations {
		if c.Peer != "" {
			peers = append(peers, c.Peer)
		}
	}
	for users := range slices.Chunk(peers, protocol.MaxWho) {
		some, err := t.client.Online(ctx, users...)
		if err != nil {
			return err
		}
		online = append(online, some...)
	}
	text := "online: " + strings.Join(online, ", ")
	if len(online) == 0 {
		text = "nobody you have a conversation with is online"
	}
	t.note(text)
	return nil
}

func (t *talk) contacts(ctx context.Context) error {
	contacts, err := t.client.FetchContacts(ctx)
	if err != nil {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(contacts) == 0 {
		t.view.Note("you have no contacts")
	}
	for _, c := range contacts {
		t.view.Note(contactText(c))
	}
	return nil
}

func contactText(c godwit.Contact) string {
	text := c.User
	if c.Remark != "" {
		text += ` "` + harmless(c.Remark) + `"`
	}
	switch c.State {
	case godwit.ContactMutual:
		text += ": a contact"
	case godwit.ContactRequested:
		text += ": asked by you"
	case godwit.ContactPending:
		text += ": asks you"
	default:
		text += ": no contact"
	}
	if c.Blocked {
		text += ", blocked"
	}
	return text
}

func (t *talk) contact(ctx context.Context, action, user, text string) error {
	calls := map[string]func() *godwit.Call[godwit.Contact]{
		"add":     func() *godwit.Call[godwit.Contact] { return t.client.RequestContact(user, text) },
		"accept":  func() *godwit.Call[godwit.Contact] { return t.client.AcceptContact(user) },
		"refuse":  func() *godwit.Call[godwit.Contact] { return t.client.RefuseContact(user) },
		"remove":  func() *godwit.Call[godwit.Contact] { return t.client.RemoveContact(user) },
		"block":   func() *godwit.Call[godwit.Contact] { return t.client.Block(user) },
		"unblock": func() *godwit.Call[godwit.Contact] { return t.client.Unblock(user) },
		"remark":  func() *godwit.Call[godwit.Contact] { return t.client.Remark(user, text) },
	}
	call := calls[action]
	if call == nil {
		t.note("a contact is one to add, accept, refuse, remove, block, unblock or remark")
		return nil
	}
	contact, err := answer(ctx, call())
	if err != nil {
		return err
	}
	t.note(contactText(contact))
	return nil
}

func (t *talk) presence(ctx context.Context, name string) error {
	audience, ok := map[string]godwit.Audience{
		"nobody": godwit.AudienceNobody, "contacts": godwit.AudienceContacts, "everybody": godwit.AudienceEverybody,
	}[name]
	if !ok {
		t.note("the audience is nobody, contacts or everybody")
		return nil
	}
	if _, err := answer(ctx, t.client.SetAccount(godwit.AccountChange{Presence: &audience})); err != nil {
		return err
	}
	t.note(fmt.Sprintf("whether you are online is for %s to see", name))
	return nil
}

func (t *talk) strangers(ctx context.Context, name string) error {
	from, ok := map[string]godwit.Audience{
		"yes": godwit.AudienceEverybody, "no": godwit.AudienceContacts, "default": 0,
	}[name]
	if !ok {
		t.note("strangers may write: yes, no, or default")
		return nil
	}
	if _, err := answer(ctx, t.client.SetAccount(godwit.AccountChange{Messages: &from})); err != nil {
		return err
	}
	t.note("may strangers write to you? " + name)
	return nil
}
