package presence

import "sync/atomic"

type counters struct {
	whos, subscribes   atomic.Uint64
	told, missed, seen atomic.Uint64
	signals, signalled atomic.Uint64
	failed             atomic.Uint64
}

// Stats is a snapshot of the counters since the start. Users, Watching and
// Subscriptions are the present numbers.
type Stats struct {
	Whos          uint64 // WHOs answered
	Subscribes    uint64 // SUBSCRIBEs answered
	Told          uint64 // PRESENCE pushes, to a session each
	Missed        uint64 // PRESENCE pushes put off since the session was slow
	Seen          uint64 // times last seen that were stored
	Signals       uint64 // SIGNALs answered
	Signalled     uint64 // SIGNAL_FROM pushes, to a session each
	Failed        uint64 // reads for a push that the store failed
	Users         int    // that are watched or have just gone
	Watching      int    // sessions with subscriptions
	Subscriptions int
}

// Stats returns the counters. Any goroutine.
func (p *Presence) Stats() Stats {
	p.mu.Lock()
	users, watching, subscriptions := len(p.users), len(p.watches), p.subscriptions
	p.mu.Unlock()
	return Stats{
		Whos: p.stats.whos.Load(), Subscribes: p.stats.subscribes.Load(),
		Told: p.stats.told.Load(), Missed: p.stats.missed.Load(), Seen: p.stats.seen.Load(),
		Signals: p.stats.signals.Load(), Signalled: p.stats.signalled.Load(), Failed: p.stats.failed.Load(),
		Users: users, Watching: watching, Subscriptions: subscriptions,
	}
}
