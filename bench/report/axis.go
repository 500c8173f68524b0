package report

import (
	"math"
	"strconv"
	"strings"
)

// axis maps values to a chart's coordinates.
type axis struct {
	low, high float64 // the range, after project
	from, to  float64 // the coordinates of low and high
	project   func(float64) float64
	ticks     []float64 // values
	label     func(float64) string
}

func (a axis) at(v float64) float64 {
	return a.from + (a.project(v)-a.low)/(a.high-a.low)*(a.to-a.from)
}

func identity(v float64) float64 { return v }

// linearAxis begins at 0, or below where values are negative, and ends at a
// round number.
func linearAxis(low, high float64, unit string, from, to float64) axis {
	low = min(low, 0)
	if high <= low {
		high = low + 1
	}
	step := roundStep((high-low)/5, unit)
	a := axis{from: from, to: to, project: identity, label: func(v float64) string { return formatTick(v, unit) }}
	first, last := math.Floor(low/step), math.Ceil(high/step-1e-9)
	a.low, a.high = first*step, last*step
	for i := first; i <= last; i++ {
		a.ticks = append(a.ticks, i*step)
	}
	return a
}

// timeAxis ends where the data does.
func timeAxis(seconds, from, to float64) axis {
	if seconds <= 0 {
		seconds = 1
	}
	a := axis{high: seconds, from: from, to: to, project: identity, label: func(v float64) string { return formatTick(v, "clock") }}
	step := roundStep(seconds/8, "clock")
	for i := 0.0; i*step <= seconds+1e-9; i++ {
		a.ticks = append(a.ticks, i*step)
	}
	return a
}

// logAxis has a tick at each power of ten, and at 2 and 5 times those where
// there is room. low must be above 0.
func logAxis(low, high float64, unit string, from, to float64) axis {
	a := axis{from: from, to: to, project: math.Log10, label: func(v float64) string { return formatTick(v, unit) }}
	a.low, a.high = math.Log10(low), math.Log10(max(high, low))
	wide := a.high-a.low > 3
	var candidates []float64
	for decade := math.Floor(a.low); decade <= math.Ceil(a.high); decade++ {
		for _, m := range []float64{1, 2, 5} {
			if m == 1 || !wide {
				candidates = append(candidates, m*math.Pow(10, decade))
			}
		}
	}
	// The range is widened to the ticks around it.
	begin, end := 0, len(candidates)-1
	for begin+1 < end && math.Log10(candidates[begin+1]) <= a.low+1e-9 {
		begin++
	}
	for end-1 > begin && math.Log10(candidates[end-1]) >= a.high-1e-9 {
		end--
	}
	a.ticks = candidates[begin : end+1]
	a.low, a.high = math.Log10(candidates[begin]), math.Log10(candidates[end])
	return a
}

// quantileAxis gives each further nine the same room, as HdrHistogram's plots
// do: its coordinate is log 1/(1-q). nines is where it ends, which is where
// q = 1 is drawn.
func quantileAxis(nines, from, to float64) axis {
	nines = max(nines, 1)
	a := axis{high: nines, from: from, to: to, label: formatQuantile}
	a.project = func(q float64) float64 { return min(-math.Log10(max(1-q, 0)), nines) }
	a.ticks = []float64{0, 0.5}
	for n := 1.0; n <= nines; n++ {
		a.ticks = append(a.ticks, 1-math.Pow(10, -n))
	}
	return a
}

// formatQuantile shows 0.999 as 99.9%, with two digits of what is above the
// quantile, and 1 as what it is.
func formatQuantile(q float64) string {
	if q >= 1 {
		return "max"
	}
	decimals := max(0, 1-int(math.Floor(math.Log10(100*(1-q))+1e-9)))
	s := strconv.FormatFloat(100*q, 'f', decimals, 64)
	if strings.Contains(s, ".") {
		s = strings.TrimRight(strings.TrimRight(s, "0"), ".")
	}
	return s + "%"
}

// roundStep is the next larger step that reads well in the unit.
func roundStep(step float64, unit string) float64 {
	switch unit {
	case "B", "B/s":
		scale := 1.0
		for step/scale >= 512 {
			scale *= 1024
		}
		for _, m := range []float64{1, 2, 4, 8, 16, 32, 64, 128, 256, 512} {
			if m*scale >= step {
				return m * scale
			}
		}
	case "clock":
		for _, m := range []float64{1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 21600, 43200, 86400} {
			if m >= step && step > 0.5 {
				return m
			}
		}
	}
	scale := math.Pow(10, math.Floor(math.Log10(step)))
	for _, m := range []float64{1, 2, 5} {
		if m*scale >= step*(1-1e-9) {
			return m * scale
		}
	}
	return 10 * scale
}

// formatTick is short: 120k, 64 MiB, 5 ms, and the clock as 30 s, 2 min or 1 h.
func formatTick(v float64, unit string) string {
	switch unit {
	case "B", "B/s":
		return formatBytes(v)
	case "clock":
		if v >= 3600 && math.Mod(v, 3600) == 0 {
			return formatNumber(v/3600) + " h"
		}
		if v >= 60 && math.Mod(v, 60) == 0 {
			return formatNumber(v/60) + " min"
		}
		return formatNumber(v) + " s"
	case "s", "ms", "µs":
		return formatValue(v, unit)
	}
	switch {
	case math.Abs(v) >= 1e6:
		return formatNumber(v/1e6) + "M"
	case math.Abs(v) >= 1e4:
		return formatNumber(v/1e3) + "k"
	default:
		return formatNumber(v)
	}
}
