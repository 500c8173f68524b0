package main

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

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
	{"reactors", "SEQ KEY", "who gave it", about((*talk).newest, func(ctx context.Context, t *talk, _ input, seq uint64, key string) error {
		return t.ask(ctx, func(ctx context.Context) error { return t.reactors(ctx, seq, key) })
	})},
	{"delete", "SEQ", "delete a message for yourself, on all your devices", about((*talk).newest, func(ctx context.Context, t *talk, _ input, seq uint64, _ string) error {
		if t.gone(seq) {
			t.note("there is nothing left to delete")
			return nil
		}
		return t.ask(ctx, func(ctx context.Context) error {
			return t.forget(ctx, func() *godwit.Call[struct{}] { return t.client.Delete(t.conversation, seq) })
		})
	})},
	{"readers", "SEQ", "who of the group has read a message", about((*talk).mine, func(ctx context.Context, t *talk, _ input, seq uint64, _ string) error {
		return t.ask(ctx, func(ctx context.Context) error { return t.readers(ctx, seq) })
	})},
	{"expiring", "SECONDS TEXT", "write a message that is gone after a while", expiring},
	{"media", "OBJECT TYPE BYTES [TEXT]", "write of a file that is elsewhere: its object key, media type, size and name", media},
	{"history", "[NUMBER]", "show older messages", asking(func(ctx context.Context, t *talk, args []string) error {
		return t.history(ctx, args)
	})},
}

// expiring sends a message with a time to live.
func expiring(ctx context.Context, t *talk, in input, args []string) error {
	const year = 365 * 24 * 60 * 60
	n, err := strconv.ParseUint(args[0], 10, 32)
	if bad := err != nil || n == 0 || n > year; bad {
		t.note("the seconds are a number, of a year at most")
		return nil
	}
	return t.say(ctx, in, args[1], godwit.TTL(time.Duration(n)*time.Second))
}

// number reads a number that fits an int64, too.
func number(text string) (n uint64, ok bool) {
	n, err := strconv.ParseUint(text, 10, 63)
	return n, err == nil
}

// media sends the metadata of an object. That there is one is not looked into.
func media(ctx context.Context, t *talk, in input, args []string) error {
	size, ok := number(args[2])
	if !ok {
		t.note("the bytes are a number")
		return nil
	}
	m := godwit.Media{ObjectKey: args[0], ContentType: args[1], Size: size, Name: strings.Join(args[3:], " ")}
	return t.send(ctx, in, func() (*godwit.Outgoing, error) { return t.client.SendMedia(ctx, t.conversation, m) })
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

// newest is the seq of anybody's newest message.
func (t *talk) newest() uint64 { return max(t.mine(), t.theirs()) }

// event sends an event, which does not come back as a message.
func (t *talk) event(ctx context.Context, in input, send func() (*godwit.Outgoing, error)) error {
	in.unshown = true
	return t.send(ctx, in, send)
}

// gone reports whether a message on the screen is a tombstone.
func (t *talk) gone(seq uint64) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.messages[seq].State != godwit.MessageNormal
}

// forget waits for a deletion, and until it was told.
func (t *talk) forget(ctx context.Context, call func() *godwit.Call[struct{}]) error {
	t.mu.Lock()
	before := t.forgotten
	t.mu.Unlock()
	if _, err := answer(ctx, call()); err != nil {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.wait(ctx, func() bool { return t.forgotten > before })
	return nil
}

func (t *talk) reactors(ctx context.Context, seq uint64, key string) error {
	users, err := t.client.Reactors(ctx, t.conversation, seq, key)
	if err != nil {
		return err
	}
	t.note(fmt.Sprintf("#%d has %s from %s", seq, harmless(key), firstOf(strings.Join(users, ", "), "nobody")))
	return nil
}

func (t *talk) readers(ctx context.Context, seq uint64) error {
	r, err := answer(ctx, t.client.Readers(t.conversation, seq))
	if err != nil {
		return err
	}
	text := fmt.Sprintf("#%d was read by %d and delivered to %d of %d others", seq, r.Read, r.Delivered, r.Members)
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
