package report

import (
	"bytes"
	"encoding/json"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"
)

// sample is a report that uses every field.
func sample() *Report {
	r := &Report{
		Schema:   Schema,
		Scenario: "direct",
		Subject:  "godwit",
		Start:    time.Date(2026, 11, 24, 16, 0, 0, 0, time.UTC),
		Duration: 20 * time.Second,
		Machine: Machine{
			CPU: "A CPU", Cores: 2, Memory: 24 << 30, Kernel: "6.18.1", OS: "Debian", Arch: "amd64", Go: "go1.26.0",
			LoadProcs: 1, ServerProcs: 2,
			Disk: &Disk{Path: "data", FileSystem: "ext4", Device: "/dev/vda", SyncP50: 181.25},
		},
		Build: Build{
			Tool:   Version{Version: "v0.3.0", Commit: "0123456789abcdef0123", Time: "2026-11-24T15:00:00Z", Dirty: true, Go: "go1.26.0"},
			Server: &Version{Version: "v0.2.0"},
		},
		Flags:      []Flag{{Name: "pairs", Value: "64"}, {Name: "size", Value: "256", Default: true}},
		Durability: "fdatasync before each ack",
		Peers:      []Peer{{Name: "mosquitto", Version: "2.0", Durability: "none"}},
	}
	r.Add(
		Higher("rate", "msgs/s", 126_400).AsHeadline().OfCeiling("relay", 163_211).WantRatio(0.7),
		Lower("ack p50", "µs", 512).OfCeiling("fdatasync", 180).WantRatio(2),
		Lower("server RSS", "B", 3<<20),
	)
	h := NewHistogram("delivery")
	loop := h.Recorder()
	for second := range 20 {
		for i := range 500 {
			loop.Record(time.Duration(200+i*i/100+second*10) * time.Microsecond)
		}
		h.Tick(time.Duration(second+1) * time.Second)
	}
	r.AddHistogram(h)
	rate := Series{Name: "delivered", Chart: "Throughput", Unit: "msgs/s"}
	memory := Series{Name: "server RSS", Chart: "Memory", Unit: "B"}
	for t := 1.0; t <= 20; t++ {
		rate.Points = append(rate.Points, Point{t, 120_000 + 9_000*math.Sin(t)})
		memory.Points = append(memory.Points, Point{t, 60e6 + 1e6*t})
	}
	r.Series = append(r.Series, rate, memory, Series{Name: "committed", Chart: "Bytes written", Unit: "B/s", Points: memory.Points})
	r.Violatef("conversation %s: seq %d came twice", "a:b", 17)
	r.Notef("load and server share the cores")
	return r
}

func TestJSONKeepsEverything(t *testing.T) {
	r := sample()
	if v := reflect.ValueOf(*r); true {
		for i := range v.NumField() {
			if v.Field(i).IsZero() {
				t.Errorf("the sample leaves %s empty, so this test says nothing of it", v.Type().Field(i).Name)
			}
		}
	}
	var b bytes.Buffer
	if err := r.WriteJSON(&b); err != nil {
		t.Fatal(err)
	}
	back, err := ReadJSON(&b)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(r, back) {
		t.Errorf("read back:\n%+v\nwritten:\n%+v", back, r)
	}
}

func TestReadJSONRefusesOtherSchemas(t *testing.T) {
	r := sample()
	r.Schema++
	b, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ReadJSON(bytes.NewReader(b)); err == nil || !strings.Contains(err.Error(), "schema 2") {
		t.Errorf("ReadJSON of another schema: %v", err)
	}
	if _, err := ReadJSON(strings.NewReader("[]")); err == nil {
		t.Error("ReadJSON took an array")
	}
}

func TestFigureThatWasNotMeasuredFailsTheRun(t *testing.T) {
	var r Report
	r.Add(Higher("rate", "msgs/s", math.NaN()), Lower("p99", "µs", 3).OfCeiling("sync", math.Inf(1)))
	if len(r.Figures) != 0 || len(r.Violations) != 2 || r.Err() == nil {
		t.Errorf("figures %v, violations %q, error %v", r.Figures, r.Violations, r.Err())
	}
	if err := r.WriteJSON(&bytes.Buffer{}); err != nil {
		t.Error(err)
	}
}

func TestErr(t *testing.T) {
	r := Report{Figures: []Figure{Higher("rate", "", 1).Want(2)}}
	if err := r.Err(); err != nil {
		t.Errorf("a missed target is an error: %v", err)
	}
	r.Violatef("lost %d", 1)
	if err := r.Err(); err == nil || err.Error() != "violated: lost 1" {
		t.Error(err)
	}
	r.Violatef("lost %d", 2)
	if err := r.Err(); err == nil || err.Error() != "2 violations, the first: lost 1" {
		t.Error(err)
	}
}

func TestTargets(t *testing.T) {
	for _, c := range []struct {
		figure Figure
		text   string
		met    bool
	}{
		{Higher("f", "msgs/s", 70).Want(70), "≥ 70 msgs/s", true},
		{Higher("f", "msgs/s", 69).Want(70), "≥ 70 msgs/s", false},
		{Lower("f", "B", 1536).Want(1536), "≤ 1.5 KiB", true},
		{Lower("f", "ms", 5.1).Want(5), "≤ 5 ms", false},
		{Higher("f", "msgs/s", 70).OfCeiling("relay", 100).WantRatio(0.7), "≥ 70% of relay", true},
		{Higher("f", "msgs/s", 69).OfCeiling("relay", 100).WantRatio(0.7), "≥ 70% of relay", false},
		{Lower("f", "µs", 40).OfCeiling("fdatasync", 20).WantRatio(2), "≤ 2× of fdatasync", true},
		{Lower("f", "µs", 41).OfCeiling("fdatasync", 20).WantRatio(2), "≤ 2× of fdatasync", false},
		{Lower("f", "µs", 41).OfCeiling("fdatasync", 0).WantRatio(2), "≤ 2× of fdatasync", false},
		{Higher("f", "µs", 41).WantRatio(2), "≥ 2×", false},
		{Higher("f", "", 1).WithTarget(true, "all %d back", 9), "all 9 back", true},
	} {
		if got := *c.figure.Target; got.Text != c.text || got.Met != c.met {
			t.Errorf("%+v: target %+v, want %q met %v", c.figure, got, c.text, c.met)
		}
	}
}
