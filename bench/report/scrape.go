package report

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Metric is a series made of a Prometheus metric of the server.
type Metric struct {
	// Metric is the metric as the listener writes it, with its labels, such as
	// `go_gc_duration_seconds{quantile="1"}`; without labels it is the sum of
	// all that have the name.
	Metric string
	// Name, Chart and Unit are those of the Series.
	Name, Chart, Unit string
	// Rate makes a counter's growth per second out of it.
	Rate bool
	// Scale multiplies the value, such as 1e6 for seconds shown as µs; 0 means 1.
	Scale float64
}

// GodwitMetrics is what is worth a chart of a godwit server.
func GodwitMetrics() []Metric {
	return []Metric{
		{Metric: "godwit_messages_total", Name: "stored", Chart: "Server throughput", Unit: "msgs/s", Rate: true},
		{Metric: "godwit_pushed_messages_total", Name: "pushed", Chart: "Server throughput", Unit: "msgs/s", Rate: true},
		{Metric: "godwit_store_commits_total", Name: "commits", Chart: "Store", Unit: "/s", Rate: true},
		{Metric: "godwit_store_syncs_total", Name: "syncs", Chart: "Store", Unit: "/s", Rate: true},
		{Metric: "godwit_store_committed_bytes_total", Name: "committed", Chart: "Bytes written", Unit: "B/s", Rate: true},
		{Metric: "godwit_writes_total", Name: "writes to sockets", Chart: "Server output", Unit: "/s", Rate: true},
		{Metric: "godwit_sent_frames_total", Name: "frames sent", Chart: "Server output", Unit: "/s", Rate: true},
		{Metric: "go_memstats_heap_inuse_bytes", Name: "server heap in use", Chart: "Memory", Unit: "B"},
		{Metric: "go_gc_duration_seconds_count", Name: "collections", Chart: "Garbage collection", Unit: "/s", Rate: true},
		{Metric: "go_gc_duration_seconds_sum", Name: "stopped", Chart: "Garbage collection pauses", Unit: "ms/s", Rate: true, Scale: 1e3},
		{Metric: "go_memstats_alloc_bytes_total", Name: "allocated", Chart: "Allocation", Unit: "B/s", Rate: true},
		{Metric: "godwit_sessions", Name: "sessions", Chart: "Sessions", Unit: ""},
	}
}

// ReadServer asks a godwit server's metrics for its version and GOMAXPROCS.
func ReadServer(ctx context.Context, metricsURL string) (v Version, procs int, err error) {
	values, err := scrape(ctx, metricsURL)
	if err != nil {
		return v, 0, err
	}
	for series := range values {
		if labels, ok := strings.CutPrefix(series, "godwit_build_info{"); ok {
			v.Version, v.Go = label(labels, "version"), label(labels, "go")
		}
	}
	if v.Version == "" {
		return v, 0, fmt.Errorf("%s has no godwit_build_info", metricsURL)
	}
	return v, int(values["go_sched_gomaxprocs_threads"]), nil
}

// ReadMetrics reads a server's metrics: the values by the series as written, and
// summed up by the name alone.
func ReadMetrics(ctx context.Context, metricsURL string) (map[string]float64, error) {
	return scrape(ctx, metricsURL)
}

// label finds a value in `go="go1.26",version="v1"}`. Escapes in it stay.
func label(labels, name string) string {
	for _, part := range strings.Split(strings.TrimSuffix(labels, "}"), ",") {
		if k, v, ok := strings.Cut(part, "="); ok && k == name {
			return strings.Trim(v, `"`)
		}
	}
	return ""
}

// scrapeTimeout is how long a server may take to tell its metrics.
const scrapeTimeout = 30 * time.Second

// scrape reads metrics in Prometheus's text format. The values are by the
// series as written, and summed up by the name alone.
func scrape(ctx context.Context, url string) (map[string]float64, error) {
	ctx, cancel := context.WithTimeout(ctx, scrapeTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", "text/plain")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s: %s", url, resp.Status)
	}
	return parseMetrics(io.LimitReader(resp.Body, 16<<20))
}

func parseMetrics(in io.Reader) (map[string]float64, error) {
	values := make(map[string]float64)
	lines := bufio.NewScanner(in)
	for lines.Scan() {
		line := strings.TrimSpace(lines.Text())
		if line == "" || line[0] == '#' {
			continue
		}
		// Label values may hold spaces, so the value begins behind the labels.
		end := strings.LastIndexByte(line, '}') + 1
		if end == 0 {
			end = max(strings.IndexByte(line, ' '), 0)
		}
		fields := strings.Fields(line[end:]) // the value, and maybe a timestamp
		if len(fields) == 0 {
			return nil, fmt.Errorf("metrics: no value in %q", line)
		}
		v, err := strconv.ParseFloat(fields[0], 64)
		if err != nil {
			return nil, fmt.Errorf("metrics: %w", err)
		}
		series := line[:end]
		if name, _, labelled := strings.Cut(series, "{"); labelled {
			values[series] = v
			values[name] += v
		} else {
			values[series] = v
		}
	}
	return values, lines.Err()
}
