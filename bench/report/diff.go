package report

import (
	"bytes"
	"fmt"
	"io"
	"slices"
)

// Comparison is what changed from one report to another.
type Comparison struct {
	Base, Now *Report
	Changes   []Change
	// Gone and New are the names that only one of the two has.
	Gone, New []string
	// Differences are circumstances that were not the same, so that the ratios
	// may not mean what they seem to.
	Differences []string
}

// Change is one figure, or one quantile of a latency, in both reports.
type Change struct {
	Name, Unit string
	Better     Better
	Base, Now  float64
	// Ratio is Now divided by Base; 0 where Base is 0.
	Ratio float64
	// Gain is the ratio the way it improves: above 1 is better; 0 where one of
	// the two is 0.
	Gain float64
}

// Diff compares a run to an earlier one: figures by their names, then the p50,
// p99 and p99.9 of latencies by theirs. Two single runs say little on a machine
// with other work: repeat them in turns and believe what repeats.
func Diff(base, now *Report) Comparison {
	c := Comparison{Base: base, Now: now, Differences: differences(base, now)}
	before, after := measures(base), measures(now)
	for _, f := range after {
		i := slices.IndexFunc(before, func(b Figure) bool { return b.Name == f.Name && b.Unit == f.Unit })
		if i < 0 {
			c.New = append(c.New, f.Name)
			continue
		}
		c.Changes = append(c.Changes, change(f, before[i].Value))
	}
	for _, b := range before {
		if !slices.ContainsFunc(after, func(f Figure) bool { return b.Name == f.Name && b.Unit == f.Unit }) {
			c.Gone = append(c.Gone, b.Name)
		}
	}
	return c
}

// measures are the figures, and the latencies as figures.
func measures(r *Report) []Figure {
	all := slices.Clone(r.Figures)
	for _, l := range r.Latencies {
		all = append(all,
			Lower(l.Name+" p50", "µs", float64(l.P50)),
			Lower(l.Name+" p99", "µs", float64(l.P99)),
			Lower(l.Name+" p99.9", "µs", float64(l.P999)))
	}
	return all
}

func change(f Figure, base float64) Change {
	c := Change{Name: f.Name, Unit: f.Unit, Better: f.Better, Base: base, Now: f.Value}
	if base != 0 {
		c.Ratio = f.Value / base
	}
	c.Gain = c.Ratio
	if f.Better == BetterLower && c.Ratio != 0 {
		c.Gain = 1 / c.Ratio
	}
	return c
}

// differences are those of the circumstances; code is what a comparison is
// about, so builds are no difference.
func differences(base, now *Report) (all []string) {
	note := func(what, before, after string) {
		if before != after {
			all = append(all, fmt.Sprintf("%s: %q, was %q", what, after, before))
		}
	}
	note("scenario", base.Scenario, now.Scenario)
	note("durability", base.Durability, now.Durability)
	note("CPU", fmt.Sprintf("%d × %s", base.Machine.Cores, base.Machine.CPU), fmt.Sprintf("%d × %s", now.Machine.Cores, now.Machine.CPU))
	note("kernel", base.Machine.Kernel, now.Machine.Kernel)
	before := make(map[string]string)
	for _, f := range base.Flags {
		before[f.Name] = f.Value
	}
	for _, f := range now.Flags {
		if v, ok := before[f.Name]; ok {
			note("--"+f.Name, v, f.Value)
		} else if !f.Default {
			note("--"+f.Name, "", f.Value)
		}
	}
	return all
}

// WriteTable writes the comparison for people at a terminal.
func (c Comparison) WriteTable(w io.Writer) error {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s now, %s, against %s\n", c.Now.Scenario, c.Now.Build, c.Base.Build)
	for _, r := range []*Report{c.Base, c.Now} {
		if err := r.Err(); err != nil {
			fmt.Fprintf(&b, "FAILED, so its speed says nothing: the run of %s %v\n", r.Start.Format("15:04:05"), err)
		}
	}
	for _, d := range c.Differences {
		fmt.Fprintf(&b, "not the same: %s\n", d)
	}
	rows := [][]string{{"", "before", "now", "now/before", ""}}
	for _, ch := range c.Changes {
		row := []string{ch.Name, formatValue(ch.Base, ch.Unit), formatValue(ch.Now, ch.Unit), "", ""}
		if ch.Base != 0 {
			row[3], row[4] = fmt.Sprintf("%.3f", ch.Ratio), ch.verdict()
		}
		rows = append(rows, row)
	}
	if len(c.Changes) > 0 {
		fmt.Fprintln(&b)
		writeColumns(&b, rows, "lrrrl")
	}
	for _, name := range c.New {
		fmt.Fprintf(&b, "new: %s\n", name)
	}
	for _, name := range c.Gone {
		fmt.Fprintf(&b, "gone: %s\n", name)
	}
	_, err := w.Write(b.Bytes())
	return err
}

// verdict names what is beyond the 2% by which two runs of the same code
// differ at the least.
func (c Change) verdict() string {
	switch {
	case c.Gain == 0:
		return ""
	case c.Gain >= 1.02:
		return "better"
	case c.Gain <= 1/1.02:
		return "worse"
	default:
		return "same"
	}
}
