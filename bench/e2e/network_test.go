package e2e

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	toxiproxy "github.com/Shopify/toxiproxy/v2"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	"golang.org/x/sync/errgroup"

	"github.com/godwit-im/godwit/protocol"
	godwit "github.com/godwit-im/godwit/sdk-go"
)

// link is the network between one party and the server.
type link struct {
	t     *testing.T
	proxy *toxiproxy.Proxy
}

func newLink(t *testing.T, upstream string) *link {
	t.Helper()
	logger := zerolog.Nop()
	p := toxiproxy.NewProxy(toxiproxy.NewServer(toxiproxy.NewMetricsContainer(prometheus.NewRegistry()), logger), t.Name(), "127.0.0.1:0", upstream)
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Stop)
	return &link{t, p}
}

// poison gives both directions a toxic.
func (l *link) poison(kind, attributes string) {
	l.t.Helper()
	for _, stream := range []string{"upstream", "downstream"} {
		json := fmt.Sprintf(`{"name":"%s-%s","type":"%s","stream":"%s","attributes":{%s}}`, kind, stream, kind, stream, attributes)
		if _, err := l.proxy.Toxics.AddToxicJson(strings.NewReader(json)); err != nil {
			l.t.Error(err)
		}
	}
}

func (l *link) heal(ctx context.Context) { l.proxy.Toxics.ResetToxics(context.WithoutCancel(ctx)) }

// afflictions are what the network suffers from, one after the other, and how
// many messages each user sends meanwhile: 10,000 in all.
var afflictions = []struct {
	name     string
	messages int
	begin    func(*link)
	// pulse, if any, is repeated until the messages have arrived, with a calm
	// after each; it ends with the link healed.
	pulse func(context.Context, *link)
	calm  time.Duration
}{
	{"none", 1000, func(*link) {}, nil, 0},
	{"latency", 2000, func(l *link) { l.poison("latency", `"latency":40,"jitter":20`) }, nil, 0},
	{"one byte at a time", 1000, func(l *link) { l.poison("slicer", `"average_size":1,"size_variation":0,"delay":0`) }, nil, 0},
	{"cut after 60 kB", 2500, func(l *link) { l.poison("limit_data", `"bytes":60013`) }, nil, 0},
	{"resets", 1500, func(*link) {}, func(ctx context.Context, l *link) {
		l.poison("reset_peer", `"timeout":0`)
		wait(ctx, 5*time.Millisecond)
		l.heal(ctx)
	}, 20 * time.Millisecond},
	{"silence, then closed", 500, func(*link) {}, func(ctx context.Context, l *link) {
		l.poison("timeout", `"timeout":200`)
		wait(ctx, 300*time.Millisecond)
		l.heal(ctx)
	}, 50 * time.Millisecond},
	{"silence until both sides give up", 500, func(*link) {}, func(ctx context.Context, l *link) {
		l.poison("timeout", `"timeout":0`)
		wait(ctx, 3*time.Second) // heartbeats are 1 s
		l.heal(ctx)
	}, time.Second},
	{"cut, delayed and sliced", 1000, func(l *link) {
		l.poison("limit_data", `"bytes":60013`)
		l.poison("latency", `"latency":5,"jitter":5`)
		l.poison("slicer", `"average_size":7,"size_variation":3,"delay":0`)
	}, nil, 0},
}

// TestBadNetwork has two users send 10,000 messages each to the other through
// networks that go from bad to worse.
func TestBadNetwork(t *testing.T) {
	s := startServer(t, "--heartbeat-min", "500ms", "--heartbeat-default", "1s")
	alice, bob := "alice", "bob"
	conversation := protocol.DirectID(alice, bob)
	var links []*link
	var parties []*party
	for _, user := range []string{alice, bob} {
		l := newLink(t, s.Addr)
		links = append(links, l)
		parties = append(parties, join(t, user, conversation, godwit.Options{
			Addr: l.proxy.Listen, Token: s.token(t, user), Device: "phone",
			Pipeline:  64,
			Heartbeat: time.Second, // so that a silent network is noticed soon
			Backoff:   godwit.Backoff{Min: 10 * time.Millisecond, Max: 100 * time.Millisecond},
		}))
	}
	ctx, cancel := context.WithTimeout(t.Context(), 8*time.Minute)
	defer cancel()
	sent := 0
	for _, a := range afflictions {
		began := time.Now()
		for _, l := range links {
			a.begin(l)
		}
		sent += a.messages
		if err := converse(ctx, parties, a.messages, 2*sent, func(ctx context.Context) {
			for calm := a.calm; a.pulse != nil && ctx.Err() == nil; {
				var both sync.WaitGroup
				for _, l := range links {
					both.Go(func() { a.pulse(ctx, l) })
				}
				both.Wait()
				before := handed(parties)
				wait(ctx, calm)
				if handed(parties) == before {
					calm *= 2 // the machine is too slow to get anything through
				}
			}
		}); err != nil {
			t.Fatalf("%s: %v", a.name, err)
		}
		for _, l := range links {
			l.heal(ctx)
		}
		t.Logf("%s: %d messages each way in %v", a.name, a.messages, time.Since(began).Round(time.Millisecond))
	}
	if sent != 10_000 {
		t.Errorf("%d messages were sent each way", sent)
	}
	judge(t, parties...)
}

// converse has each of the parties send n messages and receive until it was
// handed total, while disturb runs.
func converse(ctx context.Context, parties []*party, n, total int, disturb func(context.Context)) error {
	disturbing, enough := context.WithCancel(ctx)
	var disturber sync.WaitGroup
	disturber.Go(func() { disturb(disturbing) })
	defer disturber.Wait()
	defer enough()
	group, ctx := errgroup.WithContext(ctx)
	for _, p := range parties {
		group.Go(func() error { return p.send(ctx, n, 40, 256) })
		group.Go(func() error { return p.await(ctx, total) })
	}
	return group.Wait()
}

// handed is how many messages the parties were handed so far.
func handed(parties []*party) (n int) {
	for _, p := range parties {
		p.mu.Lock()
		n += p.received
		p.mu.Unlock()
	}
	return n
}

// wait is for how long an affliction lasts; nothing is synchronised by it.
func wait(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}
