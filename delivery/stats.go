package delivery

import "sync/atomic"

type counters struct {
	messages atomic.Uint64
	receipts atomic.Uint64
	syncs    atomic.Uint64
	pulls    atomic.Uint64
	failed   atomic.Uint64
	missed   atomic.Uint64
}

// Stats is a snapshot of the counters since the start. Waiting and what follows
// are present numbers.
type Stats struct {
	Messages uint64 // MESSAGE pushes, to a session each, those of lagging ones too
	Receipts uint64 // RECEIPT pushes
	Syncs    uint64 // SYNCs answered
	Pulls    uint64 // PULLs answered
	Failed   uint64 // reads that the store failed
	Missed   uint64 // news that an audience, or a loop's part of it, was told of by HEADS alone
	Waiting  int    // reads that wait for a worker
	Groups   int    // groups with a member who is online
	Seats    int    // sessions in all of them
	Backlog  int    // bytes that wait to be told to large groups, those for two loops twice
}

// Stats returns the counters. Any goroutine.
func (d *Delivery) Stats() Stats {
	return Stats{
		Messages: d.stats.messages.Load(),
		Receipts: d.stats.receipts.Load(),
		Syncs:    d.stats.syncs.Load(),
		Pulls:    d.stats.pulls.Load(),
		Failed:   d.stats.failed.Load(),
		Missed:   d.stats.missed.Load(),
		Waiting:  d.turns.depth(),
		Groups:   int(d.present.groups.Load()),
		Seats:    int(d.present.seats.Load()),
		Backlog:  d.stage.backlog(),
	}
}
