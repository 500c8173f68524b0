package godwit

import (
	"math/rand/v2"
	"time"
)

// Backoff says how long to wait before the nth attempt in a row: a random
// time between 0 and Min·2ⁿ, but no more than Max. That is "full jitter" of
// the AWS Architecture Blog's "Exponential Backoff And Jitter", which spreads
// the clients of a server that came back best. A delay that the server asked
// for is waited in addition, in full. The count begins anew after a session
// that lasted for Max: it takes more than an accepted connection to show that
// a server is well.
type Backoff struct {
	Min, Max time.Duration
}

// DefaultBackoff is used where Options.Backoff is zero.
var DefaultBackoff = Backoff{Min: 500 * time.Millisecond, Max: 30 * time.Second}

// resendBackoff is for a single request that a healthy server refused.
var resendBackoff = Backoff{Min: 50 * time.Millisecond, Max: 10 * time.Second}

// wait draws the wait after n failures before this one.
func (b Backoff) wait(n int) time.Duration {
	return time.Duration(rand.Int64N(int64(b.ceiling(n)) + 1))
}

func (b Backoff) ceiling(n int) time.Duration {
	ceiling := b.Min
	for ; n > 0 && ceiling < b.Max; n-- {
		ceiling *= 2
	}
	return min(ceiling, b.Max)
}
