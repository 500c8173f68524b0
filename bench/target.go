package bench

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"time"

	"github.com/godwit-im/godwit/bench/client"
	"github.com/godwit-im/godwit/bench/report"
)

// Target is the server to load.
type Target struct {
	// Addr is the server's host:port.
	Addr string
	// Token returns a signed token for a user. It is called from several
	// goroutines at a time.
	Token func(user string) (string, error)
	// PID is the server's process, on this machine; 0 leaves out what it uses.
	PID int
	// MetricsURL is where the server shows its metrics; may be empty.
	MetricsURL string
	// DataDir is the server's, on this machine; may be empty.
	DataDir string
	// Durability says in words when the server calls a message stored.
	Durability string
	// Restart kills the server and starts it again with the same data and
	// address, and returns what has changed of the target when that is ready. nil
	// where the server is somebody else's.
	Restart func(ctx context.Context) (Target, error)
	// Worker returns the command of another process of the load, which calls
	// ServeWorker on its standard input and output with the same target. nil
	// leaves the load to one process.
	Worker func(ctx context.Context) *exec.Cmd
}

// sources is how many loopback addresses the load connects from.
const sources = 16

// server is the target as devices see it.
func (t *Target) server(heartbeat time.Duration) (client.Server, error) {
	host, port, err := net.SplitHostPort(t.Addr)
	if err != nil {
		return client.Server{}, fmt.Errorf("bench: %w", err)
	}
	if host == "" {
		host = "127.0.0.1"
	}
	tcp, err := net.ResolveTCPAddr("tcp", net.JoinHostPort(host, port))
	if err != nil {
		return client.Server{}, fmt.Errorf("bench: %w", err)
	}
	addr := tcp.AddrPort()
	addr = netip.AddrPortFrom(addr.Addr().Unmap(), addr.Port())
	return client.Server{
		Addr: addr, Token: t.Token, Heartbeat: heartbeat, Sources: client.Loopback(addr.Addr(), sources),
	}, nil
}

// report begins the report of a scenario against the target.
func (t *Target) report(ctx context.Context, scenario string) *report.Report {
	r := report.New(scenario)
	r.Durability = t.Durability
	if t.DataDir != "" {
		disk := report.LoadDisk(t.DataDir)
		r.Machine.Disk = &disk
	}
	if t.MetricsURL != "" {
		version, procs, err := report.ReadServer(ctx, t.MetricsURL)
		if err != nil {
			r.Notef("the server did not say its version: %v", err)
		} else {
			r.Build.Server, r.Machine.ServerProcs = &version, procs
		}
	}
	return r
}

// sample begins to watch the server and the processes of the load; with the
// zero PIDs those that are not known are left out.
func (t *Target) sample(start time.Time, load ...int) *report.Sampler {
	cfg := report.SamplerConfig{Start: start}
	if t.PID != 0 {
		server := report.SampledProcess{Name: "server", PID: t.PID, MetricsURL: t.MetricsURL}
		if t.MetricsURL != "" {
			server.Metrics = report.GodwitMetrics()
		}
		cfg.Processes = append(cfg.Processes, server)
	}
	if len(load) == 0 {
		load = []int{os.Getpid()}
	}
	for i, pid := range load {
		name := "load"
		if len(load) > 1 {
			name = fmt.Sprintf("load %d", i+1)
		}
		cfg.Processes = append(cfg.Processes, report.SampledProcess{Name: name, PID: pid})
	}
	return report.StartSampler(cfg)
}
