package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/godwit-im/godwit/protocol"
	"github.com/godwit-im/godwit/sdk-go"
)

func newTail() *cobra.Command {
	var f clientFlags
	t := tail{}
	cmd := &cobra.Command{
		Use:   "tail --user USER",
		Short: "Print a user's messages as they arrive, one a line",
		Long: `Print a user's messages as they arrive, one a line, each once and in order within
its conversation, whatever happens to the connection. The server's notices and
what happens to a message later, an edit, a recall or a reaction, are lines too,
in their place. Ctrl-C ends it.`,
		Example: `  godwit tail --user bob
  godwit tail --user bob --from-start --json | jq .text`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if t.with != "" {
				if err := checkTarget("--with", t.with); err != nil {
					return err
				}
			}
			t.out, t.log = cmd.OutOrStdout(), cmd.ErrOrStderr()
			return t.run(cmd.Context(), &f)
		},
	}
	f.add(cmd)
	fs := cmd.Flags()
	fs.BoolVar(&t.json, "json", false, "print JSON objects")
	fs.BoolVar(&t.fromStart, "from-start", false, "begin with the oldest messages that are kept, not with new ones")
	fs.StringVar(&t.with, "with", "", "only the conversation with this `user`, or in the group with this id")
	fs.IntVar(&t.count, "count", 0, "end after this many lines; 0 = go on")
	return cmd
}

// tail is one run of the command. Only the client's callback goroutine uses
// printed and offline.
type tail struct {
	out, log  io.Writer
	json      bool
	fromStart bool
	with      string
	count     int
	printed   int
	offline   bool
}

func (t *tail) run(ctx context.Context, f *clientFlags) error {
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	id, err := f.resolve()
	if err != nil {
		return err
	}
	only := ""
	if t.with != "" {
		only = conversationOf(id.user, t.with)
	}
	enough := make(chan error, 1)
	line := func(conversation string, print func() error) {
		if only != "" && conversation != only || t.count > 0 && t.printed == t.count {
			return
		}
		t.printed++
		if err := print(); err != nil || t.printed == t.count {
			select {
			case enough <- err:
			default:
			}
		}
	}
	c, err := f.dial(ctx, id, godwit.Options{
		Device:      f.passing("tail"),
		StartAtHead: !t.fromStart,
		Handler: godwit.Handler{
			OnMessage: func(m godwit.Message) {
				line(m.Conversation, func() error { return t.print(m) })
			},
			OnMessageChanged: func(c godwit.MessageChange) {
				line(c.Conversation, func() error { return t.printChange(c) })
			},
			OnState: func(s godwit.State) {
				switch {
				case s.Phase == godwit.Waiting && !t.offline:
					t.offline = true
					say(t.log, "%s; trying again\n", offlineText(s))
				case s.Phase == godwit.Online && t.offline:
					t.offline = false
					say(t.log, "connected again\n")
				}
			},
			OnGap: func(conversation string, from, to uint64) {
				say(t.log, "%s: %s\n", conversation, gapText(conversation, from, to))
			},
			OnReset: func(conversation string) {
				say(t.log, "%s: the server was restored to an older state; beginning again\n", conversation)
			},
		},
	})
	if err != nil {
		return err
	}
	defer c.Close() //nolint:errcheck // its store is in memory
	select {
	case <-ctx.Done():
		return nil
	case err := <-enough:
		return err
	case <-c.Done():
		return c.Err()
	}
}

// offlineText says that there is no connection, and why.
func offlineText(s godwit.State) string {
	var refused *protocol.Error
	if errors.As(s.Err, &refused) {
		return "not connected: " + refused.Text
	}
	if errors.Is(s.Err, syscall.ECONNREFUSED) {
		return "not connected: no server answers"
	}
	return fmt.Sprintf("not connected: %v", s.Err)
}
