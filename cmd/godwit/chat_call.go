package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/godwit-im/godwit/sdk-go/call"
)

// callCommands are calls without sound: what a telephone would do is shown.
var callCommands = []command{
	{"call", "", "call the user whom you chat with; there is no sound, only who rings and who answers", func(_ context.Context, t *talk, _ input, _ []string) error {
		if t.peer == "" {
			t.note("a call is between two users, and this is a group")
			return nil
		}
		_, err := t.calls.Place(t.peer, nil)
		t.called(err, "calling "+t.peer)
		return nil
	}},
	{"accept", "", "answer a call", onCall(func(c *call.Call) error { return c.Accept(nil) })},
	{"hangup", "", "decline or end a call", onCall((*call.Call).HangUp)},
}

// onCall is a command about the call that there is. What becomes of it is told.
func onCall(run func(*call.Call) error) func(context.Context, *talk, input, []string) error {
	return func(_ context.Context, t *talk, _ input, _ []string) error {
		calls := t.calls.Ongoing()
		if len(calls) == 0 {
			t.note("there is no call")
			return nil
		}
		t.called(run(calls[0]), "")
		return nil
	}
}

// called tells what became of a command about calls.
func (t *talk) called(err error, done string) {
	switch {
	case errors.Is(err, call.ErrBusy):
		t.note("there is a call already")
	case errors.Is(err, call.ErrState):
		t.note("not any more, or not in this call")
	case err != nil:
		t.note("no call: " + err.Error())
	case done != "":
		t.note(done)
	}
}

// newCalls are the calls of a talk, on any conversation of the user.
func (t *talk) newCalls() *call.Calls {
	return call.New(call.Options{Handler: call.Handler{OnCall: t.onCall, OnState: t.onCallState}})
}

// endCalls hangs up, and gives the server a moment to hear of it.
func (t *talk) endCalls() {
	ctx, cancel := context.WithTimeout(context.Background(), askTimeout)
	defer cancel()
	t.calls.Close(ctx)
}

// onCall and onCallState run on a goroutine of the calls.
func (t *talk) onCall(c *call.Call) {
	act := c.Ring
	if c.Mutual() {
		act = func() error { return c.Accept(nil) }
	}
	_ = act() // fails where the call has ended, which is told
	t.onScreen(func() {
		t.view.Note(c.User() + either(c.Mutual(), " calls you, too", " calls you; /accept answers, /hangup declines"))
	})
}

func (t *talk) onCallState(c *call.Call, s call.Status) {
	if text := callText(c.User(), c.Outgoing(), s); text != "" {
		t.onScreen(func() { t.view.Note(text) })
	}
}

// callText tells of a call's state, empty where that is nothing new.
func callText(user string, outgoing bool, s call.Status) string {
	switch {
	case s.State == call.Ringing && outgoing:
		return "it rings at " + user + "'s"
	case s.State == call.Active:
		return fmt.Sprintf("in a call with %s, on their device %s", user, s.Device)
	case s.State != call.Ended:
		return ""
	case s.Err != nil:
		return fmt.Sprintf("the call with %s has ended: %v", user, s.Err)
	}
	return fmt.Sprintf("the call with %s has ended: %v", user, s.Reason)
}
