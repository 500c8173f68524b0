package report

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// element is a node of a page. The page is written so that it is XML too.
type element struct {
	name     string
	attrs    map[string]string
	children []*element
	text     string // of the element and all below it
}

func parsePage(t *testing.T, reports ...*Report) (*element, string) {
	t.Helper()
	var b bytes.Buffer
	if err := WriteHTML(&b, reports...); err != nil {
		t.Fatal(err)
	}
	text := b.String()
	in := xml.NewDecoder(&b)
	root := &element{}
	open := []*element{root}
	for {
		token, err := in.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatalf("the page is not well formed: %v", err)
		}
		switch token := token.(type) {
		case xml.StartElement:
			e := &element{name: token.Name.Local, attrs: make(map[string]string)}
			for _, a := range token.Attr {
				e.attrs[a.Name.Local] = a.Value
			}
			top := open[len(open)-1]
			top.children = append(top.children, e)
			open = append(open, e)
		case xml.EndElement:
			open = open[:len(open)-1]
		case xml.CharData:
			for _, e := range open {
				e.text += string(token)
			}
		}
	}
	return root, text
}

// all finds the elements with a name and, unless it is empty, a class.
func (e *element) all(name, class string) (found []*element) {
	for _, child := range e.children {
		if child.name == name && (class == "" || slices.Contains(strings.Fields(child.attrs["class"]), class)) {
			found = append(found, child)
		}
		found = append(found, child.all(name, class)...)
	}
	return found
}

func (e *element) number(t *testing.T, attr string) float64 {
	t.Helper()
	v, err := strconv.ParseFloat(e.attrs[attr], 64)
	if err != nil {
		t.Errorf("<%s %s=%q>: %v", e.name, attr, e.attrs[attr], err)
	}
	return v
}

func TestPageOfOneReport(t *testing.T) {
	root, text := parsePage(t, sample())
	var titles []string
	for _, c := range root.all("svg", "chart") {
		titles = append(titles, c.attrs["aria-label"])
		checkChart(t, c)
	}
	if want := []string{"Throughput, msgs/s", "Latency over time: delivery", "Latency by percentile", "Memory", "Bytes written per second"}; !slices.Equal(titles, want) {
		t.Errorf("charts %q, want %q", titles, want)
	}
	if n := len(root.all("svg", "chart")[1].all("path", "line")); n != 3 {
		t.Errorf("%d percentiles over time", n)
	}
	if n := len(root.all("div", "card")); n != 1 {
		t.Errorf("%d cards", n)
	}
	// A violation comes before every figure.
	if at := strings.Index(text, "seq 17 came twice"); at < 0 || at > strings.Index(text, `class="cards"`) {
		t.Errorf("the violation is at %d", at)
	}
	for _, fact := range []string{
		"FAILED: 1 violation", "126,400 msgs/s", "77.4%", "relay 163,211 msgs/s", "✓ ≥ 70% of relay", "✗ ≤ 2× of fdatasync",
		"A CPU", "24 GiB", "6.18.1", "ext4", "/dev/vda", "181 µs", "0123456789abcdef0123", "with changes", "v0.2.0",
		"--pairs", "--size", "fdatasync before each ack", "mosquitto 2.0", "load and server share the cores", "10,000",
	} {
		if !strings.Contains(root.text, fact) {
			t.Errorf("the page does not say %q", fact)
		}
	}
}

func TestPageIsSelfContained(t *testing.T) {
	root, text := parsePage(t, sample(), sample())
	for _, name := range []string{"script", "link", "img", "iframe", "image", "use"} {
		if n := len(root.all(name, "")); n != 0 {
			t.Errorf("%d <%s>", n, name)
		}
	}
	if m := regexp.MustCompile(`(?i)(href|src|style)=|url\(|@import|https?:|//[a-z]`).FindString(text); m != "" {
		t.Errorf("the page has %q", m)
	}
}

func TestPageEscapesWhatItIsGiven(t *testing.T) {
	r := sample()
	const hostile = `</title></svg><script>alert("1")</script>&amp;`
	r.Scenario, r.Subject, r.Series[0].Name, r.Series[0].Chart, r.Figures[0].Name, r.Flags[0].Value = hostile, hostile, hostile, hostile, hostile, hostile
	r.Violatef("%s", hostile)
	r.Notef("%s", hostile)
	root, _ := parsePage(t, r)
	if n := len(root.all("script", "")); n != 0 {
		t.Errorf("%d scripts", n)
	}
	if n := strings.Count(root.text, hostile); n < 7 {
		t.Errorf("%d of the texts are there", n)
	}
	for _, c := range root.all("svg", "chart") {
		checkChart(t, c)
	}
}

func TestPageOfSeveralReports(t *testing.T) {
	reports := []*Report{sample(), sample(), sample()}
	reports[1].Subject, reports[2].Subject = "mosquitto", "nats-server"
	reports[1].Violations, reports[2].Violations = nil, nil
	reports[2].Machine.Kernel = "5.10"
	root, _ := parsePage(t, reports...)
	charts := root.all("svg", "chart")
	if len(charts) != 5 {
		t.Fatalf("%d charts", len(charts))
	}
	for i, lines := range []int{3, 9, 3, 3, 3} {
		checkChart(t, charts[i])
		paths := charts[i].all("path", "line")
		if len(paths) != lines {
			t.Errorf("%s: %d lines, want %d", charts[i].attrs["aria-label"], len(paths), lines)
		}
		var classes []string
		for _, p := range paths {
			classes = append(classes, p.attrs["class"])
		}
		slices.Sort(classes)
		if unique := len(slices.Compact(classes)); unique != lines {
			t.Errorf("%s: %d lines look alike", charts[i].attrs["aria-label"], lines-unique)
		}
	}
	for _, label := range []string{"mosquitto: delivered", "nats-server: p99.9", "godwit: delivery"} {
		if !strings.Contains(root.text, label) {
			t.Errorf("no line is called %s", label)
		}
	}
	var differ []string
	for _, row := range root.all("tr", "differ") {
		differ = append(differ, row.all("th", "")[0].text)
	}
	if want := []string{"under load", "kernel"}; !slices.Equal(differ, want) {
		t.Errorf("marked as different: %q, want %q", differ, want)
	}
}

func TestPageOfLittle(t *testing.T) {
	empty := &Report{}
	point := New("connect")
	point.Add(Higher("zero", "", 0), Higher("of nothing", "", 0).OfCeiling("nothing", 0), Lower("negative", "B", -5).OfCeiling("x", 10))
	point.Series = []Series{{Name: "one", Chart: "One", Points: []Point{{0, 0}}}, {Name: "none", Chart: "None"}}
	point.Timelines = []Timeline{{Name: "idle", Points: []LatencyPoint{{T: 1}}}, {Name: "never"}}
	h := NewHistogram("once")
	h.Recorder().Record(time.Millisecond)
	point.AddHistogram(h)
	point.AddHistogram(NewHistogram("never"))
	for name, c := range map[string]struct {
		reports []*Report
		charts  int
	}{"nothing": {[]*Report{empty}, 0}, "points": {[]*Report{point}, 3}, "both": {[]*Report{empty, point}, 3}} {
		root, text := parsePage(t, c.reports...)
		charts := root.all("svg", "chart")
		if len(charts) != c.charts {
			t.Errorf("%s: %d charts, want %d", name, len(charts), c.charts)
		}
		for _, chart := range charts {
			checkChart(t, chart)
		}
		if m := regexp.MustCompile(`NaN|Inf|%!`).FindString(text); m != "" {
			t.Errorf("%s: the page has %q", name, m)
		}
	}
	if err := WriteHTML(io.Discard); err == nil {
		t.Error("a page of no reports")
	}
	if err := WriteHTML(fullDisk{}, point); !errors.Is(err, errFull) {
		t.Error(err)
	}
}

func TestPageOfManyReports(t *testing.T) {
	var reports []*Report
	for i := range 12 {
		r := sample()
		r.Subject = "a peer with quite a long name in the configuration number " + strconv.Itoa(i)
		reports = append(reports, r)
	}
	root, _ := parsePage(t, reports...)
	for _, c := range root.all("svg", "chart") {
		checkChart(t, c)
	}
}

func TestLabels(t *testing.T) {
	base := func(change func(r *Report)) *Report {
		r := sample()
		change(r)
		return r
	}
	same := func(*Report) {}
	for want, reports := range map[string][]*Report{
		"godwit":           {base(same)},
		"godwit,mosquitto": {base(same), base(func(r *Report) { r.Subject = "mosquitto" })},
		"direct,group":     {base(same), base(func(r *Report) { r.Scenario = "group" })},
		"godwit v0.2.0,godwit v0.3.0": {base(same), base(func(r *Report) {
			r.Build.Server = &Version{Version: "v0.3.0"}
		})},
		"godwit direct 2026-11-24 16:00:00,godwit direct 2026-11-24 16:01:00": {base(same), base(func(r *Report) {
			r.Start = r.Start.Add(time.Minute)
		})},
		"godwit 1,godwit 2": {base(same), base(same)},
	} {
		if got := strings.Join(labelsOf(reports), ","); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

var pathNumbers = regexp.MustCompile(`[ML](-?[\d.]+) (-?[\d.]+)`)

// checkChart: what is drawn lies in the plot, hover texts in the chart, and no
// label of an axis touches the next.
func checkChart(t *testing.T, c *element) {
	t.Helper()
	title := c.attrs["aria-label"]
	for _, p := range c.all("path", "line") {
		for _, m := range pathNumbers.FindAllStringSubmatch(p.attrs["d"], -1) {
			x, _ := strconv.ParseFloat(m[1], 64)
			y, _ := strconv.ParseFloat(m[2], 64)
			if x < plotLeft-0.1 || x > plotRight+0.1 || y < plotTop-0.1 || y > plotBottom+0.1 {
				t.Errorf("%s: (%v, %v) is outside of the plot", title, x, y)
			}
		}
	}
	for _, tip := range c.all("rect", "tip") {
		left, width := tip.number(t, "x"), tip.number(t, "width")
		top, height := tip.number(t, "y"), tip.number(t, "height")
		if left < 0 || left+width > chartWidth || top+height > chartHeight {
			t.Errorf("%s: a hover text of %v × %v at %v does not fit", title, width, height, left)
		}
	}
	const perRune, lineHeight = 7.6, 14
	var rightmost, uppermost float64 = -1, chartHeight + lineHeight
	for _, label := range c.children {
		if label.name != "text" {
			continue
		}
		x, y, width := label.number(t, "x"), label.number(t, "y"), perRune*float64(len([]rune(label.text)))
		switch {
		case x < plotLeft: // of the y axis, from below
			if y > uppermost-lineHeight {
				t.Errorf("%s: %q touches the label below it", title, label.text)
			}
			if width > x {
				t.Errorf("%s: %q does not fit beside the axis", title, label.text)
			}
			uppermost = y
		case label.attrs["text-anchor"] == "end":
			if x-width < rightmost {
				t.Errorf("%s: %q touches the label before it", title, label.text)
			}
		default:
			if x-width/2 < rightmost || x+width/2 > chartWidth {
				t.Errorf("%s: %q touches the label before it, or the edge", title, label.text)
			}
			rightmost = x + width/2
		}
	}
}
