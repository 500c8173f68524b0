package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/godwit-im/godwit/protocol"
	"github.com/godwit-im/godwit/sdk-go"
)

// note shows a line from the input's goroutine.
func (t *talk) note(text string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.view.Note(text)
}

// do carries out a line: a command or a message.
func (t *talk) do(ctx context.Context, in input) error {
	switch {
	case strings.TrimSpace(in.text) == "":
		return nil
	case strings.HasPrefix(in.text, "//"):
		in.text = in.text[1:]
	case strings.HasPrefix(in.text, "/"):
		return t.command(ctx, in)
	}
	return t.say(ctx, in, in.text)
}

// askTimeout bounds the commands that need an answer of the server.
const askTimeout = 20 * time.Second

// ask runs a command that needs an answer, after what was written before it.
func (t *talk) ask(ctx context.Context, command func(context.Context) error) error {
	limited, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	t.sent(limited)
	err := command(limited)
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		t.note("the server does not answer")
		return nil
	case godwit.CodeOf(err) != 0 && !errors.Is(err, godwit.ErrClosed):
		t.mu.Lock()
		defer t.mu.Unlock()
		t.anyRefused = true
		t.view.Note("refused: " + protocol.AsError(err).Text)
		return nil
	}
	return err
}

// answer is what a call brought. A call that nobody waits for any more is taken
// back: what a command said it could not do must not happen later.
func answer[T any](ctx context.Context, call *godwit.Call[T]) (T, error) {
	value, err := call.Wait(ctx)
	if ctx.Err() != nil {
		call.Cancel()
	}
	return value, err
}

// sent waits until all that was written is stored or refused, or ctx ends.
func (t *talk) sent(ctx context.Context) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.wait(ctx, func() bool { return len(t.waiting) == 0 })
}

// say sends text.
func (t *talk) say(ctx context.Context, in input, text string, options ...godwit.SendOption) error {
	options = append(options, t.mentions(text)...)
	return t.send(ctx, in, func() (*godwit.Outgoing, error) {
		return t.client.SendText(ctx, t.conversation, text, options...)
	})
}

// send hands something to the client, waiting while the outbox is full.
func (t *talk) send(ctx context.Context, in input, send func() (*godwit.Outgoing, error)) error {
	// The lock keeps the ack from being shown before the line is known.
	t.mu.Lock()
	defer t.mu.Unlock()
	out, err := send()
	for errors.Is(err, godwit.ErrOutboxFull) && ctx.Err() == nil {
		before := len(t.waiting)
		t.wait(ctx, func() bool { return len(t.waiting) < before })
		out, err = send()
	}
	if err != nil {
		if godwit.CodeOf(err) == 0 {
			return err
		}
		t.refused(in.row, in.text, err)
		return nil
	}
	t.await(ctx, out, in)
	return nil
}

// mentions are those of a text in a group: @USER, and @all where that is
// allowed. Elsewhere an @ is just a letter.
func (t *talk) mentions(text string) []godwit.SendOption {
	if t.peer != "" {
		return nil
	}
	var options []godwit.SendOption
	var users []string
	for word := range strings.FieldsSeq(text) {
		user, is := strings.CutPrefix(strings.TrimRight(word, ".,;:!?)"), "@")
		switch {
		case !is || protocol.CheckID("user", user) != nil || slices.Contains(users, user):
		case user == "all":
			conversation, _ := t.client.Conversation(t.conversation)
			if role := conversation.Membership.Role; role == godwit.RoleOwner || role == godwit.RoleAdmin {
				options = append(options, godwit.MentionAll())
			}
		case len(users) < protocol.MaxMentions:
			users = append(users, user)
		}
	}
	if len(users) > 0 {
		options = append(options, godwit.Mention(users...))
	}
	return options
}

// await notes what was sent. That a message was stored is known when it comes
// back through onMessage; of an event, which does not where it changed nothing,
// when what is at its ack's seq was told. A refusal is waited for. t.mu must be
// held.
func (t *talk) await(ctx context.Context, out *godwit.Outgoing, in input) {
	t.waiting[out.ClientID()] = in
	go func() {
		ack, err := out.Sent(ctx)
		var refused *godwit.SendError
		switch isRefused := errors.As(err, &refused); {
		case isRefused:
			t.mu.Lock()
			defer t.mu.Unlock()
			t.settle(out.ClientID())
			t.refused(in.row, in.text, refused.Err)
		case err == nil && in.unshown:
			t.mu.Lock()
			defer t.mu.Unlock()
			t.wait(ctx, func() bool { return t.told >= ack.Seq || out.Conversation() != t.conversation })
			t.settle(out.ClientID())
		}
	}()
}

// settle returns the line of a message that is no longer waited for. t.mu must
// be held.
func (t *talk) settle(clientID string) (in input, here bool) {
	in, here = t.waiting[clientID]
	delete(t.waiting, clientID)
	t.settled.Broadcast()
	return in, here
}

// refused marks a line that will never be sent. t.mu must be held.
func (t *talk) refused(row int, text string, err error) {
	t.anyRefused = true
	e := entry{mark: markRefused, time: time.Now(), who: t.user, text: harmless(text)}
	if row == noRow {
		t.view.Show(e)
	} else {
		t.view.Mark(row, e)
	}
	t.view.Note(fmt.Sprintf("refused: %s", protocol.AsError(err).Text))
}

// flush waits until everything that was sent is stored or refused, for at most
// limit.
func (t *talk) flush(ctx context.Context, limit time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	t.mu.Lock()
	defer t.mu.Unlock()
	t.wait(ctx, func() bool { return len(t.waiting) == 0 })
	if n := len(t.waiting); n > 0 {
		return fmt.Errorf("messages not sent yet: %d; the next chat of this user tries again", n)
	}
	if t.anyRefused {
		return errSaid
	}
	return nil
}

// wait returns when done does, which may change with every message that is
// settled, or ctx ends. t.mu must be held, and is not meanwhile.
func (t *talk) wait(ctx context.Context, done func() bool) {
	defer context.AfterFunc(ctx, func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		t.settled.Broadcast()
	})()
	for !done() && ctx.Err() == nil {
		t.settled.Wait()
	}
}
