package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/godwit-im/godwit/bench/report"
)

// result is a whole comparison.
type result struct {
	Start   time.Time      `json:"start"`
	Machine report.Machine `json:"machine"`
	Rounds  int            `json:"rounds"`
	For     time.Duration  `json:"for_ns"`
	Shapes  []shape        `json:"shapes"`
	Columns []*outcome     `json:"columns"` // the first is Godwit
}

// outcome is what was measured of a column.
type outcome struct {
	column
	// Runs are of each shape of the result, one per round; one that could not
	// be made is left out.
	Runs    [][]measurement `json:"runs"`
	Medians []summary       `json:"medians"`
	Idle    []footprint     `json:"idle,omitempty"`
	// Errors are runs that could not be made, or broke a promise.
	Errors []string `json:"errors,omitempty"`
}

// summary is the medians of a shape's runs, times in µs.
type summary struct {
	Runs         int     `json:"runs"`
	PerSecond    float64 `json:"messages_per_second"`
	AckP50       int64   `json:"ack_p50_us"`
	AckP99       int64   `json:"ack_p99_us"`
	AckP999      int64   `json:"ack_p999_us"`
	DeliveryP50  int64   `json:"delivery_p50_us"`
	DeliveryP99  int64   `json:"delivery_p99_us"`
	DeliveryP999 int64   `json:"delivery_p999_us"`
	Overloaded   bool    `json:"overloaded,omitempty"` // in any run
	// Over Godwit's; 0 where there is nothing to compare to.
	RateRatio float64 `json:"rate_ratio_to_godwit"`
	P99Ratio  float64 `json:"delivery_p99_ratio_to_godwit"`
}

// median is the middle one, of an even number the lower of the two.
func median[T cmp.Ordered](values []T) (middle T) {
	if len(values) == 0 {
		return middle
	}
	slices.Sort(values)
	return values[(len(values)-1)/2]
}

func medianOf[T cmp.Ordered](runs []measurement, value func(measurement) T) T {
	values := make([]T, 0, len(runs))
	for _, m := range runs {
		values = append(values, value(m))
	}
	return median(values)
}

func summarize(runs []measurement) summary {
	s := summary{
		Runs:         len(runs),
		PerSecond:    medianOf(runs, func(m measurement) float64 { return m.PerSecond }),
		AckP50:       medianOf(runs, func(m measurement) int64 { return m.Ack.P50 }),
		AckP99:       medianOf(runs, func(m measurement) int64 { return m.Ack.P99 }),
		AckP999:      medianOf(runs, func(m measurement) int64 { return m.Ack.P999 }),
		DeliveryP50:  medianOf(runs, func(m measurement) int64 { return m.Delivery.P50 }),
		DeliveryP99:  medianOf(runs, func(m measurement) int64 { return m.Delivery.P99 }),
		DeliveryP999: medianOf(runs, func(m measurement) int64 { return m.Delivery.P999 }),
	}
	for _, m := range runs {
		s.Overloaded = s.Overloaded || m.Overloaded
	}
	return s
}

// conclude fills in the medians and ratios.
func (r *result) conclude() {
	for _, o := range r.Columns {
		o.Medians = nil
		for i := range r.Shapes {
			o.Medians = append(o.Medians, summarize(o.Runs[i]))
			s, base := &o.Medians[i], r.Columns[0].Medians[i]
			s.RateRatio = over(s.PerSecond, base.PerSecond)
			s.P99Ratio = over(float64(s.DeliveryP99), float64(base.DeliveryP99))
		}
	}
}

// over is a/b, 0 where b is.
func over(a, b float64) float64 {
	if b == 0 {
		return 0
	}
	return a / b
}

// err is nil where everything was run and nothing was violated.
func (r *result) err() error {
	var failed []string
	for _, o := range r.Columns {
		for _, e := range o.Errors {
			failed = append(failed, o.Name+": "+e)
		}
	}
	if len(failed) == 0 {
		return nil
	}
	return fmt.Errorf("%d failures:\n%s", len(failed), strings.Join(failed, "\n"))
}

func (r *result) writeJSON(w io.Writer) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	return enc.Encode(r)
}

// table is a title and rows of cells, of which the first is the heading.
type table struct {
	title string
	rows  [][]string
}

func (r *result) tables() (tables []table) {
	for i, sh := range r.Shapes {
		title, head := fmt.Sprintf("direct, pairs × messages in flight: %v", sh), "÷ godwit"
		if sh.Rate > 0 {
			title, head = fmt.Sprintf("%.0f msgs/s over %d pairs, times from when a message was due", sh.Rate, sh.Pairs), "delivery p99 ÷ godwit"
		}
		t := table{title: title, rows: [][]string{{"", "msgs/s", head, "ack p50", "p99", "p99.9", "delivery p50", "p99", "p99.9"}}}
		for _, o := range r.Columns {
			t.rows = append(t.rows, o.row(i, sh))
		}
		tables = append(tables, t)
	}
	if idle := r.idleTable(); len(idle.rows) > 1 {
		tables = append(tables, idle)
	}
	return tables
}

func (o *outcome) row(i int, sh shape) []string {
	s := o.Medians[i]
	if s.Runs == 0 {
		return []string{o.Name, "failed", "", "", "", "", "", "", ""}
	}
	relative := s.RateRatio
	if sh.Rate > 0 {
		relative = s.P99Ratio
	}
	rate := fmt.Sprintf("%.0f", s.PerSecond)
	if s.Overloaded {
		rate += " (overloaded)"
	}
	return []string{
		o.Name, rate, times(relative),
		milliseconds(s.AckP50), milliseconds(s.AckP99), milliseconds(s.AckP999),
		milliseconds(s.DeliveryP50), milliseconds(s.DeliveryP99), milliseconds(s.DeliveryP999),
	}
}

// times is a ratio, "" for 0.
func times(ratio float64) string {
	if ratio == 0 {
		return ""
	}
	return fmt.Sprintf("%.2f", ratio)
}

func milliseconds(us int64) string {
	d := time.Duration(us) * time.Microsecond
	if us >= 10_000 {
		return fmt.Sprintf("%.0f ms", d.Seconds()*1e3)
	}
	return fmt.Sprintf("%.2f ms", d.Seconds()*1e3)
}

func (r *result) idleTable() table {
	t := table{title: "memory of idle sessions", rows: [][]string{{"", "sessions", "RSS per session", "÷ godwit", "RSS in all"}}}
	base := map[int]float64{}
	for _, f := range r.Columns[0].Idle {
		base[f.Sessions] = f.Bytes
	}
	for _, o := range r.Columns {
		for _, f := range o.Idle {
			relative := ""
			if b := base[f.Sessions]; b > 0 {
				relative = times(f.Bytes / b)
			}
			t.rows = append(t.rows, []string{
				o.Name, fmt.Sprint(f.Sessions), fmt.Sprintf("%.2f KiB", f.Bytes/1024), relative, fmt.Sprintf("%.0f MiB", float64(f.Total)/(1<<20)),
			})
		}
	}
	return t
}

// writeTable writes the result for a terminal.
func (r *result) writeTable(w io.Writer) {
	for _, t := range r.tables() {
		fmt.Fprintf(w, "\n%s\n", t.title)
		tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
		for _, row := range t.rows {
			fmt.Fprintf(tw, "%s\t\n", strings.Join(row, "\t"))
		}
		tw.Flush()
	}
	fmt.Fprintln(w)
	for _, o := range r.Columns {
		fmt.Fprintf(w, "%s %s: %s\n", o.Name, o.Version, o.Durability)
	}
}

// writeMarkdown writes the result for a document.
func (r *result) writeMarkdown(w io.Writer) {
	fmt.Fprintf(w, "%d rounds of %v, medians; %d cores, %s, Linux %s, %s.\n", r.Rounds, r.For, r.Machine.Cores, r.Machine.CPU, r.Machine.Kernel, r.Machine.Go)
	for _, t := range r.tables() {
		fmt.Fprintf(w, "\n%s\n\n", upperFirst(t.title))
		for i, row := range t.rows {
			fmt.Fprintf(w, "| %s |\n", strings.Join(row, " | "))
			if i == 0 {
				fmt.Fprintf(w, "| --- |%s\n", strings.Repeat(" ---: |", len(row)-1))
			}
		}
	}
	fmt.Fprint(w, "\n| Column | Version | When is a message on disk? |\n| --- | --- | --- |\n")
	for _, o := range r.Columns {
		fmt.Fprintf(w, "| %s | %s | %s |\n", o.Name, o.Version, o.Durability)
	}
}

func upperFirst(s string) string { return strings.ToUpper(s[:1]) + s[1:] }
