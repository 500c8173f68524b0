package main

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/godwit-im/godwit/sdk-go"
)

// maxHistory bounds what /history may ask for.
const maxHistory = 1000

var messageCommands = []command{
	{"reply", "SEQ TEXT", "answer a message", about((*talk).theirs, func(ctx context.Context, t *talk, in input, seq uint64, text string) error {
		return t.say(ctx, in, text, godwit.Reply(seq))
	})},
	{"edit", "SEQ TEXT", "give a message of yours another text", about((*talk).mine, func(ctx context.Context, t *talk, in input, seq uint64, text string) error {
		options := t.mentions(text)
		return t.event(ctx, in, func() (*godwit.Outgoing, error) {
			return t.client.EditText(ctx, t.conversation, seq, text, options...)
		})
	})},
	{"recall", "SEQ", "take a message of yours back, or as an admin another's", about((*talk).mine, func(ctx context.Context, t *talk, in input, seq uint64, _ string) error {
		return t.event(ctx, in, func() (*godwit.Outgoing, error) { return t.client.Recall(ctx, t.conversation, seq) })
	})},
	{"react", "SEQ KEY", "give a message a reaction, such as a smiley", about((*talk).theirs, func(ctx context.Context, t *talk, in input, seq uint64, key string) error {
		return t.event(ctx, in, func() (*godwit.Outgoing, error) { return t.client.React(ctx, t.conversation, seq, key) })
	})},
	{"unreact", "SEQ KEY", "take it back", about((*talk).theirs, func(ctx context.Context, t *talk, in input, seq uint64, key string) error {
		return t.event(ctx, in, func() (*godwit.Outgoing, error) { return t.client.Unreact(ctx, t.conversation, seq, key) })
	})},
	{"delete", "SEQ", "delete a message for yourself, on all your devices", about((*talk).theirs, func(ctx context.Context, t *talk, _ input, seq uint64, _ string) error {
		return t.ask(ctx, func(ctx context.Context) error {
			_, err := answer(ctx, t.client.Delete(t.conversation, seq))
			return err
		})
	})},
	{"readers", "SEQ", "who of the group has read a message", about((*talk).mine, func(ctx context.Context, t *talk, _ input, seq uint64, _ string) error {
		return t.ask(ctx, func(ctx context.Context) error { return t.readers(ctx, seq) })
	})},
	{"history", "[NUMBER]", "show older messages", asking(func(ctx context.Context, t *talk, args []string) error {
		return t.history(ctx, args)
	})},
}

// about is a command whose first argument is a seq. last is the message that
// the word stands for.
func about(last func(*talk) uint64, run func(ctx context.Context, t *talk, in input, seq uint64, rest string) error) func(context.Context, *talk, input, []string) error {
	return func(ctx context.Context, t *talk, in input, args []string) error {
		var seq uint64
		if args[0] == "last" {
			limited, cancel := context.WithTimeout(ctx, askTimeout)
			defer cancel()
			t.sent(limited) // what was written just now has its seq then
			if seq = last(t); seq == 0 {
				t.note("there is no last message")
				return nil
			}
		} else {
			var err error
			if seq, err = strconv.ParseUint(strings.TrimPrefix(args[0], "#"), 10, 64); err != nil || seq == 0 {
				t.note(harmless(args[0]) + " is no message's number")
				return nil
			}
		}
		return run(ctx, t, in, seq, strings.Join(args[1:], " "))
	}
}

// mine is the seq of the user's own newest message.
func (t *talk) mine() uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.lastOwn
}

// theirs is the seq of everybody else's newest message.
func (t *talk) theirs() uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.lastOther
}

// event sends an event, which does not come back as a message.
func (t *talk) event(ctx context.Context, in input, send func() (*godwit.Outgoing, error)) error {
	in.unshown = true
	return t.send(ctx, in, send)
}

func (t *talk) readers(ctx context.Context, seq uint64) error {
	r, err := answer(ctx, t.client.Readers(t.conversation, seq))
	if err != nil {
		return err
	}
	text := fmt.Sprintf("#%d was read by %d and delivered to %d of %d members", seq, r.Read, r.Delivered, r.Members)
	if len(r.Users) > 0 {
		text += ": " + strings.Join(r.Users, ", ")
	}
	t.note(text)
	return nil
}

// history shows the messages before those on the screen.
func (t *talk) history(ctx context.Context, arguments []string) error {
	n := screenful
	if len(arguments) > 0 {
		var err error
		if n, err = strconv.Atoi(arguments[0]); err != nil || n < 1 || n > maxHistory {
			t.note(fmt.Sprintf("/history takes a number from 1 to %d", maxHistory))
			return nil
		}
	}
	t.mu.Lock()
	before := t.first
	t.mu.Unlock()
	var messages []godwit.Message
	if before > 1 {
		var err error
		if messages, err = t.client.History(ctx, t.conversation, before, n); err != nil {
			return err
		}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(messages) == 0 {
		t.view.Note("this is the beginning")
		return nil
	}
	t.first = messages[0].Seq
	messages = slices.DeleteFunc(messages, func(m godwit.Message) bool { return !m.IsShown() })
	t.view.Note(fmt.Sprintf("the %d before:", len(messages)))
	for _, m := range messages {
		t.put(m)
	}
	t.view.Note("and now:")
	return nil
}
