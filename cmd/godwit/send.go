package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/godwit-im/godwit/protocol"
	"github.com/godwit-im/godwit/sdk-go"
)

func newSend() *cobra.Command {
	var (
		f        clientFlags
		to, wait string
	)
	cmd := &cobra.Command{
		Use:   "send --user USER --to USER|GROUP [TEXT...]",
		Short: "Send one message and print its seq, id and time",
		Long: `Send one message, to a user or a group, and print its seq, message id and time
once the server has it on disk. Without TEXT the message is read from standard
input.`,
		Example: `  godwit send --user alice --to bob hello there
  godwit send --user alice --to g:alice:friends hello all
  date | godwit send --user alice --to bob --wait read --timeout 1m`,
		RunE: func(cmd *cobra.Command, args []string) error {
			want, ok := map[string]godwit.Status{"sent": godwit.StatusSent, "delivered": godwit.StatusDelivered, "read": godwit.StatusRead}[wait]
			if !ok {
				return usagef("--wait is %q, want sent, delivered or read", wait)
			}
			if err := checkTarget("--to", to); err != nil {
				return err
			}
			if want != godwit.StatusSent && !isUser(to) {
				return usagef("--wait %s is for a message to a user", wait)
			}
			text := strings.Join(args, " ")
			if len(args) == 0 {
				all, err := io.ReadAll(cmd.InOrStdin())
				if err != nil {
					return err
				}
				text = strings.TrimSuffix(string(all), "\n")
			}
			if text == "" {
				return usagef("the message is empty")
			}
			return send(cmd.Context(), &f, to, text, want, cmd.OutOrStdout())
		},
	}
	f.add(cmd)
	cmd.Flags().StringVar(&to, "to", "", "the `user` to send to, or a group's id")
	cmd.Flags().StringVar(&wait, "wait", "sent", "what to wait for: sent or, of a message to a user, delivered or read")
	return cmd
}

// checkTarget checks what names a user or a group: an id of one.
func checkTarget(flag, to string) error {
	if to == "" {
		return usagef("%s is missing: who is it for?", flag)
	}
	err := protocol.CheckID(flag, to)
	if !isUser(to) {
		err = protocol.CheckConversation(to)
		if err == nil && protocol.KindOf(to) != protocol.Group {
			return usagef("%s is %q, want a user or a group's id", flag, to)
		}
	}
	if err != nil {
		return usagef("%s", protocol.AsError(err).Text)
	}
	return nil
}

// isUser tells a user's id from a conversation's.
func isUser(to string) bool { return !strings.Contains(to, ":") }

// conversationOf is the id of the conversation that user has with, or in, to.
func conversationOf(user, to string) string {
	if isUser(to) {
		return protocol.DirectID(user, to)
	}
	return to
}

func send(ctx context.Context, f *clientFlags, to, text string, want godwit.Status, out io.Writer) error {
	id, err := f.resolve()
	if err != nil {
		return err
	}
	c, err := f.dial(ctx, id, godwit.Options{Device: f.passing("send"), StartAtHead: true})
	if err != nil {
		return err
	}
	defer c.Close() //nolint:errcheck // its store is in memory, and the ack was waited for
	ctx, cancel := context.WithTimeout(ctx, f.timeout)
	defer cancel()
	message, err := c.SendText(ctx, to, text)
	if err != nil {
		return err
	}
	ack, err := message.Sent(ctx)
	if errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("no answer within %v: the message may or may not have been stored", f.timeout)
	}
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintf(out, "seq %d  id %d  %s\n", ack.Seq, ack.ID, ack.Time.Format("2006-01-02 15:04:05.000")); err != nil {
		return err
	}
	switch want {
	case godwit.StatusDelivered:
		err = message.Delivered(ctx)
	case godwit.StatusRead:
		err = message.Read(ctx)
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("stored, but not %s within %v", want, f.timeout)
	}
	return err
}
