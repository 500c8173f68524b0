package main

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/godwit-im/godwit/cmd/godwit/internal/knob"
	"github.com/godwit-im/godwit/msgstore"
	"github.com/godwit-im/godwit/server"
	"github.com/godwit-im/godwit/session"
)

// envPrefix begins the name of every environment variable that we read.
const envPrefix = "GODWIT_"

const envConfig = envPrefix + "CONFIG"

// defaultData is the data directory where none is given.
const defaultData = "./data"

// settings are the knobs and what they set.
type settings struct {
	server  server.Config
	data    string // the data directory; the store is in it
	keyFile string
	keySet  string // a JWK Set, instead of keyFile
	log     logging

	rules *knob.Fields

	knobs *knob.Set
	file  string // --config
	// section is where table puts the knobs it makes.
	table   []knob.Knob
	section string
}

func newSettings() *settings {
	s := &settings{server: server.DefaultConfig(), data: defaultData, log: logging{format: "auto"}}
	s.addKnobs()
	s.knobs = knob.New(envPrefix, s.table)
	return s
}

func (s *settings) add(name string, value pflag.Value, doc string) {
	s.table = append(s.table, knob.Knob{Name: name, Doc: doc, Section: s.section, Value: value})
}

// addKnobs is the one list of all there is to configure.
func (s *settings) addKnobs() {
	c := &s.server

	s.section = "Listening and storing"
	s.add("listen", knob.String(&c.Net.Addr), "address for clients, `host:port`; port 0 takes a free one")
	s.add("admin", knob.String(&c.Admin.Addr), "address of the admin listener: health, metrics, backups")
	s.add("admin-remote", knob.Bool(&c.Admin.AllowRemote), "let `admin` be an address that other machines reach; it has no authentication")
	s.add("data", knob.String(&s.data), "directory for everything that is kept; made if it is missing")
	s.add("durability", knob.Choice(&c.Store.Durability,
		knob.Option[msgstore.Durability]{Name: msgstore.Sync.String(), Value: msgstore.Sync},
		knob.Option[msgstore.Durability]{Name: msgstore.Interval.String(), Value: msgstore.Interval},
	), "`sync`: a message is on disk before it is acked; `interval`: a crash may lose the last `sync-interval` of acked messages")
	s.add("sync-interval", knob.Duration(&c.Store.SyncInterval), "time between syncs with durability `interval`, from 1ms to 1m")
	s.add("partitions", knob.Int(&c.Store.Partitions), "partitions of a new store: a power of two up to 256, fixed from then on")
	s.add("node", knob.Int(&c.Store.Node), "number of this server in message ids, 0 to 1023; no two servers may share one")
	s.add("cache", knob.Size(&c.Store.CacheBytes), "memory for blocks read from the store")
	s.add("min-free", knob.Size(&c.Store.MinFree), "free disk space below which messages are refused; 0 turns the guard off")
	s.add("retention-age", knob.Duration(&c.Chat.Retention.MaxAge), "messages older than this are removed; 0 keeps them")
	s.add("retention-count", knob.Int(&c.Chat.Retention.MaxCount), "only this many messages of a conversation are kept; 0 keeps all")
	s.add("writers", knob.Int(&c.Chat.Writers), "goroutines that write to the store; 0 = one for every two processors")

	s.section = "Tokens"
	s.add("key-file", knob.String(&s.keyFile), "JWK Set with the keys that sign tokens; required unless `--dev`")
	s.table = append(s.table, knob.Knob{Name: "keys", Doc: "the JWK Set itself instead of a file, for where secrets come as variables; no flag", Section: s.section, Value: knob.String(&s.keySet), Secret: true})
	s.add("auth-algorithm", knob.Words(&c.Auth.Algorithm, session.EdDSA, session.HS256), "algorithm of all tokens, `EdDSA` or `HS256`")
	s.add("issuer", knob.String(&c.Auth.Issuer), "what a token's `iss` must be")
	s.add("audience", knob.String(&c.Auth.Audience), "what a token's `aud` must contain")
	s.add("token-leeway", knob.Duration(&c.Auth.Leeway), "how far the clocks of the signer and this server may differ")

	s.section = "Sessions"
	s.add("heartbeat-min", knob.Duration(&c.Session.HeartbeatMin), "shortest heartbeat interval that a client may choose")
	s.add("heartbeat-default", knob.Duration(&c.Session.HeartbeatDefault), "heartbeat interval of a client that does not choose")
	s.add("heartbeat-max", knob.Duration(&c.Session.HeartbeatMax), "longest heartbeat interval that a client may choose; after 1.5 silent intervals it is gone")
	s.add("connect-timeout", knob.Duration(&c.Session.ConnectTimeout), "time for a new connection to authenticate")
	s.add("max-in-flight", knob.Int(&c.Session.MaxInFlight), "unanswered requests of a session")

	s.section = "Conversations"
	s.rules = knob.NewFields(ruleFields(c))
	s.add("rules", s.rules, "limits and policies, those that differ from their defaults: `members=500,contacts-only=true`; the table below has them all")

	s.section = "Connections"
	s.add("max-connections", knob.Int(&c.Net.MaxConns), "connections in all; the limit of open files must allow it")
	s.add("max-unauthenticated", knob.Int(&c.Net.MaxUnauthenticated), "connections that have not authenticated yet; never more than `max-connections`")
	s.add("accept-rate", knob.Float(&c.Net.AcceptRate), "new connections a second; half of it may come at once")
	s.add("max-frame", knob.Size(&c.Net.MaxFrame), "largest frame body, up to 1 MiB")
	s.add("max-body", knob.Size(&c.Session.MaxBody), "largest message body; `max-frame` must be 32 KiB larger")
	s.add("outbound-lag", knob.Size(&c.Net.Lag), "output waiting for a client past which it gets no live messages and pulls them later")
	s.add("outbound-cap", knob.Size(&c.Net.Cap), "output waiting for a client past which it is closed; at least `outbound-lag` and `max-frame` together and 1 KiB more")
	s.add("stall-timeout", knob.Duration(&c.Net.StallTimeout), "a client that reads nothing for so long, with output waiting, is closed")
	s.add("loops", knob.Int(&c.Net.Loops), "event loops; 0 = one per processor")

	s.section = "Running"
	s.add("drain-timeout", knob.Duration(&c.Drain.Timeout), "time for a graceful stop")
	s.add("drain-reconnect-after", knob.Duration(&c.Drain.ReconnectAfter), "delay that clients are asked for when the server stops; each is given up to twice of it")
	s.add("log-level", knob.Choice(&s.log.level,
		knob.Option[slog.Level]{Name: "debug", Value: slog.LevelDebug},
		knob.Option[slog.Level]{Name: "info", Value: slog.LevelInfo},
		knob.Option[slog.Level]{Name: "warn", Value: slog.LevelWarn},
		knob.Option[slog.Level]{Name: "error", Value: slog.LevelError},
	), "the least important lines to log")
	s.add("log-format", knob.Words(&s.log.format, "auto", "text", "json"), "`text` is for people, `json` for machines; `auto` is text on a terminal")
	s.add("pprof", knob.Bool(&c.Admin.Pprof), "serve Go profiles on the admin listener")
}

// flags adds --config and the flags of the named knobs, or of all.
func (s *settings) flags(fs *pflag.FlagSet, names ...string) {
	fs.StringVar(&s.file, "config", "", "configuration `file` in TOML (default: "+envConfig+"); docs/CONFIG.md lists its keys")
	s.knobs.Flags(fs, names...)
	fs.SortFlags = false
}

// load reads the file and the environment, then checks everything. What is
// odd but harmless is said on the command's standard error.
func (s *settings) load(cmd *cobra.Command) error {
	if s.file == "" {
		s.file = os.Getenv(envConfig)
	}
	return s.read(s.file, os.Environ(), cmd.ErrOrStderr())
}

func (s *settings) read(file string, environ []string, stderr io.Writer) error {
	warnings, err := s.knobs.Load(file, environ, envConfig, envServer, envToken, envTokenFile)
	for _, w := range warnings {
		say(stderr, "warning: %v\n", w)
	}
	if err != nil {
		return usageError{err}
	}
	s.derive()
	if err := s.check(); err != nil {
		return usageError{err}
	}
	return nil
}

// derive sets what follows from the knobs.
func (s *settings) derive() {
	c := &s.server
	c.Store.Dir = storeDir(s.data)
	c.Net.AcceptBurst = max(1, int(c.Net.AcceptRate/2))
	if s.knobs.Knob("max-unauthenticated").Source().Origin == knob.FromDefault {
		c.Net.MaxUnauthenticated = min(c.Net.MaxUnauthenticated, c.Net.MaxConns)
	}
}

// check asks every package about its part, one by one, so that each complaint
// is laid at the door of the knobs that cause it.
func (s *settings) check() error {
	c := &s.server
	var errs []error
	for _, validate := range []func() error{
		func() error { return c.Validate() },
		func() error { return c.Net.Validate() },
		func() error {
			part := c.Session
			part.MaxFrame = c.Net.MaxFrame
			return part.Validate()
		},
		func() error {
			part := c.Auth
			var err error
			// Which keys are configured is a matter of serve.
			if part.Keys, err = session.GenerateKeySet(part.Algorithm); err != nil {
				return err
			}
			return part.Validate()
		},
		func() error { return c.Store.Validate() },
		func() error { return c.Chat.Validate() },
		func() error { return c.Admin.Validate() },
	} {
		errs = append(errs, s.knobs.Blame(validate))
	}
	return errors.Join(errs...)
}

// keys loads the configured key set; nil if none is.
func (s *settings) keys() (*session.KeySet, error) {
	switch {
	case s.keyFile != "" && s.keySet != "":
		return nil, usagef("key-file (%s) and keys (%s) are both set; one must go",
			s.knobs.Knob("key-file").Source(), s.knobs.Knob("keys").Source())
	case s.keyFile != "":
		set, err := session.LoadKeySet(s.keyFile)
		if err != nil {
			return nil, usageError{err}
		}
		return set, nil
	case s.keySet != "":
		set, err := session.ParseKeySet([]byte(s.keySet))
		if err != nil {
			return nil, usageError{err}
		}
		return set, nil
	}
	return nil, nil
}

// durability says in words when a message is acked.
func (s *settings) durability() string {
	if s.server.Store.Durability == msgstore.Interval {
		return fmt.Sprintf("an ack does not wait for the disk, which is synced every %v", s.server.Store.SyncInterval)
	}
	return "on disk before each ack (fdatasync, shared by the messages that wait for it)"
}

// changed are the knobs that were set, as flags. Secrets are left out, and what
// says where the server is, not how it works.
func (s *settings) changed() (flags []string) {
	for _, k := range s.knobs.Knobs() {
		if k.Source().Origin != knob.FromDefault && !k.Secret && !slices.Contains([]string{"listen", "admin", "data"}, k.Name) {
			flags = append(flags, "--"+k.Name+"="+k.Value.String())
		}
	}
	return flags
}

// storeDir is the store's directory within a data directory: msgstore wants
// one of its own.
func storeDir(data string) string { return filepath.Join(data, "store") }
