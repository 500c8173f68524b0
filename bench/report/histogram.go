package report

import (
	"fmt"
	"math"
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// Latency is a distribution of times, in µs.
type Latency struct {
	Name  string `json:"name"`
	Count int64  `json:"count"`
	P50   int64  `json:"p50_us"`
	P90   int64  `json:"p90_us"`
	P95   int64  `json:"p95_us"`
	P99   int64  `json:"p99_us"`
	P999  int64  `json:"p999_us"`
	Max   int64  `json:"max_us"`
	// Curve is the time, Y in µs, by quantile, X from 0 to 1: four points each
	// time that the share above it halves, the last being the maximum.
	Curve []Point `json:"curve,omitempty"`
}

// Timeline is a distribution over time.
type Timeline struct {
	Name   string         `json:"name"`
	Points []LatencyPoint `json:"points"`
}

// LatencyPoint is one interval of a Timeline, times in µs.
type LatencyPoint struct {
	T     float64 `json:"t"` // the interval's end, in seconds since the run's start
	Count int64   `json:"count"`
	P50   int64   `json:"p50_us"`
	P99   int64   `json:"p99_us"`
	P999  int64   `json:"p999_us"`
	Max   int64   `json:"max_us"`
}

// Histogram takes one kind of latency from many loops, from 1 µs to a minute
// with an error below 0.1%; what is beyond counts as the bound.
//
// It records what it is given. A scenario that sends at a set rate must measure
// from when a message was meant to leave, not from when it did: else a server
// that stalls holds back the very messages that would show it ("coordinated
// omission", Tene 2013), and no arithmetic afterwards brings them back.
//
// All methods may be called from any goroutine.
type Histogram struct {
	name string

	mu        sync.Mutex
	recorders []*Recorder
	interval  *hdrhistogram.Histogram // since the last Tick, but for what the recorders still hold
	total     *hdrhistogram.Histogram // up to the last Tick
	points    []LatencyPoint
}

// NewHistogram returns an empty one. It takes 140 KB for each interval and
// recorder that is in use, and none for time that passes.
func NewHistogram(name string) *Histogram {
	return &Histogram{name: name, interval: newHDR(), total: newHDR()}
}

func newHDR() *hdrhistogram.Histogram { return hdrhistogram.New(1, time.Minute.Microseconds(), 3) }

// Recorder is one loop's way into a Histogram.
type Recorder struct {
	// mu is free but for the moment, once an interval, in which the two
	// histograms change places.
	mu    sync.Mutex
	into  *hdrhistogram.Histogram
	spare *hdrhistogram.Histogram // empty; the owner's, under its mu
}

// Recorder returns a new way in, for one loop. Sharing it is safe, but makes
// the loops wait for each other.
func (h *Histogram) Recorder() *Recorder {
	r := &Recorder{into: newHDR(), spare: newHDR()}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.recorders = append(h.recorders, r)
	return r
}

// Record adds one time. It does not allocate and takes some 20 ns.
func (r *Recorder) Record(d time.Duration) { r.RecordN(d, 1) }

// RecordN adds the same time n times.
func (r *Recorder) RecordN(d time.Duration, n int64) {
	us := min(max(d.Microseconds(), 1), time.Minute.Microseconds())
	r.mu.Lock()
	_ = r.into.RecordValues(us, n) // in range, so it cannot fail
	r.mu.Unlock()
}

// gather moves what the recorders hold to the interval. The caller holds mu.
func (h *Histogram) gather() {
	for _, r := range h.recorders {
		r.mu.Lock()
		full := r.into
		r.into = r.spare
		r.mu.Unlock()
		h.interval.Merge(full)
		full.Reset()
		r.spare = full
	}
}

// Tick ends an interval, t after the run's start, and returns it. A scenario
// calls it once a second.
func (h *Histogram) Tick(t time.Duration) LatencyPoint {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.gather()
	v := h.interval.ValueAtPercentilesSlice([]float64{50, 99, 99.9})
	p := LatencyPoint{T: t.Seconds(), Count: h.interval.TotalCount(), P50: v[0], P99: v[1], P999: v[2], Max: h.interval.Max()}
	h.points = append(h.points, p)
	h.total.Merge(h.interval)
	h.interval.Reset()
	return p
}

// Reset forgets everything: the end of a warm-up.
func (h *Histogram) Reset() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.gather()
	h.interval.Reset()
	h.total.Reset()
	h.points = nil
}

// Drain takes out what was recorded since the last Drain, for a Merge in
// another process, in the HdrHistogram's own compressed form (base64). A
// process that drains does not Tick.
func (h *Histogram) Drain() ([]byte, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.gather()
	encoded, err := h.interval.EncodeV2()
	h.interval.Reset()
	return encoded, err
}

// Merge adds what another process drained to the interval under way.
func (h *Histogram) Merge(drained []byte) error {
	from, err := hdrhistogram.Decode(drained)
	if err != nil {
		return fmt.Errorf("latencies of %s: %w", h.name, err)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if dropped := h.interval.Merge(from); dropped != 0 {
		return fmt.Errorf("latencies of %s: %d are out of range", h.name, dropped)
	}
	return nil
}

// Latency is the distribution of all that was recorded.
func (h *Histogram) Latency() Latency {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.gather()
	all := h.total.Clone()
	all.Merge(h.interval)
	v := all.ValueAtPercentilesSlice([]float64{50, 90, 95, 99, 99.9})
	return Latency{
		Name: h.name, Count: all.TotalCount(),
		P50: v[0], P90: v[1], P95: v[2], P99: v[3], P999: v[4], Max: all.Max(),
		Curve: curve(all),
	}
}

// Timeline is the course up to the last Tick.
func (h *Histogram) Timeline() Timeline {
	h.mu.Lock()
	defer h.mu.Unlock()
	return Timeline{Name: h.name, Points: append([]LatencyPoint(nil), h.points...)}
}

func curve(h *hdrhistogram.Histogram) (points []Point) {
	count := float64(h.TotalCount())
	if count == 0 {
		return nil
	}
	var quantiles, percentiles []float64
	for step := 0.0; math.Exp2(step) < count; step += 0.25 {
		q := 1 - math.Exp2(-step)
		quantiles, percentiles = append(quantiles, q), append(percentiles, 100*q)
	}
	for i, v := range h.ValueAtPercentilesSlice(percentiles) {
		points = append(points, Point{quantiles[i], float64(v)})
	}
	return append(points, Point{1, float64(h.Max())})
}
