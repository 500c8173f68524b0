package session

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
)

// The algorithms that a Verifier can be made for.
const (
	EdDSA = "EdDSA" // Ed25519 signatures; the server needs public keys only
	HS256 = "HS256" // HMAC with SHA-256; whoever can verify can also sign
)

// minSecret is the shortest key for HS256, in bytes: that of its hash, as RFC
// 7518 section 3.2 demands.
const minSecret = 32

// maxKid is the longest kid, in bytes: every token carries one.
const maxKid = 64

// maxKeyFile bounds a key file, in bytes. A key takes some 200.
const maxKeyFile = 1 << 20

// KeySet is a list of keys, each with its own kid. It is immutable. Printing
// and logging one shows kids only; MarshalJSON alone gives the keys away.
type KeySet struct {
	keys []key
	byID map[string]*key
}

// key is one key: either public, and private if known, or secret.
type key struct {
	id      string
	public  ed25519.PublicKey
	private ed25519.PrivateKey
	secret  []byte
}

func (k *key) algorithm() string {
	if k.secret != nil {
		return HS256
	}
	return EdDSA
}

// jwk is a JSON Web Key (RFC 7517) of type OKP (RFC 8037) or oct (RFC 7518).
type jwk struct {
	Type      string `json:"kty"`
	Curve     string `json:"crv,omitempty"`
	ID        string `json:"kid"`
	Algorithm string `json:"alg,omitempty"`
	Use       string `json:"use,omitempty"`
	X         string `json:"x,omitempty"` // OKP: public key
	D         string `json:"d,omitempty"` // OKP: private key (the seed)
	K         string `json:"k,omitempty"` // oct: secret
}

type jwkSet struct {
	Keys []jwk `json:"keys"`
}

// ParseKeySet reads a JWK Set (RFC 7517): keys of kty OKP with crv Ed25519 (x,
// and d where it shall sign) and of kty oct (k, at least 32 bytes). Every key
// needs a kid of its own, of at most 64 bytes. A key of any other kind is an error, not skipped as
// the RFC suggests: in a file written for this server it is a mistake. Errors
// name a key by place and kid and never contain key material.
func ParseKeySet(data []byte) (*KeySet, error) {
	var set jwkSet
	if err := json.Unmarshal(data, &set); err != nil {
		return nil, fmt.Errorf("session: key set is not a JSON object with a list of keys: %w", describe(err))
	}
	if len(set.Keys) == 0 {
		return nil, errors.New(`session: key set has no keys; it must look like {"keys": [{"kty": ...}]}`)
	}
	keys := make([]key, 0, len(set.Keys))
	for i := range set.Keys {
		k, err := set.Keys[i].parse()
		if err != nil {
			return nil, fmt.Errorf("session: key %d (kid %q) of the key set: %w", i+1, set.Keys[i].ID, err)
		}
		keys = append(keys, k)
	}
	return newKeySet(keys)
}

// describe keeps the place of a JSON error and drops what stood there.
func describe(err error) error {
	var syntax *json.SyntaxError
	var typ *json.UnmarshalTypeError
	switch {
	case errors.As(err, &syntax):
		return fmt.Errorf("bad JSON at byte %d", syntax.Offset)
	case errors.As(err, &typ):
		return fmt.Errorf("wrong JSON type for %q at byte %d", typ.Field, typ.Offset)
	}
	return errors.New("bad JSON")
}

func newKeySet(keys []key) (*KeySet, error) {
	ks := &KeySet{keys: keys, byID: make(map[string]*key, len(keys))}
	for i := range keys {
		k := &keys[i]
		if ks.byID[k.id] != nil {
			return nil, fmt.Errorf("session: two keys with kid %q in the key set", k.id)
		}
		ks.byID[k.id] = k
	}
	return ks, nil
}

func (j *jwk) parse() (key, error) {
	k := key{id: j.ID}
	switch {
	case j.ID == "":
		return k, errors.New("kid is missing")
	case len(j.ID) > maxKid:
		return k, fmt.Errorf("kid is longer than %d bytes", maxKid)
	case j.Use != "" && j.Use != "sig":
		return k, fmt.Errorf(`use is %q, want "sig" or none`, j.Use)
	}
	var err error
	switch j.Type {
	case "OKP":
		err = k.parseOKP(j)
	case "oct":
		k.secret, err = decodeKey("k", j.K)
		if err == nil && len(k.secret) < minSecret {
			err = fmt.Errorf("k has %d bytes, at least %d are needed", len(k.secret), minSecret)
		}
	default:
		return k, fmt.Errorf(`kty is %q, want "OKP" or "oct"`, j.Type)
	}
	if err != nil {
		return k, err
	}
	// RFC 9864 renames EdDSA with this curve to Ed25519.
	if alg := j.Algorithm; alg != "" && alg != k.algorithm() && (alg != "Ed25519" || j.Type != "OKP") {
		return k, fmt.Errorf("alg is %q, want %q or none", alg, k.algorithm())
	}
	return k, nil
}

func (k *key) parseOKP(j *jwk) error {
	if j.Curve != "Ed25519" {
		return fmt.Errorf(`crv is %q, want "Ed25519"`, j.Curve)
	}
	x, err := decodeKey("x", j.X)
	if err != nil {
		return err
	}
	if len(x) != ed25519.PublicKeySize {
		return fmt.Errorf("x has %d bytes, want %d", len(x), ed25519.PublicKeySize)
	}
	k.public = x
	if j.D == "" {
		return nil
	}
	d, err := decodeKey("d", j.D)
	if err != nil {
		return err
	}
	if len(d) != ed25519.SeedSize {
		return fmt.Errorf("d has %d bytes, want %d", len(d), ed25519.SeedSize)
	}
	k.private = ed25519.NewKeyFromSeed(d)
	if !bytes.Equal(k.private[ed25519.SeedSize:], k.public) {
		return errors.New("d and x do not belong together")
	}
	return nil
}

func decodeKey(name, s string) ([]byte, error) {
	if s == "" {
		return nil, fmt.Errorf("%s is missing", name)
	}
	b, err := base64.RawURLEncoding.Strict().DecodeString(s)
	if err != nil {
		return nil, fmt.Errorf("%s is not base64url without padding", name)
	}
	return b, nil
}

// LoadKeySet reads a key set from a file. A file that holds private or secret
// keys must not be accessible to anybody but its owner (mode 0600 or 0400).
func LoadKeySet(path string) (*KeySet, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("session: key file: %w", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxKeyFile+1))
	if err != nil {
		return nil, fmt.Errorf("session: key file: %w", err)
	}
	if len(data) > maxKeyFile {
		return nil, fmt.Errorf("session: key file %s is larger than %d bytes", path, maxKeyFile)
	}
	ks, err := ParseKeySet(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("session: key file: %w", err)
	}
	if mode := info.Mode().Perm(); ks.secret() && mode&0o077 != 0 {
		return nil, fmt.Errorf("session: key file %s holds secret keys and has mode %04o: others can read it, run chmod 600 on it", path, mode)
	}
	return ks, nil
}

// GenerateKeySet makes a set of one new key for an algorithm, EdDSA or HS256,
// with a random kid.
func GenerateKeySet(algorithm string) (*KeySet, error) {
	id := make([]byte, 8)
	rand.Read(id) // never fails, see its documentation
	k := key{id: hex.EncodeToString(id)}
	switch algorithm {
	case EdDSA:
		var err error
		if k.public, k.private, err = ed25519.GenerateKey(nil); err != nil {
			return nil, fmt.Errorf("session: generating a key: %w", err)
		}
	case HS256:
		k.secret = make([]byte, minSecret)
		rand.Read(k.secret)
	default:
		return nil, unknownAlgorithm(algorithm)
	}
	return newKeySet([]key{k})
}

func unknownAlgorithm(algorithm string) error {
	return fmt.Errorf("session: algorithm is %q, want %q or %q", algorithm, EdDSA, HS256)
}

// Kids lists the keys' ids in the order of the set.
func (ks *KeySet) Kids() []string {
	ids := make([]string, len(ks.keys))
	for i := range ks.keys {
		ids[i] = ks.keys[i].id
	}
	return ids
}

// MarshalJSON gives the set as ParseKeySet reads it, secrets included.
func (ks *KeySet) MarshalJSON() ([]byte, error) {
	encode := base64.RawURLEncoding.EncodeToString
	set := jwkSet{Keys: make([]jwk, len(ks.keys))}
	for i := range ks.keys {
		k := &ks.keys[i]
		j := jwk{Type: "OKP", Curve: "Ed25519", ID: k.id, Algorithm: k.algorithm(), Use: "sig", X: encode(k.public)}
		switch {
		case k.secret != nil:
			j.Type, j.Curve, j.X, j.K = "oct", "", "", encode(k.secret)
		case k.private != nil:
			j.D = encode(k.private.Seed())
		}
		set.Keys[i] = j
	}
	return json.Marshal(set)
}

// String lists the kids.
func (ks *KeySet) String() string { return "keys " + strings.Join(ks.Kids(), ", ") }

// GoString lists the kids, so that %#v shows no keys either.
func (ks *KeySet) GoString() string { return ks.String() }

// LogValue lists the kids: slog would use MarshalJSON otherwise.
func (ks *KeySet) LogValue() slog.Value { return slog.StringValue(ks.String()) }

// secret reports whether the set holds anything that can sign.
func (ks *KeySet) secret() bool {
	for i := range ks.keys {
		if k := &ks.keys[i]; k.secret != nil || k.private != nil {
			return true
		}
	}
	return false
}
