package report

import (
	"slices"
	"strconv"
	"strings"
	"time"
)

// facts are the tables of all that a run's figures depend on.
func facts(reports []*Report, labels []string) []factTable {
	var heads []string
	if len(reports) > 1 {
		heads = labels
	}
	run := factTable{Title: "Run", Heads: heads}
	for _, row := range []struct {
		name string
		of   func(*Report) string
	}{
		{"scenario", func(r *Report) string { return r.Scenario }},
		{"under load", func(r *Report) string { return r.Subject }},
		{"start", func(r *Report) string { return r.Start.Format(time.RFC3339) }},
		{"duration", func(r *Report) string {
			if r.Duration == 0 {
				return ""
			}
			return formatDuration(float64(r.Duration) / 1e3)
		}},
		{"durability", func(r *Report) string { return r.Durability }},
		{"tool", func(r *Report) string { return r.Build.Tool.describe() }},
		{"tool commit", func(r *Report) string { return r.Build.Tool.Commit }},
		{"tool commit's time", func(r *Report) string { return r.Build.Tool.Time }},
		{"server", func(r *Report) string { return strings.TrimSpace(r.server().describe()) }},
		{"server commit", func(r *Report) string { return r.server().Commit }},
	} {
		run.add(row.name, reports, row.of)
	}
	for i, r := range reports {
		for _, p := range r.Peers {
			values := make([]string, len(reports))
			values[i] = p.Durability
			run.Rows = append(run.Rows, fact{Name: "beside it: " + p.Name + " " + p.Version, Values: values})
		}
	}
	machine := factTable{Title: "Machine", Heads: heads}
	for _, row := range []struct {
		name string
		of   func(*Report) string
	}{
		{"processor", func(r *Report) string { return r.Machine.CPU }},
		{"cores", func(r *Report) string { return count(r.Machine.Cores) }},
		{"memory", func(r *Report) string {
			if r.Machine.Memory == 0 {
				return ""
			}
			return formatBytes(float64(r.Machine.Memory))
		}},
		{"system", func(r *Report) string { return r.Machine.OS }},
		{"architecture", func(r *Report) string { return r.Machine.Arch }},
		{"kernel", func(r *Report) string { return r.Machine.Kernel }},
		{"Go", func(r *Report) string { return r.Machine.Go }},
		{"GOMAXPROCS, load", func(r *Report) string { return count(r.Machine.LoadProcs) }},
		{"GOMAXPROCS, server", func(r *Report) string { return count(r.Machine.ServerProcs) }},
		{"data directory", func(r *Report) string { return r.disk().Path }},
		{"file system", func(r *Report) string { return r.disk().FileSystem }},
		{"device", func(r *Report) string { return r.disk().Device }},
		{"bare fdatasync, p50", func(r *Report) string {
			if r.disk().SyncP50 == 0 {
				return ""
			}
			return formatDuration(r.disk().SyncP50)
		}},
	} {
		machine.add(row.name, reports, row.of)
	}
	tables := []factTable{run, machine}
	if flags := flagTable(reports, heads); len(flags.Rows) > 0 {
		tables = append(tables, flags)
	}
	return tables
}

// add leaves out what no report knows.
func (t *factTable) add(name string, reports []*Report, of func(*Report) string) {
	f := fact{Name: name}
	known := false
	for _, r := range reports {
		v := of(r)
		known = known || v != ""
		f.Values = append(f.Values, v)
		f.Differ = f.Differ || v != f.Values[0]
	}
	if known {
		t.Rows = append(t.Rows, f)
	}
}

func flagTable(reports []*Report, heads []string) factTable {
	t := factTable{Title: "Flags", Heads: heads}
	var names []string
	for _, r := range reports {
		for _, f := range r.Flags {
			if !slices.Contains(names, f.Name) {
				names = append(names, f.Name)
			}
		}
	}
	for _, name := range names {
		f := fact{Name: "--" + name, Dim: true}
		for _, r := range reports {
			value := ""
			if i := slices.IndexFunc(r.Flags, func(f Flag) bool { return f.Name == name }); i >= 0 {
				value = r.Flags[i].Value
				f.Dim = f.Dim && r.Flags[i].Default
			}
			f.Values = append(f.Values, value)
			f.Differ = f.Differ || value != f.Values[0]
		}
		t.Rows = append(t.Rows, f)
	}
	return t
}

func (r *Report) server() Version {
	if r.Build.Server == nil {
		return Version{}
	}
	return *r.Build.Server
}

func (r *Report) disk() Disk {
	if r.Machine.Disk == nil {
		return Disk{}
	}
	return *r.Machine.Disk
}

// count leaves out what is not known.
func count(n int) string {
	if n == 0 {
		return ""
	}
	return strconv.Itoa(n)
}
