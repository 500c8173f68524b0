package report

import (
	"math"
	"slices"
	"strings"
	"testing"
)

func tickLabels(a axis) string {
	var labels []string
	for _, v := range a.ticks {
		labels = append(labels, a.label(v))
	}
	return strings.Join(labels, " ")
}

func TestAxes(t *testing.T) {
	for name, c := range map[string]struct {
		axis axis
		want string
	}{
		"rates":             {linearAxis(90_000, 126_000, "msgs/s", 258, 12), "0 50k 100k 150k"},
		"millions":          {linearAxis(0, 4.1e6, "msgs/s", 258, 12), "0 1M 2M 3M 4M 5M"},
		"cores":             {linearAxis(0, 1.44, "cores", 258, 12), "0 0.5 1 1.5"},
		"nothing":           {linearAxis(0, 0, "", 258, 12), "0 0.2 0.4 0.6 0.8 1"},
		"bytes":             {linearAxis(0, 100<<20, "B", 258, 12), "0 B 32 MiB 64 MiB 96 MiB 128 MiB"},
		"much":              {linearAxis(0, 3<<30, "B", 258, 12), "0 B 1 GiB 2 GiB 3 GiB"},
		"few bytes":         {linearAxis(0, 3, "B", 258, 12), "0 B 1 B 2 B 3 B"},
		"below zero":        {linearAxis(-3, 10, "", 258, 12), "-5 0 5 10"},
		"a run":             {timeAxis(62, 70, 706), "0 s 10 s 20 s 30 s 40 s 50 s 1 min"},
		"a short run":       {timeAxis(0.9, 70, 706), "0 s 0.2 s 0.4 s 0.6 s 0.8 s"},
		"an hour":           {timeAxis(3600, 70, 706), "0 s 10 min 20 min 30 min 40 min 50 min 1 h"},
		"a week":            {timeAxis(7*86400, 70, 706), "0 s 24 h 48 h 72 h 96 h 120 h 144 h 168 h"},
		"no time":           {timeAxis(0, 70, 706), "0 s 0.2 s 0.4 s 0.6 s 0.8 s 1 s"},
		"latencies":         {logAxis(300, 24_000, "µs", 258, 12), "200 µs 500 µs 1 ms 2 ms 5 ms 10 ms 20 ms 50 ms"},
		"many decades":      {logAxis(3, 2e6, "µs", 258, 12), "1 µs 10 µs 100 µs 1 ms 10 ms 100 ms 1 s 10 s"},
		"one latency":       {logAxis(100, 100, "µs", 258, 12), "100 µs 200 µs"},
		"latencies of 1 µs": {logAxis(1, 1, "µs", 258, 12), "1 µs 2 µs"},
		"quantiles":         {quantileAxis(3.4, 70, 706), "0% 50% 90% 99% 99.9%"},
		"few samples":       {quantileAxis(0, 70, 706), "0% 50% 90%"},
	} {
		if got := tickLabels(c.axis); got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
		low, high := min(c.axis.from, c.axis.to), max(c.axis.from, c.axis.to)
		for _, v := range c.axis.ticks {
			if at := c.axis.at(v); !finite(at) || at < low-1e-6 || at > high+1e-6 {
				t.Errorf("%s: %v is drawn at %v", name, v, at)
			}
		}
	}
}

// The axis must hold what it was made for, whatever that is.
func TestAxesHoldTheirRange(t *testing.T) {
	for exponent := -3.0; exponent < 9; exponent += 0.137 {
		high := math.Pow(10, exponent)
		for _, unit := range []string{"", "B", "µs"} {
			a := linearAxis(0, high, unit, 0, 100)
			if unit == "B" && high < 1 {
				continue // there is no tick below a byte
			}
			if at := a.at(high); at > 100+1e-6 || at < 50 || len(a.ticks) > 12 {
				t.Errorf("%v %s is drawn at %v of 100, with %d ticks", high, unit, at, len(a.ticks))
			}
		}
		for span := 1.0; span < 1e7; span *= 7.3 {
			a := logAxis(high, high*span, "µs", 0, 100)
			if low, top := a.at(high), a.at(high*span); low < -1e-6 || top > 100+1e-6 || len(a.ticks) > 12 {
				t.Errorf("%v to %v is drawn from %v to %v of 100, with %d ticks", high, high*span, low, top, len(a.ticks))
			}
		}
	}
}

func TestFormatQuantile(t *testing.T) {
	for q, want := range map[float64]string{0: "0%", 0.5: "50%", 0.9: "90%", 0.947443: "94.7%", 0.99: "99%", 0.999: "99.9%", 0.99999546: "99.99955%", 1: "max"} {
		if got := formatQuantile(q); got != want {
			t.Errorf("%v: %s, want %s", q, got, want)
		}
	}
}

func TestThinKeepsPeaks(t *testing.T) {
	var points []Point
	for i := range 10_000 {
		points = append(points, Point{float64(i), math.Sin(float64(i))})
	}
	points[4321].Y, points[8765].Y = 99, -99
	kept := thin(points)
	if len(kept) > 2*drawnPoints || !slices.Contains(kept, points[4321]) || !slices.Contains(kept, points[8765]) {
		t.Errorf("%d points are kept", len(kept))
	}
	if !slices.IsSortedFunc(kept, func(a, b Point) int { return int(math.Copysign(1, a.X-b.X)) }) {
		t.Error("out of order")
	}
	if short := points[:drawnPoints]; !slices.Equal(thin(short), short) {
		t.Error("a short line was changed")
	}
}

func TestPathHasGaps(t *testing.T) {
	x, y := timeAxis(4, 0, 400), logAxis(1, 100, "µs", 200, 0)
	got := pathOf([]Point{{0, 1}, {1, 100}, {2, 0}, {3, 10}, {4, 0}}, x, y)
	if want := "M0 200h0L100 0M300 100h0"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}
