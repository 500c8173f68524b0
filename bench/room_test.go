package bench

import (
	"errors"
	"testing"
	"time"

	"github.com/godwit-im/godwit/bench/client"
)

// TestRoomComplete has messages of a group be lost in the ways that a run must
// find.
func TestRoomComplete(t *testing.T) {
	var town town
	town.size = client.StampSize
	target := Target{Addr: "127.0.0.1:1", Token: func(string) (string, error) { return "", nil }} // nobody connects
	g := newGroup("run", 0, []string{userName(1), userName(2)})
	g.learn(7)
	var r *room
	if err := startTown(t.Context(), &target, &town, 1, 2, func(l *townLoop) {
		r = l.newRoom(g, []*person{l.newPerson(1), l.newPerson(2)})
	}); err != nil {
		t.Fatal(err)
	}
	defer town.load.close()
	town.each(func(*townLoop) {
		if err := r.complete(); err != nil {
			t.Errorf("nothing was written: %v", err)
		}
		var broken *client.Violation
		r.chats[0].write(time.Second)
		if err := r.complete(); !errors.As(err, &broken) {
			t.Errorf("one was not acked: %v", err)
		}
		r.chats[0].due = nil
		if err := r.members[0].inbox.Sent(r.chats[0].conv, 8); err != nil {
			t.Error(err)
		}
		if err := r.complete(); err != nil {
			t.Errorf("nobody was acked more than all have: %v", err)
		}
		g.learn(8)
		g.learn(3)
		if err := r.complete(); !errors.As(err, &broken) {
			t.Errorf("one was acked and has not arrived: %v", err)
		}
		r.chats[1].conv.Next = 9
		if err := r.complete(); err != nil {
			t.Errorf("it has arrived: %v", err)
		}
	})
}
