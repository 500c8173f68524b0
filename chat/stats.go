package chat

import (
	"sync/atomic"
	"time"
)

type counters struct {
	batches    atomic.Uint64
	commands   atomic.Uint64
	messages   atomic.Uint64
	duplicates atomic.Uint64
	busy       atomic.Uint64
	full       atomic.Uint64
	trimmed    atomic.Uint64
}

// Stats is a snapshot of an Embedded log's counters since its start. Waiting
// and Committing are of the moment.
type Stats struct {
	Batches    uint64 // commits
	Commands   uint64 // commands applied
	Messages   uint64 // messages stored
	Duplicates uint64 // resends that were answered with the first ack
	Busy       uint64 // proposals refused because a queue was full
	Full       uint64 // messages refused because the disk was nearly full
	Trimmed    uint64 // messages that retention removed
	Waiting    int    // proposals accepted and not yet in a batch

	// Committing is for how long the oldest commit has been under way, 0 where
	// there is none. A disk that is full or failing makes a commit hang without
	// an error, so this is how it shows.
	Committing time.Duration
}

// Stats returns the counters. Any goroutine.
func (e *Embedded) Stats() Stats {
	waiting := 0
	for _, q := range e.queues {
		waiting += q.depth()
	}
	var committing time.Duration
	now := e.cfg.Now()
	for _, w := range e.writers {
		if since := w.committing.Load(); since != 0 {
			committing = max(committing, now.Sub(time.Unix(0, since)))
		}
	}
	return Stats{
		Batches:    e.stats.batches.Load(),
		Commands:   e.stats.commands.Load(),
		Messages:   e.stats.messages.Load(),
		Duplicates: e.stats.duplicates.Load(),
		Busy:       e.stats.busy.Load(),
		Full:       e.stats.full.Load(),
		Trimmed:    e.stats.trimmed.Load(),
		Waiting:    waiting,
		Committing: committing,
	}
}
