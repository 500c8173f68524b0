package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
)

// command is what a line with a slash can ask for.
type command struct {
	name string
	// args is what it takes, as the help shows it: SEQ, USER and the like are one
	// word, TEXT is the rest of the line, ... is for one word or more, and what is
	// in brackets may be left out.
	args string
	help string
	run  func(ctx context.Context, t *talk, in input, args []string) error
}

// area is the commands about one thing.
type area struct {
	name     string
	commands []command
}

// areas are all commands but /help and /quit.
func areas() []area {
	return []area{
		{"messages", messageCommands},
		{"group", groupCommands},
		{"people", peopleCommands},
		{"list", listCommands},
		{"devices", deviceCommands},
		{"signals", signalCommands},
		{"calls", callCommands},
	}
}

// command carries out a line with a slash.
func (t *talk) command(ctx context.Context, in input) error {
	name, rest, _ := strings.Cut(in.text[1:], " ")
	if name == "help" {
		t.help(strings.TrimSpace(rest))
		return nil
	}
	for _, a := range areas() {
		i := slices.IndexFunc(a.commands, func(c command) bool { return c.name == name })
		if i < 0 {
			continue
		}
		c := a.commands[i]
		args, ok := arguments(c.args, rest)
		if !ok {
			t.note("it is /" + c.name + " " + c.args)
			return nil
		}
		return c.run(ctx, t, in, args)
	}
	t.note("the commands are listed by /help; begin a message with // for a slash")
	return nil
}

// arguments takes a line apart as command.args says, and reports whether it has
// what is needed and no more.
func arguments(form, line string) (args []string, ok bool) {
	line = strings.TrimSpace(line)
	for what := range strings.FieldsSeq(form) {
		optional := strings.HasPrefix(what, "[")
		switch what = strings.Trim(what, "[]"); {
		case line == "":
			return args, optional
		case what == "TEXT":
			return append(args, line), true
		case strings.HasSuffix(what, "..."):
			return append(args, strings.Fields(line)...), true
		}
		word, rest, _ := strings.Cut(line, " ")
		args, line = append(args, word), strings.TrimSpace(rest)
	}
	return args, line == ""
}

// help lists the commands by area, or says what those of one area, or one of
// them, do.
func (t *talk) help(about string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	about = strings.TrimPrefix(about, "/")
	var told bool
	for _, a := range areas() {
		names := a.name + ":"
		for _, c := range a.commands {
			names += " /" + c.name
			if about == a.name || about == c.name {
				told = true
				t.view.Note(fmt.Sprintf("%s: %s", strings.TrimSpace("/"+c.name+" "+c.args), c.help))
			}
		}
		if about == "" {
			t.view.Note(names)
		}
	}
	switch {
	case about == "":
		t.view.Note("/help AREA or COMMAND says what they do, /quit ends the chat")
	case !told:
		t.view.Note("there is no area or command " + harmless(about))
	case about == "messages":
		t.view.Note(`SEQ is the number shown with a message or "last": your own newest one in /edit,`)
		t.view.Note("/recall and /readers, anybody's in /delete, that of others in /reply, /react, /unreact")
		t.view.Note("@USER in a message to a group mentions a member, and an admin's @all everybody")
	}
}

// asking is a command that needs the server's answer.
func asking(run func(ctx context.Context, t *talk, args []string) error) func(context.Context, *talk, input, []string) error {
	return func(ctx context.Context, t *talk, _ input, args []string) error {
		return t.ask(ctx, func(ctx context.Context) error { return run(ctx, t, args) })
	}
}
