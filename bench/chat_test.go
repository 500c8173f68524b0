package bench

import (
	"errors"
	"testing"
	"time"

	"github.com/godwit-im/godwit/bench/client"
)

// TestArrivalsStop stops a process of arrivals whose timer is late.
func TestArrivalsStop(t *testing.T) {
	var town town
	target := Target{Addr: "127.0.0.1:1"} // nobody connects
	if err := startTown(t.Context(), &target, &town, 1, 1, func(*townLoop) {}); err != nil {
		t.Fatal(err)
	}
	defer town.load.close()
	town.each(func(l *townLoop) {
		var dues []time.Duration
		a := l.arrivals(1, func(due time.Duration) { dues = append(dues, due) })
		now := l.pool.Loop().Now()
		a.next = now - time.Millisecond
		a.stop()
		if len(dues) == 0 || dues[0] != now-time.Millisecond || a.next <= now {
			t.Errorf("%v of what was due at %v came, and %v is next", dues, now-time.Millisecond, a.next)
		}
		l.arrivals(0, func(time.Duration) { t.Error("something came of nothing") }).stop()
	})
}

// TestChatComplete has messages be lost in the two ways that a run must find.
func TestChatComplete(t *testing.T) {
	var town town
	town.size = client.StampSize
	var chat *chat
	target := Target{Addr: "127.0.0.1:1", Token: func(string) (string, error) { return "", nil }} // nobody connects
	if err := startTown(t.Context(), &target, &town, 1, 2, func(l *townLoop) {
		chat = l.newPerson(1).writesTo(l.newPerson(2))
	}); err != nil {
		t.Fatal(err)
	}
	defer town.load.close()
	town.each(func(*townLoop) {
		if err := chat.complete(); err != nil {
			t.Errorf("nothing was written: %v", err)
		}
		var broken *client.Violation
		chat.write(time.Second)
		if err := chat.complete(); !errors.As(err, &broken) {
			t.Errorf("one was not acked: %v", err)
		}
		chat.due = nil
		chat.conv.Next = 2
		if err := chat.complete(); !errors.As(err, &broken) {
			t.Errorf("one was acked and has not arrived: %v", err)
		}
		chat.to.inbox.Conversation(chat.conv.ID).Next = 2
		if err := chat.complete(); err != nil {
			t.Errorf("it has arrived: %v", err)
		}
	})
}
