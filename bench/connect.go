package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/godwit-im/godwit/bench/ceiling"
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
// a PING, and disconnects. A session that is lost meanwhile ends the run. Then,
// if they were many, it measures bare gnet answering as many heartbeats.
func Connect(ctx context.Context, cfg ConnectConfig) (*report.Report, error) {
	if err := cfg.withDefaults(); err != nil {
		return nil, err
	}
	r := cfg.report(ctx, "connect")
	c := &crowd{cfg: &cfg, report: r, handshake: report.NewHistogram("handshake"), sessions: report.NewRate("connected", "Sessions", "/s")}
	err := c.hold(ctx)
	if err == nil {
		err = c.addIdle(ctx)
	}
	c.usage.AddTo(r)
	r.Duration = time.Since(r.Start)
	if err := violated(r, err); err != nil {
		return nil, err
	}
	r.AddHistogram(c.handshake)
	r.Series = append(r.Series, c.sessions.Series)
	return r, nil
}

// hold has workers hold the crowd, and ends them.
func (c *crowd) hold(ctx context.Context) error {
	cfg := c.cfg
	var err error
	if c.workers, err = cfg.startWorkers(ctx, cfg.Processes); err != nil {
		return err
	}
	defer c.workers.stop()
	// What the server scrapes together for its metrics would be much of what
	// an idle one does.
	quiet := cfg.Target
	quiet.MetricsURL = ""
	sampler := quiet.sample(c.report.Start, c.workers.pids...)
	err = c.run(ctx)
	c.usage = sampler.Stop()
	return err
}

// crowd leads a connect run.
type crowd struct {
	cfg       *ConnectConfig
	workers   *workers
	report    *report.Report
	handshake *report.Histogram
	sessions  *report.Rate
	usage     report.Usage  // of it all
	idle      used          // while they are held
	held      time.Duration // how long that was
}

func (c *crowd) run(ctx context.Context) error {
	before, err := c.memory()
	if err != nil {
		return err
	}
	if err := c.ramp(ctx); err != nil {
		return err
	}
	if err := c.idleFor(ctx, c.cfg.Hold); err != nil {
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

// idleFor keeps the sessions for a while and takes the processor time meanwhile.
func (c *crowd) idleFor(ctx context.Context, hold time.Duration) error {
	fmt.Fprintf(orDiscard(c.cfg.Progress), "all connected; holding them for %v\n", hold)
	before, began := c.cfg.use(c.workers.pids), time.Now()
	if err := sleep(ctx, hold); err != nil {
		return err
	}
	c.idle, c.held = c.cfg.use(c.workers.pids).since(before), time.Since(began)
	_, err := c.sample(ctx) // tells whether a session was lost
	return err
}

const (
	// manySessions make figures that are shares of what a session costs, and
	// not of what the process does without any.
	manySessions = 1000
	// The target of an idle server's processor use, in percent of a processor,
	// is for so many sessions with a heartbeat of a minute or more.
	wantIdle     = 2
	idleSessions = 19_000
	// wantRSS is for a session on a real socket, in bytes.
	wantRSS = 1536
)

// addIdle adds the processor use of the idle server, beside that of bare gnet
// which answers as many heartbeats.
func (c *crowd) addIdle(ctx context.Context) error {
	if !c.idle.known {
		return nil
	}
	cfg := c.cfg
	idle := report.Lower("idle server, processor use", "%", 100*c.idle.server.Seconds()/c.held.Seconds())
	if cfg.Sessions >= manySessions {
		rate := float64(cfg.Sessions) / cfg.Heartbeat.Seconds()
		fmt.Fprintf(orDiscard(cfg.Progress), "bare gnet, answering %.0f heartbeats a second\n", rate)
		// A second each, on as many connections as that takes: what costs is the
		// frames, and a connection that waits is free.
		conns := max(1, min(int(rate), 1000))
		e, err := ceiling.Echo(ctx, ceiling.EchoConfig{
			Conns: conns, Every: time.Duration(float64(conns) / rate * float64(time.Second)), Size: heartbeatSize, Loops: ceiling.Loops{Load: cfg.Loops},
		})
		if err != nil {
			return err
		}
		idle = idle.OfCeiling("gnet answering as many heartbeats", 100*e.Rate*e.Cost.Server.Seconds())
	}
	if cfg.Sessions >= idleSessions && cfg.Heartbeat >= time.Minute {
		idle = idle.Want(wantIdle)
	}
	c.report.Add(idle)
	return nil
}

// heartbeatSize is the least body that the echo takes, in bytes.
const heartbeatSize = 16

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
		rss := report.Lower("server RSS per session", "B", float64(after.rss-before.rss)/n).AsHeadline()
		if c.cfg.Sessions >= manySessions {
			rss = rss.Want(wantRSS)
		}
		c.report.Add(rss)
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
