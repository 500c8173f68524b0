package bench

import (
	"fmt"
	"io"
	"sync"
	"text/tabwriter"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// Latency is a distribution in microseconds.
type Latency struct {
	P50  int64 `json:"p50_us"`
	P90  int64 `json:"p90_us"`
	P99  int64 `json:"p99_us"`
	P999 int64 `json:"p999_us"`
	Max  int64 `json:"max_us"`
}

// newHistogram holds 1 µs to 1 min with an error below 0.1%.
func newHistogram() *hdrhistogram.Histogram {
	return hdrhistogram.New(1, time.Minute.Microseconds(), 3)
}

// record counts what is beyond the histogram's range as its bounds.
func record(h *hdrhistogram.Histogram, d time.Duration) {
	_ = h.RecordValue(min(max(d.Microseconds(), h.LowestTrackableValue()), h.HighestTrackableValue())) // in range, so it cannot fail
}

func latency(h *hdrhistogram.Histogram) Latency {
	return Latency{
		P50:  h.ValueAtQuantile(50),
		P90:  h.ValueAtQuantile(90),
		P99:  h.ValueAtQuantile(99),
		P999: h.ValueAtQuantile(99.9),
		Max:  h.Max(),
	}
}

func writeLatencies(w io.Writer, names []string, values []Latency) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "\tp50\tp90\tp99\tp99.9\tmax\t")
	for i, l := range values {
		fmt.Fprint(t, names[i])
		for _, us := range []int64{l.P50, l.P90, l.P99, l.P999, l.Max} {
			fmt.Fprintf(t, "\t%v", time.Duration(us)*time.Microsecond)
		}
		fmt.Fprintln(t, "\t")
	}
	t.Flush()
}

// every calls f once a period on a goroutine of its own until stop is called,
// which waits for a call that is under way.
func every(period time.Duration, f func()) (stop func()) {
	done := make(chan struct{})
	var running sync.WaitGroup
	running.Go(func() {
		ticker := time.NewTicker(period)
		defer ticker.Stop()
		for {
			select {
			case <-ticker.C:
				f()
			case <-done:
				return
			}
		}
	})
	return func() {
		close(done)
		running.Wait()
	}
}

func orDiscard(w io.Writer) io.Writer {
	if w == nil {
		return io.Discard
	}
	return w
}
