package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"sync"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/godwit-im/godwit/msgstore"
	"github.com/godwit-im/godwit/server"
)

// newServe makes the command; program is what the user typed to run us.
func newServe(program string) *cobra.Command {
	s := newSettings()
	var (
		dev   bool
		ready string
	)
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run a server",
		Long: `Run a server. The log goes to standard error.

SIGINT or SIGTERM drains it: clients are told when to come back, what was
accepted is stored and acknowledged, connections are closed at a pace. A second
signal ends it at once, which with durability sync loses nothing either that was
acknowledged.

Every setting is a flag, a variable (--max-frame is GODWIT_MAX_FRAME) and a key
of the file, in this order of precedence; 'godwit config print' shows the
result.`,
		Example: `  godwit serve --dev
  godwit serve --config /etc/godwit.toml`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := s.load(cmd); err != nil {
				return err
			}
			if ready == "" {
				ready = instanceFile(s.data)
			}
			if err := s.chooseKeys(dev); err != nil {
				return explain(err, s)
			}
			return serve(cmd.Context(), s, dev, ready, program, cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	cmd.Flags().BoolVar(&dev, "dev", false, "make a key in the data directory where none is configured, for the client commands of this machine to use")
	cmd.Flags().StringVar(&ready, "ready-file", "", "`file` to write addresses and process id to once the server is ready (default: server.json in --data)")
	s.flags(cmd.Flags())
	return cmd
}

// chooseKeys takes the configured keys, or with dev those of the data
// directory.
func (s *settings) chooseKeys(dev bool) error {
	set, err := s.keys()
	if err != nil {
		return err
	}
	if set == nil && !dev {
		return usagef(`no key is configured, so no token could be verified.

To try Godwit out, let it make a key for this machine:
  godwit serve --dev

In production, make a key once, sign tokens with the private half, and give the
server the public one:
  godwit token keygen private.json --public keys.json
  godwit serve --key-file keys.json
`)
	}
	if set == nil {
		keys, err := ensureDevKeys(s.data, s.server.Auth.Algorithm)
		if err != nil {
			return err
		}
		set = keys.set
	}
	s.server.Auth.Keys = set
	if err := s.server.Auth.Validate(); err != nil {
		return usageError{err}
	}
	return nil
}

// serve runs the server until a signal or a failure ends it.
func serve(ctx context.Context, s *settings, dev bool, ready, program string, stdout, stderr io.Writer) error {
	logger := slog.New(s.log.handler(stderr))
	s.server.Logger = logger
	s.server.Version = readBuild().version
	// Signals count from here on: one that comes while the store is opened
	// must not leave the store half open.
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGINT, syscall.SIGTERM)
	defer stop()

	// Messages are nobody else's business on this machine either.
	if err := os.MkdirAll(s.data, 0o700); err != nil {
		return explain(err, s)
	}
	srv, err := server.New(s.server)
	if err != nil {
		return explain(err, s)
	}
	if err := srv.Start(); err != nil {
		return explain(err, s)
	}
	self := instance{
		PID: os.Getpid(), Listen: srv.Addr(), Admin: srv.AdminAddr(), Dev: dev,
		Algorithm: s.server.Auth.Algorithm, Issuer: s.server.Auth.Issuer, Audience: s.server.Auth.Audience,
		Durability: s.durability(), Settings: s.changed(),
	}
	if err := self.write(ready); err != nil {
		return errors.Join(err, srv.Close())
	}
	say(stdout, "%s", banner(s, self, program))
	var collecting sync.WaitGroup
	defer collecting.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	collecting.Go(func() { collectByLoad(ctx) })

	select {
	case <-srv.Done():
	case <-ctx.Done():
		// The handlers are gone from here on, so the next signal ends the
		// process the default way.
		stop()
		logger.Info("stopping; a second signal ends it at once")
		_ = srv.Shutdown(context.WithoutCancel(ctx)) // Err says the same
	}
	return errors.Join(srv.Err(), os.Remove(ready))
}

// explain words the failures that an operator can mend.
func explain(err error, s *settings) error {
	switch {
	case errors.Is(err, msgstore.ErrLocked):
		if running, found, _ := lookUp(s.data); found {
			return fmt.Errorf("%s is in use by another server (process %d); stop that one or choose another directory with --data", s.data, running.PID)
		}
		return fmt.Errorf("%s is in use by another server; stop that one or choose another directory with --data", s.data)
	case errors.Is(err, syscall.EADDRINUSE):
		return fmt.Errorf("%w: is another server running? Choose other addresses with --listen and --admin", err)
	case errors.Is(err, syscall.EACCES) || errors.Is(err, syscall.EROFS):
		return fmt.Errorf("%w: the data directory (--data %s) must be writable", err, s.data)
	}
	return err
}
