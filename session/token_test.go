package session

import (
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/godwit-im/godwit/protocol"
	"github.com/godwit-im/godwit/protocol/pb"
)

// The keys of the tests: fixed, so that their tokens are.
const (
	testKeysEdDSA = `{"keys": [
		{"kty": "OKP", "crv": "Ed25519", "kid": "ed-1", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo", "d": "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A"},
		{"kty": "OKP", "crv": "Ed25519", "kid": "ed-2", "x": "PUAXw-hDiVqStwqnTRt-vJyYLM8uxJaMwM1V8Sr0Zgw"}]}`
	testKeysHS256 = `{"keys": [
		{"kty": "oct", "kid": "hs-1", "k": "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow"},
		{"kty": "oct", "kid": "hs-2", "k": "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8"}]}`
)

func parseKeys(t testing.TB, data string) *KeySet {
	t.Helper()
	ks, err := ParseKeySet([]byte(data))
	if err != nil {
		t.Fatal(err)
	}
	return ks
}

// testVerifier expects iss "iss" and aud "aud", at the time epoch.
func testVerifier(t testing.TB, algorithm string, tweaks ...func(*AuthConfig)) *Verifier {
	t.Helper()
	cfg := DefaultAuthConfig()
	cfg.Algorithm, cfg.Issuer, cfg.Audience = algorithm, "iss", "aud"
	cfg.Keys = parseKeys(t, map[string]string{EdDSA: testKeysEdDSA, HS256: testKeysHS256}[algorithm])
	cfg.Now = func() time.Time { return epoch }
	for _, tweak := range tweaks {
		tweak(&cfg)
	}
	v, err := NewVerifier(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

type object = map[string]any

// forge builds a token without the library under test: JSON, base64url, and a
// signature by sign over the first two parts. Header and payload are given as
// text or as an object.
func forge(t testing.TB, header, payload any, sign func(text []byte) []byte) string {
	t.Helper()
	part := func(v any) string {
		text, ok := v.(string)
		if !ok {
			b, err := json.Marshal(v)
			if err != nil {
				t.Fatal(err)
			}
			text = string(b)
		}
		return base64.RawURLEncoding.EncodeToString([]byte(text))
	}
	text := part(header) + "." + part(payload)
	return text + "." + base64.RawURLEncoding.EncodeToString(sign([]byte(text)))
}

func signWith(t testing.TB, v *Verifier, kid string) func([]byte) []byte {
	t.Helper()
	k := v.cfg.Keys.byID[kid]
	if k == nil {
		t.Fatalf("no key %q", kid)
	}
	if k.secret != nil {
		return hmacWith(k.secret)
	}
	return func(text []byte) []byte { return ed25519.Sign(k.private, text) }
}

func hmacWith(secret []byte) func([]byte) []byte {
	return func(text []byte) []byte {
		h := hmac.New(sha256.New, secret)
		h.Write(text)
		return h.Sum(nil)
	}
}

// with is a copy of o with changes; a nil value removes.
func with(o, changes object) object {
	o = maps.Clone(o)
	for k, v := range changes {
		if o[k] = v; v == nil {
			delete(o, k)
		}
	}
	return o
}

func goodPayload() object {
	return object{"iss": "iss", "aud": "aud", "sub": "alice", "iat": epoch.Unix(), "exp": epoch.Add(time.Hour).Unix()}
}

func TestVerify(t *testing.T) {
	for _, algorithm := range []string{EdDSA, HS256} {
		t.Run(algorithm, func(t *testing.T) {
			v := testVerifier(t, algorithm)
			kid := v.cfg.Keys.Kids()[0]
			check := func(name string, token string, want protocol.Code) {
				t.Helper()
				claims, err := v.Verify(token)
				if got := protocol.CodeOf(err); got != want {
					t.Errorf("%s: %s (%v), want %s", name, got.Name(), err, want.Name())
					return
				}
				var ours *protocol.Error
				if err != nil && !errors.As(err, &ours) {
					t.Errorf("%s: %T is not an error for the wire", name, err)
				}
				if err != nil && claims != (Claims{}) {
					t.Errorf("%s: refused, but with claims %v", name, claims)
				}
				leaksNothing(t, token, err)
			}
			const (
				ok        = pb.Code_CODE_UNSPECIFIED
				malformed = pb.Code_CODE_TOKEN_MALFORMED
				signature = pb.Code_CODE_TOKEN_SIGNATURE
				expired   = pb.Code_CODE_TOKEN_EXPIRED
				claims    = pb.Code_CODE_TOKEN_CLAIMS
			)
			sign := signWith(t, v, kid)
			header := object{"alg": algorithm, "kid": kid, "typ": "JWT"}

			// Claims, under a good signature.
			in := func(d time.Duration) int64 { return epoch.Add(d).Unix() }
			for _, c := range []struct {
				name    string
				changes object
				want    protocol.Code
			}{
				{"good", nil, ok},
				{"one of several audiences", object{"aud": []string{"other", "aud"}}, ok},
				{"claims of others", object{"name": "Alice", "roles": []any{"x", object{"y": nil}}}, ok},
				{"no iat", object{"iat": nil}, ok},
				{"fractions of a second", object{"exp": float64(in(time.Hour)) + 0.5}, ok},
				{"longest user id", object{"sub": strings.Repeat("u", protocol.MaxID)}, ok},
				{"expired within the leeway", object{"exp": in(-29 * time.Second)}, ok},
				{"iat within the leeway", object{"iat": in(30 * time.Second)}, ok},
				{"nbf within the leeway", object{"nbf": in(30 * time.Second)}, ok},
				{"longest lifetime", object{"exp": in(31*24*time.Hour + 30*time.Second)}, ok},

				{"expired", object{"exp": in(-30 * time.Second)}, expired},
				{"expired long ago", object{"exp": 1}, expired},
				{"expired, and for another server", object{"exp": in(-time.Hour), "aud": "other"}, claims},
				{"expired, and without a user", object{"exp": in(-time.Hour), "sub": nil}, claims},

				{"no exp", object{"exp": nil}, claims},
				{"exp is zero", object{"exp": 0}, claims},
				{"exp is text", object{"exp": "tomorrow"}, claims},
				{"exp is null", object{"exp": json.RawMessage("null")}, claims},
				{"exp is an object", object{"exp": object{}}, claims},
				{"exp too far", object{"exp": in(31*24*time.Hour + 31*time.Second)}, claims},
				{"exp overflows", object{"exp": json.RawMessage("1e300")}, claims},
				{"exp is negative", object{"exp": -1}, claims},
				{"nbf in the future", object{"nbf": in(31 * time.Second)}, claims},
				{"nbf overflows", object{"nbf": json.RawMessage("1e19")}, claims},
				{"nbf is text", object{"nbf": "now"}, claims},
				{"iat in the future", object{"iat": in(31 * time.Second)}, claims},
				{"iat is text", object{"iat": "now"}, claims},
				{"no iss", object{"iss": nil}, claims},
				{"empty iss", object{"iss": ""}, claims},
				{"another iss", object{"iss": "iss2"}, claims},
				{"iss is a list", object{"iss": []string{"iss"}}, claims},
				{"no aud", object{"aud": nil}, claims},
				{"empty aud", object{"aud": ""}, claims},
				{"empty list of aud", object{"aud": []string{}}, claims},
				{"another aud", object{"aud": []string{"aud2", "AUD"}}, claims},
				{"aud is a number", object{"aud": 7}, claims},
				{"aud lists numbers", object{"aud": []any{"aud", 7}}, claims},
				{"no sub", object{"sub": nil}, claims},
				{"empty sub", object{"sub": ""}, claims},
				{"sub is a number", object{"sub": 7}, claims},
				{"bad sub", object{"sub": "alice:bob"}, claims},
				{"long sub", object{"sub": strings.Repeat("u", protocol.MaxID+1)}, claims},
				{"names in other case", object{"sub": nil, "Sub": "alice"}, claims},
			} {
				check(c.name, forge(t, header, with(goodPayload(), c.changes), sign), c.want)
			}

			// A claim in other case doesn't replace the real one.
			got, err := v.Verify(forge(t, header, with(goodPayload(), object{"SUB": "mallory"}), sign))
			want := Claims{User: "alice", Expires: epoch.Add(time.Hour + v.cfg.Leeway), KeyID: kid}
			if err != nil || got.User != want.User || got.KeyID != want.KeyID || !got.Expires.Equal(want.Expires) {
				t.Errorf("claims %v, %v, want %v", got, err, want)
			}

			// The header, signed as it is.
			for _, c := range []struct {
				name    string
				changes object
				want    protocol.Code
			}{
				{"no typ", object{"typ": nil}, ok},
				{"no kid", object{"kid": nil}, malformed},
				{"kid is a number", object{"kid": 1}, malformed},
				{"unknown kid", object{"kid": "nobody"}, signature},
				{"the kid of another key", object{"kid": v.cfg.Keys.Kids()[1]}, signature},
				{"a critical extension", object{"crit": []string{"b64"}, "b64": false}, malformed},
				{"no alg", object{"alg": nil}, signature},
				{"alg is a number", object{"alg": 1}, signature},
				{"alg none", object{"alg": "none"}, signature},
				{"alg nOnE", object{"alg": "nOnE"}, signature},
				{"alg in lower case", object{"alg": strings.ToLower(algorithm)}, signature},
				{"alg HS512", object{"alg": "HS512"}, signature},
				{"alg RS256", object{"alg": "RS256"}, signature},
				{"alg unheard of", object{"alg": "XX999"}, signature},
			} {
				check(c.name, forge(t, with(header, c.changes), goodPayload(), sign), c.want)
			}

			// Signatures.
			none := func([]byte) []byte { return nil }
			check("alg none, unsigned", forge(t, with(header, object{"alg": "none"}), goodPayload(), none), signature)
			check("unsigned", forge(t, header, goodPayload(), none), signature)
			check("signed with zeros", forge(t, header, goodPayload(), func(b []byte) []byte { return make([]byte, len(sign(b))) }), signature)
			check("signed for another text", forge(t, header, goodPayload(), func([]byte) []byte { return sign([]byte("x")) }), signature)
			good := forge(t, header, goodPayload(), sign)
			other := forge(t, header, with(goodPayload(), object{"sub": "mallory"}), sign)
			parts, others := strings.Split(good, "."), strings.Split(other, ".")
			check("another payload", parts[0]+"."+others[1]+"."+parts[2], signature)
			check("a broken claim and no signature", forge(t, header, object{}, none), signature)

			check("another spelling of the signature", respell(good), malformed)

			// Form.
			check("empty", "", malformed)
			check("garbage", "garbage", malformed)
			check("dots", "..", malformed)
			check("more dots", strings.Repeat(".", 4000), malformed)
			check("two parts", parts[0]+"."+parts[1], malformed)
			check("four parts", good+".", malformed)
			check("padding", good+"=", malformed)
			check("leading space", " "+good, malformed)
			check("a line break", good[:10]+"\n"+good[10:], malformed)
			check("a line break in the signature", good[:len(good)-5]+"\n"+good[len(good)-5:], malformed)
			check("a carriage return at the end", good+"\r", malformed)
			check("not UTF-8", "\xff\xfe."+parts[1]+"."+parts[2], malformed)
			check("header is null", forge(t, "null", goodPayload(), sign), signature)
			check("header is a list", forge(t, "[]", goodPayload(), sign), malformed)
			check("payload is null", forge(t, header, "null", sign), claims)
			check("payload is a list", forge(t, header, "[]", sign), malformed)
			check("payload is empty", forge(t, header, "{}", sign), claims)
			check("payload is cut off", forge(t, header, `{"sub":"alice"`, sign), malformed)
			check("payload nests deeply", forge(t, header, `{"a":`+strings.Repeat("[", 2500), sign), malformed)

			// Size, before anything else is looked at.
			check("a byte too many", strings.Repeat("A", protocol.MaxToken+1), pb.Code_CODE_TOKEN_TOO_LARGE)
			check("a megabyte", strings.Repeat("A.", 1<<19), pb.Code_CODE_TOKEN_TOO_LARGE)
			check("just not too many", strings.Repeat("A", protocol.MaxToken), malformed)
			pad := func(n int) string {
				return forge(t, header, with(goodPayload(), object{"pad": strings.Repeat("p", n)}), sign)
			}
			check("a large good one", pad(2500), ok)
			check("a larger good one", pad(4000), pb.Code_CODE_TOKEN_TOO_LARGE)
		})
	}
}

// respell sets a bit of token's last character that stands for no bit of the
// signature: 6 bits per character leave 4 over in 64 bytes, and 2 in 32.
func respell(token string) string {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	last := len(token) - 1
	return token[:last] + string(alphabet[strings.IndexByte(alphabet, token[last])|1])
}

// leaksNothing fails when err's text has a piece of the token in it.
func leaksNothing(t *testing.T, token string, err error) {
	t.Helper()
	if err == nil {
		return
	}
	for _, part := range strings.FieldsFunc(token, func(r rune) bool { return r == '.' }) {
		for _, piece := range []string{part, part[:min(len(part), 12)]} {
			if len(piece) >= 8 && strings.Contains(err.Error(), piece) {
				t.Errorf("%q contains %q of the token", err, piece)
			}
		}
	}
}

// A public key is not a secret: a token made with HMAC over it, the classic
// confusion, is refused by either kind of verifier.
func TestAlgorithmConfusion(t *testing.T) {
	v := testVerifier(t, EdDSA)
	public := v.cfg.Keys.byID["ed-1"].public
	for _, alg := range []string{HS256, EdDSA} {
		token := forge(t, object{"alg": alg, "kid": "ed-1"}, goodPayload(), hmacWith(public))
		_, err := v.Verify(token)
		wantCode(t, err, pb.Code_CODE_TOKEN_SIGNATURE)
	}
	hs := testVerifier(t, HS256)
	stronger := jwt.NewWithClaims(jwt.SigningMethodHS512, jwt.MapClaims(goodPayload()))
	stronger.Header["kid"] = "hs-1"
	signed, err := stronger.SignedString(hs.cfg.Keys.byID["hs-1"].secret)
	if err != nil {
		t.Fatal(err)
	}
	_, err = hs.Verify(signed) // the right key, but not the one algorithm
	wantCode(t, err, pb.Code_CODE_TOKEN_SIGNATURE)
	token := forge(t, object{"alg": EdDSA, "kid": "hs-1"}, goodPayload(), signWith(t, v, "ed-1"))
	_, err = hs.Verify(token)
	wantCode(t, err, pb.Code_CODE_TOKEN_SIGNATURE)
}

// What Sign makes, Verify takes, and only with the keys that it was made with.
func TestSign(t *testing.T) {
	for _, algorithm := range []string{EdDSA, HS256} {
		v := testVerifier(t, algorithm)
		ks := v.cfg.Keys
		token, err := Sign(ks, "", algorithm, "iss", "aud", "alice", time.Hour, epoch)
		if err != nil {
			t.Fatal(err)
		}
		got, err := v.Verify(token)
		if err != nil || got.User != "alice" || got.KeyID != ks.Kids()[0] || !got.Expires.Equal(epoch.Add(time.Hour+v.cfg.Leeway)) {
			t.Errorf("%s: %v, %v", algorithm, got, err)
		}
		others, err := GenerateKeySet(algorithm)
		if err != nil {
			t.Fatal(err)
		}
		others.keys[0].id = ks.Kids()[0]
		token, err = Sign(others, ks.Kids()[0], algorithm, "iss", "aud", "alice", time.Hour, epoch)
		if err != nil {
			t.Fatal(err)
		}
		_, err = v.Verify(token)
		wantCode(t, err, pb.Code_CODE_TOKEN_SIGNATURE)
	}

	ed, hs := parseKeys(t, testKeysEdDSA), parseKeys(t, testKeysHS256)
	if token, err := Sign(hs, "hs-2", HS256, "iss", "aud", "alice", time.Hour, epoch); err != nil {
		t.Error(err)
	} else if got, err := testVerifier(t, HS256).Verify(token); err != nil || got.KeyID != "hs-2" {
		t.Errorf("signed with hs-2: %v, %v", got, err)
	}
	for _, c := range []struct {
		name           string
		ks             *KeySet
		kid, alg, user string
		ttl            time.Duration
	}{
		{"public key only", ed, "ed-2", EdDSA, "alice", time.Hour},
		{"unknown kid", ed, "ed-3", EdDSA, "alice", time.Hour},
		{"key of another kind", ed, "ed-1", HS256, "alice", time.Hour},
		{"no key of the kind", hs, "", EdDSA, "alice", time.Hour},
		{"unknown algorithm", hs, "", "none", "alice", time.Hour},
		{"bad user", hs, "", HS256, "a:b", time.Hour},
		{"no lifetime", hs, "", HS256, "alice", 0},
	} {
		if token, err := Sign(c.ks, c.kid, c.alg, "iss", "aud", c.user, c.ttl, epoch); err == nil {
			t.Errorf("%s: signed %s", c.name, token)
		}
	}
}

func TestAuthConfigValidate(t *testing.T) {
	good := testVerifier(t, EdDSA).cfg
	if err := good.Validate(); err != nil {
		t.Fatal(err)
	}
	for what, breakIt := range map[string]func(*AuthConfig){
		"algorithm":   func(c *AuthConfig) { c.Algorithm = "RS256" },
		"Issuer":      func(c *AuthConfig) { c.Issuer = "" },
		"Audience":    func(c *AuthConfig) { c.Audience = "" },
		"Leeway":      func(c *AuthConfig) { c.Leeway = time.Hour },
		"MaxLifetime": func(c *AuthConfig) { c.MaxLifetime = 0 },
		"Remembered":  func(c *AuthConfig) { c.Remembered = -1 },
		"Keys":        func(c *AuthConfig) { c.Keys = nil },
		`key "hs-1"`:  func(c *AuthConfig) { c.Keys = parseKeys(t, testKeysHS256) },
	} {
		c := good
		breakIt(&c)
		if _, err := NewVerifier(c); err == nil || !strings.Contains(err.Error(), what) {
			t.Errorf("bad %s: %v", what, err)
		}
	}
}

// Whatever comes in, Verify answers with a documented code or accepts exactly
// a token that was signed: no other bytes pass for it.
func FuzzVerify(f *testing.F) {
	verifiers := []*Verifier{testVerifier(f, EdDSA), testVerifier(f, HS256)}
	signed := map[string]bool{}
	for _, v := range verifiers {
		kid := v.cfg.Keys.Kids()[0]
		for _, payload := range []object{goodPayload(), with(goodPayload(), object{"sub": "bob", "aud": []string{"x", "aud"}})} {
			token := forge(f, object{"alg": v.cfg.Algorithm, "kid": kid}, payload, signWith(f, v, kid))
			signed[token] = true
			f.Add(token)
		}
		f.Add(forge(f, object{"alg": "none", "kid": kid}, goodPayload(), func([]byte) []byte { return nil }))
		f.Add(forge(f, object{"alg": v.cfg.Algorithm, "kid": kid, "crit": []string{"x"}}, goodPayload(), signWith(f, v, kid)))
		f.Add(forge(f, object{"alg": v.cfg.Algorithm, "kid": kid}, with(goodPayload(), object{"exp": json.RawMessage("1e300")}), signWith(f, v, kid)))
	}
	for token := range signed {
		f.Add(token + "\n")
		f.Add(token + "=")
	}
	f.Add("")
	f.Add("..")
	f.Add("e30.e30.")
	f.Add(strings.Repeat("A", protocol.MaxToken+1))
	f.Fuzz(func(t *testing.T, token string) {
		for _, v := range verifiers {
			claims, err := v.Verify(token)
			switch code := protocol.CodeOf(err); code {
			case pb.Code_CODE_UNSPECIFIED:
				if !signed[token] {
					t.Fatalf("accepted %q as %v", token, claims)
				}
			case pb.Code_CODE_TOKEN_TOO_LARGE, pb.Code_CODE_TOKEN_MALFORMED, pb.Code_CODE_TOKEN_SIGNATURE,
				pb.Code_CODE_TOKEN_EXPIRED, pb.Code_CODE_TOKEN_CLAIMS:
			default:
				t.Fatalf("%q: %s", token, code.Name())
			}
		}
	})
}
