package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/signal"
	"strconv"
	"syscall"
	"time"

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
its conversation, whatever happens to the connection. Ctrl-C ends it.`,
		Example: `  godwit tail --user bob
  godwit tail --user bob --from-start --json | jq .text`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			t.out, t.log = cmd.OutOrStdout(), cmd.ErrOrStderr()
			return t.run(cmd.Context(), &f)
		},
	}
	f.add(cmd)
	fs := cmd.Flags()
	fs.BoolVar(&t.json, "json", false, "print JSON objects")
	fs.BoolVar(&t.fromStart, "from-start", false, "begin with the oldest messages that are kept, not with new ones")
	fs.StringVar(&t.with, "with", "", "only the conversation with this `user`")
	fs.IntVar(&t.count, "count", 0, "end after this many messages; 0 = go on")
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
		only = protocol.DirectID(id.user, t.with)
	}
	enough := make(chan error, 1)
	c, err := f.dial(ctx, id, godwit.Options{
		Device:      f.passing("tail"),
		StartAtHead: !t.fromStart,
		Handler: godwit.Handler{
			OnMessage: func(m godwit.Message) {
				if only != "" && m.Conversation != only || t.count > 0 && t.printed == t.count {
					return
				}
				t.printed++
				if err := t.print(m); err != nil || t.printed == t.count {
					select {
					case enough <- err:
					default:
					}
				}
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
				say(t.log, "%s: messages %d to %d are not kept any more\n", conversation, from, to)
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

// record is a message in JSON. 64-bit ids are strings, since many readers of
// JSON keep 53 bits of a number.
type record struct {
	Conversation string    `json:"conversation"`
	Seq          uint64    `json:"seq"`
	ID           string    `json:"id"`
	Sender       string    `json:"sender"`
	ClientID     string    `json:"client_id"`
	Time         time.Time `json:"time"`
	ContentType  string    `json:"content_type,omitempty"`
	Text         *string   `json:"text,omitempty"`
	Body         []byte    `json:"body,omitempty"`
}

func (t *tail) print(m godwit.Message) error {
	if !t.json {
		_, err := fmt.Fprintf(t.out, "%s %s #%d %s: %s\n", m.Time.Format("15:04:05"), m.Conversation, m.Seq, m.Sender, oneLine(m))
		return err
	}
	r := record{
		Conversation: m.Conversation, Seq: m.Seq, ID: strconv.FormatUint(m.ID, 10),
		Sender: m.Sender, ClientID: m.ClientID, Time: m.Time.UTC(), ContentType: m.ContentType,
	}
	if m.Kind == godwit.KindText {
		text := m.Text()
		r.Text = &text
	} else {
		r.Body = m.Body
	}
	return json.NewEncoder(t.out).Encode(r)
}
