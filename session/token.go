package session

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/godwit-im/godwit/protocol"
	"github.com/godwit-im/godwit/protocol/pb"
)

// AuthConfig says which tokens are good. docs/TOKENS.md is the same for those
// who make them.
type AuthConfig struct {
	// Algorithm is EdDSA or HS256. There is only one, and every key must be of
	// its kind, so that no key can be used with an algorithm it wasn't made for.
	Algorithm string
	// Issuer and Audience must be a token's iss and among its aud.
	Issuer, Audience string
	// Leeway is how far the clocks of issuer and server may differ: exp, nbf
	// and iat are read with this much tolerance. At most maxLeeway.
	Leeway time.Duration
	// MaxLifetime is how far in the future a token's exp may be: a token can't
	// be withdrawn, only run out.
	MaxLifetime time.Duration
	// Remembered is how many tokens, those verified last, are known again
	// without their signature being checked; 0 = none. Up to twice as many are
	// kept, at up to 180 bytes each. See docs/adr/0011.
	Remembered int
	Keys       *KeySet
	Now        func() time.Time // nil = time.Now
}

const (
	maxLeeway     = 10 * time.Minute
	maxLifetime   = 10 * 365 * 24 * time.Hour
	maxRemembered = 1 << 24
)

// DefaultAuthConfig returns the production defaults. Keys has none.
func DefaultAuthConfig() AuthConfig {
	return AuthConfig{
		Algorithm:   EdDSA,
		Issuer:      "godwit",
		Audience:    "godwit",
		Leeway:      30 * time.Second,
		MaxLifetime: 31 * 24 * time.Hour,
		Remembered:  32 << 10,
	}
}

// Validate names the first field that can't work.
func (c *AuthConfig) Validate() error {
	switch {
	case c.Algorithm != EdDSA && c.Algorithm != HS256:
		return unknownAlgorithm(c.Algorithm)
	case c.Issuer == "":
		return errors.New("session: Issuer is missing")
	case c.Audience == "":
		return errors.New("session: Audience is missing")
	case c.Leeway < 0 || c.Leeway > maxLeeway:
		return fmt.Errorf("session: Leeway %v must be from 0 to %v", c.Leeway, maxLeeway)
	case c.MaxLifetime < time.Second || c.MaxLifetime > maxLifetime:
		return fmt.Errorf("session: MaxLifetime %v must be from 1s to %v", c.MaxLifetime, maxLifetime)
	case c.Remembered < 0 || c.Remembered > maxRemembered:
		return fmt.Errorf("session: Remembered %d must be from 0 to %d", c.Remembered, maxRemembered)
	case c.Keys == nil || len(c.Keys.keys) == 0:
		return errors.New("session: Keys is missing: no token could be verified")
	}
	for i := range c.Keys.keys {
		if k := &c.Keys.keys[i]; k.algorithm() != c.Algorithm {
			return fmt.Errorf("session: key %q is for %s, but the algorithm is %s", k.id, k.algorithm(), c.Algorithm)
		}
	}
	return nil
}

// Claims are what a verified token says.
type Claims struct {
	User string
	// Expires is from when on the token is refused: its exp plus the leeway.
	Expires time.Time
	KeyID   string
}

// Verifier verifies tokens. It may be used from any goroutine.
type Verifier struct {
	cfg     AuthConfig
	parser  *jwt.Parser
	keyFunc jwt.Keyfunc // v.key, made once
	good    *tokenCache // nil = none
}

// NewVerifier returns a verifier for cfg.
func NewVerifier(cfg AuthConfig) (*Verifier, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	v := &Verifier{cfg: cfg, parser: jwt.NewParser(
		jwt.WithValidMethods([]string{cfg.Algorithm}),
		jwt.WithIssuer(cfg.Issuer),
		jwt.WithAudience(cfg.Audience),
		jwt.WithExpirationRequired(),
		jwt.WithIssuedAt(),
		jwt.WithLeeway(cfg.Leeway),
		jwt.WithTimeFunc(cfg.Now),
		jwt.WithStrictDecoding(),
	)}
	v.keyFunc = v.key
	if cfg.Remembered > 0 {
		v.good = newTokenCache(cfg.Remembered)
	}
	return v, nil
}

// The refusals. Their texts go to the peer and into logs, and are fixed: no
// part of a token is ever in them.
var (
	errMalformed = protocol.Errorf(pb.Code_CODE_TOKEN_MALFORMED, "the token is not a JWT in compact form")
	errNoKid     = protocol.Errorf(pb.Code_CODE_TOKEN_MALFORMED, "the token's header has no kid")
	errCrit      = protocol.Errorf(pb.Code_CODE_TOKEN_MALFORMED, "the token's header has crit, and no extension is supported")
	errSignature = protocol.Errorf(pb.Code_CODE_TOKEN_SIGNATURE, "the token's signature or algorithm is wrong")
	errUnknown   = protocol.Errorf(pb.Code_CODE_TOKEN_SIGNATURE, "the token's kid names no key of this server")
	errExpired   = protocol.Errorf(pb.Code_CODE_TOKEN_EXPIRED, "the token has expired")
)

// Verify checks a token's size, form, algorithm, key, signature and claims, in
// this order. A token that passed before is known by its hash and only its
// times are checked again; see tokenCache. Nothing of a token is kept but that
// hash and what is in Claims. An error is a *protocol.Error: TOKEN_TOO_LARGE,
// TOKEN_MALFORMED, TOKEN_SIGNATURE, TOKEN_CLAIMS, or TOKEN_EXPIRED where a newer
// token of the same kind would do.
func (v *Verifier) Verify(token string) (Claims, error) {
	if len(token) > protocol.MaxToken {
		return Claims{}, protocol.Errorf(pb.Code_CODE_TOKEN_TOO_LARGE, "the token is %d bytes long, the limit is %d", len(token), protocol.MaxToken)
	}
	if v.good == nil {
		claims, _, err := v.verify(token)
		return claims, err
	}
	hash := tokenHash(sha256.Sum256([]byte(token)))
	if claims, ok := v.good.get(hash, v.cfg.Now()); ok {
		return claims, nil
	}
	claims, k, err := v.verify(token)
	if err == nil {
		v.good.put(hash, claims, k, v.cfg.Now())
	}
	return claims, err
}

// verify is Verify for a token that isn't too large nor remembered.
func (v *Verifier) verify(token string) (Claims, *key, error) {
	// encoding/base64 skips line breaks, so a signature would have many
	// spellings; RFC 7515 section 2 has none in a token.
	if strings.ContainsAny(token, "\r\n") {
		return Claims{}, nil, errMalformed
	}
	payload := &payload{latest: v.cfg.Now().Add(v.cfg.MaxLifetime + v.cfg.Leeway)}
	parsed, err := v.parser.ParseWithClaims(token, payload, v.keyFunc)
	if err != nil {
		return Claims{}, nil, refusal(err)
	}
	exp, err := payload.GetExpirationTime()
	if err != nil {
		return Claims{}, nil, refusal(err)
	}
	k := v.cfg.Keys.byID[parsed.Header["kid"].(string)] // it verified the token
	return Claims{User: payload.MapClaims["sub"].(string), Expires: exp.Add(v.cfg.Leeway), KeyID: k.id}, k, nil
}

// payload is the JSON object with the claims. It is a map because claim names
// are exact: in a struct, encoding/json would let "SUB" overwrite "sub".
type payload struct {
	jwt.MapClaims
	latest time.Time // the last good exp
}

// UnmarshalJSON implements json.Unmarshaler.
func (p *payload) UnmarshalJSON(b []byte) error {
	return json.Unmarshal(b, &p.MapClaims)
}

// Validate implements jwt.ClaimsValidator: what the library doesn't check. It
// runs after the signature was verified.
func (p *payload) Validate() error {
	for _, name := range []string{"exp", "nbf", "iat"} {
		// A larger number would overflow on its way to a time.Time.
		if t, ok := p.MapClaims[name].(float64); ok && (t < 0 || t > lastSecond) {
			return badClaim(name + " is not a time in seconds since 1970")
		}
	}
	if exp, err := p.GetExpirationTime(); err == nil && exp != nil && exp.After(p.latest) {
		return badClaim("exp is too far in the future")
	}
	user, ok := p.MapClaims["sub"].(string)
	if !ok {
		return badClaim("sub is missing or not a string")
	}
	if err := protocol.CheckID("sub", user); err != nil {
		return badClaim(protocol.AsError(err).Text)
	}
	return nil
}

// lastSecond is the end of the year 9999 in Unix time.
const lastSecond = 253402300799

// key is the jwt.Keyfunc: the key that the header names. The parser has seen
// to it by then that the header's algorithm is ours, and every key is for it.
func (v *Verifier) key(token *jwt.Token) (any, error) {
	// RFC 7515 section 4.1.11: extensions listed in crit must be understood.
	if _, ok := token.Header["crit"]; ok {
		return nil, errCrit
	}
	id, ok := token.Header["kid"].(string)
	if !ok {
		return nil, errNoKid
	}
	k := v.cfg.Keys.byID[id]
	switch {
	case k == nil:
		return nil, errUnknown
	case k.secret != nil:
		return k.secret, nil
	}
	return k.public, nil
}

// refusal turns the library's error into ours.
func refusal(err error) *protocol.Error {
	var ours *protocol.Error
	switch {
	case errors.As(err, &ours):
		return ours
	case errors.Is(err, jwt.ErrTokenMalformed):
		return errMalformed
	case errors.Is(err, jwt.ErrTokenInvalidClaims):
		return claimRefusal(err)
	}
	return errSignature
}

// claimRefusal is TOKEN_EXPIRED only where that is all that is wrong: that
// code asks the client to come back with a newer token.
func claimRefusal(err error) *protocol.Error {
	for _, c := range []struct {
		is   error
		text string
	}{
		{jwt.ErrTokenRequiredClaimMissing, "exp, iss or aud is missing"},
		{jwt.ErrInvalidType, "a claim has the wrong type"},
		{jwt.ErrTokenInvalidIssuer, "iss is not this server's issuer"},
		{jwt.ErrTokenInvalidAudience, "aud does not name this server's audience"},
		{jwt.ErrTokenNotValidYet, "nbf is in the future"},
		{jwt.ErrTokenUsedBeforeIssued, "iat is in the future"},
	} {
		if errors.Is(err, c.is) {
			return badClaim(c.text)
		}
	}
	return errExpired
}

func badClaim(text string) *protocol.Error {
	return protocol.Errorf(pb.Code_CODE_TOKEN_CLAIMS, "the token's claims: %s", text)
}
