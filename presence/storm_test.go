package presence

import (
	"context"
	"fmt"
	"maps"
	"sync"
	"testing"
	"time"

	"github.com/godwit-im/godwit/chat"
	"github.com/godwit-im/godwit/protocol"
	"github.com/godwit-im/godwit/protocol/pb"
)

// crowd connects n users of whom each is subscribed to those after them, and to one
// whom everybody watches.
func (pl *place) crowd(n, each int) []*client {
	pl.t.Helper()
	name := func(i int) string { return fmt.Sprint("u", i%n) }
	clients := make([]*client, n)
	for i := range clients {
		clients[i] = pl.connect(name(i), "phone", "ios")
		users := []string{"star"}
		for j := 1; j < each; j++ {
			users = append(users, name(i+j))
		}
		clients[i].subscribe(false, users...)
	}
	return clients
}

// jam is a log whose queues are full for a while.
type jam struct {
	mu   sync.Mutex // guards what follows
	full int        // how many it refuses yet
	seen map[string]int64
}

func (j *jam) Submit(p *chat.Proposal) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.full--; j.full >= 0 {
		return protocol.Errorf(pb.Code_CODE_BUSY, "full")
	}
	j.seen[p.Command.User] = p.Command.SeenMs
	return nil
}

// A whole server's sessions end at once. Nobody is left to be told, it is noted of
// everybody when they were there last, and nothing is left in memory.
func TestStorm(t *testing.T) {
	n := 19_000
	if testing.Short() {
		n = 1000
	}
	pl := newPlace(t)
	log := &jam{full: n / 2, seen: map[string]int64{}}
	pl.log = log
	clients := pl.crowd(n, 5)
	pl.pass(time.Minute)
	if st := pl.Stats(); st.Subscriptions != 5*n || st.Watching != n || st.Told != 0 {
		t.Fatalf("%+v", st)
	}
	began, gone := time.Now(), pl.clock.Now().UnixMilli()
	for _, c := range clients {
		c.leave()
	}
	left := time.Now()
	pl.pass(time.Minute)
	t.Logf("%d sessions: %v on the loops, %v in step", n, left.Sub(began), time.Since(left))
	if st := pl.Stats(); st.Subscriptions != 0 || st.Watching != 0 || st.Users != 0 || st.Told != 0 || st.Seen != uint64(n) {
		t.Errorf("%+v", st)
	}
	if !pl.next.IsZero() || len(pl.due) > 0 || pl.ended != nil {
		t.Error("there is still something to do")
	}
	for user, ms := range log.seen {
		if ms != gone {
			t.Fatalf("%s was seen at %d, want %d", user, ms, gone)
		}
	}
}

// A server that stops notes everybody who is there, and who has just gone.
func TestLeave(t *testing.T) {
	pl := newPlace(t)
	log := &jam{full: 3, seen: map[string]int64{}}
	pl.log = log
	pl.connect("ann", "phone", "ios")
	pl.connect("ann", "desk", "linux")
	start := pl.clock.Now().UnixMilli()
	pl.connect("bob", "phone", "ios").leave()
	pl.pass(time.Second)
	pl.Leave(t.Context())
	if want := map[string]int64{"ann": start + 1000, "bob": start}; !maps.Equal(log.seen, want) {
		t.Errorf("seen %v, want %v", log.seen, want)
	}
	// One that is not let in gives up in time.
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	log.full, log.seen = 1<<30, map[string]int64{}
	pl.Leave(ctx)
	if len(log.seen) > 0 {
		t.Errorf("seen %v", log.seen)
	}
}

// Half of the sessions end: the other half is told of it once for each that they
// watch, whatever their number.
func TestHalfAStorm(t *testing.T) {
	const n, each = 600, 5
	pl := newPlace(t)
	for i := range n {
		pl.show(fmt.Sprint("u", i), pb.Audience_AUDIENCE_EVERYBODY)
	}
	clients := pl.crowd(n, each)
	pl.pass(time.Second)
	for _, c := range clients {
		c.news()
	}
	before := pl.Stats().Told
	for i := 0; i < n; i += 2 {
		clients[i].leave()
	}
	pl.pass(time.Minute)
	// Each of those who stay watches four others, two of whom have gone.
	for i := 1; i < n; i += 2 {
		if news := clients[i].news(); len(news) != 2 {
			t.Fatalf("client %d: %q", i, news)
		}
	}
	if st := pl.Stats(); st.Told-before != n/2*2 || st.Subscriptions != n/2*each {
		t.Errorf("%+v", st)
	}
}

// Users come and go, sessions subscribe, change their mind and end, all at once
// and with the package's own goroutine and clock. In the end every session knows
// how everybody stands, and nothing is left of those that ended.
func TestRaces(t *testing.T) {
	pl := newPlace(t, func(c *Config) {
		c.Delay, c.Interval, c.Retry, c.Now = 5*time.Millisecond, time.Millisecond, time.Millisecond, time.Now
	})
	const users, rounds = 8, 150
	for i := range users {
		pl.show(fmt.Sprint("u", i), pb.Audience_AUDIENCE_EVERYBODY)
	}
	all := make([]string, users)
	for i := range all {
		all[i] = fmt.Sprint("u", i)
	}
	go pl.run()
	var wg sync.WaitGroup
	watchers := make([]*client, 4)
	for i := range watchers {
		watchers[i] = pl.connect(fmt.Sprint("w", i), "phone", "ios")
		wg.Go(func() {
			for round := range rounds {
				frame, then, err := pl.Subscribe(watchers[i].Session, 7, &pb.Subscribe{Users: all[round%2*users/2:]})
				if err != nil {
					t.Error(err)
					return
				}
				watchers[i].Reply(frame) // the worker's part
				then()
				passing := pl.connect(fmt.Sprint("p", i), "phone", "ios")
				wg.Go(func() {
					// A session may end while its SUBSCRIBE is answered.
					if _, then, err := pl.Subscribe(passing.Session, 7, &pb.Subscribe{Users: all}); err == nil {
						then()
					}
				})
				passing.leave()
			}
		})
	}
	for i := range users {
		wg.Go(func() {
			for round := range rounds {
				c := pl.connect(all[i], fmt.Sprint("d", round%2), fmt.Sprint("p", round%3))
				if round < rounds-1 || i%2 == 0 {
					c.leave()
				}
			}
		})
	}
	wg.Wait()
	// One more change of everybody, so that there is something to wait for: each
	// watcher is told of it in the end.
	for i, user := range all {
		pl.connect(user, "last", fmt.Sprint("last", i))
	}
	timeout := time.After(patience)
	for i, w := range watchers {
		known := map[string]string{}
		for want := all[(rounds-1)%2*users/2:]; ; {
			for _, f := range w.wire.take() {
				switch f.Type {
				case protocol.TypeSubscribed:
					m := &pb.Subscribed{}
					pl.decode(protocol.AppendFrame(nil, f.Type, f.Request, f.Body), f.Type, 7, m)
					clear(known)
					for _, p := range m.Presences {
						known[p.User] = fmt.Sprint(p.Platforms)
					}
				case protocol.TypePresence:
					m := &pb.Presence{}
					pl.decode(protocol.AppendFrame(nil, f.Type, 0, f.Body), f.Type, 0, m)
					if _, watched := known[m.User]; watched {
						known[m.User] = fmt.Sprint(m.Platforms)
					}
				}
			}
			right := 0
			for _, user := range want {
				if known[user] == fmt.Sprint(pl.platforms(user)) {
					right++
				}
			}
			if right == len(want) {
				break
			}
			select {
			case <-w.wire.more:
			case <-timeout:
				t.Fatalf("watcher %d knows %v", i, known)
			}
		}
	}
	for _, w := range watchers {
		w.leave()
	}
	pl.Close()
	for pl.takeApart() {
	}
	if st := pl.Stats(); st.Subscriptions != 0 || st.Watching != 0 {
		t.Errorf("%+v", st)
	}
}

func BenchmarkStorm(b *testing.B) {
	for _, n := range []int{2000, 8000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			for b.Loop() {
				b.StopTimer()
				pl := newPlace(b)
				pl.log = &jam{seen: map[string]int64{}}
				clients := pl.crowd(n, 20)
				b.StartTimer()
				for _, c := range clients {
					c.leave()
				}
				pl.pass(time.Minute)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*n), "ns/session")
		})
	}
}

// One whom many watch comes: what it takes to find out for each of them whether
// they may see it, and to tell them.
func BenchmarkTell(b *testing.B) {
	const watchers = 10_000
	for _, audience := range []pb.Audience{pb.Audience_AUDIENCE_UNSPECIFIED, pb.Audience_AUDIENCE_EVERYBODY} {
		b.Run(audience.String(), func(b *testing.B) {
			pl := newPlace(b)
			pl.show("star", audience)
			for _, c := range pl.crowd(watchers, 1) {
				pl.talk(c.User, "star")
			}
			for i := 0; b.Loop(); i++ {
				pl.connect("star", "phone", fmt.Sprint("p", i))
				pl.pass(time.Second)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*watchers), "ns/watcher")
		})
	}
}

// What presence adds to a login and a logout, with nobody watching.
func BenchmarkChanged(b *testing.B) {
	pl := newPlace(b)
	pl.log = &jam{seen: map[string]int64{}}
	c := pl.connect("ann", "phone", "ios")
	b.Run("online", func(b *testing.B) {
		for b.Loop() {
			pl.Changed("ann")
		}
	})
	c.leave()
	b.Run("gone", func(b *testing.B) {
		for b.Loop() {
			pl.Changed("ann")
		}
	})
}
