package session

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/godwit-im/godwit/protocol/pb"
)

// counting is a verifier with a clock that counts the tokens whose signature
// it looks at.
type counting struct {
	*Verifier
	clock  *clock
	looked int
}

func newCounting(t testing.TB, remembered int) *counting {
	c := &counting{clock: newClock()}
	c.Verifier = testVerifier(t, EdDSA, func(cfg *AuthConfig) {
		cfg.Now, cfg.Remembered = c.clock.Now, remembered
	})
	c.keyFunc = func(token *jwt.Token) (any, error) {
		c.looked++
		return c.key(token)
	}
	return c
}

// token is one of user's with changes to a good payload.
func (c *counting) token(t testing.TB, user string, changes object) string {
	t.Helper()
	kid := c.cfg.Keys.Kids()[0]
	payload := with(with(goodPayload(), object{"sub": user}), changes)
	return forge(t, object{"alg": EdDSA, "kid": kid}, payload, signWith(t, c.Verifier, kid))
}

// good verifies a token that must be accepted and reports whether its signature
// was looked at.
func (c *counting) good(t *testing.T, token string) (looked bool) {
	t.Helper()
	before := c.looked
	claims, err := c.Verify(token)
	if err != nil {
		t.Fatal(err)
	}
	if claims.User == "" || claims.KeyID != c.cfg.Keys.Kids()[0] {
		t.Fatalf("claims %+v", claims)
	}
	return c.looked > before
}

func (c *counting) bad(t *testing.T, token string, want pb.Code) {
	t.Helper()
	_, err := c.Verify(token)
	wantCode(t, err, want)
	leaksNothing(t, token, err)
}

func TestRemembered(t *testing.T) {
	c := newCounting(t, 10)
	token := c.token(t, "alice", nil)
	first, err := c.Verify(token)
	if err != nil {
		t.Fatal(err)
	}
	second, err := c.Verify(token)
	if err != nil || c.looked != 1 {
		t.Fatalf("the signature was looked at %d times: %v", c.looked, err)
	}
	if first.User != "alice" || first.User != second.User || first.KeyID != second.KeyID || !first.Expires.Equal(second.Expires) {
		t.Errorf("%+v at first, %+v again", first, second)
	}
	if c.good(t, c.token(t, "bob", nil)); c.looked != 2 {
		t.Error("another user's token was not looked at")
	}
	none := newCounting(t, 0)
	for range 2 {
		if !none.good(t, token) {
			t.Error("a token was remembered with Remembered 0")
		}
	}
}

// A remembered token ends at the same nanosecond as any other.
func TestRememberedUntilExpiry(t *testing.T) {
	c := newCounting(t, 10)
	token := c.token(t, "alice", object{"exp": epoch.Add(time.Hour).Unix()})
	c.good(t, token)
	c.clock.advance(time.Hour + c.cfg.Leeway - 1)
	if c.good(t, token) {
		t.Error("forgotten before its end")
	}
	c.clock.advance(1)
	c.bad(t, token, pb.Code_CODE_TOKEN_EXPIRED)
}

// A clock that was set back may be before a token's nbf or iat again.
func TestRememberedWithTheClockSetBack(t *testing.T) {
	for _, claim := range []string{"nbf", "iat"} {
		c := newCounting(t, 10)
		token := c.token(t, "alice", object{claim: epoch.Unix()})
		c.good(t, token)
		c.clock.advance(-c.cfg.Leeway)
		if !c.good(t, token) {
			t.Errorf("%s: not verified anew", claim)
		}
		c.clock.advance(-time.Second)
		c.bad(t, token, pb.Code_CODE_TOKEN_CLAIMS)
	}
}

// No other bytes pass for a token that is remembered, and each failure is
// found out anew.
func TestRememberedTampered(t *testing.T) {
	c := newCounting(t, 10)
	token := c.token(t, "alice", nil)
	other := c.token(t, "mallory", nil)
	c.good(t, token)
	part := func(token string, i int) string { return strings.Split(token, ".")[i] }
	for what, forged := range map[string]string{
		"another payload under its signature": part(other, 0) + "." + part(other, 1) + "." + part(token, 2),
		"its text with another signature":     part(token, 0) + "." + part(token, 1) + "." + part(other, 2),
	} {
		for range 2 {
			before := c.looked
			c.bad(t, forged, pb.Code_CODE_TOKEN_SIGNATURE)
			if c.looked != before+1 {
				t.Errorf("%s: not looked at", what)
			}
		}
	}
	for _, forged := range []string{token + "\n", token + "=", token[:len(token)-1], respell(token)} {
		if _, err := c.Verify(forged); err == nil {
			t.Errorf("%q passed for %q", forged, token)
		}
	}
	if n := len(c.Verifier.good.young); n != 1 {
		t.Errorf("%d tokens are remembered, want the good one", n)
	}
	if c.good(t, token) {
		t.Error("the good one was forgotten")
	}
}

// A key that is withdrawn takes its tokens with it.
func TestRememberedKeyWithdrawn(t *testing.T) {
	c := newCounting(t, 10)
	token := c.token(t, "alice", nil)
	c.good(t, token)
	cfg := c.cfg
	if len(cfg.Keys.keys) < 2 {
		t.Fatal("want a second key")
	}
	var err error
	if cfg.Keys, err = newKeySet(cfg.Keys.keys[1:]); err != nil {
		t.Fatal(err)
	}
	after, err := NewVerifier(cfg)
	if err != nil {
		t.Fatal(err)
	}
	_, err = after.Verify(token)
	wantCode(t, err, pb.Code_CODE_TOKEN_SIGNATURE)
}

// The last so many tokens are known, and at most twice as many are kept.
func TestRememberedBound(t *testing.T) {
	const limit = 4
	c := newCounting(t, limit)
	var tokens []string
	for i := range 5 * limit {
		tokens = append(tokens, c.token(t, fmt.Sprint("user", i), nil))
		c.good(t, tokens[i])
		for back := range min(limit, len(tokens)) {
			if c.good(t, tokens[i-back]) {
				t.Fatalf("token %d was forgotten %d later", i-back, back)
			}
		}
		if n := len(c.Verifier.good.young) + len(c.Verifier.good.old); n > 2*limit {
			t.Fatalf("%d are kept", n)
		}
	}
	if !c.good(t, tokens[0]) {
		t.Error("the first one is still known")
	}
}

func TestRememberedConcurrently(t *testing.T) {
	v := testVerifier(t, HS256, func(c *AuthConfig) { c.Remembered = 2 })
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			user := fmt.Sprint("user", i)
			token, err := Sign(v.cfg.Keys, "", HS256, "iss", "aud", user, time.Hour, epoch)
			if err != nil {
				t.Error(err)
				return
			}
			for range 200 {
				if claims, err := v.Verify(token); err != nil || claims.User != user {
					t.Errorf("%s: %+v, %v", user, claims, err)
					return
				}
			}
		})
	}
	wg.Wait()
}
