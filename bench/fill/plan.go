package fill

import (
	"errors"
	"fmt"

	"github.com/godwit-im/godwit/bench/client"
)

// Plan says who has talked with whom. Users are numbered from 0, and so are a
// user's conversations.
type Plan struct {
	// Users have Conversations each, with as many friends; in each of these are
	// Old messages, a friend's and the user's in turn, a friend's first.
	Users, Conversations, Old int
	// Away users, the first, miss Missed messages of their friends in each of
	// Behind of their conversations.
	Away, Behind, Missed int
	// Size of a body in bytes.
	Size int
}

// Validate reports what is wrong with a plan.
func (p Plan) Validate() error {
	switch {
	case p.Users < 1 || p.Users >= stride || p.Conversations < 1 || p.Conversations >= stride || p.Old < 1:
		return errors.New("fill: want users, conversations, and old messages in them")
	case p.Away < 0 || p.Away > p.Users || p.Behind < 0 || p.Behind > p.Conversations || p.Missed < 0:
		return errors.New("fill: no more users can be away, nor conversations be behind, than there are")
	case p.Size < client.StampSize:
		return fmt.Errorf("fill: a body has at least %d bytes", client.StampSize)
	}
	return nil
}

// OldMessages is how many old messages there are in all.
func (p Plan) OldMessages() int { return p.Users * p.Conversations * p.Old }

// MissedMessages is how many messages are missed in all.
func (p Plan) MissedMessages() int { return p.Away * p.Behind * p.Missed }

// User is the id of user i.
func (p Plan) User(i int) string { return fmt.Sprintf("u%07d", i) }

// Friend is the id of the friend in conversation j of user i. There are as many
// friends as users, or as many as a user needs.
func (p Plan) Friend(i, j int) string {
	return fmt.Sprintf("f%07d", (i+j*stride)%max(p.Users, p.Conversations))
}

// stride is a prime, so that a user's friends are all different, and large, so
// that they are not neighbours.
const stride = 1_000_003

// BehindAt is the number of the kth conversation, of Behind, in which user i
// misses something.
func (p Plan) BehindAt(i, k int) int { return (i + k*p.Conversations/p.Behind) % p.Conversations }

// Unread is a user's unread count in a conversation, who has read nothing: with
// the messages that are missed, or before them.
func (p Plan) Unread(missed bool) uint64 {
	n := (p.Old + 1) / 2
	if missed {
		n += p.Missed
	}
	return uint64(n)
}
