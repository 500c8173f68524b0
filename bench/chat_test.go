package bench

import (
	"errors"
	"testing"
	"time"

	"github.com/godwit-im/godwit/bench/client"
)

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
