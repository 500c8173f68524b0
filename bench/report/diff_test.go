package report

import (
	"bytes"
	"strings"
	"testing"
)

func TestDiff(t *testing.T) {
	base, now := sample(), sample()
	base.Violations = nil
	base.Figures = []Figure{Higher("rate", "msgs/s", 1000), Lower("rss", "B", 2048), Lower("zero", "B", 0), Lower("gone", "B", 1), Higher("same", "", 100)}
	now.Figures = []Figure{Higher("rate", "msgs/s", 1500), Lower("rss", "B", 4096), Lower("zero", "B", 5), Higher("same", "", 101), Higher("new", "", 1)}
	now.Flags = []Flag{{Name: "pairs", Value: "512"}, {Name: "size", Value: "256"}, {Name: "added", Value: "x", Default: true}}
	now.Durability = "none"
	c := Diff(base, now)

	want := []Change{
		{"rate", "msgs/s", BetterHigher, 1000, 1500, 1.5, 1.5},
		{"rss", "B", BetterLower, 2048, 4096, 2, 0.5},
		{"zero", "B", BetterLower, 0, 5, 0, 0},
		{"same", "", BetterHigher, 100, 101, 1.01, 1.01},
	}
	for i, w := range want {
		if c.Changes[i] != w {
			t.Errorf("%+v, want %+v", c.Changes[i], w)
		}
	}
	if rest := c.Changes[len(want):]; len(rest) != 3 || rest[2].Name != "delivery p99.9" || rest[2].Ratio != 1 {
		t.Errorf("latencies: %+v", rest)
	}
	if len(c.Gone) != 1 || c.Gone[0] != "gone" || len(c.New) != 1 || c.New[0] != "new" {
		t.Errorf("gone %q, new %q", c.Gone, c.New)
	}

	var b bytes.Buffer
	if err := c.WriteTable(&b); err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{
		`FAILED, so its speed says nothing: the run of 16:00:00 violated: conversation a:b: seq 17 came twice`,
		`not the same: durability: "none", was "fdatasync before each ack"`,
		`not the same: --pairs: "512", was "64"`,
		`rate            1,000 msgs/s  1,500 msgs/s       1.500  better`,
		`rss                    2 KiB         4 KiB       2.000  worse`,
		`zero                     0 B           5 B`,
		`same                     100           101       1.010  same`,
		`new: new`,
		`gone: gone`,
	} {
		if !strings.Contains(b.String(), line+"\n") {
			t.Errorf("no line %q in\n%s", line, &b)
		}
	}
	if strings.Contains(b.String(), "--size") || strings.Contains(b.String(), "--added") {
		t.Errorf("flags that are the same are named:\n%s", &b)
	}
}
