package main

import (
	"context"
	"errors"
	"strings"

	"github.com/godwit-im/godwit/sdk-go"
)

// signalTyping is the type of the signal that says that somebody is typing, by
// which chats know it.
const signalTyping = "typing"

var signalCommands = []command{
	{"typing", "", "tell that you are typing", asking(func(ctx context.Context, t *talk, _ []string) error {
		return t.signal(ctx, signalTyping, "")
	})},
	{"signal", "TYPE [TEXT]", "send any other signal to those who are there", asking(func(ctx context.Context, t *talk, args []string) error {
		return t.signal(ctx, args[0], strings.Join(args[1:], " "))
	})},
}

// signal sends a signal to all who are in the conversation and there.
func (t *talk) signal(ctx context.Context, kind, text string) error {
	reached, err := answer(ctx, t.client.Signal(godwit.Signal{Conversation: t.conversation, Type: kind, Body: []byte(text)}))
	switch {
	case errors.Is(err, godwit.ErrNotConnected):
		t.note("not connected: a signal is sent at once or not at all")
		return nil
	case err == nil:
		t.note(either(reached, "somebody is there to see it", "sent; nobody is there, or you may not see who is"))
	}
	return err
}

// onSignal tells of a signal in this conversation; those of others pass by.
func (t *talk) onSignal(s godwit.Signal) {
	if t.calls.Handle(s) {
		return
	}
	t.onScreen(func() {
		if s.Conversation == t.conversation {
			t.view.Note(signalText(s))
		}
	})
}

func signalText(s godwit.Signal) string {
	if s.Type == signalTyping {
		return s.User + " is typing"
	}
	text := s.User + " signals " + s.Type + " from " + s.Device
	if len(s.Body) > 0 {
		text += ": " + valueText(s.Body)
	}
	return text
}
