package session

import (
	"cmp"
	"math/rand/v2"
	"runtime"
	"slices"
	"testing"
	"time"
	"weak"

	"pgregory.net/rapid"

	"github.com/godwit-im/godwit/protocol/pb"
)

// step moves the clock and ticks loop 0.
func (p *place) step(d time.Duration) {
	p.clock.advance(d)
	p.Tick(0, p.clock.Now())
}

func TestSilentSessionIsClosed(t *testing.T) {
	p := newPlace(t)
	s, w := p.connect(t, "alice", "phone") // a heartbeat of 1 min
	p.Watch(0, s)
	p.step(80 * time.Second)
	s.Touch(p.Nanos(p.clock.Now())) // any frame counts
	p.step(89 * time.Second)
	if w.isClosed() {
		t.Fatal("closed before 1.5 intervals of silence")
	}
	p.step(time.Second)
	if w.closeCode() != pb.Code_CODE_HEARTBEAT_TIMEOUT || p.Stats().HeartbeatTimeouts.Load() != 1 {
		t.Fatalf("closed with %v after 1.5 intervals of silence, want HEARTBEAT_TIMEOUT", w.closeCode())
	}
	p.step(time.Hour)
	if w.closed != 1 {
		t.Errorf("closed %d times", w.closed)
	}
	p.Unwatch(0, s) // as OnClose does; it is off the wheel already
	p.Close(s)
}

func TestTokenRunsOut(t *testing.T) {
	p := newPlace(t)
	req := p.request(t, "alice", "phone")
	req.Token = p.token(t, "alice", 10*time.Minute)
	w := &wire{}
	s, err := p.Connect(w, 1, req)
	if err != nil {
		t.Fatal(err)
	}
	p.Watch(0, s)
	lively := func(d time.Duration) {
		for range int(d / time.Second) {
			s.Touch(p.Nanos(p.clock.Now()))
			p.step(time.Second)
		}
	}
	leeway := DefaultAuthConfig().Leeway
	lively(9 * time.Minute)
	if _, err := p.Renew(s, p.token(t, "alice", 10*time.Minute)); err != nil {
		t.Fatal(err)
	}
	lively(10*time.Minute + leeway - time.Second)
	if w.isClosed() {
		t.Fatalf("closed with %v before the renewed token ran out", w.closeCode())
	}
	lively(time.Second)
	if w.closeCode() != pb.Code_CODE_TOKEN_EXPIRED || p.Stats().Expiries.Load() != 1 {
		t.Fatalf("closed with %v when the token ran out, want TOKEN_EXPIRED", w.closeCode())
	}
}

func TestConnectTimeout(t *testing.T) {
	p := newPlace(t)
	late, good := &wire{}, &wire{}
	h := p.Accept(late)
	p.Watch(0, h)
	authenticated := p.Accept(good)
	p.Watch(0, authenticated)
	p.step(DefaultConfig().ConnectTimeout - time.Millisecond)
	p.Unwatch(0, authenticated)
	if late.isClosed() {
		t.Fatal("closed too early")
	}
	p.step(time.Millisecond + DefaultConfig().Tick)
	if late.closeCode() != pb.Code_CODE_CONNECT_TIMEOUT || p.Stats().ConnectTimeouts.Load() != 1 {
		t.Errorf("closed with %v, want CONNECT_TIMEOUT", late.closeCode())
	}
	if good.isClosed() {
		t.Error("a connection that had authenticated was closed")
	}
}

// A session whose connection has closed is let go at once, not when its slot
// comes up.
func TestUnwatchLetsGo(t *testing.T) {
	p := newPlace(t)
	gone := func() weak.Pointer[Session] {
		s, _ := p.connect(t, "alice", "phone")
		neighbour, _ := p.connect(t, "bob", "phone") // the same slot
		p.Watch(0, neighbour)
		p.Watch(0, s)
		p.Unwatch(0, s)
		p.Close(s)
		return weak.Make(s)
	}()
	runtime.GC()
	if gone.Value() != nil {
		t.Error("the session is still held")
	}
}

func TestWatchTwicePanics(t *testing.T) {
	p := newPlace(t)
	s, _ := p.connect(t, "alice", "phone")
	p.Watch(0, s)
	defer func() {
		if recover() == nil {
			t.Error("watching twice did not panic")
		}
	}()
	p.Watch(0, s)
}

// entry is a wheel entry of the model test.
type entry struct {
	Timer
	deadline int64
	expired  int
	expire   func()
}

func (e *entry) Deadline() int64 { return e.deadline }
func (e *entry) Expire() {
	e.expired++
	if e.expire != nil {
		e.expire()
	}
}

// The wheel against a plain list: at every tick exactly those entries expire
// whose deadlines have passed, once each; and an entry waits for one tick at
// the most. Deadlines move later at any time; entries come and go at any time,
// also from within Expire.
func TestWheelModel(t *testing.T) {
	const tick = 100
	rapid.Check(t, func(rt *rapid.T) {
		now := rapid.Int64Range(0, 1<<40).Draw(rt, "start")
		w := newWheel(tick, now)
		w.advance(now)
		live := map[*entry]bool{}
		var order []*entry // for a choice that rapid can repeat
		span := rapid.OneOf(rapid.Int64Range(0, 3*tick), rapid.Int64Range(0, 4*wheelSlots*tick))
		choose := func(rt *rapid.T) *entry {
			order = slices.DeleteFunc(order, func(e *entry) bool { return !live[e] })
			if len(order) == 0 {
				rt.Skip("nothing is watched")
			}
			return rapid.SampledFrom(order).Draw(rt, "entry")
		}
		watch := func(e *entry) {
			w.watch(e)
			live[e] = true
			order = append(order, e)
		}
		unwatch := func(e *entry) {
			if e.watched() {
				e.unlink()
			}
			delete(live, e)
		}
		rt.Repeat(map[string]func(*rapid.T){
			"watch": func(rt *rapid.T) {
				watch(&entry{deadline: now + span.Draw(rt, "deadline")})
			},
			"watch one that unwatches another": func(rt *rapid.T) {
				other := choose(rt)
				watch(&entry{deadline: now + span.Draw(rt, "deadline"), expire: func() { unwatch(other) }})
			},
			"watch one that watches another": func(rt *rapid.T) {
				after := span.Draw(rt, "other's deadline")
				watch(&entry{deadline: now + span.Draw(rt, "deadline"), expire: func() {
					watch(&entry{deadline: now + after})
				}})
			},
			"unwatch": func(rt *rapid.T) { unwatch(choose(rt)) },
			"move later": func(rt *rapid.T) {
				choose(rt).deadline += span.Draw(rt, "by")
			},
			"tick": func(rt *rapid.T) {
				now += rapid.OneOf(rapid.Just(int64(tick)), span).Draw(rt, "after")
				w.advance(now)
				for e := range live {
					switch {
					case e.expired > 1:
						rt.Fatalf("expired %d times", e.expired)
					case e.expired == 1 && e.deadline > now:
						rt.Fatalf("expired %d early", e.deadline-now)
					case e.expired == 0 && e.deadline <= now-tick:
						rt.Fatalf("not expired %d late", now-e.deadline)
					case e.expired == 0 && !e.watched(), e.expired == 1 && e.watched():
						rt.Fatalf("expired %d times, watched: %v", e.expired, e.watched())
					}
					if e.expired == 1 {
						delete(live, e)
					}
				}
			},
		})
	})
}

// A frame costs a store; an entry comes up about once per interval whatever
// the number of frames.
func TestTouchLeavesTheWheelAlone(t *testing.T) {
	p := newPlace(t)
	s, w := p.connect(t, "alice", "phone")
	p.Watch(0, s)
	slot := s.Timer.next
	for range 1000 {
		p.clock.advance(50 * time.Millisecond)
		s.Touch(p.Nanos(p.clock.Now()))
	}
	if s.Timer.next != slot || w.isClosed() {
		t.Error("touching moved the session")
	}
	if n := testing.AllocsPerRun(100, func() { s.Touch(1) }); n != 0 {
		t.Errorf("Touch allocates %v times", n)
	}
}

// Both loops' wheels are independent, and each entry expires on its own.
func TestLoopsHaveTheirOwnWheels(t *testing.T) {
	p := newPlace(t)
	w0, w1 := &wire{}, &wire{}
	p.Watch(0, p.Accept(w0))
	p.Watch(1, p.Accept(w1))
	p.clock.advance(time.Minute)
	p.Tick(1, p.clock.Now())
	if w0.isClosed() || !w1.isClosed() {
		t.Errorf("after a tick of loop 1: loop 0 closed %v, loop 1 closed %v", w0.isClosed(), w1.isClosed())
	}
}

// Entries expire in whatever order of deadlines, all of them, when many share
// the wheel.
func TestWheelManyEntries(t *testing.T) {
	const tick = int64(time.Millisecond)
	w := newWheel(time.Duration(tick), 0)
	rng := rand.New(rand.NewPCG(1, 2))
	entries := make([]*entry, 10_000)
	for i := range entries {
		entries[i] = &entry{deadline: rng.Int64N(5 * wheelSlots * tick)}
		w.watch(entries[i])
	}
	slices.SortFunc(entries, func(a, b *entry) int { return cmp.Compare(a.deadline, b.deadline) })
	done := 0
	for now := int64(0); now <= 5*wheelSlots*tick; now += tick {
		w.advance(now)
		for done < len(entries) && entries[done].expired == 1 {
			done++
		}
		if done < len(entries) && entries[done].deadline <= now-tick {
			t.Fatalf("entry %d is %d late", done, now-entries[done].deadline)
		}
	}
	if done != len(entries) {
		t.Errorf("%d of %d expired", done, len(entries))
	}
}
