package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/godwit-im/godwit/bench/fleet"
)

var godwitBinary string

func TestMain(m *testing.M) {
	serveInstead()
	os.Exit(testMain(m))
}

func testMain(m *testing.M) int {
	dir, err := os.MkdirTemp("", "godwit-peers-test-")
	if err == nil {
		defer os.RemoveAll(dir)
		godwitBinary, err = buildGodwit(context.Background(), dir)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

func testColumns(t *testing.T) []column {
	t.Helper()
	return columns(godwitBinary, "")
}

func skipWithoutMosquitto(t *testing.T, c column) {
	t.Helper()
	if _, err := lookMosquitto(); err != nil && strings.HasPrefix(c.Name, "mosquitto") && os.Getenv("CI") == "" {
		t.Skip(err)
	}
}

func TestEveryColumnRuns(t *testing.T) {
	for _, c := range testColumns(t) {
		t.Run(c.Name, func(t *testing.T) {
			skipWithoutMosquitto(t, c)
			err := c.withServer(t.Context(), t.TempDir(), func(s *server) error {
				// Without a warm-up what is sent first is measured, however slow all is.
				closed, paced := shape{Pairs: 4, Window: 4}, shape{Pairs: 4, Window: 16, Rate: 100}
				for sh, long := range map[shape]time.Duration{closed: time.Second, paced: 300 * time.Millisecond} {
					m, err := direct(t.Context(), s, sh, 0, long)
					if err != nil {
						return err
					}
					if sh == closed && m.PerSecond == 0 || m.Ack.Count == 0 || m.Delivery.Count == 0 || m.Delivery.P50 == 0 {
						t.Errorf("%v: nothing was measured: %+v", sh, m)
					}
					if len(m.Violations) > 0 || m.Overloaded {
						t.Errorf("%v: violations %q, overloaded %v", sh, m.Violations, m.Overloaded)
					}
					if sh == paced && m.Delivery.Count != 30 {
						t.Errorf("%v: %d messages were due in %v, want 30", sh, m.Delivery.Count, long)
					}
				}
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
		})
	}
}

func TestIdle(t *testing.T) {
	for _, c := range testColumns(t) {
		if !c.idle {
			continue
		}
		t.Run(c.Name, func(t *testing.T) {
			t.Parallel() // it waits for memory to settle, most of the time
			skipWithoutMosquitto(t, c)
			err := c.withServer(t.Context(), t.TempDir(), func(s *server) error {
				got, err := idle(t.Context(), s, []int{100, 300})
				if err == nil && (len(got) != 2 || got[1].Sessions != 300 || got[1].Total == 0) {
					t.Errorf("idle = %+v", got)
				}
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
		})
	}
}

// faulty wraps a server's clients so that what the load sees of it is wrong.
type faulty struct {
	owner
	// deliver is given each message of the receiver in turn, counted from 0.
	deliver func(n int, body []byte, to owner)
	ack     func(n uint64, to owner)
	came    *int
}

func (f faulty) delivered(body []byte) {
	f.deliver(*f.came, body, f.owner)
	*f.came++
}
func (f faulty) acked(n uint64) { f.ack(n, f.owner) }

func TestViolationsAreFound(t *testing.T) {
	pass := func(_ int, body []byte, to owner) { to.delivered(body) }
	passAck := func(n uint64, to owner) { to.acked(n) }
	for _, c := range []struct {
		name    string
		deliver func(n int, body []byte, to owner)
		ack     func(n uint64, to owner)
		want    string
	}{
		{"none", pass, passAck, ""},
		{"doubled", func(n int, body []byte, to owner) {
			to.delivered(body)
			if n == 5 {
				to.delivered(body)
			}
		}, passAck, "came twice"},
		{"lost", func(n int, body []byte, to owner) {
			if n != 5 {
				to.delivered(body)
			}
		}, passAck, "did not come"},
		{"not acknowledged", pass, func(n uint64, to owner) {
			if n < 5 {
				to.acked(n)
			}
		}, "were not acknowledged"},
		{"acknowledged twice", pass, func(n uint64, to owner) {
			to.acked(n)
			if n == 5 {
				to.acked(n)
			}
		}, "the ack of message 5 came where"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			start := startMochi("NoSync")
			s, err := start(t.Context(), t.TempDir())
			if err != nil {
				t.Fatal(err)
			}
			defer s.Kill()
			honest := s.dialect
			s.dialect = func(l link, o owner) (client, error) {
				return honest(l, faulty{owner: o, deliver: c.deliver, ack: c.ack, came: new(int)})
			}
			m, err := direct(t.Context(), s, shape{Pairs: 1, Window: 8}, 10*time.Millisecond, 100*time.Millisecond)
			if err != nil {
				t.Fatal(err)
			}
			if got := strings.Join(m.Violations, "\n"); (c.want == "") != (got == "") || !strings.Contains(got, c.want) {
				t.Errorf("the violations are %q, want one with %q", got, c.want)
			}
		})
	}
}

// A server that goes away ends the run with an error, not with a result.
func TestServerThatEnds(t *testing.T) {
	s, err := startMochi("NoSync")(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	honest, killed := s.dialect, make(chan error, 1)
	s.dialect = func(l link, o owner) (client, error) {
		return honest(l, faulty{owner: o, came: new(int), ack: func(n uint64, to owner) { to.acked(n) }, deliver: func(n int, body []byte, to owner) {
			to.delivered(body)
			if n == 3 {
				killed <- s.Kill()
			}
		}})
	}
	if _, err := direct(t.Context(), s, shape{Pairs: 1, Window: 1}, 0, time.Minute); err == nil {
		t.Error("the run succeeds")
	}
	if err := <-killed; err != nil {
		t.Error(err)
	}
	if err := s.Kill(); err == nil {
		t.Error("that a server had ended is not noticed")
	}
}

func TestRunWritesItsResult(t *testing.T) {
	dir := t.TempDir()
	file, markdown := filepath.Join(dir, "r.json"), filepath.Join(dir, "r.md")
	var out, progress bytes.Buffer
	err := run(t.Context(), []string{
		"--godwit", godwitBinary, "--rounds", "1", "--for", "500ms", "--only", "mochi-nosync", "--sessions", "", "--rate", "200",
		"--json", file, "--markdown", markdown, "--dir", dir,
	}, &out, &progress)
	if err != nil {
		t.Fatalf("%v\n%s", err, &progress)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var r result
	if err := json.Unmarshal(text, &r); err != nil {
		t.Fatal(err)
	}
	if len(r.Columns) != 2 || len(r.Columns[1].Medians) != 4 || r.Columns[1].Medians[0].RateRatio == 0 || r.Columns[0].Medians[0].RateRatio != 1 {
		t.Errorf("the result is %s", text)
	}
	md, err := os.ReadFile(markdown)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"| mochi-nosync |", "| godwit |", "200 msgs/s over 64 pairs"} {
		if !strings.Contains(string(md), want) {
			t.Errorf("the markdown has no %q:\n%s", want, md)
		}
	}
	left, err := filepath.Glob(filepath.Join(dir, "godwit-peers-*"))
	if err != nil || len(left) > 0 {
		t.Errorf("%q is left, %v", left, err)
	}
}

func TestFlags(t *testing.T) {
	for _, args := range [][]string{{"--rounds", "0"}, {"--for", "0s"}, {"--rate", "-1"}, {"--sessions", "5,3"}, {"--sessions", "x"}, {"more"}} {
		if _, err := parse(args, new(bytes.Buffer)); err == nil {
			t.Errorf("%q passes", args)
		}
	}
	if err := run(t.Context(), []string{"--godwit", godwitBinary, "--only", "kafka"}, new(bytes.Buffer), new(bytes.Buffer)); err == nil || !strings.Contains(err.Error(), "jetstream") {
		t.Errorf("an unknown column: %v", err)
	}
}

func TestConclude(t *testing.T) {
	run := func(rate float64, p99 int64) (m measurement) {
		m.PerSecond, m.Delivery.P99 = rate, p99
		return m
	}
	r := &result{Shapes: []shape{{Pairs: 1, Window: 1}, {Pairs: 1, Window: 1, Rate: 10}}, Columns: []*outcome{
		{Runs: [][]measurement{{run(300, 5), run(100, 1), run(200, 9)}, {run(10, 40)}}},
		{Runs: [][]measurement{{run(100, 5), run(900, 1)}, {run(10, 20)}}},
		{Runs: [][]measurement{nil, nil}, Errors: []string{"it broke"}},
	}}
	r.conclude()
	for i, want := range [][2]summary{
		{{Runs: 3, PerSecond: 200, DeliveryP99: 5, RateRatio: 1, P99Ratio: 1}, {Runs: 1, PerSecond: 10, DeliveryP99: 40, RateRatio: 1, P99Ratio: 1}},
		{{Runs: 2, PerSecond: 100, DeliveryP99: 1, RateRatio: 0.5, P99Ratio: 0.2}, {Runs: 1, PerSecond: 10, DeliveryP99: 20, RateRatio: 1, P99Ratio: 0.5}},
		{},
	} {
		for j := range want {
			if got := r.Columns[i].Medians[j]; got != want[j] {
				t.Errorf("column %d, shape %d: %+v, want %+v", i, j, got, want[j])
			}
		}
	}
	if err := r.err(); err == nil || !strings.Contains(err.Error(), "it broke") {
		t.Errorf("err = %v", err)
	}
	r.writeTable(new(bytes.Buffer)) // with a column that failed
}

// An owner hears of the end of its connection once, with a reason.
func TestClosed(t *testing.T) {
	if err := closed(nil); !errors.Is(err, errClosed) {
		t.Errorf("closed(nil) = %v", err)
	}
	if err := closed(fleet.ErrTooMuch); !errors.Is(err, fleet.ErrTooMuch) {
		t.Errorf("closed(ErrTooMuch) = %v", err)
	}
}
