package godwit_test

import (
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/godwit-im/godwit/"

// allowed is the import graph of docs/ARCHITECTURE.md: which of our packages
// each package may import, outside its tests. A package that is missing here
// fails the test, so a new one is a decision and not an accident.
var allowed = map[string][]string{
	"protocol/pb":  {},
	"protocol":     {"protocol/pb"},
	"msgstore":     {"protocol", "protocol/pb"},
	"session":      {"protocol", "protocol/pb"},
	"netpoll":      {"protocol", "protocol/pb"},
	"chat":         {"protocol", "protocol/pb", "msgstore"},
	"delivery":     {"protocol", "protocol/pb", "msgstore", "session", "chat"},
	"presence":     {"protocol", "protocol/pb", "msgstore", "session", "chat"},
	"server/admin": {"protocol", "protocol/pb", "msgstore", "session", "netpoll", "chat", "delivery", "presence"},
	"server":       {"protocol", "protocol/pb", "msgstore", "session", "netpoll", "chat", "delivery", "presence", "server/admin"},
	"sdk-go":       {"protocol", "protocol/pb"},
	// A client like any other, which also makes tokens.
	"desk": {"protocol", "protocol/pb", "session", "sdk-go"},
	// Apart from the SDK, whose users need not have SQLite.
	"sdk-go/archive": {"sdk-go"},
	// Apart from the SDK, which knows signals and not what is said by them.
	"sdk-go/call": {"protocol", "protocol/pb", "sdk-go"},
	// A server for the SDK's tests.
	"sdk-go/internal/fakeserver": {"protocol", "protocol/pb"},
	"bench":                      {"protocol", "protocol/pb", "bench/ceiling", "bench/client", "bench/fanout", "bench/fill", "bench/fleet", "bench/report"},
	"bench/client":               {"protocol", "protocol/pb", "bench/fleet"},
	"bench/report":               {},
	"bench/ceiling":              {"protocol", "protocol/pb", "msgstore", "netpoll", "bench/fleet", "bench/node", "bench/report"},
	"bench/fleet":                {},
	"bench/fill":                 {"protocol", "protocol/pb", "msgstore", "chat", "bench/client"},
	"bench/fanout":               {"protocol", "protocol/pb", "msgstore", "session", "netpoll", "chat", "delivery", "bench/node", "bench/report"},
	"bench/sessions":             {"protocol/pb", "session", "bench/report"},
	"bench/node":                 {},
	"bench/e2e":                  {},
	"bench/crash":                {"protocol", "protocol/pb", "sdk-go", "bench/journal", "bench/node"},
	// The checker shares no code with what it checks.
	"bench/journal": {},
	"cmd/godwit":    {"protocol", "protocol/pb", "msgstore", "session", "server", "sdk-go", "sdk-go/call", "desk", "bench", "bench/ceiling", "bench/fanout", "bench/fill", "bench/node", "bench/report", "bench/sessions", "cmd/godwit/internal/knob"},
	// What configures everything knows nothing.
	"cmd/godwit/internal/knob": {},
}

// soleImporters names who may import a dependency that must stay behind one
// package, so that replacing it touches one folder.
var soleImporters = map[string][]string{
	"github.com/panjf2000/gnet":               {"netpoll", "bench/fanout", "bench/ceiling"},
	"github.com/cockroachdb/pebble":           {"msgstore", "bench/ceiling"},
	"github.com/bwmarrin/snowflake":           {"msgstore"},
	"github.com/dchest/siphash":               {"msgstore"},
	"github.com/golang-jwt/jwt":               {"session"},
	"github.com/prometheus/client_golang":     {"server/admin"},
	"github.com/HdrHistogram/hdrhistogram-go": {"bench/report"},
	"go.etcd.io/bbolt":                        {"sdk-go"},
	"modernc.org/sqlite":                      {"sdk-go/archive"},
	"github.com/spf13/cobra":                  {"cmd/godwit"},
}

// sdkDeps is everything outside the standard library that an application
// compiles in with the SDK.
var sdkDeps = []string{module, "google.golang.org/protobuf/", "go.etcd.io/bbolt", "golang.org/x/sys/"}

func TestImportGraph(t *testing.T) {
	for _, line := range goList(t, `{{.ImportPath}} {{join .Imports " "}}`, "./...") {
		fields := strings.Fields(line)
		pkg, ours := strings.CutPrefix(fields[0], module)
		if !ours {
			continue // the module's root: this test
		}
		may, known := allowed[pkg]
		if !known {
			t.Errorf("%s is not in the import graph; add it to imports_test.go and docs/ARCHITECTURE.md", pkg)
			continue
		}
		for _, imp := range fields[1:] {
			if dep, ours := strings.CutPrefix(imp, module); ours && !slices.Contains(may, dep) {
				t.Errorf("%s must not import %s", pkg, dep)
			}
			for dep, importers := range soleImporters {
				if (imp == dep || strings.HasPrefix(imp, dep+"/")) && !slices.Contains(importers, pkg) {
					t.Errorf("%s must not import %s; only %v may", pkg, imp, importers)
				}
			}
		}
	}
}

func TestSDKDependencies(t *testing.T) {
	for _, dep := range goList(t, `{{if not .Standard}}{{.ImportPath}}{{end}}`, "-deps", "./sdk-go", "./sdk-go/call") {
		if dep != "" && !slices.ContainsFunc(sdkDeps, func(p string) bool { return strings.HasPrefix(dep, p) }) {
			t.Errorf("sdk-go pulls in %s", dep)
		}
	}
}

func goList(t *testing.T, format string, args ...string) []string {
	t.Helper()
	cmd := exec.Command("go", append([]string{"list", "-f", format}, args...)...)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, &stderr)
	}
	return strings.Split(strings.TrimSpace(string(out)), "\n")
}
