package main

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/godwit-im/godwit/sdk-go"
	"github.com/godwit-im/godwit/server"
)

// The variables that the client commands read, besides GODWIT_DATA.
const (
	envServer    = envPrefix + "SERVER"
	envToken     = envPrefix + "TOKEN"
	envTokenFile = envPrefix + "TOKEN_FILE"
)

// clientFlags is what send, tail and chat have in common: where the server is
// and who the user is.
type clientFlags struct {
	server, data           string
	user, token, tokenFile string
	device                 string
	timeout                time.Duration
}

func (f *clientFlags) add(cmd *cobra.Command) {
	fs := cmd.Flags()
	fs.StringVar(&f.server, "server", "", "`address` of the server (default: "+envServer+", else that of the server running on --data, else "+server.DefaultAddr+")")
	fs.StringVar(&f.data, "data", "", "data `directory` of a server on this machine, to find its address and development key (default: "+envPrefix+"DATA, else "+defaultData+")")
	fs.StringVar(&f.user, "user", "", "the `user` to be; needs no token where there is a development key")
	fs.StringVar(&f.token, "token", "", "a signed `token` (default: "+envToken+"); others on this machine can see it here, so prefer the variable or a file")
	fs.StringVar(&f.tokenFile, "token-file", "", "a `file` with a signed token, read again for every connection (default: "+envTokenFile+")")
	fs.StringVar(&f.device, "device", "", "device `id` (default: one that no other command of this machine uses)")
	fs.DurationVar(&f.timeout, "timeout", 10*time.Second, "how long to try before giving up")
}

// identity is who a client command is and whom it talks to.
type identity struct {
	user   string
	addr   string
	source func(context.Context) (string, error) // of tokens
}

// resolve applies flag > environment > what the server on --data says.
func (f *clientFlags) resolve() (identity, error) {
	data := firstOf(f.data, os.Getenv(envPrefix+"DATA"), defaultData)
	running, _, err := lookUp(data)
	if err != nil {
		return identity{}, err
	}
	id := identity{addr: firstOf(f.server, os.Getenv(envServer), running.Listen, server.DefaultAddr)}

	token, file := f.token, f.tokenFile
	if token == "" && file == "" {
		token, file = os.Getenv(envToken), os.Getenv(envTokenFile)
	}
	switch {
	case token != "":
		id.source = func(context.Context) (string, error) { return token, nil }
	case file != "":
		id.source = func(context.Context) (string, error) {
			text, err := os.ReadFile(file)
			return strings.TrimSpace(string(text)), err
		}
	default:
		return f.development(id, data, running)
	}
	if token, err = id.source(context.Background()); err != nil {
		return identity{}, err
	}
	if id.user, err = subject(token); err != nil {
		return identity{}, err
	}
	if f.user != "" && f.user != id.user {
		return identity{}, usagef("--user is %q, but the token is %q's", f.user, id.user)
	}
	return id, nil
}

// development signs tokens with the development key in the data directory.
func (f *clientFlags) development(id identity, data string, running instance) (identity, error) {
	keys, err := loadDevKeys(data)
	if err != nil {
		return identity{}, err
	}
	if keys == nil {
		return identity{}, usagef("no token, and no development key in %s.\n"+
			"Start a server with 'godwit serve --dev' and use --user, point --data to its directory,\n"+
			"or bring a token: --token-file, --token, %s or %s.", data, envToken, envTokenFile)
	}
	if f.user == "" {
		return identity{}, usagef("--user is missing: who do you want to be?")
	}
	id.user = f.user
	id.source = func(context.Context) (string, error) {
		return keys.sign(running, f.user, time.Hour)
	}
	if _, err := id.source(context.Background()); err != nil {
		return identity{}, err
	}
	return id, nil
}

// subject reads the user from a token, unverified: the server verifies it, and
// here it only names the files that belong to the user.
func subject(token string) (string, error) {
	var claims struct {
		Subject string `json:"sub"`
	}
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return "", usagef("the token is not a signed JWT")
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil || json.Unmarshal(payload, &claims) != nil || claims.Subject == "" {
		return "", usagef("the token names no user")
	}
	return claims.Subject, nil
}

// dial connects, giving up after --timeout.
func (f *clientFlags) dial(ctx context.Context, id identity, o godwit.Options) (*godwit.Client, error) {
	o.Addr, o.Token, o.Platform = id.addr, id.source, runtime.GOOS
	// The last attempt fails because time is up; why those before it failed is
	// what the user should know.
	reasons := make(chan error, 1)
	onState := o.Handler.OnState
	o.Handler.OnState = func(s godwit.State) {
		if s.Err != nil {
			select {
			case reasons <- s.Err:
			default:
			}
		}
		if onState != nil {
			onState(s)
		}
	}
	ctx, cancel := context.WithTimeout(ctx, f.timeout)
	defer cancel()
	c, err := godwit.Dial(ctx, o)
	if errors.Is(err, context.DeadlineExceeded) {
		select {
		case err = <-reasons:
		default:
		}
	}
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return nil, fmt.Errorf("no server answers at %s; 'godwit serve --dev' starts one", id.addr)
	case err != nil:
		return nil, fmt.Errorf("connecting to %s: %w", id.addr, err)
	}
	return c, nil
}

// passing is a device id for a command that leaves nothing behind.
func (f *clientFlags) passing(command string) string {
	return firstOf(f.device, command+"-"+strings.ToLower(rand.Text()[:10]))
}

// stateHome is where the files of client commands are kept: the XDG base
// directory for state, or the system's place for configuration elsewhere.
func stateHome() (string, error) {
	if dir := os.Getenv("XDG_STATE_HOME"); dir != "" {
		return filepath.Join(dir, "godwit"), nil
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", fmt.Errorf("no place for the client's files (%w); name one with --state", err)
	}
	return filepath.Join(home, ".local", "state", "godwit"), nil
}

func firstOf(candidates ...string) string {
	for _, c := range candidates {
		if c != "" {
			return c
		}
	}
	return ""
}
