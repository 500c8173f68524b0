package bench

import (
	"context"
	"time"

	"github.com/godwit-im/godwit/bench/report"
)

// used is what the server and the load took of the machine.
type used struct {
	server, load time.Duration // processor time
	written      int64         // by the server, in bytes
	logged       float64       // of these into the store's log; 0 = not known
	known        bool          // the server's process is
}

// use is what they have taken since their start. A process that can't be read
// has ended, which shows elsewhere.
func (t *Target) use(load []int) used {
	u := used{known: t.PID != 0}
	if server, err := report.ReadProcess(t.PID); u.known && err == nil {
		u.server, u.written = server.CPU, server.WrittenBytes
	}
	if t.MetricsURL != "" {
		if values, err := report.ReadMetrics(context.Background(), t.MetricsURL); err == nil {
			u.logged = values[loggedBytes]
		}
	}
	for _, pid := range load {
		if p, err := report.ReadProcess(pid); err == nil {
			u.load += p.CPU
		}
	}
	return u
}

const loggedBytes = `godwit_store_written_bytes_total{by="log"}`

func (u used) since(before used) used {
	return used{
		server: u.server - before.server, load: u.load - before.load,
		written: u.written - before.written, logged: u.logged - before.logged, known: u.known,
	}
}

// addTo adds the figures for each of n things that were done, which what names.
func (u used) addTo(r *report.Report, n int64, what string) {
	if n == 0 {
		return
	}
	each := func(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1000 / float64(n) }
	if u.known {
		r.Add(
			report.Lower("server's processor time per "+what, "µs", each(u.server)),
			report.Lower("server's writes per "+what, "B", float64(u.written)/float64(n)),
		)
	}
	if u.logged > 0 {
		r.Add(report.Lower("server's log per "+what, "B", u.logged/float64(n)))
	}
	r.Add(report.Lower("load's processor time per "+what, "µs", each(u.load)))
}
