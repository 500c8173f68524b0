package report

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"
)

// The drawing area of every chart, in the units of its viewBox.
const (
	chartWidth, chartHeight   = 720, 290
	plotLeft, plotRight       = 70, 706
	plotTop, plotBottom       = 12, 258
	hoverColumns              = 60
	hoverRows, hoverRunes     = 14, 48 // what fits into a chart
	tipLine, tipChar, tipEdge = 17, 7.2, 8
	// drawnPoints is how many points of a line are drawn one by one. A longer
	// line is drawn from the lowest to the highest of each of so many parts.
	drawnPoints = 600
)

// line is one line of a chart. Its class sets colour and dashes.
type line struct {
	Label  string
	Class  string
	points []Point
}

// chart is what the template draws. All is in coordinates of the viewBox.
type chart struct {
	Title          string
	Lines          []line
	Paths          []path
	XTicks, YTicks []tick
	Columns        []column
}

type path struct{ Class, D string }

type tick struct{ At, Label, Anchor string }

// column is a strip of the chart that shows the values in it when it is
// pointed at.
type column struct {
	X, Width string // the strip
	At       string // the values' place
	TipX     string
	TipWidth string
	TipH     string
	TextX    string
	Title    string
	Rows     []tipRow
}

type tipRow struct{ Class, Y, Text string }

func coordinate(v float64) string {
	return strings.TrimSuffix(fmt.Sprintf("%.1f", v), ".0")
}

// draw places the lines on the axes. show formats a value for the hover text.
func draw(title string, x, y axis, lines []line, show func(float64) string) chart {
	c := chart{Title: title, Lines: lines}
	for _, v := range x.ticks {
		anchor := "middle"
		if x.at(v) > plotRight-20 {
			anchor = "end" // or it would not fit
		}
		c.XTicks = append(c.XTicks, tick{coordinate(x.at(v)), x.label(v), anchor})
	}
	for _, v := range y.ticks {
		c.YTicks = append(c.YTicks, tick{coordinate(y.at(v)), y.label(v), "end"})
	}
	for _, l := range lines {
		c.Paths = append(c.Paths, path{l.Class, pathOf(thin(l.points), x, y)})
	}
	c.Columns = columns(x, lines, show)
	return c
}

// pathOf skips what has no place on the axis, such as 0 on a logarithmic one,
// and leaves a gap there. A point between two gaps is drawn as a dot, by the
// round cap of a line without length.
func pathOf(points []Point, x, y axis) string {
	var d strings.Builder
	pen := "M"
	for _, p := range points {
		px, py := x.at(p.X), y.at(p.Y)
		if !finite(px) || !finite(py) {
			pen = "M"
			continue
		}
		d.WriteString(pen + coordinate(px) + " " + coordinate(py))
		if pen == "M" {
			d.WriteString("h0")
		}
		pen = "L"
	}
	return d.String()
}

// thin keeps the shape of a long line.
func thin(points []Point) []Point {
	if len(points) <= drawnPoints {
		return points
	}
	var kept []Point
	for part := range slices.Chunk(points, (len(points)+drawnPoints-1)/drawnPoints) {
		byY := func(a, b Point) int { return cmp.Compare(a.Y, b.Y) }
		low, high := slices.MinFunc(part, byY), slices.MaxFunc(part, byY)
		if low.X > high.X {
			low, high = high, low
		}
		kept = append(kept, low, high)
	}
	return kept
}

// columns divides the plot into strips, one a point where there are few.
func columns(x axis, lines []line, show func(float64) string) []column {
	most := 0
	for _, l := range lines {
		most = max(most, len(l.points))
	}
	n := min(most, hoverColumns)
	if n == 0 {
		return nil
	}
	width := float64(plotRight-plotLeft) / float64(n)
	var all []column
	for i := range n {
		left := plotLeft + float64(i)*width
		c := column{X: coordinate(left), Width: coordinate(width)}
		longest, where := 0, math.NaN()
		for _, l := range lines {
			p, ok := nearest(l.points, x, left, left+width)
			if !ok {
				continue
			}
			where = x.at(p.X)
			if c.Title = x.label(p.X); len(c.Rows) == hoverRows {
				continue
			}
			value := show(p.Y)
			text := shorten(l.Label, hoverRunes-len([]rune(value))-1) + " " + value
			longest = max(longest, len([]rune(text)))
			c.Rows = append(c.Rows, tipRow{l.Class, coordinate(plotTop + 2*tipEdge + float64(len(c.Rows)+1)*tipLine), text})
		}
		if len(c.Rows) > 0 {
			all = append(all, c.place(where, longest))
		}
	}
	return all
}

func shorten(s string, runes int) string {
	if all := []rune(s); len(all) > runes {
		return string(all[:runes-1]) + "…"
	}
	return s
}

// place puts the text on the side of the strip where there is more room.
func (c column) place(at float64, longest int) column {
	wide := float64(max(longest+2, len([]rune(c.Title))))*tipChar + 2*tipEdge
	left := at + 10
	if at > (plotLeft+plotRight)/2 {
		left = at - 10 - wide
	}
	left = min(max(left, 2), chartWidth-2-wide) // over the strip rather than cut off
	c.At, c.TipX, c.TipWidth, c.TextX = coordinate(at), coordinate(left), coordinate(wide), coordinate(left+tipEdge)
	c.TipH = coordinate(float64(len(c.Rows)+1)*tipLine + 1.2*tipEdge)
	return c
}

// nearest is the point closest to the middle of [left, right).
func nearest(points []Point, x axis, left, right float64) (best Point, ok bool) {
	distance := math.Inf(1)
	for _, p := range points {
		at := x.at(p.X)
		if d := math.Abs(at - (left+right)/2); at >= left && (at < right || right > plotRight-1 && at <= right+1) && d < distance {
			best, distance, ok = p, d, true
		}
	}
	return best, ok
}

// timeChart has a linear scale; its lines share the unit.
func timeChart(title, unit string, seconds float64, lines []line) chart {
	low, high := extent(lines, false)
	y := linearAxis(low, high, unit, plotBottom, plotTop)
	switch unit {
	case "", "B": // the labels say it
	case "B/s":
		title += " per second"
	default:
		title += ", " + unit
	}
	return draw(title, timeAxis(seconds, plotLeft, plotRight), y, lines, func(v float64) string { return formatValue(v, unit) })
}

// latencyChart has µs on a logarithmic scale, over time.
func latencyChart(title string, seconds float64, lines []line) chart {
	return draw(title, timeAxis(seconds, plotLeft, plotRight), latencyAxis(lines), lines, formatDuration)
}

// quantileChart has µs by quantile.
func quantileChart(title string, lines []line) chart {
	var nines float64
	for _, l := range lines {
		for _, p := range l.points {
			if p.X < 1 {
				nines = max(nines, -math.Log10(1-p.X))
			}
		}
	}
	return draw(title, quantileAxis(nines+0.3, plotLeft, plotRight), latencyAxis(lines), lines, formatDuration)
}

func latencyAxis(lines []line) axis {
	low, high := extent(lines, true)
	return logAxis(low, high, "µs", plotBottom, plotTop)
}

// extent is the range of the values, of those above 0 only if they are to be
// drawn on a logarithmic scale.
func extent(lines []line, positive bool) (low, high float64) {
	low, high = math.Inf(1), math.Inf(-1)
	for _, l := range lines {
		for _, p := range l.points {
			if !positive || p.Y > 0 {
				low, high = min(low, p.Y), max(high, p.Y)
			}
		}
	}
	if low > high {
		return 1, 10 // nothing to show
	}
	return low, high
}
