//go:build !race

// The race detector multiplies what is measured here, and Pebble then keeps on
// the heap what it keeps elsewhere otherwise.

package e2e

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/godwit-im/godwit/bench"
	"github.com/godwit-im/godwit/bench/node"
	"github.com/godwit-im/godwit/bench/report"
	"github.com/godwit-im/godwit/protocol"
	godwit "github.com/godwit-im/godwit/sdk-go"
)

const (
	floodSize  = 64_000
	flood      = 3200 // messages; times floodSize is over 200 MB
	floodAhead = 32   // messages on their way to the server
)

// TestReaderThatStops floods a user whose connection nobody reads, and looks
// at what that costs the server and the others, compared with a flood that is
// read.
func TestReaderThatStops(t *testing.T) {
	const (
		// mayGrow is by how much the server's live heap may be larger: the cap on
		// a session's output is 1 MiB, what is on its way in the same again.
		mayGrow = 32 << 20
		// By how much the others' latency may be larger: all that a machine that
		// runs other tests too may add. A loop that waits for the reader would
		// stop them for good.
		mayWaitP50, mayWaitP99 = time.Second, 10 * time.Second
	)
	f := newFlood(t)
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
	defer cancel()

	read := f.run(ctx)
	if err := f.to.await(ctx, flood); err != nil {
		t.Fatal(err)
	}
	f.valve.close()
	unread := f.run(ctx)
	t.Logf("flood read: %v", read)
	t.Logf("not read:   %v", unread)
	if unread.heap > read.heap+mayGrow {
		t.Errorf("the server's heap grew from %d to %d MiB", read.heap>>20, unread.heap>>20)
	}
	p50 := time.Duration(unread.others.P50-read.others.P50) * time.Microsecond
	p99 := time.Duration(unread.others.P99-read.others.P99) * time.Microsecond
	if p50 > mayWaitP50 || p99 > mayWaitP99 {
		t.Errorf("others waited longer, by %v in the median and %v in the 99th percentile", p50, p99)
	}

	f.to.mu.Lock()
	missing := 2*flood - f.to.received
	f.to.mu.Unlock()
	if missing < flood/2 {
		t.Fatalf("only %d messages are missing: the reader never stopped", missing)
	}
	began := time.Now()
	f.valve.open()
	for _, p := range []*party{f.to, f.from} {
		if err := p.await(ctx, 2*flood); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("caught up with %d messages in %v", missing, time.Since(began).Round(time.Millisecond))
	judge(t, f.from, f.to)
}

// TestReaderThatStopsUncapped is the control: without the cap the same flood
// must show in the same figure.
func TestReaderThatStopsUncapped(t *testing.T) {
	f := newFlood(t, "--outbound-lag", "512MiB", "--outbound-cap", "1GiB")
	f.valve.close()
	cost := f.run(t.Context())
	t.Logf("not read: %v", cost)
	f.valve.open()
	if cost.heap < flood*floodSize/2 {
		t.Errorf("the heap peaked at %d MiB although %d MiB waited to be sent", cost.heap>>20, flood*floodSize>>20)
	}
}

// flooded is a server, a flooder, and a reader behind a valve.
type flooded struct {
	*server
	t        *testing.T
	from, to *party
	valve    *valve
}

func newFlood(t *testing.T, args ...string) *flooded {
	t.Helper()
	// Collecting often, the server knows at any time what it holds. By itself it
	// lets garbage wait under load, more of it the longer it has been busy.
	cfg := node.Config{Args: append(args, "--cache", "16MiB"), Env: []string{"GOGC=25"}}
	f := &flooded{server: start(t, cfg), t: t, valve: newValve()}
	flooder, reader := "flooder", "reader"
	conversation := protocol.DirectID(flooder, reader)
	f.from = join(t, flooder, conversation, godwit.Options{Addr: f.Addr, Token: f.token(t, flooder), Device: "phone", Pipeline: floodAhead})
	f.to = join(t, reader, conversation, godwit.Options{
		Addr: f.Addr, Token: f.token(t, reader), Device: "phone", Dialer: f.valve.dial,
		Backoff: godwit.Backoff{Min: 10 * time.Millisecond, Max: 100 * time.Millisecond},
	})
	return f
}

// cost is what a flood does to the server, at the peak, and to the others.
type cost struct {
	heap, rss uint64 // bytes; the heap without garbage
	others    report.Latency
}

func (c cost) String() string {
	return fmt.Sprintf("peak live heap %d MiB, peak RSS %d MiB, others' delivery p50 %d µs, p99 %d µs, max %d µs",
		c.heap>>20, c.rss>>20, c.others.P50, c.others.P99, c.others.Max)
}

// run sends one flood while two others chat.
func (f *flooded) run(ctx context.Context) (c cost) {
	f.t.Helper()
	group, ctx := errgroup.WithContext(ctx)
	over := make(chan struct{})
	group.Go(func() error {
		defer close(over)
		return f.from.send(ctx, flood, floodSize, floodAhead)
	})
	group.Go(func() (err error) {
		c.heap, c.rss, err = f.peak(over)
		return err
	})
	group.Go(func() error {
		r, err := bench.Direct(ctx, bench.DirectConfig{
			Target: bench.Target{Addr: f.Addr, Token: f.sign}, Pairs: 4,
			Warmup: time.Millisecond, For: time.Second,
		})
		if err != nil {
			return err
		}
		for _, l := range r.Latencies {
			if l.Name == bench.Delivery {
				c.others = l
			}
		}
		return r.Err()
	})
	if err := group.Wait(); err != nil {
		f.t.Fatal(err)
	}
	return c
}

// peak watches what the server's collections leave on its heap, and its
// resident memory, until stop is closed.
func (s *server) peak(stop <-chan struct{}) (heap, rss uint64, err error) {
	ticker := time.NewTicker(50 * time.Millisecond)
	defer ticker.Stop()
	for {
		h, err := s.metric("go_gc_heap_live_bytes")
		if err != nil {
			return 0, 0, err
		}
		r, err := s.metric("process_resident_memory_bytes")
		if err != nil {
			return 0, 0, err
		}
		heap, rss = max(heap, uint64(h)), max(rss, uint64(r))
		select {
		case <-stop:
			return heap, rss, nil
		case <-ticker.C:
		}
	}
}

// metric scrapes one metric without labels.
func (s *server) metric(name string) (float64, error) {
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 10 * time.Second}
	resp, err := client.Get(s.AdminURL() + "/metrics")
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	lines := bufio.NewScanner(resp.Body)
	for lines.Scan() {
		if value, ok := strings.CutPrefix(lines.Text(), name+" "); ok {
			return strconv.ParseFloat(value, 64)
		}
	}
	return 0, fmt.Errorf("no metric %s: %w", name, lines.Err())
}

// valve is a dialler whose connections read nothing while it is closed.
type valve struct {
	mu   sync.Mutex    // guards flow
	flow chan struct{} // closed while the valve is open
}

func newValve() *valve {
	v := &valve{flow: make(chan struct{})}
	close(v.flow)
	return v
}

func (v *valve) close() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.flow = make(chan struct{})
}

func (v *valve) open() {
	v.mu.Lock()
	defer v.mu.Unlock()
	close(v.flow)
}

func (v *valve) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	var d net.Dialer
	c, err := d.DialContext(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	return &valvedConn{Conn: c, valve: v, closed: make(chan struct{})}, nil
}

type valvedConn struct {
	net.Conn
	valve  *valve
	once   sync.Once
	closed chan struct{}
}

// Read ignores deadlines while the valve is closed.
func (c *valvedConn) Read(b []byte) (int, error) {
	c.valve.mu.Lock()
	flow := c.valve.flow
	c.valve.mu.Unlock()
	select {
	case <-flow:
		return c.Conn.Read(b)
	case <-c.closed:
		return 0, os.ErrClosed
	}
}

func (c *valvedConn) Close() error {
	c.once.Do(func() { close(c.closed) })
	return c.Conn.Close()
}
