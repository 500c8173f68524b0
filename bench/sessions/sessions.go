package sessions

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"runtime"
	"runtime/metrics"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/godwit-im/godwit/bench/report"
	"github.com/godwit-im/godwit/protocol/pb"
	"github.com/godwit-im/godwit/session"
)

// Config describes a run. The zero value takes the defaults.
type Config struct {
	// Sessions is how many there are, of as many users. Default 1,000,000.
	Sessions int
	// Heartbeat is how often each of them is heard of. Default 60 s.
	Heartbeat time.Duration
	// Loops is how many timing wheels share the sessions; 0 = GOMAXPROCS.
	Loops int
	// Turns is for how many heartbeats of simulated time the sessions are held.
	// Default 3; one session is silent, and is missed in the second turn.
	Turns int
	// Lookups is how many users are looked up, on every processor. Default
	// 2,000,000.
	Lookups int
	// Progress, where not nil, gets a line for every step.
	Progress io.Writer
}

func (c *Config) withDefaults() error {
	for _, v := range []struct {
		field *int
		value int
	}{{&c.Sessions, 1_000_000}, {&c.Loops, runtime.GOMAXPROCS(0)}, {&c.Turns, 3}, {&c.Lookups, 2_000_000}} {
		if *v.field == 0 {
			*v.field = v.value
		}
	}
	if c.Heartbeat == 0 {
		c.Heartbeat = time.Minute
	}
	if c.Progress == nil {
		c.Progress = io.Discard
	}
	if c.Sessions < 1 || c.Loops < 1 || c.Turns < 2 || c.Lookups < 1 || c.Heartbeat < 5*time.Second || c.Heartbeat > 10*time.Minute {
		return errors.New("sessions: want positive numbers, at least 2 turns and a heartbeat of 5 s to 10 min")
	}
	return nil
}

// crowd is what a run works on.
type crowd struct {
	cfg      Config
	manager  *session.Manager
	keys     *session.KeySet
	auth     session.AuthConfig
	sessions []*session.Session // of loop i: every Loopsth from i on
	began    time.Time
}

// silent is a transport without a socket. It isn't empty, so that every
// session has one of its own, as with a connection.
type silent struct{ id uint64 }

func (*silent) Reply([]byte)     {}
func (*silent) Push([]byte) bool { return true }
func (*silent) Close(error)      {}
func (t *silent) ID() uint64     { return t.id }
func (*silent) Outbound() int    { return 0 }

// The bounds of the report: heap per session in bytes, and a pause in µs.
const (
	wantHeap  = 1024
	wantPause = 1000
)

// Run measures. It needs about 0.5 KiB of memory per session and should have
// the process to itself.
//
// Heap per session is what lives of session, strings, registry entry, timer,
// and the share of the verifier's remembered tokens. Connecting includes the
// signing of HS256 tokens. The pauses are upper bounds of the runtime's
// buckets; one ends when every processor has stopped, so on a machine that is
// busy with other work it is also the kernel's scheduling that is measured.
func Run(ctx context.Context, cfg Config) (*report.Report, error) {
	if err := cfg.withDefaults(); err != nil {
		return nil, err
	}
	c, err := newCrowd(cfg)
	if err != nil {
		return nil, err
	}
	r := report.New("sessions")
	r.Durability = "nothing is stored"
	pauses := readPauses(pausesTotal)
	transports := make([]silent, cfg.Sessions) // before the heap is measured: they stand for connections
	before := heap()
	began := time.Now()
	if err := c.connect(ctx, transports); err != nil {
		return nil, err
	}
	connects := float64(cfg.Sessions) / time.Since(began).Seconds()
	each := float64(heap()-before) / float64(cfg.Sessions)
	fmt.Fprintf(cfg.Progress, "%d sessions, %.0f B of heap each\n", c.manager.Len(), each)
	r.Add(
		report.Higher("sessions", "", float64(c.manager.Len())),
		report.Lower("heap per session", "B", each).AsHeadline().Want(wantHeap),
		report.Higher("connected, signing included", "/s", connects),
	)

	if err := c.hold(ctx, r); err != nil {
		return nil, err
	}
	held, stopped := readPauses(pausesTotal), readPauses(pausesStopping)
	cycles, cpu := read(gcCycles), readSeconds(gcSeconds)
	stop := collect()
	err = c.lookUp(ctx, r)
	stop()
	if err != nil {
		return nil, err
	}
	collections := float64(read(gcCycles) - cycles)
	// In this order, a collection in between is in the longer of the two alone.
	longestStop := longest(stopped, readPauses(pausesStopping))
	longestPause := longest(held, readPauses(pausesTotal))
	r.Add(
		report.Lower("longest GC pause", "µs", longestPause).AsHeadline().Want(wantPause),
		report.Lower("longest wait for the processors to stop, within such a pause", "µs", longestStop),
		report.Lower("longest GC pause while they connected", "µs", longest(pauses, held)),
		report.Lower("processor time per collection", "s", (readSeconds(gcSeconds)-cpu)/collections),
	)
	r.Notef("sessions without sockets; %.0f collections were forced, one after another, during the lookups", collections)
	r.Duration = time.Since(r.Start)
	runtime.KeepAlive(transports)
	return r, nil
}

const (
	// A pause is the wait until every processor has stopped, which is the
	// scheduler's and the machine's, and what is done then, which is the heap's.
	pausesTotal    = "/sched/pauses/total/gc:seconds"
	pausesStopping = "/sched/pauses/stopping/gc:seconds"

	gcCycles  = "/gc/cycles/total:gc-cycles"
	gcSeconds = "/cpu/classes/gc/total:cpu-seconds"
)

// collect forces one collection after another, at least one, until it is
// stopped.
func collect() (stop func()) {
	stopped := make(chan struct{})
	var running sync.WaitGroup
	running.Go(func() {
		for {
			runtime.GC()
			select {
			case <-stopped:
				return
			default:
			}
		}
	})
	return func() {
		close(stopped)
		running.Wait()
	}
}

func newCrowd(cfg Config) (*crowd, error) {
	c := &crowd{cfg: cfg, auth: session.DefaultAuthConfig(), began: time.Now(), sessions: make([]*session.Session, cfg.Sessions)}
	// The token's algorithm makes no difference to the session. A million
	// Ed25519 signatures and verifications would take a minute of processor time.
	c.auth.Algorithm = session.HS256
	var err error
	if c.keys, err = session.GenerateKeySet(c.auth.Algorithm); err != nil {
		return nil, err
	}
	c.auth.Keys = c.keys
	verifier, err := session.NewVerifier(c.auth)
	if err != nil {
		return nil, err
	}
	managed := session.DefaultConfig()
	managed.Loops, managed.HeartbeatDefault = cfg.Loops, cfg.Heartbeat
	c.manager, err = session.NewManager(managed, verifier, 1)
	return c, err
}

func user(i int) string { return fmt.Sprintf("user-%08d", i) }

// eachLoop runs f for every loop at the same time.
func (c *crowd) eachLoop(f func(loop int) error) error {
	var group errgroup.Group
	for loop := range c.cfg.Loops {
		group.Go(func() error { return f(loop) })
	}
	return group.Wait()
}

// checkEvery is how many sessions are worked on between two looks at whether
// the run was cancelled.
const checkEvery = 1000

// connect makes the sessions, each loop its own, and watches them.
func (c *crowd) connect(ctx context.Context, transports []silent) error {
	return c.eachLoop(func(loop int) error {
		for i := loop; i < c.cfg.Sessions; i += c.cfg.Loops {
			if i/c.cfg.Loops%checkEvery == 0 && ctx.Err() != nil {
				return ctx.Err()
			}
			token, err := session.Sign(c.keys, "", c.auth.Algorithm, c.auth.Issuer, c.auth.Audience, user(i), 24*time.Hour, c.began)
			if err != nil {
				return err
			}
			transports[i].id = uint64(i + 1)
			s, err := c.manager.Connect(&transports[i], 1, &pb.Connect{
				MinVersion: 1, MaxVersion: 1, Token: token,
				// Strings of their own, as those of a decoded frame are.
				Device: fmt.Sprintf("device-%08d", i), Platform: string([]byte("android")), Client: string([]byte("godwit-go/0.1.0")),
			})
			if err != nil {
				return err
			}
			c.manager.Watch(loop, s)
			c.sessions[i] = s
		}
		return nil
	})
}

// hold lives through some heartbeats of simulated time: in every tick's 100 ms
// the sessions whose turn it is are heard of, and the tick looks for those that
// weren't. One is silent, and must be the only one to be timed out.
func (c *crowd) hold(ctx context.Context, r *report.Report) error {
	const period = 100 * time.Millisecond // of simulated time, between two ticks
	perTurn := int(c.cfg.Heartbeat / period)
	took := report.NewHistogram("tick of a loop")
	ticks := make([]time.Duration, c.cfg.Loops)
	touches := make([]time.Duration, c.cfg.Loops)
	touched := make([]int, c.cfg.Loops)
	err := c.eachLoop(func(loop int) error {
		recorder := took.Recorder()
		own := (c.cfg.Sessions - loop + c.cfg.Loops - 1) / c.cfg.Loops
		for turn := range c.cfg.Turns {
			for slot := range perTurn {
				if ctx.Err() != nil {
					return ctx.Err()
				}
				now := c.began.Add(time.Duration(turn*perTurn+slot+1) * period)
				nanos := c.manager.Nanos(now)
				began := time.Now()
				for k := own * slot / perTurn; k < own*(slot+1)/perTurn; k++ {
					if i := loop + k*c.cfg.Loops; i > 0 {
						c.sessions[i].Touch(nanos)
						touched[loop]++
					}
				}
				ticked := time.Now()
				c.manager.Tick(loop, now)
				tick := time.Since(ticked)
				recorder.Record(tick)
				ticks[loop] += tick
				touches[loop] += ticked.Sub(began)
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	if n := c.manager.Stats().HeartbeatTimeouts.Load(); n != 1 {
		return fmt.Errorf("sessions: %d sessions were timed out, want the silent one", n)
	}
	n, ticking, touching := 0, time.Duration(0), time.Duration(0)
	for loop := range touches {
		n += touched[loop]
		ticking += ticks[loop]
		touching += touches[loop]
	}
	l := took.Latency()
	fmt.Fprintf(c.cfg.Progress, "%d ticks, %d µs at the most\n", l.Count, l.Max)
	r.Latencies = append(r.Latencies, l)
	simulated := time.Duration(c.cfg.Turns) * c.cfg.Heartbeat
	r.Add(
		report.Lower("tick of a loop, p99", "µs", float64(l.P99)),
		report.Lower("time to note a frame", "µs", float64(touching.Nanoseconds())/1000/float64(n)),
		report.Lower("processor use of timers", "%", 100*(ticking+touching).Seconds()/simulated.Seconds()),
	)
	return nil
}

// lookUp finds random users, from every processor at the same time.
func (c *crowd) lookUp(ctx context.Context, r *report.Report) error {
	users := make([]string, min(c.cfg.Sessions, 1<<20))
	for i := range users {
		users[i] = user(i)
	}
	workers := runtime.GOMAXPROCS(0)
	began := time.Now()
	var group errgroup.Group
	for worker := range workers {
		group.Go(func() error {
			random := rand.New(rand.NewPCG(1, uint64(worker)))
			var found []*session.Session
			for i := range c.cfg.Lookups {
				if i%checkEvery == 0 && ctx.Err() != nil {
					return ctx.Err()
				}
				u := users[random.IntN(len(users))]
				found = c.manager.Sessions(found[:0], u)
				if len(found) != 1 || found[0].User != u {
					return fmt.Errorf("sessions: %d sessions of %s were found", len(found), u)
				}
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	took := time.Since(began)
	r.Add(
		report.Higher("lookups by user", "/s", float64(workers*c.cfg.Lookups)/took.Seconds()).AsHeadline(),
		report.Lower("time to look up a user", "µs", float64(took.Nanoseconds())/1000/float64(c.cfg.Lookups)),
	)
	return nil
}

// heap is the live heap in bytes.
func heap() uint64 {
	runtime.GC()
	runtime.GC() // what finalizers and pools kept
	return read("/memory/classes/heap/objects:bytes")
}

func read(name string) uint64 {
	s := []metrics.Sample{{Name: name}}
	metrics.Read(s)
	return s[0].Value.Uint64()
}

func readSeconds(name string) float64 {
	s := []metrics.Sample{{Name: name}}
	metrics.Read(s)
	return s[0].Value.Float64()
}

func readPauses(name string) *metrics.Float64Histogram {
	s := []metrics.Sample{{Name: name}}
	metrics.Read(s)
	return s[0].Value.Float64Histogram()
}

// longest is the upper bound, in µs, of the longest pause that is in after and
// not in before. The last bucket has no upper bound; its lower one stands for it.
func longest(before, after *metrics.Float64Histogram) float64 {
	for i := len(after.Counts) - 1; i >= 0; i-- {
		if after.Counts[i] > before.Counts[i] {
			bound := after.Buckets[i+1]
			if math.IsInf(bound, 1) {
				bound = after.Buckets[i]
			}
			return bound * 1e6
		}
	}
	return 0
}
