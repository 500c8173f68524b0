package main

import (
	"fmt"
	"maps"

	"github.com/godwit-im/godwit/protocol"
	"github.com/godwit-im/godwit/sdk-go"
)

// maxKept is how many of the messages shown are kept, for what happens to them
// later.
const maxKept = 2 * maxHistory

// keep notes a message that is shown. t.mu must be held.
func (t *talk) keep(m godwit.Message) {
	t.messages[m.Seq] = m
	switch {
	case m.Kind == godwit.KindNotice:
	case m.Sender == t.user:
		t.lastOwn = max(t.lastOwn, m.Seq)
	default:
		t.lastOther = max(t.lastOther, m.Seq)
	}
	if len(t.messages) > maxKept {
		maps.DeleteFunc(t.messages, func(seq uint64, _ godwit.Message) bool { return seq+maxHistory < t.last })
	}
}

func (t *talk) onChanged(c godwit.MessageChange) {
	t.onScreen(func() {
		if c.Event.Sender == t.user {
			t.settle(c.Event.ClientID)
		}
		if c.Conversation == t.conversation {
			t.changed(c)
			t.tell(c.Event.Seq)
			if c.Type == godwit.ChangeDeleted || c.Type == godwit.ChangeCleared {
				t.forgotten++
				t.settled.Broadcast()
			}
		}
	})
}

// changed tells of a change, unless the message was shown with it. A row is not
// written anew: it may have scrolled off, and the old text may have been read.
// t.mu must be held.
func (t *talk) changed(c godwit.MessageChange) {
	m, here := t.messages[c.Seq]
	switch {
	case c.Type == godwit.ChangeCleared:
		maps.DeleteFunc(t.messages, func(seq uint64, _ godwit.Message) bool { return seq <= c.Seq })
		t.view.Note(changeText(c, nil))
	case !here:
		t.view.Note(changeText(c, nil))
	case m.Apply(c):
		t.messages[c.Seq] = m
		t.view.Note(changeText(c, &m))
	}
}

// elsewhere tells of what comes in another conversation. Notices of other groups
// are left to who looks there; those of the user's own feed are read by being
// shown. t.mu must be held.
func (t *talk) elsewhere(m godwit.Message) {
	switch {
	case m.Conversation == t.client.System():
		t.view.Note(oneLine(m))
		_ = t.client.MarkRead(m.Conversation, m.Seq) // fails as in show
	case m.Kind == godwit.KindNotice:
	case protocol.KindOf(m.Conversation) == protocol.Group:
		conversation, _ := t.client.Conversation(m.Conversation)
		did := "wrote"
		if m.Mentioned(t.user) {
			did = "mentioned you"
		}
		t.view.Note(fmt.Sprintf("%s %s in the group %s", m.Sender, did, groupName(conversation.Group, m.Conversation)))
	default:
		t.view.Note(m.Sender + " wrote to you in another conversation")
	}
}
