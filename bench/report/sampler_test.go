package report

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

func TestRate(t *testing.T) {
	r := NewRate("n", "c", "u")
	r.Sample(time.Second, 100)
	r.Sample(3*time.Second, 500)
	r.Sample(3*time.Second, 600) // no time has passed
	r.Sample(4*time.Second, 50)  // started anew
	r.Sample(5*time.Second, 60)
	if want := []Point{{3, 200}, {5, 10}}; !slices.Equal(r.Points, want) {
		t.Errorf("%v", r.Points)
	}
}

const exposition = `# HELP godwit_build_info Always 1.
# TYPE godwit_build_info gauge
godwit_build_info{go="go1.26.1",version="v0.3.0"} 1
go_sched_gomaxprocs_threads 2
godwit_reads_total{request="pull"} 30
godwit_reads_total{request="sync"} 12.5
odd{label="a } b, c"} 7 1700000000000
go_gc_duration_seconds{quantile="1"} NaN
up +Inf
`

func TestParseMetrics(t *testing.T) {
	values, err := parseMetrics(strings.NewReader(exposition))
	if err != nil {
		t.Fatal(err)
	}
	for series, want := range map[string]float64{
		"go_sched_gomaxprocs_threads":        2,
		`godwit_reads_total{request="pull"}`: 30,
		"godwit_reads_total":                 42.5,
		`odd{label="a } b, c"}`:              7,
	} {
		if got := values[series]; got != want {
			t.Errorf("%s: %v, want %v", series, got, want)
		}
	}
	for _, broken := range []string{"name", "name{a=\"b\"}", "name x"} {
		if _, err := parseMetrics(strings.NewReader(broken)); err == nil {
			t.Errorf("took %q", broken)
		}
	}
}

func TestReadServer(t *testing.T) {
	text := exposition
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, text) }))
	defer server.Close()
	v, procs, err := ReadServer(t.Context(), server.URL)
	if err != nil || v.Version != "v0.3.0" || v.Go != "go1.26.1" || procs != 2 {
		t.Errorf("%+v, %d, %v", v, procs, err)
	}
	text = "up 1\n"
	if _, _, err := ReadServer(t.Context(), server.URL); err == nil {
		t.Error("took a server that is not godwit")
	}
}

func TestSampler(t *testing.T) {
	onlyWithProc(t)
	var scrapes atomic.Int64
	fifth := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		n := scrapes.Add(1)
		if n == 5 {
			close(fifth)
		}
		fmt.Fprintf(w, "heap 4096\nempty NaN\nsyncs_total{kind=\"a\"} %d\n", 10*n)
	}))
	defer server.Close()
	start := time.Now()
	s := StartSampler(SamplerConfig{
		Start:  start,
		Period: 20 * time.Millisecond,
		Processes: []SampledProcess{{
			Name: "self", PID: os.Getpid(), MetricsURL: server.URL,
			Metrics: []Metric{
				{Metric: "heap", Name: "heap", Chart: "Memory", Unit: "B", Scale: 0.5},
				{Metric: "syncs_total", Name: "syncs", Chart: "Store", Unit: "/s", Rate: true},
				{Metric: "empty", Name: "empty", Chart: "x"},
				{Metric: "absent", Name: "absent", Chart: "x"},
			},
		}, {Name: "gone", PID: 1 << 30}},
	})
	select {
	case <-fifth:
	case <-time.After(time.Minute):
		t.Fatalf("%d scrapes in a minute", scrapes.Load())
	}
	usage := s.Stop()
	took := time.Since(start).Seconds()

	byName := make(map[string]Series)
	for _, one := range usage.Series {
		byName[one.Name] = one
		for i, p := range one.Points {
			if p.X < 0 || p.X > took || i > 0 && p.X <= one.Points[i-1].X {
				t.Errorf("%s: times %v", one.Name, one.Points)
			}
		}
	}
	for _, name := range []string{"self RSS", "self", "heap", "syncs", "TCP", "TCP buffers"} {
		if len(byName[name].Points) < 3 {
			t.Errorf("%s has %d points", name, len(byName[name].Points))
		}
	}
	for _, name := range []string{"empty", "absent", "gone RSS"} {
		if _, there := byName[name]; there {
			t.Errorf("there is a series %s", name)
		}
	}
	if heap := byName["heap"].Points; heap[0].Y != 2048 {
		t.Errorf("scaled to %v", heap[0].Y)
	}
	if len(usage.Errors) != 1 || !strings.Contains(usage.Errors[0].Error(), "gone: ") {
		t.Errorf("errors %v", usage.Errors)
	}
	var r Report
	usage.AddTo(&r)
	if r.Err() != nil || len(r.Notes) != 1 || len(r.Series) != len(usage.Series) {
		t.Errorf("%+v", r)
	}
	if i := slices.IndexFunc(r.Figures, func(f Figure) bool { return f.Name == "self RSS, peak" }); i < 0 || r.Figures[i].Value < 1<<20 {
		t.Errorf("figures %v", r.Figures)
	}
	if again := s.Stop(); len(again.Series) != len(usage.Series) {
		t.Error("a second Stop differs")
	}
}

func TestSamplerSurvivesAServerThatEnds(t *testing.T) {
	onlyWithProc(t)
	server := httptest.NewServer(http.NotFoundHandler())
	s := StartSampler(SamplerConfig{Period: time.Hour, Processes: []SampledProcess{{Name: "self", PID: os.Getpid(), MetricsURL: server.URL}}})
	server.Close()
	usage := s.Stop()
	if len(usage.Errors) != 1 || !strings.Contains(usage.Errors[0].Error(), "404") {
		t.Errorf("errors %v", usage.Errors)
	}
	for _, f := range usage.Figures {
		if strings.HasPrefix(f.Name, "self") {
			t.Errorf("a figure of one sample: %+v", f)
		}
	}
}
