package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/godwit-im/godwit/bench/report"
)

// ConnectConfig describes a crowd of users who are online and silent.
type ConnectConfig struct {
	Target
	Sessions  int           // default 1000
	PerSecond float64       // connection attempts; default 2000
	Heartbeat time.Duration // that sessions ask for; default 60 s
	// Hold is how long the sessions are held, all being connected, while the
	// server's processor time is taken. Its memory is read at the end of it.
	// Default 10 s.
	Hold      time.Duration
	Loops     int // event loops per process; default half of the processors
	Processes int // of the load; default as many as hold the connections
	// Progress, where not nil, gets a line a second.
	Progress io.Writer
}

func (c *ConnectConfig) withDefaults() error {
	set(&c.Sessions, 1000)
	set(&c.PerSecond, 2000)
	set(&c.Heartbeat, time.Minute)
	set(&c.Hold, 10*time.Second)
	set(&c.Loops, defaultLoops())
	if c.Sessions < 0 || c.PerSecond < 0 || c.Heartbeat < 0 || c.Hold < 0 || c.Loops < 0 || c.Processes < 0 {
		return errors.New("bench: want positive numbers")
	}
	if c.Processes == 0 {
		var err error
		if c.Processes, err = c.processesFor(c.Sessions); err != nil {
			return err
		}
	}
	return nil
}

// Connect connects cfg.Sessions users, holds and measures them, has each answer
// a PING, and disconnects. A session that is lost meanwhile ends the run.
func Connect(ctx context.Context, cfg ConnectConfig) (*report.Report, error) {
	if err := cfg.withDefaults(); err != nil {
		return nil, err
	}
	r := cfg.report(ctx, "connect")
	w, err := cfg.startWorkers(ctx, cfg.Processes)
	if err != nil {
		return nil, err
	}
	defer w.stop()
	c := &crowd{cfg: &cfg, workers: w, report: r, handshake: report.NewHistogram("handshake"), sessions: report.NewRate("connected", "Sessions", "/s")}
	// What the server scrapes together for its metrics would be much of what
	// an idle one does.
	quiet := cfg.Target
	quiet.MetricsURL = ""
	sampler := quiet.sample(r.Start, w.pids...)
	err = c.run(ctx)
	sampler.Stop().AddTo(r)
	r.Duration = time.Since(r.Start)
	if err := violated(r, err); err != nil {
		return nil, err
	}
	r.AddHistogram(c.handshake)
	r.Series = append(r.Series, c.sessions.Series)
	return r, nil
}

// crowd leads a connect run.
type crowd struct {
	cfg       *ConnectConfig
	workers   *workers
	report    *report.Report
	handshake *report.Histogram
	sessions  *report.Rate
}

func (c *crowd) run(ctx context.Context) error {
	before, err := c.memory()
	if err != nil {
		return err
	}
	if err := c.ramp(ctx); err != nil {
		return err
	}
	if err := c.hold(ctx); err != nil {
		return err
	}
	after, err := c.memory()
	if err != nil {
		return err
	}
	c.addMemory(before, after)
	return c.ping(ctx)
}

// ramp connects all.
func (c *crowd) ramp(ctx context.Context) error {
	cfg := c.cfg
	began := time.Now()
	stop := every(time.Second, func() {
		if all, err := c.sample(ctx); err == nil { // else the ramp fails too
			fmt.Fprintf(orDiscard(cfg.Progress), "%4.0fs  %d of %d connected, %d refused for now\n",
				time.Since(began).Seconds(), all.Connected, cfg.Sessions, all.Refused)
		}
	})
	_, err := call[struct{}](ctx, c.workers, "Connect.Ramp", func(i int) any {
		share := ConnectShare{Loops: cfg.Loops, PerSecond: cfg.PerSecond / float64(cfg.Processes), Heartbeat: cfg.Heartbeat}
		share.First, share.Users = split(cfg.Sessions, cfg.Processes, i)
		return share
	})
	took := time.Since(began)
	stop()
	if err != nil {
		return err
	}
	all, err := c.sample(ctx)
	if err != nil {
		return err
	}
	c.report.Add(
		report.Higher("sessions", "", float64(all.Connected)).AsHeadline(),
		report.Higher("connected per second", "/s", float64(all.Connected)/took.Seconds()),
		report.Lower("refused for now", "", float64(all.Refused)),
	)
	return nil
}

func (c *crowd) sample(ctx context.Context) (Sample, error) {
	samples, err := call[Sample](ctx, c.workers, "Connect.Sample", noArgs)
	if err != nil {
		return Sample{}, err
	}
	all, err := sum(samples, c.handshake, nil, nil)
	if err != nil {
		return Sample{}, err
	}
	if len(all.Violations) > 0 {
		return Sample{}, broken("%s", all.Violations[0])
	}
	t := time.Since(c.report.Start)
	c.sessions.Sample(t, float64(all.Connected))
	c.handshake.Tick(t)
	return all, nil
}

// hold keeps the sessions for a while and takes the processor time meanwhile.
func (c *crowd) hold(ctx context.Context) error {
	cfg := c.cfg
	fmt.Fprintf(orDiscard(cfg.Progress), "all connected; holding them for %v\n", cfg.Hold)
	before, began := cfg.use(c.workers.pids), time.Now()
	if err := sleep(ctx, cfg.Hold); err != nil {
		return err
	}
	u, took := cfg.use(c.workers.pids).since(before), time.Since(began)
	if u.known {
		c.report.Add(report.Lower("idle server, processor use", "%", 100*u.server.Seconds()/took.Seconds()))
	}
	_, err := c.sample(ctx) // tells whether a session was lost
	return err
}

// memory is what the server and the kernel hold for the sessions, in bytes.
type memory struct {
	rss    int64
	kernel report.Kernel
}

func (c *crowd) memory() (m memory, err error) {
	if c.cfg.PID != 0 {
		p, err := report.ReadProcess(c.cfg.PID)
		if err != nil {
			return m, err
		}
		m.rss = p.RSS
	}
	m.kernel, err = report.ReadKernel()
	return m, err
}

func (c *crowd) addMemory(before, after memory) {
	n := float64(c.cfg.Sessions)
	if c.cfg.PID != 0 {
		c.report.Add(report.Lower("server RSS per session", "B", float64(after.rss-before.rss)/n).AsHeadline())
	}
	// Both ends of a connection are on this machine.
	c.report.Add(
		report.Lower("kernel: socket objects per socket", "B", float64(after.kernel.SocketSlab-before.kernel.SocketSlab)/(2*n)),
		report.Lower("kernel: TCP buffers per socket", "B", float64(after.kernel.TCPBuffers-before.kernel.TCPBuffers)/(2*n)),
	)
}

// ping has all sessions show that they are alive.
func (c *crowd) ping(ctx context.Context) error {
	answers, err := call[int64](ctx, c.workers, "Connect.Ping", noArgs)
	if err != nil {
		return err
	}
	alive := int64(0)
	for _, n := range answers {
		alive += n
	}
	c.report.Add(report.Higher("alive at the end", "", float64(alive)))
	if alive != int64(c.cfg.Sessions) {
		return broken("%d of %d sessions answered a PING at the end", alive, c.cfg.Sessions)
	}
	return nil
}
