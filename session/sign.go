package session

import (
	"fmt"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/godwit-im/godwit/protocol"
)

// Sign makes a token for user that is good for ttl from now on, with the key
// kid of ks; an empty kid takes the first key that can sign.
func Sign(ks *KeySet, kid, algorithm, issuer, audience, user string, ttl time.Duration, now time.Time) (string, error) {
	k, err := ks.signer(kid, algorithm)
	if err != nil {
		return "", err
	}
	if err := protocol.CheckID("user", user); err != nil {
		return "", fmt.Errorf("session: signing a token: %w", err)
	}
	if ttl < time.Second {
		return "", fmt.Errorf("session: signing a token: its lifetime is %v, want at least 1s", ttl)
	}
	method, secret := jwt.SigningMethod(jwt.SigningMethodEdDSA), any(k.private)
	if k.secret != nil {
		method, secret = jwt.SigningMethodHS256, k.secret
	}
	token := jwt.NewWithClaims(method, jwt.RegisteredClaims{
		Issuer:    issuer,
		Subject:   user,
		Audience:  jwt.ClaimStrings{audience},
		ExpiresAt: jwt.NewNumericDate(now.Add(ttl)),
		IssuedAt:  jwt.NewNumericDate(now),
	})
	token.Header["kid"] = k.id
	signed, err := token.SignedString(secret)
	if err != nil {
		return "", fmt.Errorf("session: signing a token: %w", err)
	}
	return signed, nil
}

func (ks *KeySet) signer(kid, algorithm string) (*key, error) {
	for i := range ks.keys {
		k := &ks.keys[i]
		if k.algorithm() == algorithm && (k.secret != nil || k.private != nil) && (kid == "" || kid == k.id) {
			return k, nil
		}
	}
	if kid == "" {
		return nil, fmt.Errorf("session: no key of the set can sign with %s", algorithm)
	}
	return nil, fmt.Errorf("session: the set has no key %q that can sign with %s", kid, algorithm)
}
