package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/time/rate"

	"github.com/godwit-im/godwit/protocol"
)

// ConnectConfig describes a crowd of users who are online and silent.
type ConnectConfig struct {
	Target
	Sessions  int     // default 1000
	PerSecond float64 // connection attempts; default 2000
	// Sources are the local addresses to connect from, in turn; each has as
	// many ports as the kernel hands out. Default 127.0.0.1 to 127.0.0.8, which
	// suits a server on the same machine. "" leaves the choice to the kernel.
	Sources []string
	// Settle is how long to wait, all being connected, before the server's
	// memory is read. Default 5 s.
	Settle time.Duration
	// PID is the server's process, on this machine; 0 leaves its memory out.
	PID int
	// Progress, where not nil, gets a line a second.
	Progress io.Writer
}

func (c *ConnectConfig) withDefaults() error {
	set(&c.Sessions, 1000)
	set(&c.PerSecond, 2000)
	set(&c.Settle, 5*time.Second)
	if c.Sources == nil {
		for i := 1; i <= 8; i++ {
			c.Sources = append(c.Sources, "127.0.0."+strconv.Itoa(i))
		}
	}
	if c.Sessions < 0 || c.PerSecond < 0 || c.Settle < 0 || len(c.Sources) == 0 {
		return errors.New("bench: want positive numbers and at least one source address")
	}
	return nil
}

// ConnectReport is what a connect run measured.
type ConnectReport struct {
	Sessions int     `json:"sessions"`
	Seconds  float64 `json:"ramp_seconds"`
	Rate     float64 `json:"sessions_per_second"`
	// Refused counts the attempts that the server asked to repeat later.
	Refused int64 `json:"refused"`
	// Handshake is from the dial to CONNECTED of the attempts that succeeded.
	Handshake Latency `json:"handshake"`
	// Alive is how many sessions answered a PING at the end.
	Alive int `json:"alive"`
	// The server's resident memory before the first and with all sessions, in
	// bytes; 0 where no PID was given. It leaves out the kernel's socket buffers.
	RSSBefore  int64   `json:"rss_before_bytes"`
	RSSAfter   int64   `json:"rss_after_bytes"`
	PerSession float64 `json:"rss_bytes_per_session"`
}

// heartbeat of the crowd: the server is asked for its longest, so that what is
// measured is silence. It holds the sessions for 1.5 times as long.
const idleHeartbeat = 10 * time.Minute

// Connect connects cfg.Sessions users, measures, has each session answer a
// PING, and disconnects.
func Connect(ctx context.Context, cfg ConnectConfig) (*ConnectReport, error) {
	if err := cfg.withDefaults(); err != nil {
		return nil, err
	}
	report := &ConnectReport{}
	var err error
	if report.RSSBefore, err = residentBytes(cfg.PID); err != nil {
		return nil, err
	}
	conns := make([]*conn, cfg.Sessions)
	defer func() {
		for _, c := range conns {
			if c != nil {
				c.Close()
			}
		}
	}()
	if err := ramp(ctx, cfg, conns, report); err != nil {
		return nil, err
	}
	select {
	case <-time.After(cfg.Settle):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if report.RSSAfter, err = residentBytes(cfg.PID); err != nil {
		return nil, err
	}
	report.PerSession = float64(report.RSSAfter-report.RSSBefore) / float64(cfg.Sessions)
	report.Alive = countAlive(conns)
	return report, nil
}

// ramp fills conns and the report's account of how that went.
func ramp(ctx context.Context, cfg ConnectConfig, conns []*conn, report *ConnectReport) error {
	const dialers = 64
	limit := rate.NewLimiter(rate.Limit(cfg.PerSecond), dialers)
	var next, connected, refused atomic.Int64
	stopProgress := every(time.Second, func() {
		fmt.Fprintf(orDiscard(cfg.Progress), "%d of %d connected, %d refused for now\n", connected.Load(), cfg.Sessions, refused.Load())
	})
	defer stopProgress()
	start := time.Now()
	histogram := newHistogram()
	took := make(chan time.Duration, dialers)
	recorded := make(chan struct{})
	go func() {
		defer close(recorded)
		for d := range took {
			record(histogram, d)
		}
	}()
	group, ctx := errgroup.WithContext(ctx)
	for range dialers {
		group.Go(func() error {
			for {
				i := int(next.Add(1)) - 1
				if i >= len(conns) {
					return nil
				}
				if err := limit.Wait(ctx); err != nil {
					return err
				}
				c, d, retries, err := persist(ctx, cfg, i)
				refused.Add(retries)
				if err != nil {
					return err
				}
				conns[i] = c
				connected.Add(1)
				took <- d
			}
		})
	}
	err := group.Wait()
	close(took)
	<-recorded
	report.Sessions = int(connected.Load())
	report.Refused = refused.Load()
	report.Seconds = time.Since(start).Seconds()
	report.Rate = float64(report.Sessions) / report.Seconds
	report.Handshake = latency(histogram)
	return err
}

// persist connects the ith user, coming back as often as the server asks it to.
func persist(ctx context.Context, cfg ConnectConfig, i int) (c *conn, took time.Duration, retries int64, err error) {
	var local net.Addr
	if source := cfg.Sources[i%len(cfg.Sources)]; source != "" {
		local = &net.TCPAddr{IP: net.ParseIP(source)}
	}
	for {
		start := time.Now()
		c, err = cfg.connect(ctx, local, "bench-idle-"+strconv.Itoa(i), idleHeartbeat)
		var refusal *protocol.Error
		if !errors.As(err, &refusal) || !refusal.Code.Retryable() {
			return c, time.Since(start), retries, err
		}
		retries++
		select {
		case <-time.After(max(refusal.RetryAfter, 10*time.Millisecond)):
		case <-ctx.Done():
			return nil, 0, retries, ctx.Err()
		}
	}
}

// countAlive has every session answer a PING.
func countAlive(conns []*conn) (alive int) {
	deadline := time.Now().Add(handshakeTimeout)
	for _, c := range conns {
		_ = c.SetDeadline(deadline) // fails where the connection is dead, as does the write
		if c.w.WriteFrame(protocol.TypePing, 2, nil) == nil {
			_ = c.w.Flush() // the read tells
		}
	}
	for _, c := range conns {
		if f, err := c.r.ReadFrame(); err == nil && f.Type == protocol.TypePong {
			alive++
		}
	}
	return alive
}

// residentBytes reads a process's resident memory from /proc; 0 for pid 0.
func residentBytes(pid int) (int64, error) {
	if pid == 0 {
		return 0, nil
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(status)) {
		if kb, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			n, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(kb), " kB"), 10, 64)
			return n << 10, err
		}
	}
	return 0, fmt.Errorf("process %d has no VmRSS", pid)
}

// WriteTable writes the report for people.
func (r *ConnectReport) WriteTable(w io.Writer) {
	fmt.Fprintf(w, "%d sessions in %.1f s: %.0f/s, %d refusals for now, %d alive at the end\n",
		r.Sessions, r.Seconds, r.Rate, r.Refused, r.Alive)
	writeLatencies(w, []string{"dial → CONNECTED"}, []Latency{r.Handshake})
	if r.RSSAfter > 0 {
		fmt.Fprintf(w, "server memory: %.1f MiB before, %.1f MiB with all: %.0f B a session\n",
			float64(r.RSSBefore)/(1<<20), float64(r.RSSAfter)/(1<<20), r.PerSession)
	}
}
