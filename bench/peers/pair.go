package main

import (
	"fmt"
	"time"

	"github.com/godwit-im/godwit/bench/fleet"
)

// pair is a user who sends to another. Both connections are on one loop, so
// nothing here is locked.
type pair struct {
	lane     *lane
	checker  checker
	sender   client
	receiver client

	sent, acked uint64
	times       []time.Duration // when message n was sent, at n modulo the window
	body        []byte
	stopped     bool // there is nothing more to send
	pinged      bool

	// With a rate: message n is meant to be sent at first + n × interval.
	interval float64 // nanoseconds; 0 = without a rate
	first    time.Duration
	timer    *fleet.Timer
}

func (p *pair) start() {
	p.first += p.lane.load.began
	p.pump()
}

// inFlight is how many messages were not both acknowledged and delivered.
func (p *pair) inFlight() uint64 { return p.sent - min(p.acked, p.checker.delivered) }

// pump sends what the window, and the rate if there is one, let through.
func (p *pair) pump() {
	for !p.stopped && p.inFlight() < uint64(len(p.times)) {
		now := p.lane.loop.Now()
		due := now
		if p.interval > 0 {
			due = p.first + time.Duration(float64(p.sent)*p.interval)
		}
		switch {
		case due >= p.lane.load.until:
			p.stopped = true
		case due > now:
			p.timer.Set(due)
			return
		default:
			p.send(due)
		}
	}
	// Behind everything that is on its way there might be a duplicate; the
	// answer to a ping comes after it.
	if p.stopped && p.inFlight() == 0 && !p.pinged {
		p.pinged = true
		p.receiver.Ping()
	}
}

// send sends the next message. Times count from when it was due: a server that
// stalls would else hold back the very messages that show it.
func (p *pair) send(due time.Duration) {
	p.body = stamp(p.body, p.checker.pair, p.sent, due)
	p.times[p.sent%uint64(len(p.times))] = due
	p.sent++
	p.sender.Publish(p.sent-1, p.body)
}

// progressed counts a message that is through, and goes on.
func (p *pair) progressed(before uint64) {
	if through := before - p.inFlight(); through > 0 {
		p.lane.through(int64(through))
	}
	p.pump()
}

func (p *pair) ack(n uint64) {
	if n != p.acked || n >= p.sent {
		p.lane.load.violated(fmt.Errorf("pair %#x: the ack of message %d came where %d was due", p.checker.pair, n, p.acked))
		return
	}
	before := p.inFlight()
	p.lane.ack(p.times[n%uint64(len(p.times))])
	p.acked++
	p.progressed(before)
}

func (p *pair) deliver(body []byte) {
	before := p.inFlight()
	sent, fresh, err := p.checker.check(body)
	if err != nil {
		p.lane.load.violated(err)
	}
	if fresh {
		p.lane.delivery(sent)
		p.progressed(before)
	}
}

// end is one end of a pair, which its client tells of events.
type end struct {
	*pair
	sends bool
}

func (e end) opened(c client) {
	if e.sends {
		e.sender = c
	} else {
		e.receiver = c
	}
	e.lane.dialler.next()
	e.lane.load.opening.Done()
}

func (e end) acked(n uint64)        { e.ack(n) }
func (e end) delivered(body []byte) { e.deliver(body) }
func (e end) ponged()               { e.lane.load.draining.Done() }
func (e end) failed(err error)      { e.lane.load.fail(err) }
