package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/godwit-im/godwit/bench/client"
	"github.com/godwit-im/godwit/bench/fill"
	"github.com/godwit-im/godwit/bench/report"
)

// SyncConfig describes users who come back after a while.
type SyncConfig struct {
	// StoreDir is where the store is written, while no server runs on it.
	StoreDir string
	// Serve starts a server on that store and returns when clients can connect.
	// It is called several times, each after the Stop of the one before.
	Serve func(ctx context.Context) (*Served, error)
	// Plan is who has talked with whom. The zero Plan is 10,000 users with 100
	// conversations, of whom 2,000 miss 200 messages in each of 5.
	Plan fill.Plan
	// Concurrency is how many users are on their way at a time; default 256.
	Concurrency int
	// Loops of the load; default: half of the processors.
	Loops int
	// Ceiling measures how many messages a second can be read and sent on this
	// machine in pages of the plan's, at best. It is called while no server
	// runs. nil leaves the comparison out.
	Ceiling func(ctx context.Context, plan fill.Plan, concurrency int) (float64, error)
	// Progress, where not nil, gets a line a second.
	Progress io.Writer
}

// Served is a server that was started for a scenario.
type Served struct {
	Target
	// Took is the time from the start of the process until it was ready.
	Took time.Duration
	// Stop ends the server in good order.
	Stop func(ctx context.Context) error
}

func (c *SyncConfig) withDefaults() error {
	set(&c.Plan, fill.Plan{Users: 10_000, Conversations: 100, Old: 2, Away: 2000, Behind: 5, Missed: 200, Size: 256})
	set(&c.Concurrency, 256)
	set(&c.Loops, defaultLoops())
	if c.Progress == nil {
		c.Progress = io.Discard
	}
	if c.Serve == nil || c.StoreDir == "" || c.Concurrency < 1 || c.Loops < 1 {
		return errors.New("bench: want a store, a server, and positive numbers")
	}
	switch p := c.Plan; {
	case p.Validate() != nil:
		return p.Validate()
	case p.Away == 0 || p.Away == p.Users || p.Behind == 0 || p.Missed == 0:
		return errors.New("bench: want users who miss something and users who don't")
	case p.Behind > maxBehind:
		return fmt.Errorf("bench: a user pulls %d conversations at a time at the most", maxBehind)
	}
	return nil
}

// maxBehind PULLs are what a session may have waiting without an answer of BUSY.
const maxBehind = 50

// heartbeat of users who stay for moments.
const visitHeartbeat = time.Minute

// Sync writes the old messages, has every user log in and sync for the first
// time, stops the server and writes the messages that are missed. Then they
// come back: those who miss nothing, with a SYNC and, to tell what that costs,
// without one; and those who miss messages, who pull them all. Every message is
// checked.
func Sync(ctx context.Context, cfg SyncConfig) (*report.Report, error) {
	if err := cfg.withDefaults(); err != nil {
		return nil, err
	}
	s := &syncRun{cfg: &cfg, cursors: make([][]byte, cfg.Plan.Users)}
	store := fill.Config{Dir: cfg.StoreDir, Progress: cfg.Progress}
	if _, err := fill.Old(ctx, store, cfg.Plan); err != nil {
		return nil, err
	}
	if err := s.serve(ctx, s.firstTime); err != nil {
		return s.end(err)
	}
	missed, err := fill.Missed(ctx, store, cfg.Plan)
	if err != nil {
		return nil, err
	}
	if cfg.Ceiling != nil {
		if s.ceiling, err = cfg.Ceiling(ctx, cfg.Plan, cfg.Concurrency); err != nil {
			return nil, fmt.Errorf("bench: ceiling: %w", err)
		}
	}
	if err := s.serve(ctx, s.comeBack); err != nil {
		return s.end(err)
	}
	s.figures = append(s.figures, report.Higher("fill", "msgs/s", float64(missed.Messages)/missed.Took.Seconds()))
	return s.end(nil)
}

// syncRun is the state of a run.
type syncRun struct {
	cfg     *SyncConfig
	report  *report.Report // nil until a server was started
	figures []report.Figure
	cursors [][]byte // by user, from their last SYNC; a user's loop writes it
	ceiling float64  // msgs/s; 0 = not measured
	target  Target
	load    *load
	// Of the server that was started last.
	start time.Time
	usage report.Usage
}

// end returns the report, or the error where there is none.
func (s *syncRun) end(err error) (*report.Report, error) {
	if s.report == nil {
		return nil, err
	}
	if err := violated(s.report, err); err != nil {
		return nil, err
	}
	s.report.Add(s.figures...)
	s.usage.AddTo(s.report)
	s.report.Duration = time.Since(s.report.Start)
	return s.report, nil
}

// serve runs f with a server.
func (s *syncRun) serve(ctx context.Context, f func() error) (err error) {
	server, err := s.cfg.Serve(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, server.Stop(context.WithoutCancel(ctx))) }()
	s.target = server.Target
	if s.report == nil {
		s.report = s.target.report(ctx, "sync")
	}
	s.start = time.Now()
	s.load, err = startLoad(ctx, &s.target, s.cfg.Loops, s.cfg.Concurrency+1, visitHeartbeat)
	if err != nil {
		return err
	}
	defer s.load.close()
	sampler := s.target.sample(s.start)
	defer func() { s.usage = sampler.Stop() }()
	return f()
}

// firstTime has everybody sync from nothing.
func (s *syncRun) firstTime() error {
	all := s.users(0, s.cfg.Plan.Users)
	p := s.pass("first time", everything)
	if err := p.run(all); err != nil {
		return err
	}
	n := float64(s.cfg.Plan.Users)
	s.figures = append(s.figures, report.Higher("first time: conversations", "/s", n*float64(s.cfg.Plan.Conversations)/p.took.Seconds()))
	s.figures = append(s.figures, p.logins(n)...)
	return nil
}

// comeBack is the return of all.
func (s *syncRun) comeBack() error {
	plan := &s.cfg.Plan
	quiet := s.users(plan.Away, plan.Users)
	away := s.users(0, plan.Away)
	n := float64(plan.Users - plan.Away)

	fresh, restarted := s.pass("login alone, new token", nothing), s.pass("nothing missed, after a restart", quietSync)
	for _, p := range []*pass{fresh, restarted} {
		if err := p.run(quiet); err != nil {
			return err
		}
		s.figures = append(s.figures, p.logins(n)...)
	}
	for _, p := range []*pass{s.pass("pulled, after a restart", missed), s.pass("pulled", missed), s.pass("pulled without SYNC", known)} {
		if err := s.pull(p, away); err != nil {
			return err
		}
	}
	return s.nothingMissed(quiet, n)
}

// rounds is how often those come who miss nothing, to see what they cost.
const rounds = 5

// nothingMissed compares n logins with a SYNC and without one.
func (s *syncRun) nothingMissed(quiet [][]*visitor, n float64) error {
	alone, synced := s.pass("login alone, known token", nothing), s.pass("nothing missed", quietSync)
	for range rounds {
		// The others' messages since are what makes the cursors old.
		if err := s.talk(); err != nil {
			return err
		}
		for _, p := range []*pass{alone, synced} {
			if err := p.run(quiet); err != nil {
				return err
			}
		}
	}
	n *= rounds
	s.figures = append(s.figures, alone.logins(n)...)
	s.figures = append(s.figures,
		report.Higher("nothing missed: logins", "/s", n/synced.took.Seconds()),
		report.Lower("nothing missed: server CPU per login", "µs", synced.perLogin(n)).AsHeadline().Want(100),
		report.Lower("nothing missed: server CPU per SYNC", "µs", synced.perLogin(n)-alone.perLogin(n)))
	s.report.AddHistogram(synced.synced)
	return nil
}

// pull has those who miss messages come back, with the cursors that they had
// before: they get the same each time.
func (s *syncRun) pull(p *pass, away [][]*visitor) error {
	before, err := s.lookups()
	if err != nil {
		return err
	}
	if err := p.run(away); err != nil {
		return err
	}
	after, err := s.lookups()
	if err != nil {
		return err
	}
	messages, bytes := float64(p.messages.Load()), float64(p.bytes.Load())
	rate := report.Higher(p.name, "msgs/s", messages/p.took.Seconds()).AsHeadline()
	if s.ceiling > 0 {
		rate = rate.OfCeiling("scan and send", s.ceiling).WantRatio(0.5)
	}
	s.figures = append(s.figures, rate,
		report.Higher(p.name+": bytes", "B/s", bytes/p.took.Seconds()),
		report.Lower(p.name+": server CPU per 1,000 messages", "µs", p.cpu.Seconds()*1e9/messages),
		report.Lower(p.name+": load CPU per 1,000 messages", "µs", p.loadCPU.Seconds()*1e9/messages))
	s.figures = append(s.figures, p.logins(float64(s.cfg.Plan.Away))...)
	for _, cache := range []string{"head", "block"} {
		if hit, all := after.share(before, cache); all > 0 {
			s.figures = append(s.figures, report.Higher(fmt.Sprintf("%s: %ss found in the cache", p.name, cache), "%", 100*hit/all))
		}
	}
	if p.news == missed {
		s.report.AddHistogram(p.synced)
	}
	s.report.AddHistogram(p.pulled)
	return nil
}

// lookups are the server's counters of what its caches were asked for.
type lookups map[string]float64

// lookups reads the counters; none where the server shows no metrics.
func (s *syncRun) lookups() (lookups, error) {
	if s.target.MetricsURL == "" {
		return nil, nil
	}
	values, err := report.ReadMetrics(s.load.ctx, s.target.MetricsURL)
	return values, err
}

// share is how many of the lookups in a cache were hits, since before.
func (l lookups) share(before lookups, cache string) (hits, all float64) {
	name := "godwit_store_" + cache + "_lookups_total"
	hit := name + `{cache="hit"}`
	return l[hit] - before[hit], l[name] - before[name]
}

// users makes devices of the users in [from, to), by loop.
func (s *syncRun) users(from, to int) [][]*visitor {
	loops := make([][]*visitor, s.cfg.Loops)
	s.load.each(func(i int, pool *client.Pool) {
		first, n := split(to-from, s.cfg.Loops, i)
		for k := range n {
			v := &visitor{run: s, n: from + first + k}
			v.device = pool.Add(s.cfg.Plan.User(v.n), deviceName, v)
			loops[i] = append(loops[i], v)
		}
	})
	return loops
}
