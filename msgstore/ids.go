package msgstore

import (
	"fmt"
	"time"

	"github.com/bwmarrin/snowflake"
)

// A message id is a snowflake: 41 bits of milliseconds since idEpoch, 10 bits
// of node and 12 bits of step. It lasts until 2095.
const (
	idEpoch     = 1767225600000 // 2026-01-01 00:00:00 UTC, in Unix milliseconds
	idTimeShift = 22
)

// maxIDLead is how far the ids may run ahead of a wall clock that was set
// back. Behind that, the clock is taken for wrong and the store doesn't open.
const maxIDLead = 5 * time.Second

// idSource makes message ids. Its time begins at the wall clock's or after the
// newest id in the store, whichever is later, and goes on with the monotonic
// clock, so that it never goes back: not while the process runs, because the
// snowflake package reads the monotonic clock, and not over a restart, because
// every commit notes the highest id in it (tableApplied). So nobody ever sees
// two messages with one id. An id that was taken and never committed is known
// to nobody, and may come again.
//
// Reserving ids ahead of time instead costs syncs in the background, and after
// a crash either a wait for the end of the reservation or a clock that runs
// ahead more with every crash.
type idSource struct {
	node  *snowflake.Node
	shift int64 // what to add to the node's milliseconds
}

// newIDSource returns a source of ids above newest.
func newIDSource(node int, now time.Time, newest uint64) (*idSource, error) {
	n, err := snowflake.NewNode(int64(node))
	if err != nil {
		return nil, err
	}
	begin := now.UnixMilli() - idEpoch
	if first := int64(newest>>idTimeShift) + 1; begin < first {
		lead := time.Duration(first-begin) * time.Millisecond
		if lead > maxIDLead {
			return nil, fmt.Errorf("%w: it shows %v, the newest message is %v later; set the clock, or wait",
				ErrClockBehind, now.UTC().Format(time.RFC3339), lead)
		}
		begin = first
	}
	// The package's epoch is a variable that any importer may set, and its
	// clock can't be injected: one id of its own tells where it stands.
	return &idSource{node: n, shift: begin - int64(n.Generate())>>idTimeShift}, nil
}

func (s *idSource) next() uint64 {
	return uint64(int64(s.node.Generate()) + s.shift<<idTimeShift)
}
