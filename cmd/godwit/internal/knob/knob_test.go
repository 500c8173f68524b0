package knob

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"
)

// config is a target with a knob of every kind.
type config struct {
	listen string
	frame  int
	floor  uint64
	age    time.Duration
	node   int
	rate   float64
	pprof  bool
	level  string
	key    string
}

func newSet() (*config, *Set) {
	c := &config{listen: "127.0.0.1:1", frame: 256 << 10, floor: 1 << 30, rate: 4000, level: "info", age: time.Hour}
	return c, New("T_", []Knob{
		{Section: "Net", Name: "listen", Doc: "where", Value: String(&c.listen)},
		{Section: "Net", Name: "max-frame", Doc: "largest frame", Value: Size(&c.frame)},
		{Section: "Net", Name: "accept-rate", Doc: "per second", Value: Float(&c.rate)},
		{Section: "Store", Name: "min-free", Doc: "bytes", Value: Size(&c.floor)},
		{Section: "Store", Name: "retention-age", Doc: "age", Value: Duration(&c.age)},
		{Section: "Store", Name: "node", Doc: "id", Value: Int(&c.node)},
		{Section: "Rest", Name: "pprof", Doc: "profiles", Value: Bool(&c.pprof)},
		{Section: "Rest", Name: "log-level", Doc: "a|b", Value: Words(&c.level, "debug", "info", "warn")},
		{Section: "Rest", Name: "keys", Doc: "secret", Value: String(&c.key), Secret: true},
	})
}

func write(t *testing.T, text string) string {
	t.Helper()
	t.Chdir(t.TempDir())
	if err := os.WriteFile("t.toml", []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return "t.toml"
}

func parse(t *testing.T, s *Set, args ...string) error {
	t.Helper()
	fs := pflag.NewFlagSet("t", pflag.ContinueOnError)
	s.Flags(fs)
	return fs.Parse(args)
}

func TestPrecedence(t *testing.T) {
	file := write(t, "listen = \"file:1\"\nnode = 1\naccept-rate = 1\n")
	c, s := newSet()
	if err := parse(t, s, "--listen", "flag:3", "--pprof"); err != nil {
		t.Fatal(err)
	}
	env := []string{"T_LISTEN=env:2", "T_NODE=2", "HOME=/", "T_KEYS=hush"}
	if _, err := s.Load(file, env); err != nil {
		t.Fatal(err)
	}
	if c.listen != "flag:3" || c.node != 2 || c.rate != 1 || c.frame != 256<<10 || !c.pprof || c.key != "hush" {
		t.Fatalf("got %+v", *c)
	}
	for name, want := range map[string]string{
		"listen": "flag --listen", "node": "env T_NODE", "accept-rate": "file t.toml:3",
		"max-frame": "default", "pprof": "flag --pprof", "keys": "env T_KEYS",
	} {
		if got := s.Knob(name).Source().String(); got != want {
			t.Errorf("%s: source %q, want %q", name, got, want)
		}
	}
}

func TestProblemsNameTheirPlace(t *testing.T) {
	file := write(t, `# a comment
listen = "ok:1"
max-fram = "1MiB"
  max-frame = "1MB"
node = "3"
pprof = "yes"
log-level = "inof"
keys = 5
[retention]
age = "1h"
zzz = 1
[net.more]
`)
	c, s := newSet()
	env := []string{"T_NODE=-1", "T_RETENTION_AG=1h", "T_CONFG=x", "T_CONFIG=t.toml", "T_QQQQQQ=1"}
	warnings, err := s.Load(file, env, "T_CONFIG")
	want := strings.TrimSpace(`
t.toml:3:1: no such key "max-fram", did you mean "max-frame"?
t.toml:4:3: max-frame: "1MB" is not a size such as "256KiB"; the units are B, KiB, MiB, GiB, TiB
t.toml:5:1: node: wants a whole number
t.toml:6:1: pprof: wants true or false
t.toml:7:1: log-level: "inof" is not one of debug, info, warn, did you mean "info"?
t.toml:8:1: keys: wants text in quotes
t.toml:10:1: no such key "retention.age", did you mean "retention-age"?
t.toml:11:1: no such key "retention.zzz", did you mean "retention-age"?
T_NODE: "-1" is not a whole number
`)
	if err == nil || err.Error() != want {
		t.Errorf("got\n%v\nwant\n%v", err, want)
	}
	var got []string
	for _, w := range warnings {
		got = append(got, w.Error())
	}
	wantWarnings := []string{
		`T_CONFG: no such setting, did you mean "T_CONFIG"?`,
		`T_QQQQQQ: no such setting`,
		`T_RETENTION_AG: no such setting, did you mean "T_RETENTION_AGE"?`,
	}
	if strings.Join(got, "\n") != strings.Join(wantWarnings, "\n") {
		t.Errorf("warnings\n%v\nwant\n%v", strings.Join(got, "\n"), strings.Join(wantWarnings, "\n"))
	}
	if c.listen != "ok:1" || c.node != 0 || c.frame != 256<<10 {
		t.Errorf("bad values must leave the target alone and good ones be set: %+v", *c)
	}
}

func TestSyntaxErrors(t *testing.T) {
	for text, want := range map[string]string{
		"node = 1\nnode = 2\n": "t.toml:2:1: ",
		"node = \n":            "t.toml:1:",
		"a = 1\n??\n":          "t.toml:2:1: ",
	} {
		_, s := newSet()
		_, err := s.Load(write(t, text), nil)
		if err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%q: got %v, want it at %s", text, err, want)
		}
	}
}

func TestMissingFile(t *testing.T) {
	_, s := newSet()
	if _, err := s.Load(filepath.Join(t.TempDir(), "none.toml"), nil); !errors.Is(err, os.ErrNotExist) {
		t.Fatalf("got %v", err)
	}
}

func TestBadFlag(t *testing.T) {
	c, s := newSet()
	if err := parse(t, s, "--max-frame", "much"); err == nil {
		t.Fatal("a bad flag was accepted")
	}
	if err := parse(t, s, "--keys", "x"); err == nil {
		t.Fatal("a secret has a flag")
	}
	if c.frame != 256<<10 {
		t.Fatal("a bad flag changed its target")
	}
}

func TestSecretsStaySecret(t *testing.T) {
	c, s := newSet()
	s.knobs[len(s.knobs)-1].Value = Words(&c.key, "", "hush")
	_, err := s.Load("", []string{"T_KEYS=topsecret"})
	if err == nil || strings.Contains(err.Error(), "topsecret") {
		t.Errorf("got %v", err)
	}
	if _, err := s.Load("", []string{"T_KEYS=hush"}); err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	if err := s.Print(&b); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(b.String(), "hush") || !strings.Contains(b.String(), Redacted) {
		t.Errorf("printed:\n%s", b.String())
	}
}

// What Print writes is a file that gives the same values.
func TestPrintReadsBack(t *testing.T) {
	_, s := newSet()
	env := []string{"T_LISTEN=[::1]:7", "T_MAX_FRAME=1000", "T_ACCEPT_RATE=0.5", "T_RETENTION_AGE=90m", "T_NODE=9", "T_PPROF=1", "T_LOG_LEVEL=warn", "T_MIN_FREE=3GiB"}
	if _, err := s.Load("", env); err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	if err := s.Print(&b); err != nil {
		t.Fatal(err)
	}
	want := `# Net
listen = "[::1]:7"   # env T_LISTEN
max-frame = "1000B"  # env T_MAX_FRAME
accept-rate = 0.5    # env T_ACCEPT_RATE

# Store
min-free = "3GiB"        # env T_MIN_FREE
retention-age = "1h30m"  # env T_RETENTION_AGE
node = 9                 # env T_NODE

# Rest
pprof = true        # env T_PPROF
log-level = "warn"  # env T_LOG_LEVEL
# keys = (not set)  # default
`
	if b.String() != want {
		t.Errorf("got\n%s\nwant\n%s", b.String(), want)
	}
	first, _ := newSet()
	again, s2 := newSet()
	if _, err := s2.Load(write(t, b.String()), nil); err != nil {
		t.Fatal(err)
	}
	*first = config{"[::1]:7", 1000, 3 << 30, 90 * time.Minute, 9, 0.5, true, "warn", ""}
	if *again != *first {
		t.Errorf("read back %+v, want %+v", *again, *first)
	}
}

func TestBlame(t *testing.T) {
	c, s := newSet()
	file := write(t, "node = 5\nmax-frame = \"2MiB\"\nlisten = \"x:1\"\n")
	if _, err := s.Load(file, nil); err != nil {
		t.Fatal(err)
	}
	check := func() error {
		if c.frame > 1<<20 {
			return errors.New("MaxFrame is over 1 MiB")
		}
		return nil
	}
	if err := s.Blame(check); err == nil || err.Error() != "t.toml:2:1: max-frame: MaxFrame is over 1 MiB" {
		t.Errorf("got %v", err)
	}
	if c.frame != 2<<20 || c.node != 5 || c.listen != "x:1" {
		t.Errorf("Blame left %+v", *c)
	}
	always := errors.New("no reason that a knob could mend")
	if err := s.Blame(func() error { return always }); !errors.Is(err, always) {
		t.Errorf("got %v", err)
	}
	if err := s.Blame(func() error { return nil }); err != nil {
		t.Errorf("got %v", err)
	}
}

func TestSizes(t *testing.T) {
	for text, want := range map[string]int{
		"0": 0, "17": 17, "17B": 17, "1KiB": 1 << 10, "256 KiB": 256 << 10, "1_000": 1000,
		"3MiB": 3 << 20, "2GiB": 2 << 30, "1TiB": 1 << 40,
	} {
		var n int
		if err := Size(&n).Set(text); err != nil || n != want {
			t.Errorf("%q: %d, %v; want %d", text, n, err, want)
		}
	}
	for _, text := range []string{"", "B", "KiB", "1KB", "1.5MiB", "-1", "9999999TiB", "1kib", "99999999999999999999"} {
		n := 42
		if err := Size(&n).Set(text); err == nil || n != 42 {
			t.Errorf("%q was accepted as %d", text, n)
		}
	}
}

func TestDurationsPrintShort(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0s", time.Second: "1s", time.Minute: "1m", 90 * time.Second: "1m30s", time.Hour: "1h",
		90 * time.Minute: "1h30m", 10 * time.Hour: "10h", 200 * time.Millisecond: "200ms",
	} {
		if got := Duration(&d).String(); got != want {
			t.Errorf("%v prints as %q, want %q", time.Duration(d), got, want)
		}
	}
	var d time.Duration
	for _, text := range []string{"30", "-1s", "1d", ""} {
		if Duration(&d).Set(text) == nil {
			t.Errorf("%q was accepted", text)
		}
	}
}

func TestDistance(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want int
	}{{"", "", 0}, {"", "abc", 3}, {"abc", "", 3}, {"kitten", "sitting", 3}, {"flaw", "lawn", 2}, {"same", "same", 0}} {
		if got := distance(c.a, c.b); got != c.want {
			t.Errorf("distance(%q, %q) = %d, want %d", c.a, c.b, got, c.want)
		}
	}
}

func TestMarkdown(t *testing.T) {
	_, s := newSet()
	var b strings.Builder
	if err := s.Markdown(&b); err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{"## Net\n", "| `max-frame` | `\"256KiB\"` | Largest frame. |\n", "| `log-level` | `\"info\"` | A\\|b. |\n"} {
		if !strings.Contains(b.String(), line) {
			t.Errorf("no %q in\n%s", line, b.String())
		}
	}
}
