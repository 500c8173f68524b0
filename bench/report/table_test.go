package report

import (
	"bytes"
	"errors"
	"strings"
	"testing"
)

func TestWriteTable(t *testing.T) {
	var b bytes.Buffer
	if err := sample().WriteTable(&b); err != nil {
		t.Fatal(err)
	}
	want := `FAILED: 1 violation
  ! conversation a:b: seq 17 came twice

direct of godwit, 20 s at 2026-11-24 16:00:00 UTC
2 cores of A CPU, 24 GiB, Debian amd64, kernel 6.18.1, ext4 on /dev/vda, fdatasync 181 µs, GOMAXPROCS load 1, server 2
tool v0.3.0 0123456789ab with changes (go1.26.0); server v0.2.0
durability: fdatasync before each ack
beside it: mosquitto 2.0, durability: none
--pairs=64

                     value  of                           target
rate        126,400 msgs/s  relay 163,211 msgs/s  77.4%  ≥ 70% of relay     ✓ met
ack p50             512 µs  fdatasync 180 µs      2.84×  ≤ 2× of fdatasync  ✗ MISSED
server RSS           3 MiB

             p50      p90      p95      p99    p99.9      max   count
delivery  919 µs  2.32 ms  2.55 ms  2.75 ms  2.84 ms  2.88 ms  10,000

note: load and server share the cores
`
	if got := b.String(); got != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
}

func TestWriteTableOfNothing(t *testing.T) {
	var b bytes.Buffer
	if err := New("connect").WriteTable(&b); err != nil {
		t.Fatal(err)
	}
	if lines := strings.Count(b.String(), "\n"); lines != 3 {
		t.Errorf("%d lines:\n%s", lines, &b)
	}
}

func TestWriteTableCutsViolations(t *testing.T) {
	r := New("direct")
	for i := range 50 {
		r.Violatef("number %d", i)
	}
	var b bytes.Buffer
	if err := r.WriteTable(&b); err != nil {
		t.Fatal(err)
	}
	if s := b.String(); !strings.HasPrefix(s, "FAILED: 50 violations\n") || !strings.Contains(s, "number 19\n  ... and 30 more\n") || strings.Contains(s, "number 20") {
		t.Error(s)
	}
}

var errFull = errors.New("full")

type fullDisk struct{}

func (fullDisk) Write([]byte) (int, error) { return 0, errFull }

func TestWritersReturnTheError(t *testing.T) {
	r := sample()
	for name, err := range map[string]error{
		"table": r.WriteTable(fullDisk{}),
		"json":  r.WriteJSON(fullDisk{}),
		"diff":  Diff(r, r).WriteTable(fullDisk{}),
	} {
		if !errors.Is(err, errFull) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
