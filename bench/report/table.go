package report

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"time"
)

// WriteTable writes the report for people at a terminal: what was violated
// first, then the figures, the latencies and the notes. Series and flags that
// were left alone are in the other forms only.
func (r *Report) WriteTable(w io.Writer) error {
	var b bytes.Buffer
	r.writeViolations(&b)
	fmt.Fprintf(&b, "%s of %s, %s at %s\n", r.Scenario, r.Subject, formatDuration(float64(r.Duration)/1e3), r.Start.Format(time.DateTime+" MST"))
	fmt.Fprintln(&b, r.Machine)
	fmt.Fprintln(&b, r.Build)
	if r.Durability != "" {
		fmt.Fprintf(&b, "durability: %s\n", r.Durability)
	}
	for _, p := range r.Peers {
		fmt.Fprintf(&b, "beside it: %s, durability: %s\n", strings.TrimSpace(p.Name+" "+p.Version), p.Durability)
	}
	var set []string
	for _, f := range r.Flags {
		if !f.Default {
			set = append(set, "--"+f.Name+"="+f.Value)
		}
	}
	if len(set) > 0 {
		fmt.Fprintln(&b, strings.Join(set, " "))
	}
	r.writeFigures(&b)
	r.writeLatencies(&b)
	if len(r.Notes) > 0 {
		fmt.Fprintln(&b)
	}
	for _, n := range r.Notes {
		fmt.Fprintf(&b, "note: %s\n", n)
	}
	_, err := w.Write(b.Bytes())
	return err
}

// shownViolations is how many the terminal gets; the other forms hold all.
const shownViolations = 20

func (r *Report) writeViolations(w io.Writer) {
	if len(r.Violations) == 0 {
		return
	}
	fmt.Fprintf(w, "FAILED: %s\n", plural(len(r.Violations), "violation"))
	for i, v := range r.Violations {
		if i == shownViolations {
			fmt.Fprintf(w, "  ... and %d more\n", len(r.Violations)-i)
			break
		}
		fmt.Fprintf(w, "  ! %s\n", v)
	}
	fmt.Fprintln(w)
}

func (r *Report) writeFigures(w io.Writer) {
	if len(r.Figures) == 0 {
		return
	}
	rows := [][]string{{"", "value", "of", "", "target", ""}}
	for _, f := range r.Figures {
		row := []string{f.Name, formatValue(f.Value, f.Unit), "", "", "", ""}
		if f.Of != nil {
			row[2] = f.Of.Name + " " + formatValue(f.Of.Value, f.Unit)
			row[3] = formatRatio(f.Of.Ratio)
		}
		if f.Target != nil {
			row[4], row[5] = f.Target.Text, mark(f.Target.Met)
		}
		rows = append(rows, row)
	}
	fmt.Fprintln(w)
	writeColumns(w, rows, "lrlrll")
}

func mark(met bool) string {
	if met {
		return "✓ met"
	}
	return "✗ MISSED"
}

func (r *Report) writeLatencies(w io.Writer) {
	if len(r.Latencies) == 0 {
		return
	}
	rows := [][]string{{"", "p50", "p90", "p95", "p99", "p99.9", "max", "count"}}
	for _, l := range r.Latencies {
		row := []string{l.Name}
		for _, us := range []int64{l.P50, l.P90, l.P95, l.P99, l.P999, l.Max} {
			row = append(row, formatDuration(float64(us)))
		}
		rows = append(rows, append(row, formatNumber(float64(l.Count))))
	}
	fmt.Fprintln(w)
	writeColumns(w, rows, "lrrrrrrr")
}

// writeColumns aligns each column left or right, as its letter says, and
// leaves out columns that are empty throughout.
func writeColumns(w io.Writer, rows [][]string, align string) {
	widths := make([]int, len(align))
	used := make([]bool, len(align))
	for i, row := range rows {
		for c, cell := range row {
			widths[c] = max(widths[c], len([]rune(cell)))
			used[c] = used[c] || i > 0 && cell != ""
		}
	}
	for _, row := range rows {
		var line strings.Builder
		for c, cell := range row {
			if !used[c] {
				continue
			}
			if line.Len() > 0 {
				line.WriteString("  ")
			}
			pad := strings.Repeat(" ", widths[c]-len([]rune(cell)))
			if align[c] == 'r' {
				line.WriteString(pad + cell)
			} else {
				line.WriteString(cell + pad)
			}
		}
		fmt.Fprintln(w, strings.TrimRight(line.String(), " "))
	}
}

// String is the machine in one line.
func (m Machine) String() string {
	parts := []string{plural(m.Cores, "core")}
	if m.CPU != "" {
		parts[0] += " of " + m.CPU
	}
	if m.Memory > 0 {
		parts = append(parts, formatBytes(float64(m.Memory)))
	}
	parts = append(parts, strings.TrimSpace(m.OS+" "+m.Arch))
	if m.Kernel != "" {
		parts = append(parts, "kernel "+m.Kernel)
	}
	if d := m.Disk; d != nil {
		disk := strings.TrimSpace(d.FileSystem + " on " + d.Device)
		if d.SyncP50 > 0 {
			disk += ", fdatasync " + formatDuration(d.SyncP50)
		}
		parts = append(parts, disk)
	}
	procs := fmt.Sprintf("GOMAXPROCS %d", m.LoadProcs)
	if m.ServerProcs > 0 {
		procs = fmt.Sprintf("GOMAXPROCS load %d, server %d", m.LoadProcs, m.ServerProcs)
	}
	return strings.Join(append(parts, procs), ", ")
}

// String is the builds in one line.
func (b Build) String() string {
	s := "tool " + b.Tool.describe()
	if b.Server != nil {
		s += "; server " + b.Server.describe()
	}
	return s
}

func (v Version) describe() string {
	if v.Go == "" {
		return v.String()
	}
	return v.String() + " (" + v.Go + ")"
}

func plural(n int, noun string) string {
	if n != 1 {
		noun += "s"
	}
	return fmt.Sprintf("%d %s", n, noun)
}
