package session

import (
	"encoding/base64"
	"encoding/json"
	"os"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"
)

// docs/TOKENS.md is what somebody writes an issuer from: its key sets load,
// its tokens verify, and they say what its payload says.
func TestTokensDocument(t *testing.T) {
	text, err := os.ReadFile("../docs/TOKENS.md")
	if err != nil {
		t.Fatal(err)
	}
	var objects, tokens []string
	for _, block := range regexp.MustCompile("(?s)```(json|text)\n(.*?)```").FindAllStringSubmatch(string(text), -1) {
		if block[1] == "json" {
			objects = append(objects, block[2])
		} else {
			tokens = append(tokens, strings.TrimSpace(block[2]))
		}
	}
	if len(objects) != 4 || len(tokens) != 2 {
		t.Fatalf("%d JSON blocks and %d tokens, want a header, a payload, two key sets and two tokens", len(objects), len(tokens))
	}
	decode := func(text string) (v map[string]any) {
		t.Helper()
		if err := json.Unmarshal([]byte(text), &v); err != nil {
			t.Fatalf("%v in %s", err, text)
		}
		return v
	}
	for i, algorithm := range []string{EdDSA, HS256} {
		cfg := DefaultAuthConfig()
		cfg.Algorithm, cfg.Keys = algorithm, parseKeys(t, objects[2+i])
		cfg.Now = func() time.Time { return epoch }
		v, err := NewVerifier(cfg)
		if err != nil {
			t.Fatal(err)
		}
		claims, err := v.Verify(tokens[i])
		if err != nil || claims.User != "alice" || claims.KeyID != "2026-03" {
			t.Errorf("%s: %v, %v", algorithm, claims, err)
		}
		parts := strings.Split(tokens[i], ".")
		for j, want := range []map[string]any{decode(objects[0]), decode(objects[1])} {
			part, err := base64.RawURLEncoding.DecodeString(parts[j])
			if err != nil {
				t.Fatal(err)
			}
			if j == 0 {
				want["alg"] = algorithm
			}
			if got := decode(string(part)); !reflect.DeepEqual(got, want) {
				t.Errorf("%s: part %d of the token is %v, the document shows %v", algorithm, j, got, want)
			}
		}
	}
}
