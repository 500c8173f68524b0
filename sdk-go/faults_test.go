package godwit_test

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/godwit-im/godwit/protocol/pb"
	godwit "github.com/godwit-im/godwit/sdk-go"
	"github.com/godwit-im/godwit/sdk-go/internal/fakeserver"
)

// randomFaults draws a server that misbehaves in a few ways at once.
func randomFaults(rng *rand.Rand, refuse bool) fakeserver.Faults {
	some := func(most float64) float64 {
		if rng.IntN(2) == 0 {
			return 0
		}
		return rng.Float64() * most
	}
	f := fakeserver.Faults{
		Cut: some(0.01), CutAnswer: some(0.01),
		LosePush: some(0.2), DuplicatePush: some(0.2), ReorderPush: some(0.2),
		Heads: some(0.1), EmptyHeads: some(0.02),
		Refuse: some(0.1), RefuseAfter: time.Duration(rng.IntN(5)) * time.Millisecond,
		RefuseConnect: some(0.3),
		Delay:         time.Duration(rng.IntN(3)) * time.Millisecond,
	}
	codes := []pb.Code{pb.Code_CODE_BUSY, pb.Code_CODE_TOO_MANY_IN_FLIGHT, pb.Code_CODE_STORAGE_FULL, pb.Code_CODE_INTERNAL}
	if !refuse {
		f.Refuse = 0
	}
	f.RefuseCode = codes[rng.IntN(len(codes))]
	return f
}

// device is one client of the random test, which may be closed and opened
// again on the same store.
type device struct {
	*app
	client *godwit.Client
	sent   map[string][]string // conversation → texts in the order of their Sends
}

// TestRandomFaults sends messages between users, one of whom has two devices,
// while connections break, pushes are lost, doubled and reordered, requests
// are refused and programs restart. In the end every device has been handed
// every message of its conversations once and in order, the server has each
// message once and in the order in which its device sent it, the outboxes are
// empty and every handle has resolved.
func TestRandomFaults(t *testing.T) {
	for seed := range uint64(8) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			t.Parallel()
			testRandomFaults(t, seed, 250)
		})
	}
}

func testRandomFaults(t *testing.T, seed uint64, messages int) {
	rng := rand.New(rand.NewPCG(seed, 2))
	s := startServer(t, fakeserver.Config{
		Seed:        seed,
		MaxInFlight: 1 + rng.IntN(64), MaxInFlightBytes: 9000, PullLimit: 1 + rng.IntN(50), SyncLimit: 1 + rng.IntN(3),
	})
	// With more than one message in flight the order is kept as long as none
	// is refused.
	pipeline := 1
	if seed%2 == 1 {
		pipeline = 32
	}
	users := []string{"alice", "alice", "bob", "carol"}
	var devices []*device
	for i, user := range users {
		d := &device{app: newApp(t, s, user), sent: make(map[string][]string)}
		d.opts.Device = fmt.Sprint("device-", i)
		d.opts.Store = godwit.NewMemoryStore()
		d.opts.Pipeline = pipeline
		if i == 0 {
			store, err := godwit.OpenFileStore(filepath.Join(t.TempDir(), "store"))
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { store.Close() })
			d.opts.Store = store
		}
		d.client = d.dial()
		devices = append(devices, d)
	}

	var sending sync.WaitGroup
	for i, d := range devices {
		rng := rand.New(rand.NewPCG(seed, uint64(10+i)))
		sending.Go(func() { d.sendMany(t, rng, users, messages) })
	}
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for {
			s.SetFaults(randomFaults(rng, pipeline == 1))
			switch user := users[rng.IntN(len(users))]; rng.IntN(8) {
			case 0:
				s.GoAway(user, time.Duration(rng.IntN(20))*time.Millisecond)
			case 1:
				s.Cut(user)
			}
			select {
			case <-tick.C:
			case <-stop:
				return
			}
		}
	}()
	sending.Wait()
	close(stop)
	<-stopped
	s.SetFaults(fakeserver.Faults{})
	for _, user := range users {
		s.Cut(user) // a push that was lost is made good by the next SYNC
	}

	for _, pair := range [][2]string{{"alice", "bob"}, {"alice", "carol"}, {"bob", "carol"}} {
		conv := direct(pair[0], pair[1])
		var texts []string
		sent := 0
		for _, d := range devices {
			sent += len(d.sent[conv])
		}
		if !s.Until(patience, func() bool { return len(s.Messages(conv)) >= sent }) {
			t.Fatalf("%s has %d messages, want %d", conv, len(s.Messages(conv)), sent)
		}
		for _, m := range s.Messages(conv) {
			texts = append(texts, string(m.Body))
		}
		if len(texts) != sent {
			t.Fatalf("%s has %d messages, want %d", conv, len(texts), sent)
		}
		for i, d := range devices {
			isSubsequence(t, conv, texts, d.sent[conv])
			if users[i] != pair[0] && users[i] != pair[1] {
				continue
			}
			d.untilSeqs(conv, 1, uint64(sent))
			for j, m := range d.received(conv) {
				if m.Text() != texts[j] {
					t.Fatalf("%s seq %d: handed %q, stored %q", conv, m.Seq, m.Text(), texts[j])
				}
			}
		}
	}
	for _, d := range devices {
		if n := len(d.client.Outbox()); n > 0 {
			t.Errorf("%d messages left in the outbox of %s", n, d.opts.Device)
		}
	}
}

// sendMany sends to random users, and now and then closes the client and goes
// on with a new one.
func (d *device) sendMany(t *testing.T, rng *rand.Rand, users []string, n int) {
	var handles []*godwit.Outgoing
	for i := range n {
		to := users[rng.IntN(len(users))]
		if to == d.client.User() {
			continue
		}
		text := fmt.Sprintf("%s/%d", d.opts.Device, i)
		out, err := d.client.SendText(within(t), to, text)
		if err != nil {
			t.Errorf("send: %v", err)
			return
		}
		handles = append(handles, out)
		d.sent[out.Conversation()] = append(d.sent[out.Conversation()], text)
		if rng.IntN(n/2) == 0 {
			d.client.Close()
			handles = handles[:0]
			d.client = d.dial()
		}
		if rng.IntN(10) == 0 {
			// Let the faults work on more than one burst.
			out.Sent(within(t))
		}
	}
	for _, out := range handles {
		if _, err := out.Sent(within(t)); err != nil {
			t.Errorf("handle: %v", err)
		}
	}
}

// isSubsequence checks that all of part is in whole, in this order.
func isSubsequence(t *testing.T, conv string, whole, part []string) {
	for _, text := range whole {
		if len(part) > 0 && part[0] == text {
			part = part[1:]
		}
	}
	if len(part) > 0 {
		t.Errorf("%s: %q is missing or out of order", conv, part[0])
	}
}
