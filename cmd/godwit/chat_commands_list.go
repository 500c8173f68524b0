package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/godwit-im/godwit/sdk-go"
)

var listCommands = []command{
	{"list", "", "your conversations, with what is unread", asking(func(ctx context.Context, t *talk, _ []string) error {
		t.list(ctx)
		return nil
	})},
	{"pin", "", "pin this conversation in the list, or no longer", setting(func(s godwit.Settings, change *godwit.SettingsChange) string {
		change.Pinned = new(s.Pinned.IsZero())
		return either(*change.Pinned, "pinned", "not pinned")
	})},
	{"mute", "", "mute it, or no longer", setting(func(s godwit.Settings, change *godwit.SettingsChange) string {
		change.Muted = new(!s.Muted)
		return either(*change.Muted, "muted", "not muted")
	})},
	{"archive", "", "keep it out of the list, or no longer", setting(func(s godwit.Settings, change *godwit.SettingsChange) string {
		change.Archived = new(!s.Archived)
		return either(*change.Archived, "archived", "not archived")
	})},
	{"hide", "", "keep it out of the list until the next message", setting(func(_ godwit.Settings, change *godwit.SettingsChange) string {
		change.Hidden = new(true)
		return "hidden until the next message"
	})},
	{"unread", "", "mark it as unread until you look again", setting(func(_ godwit.Settings, change *godwit.SettingsChange) string {
		change.MarkedUnread = new(true)
		return "marked as unread"
	})},
	{"draft", "[TEXT]", "keep an unfinished message for your other devices, or none", asking(func(ctx context.Context, t *talk, args []string) error {
		draft := strings.Join(args, " ")
		return t.set(ctx, godwit.SettingsChange{Draft: &draft}, either(draft == "", "no draft is kept", "the draft is kept"))
	})},
	{"clear", "", "delete all of it so far for yourself, on all your devices", asking(func(ctx context.Context, t *talk, _ []string) error {
		conversation, _ := t.client.Conversation(t.conversation)
		if conversation.MinSeq > conversation.HeadSeq {
			t.note("there is nothing to clear")
			return nil
		}
		return t.forget(ctx, func() *godwit.Call[struct{}] { return t.client.Clear(t.conversation, conversation.HeadSeq) })
	})},
}

var deviceCommands = []command{
	{"devices", "", "your devices that are connected", asking(func(ctx context.Context, t *talk, _ []string) error {
		return t.devices(ctx)
	})},
	{"end", "DEVICE", "end the session of another of your devices", asking(func(ctx context.Context, t *talk, args []string) error {
		was, err := answer(ctx, t.client.EndDevice(args[0]))
		if err == nil {
			t.note(either(was, "ended", "no such device is connected"))
		}
		return err
	})},
}

func either(yes bool, text, other string) string {
	if yes {
		return text
	}
	return other
}

// setting is a command that changes how the conversation is shown. change fills
// in what, by how it is now, and says how it is then.
func setting(change func(now godwit.Settings, change *godwit.SettingsChange) string) func(context.Context, *talk, input, []string) error {
	return asking(func(ctx context.Context, t *talk, _ []string) error {
		conversation, _ := t.client.Conversation(t.conversation)
		var c godwit.SettingsChange
		then := change(conversation.Settings, &c)
		return t.set(ctx, c, "this conversation is "+then)
	})
}

func (t *talk) set(ctx context.Context, change godwit.SettingsChange, done string) error {
	if _, err := answer(ctx, t.client.SetSettings(t.conversation, change)); err != nil {
		return err
	}
	t.note(done)
	return nil
}

// list shows the conversations once they are known.
func (t *talk) list(ctx context.Context) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.wait(ctx, func() bool { return t.caughtUp })
	for _, c := range t.client.Conversations() {
		t.view.Note(conversationText(c, t.user))
	}
	for _, c := range t.client.Archived() {
		t.view.Note(conversationText(c, t.user))
	}
}

// conversationText is a conversation's entry in the list.
func conversationText(c godwit.Conversation, user string) string {
	name := c.Peer
	if c.Peer == "" {
		name = groupName(c.Group, c.ID)
	}
	var what []string
	add := func(is bool, text string) {
		if is {
			what = append(what, text)
		}
	}
	add(c.Unread > 0, fmt.Sprintf("%d unread", c.Unread))
	add(c.Unread == 0 && c.Settings.MarkedUnread, "unread")
	add(c.MentionSeq > 0, fmt.Sprintf("mentions you in #%d", c.MentionSeq))
	add(!c.Settings.Pinned.IsZero(), "pinned")
	add(c.Settings.Muted, "muted")
	add(c.Settings.Archived, "archived")
	if len(what) > 0 {
		name += " [" + strings.Join(what, ", ") + "]"
	}
	switch m := c.Last; {
	case c.Settings.Draft != "":
		return name + " draft: " + harmless(c.Settings.Draft)
	case m == nil:
		return name
	case m.Sender == "" || m.State != godwit.MessageNormal:
		return name + " " + oneLine(*m)
	case m.Sender == user:
		return name + " you: " + oneLine(*m)
	default:
		return name + " " + m.Sender + ": " + oneLine(*m)
	}
}

func (t *talk) devices(ctx context.Context) error {
	devices, err := answer(ctx, t.client.Devices())
	if err != nil {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, d := range devices {
		t.view.Note(fmt.Sprintf("%s (%s) since %s%s", d.Device, d.Platform,
			d.Connected.Local().Format("2 January 15:04"), either(d.Self, ", this one", "")))
	}
	return nil
}
