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
		Use:   "send --user USER --to USER [TEXT...]",
		Short: "Send one message and print its seq, id and time",
		Long: `Send one message and print its seq, message id and time once the server has it
on disk. Without TEXT the message is read from standard input.`,
		Example: `  godwit send --user alice --to bob hello there
  date | godwit send --user alice --to bob --wait read --timeout 1m`,
		RunE: func(cmd *cobra.Command, args []string) error {
			want, ok := map[string]godwit.Status{"sent": godwit.StatusSent, "delivered": godwit.StatusDelivered, "read": godwit.StatusRead}[wait]
			if !ok {
				return usagef("--wait is %q, want sent, delivered or read", wait)
			}
			if err := checkPeer(to); err != nil {
				return err
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
	cmd.Flags().StringVar(&to, "to", "", "the `user` to send to")
	cmd.Flags().StringVar(&wait, "wait", "sent", "what to wait for: sent, delivered or read")
	return cmd
}

func checkPeer(to string) error {
	if to == "" {
		return usagef("--to is missing: who is it for?")
	}
	if err := protocol.CheckID("--to", to); err != nil {
		return usagef("%s", protocol.AsError(err).Text)
	}
	return nil
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
