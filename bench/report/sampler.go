package report

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// Rate makes a series of growth per second out of a cumulative count.
type Rate struct {
	Series
	since time.Duration
	last  float64
	begun bool
}

// NewRate returns an empty one.
func NewRate(name, chart, unit string) *Rate {
	return &Rate{Series: Series{Name: name, Chart: chart, Unit: unit}}
}

// Sample takes the count at t after the run's start. The first sample is what
// the next is compared to. A count that falls, since its owner was started
// anew, begins again from there.
func (r *Rate) Sample(t time.Duration, count float64) {
	if r.begun && count >= r.last && t > r.since {
		r.Points = append(r.Points, Point{t.Seconds(), (count - r.last) / (t - r.since).Seconds()})
	}
	r.since, r.last, r.begun = t, count, true
}

// SampledProcess is one process that a Sampler watches.
type SampledProcess struct {
	Name string // such as "server"
	PID  int
	// MetricsURL, unless empty, is where the process shows Prometheus metrics;
	// Metrics are those to keep. Each reading makes the process gather them,
	// about a millisecond of its time.
	MetricsURL string
	Metrics    []Metric
}

// SamplerConfig says what to watch.
type SamplerConfig struct {
	// Start is when the run started: 0 on the series' time axis. The zero
	// time means now.
	Start     time.Time
	Processes []SampledProcess
	// Period is between two samples; 0 means a second.
	Period time.Duration
}

// Sampler watches processes and the kernel's socket memory until Stop.
type Sampler struct {
	cfg       SamplerConfig
	processes []*watched
	kernel    kernelSeries
	sampled   time.Time
	errors    []error
	stop      context.CancelFunc
	running   sync.WaitGroup
	once      sync.Once
	usage     Usage
}

// Usage is what a Sampler saw.
type Usage struct {
	Series []Series
	// Figures are, of each process, the peak of its resident memory, its mean
	// and peak processor use, and what it wrote to the disk; and the peak
	// of the kernel's socket memory above its value at the start.
	Figures []Figure
	// Errors holds the first error of each source that failed: a process that
	// ended, metrics that did not answer.
	Errors []error
}

// AddTo appends the usage to a report, errors as notes.
func (u Usage) AddTo(r *Report) {
	r.Series = append(r.Series, u.Series...)
	r.Add(u.Figures...)
	for _, err := range u.Errors {
		r.Notef("not all was sampled: %v", err)
	}
}

// watched belongs to the sampler's goroutine.
type watched struct {
	SampledProcess
	first, last      Process
	since, until     time.Duration
	rss, fds         Series
	cpu, read, wrote *Rate
	metrics          []func(t time.Duration, values map[string]float64)
	metricSeries     []*Series
	failed           bool // its error is recorded
	metricsFailed    bool
}

// StartSampler takes a first sample and goes on on a goroutine of its own.
func StartSampler(cfg SamplerConfig) *Sampler {
	if cfg.Start.IsZero() {
		cfg.Start = time.Now()
	}
	if cfg.Period <= 0 {
		cfg.Period = time.Second
	}
	ctx, cancel := context.WithCancel(context.Background())
	s := &Sampler{cfg: cfg, stop: cancel, kernel: newKernelSeries()}
	for _, p := range cfg.Processes {
		s.processes = append(s.processes, watch(p))
	}
	s.sample(ctx)
	s.running.Go(func() { s.run(ctx) })
	return s
}

// Stop returns what was seen, to which it adds a last sample unless the one
// before is so fresh that the clock's ticks would show as peaks. Further calls
// return the same.
func (s *Sampler) Stop() Usage {
	s.once.Do(func() {
		s.stop()
		s.running.Wait()
		if time.Since(s.sampled) >= s.cfg.Period/2 {
			s.sample(context.Background())
		}
		s.usage = s.sum()
	})
	return s.usage
}

func (s *Sampler) run(ctx context.Context) {
	ticker := time.NewTicker(s.cfg.Period)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			s.sample(ctx)
		case <-ctx.Done():
			return
		}
	}
}

func (s *Sampler) sample(ctx context.Context) {
	s.sampled = time.Now()
	for _, p := range s.processes {
		if err := p.sample(time.Since(s.cfg.Start)); err != nil && !p.failed {
			p.failed = true
			s.errors = append(s.errors, fmt.Errorf("%s: %w", p.Name, err))
		}
		if p.MetricsURL == "" || ctx.Err() != nil {
			continue
		}
		values, err := p.scrape(ctx)
		if err != nil {
			if !p.metricsFailed && ctx.Err() == nil {
				p.metricsFailed = true
				s.errors = append(s.errors, fmt.Errorf("%s: %w", p.Name, err))
			}
			continue
		}
		t := time.Since(s.cfg.Start)
		for _, take := range p.metrics {
			take(t, values)
		}
	}
	if err := s.kernel.sample(time.Since(s.cfg.Start)); err != nil && !s.kernel.failed {
		s.kernel.failed = true
		s.errors = append(s.errors, err)
	}
}

// sampleTimeout is short of the default period.
const sampleTimeout = 800 * time.Millisecond

func (w *watched) scrape(ctx context.Context) (map[string]float64, error) {
	ctx, cancel := context.WithTimeout(ctx, sampleTimeout)
	defer cancel()
	return scrape(ctx, w.MetricsURL)
}

func (s *Sampler) sum() Usage {
	u := Usage{Errors: s.errors}
	keep := func(series ...*Series) {
		for _, one := range series {
			if len(one.Points) > 0 {
				u.Series = append(u.Series, *one)
			}
		}
	}
	for _, p := range s.processes {
		keep(&p.rss, &p.cpu.Series)
		keep(p.metricSeries...)
		keep(&p.wrote.Series, &p.read.Series, &p.fds)
		u.Figures = append(u.Figures, p.figures()...)
	}
	keep(&s.kernel.buffers, &s.kernel.slab, &s.kernel.sockets)
	u.Figures = append(u.Figures, s.kernel.figures()...)
	return u
}

func watch(p SampledProcess) *watched {
	w := &watched{
		SampledProcess: p,
		rss:            Series{Name: p.Name + " RSS", Chart: "Memory", Unit: "B"},
		fds:            Series{Name: p.Name, Chart: "Open file descriptors"},
		cpu:            NewRate(p.Name, "Processor use", "cores"),
		read:           NewRate(p.Name+" reads", "Disk", "B/s"),
		wrote:          NewRate(p.Name+" writes", "Disk", "B/s"),
	}
	for _, m := range p.Metrics {
		scale := m.Scale
		if scale == 0 {
			scale = 1
		}
		r := NewRate(m.Name, m.Chart, m.Unit)
		w.metricSeries = append(w.metricSeries, &r.Series)
		w.metrics = append(w.metrics, func(t time.Duration, values map[string]float64) {
			v, ok := values[m.Metric]
			switch {
			case !ok || !finite(v): // an empty summary's quantiles are NaN
			case m.Rate:
				r.Sample(t, v*scale)
			default:
				r.Points = append(r.Points, Point{t.Seconds(), v * scale})
			}
		})
	}
	return w
}

func (w *watched) sample(t time.Duration) error {
	p, err := ReadProcess(w.PID)
	if err != nil {
		return err
	}
	if len(w.rss.Points) == 0 {
		w.first, w.since = p, t
	}
	w.last, w.until = p, t
	at := t.Seconds()
	w.rss.Points = append(w.rss.Points, Point{at, float64(p.RSS)})
	if p.FDs > 0 {
		w.fds.Points = append(w.fds.Points, Point{at, float64(p.FDs)})
	}
	w.cpu.Sample(t, p.CPU.Seconds())
	w.read.Sample(t, float64(p.ReadBytes))
	w.wrote.Sample(t, float64(p.WrittenBytes))
	return nil
}

func (w *watched) figures() []Figure {
	if len(w.cpu.Points) == 0 {
		return nil // never seen twice
	}
	return []Figure{
		Lower(w.Name+" RSS, peak", "B", peak(w.rss.Points)),
		Lower(w.Name+" processor use, mean", "cores", (w.last.CPU-w.first.CPU).Seconds()/(w.until-w.since).Seconds()),
		Lower(w.Name+" processor use, peak", "cores", peak(w.cpu.Points)),
		Lower(w.Name+" written to disk", "B", float64(w.last.WrittenBytes-w.first.WrittenBytes)),
	}
}

// kernelSeries belongs to the sampler's goroutine.
type kernelSeries struct {
	buffers, slab, sockets Series
	failed                 bool
}

func newKernelSeries() kernelSeries {
	const chart = "Kernel memory of sockets"
	return kernelSeries{
		buffers: Series{Name: "TCP buffers", Chart: chart, Unit: "B"},
		slab:    Series{Name: "socket objects", Chart: chart, Unit: "B"},
		sockets: Series{Name: "TCP", Chart: "Sockets, both ends"},
	}
}

func (k *kernelSeries) sample(t time.Duration) error {
	now, err := ReadKernel()
	if err != nil {
		return err
	}
	add := func(series *Series, v int64) { series.Points = append(series.Points, Point{t.Seconds(), float64(v)}) }
	add(&k.buffers, now.TCPBuffers)
	add(&k.sockets, now.Sockets)
	if now.SocketSlab > 0 {
		add(&k.slab, now.SocketSlab)
	}
	return nil
}

func (k *kernelSeries) figures() (figures []Figure) {
	for _, s := range []Series{k.buffers, k.slab} {
		if len(s.Points) > 0 {
			figures = append(figures, Lower("kernel: "+s.Name+", peak growth", s.Unit, peak(s.Points)-s.Points[0].Y))
		}
	}
	return figures
}

func peak(points []Point) float64 {
	top := points[0].Y
	for _, p := range points {
		top = max(top, p.Y)
	}
	return top
}
