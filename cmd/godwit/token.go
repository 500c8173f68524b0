package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/godwit-im/godwit/session"
)

func newToken() *cobra.Command {
	var (
		user, kid string
		ttl       time.Duration
		settings  = newSettings()
	)
	cmd := &cobra.Command{
		Use:   "token --user USER",
		Short: "Print a signed token for a user, or make a key (token keygen)",
		Long: `Print a signed token for a user.

It is signed with the private key in --key-file, or else with the development
key that 'godwit serve --dev' made in --data. In production it is your backend
that signs tokens; docs/TOKENS.md says what they must contain.`,
		Example: `  godwit token --user alice
  godwit token --user alice --key-file private.json --ttl 1h`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if user == "" {
				return usagef("--user is missing: whose token shall it be?")
			}
			if err := settings.load(cmd); err != nil {
				return err
			}
			token, err := settings.sign(kid, user, ttl)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), token)
			return err
		},
	}
	fs := cmd.Flags()
	fs.StringVar(&user, "user", "", "the `user` that the token is for")
	fs.DurationVar(&ttl, "ttl", 24*time.Hour, "how long the token is good")
	fs.StringVar(&kid, "kid", "", "`id` of the key to sign with (default: the first that can)")
	settings.flags(fs, "data", "key-file", "auth-algorithm", "issuer", "audience")
	cmd.AddCommand(newKeygen())
	return cmd
}

// sign uses the configured keys, or the development key.
func (s *settings) sign(kid, user string, ttl time.Duration) (string, error) {
	auth, err := s.signing()
	if err != nil {
		return "", err
	}
	return session.Sign(auth.Keys, kid, auth.Algorithm, auth.Issuer, auth.Audience, user, ttl, time.Now())
}

// signing is what the server wants of tokens, with the configured keys or, with what
// the server running on the data directory says, the development key.
func (s *settings) signing() (session.AuthConfig, error) {
	auth := s.server.Auth
	var err error
	if auth.Keys, err = s.keys(); auth.Keys != nil || err != nil {
		return auth, err
	}
	dev, err := loadDevKeys(s.data)
	if err != nil {
		return auth, err
	}
	if dev == nil {
		return auth, usagef("no key to sign with: --key-file is not given and %s does not exist.\n"+
			"Make one with 'godwit token keygen private.json', or run 'godwit serve --dev' first.", devKeyFile(s.data))
	}
	running, _, err := lookUp(s.data)
	auth.Keys = dev.set
	auth.Algorithm = firstOf(running.Algorithm, auth.Algorithm)
	auth.Issuer, auth.Audience = firstOf(running.Issuer, auth.Issuer), firstOf(running.Audience, auth.Audience)
	return auth, err
}

func newKeygen() *cobra.Command {
	var algorithm, public string
	cmd := &cobra.Command{
		Use:   "keygen FILE",
		Short: "Make a key set for signing tokens",
		Long: `Make a key set (a JWK Set, RFC 7517) with one new key, in a new file that only
its owner can read.

With EdDSA the server needs the public part alone: --public writes it to a file
of its own for 'godwit serve --key-file', and FILE stays with who signs.`,
		Example: "  godwit token keygen private.json --public keys.json",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if algorithm == session.HS256 && public != "" {
				return usagef("an %s key has no public part: the server needs FILE itself", algorithm)
			}
			set, err := session.GenerateKeySet(algorithm)
			if err != nil {
				return usageError{err}
			}
			if err := writeKeySet(args[0], set, 0o600); err != nil {
				return err
			}
			say(cmd.OutOrStdout(), "%s: key %s for %s, keep it secret\n", args[0], set.Kids()[0], algorithm)
			if public == "" {
				return nil
			}
			half, err := publicPart(set)
			if err != nil {
				return err
			}
			if err := writeKeySet(public, half, 0o644); err != nil {
				return err
			}
			say(cmd.OutOrStdout(), "%s: its public part, for 'godwit serve --key-file %s'\n", public, public)
			return nil
		},
	}
	cmd.Flags().StringVar(&algorithm, "algorithm", session.EdDSA, session.EdDSA+" or "+session.HS256)
	cmd.Flags().StringVar(&public, "public", "", "also write the public part to this `file`")
	return cmd
}

// publicPart is the set's JWK form without the private members (RFC 8037).
func publicPart(set *session.KeySet) (any, error) {
	text, err := json.Marshal(set)
	if err != nil {
		return nil, err
	}
	var jwks struct {
		Keys []map[string]string `json:"keys"`
	}
	if err := json.Unmarshal(text, &jwks); err != nil {
		return nil, err
	}
	for _, k := range jwks.Keys {
		if k["kty"] != "OKP" {
			return nil, errors.New("a key of the set is not a public key's other half")
		}
		delete(k, "d")
	}
	return jwks, nil
}
