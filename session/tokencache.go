package session

import (
	"crypto/sha256"
	"sync"
	"time"
)

// tokenCache remembers which tokens were found good, so that a client that
// comes back with the token it had costs a hash and not a signature: when a
// server or a network fails, all of them come back at once.
//
// Security. An entry says: these exact bytes were verified in full, under these
// keys, and mean this user until then. So
//
//   - what is stored is the SHA-256 of the token, not the token: a dump of the
//     memory gives no token away. To be taken for a good token, another one
//     would have to have the same hash (a second preimage), which is as hard as
//     forging one is by the hash within the signature;
//   - only successes are stored, so nobody can fill it without good tokens, nor
//     make a good one fail. Every failure is found out anew;
//   - an entry is good from when it was verified until the token's expiry with
//     leeway, not one moment longer than Verify would say. A clock that was set
//     back behind the verification has the token verified again, since nbf and
//     iat might lie in the future now;
//   - it belongs to one Verifier, whose keys and expectations never change. A
//     key is withdrawn by making another Verifier, which begins with nothing;
//   - that an answer is fast tells the one who asks only that the token he has
//     was used before. The lookup compares hashes that he can't choose
//     freely, so there is no prefix to guess along.
//
// It holds two generations of up to limit tokens. A full one becomes the old
// one and the old one is dropped, so the last limit tokens that were verified
// are known and there are never more than twice as many; up to 180 bytes each,
// the user's id of 11 bytes included.
// That bound is for a flood of good tokens: somebody who has that many can
// have others' tokens forgotten, who are then verified again and are no worse
// off than without a cache. An LRU would keep better what is used again and
// again, but within a storm everybody comes once.
type tokenCache struct {
	limit int

	mu         sync.Mutex // guards the maps
	young, old map[tokenHash]goodToken
}

type tokenHash [sha256.Size]byte

// goodToken is what a token said. Times are Unix nanoseconds; MaxLifetime keeps
// them far from overflowing.
type goodToken struct {
	user            string
	key             *key
	verified, until int64
}

func newTokenCache(limit int) *tokenCache {
	return &tokenCache{limit: limit, young: make(map[tokenHash]goodToken)}
}

// get returns what the token with this hash says, if it was verified before
// and is still good at now.
func (c *tokenCache) get(h tokenHash, now time.Time) (Claims, bool) {
	c.mu.Lock()
	t, ok := c.young[h]
	if !ok {
		t, ok = c.old[h]
	}
	c.mu.Unlock()
	if at := now.UnixNano(); !ok || at < t.verified || at >= t.until {
		return Claims{}, false
	}
	return Claims{User: t.user, Expires: time.Unix(0, t.until), KeyID: t.key.id}, true
}

// put remembers a token that was verified with k; now is from after that.
func (c *tokenCache) put(h tokenHash, claims Claims, k *key, now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.young) >= c.limit {
		c.young, c.old = make(map[tokenHash]goodToken), c.young
	}
	c.young[h] = goodToken{user: claims.User, key: k, verified: now.UnixNano(), until: claims.Expires.UnixNano()}
}
