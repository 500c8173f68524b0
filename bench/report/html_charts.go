package report

import "slices"

// charts are the throughput and other series, each with all reports; then the
// latencies over time and by quantile.
func charts(reports []*Report, labels []string) (all []chart) {
	seconds := 0.0
	for _, r := range reports {
		for _, s := range r.Series {
			for _, p := range s.Points {
				seconds = max(seconds, p.X)
			}
		}
		for _, t := range r.Timelines {
			for _, p := range t.Points {
				seconds = max(seconds, p.T)
			}
		}
	}
	series := seriesCharts(reports, labels, seconds)
	if len(series) > 0 { // what a run is about comes first, how fast second
		all, series = append(all, series[0]), series[1:]
	}
	all = append(all, timelineCharts(reports, labels, seconds)...)
	if c, ok := distributionChart(reports, labels); ok {
		all = append(all, c)
	}
	return append(all, series...)
}

// style gives a line its label and class: alone, the kth line of a report has
// the kth colour; beside others the report has the colour and the line dashes.
func style(label, name string, report, k, reports int) line {
	if reports == 1 {
		return line{Label: name, Class: colour(k)}
	}
	return line{Label: label + ": " + name, Class: colour(report) + " " + dash(k)}
}

func seriesCharts(reports []*Report, labels []string, seconds float64) (all []chart) {
	type key struct{ chart, unit string }
	var order []key
	for _, r := range reports {
		for _, s := range r.Series {
			if k := (key{s.Chart, s.Unit}); len(s.Points) > 0 && !slices.Contains(order, k) {
				order = append(order, k)
			}
		}
	}
	for _, key := range order {
		var lines []line
		for i, r := range reports {
			k := 0
			for _, s := range r.Series {
				if s.Chart != key.chart || s.Unit != key.unit || len(s.Points) == 0 {
					continue
				}
				l := style(labels[i], s.Name, i, k, len(reports))
				l.points = s.Points
				lines = append(lines, l)
				k++
			}
		}
		all = append(all, timeChart(key.chart, key.unit, seconds, lines))
	}
	return all
}

// timelineCharts has a chart for each name, in the order in which names
// appear.
func timelineCharts(reports []*Report, labels []string, seconds float64) (all []chart) {
	var names []string
	for _, r := range reports {
		for _, t := range r.Timelines {
			if len(t.Points) > 0 && !slices.Contains(names, t.Name) {
				names = append(names, t.Name)
			}
		}
	}
	for _, name := range names {
		var lines []line
		for i, r := range reports {
			for _, t := range r.Timelines {
				if t.Name == name && len(t.Points) > 0 {
					lines = append(lines, timelineLines(t, labels[i], i, len(reports))...)
				}
			}
		}
		all = append(all, latencyChart("Latency over time: "+name, seconds, lines))
	}
	return all
}

func timelineLines(t Timeline, label string, report, reports int) (lines []line) {
	for k, quantile := range []struct {
		name string
		of   func(LatencyPoint) int64
	}{
		{"p50", func(p LatencyPoint) int64 { return p.P50 }},
		{"p99", func(p LatencyPoint) int64 { return p.P99 }},
		{"p99.9", func(p LatencyPoint) int64 { return p.P999 }},
	} {
		l := style(label, quantile.name, report, k, reports)
		for _, p := range t.Points {
			l.points = append(l.points, Point{p.T, float64(quantile.of(p))})
		}
		lines = append(lines, l)
	}
	return lines
}

func distributionChart(reports []*Report, labels []string) (chart, bool) {
	var lines []line
	for i, r := range reports {
		for k, latency := range r.Latencies {
			if len(latency.Curve) == 0 {
				continue
			}
			l := style(labels[i], latency.Name, i, k, len(reports))
			l.points = latency.Curve
			lines = append(lines, l)
		}
	}
	if len(lines) == 0 {
		return chart{}, false
	}
	return quantileChart("Latency by percentile", lines), true
}
