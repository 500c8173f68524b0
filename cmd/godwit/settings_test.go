package main

import (
	"io"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/pflag"
)

func TestFewKnobs(t *testing.T) {
	if n := len(newSettings().knobs.Knobs()); n >= 40 {
		t.Errorf("%d knobs; there must be fewer than 40", n)
	}
}

// docs/CONFIG.md holds what 'godwit config print --markdown' prints, so that it
// has every knob and every rule with its default.
func TestConfigDocs(t *testing.T) {
	var tables strings.Builder
	if err := newSettings().writeMarkdown(&tables); err != nil {
		t.Fatal(err)
	}
	doc, err := os.ReadFile("../../docs/CONFIG.md")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(doc), tables.String()) {
		t.Errorf("docs/CONFIG.md must contain the output of 'godwit config print --markdown':\n%s", tables.String())
	}
}

func TestDefaultsPass(t *testing.T) {
	if err := newSettings().read("", nil, io.Discard); err != nil {
		t.Error(err)
	}
}

// A knob that is not set leaves the default of the package that it belongs to,
// and every knob reads what it prints.
func TestKnobsRoundTrip(t *testing.T) {
	a, b := newSettings(), newSettings()
	var printed strings.Builder
	if err := a.knobs.Print(&printed); err != nil {
		t.Fatal(err)
	}
	file := t.TempDir() + "/all.toml"
	if err := os.WriteFile(file, []byte(printed.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := b.read(file, nil, io.Discard); err != nil {
		t.Fatal(err)
	}
	for i, k := range a.knobs.Knobs() {
		if got := b.knobs.Knobs()[i].Value.String(); got != k.Default() {
			t.Errorf("%s: %q was read back as %q", k.Name, k.Default(), got)
		}
	}
}

func TestKnobsReachTheirTargets(t *testing.T) {
	s := newSettings()
	env := []string{
		"GODWIT_LISTEN=1.2.3.4:5", "GODWIT_DATA=/x", "GODWIT_DURABILITY=interval", "GODWIT_CACHE=1GiB",
		"GODWIT_MAX_CONNECTIONS=100", "GODWIT_ACCEPT_RATE=50", "GODWIT_HEARTBEAT_DEFAULT=30s",
		"GODWIT_RETENTION_COUNT=7", "GODWIT_MAX_BODY=1KiB", "GODWIT_DRAIN_TIMEOUT=3s", "GODWIT_LOG_LEVEL=warn",
	}
	if err := s.read("", env, io.Discard); err != nil {
		t.Fatal(err)
	}
	c := &s.server
	for name, ok := range map[string]bool{
		"listen":                 c.Net.Addr == "1.2.3.4:5",
		"data":                   c.Store.Dir == "/x/store",
		"durability":             c.Store.Durability.String() == "interval",
		"cache":                  c.Store.CacheBytes == 1<<30,
		"max-connections":        c.Net.MaxConns == 100,
		"of max-connections":     c.Net.MaxUnauthenticated == 100,
		"accept-rate":            c.Net.AcceptRate == 50 && c.Net.AcceptBurst == 25,
		"heartbeat-default":      c.Session.HeartbeatDefault.Seconds() == 30,
		"retention-count":        c.Chat.Retention.MaxCount == 7,
		"max-body":               c.Session.MaxBody == 1<<10,
		"drain-timeout":          c.Drain.Timeout.Seconds() == 3,
		"log-level":              s.log.level.String() == "WARN",
		"max-frame, not touched": c.Net.MaxFrame == 256<<10,
	} {
		if !ok {
			t.Errorf("%s did not arrive", name)
		}
	}
}

func TestNames(t *testing.T) {
	s := newSettings()
	fs := pflag.NewFlagSet("serve", pflag.ContinueOnError)
	s.flags(fs)
	for _, k := range s.knobs.Knobs() {
		if strings.Trim(k.Name, "abcdefghijklmnopqrstuvwxyz-") != "" {
			t.Errorf("%s: a name has lower case letters and '-'", k.Name)
		}
		if k.Doc == "" || strings.HasSuffix(k.Doc, ".") {
			t.Errorf("%s: doc %q", k.Name, k.Doc)
		}
		if (fs.Lookup(k.Name) == nil) != k.Secret {
			t.Errorf("%s: every knob but a secret has a flag", k.Name)
		}
		if slices.Contains([]string{envConfig, envServer, envToken, envTokenFile}, s.knobs.Env(k.Name)) {
			t.Errorf("%s is the name of another variable", s.knobs.Env(k.Name))
		}
	}
}
