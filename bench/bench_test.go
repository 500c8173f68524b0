package bench

import (
	"bytes"
	"context"
	"io"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/godwit-im/godwit/bench/ceiling"
	"github.com/godwit-im/godwit/bench/fanout"
	"github.com/godwit-im/godwit/bench/node"
	"github.com/godwit-im/godwit/bench/report"
	"github.com/godwit-im/godwit/session"
)

// envWorker makes the test binary a process of the load: it is the address of
// the server and the file of its keys.
const envWorker = "GODWIT_BENCH_TEST_WORKER"

func TestMain(m *testing.M) {
	if addr, keys, ok := strings.Cut(os.Getenv(envWorker), " "); ok {
		target, err := targetOf(addr, keys)
		if err == nil {
			err = ServeWorker(context.Background(), target, Stdio())
		}
		if err != nil {
			os.Stderr.WriteString(err.Error())
			os.Exit(1)
		}
		os.Exit(0)
	}
	if ceiling.Child() || fanout.Child() {
		os.Exit(0)
	}
	goleak.VerifyTestMain(m,
		// gnet's pool keeps these for as long as the process lives.
		goleak.IgnoreAnyFunction("github.com/panjf2000/ants/v2.(*poolCommon).purgeStaleWorkers"),
		goleak.IgnoreAnyFunction("github.com/panjf2000/ants/v2.(*poolCommon).ticktock"),
		goleak.IgnoreAnyFunction("github.com/panjf2000/ants/v2.(*goWorker).run.func1"),
		goleak.Cleanup(func(code int) {
			if built.dir != "" {
				_ = os.RemoveAll(built.dir)
			}
			os.Exit(code)
		}))
}

// built is the server that the tests start: one binary for all of them.
var built struct {
	once sync.Once
	dir  string
	err  error
}

// binary builds the server, the first time, and returns its path.
func binary(tb testing.TB) string {
	tb.Helper()
	built.once.Do(func() {
		if built.dir, built.err = os.MkdirTemp("", "godwit-bench-test-"); built.err == nil {
			built.err = (node.Build{}).To(tb.Context(), filepath.Join(built.dir, "godwit"))
		}
	})
	if built.err != nil {
		tb.Fatal(built.err)
	}
	return filepath.Join(built.dir, "godwit")
}

// targetOf is a server whose tokens are signed with the keys of a file.
func targetOf(addr, keyFile string) (Target, error) {
	keys, err := session.LoadKeySet(keyFile)
	if err != nil {
		return Target{}, err
	}
	auth := session.DefaultAuthConfig()
	return Target{
		Addr: addr,
		Token: func(user string) (string, error) {
			return session.Sign(keys, "", auth.Algorithm, auth.Issuer, auth.Audience, user, time.Hour, time.Now())
		},
		Worker: func(ctx context.Context) *exec.Cmd {
			cmd := exec.CommandContext(ctx, os.Args[0])
			cmd.Env = append(os.Environ(), envWorker+"="+addr+" "+keyFile)
			return cmd
		},
	}, nil
}

// start runs a server until the test ends.
func start(tb testing.TB, args ...string) Target {
	tb.Helper()
	dir := tb.TempDir()
	addr, err := node.FreeAddr()
	if err != nil {
		tb.Fatal(err)
	}
	cfg := node.Config{Binary: binary(tb), Dir: filepath.Join(dir, "data"), Addr: addr, Args: args, Log: tb.Output()}
	server, err := node.Start(cfg)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := server.Stop(ctx); err != nil {
			tb.Error(err)
		}
	})
	ctx, cancel := context.WithTimeout(tb.Context(), time.Minute)
	defer cancel()
	if err := server.Ready(ctx); err != nil {
		tb.Fatal(err)
	}
	target, err := targetOf(addr, filepath.Join(cfg.Dir, "dev-keys.json"))
	if err != nil {
		tb.Fatal(err)
	}
	target.PID, target.MetricsURL, target.DataDir = server.PID(), server.AdminURL()+"/metrics", cfg.Dir
	target.Durability = "sync"
	return target
}

// TestAgainstServer runs every scenario briefly against one real server.
func TestAgainstServer(t *testing.T) {
	target := start(t)
	brief := DirectConfig{
		Target: target, Pairs: 3, Window: 16, Warmup: 50 * time.Millisecond, For: 1100 * time.Millisecond, Loops: 2,
	}
	shaped := func(change func(*DirectConfig)) DirectConfig {
		cfg := brief
		change(&cfg)
		return cfg
	}
	for _, test := range []struct {
		name        string
		cfg         DirectConfig
		rate        string
		least, most int64 // messages that are due in the time that is measured
	}{
		{"closed", brief, "rate, 3 pairs × 16", 1, math.MaxInt64},
		{"closed again", brief, "rate, 3 pairs × 16", 1, math.MaxInt64}, // into the same conversations
		{"at a rate", shaped(func(c *DirectConfig) { c.Rate = 500 }), "rate, 3 pairs at 500/s", 400, 700},
		{"at an even rate", shaped(func(c *DirectConfig) { c.Rate, c.Even = 500, true }), "rate, 3 pairs at 500/s", 548, 552}, // two loops round their gaps
		{"beside others", shaped(func(c *DirectConfig) { c.Sessions = 40 }), "rate, 3 pairs × 16 + 40 idle", 1, math.MaxInt64},
		{"two processes", shaped(func(c *DirectConfig) { c.Processes, c.Sessions = 2, 9 }), "rate, 3 pairs × 16 + 9 idle", 1, math.MaxInt64},
	} {
		t.Run("direct "+test.name, func(t *testing.T) {
			var progress bytes.Buffer
			if test.cfg.Rate == 0 { // a machine that is busy may stall for more than a second
				test.cfg.For = 3 * time.Second
			}
			test.cfg.Progress = &progress
			r, err := Direct(t.Context(), test.cfg)
			checkReport(t, r, err, "send → delivery")
			// However slow the machine is, what was due counts, and no more arrives.
			if got := figure(t, r, test.rate); got <= 0 || test.cfg.Rate > 0 && got > test.cfg.Rate*2 {
				t.Errorf("delivered %.0f/s", got)
			}
			for _, l := range r.Latencies[:2] {
				if l.Count < test.least || l.Count > test.most || l.P50 <= 0 || l.Max < l.P99 {
					t.Errorf("%+v, want %d to %d", l, test.least, test.most)
				}
			}
			// A body of 256 bytes is in the log, and not much more often than once.
			if ratio := figure(t, r, "log per byte of bodies"); ratio < 1 || ratio > 4 {
				t.Errorf("%.2f bytes of log for a byte of a body", ratio)
			}
			if !strings.Contains(progress.String(), "msgs/s") {
				t.Errorf("progress %q", &progress)
			}
		})
	}
	t.Run("beside", func(t *testing.T) {
		var progress bytes.Buffer
		cfg := shaped(func(c *DirectConfig) { c.For, c.Progress = time.Second, &progress })
		r, err := Beside(t.Context(), BesideConfig{DirectConfig: cfg, Rounds: 2})
		checkReport(t, r, err, "storing relay: send → delivery")
		for name, of := range map[string]string{
			"rate, 3 pairs × 16":                             "bare relay",
			"beside a relay that stores: rate, 3 pairs × 16": "storing relay",
			"beside synced commits: rate, 3 pairs × 16":      "Pebble, synced commits of 48",
		} {
			if f := find(t, r, name); f.Of == nil || f.Of.Name != of || f.Of.Ratio <= 0 {
				t.Errorf("%+v", f)
			}
		}
		if !strings.Contains(progress.String(), "round 2 of 2: fdatasync") || r.Machine.Disk.SyncP50 <= 0 {
			t.Errorf("disk %+v, progress %q", r.Machine.Disk, &progress)
		}
		if left, err := filepath.Glob(filepath.Join(target.DataDir, "ceiling-*")); len(left) > 0 || err != nil {
			t.Errorf("%v were left, %v", left, err)
		}
	})
	t.Run("ladder", func(t *testing.T) {
		cfg := LadderConfig{DirectConfig: shaped(func(c *DirectConfig) { c.For, c.Rate = 200*time.Millisecond, 200 }), P99: time.Minute, Within: 0.5}
		// All rates stay within a minute, but the server falls behind at some. It can't
		// at those that bring less than the windows hold.
		r, err := Ladder(t.Context(), cfg)
		checkReport(t, r, err, "the best step")
		cfg.P99 = time.Microsecond // everything is too much
		r, err = Ladder(t.Context(), cfg)
		checkReport(t, r, err, "was above")
	})
	for processes, sessions := range map[int]int{1: manySessions, 2: 500} {
		t.Run("connect in "+strconv.Itoa(processes), func(t *testing.T) {
			var progress bytes.Buffer
			r, err := Connect(t.Context(), ConnectConfig{
				Target: target, Sessions: sessions, Hold: 100 * time.Millisecond, Progress: &progress, Processes: processes, Loops: 2,
			})
			checkReport(t, r, err, "server RSS per session")
			if figure(t, r, "sessions") != float64(sessions) || figure(t, r, "alive at the end") != float64(sessions) {
				t.Errorf("%+v", r.Figures)
			}
			idle, rss := find(t, r, "idle server, processor use"), find(t, r, "server RSS per session")
			if many := sessions >= manySessions; many != (idle.Of != nil && idle.Of.Value > 0) || many != (rss.Target != nil) || idle.Target != nil {
				t.Errorf("%+v, %+v", idle, rss)
			}
			if !strings.Contains(progress.String(), "holding them") {
				t.Errorf("progress %q", &progress)
			}
		})
	}
	t.Run("refused for good", func(t *testing.T) {
		target.Token = func(string) (string, error) { return "x.y.z", nil }
		if _, err := Direct(t.Context(), DirectConfig{Target: target}); err == nil || !strings.Contains(err.Error(), "TOKEN_MALFORMED") {
			t.Errorf("direct with a bad token: %v", err)
		}
		if _, err := Connect(t.Context(), ConnectConfig{Target: target, Sessions: 3}); err == nil || !strings.Contains(err.Error(), "TOKEN_MALFORMED") {
			t.Errorf("connect with a bad token: %v", err)
		}
	})
}

// TestConnectRefused has a server that takes so few connections a second that
// no machine is slow enough for none to be refused at first.
func TestConnectRefused(t *testing.T) {
	r, err := Connect(t.Context(), ConnectConfig{Target: start(t, "--accept-rate", "4"), Sessions: 12, Hold: time.Millisecond, Loops: 1})
	checkReport(t, r, err, "refused for now")
	if figure(t, r, "sessions") != 12 || figure(t, r, "refused for now") == 0 {
		t.Errorf("%+v", r.Figures)
	}
}

func checkReport(t *testing.T, r *report.Report, err error, inTable string) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Err(); err != nil {
		t.Fatal(err)
	}
	var table bytes.Buffer
	if err := r.WriteTable(&table); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(table.String(), inTable) {
		t.Errorf("%s is not in %s", inTable, &table)
	}
	if err := r.WriteJSON(io.Discard); err != nil {
		t.Error(err)
	}
}

func figure(t *testing.T, r *report.Report, name string) float64 {
	t.Helper()
	return find(t, r, name).Value
}

func find(t *testing.T, r *report.Report, name string) report.Figure {
	t.Helper()
	for _, f := range r.Figures {
		if f.Name == name {
			return f
		}
	}
	t.Fatalf("no figure %q in %+v", name, r.Figures)
	return report.Figure{}
}

func TestBadConfig(t *testing.T) {
	for _, cfg := range []DirectConfig{{Pairs: -1}, {Size: 23}, {Window: -1}, {For: -1}, {Rate: -1}, {Sessions: -1}, {Pairs: 1_000_000}} {
		if _, err := Direct(t.Context(), cfg); err == nil {
			t.Errorf("%+v was accepted", cfg)
		}
	}
	local := Target{DataDir: t.TempDir()}
	for _, cfg := range []BesideConfig{
		{}, {DirectConfig: DirectConfig{Target: local, Rate: 1}}, {DirectConfig: DirectConfig{Target: local}, Rounds: -1}, {DirectConfig: DirectConfig{Target: local, Pairs: -1}},
	} {
		if _, err := Beside(t.Context(), cfg); err == nil || !strings.HasPrefix(err.Error(), "bench: ") || strings.Contains(err.Error(), "port") {
			t.Errorf("%+v: %v", cfg, err)
		}
	}
	for _, cfg := range []ConnectConfig{{Sessions: -1}, {PerSecond: -1}, {Hold: -1}, {Processes: 2}} {
		if _, err := Connect(t.Context(), cfg); err == nil {
			t.Errorf("%+v was accepted", cfg)
		}
	}
}
