package crash

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"go.uber.org/goleak"

	"github.com/godwit-im/godwit/bench/journal"
	"github.com/godwit-im/godwit/bench/node"
)

var (
	rounds = flag.Int("rounds", 40, "how many times TestCrash kills the server")
	seed   = flag.Uint64("seed", rand.Uint64(), "of all random choices")
)

// perRun is how many rounds share a data directory, so that the journals of
// a long test stay small enough to be judged in memory.
const perRun = 50

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestCrash(t *testing.T) {
	binary := build(t, node.Build{Race: raceEnabled})
	fmt.Printf("crash: %d rounds, -seed %d\n", *rounds, *seed)
	for left, n := *rounds, uint64(0); left > 0; n++ {
		rounds := min(left, perRun)
		report, err := runIn(t, Config{Binary: binary, Rounds: rounds, Seed: *seed + n, Progress: os.Stdout})
		if err != nil {
			t.Fatal(err)
		}
		if report.Acked == 0 || report.Received < report.Acked || report.Events == 0 || report.Notices == 0 ||
			report.Set == 0 || report.Lapsed == 0 || (report.Invitations == 0 || report.Contacts == 0) && rounds >= 40 { // a short run may see none
			t.Fatalf("nothing happened: %v", report)
		}
		left -= perRun
		fmt.Println("crash:", report)
	}
}

func build(t *testing.T, b node.Build) string {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "godwit")
	if err := b.To(t.Context(), binary); err != nil {
		t.Fatal(err)
	}
	return binary
}

// runIn does a run in a directory that stays behind when TestCrash fails, with
// the server's log and everybody's journal.
func runIn(t *testing.T, cfg Config) (*journal.Report, error) {
	t.Helper()
	dir, err := os.MkdirTemp("", "godwit-crash-")
	if err != nil {
		t.Fatal(err)
	}
	cfg.Dir = dir
	report, err := Run(context.Background(), cfg)
	if err != nil && t.Name() == "TestCrash" {
		return report, fmt.Errorf("%w\nthe evidence is in %s", err, dir)
	}
	return report, errors.Join(err, os.RemoveAll(dir))
}
