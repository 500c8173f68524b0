package session

import (
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/godwit-im/godwit/protocol"
	"github.com/godwit-im/godwit/protocol/pb"
)

func TestAdmitSignal(t *testing.T) {
	p := newPlace(t, func(cfg *Config) { cfg.SignalRate, cfg.SignalBurst = 10, 5 })
	s, _ := p.connect(t, "alice", "phone")
	other, _ := p.connect(t, "alice", "tablet")
	admitted := func() (n int) {
		t.Helper()
		for {
			err := s.AdmitSignal(p.Nanos(p.clock.Now()))
			if err == nil {
				n++
				continue
			}
			wantCode(t, err, pb.Code_CODE_RATE_LIMITED)
			var e *protocol.Error
			if !errors.As(err, &e) || e.RetryAfter <= 0 || e.RetryAfter > 150*time.Millisecond {
				t.Fatalf("retry after %v", e.RetryAfter)
			}
			return n
		}
	}
	for _, c := range []struct {
		after time.Duration
		want  int
	}{
		{0, 5}, {99 * time.Millisecond, 0}, {time.Millisecond, 1}, {250 * time.Millisecond, 2}, {50 * time.Millisecond, 1}, {time.Hour, 5},
	} {
		p.clock.advance(c.after)
		if n := admitted(); n != c.want {
			t.Fatalf("%d were admitted after %v, want %d", n, c.after, c.want)
		}
	}
	if err := other.AdmitSignal(p.Nanos(p.clock.Now())); err != nil {
		t.Error("another session is refused too")
	}
}

func TestOffer(t *testing.T) {
	p := newPlace(t)
	s, w := p.connect(t, "alice", "phone")
	frame := protocol.AppendProto(nil, protocol.TypePresence, 0, &pb.Presence{User: "bob"})
	if !s.Offer(frame) || len(w.take()) != 1 {
		t.Fatal("the offer was not pushed")
	}
	w.setRefuse(true)
	if s.Offer(frame) {
		t.Error("a refused offer counts as pushed")
	}
	// Nothing was begun by it: the session has no HEADS to be told.
	w.setRefuse(false)
	s.Drained()
	if frames := w.take(); len(frames) != 0 {
		t.Errorf("then came %v", types(frames))
	}
	// What lags is not told in between.
	w.setRefuse(true)
	s.PushMessage("d:alice:bob", 1, message("d:alice:bob", 1))
	w.setRefuse(false)
	if s.Offer(frame) {
		t.Error("an offer overtook HEADS")
	}
	s.Drained()
	if !s.Offer(frame) || !slices.Equal(types(w.take()), []protocol.Type{protocol.TypeHeads, protocol.TypePresence}) {
		t.Error("the offer after HEADS is missing")
	}
	s.Close(nil)
	if s.Offer(frame) || !s.Ended() {
		t.Error("an ended session takes offers")
	}
}

// Changed is called after each change of the sessions of a user, and finds it
// made.
func TestChanged(t *testing.T) {
	var (
		mu    sync.Mutex
		calls []int // how many sessions of alice there were
		p     *place
	)
	p = newPlace(t, func(cfg *Config) {
		cfg.Changed = func(user string) {
			mu.Lock()
			defer mu.Unlock()
			if user == "alice" {
				calls = append(calls, len(p.Sessions(nil, user)))
			}
		}
	})
	phone, _ := p.connect(t, "alice", "phone")
	tablet, _ := p.connect(t, "alice", "tablet")
	p.connect(t, "bob", "phone")
	again, _ := p.connect(t, "alice", "phone")
	p.Close(phone) // the late close of what was replaced is no change
	if found, err := p.EndDevice(again, "tablet"); !found || err != nil {
		t.Fatal(found, err)
	}
	p.Close(tablet)
	p.Close(again)
	if want := []int{1, 2, 2, 1, 0}; !slices.Equal(calls, want) {
		t.Errorf("calls %v, want %v", calls, want)
	}
}
