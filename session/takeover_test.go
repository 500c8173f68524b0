package session

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/godwit-im/godwit/protocol/pb"
)

func TestTakeover(t *testing.T) {
	p := newPlace(t)
	p.connect(t, "alice", "tablet")
	old, oldWire := p.connect(t, "alice", "phone")
	p.connect(t, "alice", "laptop") // phone is now in the middle of the chain
	if err := old.Begin(10); err != nil {
		t.Fatal(err)
	}
	s, w := p.connect(t, "alice", "phone")

	if oldWire.closeCode() != pb.Code_CODE_REPLACED || w.isClosed() {
		t.Errorf("old closed with %v, new closed: %v", oldWire.closeCode(), w.isClosed())
	}
	if s.Generation <= old.Generation {
		t.Errorf("generation %d after %d", s.Generation, old.Generation)
	}
	// Late frames of the old connection change nothing, and what was begun
	// may still end.
	wantCode(t, old.Begin(1), pb.Code_CODE_REPLACED)
	old.End(10)
	old.PushMessage("d:alice:bob", 1, message("d:alice:bob", 1))
	old.Drained()
	if frames := oldWire.take(); len(frames) != 0 {
		t.Errorf("the old connection was sent %v", types(frames))
	}
	// Nor does its late close.
	p.Close(old)
	p.Close(old)
	if found := p.Sessions(nil, "alice"); len(found) != 3 || !slices.Contains(found, s) || p.Len() != 3 {
		t.Errorf("%d sessions, len %d, the newest among them: %v", len(found), p.Len(), slices.Contains(found, s))
	}
	if st := p.Stats(); st.Takeovers.Load() != 1 || st.Connects.Load() != 4 {
		t.Errorf("%d takeovers, %d connects", st.Takeovers.Load(), st.Connects.Load())
	}
	p.Close(s)
	if found := p.Sessions(nil, "alice"); len(found) != 2 || slices.Contains(found, s) {
		t.Errorf("%d sessions, the closed one among them: %v", len(found), slices.Contains(found, s))
	}
}

// Connections of the same device authenticate at once, and each of those that
// lose closes late, while others still connect. Exactly one must remain, the
// one with the highest generation, and its wire must be open: promise 6.
// A mutant of shard.remove that goes by device instead of identity fails here.
func TestTakeoverRace(t *testing.T) {
	const loops = 4
	rounds := 2000
	if testing.Short() {
		rounds = 200
	}
	p := newPlace(t)
	p.connect(t, "alice", "tablet") // so that chains have an end,
	req := p.request(t, "alice", "phone")
	laptop := p.request(t, "alice", "laptop") // and another beginning at times
	for range rounds {
		var (
			wg       sync.WaitGroup
			start    = make(chan struct{})
			over     = make(chan struct{})
			sessions [loops]*Session
			wires    [loops]*wire
			ready    sync.WaitGroup
		)
		for i := range loops {
			w := &wire{id: uint64(i), gone: make(chan struct{})}
			wires[i] = w
			ready.Add(1)
			wg.Go(func() {
				<-start
				s, err := p.Connect(w, 1, req)
				sessions[i] = s
				ready.Done()
				if err != nil {
					t.Errorf("Connect: %v", err)
					return
				}
				select {
				case <-w.gone: // replaced: the late close, as OnClose does it
					p.Close(s)
				case <-over:
				}
			})
		}
		wg.Go(func() {
			<-start
			s, err := p.Connect(&wire{}, 1, laptop)
			if err != nil {
				t.Errorf("Connect: %v", err)
				return
			}
			<-over
			p.Close(s)
		})
		close(start)
		ready.Wait()

		open := -1
		for i, w := range wires {
			if !w.isClosed() {
				if open >= 0 {
					t.Fatalf("connections %d and %d are both open", open, i)
				}
				open = i
			} else if w.closeCode() != pb.Code_CODE_REPLACED || w.closed != 1 {
				t.Fatalf("connection %d was closed %d times with %v", i, w.closed, w.closeCode())
			}
		}
		if open < 0 {
			t.Fatal("every connection was closed")
		}
		close(over)
		wg.Wait() // the late closes are through

		found := p.Sessions(nil, "alice")
		found = slices.DeleteFunc(found, func(s *Session) bool { return s.Device == "tablet" })
		if len(found) != 1 || found[0] != sessions[open] || p.Len() != 2 {
			t.Fatalf("%d sessions of the phone are registered (%d in all); open is generation %d", len(found), p.Len(), sessions[open].Generation)
		}
		for _, s := range sessions {
			if s.Generation > sessions[open].Generation {
				t.Fatalf("generation %d lost to %d", s.Generation, sessions[open].Generation)
			}
		}
		p.Close(sessions[open])
	}
}

// Generations go on rising when the manager is made anew.
func TestGenerationOverRestart(t *testing.T) {
	p := newPlace(t)
	before, _ := p.connect(t, "alice", "phone")
	p.clock.advance(time.Second)
	restarted, err := NewManager(p.cfg, p.verifier, 42)
	if err != nil {
		t.Fatal(err)
	}
	after, err := restarted.Connect(&wire{}, 1, p.request(t, "alice", "phone"))
	if err != nil {
		t.Fatal(err)
	}
	if after.Generation <= before.Generation {
		t.Errorf("generation %d after a restart, %d before it", after.Generation, before.Generation)
	}
}

// The registry against a map of maps, over any order of connects and closes.
func TestRegistryModel(t *testing.T) {
	type name struct{ user, device string }
	rapid.Check(t, func(rt *rapid.T) {
		const limit = 3
		policy := rapid.SampledFrom([]LoginPolicy{LoginAll, LoginPlatform, LoginOne}).Draw(rt, "policy")
		r := newRegistry()
		generation := uint64(0)
		model := map[name]*Session{}
		var all []*Session // every session there ever was
		devices := func(user string) (list []*Session) {
			for n, s := range model {
				if n.user == user {
					list = append(list, s)
				}
			}
			return list
		}
		pick := func(what string, n int) string { return fmt.Sprint(what, rapid.IntRange(1, n).Draw(rt, what)) }
		rt.Repeat(map[string]func(*rapid.T){
			"add": func(*rapid.T) {
				n := name{pick("user", 3), pick("device", 5)}
				s := &Session{User: n.user, Device: n.device, Platform: pick("platform", 2)}
				replaced, err := r.add(s, limit, policy, func() uint64 { generation++; return generation })
				var want []*Session
				for _, x := range devices(n.user) {
					if x.Device == s.Device || policy == LoginOne || policy == LoginPlatform && x.Platform == s.Platform {
						want = append(want, x)
					}
				}
				full := len(want) == 0 && len(devices(n.user)) == limit
				if full != (err != nil) {
					rt.Fatalf("add %v: error %v, want one: %v", n, err, full)
				}
				if full {
					return
				}
				if len(replaced) != len(want) {
					rt.Fatalf("add %v replaced %d sessions, want %d", n, len(replaced), len(want))
				}
				for _, x := range want {
					if !slices.Contains(replaced, x) {
						rt.Fatalf("add %v did not replace %s", n, x.Device)
					}
					delete(model, name{x.User, x.Device})
				}
				model[n] = s
				all = append(all, s)
			},
			"remove": func(rt *rapid.T) {
				if len(all) == 0 {
					return
				}
				s := rapid.SampledFrom(all).Draw(rt, "session")
				n := name{s.User, s.Device}
				registered := model[n] == s
				if registered {
					delete(model, n)
				}
				if got := r.remove(s); got != registered {
					rt.Fatalf("remove %v generation %d: %v, want %v", n, s.Generation, got, registered)
				}
			},
			"take": func(rt *rapid.T) {
				if len(all) == 0 {
					return
				}
				by := rapid.SampledFrom(all).Draw(rt, "by")
				n := name{by.User, pick("device", 5)}
				var want *Session
				if model[name{by.User, by.Device}] == by && n.device != by.Device {
					want = model[n]
				}
				if got := r.take(by, n.device); got != want {
					rt.Fatalf("%s generation %d takes %s: %v, want %v", by.Device, by.Generation, n.device, got, want)
				}
				if want != nil {
					delete(model, n)
				}
			},
			"": func(*rapid.T) {
				users := map[string]bool{}
				for n := range model {
					users[n.user] = true
				}
				for _, user := range []string{"user1", "user2", "user3"} {
					got, want := r.sessions(nil, user), devices(user)
					if len(got) != len(want) || r.online(user) != (len(want) > 0) {
						rt.Fatalf("%s has %d sessions, want %d", user, len(got), len(want))
					}
					for _, s := range want {
						if !slices.Contains(got, s) {
							rt.Fatalf("%s lacks generation %d", user, s.Generation)
						}
					}
				}
				if int(r.count.Load()) != len(model) || r.countUsers() != len(users) {
					rt.Fatalf("%d sessions of %d users, want %d of %d", r.count.Load(), r.countUsers(), len(model), len(users))
				}
			},
		})
	})
}
