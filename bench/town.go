package bench

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/godwit-im/godwit/bench/client"
	"github.com/godwit-im/godwit/bench/fleet"
)

// town is a load of people who lose their connections and come back.
type town struct {
	load  *load
	loops []*townLoop

	size      int
	runID     string
	heartbeat time.Duration
	slack     time.Duration // people's at first
	// mayRestart is a run in which the server's end is no failure.
	mayRestart bool
}

// townLoop is a loop's part. All but the counts belong to the loop.
type townLoop struct {
	town   *town
	number int
	pool   *client.Pool
	random *rand.Rand
	people []*person
	chats  []*chat // of direct conversations
	rooms  []*room
	// on is the scenario's.
	on listener

	connected, caughtUp               atomic.Int64 // people, now
	written, acked, delivered, pulled atomic.Int64 // messages, since the start
	repeated                          atomic.Int64 // requests that were refused for now
	presences, signals                atomic.Int64 // PRESENCE and SIGNAL_FROM that have come
}

// listener is what a scenario is told of, on the loop.
type listener struct {
	connected func(p *person)
	// caughtUp follows once p has all that SYNC told of.
	caughtUp  func(p *person)
	lost      func(p *person, err error)
	acked     func(c *chat, due time.Duration)
	delivered func(p *person, c *client.Conversation, got client.Delivery)
}

// startTown makes the loops and has populate make each one's people, of whom
// there are so many in all.
func startTown(ctx context.Context, t *Target, c *town, loops, people int, populate func(l *townLoop)) error {
	var err error
	if c.load, err = startLoad(ctx, t, loops, people, c.heartbeat); err != nil {
		return err
	}
	c.runID = client.RunID(time.Now())
	c.loops = make([]*townLoop, loops)
	c.load.each(func(i int, pool *client.Pool) {
		l := &townLoop{town: c, number: i, pool: pool, random: rand.New(rand.NewPCG(1, uint64(i)))}
		l.on = listener{
			connected: func(*person) {}, caughtUp: func(*person) {}, lost: func(*person, error) {},
			acked: func(*chat, time.Duration) {}, delivered: func(*person, *client.Conversation, client.Delivery) {},
		}
		c.loops[i] = l
		populate(l)
	})
	return nil
}

// each runs f on every loop, and returns when all have.
func (c *town) each(f func(l *townLoop)) {
	c.load.each(func(i int, _ *client.Pool) { f(c.loops[i]) })
}

// count sums up one of the loops' counts.
func (c *town) count(of func(l *townLoop) *atomic.Int64) (n int64) {
	for _, l := range c.loops {
		n += of(l).Load()
	}
	return n
}

func (c *town) connected() int64 {
	return c.count(func(l *townLoop) *atomic.Int64 { return &l.connected })
}

func (c *town) caughtUp() int64 {
	return c.count(func(l *townLoop) *atomic.Int64 { return &l.caughtUp })
}

// gather connects everybody, so many a second, and returns when all have synced.
func (c *town) gather(perSecond float64) error {
	people := 0
	for _, l := range c.loops {
		people += len(l.people)
	}
	c.each(func(l *townLoop) {
		pace(l.pool.Loop(), perSecond/float64(len(c.loops)), len(l.people), func(i int) { l.people[i].device.Connect() })
	})
	timeout := gatherTime + time.Duration(float64(people)/perSecond*float64(time.Second))
	return c.poll(timeout, func(l *townLoop) bool { return l.caughtUp.Load() == int64(len(l.people)) }, func(l *townLoop) error {
		return fmt.Errorf("after %v, %d of %d people have synced", timeout, l.caughtUp.Load(), len(l.people))
	})
}

// gatherTime is how much longer a start may take than its rate says.
const gatherTime = time.Minute

// poll calls f on every loop, again and again, until it has returned true on
// each of them, or fails with late after a time.
func (c *town) poll(timeout time.Duration, f func(l *townLoop) bool, late func(l *townLoop) error) error {
	all := newCountdown(len(c.loops))
	c.each(func(l *townLoop) {
		deadline := l.pool.Loop().Now() + timeout
		var timer *fleet.Timer
		timer = l.pool.Loop().NewTimer(func() {
			switch now := l.pool.Loop().Now(); {
			case f(l):
				all.done()
			case now > deadline:
				c.load.fail(late(l))
			default:
				timer.Set(now + pollStep)
			}
		})
		timer.Set(0)
	})
	return c.load.wait(all)
}

// pollStep is between two calls of poll's function.
const pollStep = 20 * time.Millisecond

// settled waits until all that was written has arrived: that nothing was lost.
// What it misses after the time is a broken promise.
func (c *town) settled(timeout time.Duration) error {
	missing := func(l *townLoop) error {
		for _, p := range l.people {
			if !p.isBack() {
				return fmt.Errorf("%s is not back after %v", p.device.User, timeout)
			}
		}
		for _, chat := range l.chats {
			if err := chat.complete(); err != nil {
				return err
			}
		}
		for _, room := range l.rooms {
			if err := room.complete(); err != nil {
				return err
			}
		}
		return nil
	}
	// What one loop's people write in a room is another's to have: the second
	// time all that was written was acked.
	settled := func() error {
		return c.poll(timeout, func(l *townLoop) bool { return missing(l) == nil }, missing)
	}
	if err := settled(); err != nil {
		return err
	}
	return settled()
}

// settleTime is how long the last messages of a run may take.
const settleTime = 2 * time.Minute

// arrivals are events at random times: a Poisson process.
type arrivals struct {
	loop   *townLoop
	timer  *fleet.Timer
	gap    float64 // the mean time between two, in ns
	next   time.Duration
	arrive func(due time.Duration)
}

// arrivals calls arrive so many times a second on average, with the time at
// which it was meant to be called, until stop. Where the loop is late it makes
// up for it, and the times stay what they were meant to be.
func (l *townLoop) arrivals(perSecond float64, arrive func(due time.Duration)) *arrivals {
	a := &arrivals{loop: l, arrive: arrive}
	a.timer = l.pool.Loop().NewTimer(a.due)
	if perSecond > 0 {
		a.gap = float64(time.Second) / perSecond
		a.next = l.pool.Loop().Now()
		a.advance()
	}
	return a
}

func (a *arrivals) advance() {
	a.next += time.Duration(a.loop.random.ExpFloat64() * a.gap)
	a.timer.Set(a.next)
}

func (a *arrivals) due() {
	for now := a.loop.pool.Loop().Now(); a.next <= now; {
		due := a.next
		a.advance()
		a.arrive(due)
	}
}

// stop ends them with those that are due by now.
func (a *arrivals) stop() {
	if a.gap > 0 {
		a.due()
	}
	a.timer.Stop()
}
