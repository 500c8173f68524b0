package session

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

const (
	edX = `"x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"`
	edD = `"d": "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A"`
	hsK = `"k": "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8"`
)

func TestParseKeySet(t *testing.T) {
	for _, c := range []struct {
		name, data string
		err        string // a part of the error, empty for none
	}{
		{"public", `{"keys": [{"kty": "OKP", "crv": "Ed25519", "kid": "a", ` + edX + `}]}`, ""},
		{"private", `{"keys": [{"kty": "OKP", "crv": "Ed25519", "kid": "a", ` + edX + `, ` + edD + `}]}`, ""},
		{"secret", `{"keys": [{"kty": "oct", "kid": "a", ` + hsK + `}]}`, ""},
		{"optional members", `{"keys": [{"kty": "OKP", "crv": "Ed25519", "kid": "a", "alg": "EdDSA", "use": "sig", ` + edX + `}]}`, ""},
		{"the newer name", `{"keys": [{"kty": "OKP", "crv": "Ed25519", "kid": "a", "alg": "Ed25519", ` + edX + `}]}`, ""},
		{"unknown members", `{"keys": [{"kty": "oct", "kid": "a", "x5t": 7, ` + hsK + `}], "made_by": "hand"}`, ""},
		{"both kinds", `{"keys": [{"kty": "oct", "kid": "a", ` + hsK + `}, {"kty": "OKP", "crv": "Ed25519", "kid": "b", ` + edX + `}]}`, ""},

		{"empty", ``, "bad JSON at byte 0"},
		{"cut off", `{"keys": [`, "bad JSON at byte 10"},
		{"more after it", `{"keys": []} {}`, "bad JSON"},
		{"a list", `[]`, "wrong JSON type"},
		{"a lone key", `{"kty": "oct", "kid": "a", ` + hsK + `}`, "no keys"},
		{"no keys", `{"keys": []}`, "no keys"},
		{"null", `null`, "no keys"},
		{"a key is null", `{"keys": [null]}`, "kid is missing"},
		{"kid is a number", `{"keys": [{"kty": "oct", "kid": 7}]}`, `wrong JSON type for "keys.kid"`},
		{"no kid", `{"keys": [{"kty": "oct", ` + hsK + `}]}`, "key 1 (kid \"\") of the key set: kid is missing"},
		{"a long kid", `{"keys": [{"kty": "oct", "kid": "` + strings.Repeat("a", maxKid+1) + `", ` + hsK + `}]}`, "kid is longer than 64 bytes"},
		{"the same kid twice", `{"keys": [{"kty": "oct", "kid": "a", ` + hsK + `}, {"kty": "oct", "kid": "a", ` + hsK + `}]}`, `two keys with kid "a"`},
		{"no kty", `{"keys": [{"kid": "a"}]}`, `kty is ""`},
		{"RSA", `{"keys": [{"kty": "oct", "kid": "a", ` + hsK + `}, {"kty": "RSA", "kid": "b", "n": "AQAB", "e": "AQAB"}]}`, `key 2 (kid "b") of the key set: kty is "RSA"`},
		{"for encryption", `{"keys": [{"kty": "oct", "kid": "a", "use": "enc", ` + hsK + `}]}`, `use is "enc"`},
		{"another curve", `{"keys": [{"kty": "OKP", "crv": "X25519", "kid": "a", ` + edX + `}]}`, `crv is "X25519"`},
		{"no curve", `{"keys": [{"kty": "OKP", "kid": "a", ` + edX + `}]}`, `crv is ""`},
		{"no x", `{"keys": [{"kty": "OKP", "crv": "Ed25519", "kid": "a"}]}`, "x is missing"},
		{"x is short", `{"keys": [{"kty": "OKP", "crv": "Ed25519", "kid": "a", "x": "AAAA"}]}`, "x has 3 bytes, want 32"},
		{"x is not base64url", `{"keys": [{"kty": "OKP", "crv": "Ed25519", "kid": "a", "x": "++=="}]}`, "x is not base64url"},
		{"d is short", `{"keys": [{"kty": "OKP", "crv": "Ed25519", "kid": "a", "d": "AAAA", ` + edX + `}]}`, "d has 3 bytes, want 32"},
		{"d of another key", `{"keys": [{"kty": "OKP", "crv": "Ed25519", "kid": "a", "d": "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8", ` + edX + `}]}`, "d and x do not belong together"},
		{"no k", `{"keys": [{"kty": "oct", "kid": "a"}]}`, "k is missing"},
		{"k is short", `{"keys": [{"kty": "oct", "kid": "a", "k": "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHg"}]}`, "k has 31 bytes, at least 32"},
		{"alg of another kind", `{"keys": [{"kty": "oct", "kid": "a", "alg": "EdDSA", ` + hsK + `}]}`, `alg is "EdDSA", want "HS256"`},
		{"alg HS512", `{"keys": [{"kty": "oct", "kid": "a", "alg": "HS512", ` + hsK + `}]}`, `alg is "HS512"`},
		{"oct with Ed25519", `{"keys": [{"kty": "oct", "kid": "a", "alg": "Ed25519", ` + hsK + `}]}`, `alg is "Ed25519"`},
	} {
		ks, err := ParseKeySet([]byte(c.data))
		switch {
		case (err == nil) != (c.err == ""), err != nil && !strings.Contains(err.Error(), c.err):
			t.Errorf("%s: error %v, want %q", c.name, err, c.err)
		case err == nil:
			sameAfterRoundTrip(t, c.name, ks)
		}
	}
}

// sameAfterRoundTrip checks that ks survives MarshalJSON and ParseKeySet.
func sameAfterRoundTrip(t *testing.T, name string, ks *KeySet) {
	t.Helper()
	first, err := json.Marshal(ks)
	if err != nil {
		t.Fatal(err)
	}
	again, err := ParseKeySet(first)
	if err != nil {
		t.Fatalf("%s: after a round trip: %v", name, err)
	}
	second, err := json.Marshal(again)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(first, second) || !slices.Equal(ks.Kids(), again.Kids()) {
		t.Errorf("%s: a round trip changed %s to %s", name, ks, again)
	}
	for i := range ks.keys {
		a, b := ks.keys[i], again.keys[i]
		if !bytes.Equal(a.public, b.public) || !bytes.Equal(a.private, b.private) || !bytes.Equal(a.secret, b.secret) {
			t.Errorf("%s: a round trip changed key %q", name, a.id)
		}
	}
}

func TestGenerateKeySet(t *testing.T) {
	for _, algorithm := range []string{EdDSA, HS256} {
		a, err := GenerateKeySet(algorithm)
		if err != nil {
			t.Fatal(err)
		}
		b, err := GenerateKeySet(algorithm)
		if err != nil {
			t.Fatal(err)
		}
		if len(a.Kids()) != 1 || a.Kids()[0] == b.Kids()[0] || !a.secret() {
			t.Errorf("%s: %s and %s", algorithm, a, b)
		}
		sameAfterRoundTrip(t, algorithm, a)
	}
	if _, err := GenerateKeySet("RS256"); err == nil {
		t.Error("RS256 was accepted")
	}
}

func TestLoadKeySet(t *testing.T) {
	public := `{"keys": [{"kty": "OKP", "crv": "Ed25519", "kid": "a", ` + edX + `}]}`
	private := `{"keys": [{"kty": "OKP", "crv": "Ed25519", "kid": "a", ` + edX + `, ` + edD + `}]}`
	secret := `{"keys": [{"kty": "oct", "kid": "a", ` + hsK + `}]}`
	for _, c := range []struct {
		name, data string
		mode       os.FileMode
		err        string
	}{
		{"public", public, 0o644, ""},
		{"private", private, 0o600, ""},
		{"private, read only", private, 0o400, ""},
		{"secret", secret, 0o600, ""},
		{"private, for the group", private, 0o640, "chmod 600"},
		{"private, for the world", private, 0o604, "mode 0604"},
		{"secret, for the group to write", secret, 0o620, "chmod 600"},
		{"secret, for the world", secret, 0o644, "chmod 600"},
		{"garbage", "garbage", 0o600, "bad JSON"},
		{"huge", strings.Repeat(" ", maxKeyFile) + public, 0o600, "larger than"},
	} {
		path := filepath.Join(t.TempDir(), "keys.json")
		if err := os.WriteFile(path, []byte(c.data), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, c.mode); err != nil {
			t.Fatal(err)
		}
		ks, err := LoadKeySet(path)
		switch {
		case c.err == "" && (err != nil || len(ks.Kids()) != 1):
			t.Errorf("%s: %v", c.name, err)
		case c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err) || !strings.Contains(err.Error(), path)):
			t.Errorf("%s: error %v, want %q and the path", c.name, err, c.err)
		}
	}
	if _, err := LoadKeySet(filepath.Join(t.TempDir(), "none")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
}

// No way of printing or logging a configuration shows a key.
func TestKeysAreNotPrinted(t *testing.T) {
	for _, data := range []string{testKeysEdDSA, testKeysHS256} {
		ks := parseKeys(t, data)
		auth := AuthConfig{Keys: ks}
		var log bytes.Buffer
		slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "keys", ks)
		slog.New(slog.NewTextHandler(&log, nil)).Info("x", "keys", ks)
		printed := log.String() + fmt.Sprintf("%v %+v %#v %s %v %+v %#v", ks, ks, ks, ks, auth, auth, auth)
		for i := range ks.keys {
			k := &ks.keys[i]
			if !strings.Contains(printed, k.id) {
				t.Errorf("kid %s is not shown", k.id)
			}
			for _, secret := range [][]byte{k.secret, k.private, k.private[:min(len(k.private), 32)]} {
				if len(secret) == 0 {
					continue
				}
				for _, form := range []string{"%v", "%x", "%X", "%#v", "%q"} {
					bytes := strings.Trim(strings.TrimPrefix(fmt.Sprintf(form, secret), "[]byte"), `[]{}"`)
					if strings.Contains(printed, bytes) {
						t.Errorf("key %s is shown as %s", k.id, form)
					}
				}
			}
		}
		for _, word := range []string{"nWGxne", "AyM1Sys", "AAECAw"} {
			if strings.Contains(printed, word) {
				t.Errorf("a key is shown in base64: %s", printed)
			}
		}
	}
}

// Errors about key files end up in logs.
func TestKeyErrorsShowNoKeys(t *testing.T) {
	const secret = "c2VjcmV0c2VjcmV0c2VjcmV0"
	for _, data := range []string{
		`{"keys": [{"kty": "oct", "kid": "a", "k": "` + secret + `"}]}`,
		`{"keys": [{"kty": "oct", "kid": "a", "k": "` + secret + `!"}]}`,
		`{"keys": [{"kty": "oct", "kid": "a", "k": "` + secret + `}]}`,
		`{"keys": [{"kty": "oct", "kid": "a", "k": ` + secret + `}]}`,
		`{"keys": [{"kty": "OKP", "crv": "Ed25519", "kid": "a", "d": "` + secret + `", ` + edX + `}]}`,
	} {
		if _, err := ParseKeySet([]byte(data)); err == nil || strings.Contains(err.Error(), secret[:8]) {
			t.Errorf("error %v", err)
		}
	}
}

// Whatever is read as a key set can be written, read again, and used.
func FuzzParseKeySet(f *testing.F) {
	f.Add([]byte(testKeysEdDSA))
	f.Add([]byte(testKeysHS256))
	f.Add([]byte(`{"keys": [{"kty": "OKP", "crv": "Ed25519", "kid": "a", ` + edX + `, "d": ""}]}`))
	f.Add([]byte(`{"keys": [{"kty": "RSA", "kid": "b", "n": "AQAB", "e": "AQAB"}]}`))
	f.Add([]byte(`{"keys": null}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		ks, err := ParseKeySet(data)
		if err != nil {
			return
		}
		sameAfterRoundTrip(t, "fuzzed", ks)
		for i := range ks.keys {
			k := &ks.keys[i]
			if k.secret == nil && k.private == nil {
				continue
			}
			token, err := Sign(ks, k.id, k.algorithm(), "iss", "aud", "alice", time.Hour, epoch)
			if err != nil {
				t.Fatal(err)
			}
			one, err := newKeySet([]key{*k})
			if err != nil {
				t.Fatal(err)
			}
			cfg := DefaultAuthConfig()
			cfg.Algorithm, cfg.Issuer, cfg.Audience, cfg.Keys = k.algorithm(), "iss", "aud", one
			cfg.Now = func() time.Time { return epoch }
			v, err := NewVerifier(cfg)
			if err != nil {
				t.Fatal(err)
			}
			if claims, err := v.Verify(token); err != nil || claims.KeyID != k.id {
				t.Fatalf("%v, %v", claims, err)
			}
		}
	})
}
