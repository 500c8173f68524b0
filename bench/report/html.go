package report

import (
	"bytes"
	_ "embed"
	"errors"
	"fmt"
	"html/template"
	"io"
	"slices"
	"strings"
	"time"
)

//go:embed page.tmpl
var pageText string

var pageTemplate = template.Must(template.New("page").Parse(pageText))

// colours is how many the page's style sheet has; dashes likewise.
const colours, dashes = 8, 4

// page is what the template shows. With several reports each has a colour,
// and what it measured of one kind shares a chart with the others'.
type page struct {
	Title    string
	Compared bool
	Reports  []summary
	Cards    []card
	Figures  []figureGroup
	// Latencies is the table; the charts follow.
	Latencies []latencyRow
	Charts    []chart
	Notes     []string
	Facts     []factTable
}

// summary is the head of one report.
type summary struct {
	Label, Class, When string
	Failed             bool
	Verdict, Mark      string // Mark is the badge's class
	Violations         []string
	More               int
}

// card is a headline figure of a page with one report.
type card struct {
	Name, Value, Unit string
	Of, Ratio         string
	Fill              float64 // percent of the ceiling
	Target            *Target
}

type figureGroup struct {
	Name, Better string
	Rows         []figureRow
}

type figureRow struct {
	Label, Class     string
	Value, Of, Ratio string
	// Bar and Ceiling are in percent of the longest bar of the group; both are
	// 0 where there is nothing to compare.
	Bar, Ceiling float64
	Target       *Target
}

type latencyRow struct {
	Label, Class string
	Cells        []string
}

// factTable has a column for each report.
type factTable struct {
	Title string
	Heads []string
	Rows  []fact
}

type fact struct {
	Name   string
	Values []string
	Dim    bool // a flag that was left alone
	Differ bool
}

// pageViolations is how many the page lists of a report; the JSON holds all.
const pageViolations = 100

// WriteHTML writes one page without scripts and without references to
// anything outside of it. Several reports are shown side by side, in one chart
// where they measured the same.
func WriteHTML(w io.Writer, reports ...*Report) error {
	if len(reports) == 0 {
		return errors.New("report: nothing to show")
	}
	var b bytes.Buffer
	if err := pageTemplate.Execute(&b, newPage(reports)); err != nil {
		return err
	}
	_, err := w.Write(b.Bytes())
	return err
}

func newPage(reports []*Report) page {
	labels := labelsOf(reports)
	p := page{Compared: len(reports) > 1}
	var scenarios []string
	for i, r := range reports {
		p.Reports = append(p.Reports, summarise(r, labels[i], i))
		if !slices.Contains(scenarios, r.Scenario) {
			scenarios = append(scenarios, r.Scenario)
		}
		for _, n := range r.Notes {
			if p.Compared {
				n = labels[i] + ": " + n
			}
			p.Notes = append(p.Notes, n)
		}
		for _, f := range r.Figures {
			if f.Headline && !p.Compared { // beside each other, bars say more
				p.Cards = append(p.Cards, newCard(f))
			}
		}
		for k, l := range r.Latencies {
			p.Latencies = append(p.Latencies, p.newLatencyRow(l, labels[i], i, k))
		}
	}
	p.Title = strings.Join(scenarios, ", ")
	p.Figures = figureGroups(reports, labels)
	p.Charts = charts(reports, labels)
	p.Facts = facts(reports, labels)
	return p
}

// labelsOf tells reports apart by as little as that takes.
func labelsOf(reports []*Report) []string {
	for _, label := range []func(*Report) string{
		func(r *Report) string { return r.Subject },
		func(r *Report) string { return r.Scenario },
		func(r *Report) string { return r.Subject + " " + r.Scenario },
		func(r *Report) string { return r.Subject + " " + r.Build.subject().String() },
		func(r *Report) string { return r.Subject + " " + r.Scenario + " " + r.Start.Format(time.DateTime) },
	} {
		var labels []string
		for _, r := range reports {
			if l := label(r); !slices.Contains(labels, l) {
				labels = append(labels, l)
			}
		}
		if len(labels) == len(reports) {
			return labels
		}
	}
	var labels []string
	for i, r := range reports {
		labels = append(labels, fmt.Sprintf("%s %d", r.Subject, i+1))
	}
	return labels
}

// subject is the build that was measured, as far as it is known.
func (b Build) subject() Version {
	if b.Server != nil {
		return *b.Server
	}
	return b.Tool
}

func summarise(r *Report, label string, i int) summary {
	s := summary{
		Label: label, Class: colour(i),
		When: r.Start.Format("2 January 2006, 15:04:05 MST"),
	}
	if r.Duration > 0 {
		s.When += ", " + formatDuration(float64(r.Duration)/1e3)
	}
	met, targets := 0, 0
	for _, f := range r.Figures {
		if f.Target != nil {
			targets++
			if f.Target.Met {
				met++
			}
		}
	}
	switch {
	case len(r.Violations) > 0:
		s.Failed, s.Mark, s.Verdict = true, "bad", plural(len(r.Violations), "violation")
	case targets > 0:
		if met < targets {
			s.Mark = "warn"
		}
		s.Verdict = fmt.Sprintf("no violations, %d of %s met", met, plural(targets, "target"))
	default:
		s.Verdict = "no violations"
	}
	s.Violations = r.Violations[:min(len(r.Violations), pageViolations)]
	s.More = len(r.Violations) - len(s.Violations)
	return s
}

func newCard(f Figure) card {
	c := card{Name: f.Name, Target: f.Target}
	c.Value, c.Unit, _ = strings.Cut(formatValue(f.Value, f.Unit), " ")
	if f.Of != nil {
		c.Ratio = formatRatio(f.Of.Ratio)
		c.Of = "of " + f.Of.Name + ", " + formatValue(f.Of.Value, f.Unit)
		if f.Better == BetterHigher {
			c.Fill = min(100, max(0, 100*f.Of.Ratio))
		}
	}
	return c
}

func (p *page) newLatencyRow(l Latency, label string, i, k int) latencyRow {
	row := latencyRow{Label: l.Name, Class: colour(k)}
	if p.Compared {
		row.Label, row.Class = label+": "+l.Name, colour(i)+" "+dash(k)
	}
	for _, us := range []int64{l.P50, l.P90, l.P95, l.P99, l.P999, l.Max} {
		row.Cells = append(row.Cells, formatDuration(float64(us)))
	}
	row.Cells = append(row.Cells, formatNumber(float64(l.Count)))
	return row
}

// figureGroups has a group for each name, in the order in which names appear.
func figureGroups(reports []*Report, labels []string) (groups []figureGroup) {
	longest := make(map[string]float64) // by name
	for _, r := range reports {
		for _, f := range r.Figures {
			longest[f.Name] = max(longest[f.Name], f.Value)
			if f.Of != nil {
				longest[f.Name] = max(longest[f.Name], f.Of.Value)
			}
		}
	}
	for i, r := range reports {
		for _, f := range r.Figures {
			at := slices.IndexFunc(groups, func(g figureGroup) bool { return g.Name == f.Name })
			if at < 0 {
				at = len(groups)
				groups = append(groups, figureGroup{Name: f.Name, Better: string(f.Better) + " is better"})
			}
			row := newFigureRow(f, longest[f.Name], len(reports) > 1)
			row.Class = colour(0)
			if len(reports) > 1 {
				row.Label, row.Class = labels[i], colour(i)
			}
			groups[at].Rows = append(groups[at].Rows, row)
		}
	}
	return groups
}

func newFigureRow(f Figure, longest float64, compared bool) figureRow {
	row := figureRow{Value: formatValue(f.Value, f.Unit), Target: f.Target}
	if longest > 0 && (compared || f.Of != nil) {
		row.Bar = 100 * max(0, f.Value) / longest
	}
	if f.Of != nil {
		row.Of, row.Ratio = f.Of.Name+" "+formatValue(f.Of.Value, f.Unit), formatRatio(f.Of.Ratio)
		if longest > 0 {
			row.Ceiling = 100 * max(0, f.Of.Value) / longest
		}
	}
	return row
}

func colour(i int) string { return fmt.Sprintf("c%d", i%colours) }
func dash(i int) string   { return fmt.Sprintf("d%d", i%dashes) }
