package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/godwit-im/godwit/session"
)

// devKeys is the key set of a development server. It lies in the data
// directory, where the client commands find it: whoever may read it can be any
// user of that server.
type devKeys struct{ set *session.KeySet }

func devKeyFile(data string) string { return filepath.Join(data, "dev-keys.json") }

// loadDevKeys returns nil where there are none.
func loadDevKeys(data string) (*devKeys, error) {
	set, err := session.LoadKeySet(devKeyFile(data))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return &devKeys{set}, nil
}

// ensureDevKeys is loadDevKeys, with a new key where there was none.
func ensureDevKeys(data, algorithm string) (*devKeys, error) {
	if keys, err := loadDevKeys(data); keys != nil || err != nil {
		return keys, err
	}
	set, err := session.GenerateKeySet(algorithm)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(data, 0o700); err != nil {
		return nil, err
	}
	if err := writeKeySet(devKeyFile(data), set, 0o600); err != nil {
		return nil, err
	}
	return &devKeys{set}, nil
}

// sign makes a token that the server described by running accepts; the zero
// instance stands for the defaults.
func (k *devKeys) sign(running instance, user string, ttl time.Duration) (string, error) {
	auth := session.DefaultAuthConfig()
	return session.Sign(k.set, "", firstOf(running.Algorithm, auth.Algorithm),
		firstOf(running.Issuer, auth.Issuer), firstOf(running.Audience, auth.Audience), user, ttl, time.Now())
}

// writeKeySet writes v, a key set, to a new file; one that exists is an error.
func writeKeySet(path string, v any, mode fs.FileMode) error {
	text, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	_, err = f.Write(append(text, '\n'))
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	return nil
}
