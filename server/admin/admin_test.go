package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/goleak"

	"github.com/godwit-im/godwit/chat"
	"github.com/godwit-im/godwit/delivery"
	"github.com/godwit-im/godwit/msgstore"
	"github.com/godwit-im/godwit/netpoll"
	"github.com/godwit-im/godwit/presence"
	"github.com/godwit-im/godwit/session"
)

// TestMain overlooks the goroutines that gnet's worker pool starts when it is
// imported.
func TestMain(m *testing.M) { goleak.VerifyTestMain(m, goleak.IgnoreCurrent()) }

// source is a Source in which every figure that a test looks at is distinct.
func source() Source {
	src := Source{
		Version:  "v1.2.3",
		Ready:    func() error { return nil },
		Backup:   func(string) error { return nil },
		Net:      new(netpoll.Stats),
		Session:  new(session.Stats),
		Sessions: func() (int, int) { return 11, 12 },
		Chat:     func() chat.Stats { return chat.Stats{Duplicates: 13, Waiting: 14} },
		Presence: func() presence.Stats { return presence.Stats{Told: 17} },
		Delivery: func() delivery.Stats {
			return delivery.Stats{Syncs: 15, Pulls: 16, Missed: 23, Groups: 24, Seats: 25, Backlog: 26}
		},
		Store: func() msgstore.Stats {
			return msgstore.Stats{Stalled: true, FreeBytes: 17, HeadMisses: 18, CommittedRecords: 27}
		},
	}
	src.Net.Open.Store(19)
	src.Net.Refused.Rate.Store(20)
	src.Net.SlowClosed.Store(21)
	src.Session.Connects.Store(22)
	return src
}

// start serves src on a free port until the test ends.
func start(t *testing.T, cfg Config, m *Metrics, src Source) (url string) {
	t.Helper()
	cfg.Addr = "127.0.0.1:0"
	a, err := New(cfg, m, src, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		http.DefaultClient.CloseIdleConnections()
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := a.Close(ctx); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return "http://" + a.Addr().String()
}

func request(t *testing.T, method, url string, header http.Header) (code int, body string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	maps.Copy(req.Header, header)
	req.Host = header.Get("Host")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(text)
}

func TestHealth(t *testing.T) {
	src := source()
	var notReady error
	src.Ready = func() error { return notReady }
	url := start(t, Config{}, NewMetrics(), src)
	for _, step := range []struct {
		path   string
		reason error
		code   int
		body   status
	}{
		{"/healthz", nil, 200, status{Status: "ok"}},
		{"/readyz", nil, 200, status{Status: "ready"}},
		{"/readyz", errors.New("draining"), 503, status{Status: "not ready", Error: "draining"}},
		{"/healthz", errors.New("draining"), 200, status{Status: "ok"}},
		{"/readyz", nil, 200, status{Status: "ready"}},
	} {
		notReady = step.reason
		code, body := request(t, "GET", url+step.path, nil)
		var got status
		if err := json.Unmarshal([]byte(body), &got); err != nil {
			t.Fatal(err)
		}
		if code != step.code || got != step.body {
			t.Errorf("%s while %v: %d %+v, want %d %+v", step.path, step.reason, code, got, step.code, step.body)
		}
	}
	if code, _ := request(t, "POST", url+"/healthz", nil); code != 405 {
		t.Errorf("POST /healthz: %d", code)
	}
	if code, _ := request(t, "GET", url+"/nothing", nil); code != 404 {
		t.Errorf("GET /nothing: %d", code)
	}
}

func TestBackup(t *testing.T) {
	var dirs []string
	var result error
	src := source()
	src.Backup = func(dir string) error {
		dirs = append(dirs, dir)
		return result
	}
	url := start(t, Config{}, NewMetrics(), src)
	for _, test := range []struct {
		query  string
		result error
		code   int
		says   string
	}{
		{"?dir=/backups/monday", nil, 200, `"dir":"/backups/monday"`},
		{"?dir=/backups/monday", fmt.Errorf("msgstore: %w", fs.ErrExist), 409, "/backups/monday exists"},
		{"?dir=/backups/monday", errors.New("disk on fire"), 500, "disk on fire"},
		{"?dir=backups", nil, 400, "absolute"},
		{"?dir=", nil, 400, "absolute"},
		{"", nil, 400, "absolute"},
	} {
		result = test.result
		code, body := request(t, "POST", url+"/backup"+test.query, nil)
		if code != test.code || !strings.Contains(body, test.says) {
			t.Errorf("%q with %v: %d %s, want %d with %q", test.query, test.result, code, body, test.code, test.says)
		}
	}
	if len(dirs) != 3 {
		t.Errorf("backups were made to %q", dirs)
	}
	if code, _ := request(t, "GET", url+"/backup?dir=/x", nil); code != 405 {
		t.Errorf("GET /backup: %d", code)
	}
}

func TestOneBackupAtATime(t *testing.T) {
	running, finish := make(chan struct{}), make(chan struct{})
	src := source()
	src.Backup = func(string) error {
		close(running)
		<-finish
		return nil
	}
	url := start(t, Config{}, NewMetrics(), src)
	first := make(chan int, 1)
	go func() {
		resp, err := http.Post(url+"/backup?dir=/one", "", nil)
		if err != nil {
			first <- 0
			return
		}
		resp.Body.Close()
		first <- resp.StatusCode
	}()
	<-running
	if code, body := request(t, "POST", url+"/backup?dir=/two", nil); code != 409 || !strings.Contains(body, "another backup") {
		t.Errorf("second backup: %d %s", code, body)
	}
	close(finish)
	if code := <-first; code != 200 {
		t.Errorf("first backup: %d", code)
	}
}

func TestWebPagesAreRefused(t *testing.T) {
	src := source()
	src.Backup = func(string) error {
		t.Error("a web page made a backup")
		return nil
	}
	url := start(t, Config{}, NewMetrics(), src)
	port := url[strings.LastIndex(url, ":"):]
	for _, header := range []http.Header{
		{"Origin": {"http://evil.example"}},
		{"Sec-Fetch-Site": {"cross-site"}},
		{"Origin": {"http://evil.example" + port}, "Host": {"evil.example" + port}}, // its name points to 127.0.0.1
		{"Host": {"evil.example"}},
	} {
		if code, _ := request(t, "POST", url+"/backup?dir=/x", header); code != 403 {
			t.Errorf("%v: %d", header, code)
		}
	}
	for _, host := range []string{"localhost" + port, "localhost", "[::1]" + port, "[::1]", "127.0.0.1"} {
		if code, _ := request(t, "GET", url+"/healthz", http.Header{"Host": {host}}); code != 200 {
			t.Errorf("Host %s: %d", host, code)
		}
	}
}

func TestPprofOnlyWhenAsked(t *testing.T) {
	for _, on := range []bool{false, true} {
		url := start(t, Config{Pprof: on}, NewMetrics(), source())
		want := 404
		if on {
			want = 200
		}
		for _, path := range []string{"/debug/pprof/", "/debug/pprof/goroutine", "/debug/pprof/cmdline"} {
			if code, _ := request(t, "GET", url+path, nil); code != want {
				t.Errorf("%s with Pprof %v: %d, want %d", path, on, code, want)
			}
		}
	}
}

func TestAddress(t *testing.T) {
	for _, test := range []struct {
		addr   string
		remote bool
		ok     bool
	}{
		{"127.0.0.1:7411", false, true},
		{"127.8.9.10:0", false, true},
		{"[::1]:7411", false, true},
		{"localhost:7411", false, true},
		{"0.0.0.0:7411", false, false},
		{":7411", false, false},
		{"10.0.0.1:7411", false, false},
		{"example.org:7411", false, false},
		{"10.0.0.1:7411", true, true},
		{":7411", true, true},
		{"127.0.0.1", true, false},
		{"", true, false},
	} {
		err := Config{Addr: test.addr, AllowRemote: test.remote}.Validate()
		if (err == nil) != test.ok {
			t.Errorf("%q, AllowRemote %v: %v", test.addr, test.remote, err)
		}
		if _, newErr := New(Config{Addr: test.addr, AllowRemote: test.remote}, NewMetrics(), source(), slog.New(slog.DiscardHandler)); (newErr == nil) != test.ok {
			t.Errorf("New with %q: %v", test.addr, newErr)
		}
	}
	if err := DefaultConfig().Validate(); err != nil {
		t.Error(err)
	}
}

func TestAddressInUse(t *testing.T) {
	taken := httptest.NewServer(http.NotFoundHandler())
	defer taken.Close()
	a, err := New(Config{Addr: taken.Listener.Addr().String()}, NewMetrics(), source(), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Start(); err == nil {
		t.Fatal("two listeners on one address")
	}
}

func TestMetrics(t *testing.T) {
	m := NewMetrics()
	url := start(t, Config{}, m, source())
	m.ObserveAck(3 * time.Millisecond)
	m.ObserveAck(4 * time.Millisecond)
	m.ObserveDelivery(time.Millisecond)
	m.ObserveSyncRequest(time.Second)
	m.ObserveSync(200 * time.Microsecond)
	m.ObserveBatch(100, time.Millisecond)
	code, text := request(t, "GET", url+"/metrics", nil)
	if code != 200 {
		t.Fatal(code, text)
	}
	for _, line := range []string{
		`godwit_build_info{go="`,
		`godwit_sessions 11`,
		`godwit_users 12`,
		`godwit_duplicates_total 13`,
		`godwit_queue_commands 14`,
		`godwit_reads_total{request="sync"} 15`,
		`godwit_group_missed_total 23`,
		`godwit_groups_online 24`,
		`godwit_group_seats 25`,
		`godwit_group_backlog_bytes 26`,
		`godwit_store_committed_records_total 27`,
		`godwit_reads_total{request="pull"} 16`,
		`godwit_disk_free_bytes 17`,
		`godwit_store_head_lookups_total{cache="miss"} 18`,
		`godwit_connections 19`,
		`godwit_connections_refused_total{reason="rate"} 20`,
		`godwit_slow_consumers_total 21`,
		`godwit_auth_total{result="ok"} 22`,
		`godwit_auth_total{result="TOKEN_EXPIRED"} 0`,
		`godwit_store_stalled 1`,
		`godwit_ack_seconds_count 2`,
		`godwit_delivery_seconds_count 1`,
		`godwit_sync_seconds_sum 1`,
		`godwit_fsync_seconds_count 1`,
		`godwit_batch_commands_sum 100`,
		`go_goroutines `,
		`process_open_fds `,
	} {
		if !strings.Contains("\n"+text, "\n"+line) {
			t.Errorf("no %s", line)
		}
	}
}

// TestMetricsAreDocumented compares /metrics with the table of OPERATIONS.md,
// in both directions.
func TestMetricsAreDocumented(t *testing.T) {
	_, text := request(t, "GET", start(t, Config{}, NewMetrics(), source())+"/metrics", nil)
	served := map[string]string{}
	for _, m := range regexp.MustCompile(`(?m)^# TYPE (godwit_\w+) (\w+)$`).FindAllStringSubmatch(text, -1) {
		served[m[1]] = m[2]
	}
	page, err := os.ReadFile("../../docs/OPERATIONS.md")
	if err != nil {
		t.Fatal(err)
	}
	documented := map[string]string{}
	for _, m := range regexp.MustCompile("(?m)^\\| `(godwit_\\w+)` \\| (\\w+) \\| \\S").FindAllStringSubmatch(string(page), -1) {
		if _, twice := documented[m[1]]; twice {
			t.Errorf("%s is documented twice", m[1])
		}
		documented[m[1]] = m[2]
	}
	if len(served) < 40 {
		t.Fatalf("only %d metrics are served", len(served))
	}
	for name, kind := range served {
		if documented[name] != kind {
			t.Errorf("%s is a %s, documented as %q", name, kind, documented[name])
		}
	}
	for name := range documented {
		if served[name] == "" {
			t.Errorf("%s is documented and not served", name)
		}
	}
}

func TestLabelsAreBounded(t *testing.T) {
	_, text := request(t, "GET", start(t, Config{}, NewMetrics(), source())+"/metrics", nil)
	allowed := []string{"reason", "result", "request", "cache", "by", "le", "version", "go"}
	series := map[string]int{}
	for _, m := range regexp.MustCompile(`(?m)^(godwit_\w+)\{([^}]*)\}`).FindAllStringSubmatch(text, -1) {
		series[m[1]]++
		for _, label := range regexp.MustCompile(`(\w+)="`).FindAllStringSubmatch(m[2], -1) {
			if !slices.Contains(allowed, label[1]) {
				t.Errorf("%s has the label %s", m[1], label[1])
			}
		}
	}
	if len(series) == 0 {
		t.Fatal("no metric has a label")
	}
	for name, n := range series {
		if n > 50 {
			t.Errorf("%s has %d series", name, n)
		}
	}
}

func TestMetricsFollowConventions(t *testing.T) {
	m := NewMetrics()
	for _, c := range []prometheus.Collector{newCounters(source()), m.ack, m.delivery, m.syncRequest, m.fsync, m.commit, m.batch} {
		problems, err := testutil.CollectAndLint(c)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range problems {
			t.Errorf("%s: %s", p.Metric, p.Text)
		}
	}
}
