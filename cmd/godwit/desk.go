package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/godwit-im/godwit/desk"
	"github.com/godwit-im/godwit/protocol"
	"github.com/godwit-im/godwit/sdk-go"
	"github.com/godwit-im/godwit/server"
)

func newDesk() *cobra.Command {
	var (
		settings = newSettings()
		cfg      = desk.DefaultConfig()
		timeout  time.Duration
	)
	cmd := &cobra.Command{
		Use:   "desk --agent USER...",
		Short: "Run a customer service desk on a server",
		Long: `Run a customer service desk, a client of a server: whoever asks it by HTTP gets a
token for a new user and a conversation with the agent who is online and has the
least to do.

It signs tokens, so it needs the private key, as 'godwit token' does. It keeps
nothing itself: one that is started again goes on where the one before was.
docs/DESK.md shows a visit from beginning to end.`,
		Example: `  godwit desk --agent alice --agent bob
  curl -X POST http://127.0.0.1:7420/visit`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := settings.load(cmd); err != nil {
				return err
			}
			var err error
			if cfg.Auth, err = settings.signing(); err != nil {
				return err
			}
			running, _, err := lookUp(settings.data)
			if err != nil {
				return err
			}
			cfg.Server = firstOf(cfg.Server, os.Getenv(envServer), running.Listen, server.DefaultAddr)
			cfg.Logger = slog.New(settings.log.handler(cmd.ErrOrStderr()))
			if err := cfg.Validate(); err != nil {
				return usageError{err}
			}
			return runDesk(cmd, cfg, timeout)
		},
	}
	fs := cmd.Flags()
	fs.StringSliceVar(&cfg.Agents, "agent", nil, "a `user` who serves visitors; once for each, the first is preferred where loads are the same")
	fs.StringVar(&cfg.User, "user", cfg.User, "the desk's own `user`")
	fs.StringVar(&cfg.Name, "name", cfg.Name, "the desk's `name`")
	fs.StringVar(&cfg.Listen, "listen", cfg.Listen, "`address` for visits")
	fs.StringVar(&cfg.Server, "server", "", "`address` of the server (default: "+envServer+", else that of the server running on --data, else "+server.DefaultAddr+")")
	fs.StringVar(&cfg.PublicServer, "public-server", "", "`address` of the server that visitors are told (default: --server)")
	fs.DurationVar(&cfg.TokenTTL, "token-ttl", cfg.TokenTTL, "how long a visitor's token is good")
	fs.DurationVar(&cfg.RateWindow, "rate-window", cfg.RateWindow, "how long a closed visit can be rated")
	fs.IntVar(&cfg.VisitsPerMinute, "visits-per-minute", cfg.VisitsPerMinute, "visits in a minute")
	fs.IntVar(&cfg.VisitsPerAddress, "visits-per-address", cfg.VisitsPerAddress, "visits in a minute from one network address; 0 = no bound of its own, for behind a proxy")
	fs.IntVar(&cfg.MaxOpen, "max-open", cfg.MaxOpen, "open visits at a time; the server's rule `groups` must allow it")
	fs.DurationVar(&timeout, "timeout", 10*time.Second, "how long to try to start before giving up")
	settings.flags(fs, "data", "key-file", "auth-algorithm", "issuer", "audience", "log-level", "log-format")
	cmd.AddCommand(newDeskDo())
	return cmd
}

// runDesk runs a desk until a signal or a failure ends it. It is to have started
// within the timeout.
func runDesk(cmd *cobra.Command, cfg desk.Config, timeout time.Duration) error {
	ctx, stop := signal.NotifyContext(cmd.Context(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	starting, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	d, err := desk.Open(starting, cfg)
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("no server answers at %s; 'godwit serve --dev' starts one", cfg.Server)
	case err != nil:
		return err
	}
	say(cmd.OutOrStdout(), "Desk %s is open. Visits: curl -X POST http://%s/visit\nAgents: %s\n",
		cfg.Name, d.Addr(), strings.Join(cfg.Agents, ", "))
	select {
	case <-ctx.Done():
	case <-d.Done():
	}
	d.Close()
	return d.Err()
}

// newDeskDo writes a desk's commands, which are custom messages, for apps that
// don't yet.
func newDeskDo() *cobra.Command {
	var (
		f        clientFlags
		visit    string
		handOver string
		command  desk.Command
	)
	cmd := &cobra.Command{
		Use:   "do --user USER --visit GROUP",
		Short: "Hand over, close or rate a visit",
		Long: `Hand over or close a visit as its agent, or rate or close it as its visitor. What
the desk makes of it is told in the visit, and to an agent in a message if it is
not carried out.`,
		Example: `  godwit desk do --user alice --visit g:desk.support:ABC --hand-over bob
  godwit desk do --user alice --visit g:desk.support:ABC --hand-over ""
  godwit desk do --token-file visitor.token --visit g:desk.support:ABC --close --rating 5`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := protocol.CheckConversation(visit); err != nil {
				return usagef("--visit: %s", protocol.AsError(err).Text)
			}
			if cmd.Flags().Changed("hand-over") {
				command.HandOver = &handOver
			}
			if command == (desk.Command{}) {
				return usagef("nothing to do: --hand-over, --close or --rating is missing")
			}
			body, err := json.Marshal(command)
			if err != nil {
				return err
			}
			id, err := f.resolve()
			if err != nil {
				return err
			}
			c, err := f.dial(cmd.Context(), id, godwit.Options{Device: f.passing("desk"), StartAtHead: true})
			if err != nil {
				return err
			}
			defer c.Close() //nolint:errcheck // its store is in memory, and the ack is waited for
			ctx, cancel := context.WithTimeout(cmd.Context(), f.timeout)
			defer cancel()
			message, err := c.SendCustom(ctx, visit, desk.ContentType, body)
			if err != nil {
				return err
			}
			_, err = message.Sent(ctx)
			return err
		},
	}
	f.add(cmd)
	fs := cmd.Flags()
	fs.StringVar(&visit, "visit", "", "the visit: the `group` that it is")
	fs.StringVar(&handOver, "hand-over", "", "the `agent` to hand over to; empty for the one with the least to do")
	fs.BoolVar(&command.Close, "close", false, "close it")
	fs.IntVar(&command.Rating, "rating", 0, fmt.Sprintf("rate it, from 1 to %d", desk.MaxRating))
	return cmd
}
