package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/godwit-im/godwit/protocol"
	"github.com/godwit-im/godwit/sdk-go"
)

// maxHistory bounds what /history may ask for.
const maxHistory = 1000

// note shows a line from the input's goroutine.
func (t *talk) note(text string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.view.Note(text)
}

// do carries out a line: a command or a message.
func (t *talk) do(ctx context.Context, in input) error {
	name, rest, _ := strings.Cut(in.text, " ")
	switch {
	case strings.TrimSpace(in.text) == "":
		return nil
	case strings.HasPrefix(in.text, "//"):
		in.text = in.text[1:]
	case name == "/history":
		return t.ask(ctx, func(ctx context.Context) error { return t.history(ctx, strings.TrimSpace(rest)) })
	case name == "/who":
		return t.ask(ctx, t.who)
	case strings.HasPrefix(name, "/"):
		t.note("the commands are /history [number], /who and /quit; begin a message with // for a slash")
		return nil
	}
	return t.say(ctx, in)
}

// askTimeout bounds the commands that need an answer of the server.
const askTimeout = 5 * time.Second

func (t *talk) ask(ctx context.Context, command func(context.Context) error) error {
	limited, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	err := command(limited)
	if errors.Is(err, context.DeadlineExceeded) {
		t.note("the server does not answer")
		return nil
	}
	return err
}

// say sends a line, waiting while the outbox is full.
func (t *talk) say(ctx context.Context, in input) error {
	// The lock keeps the ack from being shown before the line is known.
	t.mu.Lock()
	defer t.mu.Unlock()
	out, err := t.client.SendText(ctx, t.peer, in.text)
	for errors.Is(err, godwit.ErrOutboxFull) && ctx.Err() == nil {
		before := len(t.waiting)
		t.wait(ctx, func() bool { return len(t.waiting) < before })
		out, err = t.client.SendText(ctx, t.peer, in.text)
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

// await notes a message that was sent. That it was stored is known when it
// comes back through onMessage; a refusal is waited for. t.mu must be held.
func (t *talk) await(ctx context.Context, out *godwit.Outgoing, in input) {
	t.waiting[out.ClientID()] = in
	go func() {
		_, err := out.Sent(ctx)
		var refused *godwit.SendError
		if !errors.As(err, &refused) {
			return
		}
		t.mu.Lock()
		defer t.mu.Unlock()
		t.settle(out.ClientID())
		t.refused(in.row, in.text, refused.Err)
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

// history shows the messages before those on the screen.
func (t *talk) history(ctx context.Context, argument string) error {
	n := screenful
	if argument != "" {
		var err error
		if n, err = strconv.Atoi(argument); err != nil || n < 1 || n > maxHistory {
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
	t.view.Note(fmt.Sprintf("the %d before:", len(messages)))
	for _, m := range messages {
		t.put(m)
	}
	t.view.Note("and now:")
	t.first = messages[0].Seq
	return nil
}

// who tells which of the users with whom there is a conversation are online.
func (t *talk) who(ctx context.Context) error {
	conversations, err := t.client.FetchConversations(ctx)
	if err != nil {
		return err
	}
	var online []string
	for batch := range slices.Chunk(conversations, protocol.MaxWho) {
		users := make([]string, len(batch))
		for i, c := range batch {
			users[i] = c.Peer
		}
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
