package godwit

import (
	"testing"
	"time"
)

// TestTimeOfAnEmptyGroup is the same on a device that was never told of the
// group's data, because the user had left before it was there.
func TestTimeOfAnEmptyGroup(t *testing.T) {
	joined := time.Unix(1e9, 0)
	c := Conversation{ID: "g:alice:1", Membership: Membership{Joined: joined}}
	if got := c.Time(); !got.Equal(joined) {
		t.Errorf("time %v, want %v", got, joined)
	}
	c.Group = &Group{}
	if got := c.Time(); !got.Equal(joined) {
		t.Errorf("time %v, want %v", got, joined)
	}
}
