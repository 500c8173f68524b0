package bench

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/godwit-im/godwit/bench/client"
	"github.com/godwit-im/godwit/bench/fleet"
	"github.com/godwit-im/godwit/bench/report"
	"github.com/godwit-im/godwit/protocol"
)

// DirectShare is what a worker holds of a direct run.
type DirectShare struct {
	FirstPair, Pairs int
	FirstIdle, Idle  int
	Window, Size     int
	Loops            int
	PerSecond        float64 // connections
	Heartbeat        time.Duration
	RunID            string
}

// DirectStep is a worker's part in one measurement.
type DirectStep struct {
	// Rate is how many messages are meant to leave in a second; 0 = as many as
	// the windows allow.
	Rate float64
	// Even spaces them evenly; else they come at random (a Poisson process).
	Even        bool
	Warmup, For time.Duration
}

// DirectWorker carries out its share of a direct run; see ServeWorker. Its
// exported methods are called by the process that leads.
type DirectWorker struct {
	ctx    context.Context
	target Target

	share   DirectShare
	load    *load
	loops   []*directLoop
	started *countdown // connections and conversations

	handshake, ack, delivery *report.Histogram
}

// directLoop is a loop's share. All but the counts belong to the loop.
type directLoop struct {
	worker *DirectWorker
	pool   *client.Pool
	pairs  []*pair
	timer  *fleet.Timer // of the next arrival
	random *rand.Rand

	sending, open bool
	from, until   time.Duration // what is meant to leave in [from, until) is measured
	next          time.Duration // when the next message is meant to leave
	gap           time.Duration // the mean time between two
	even          bool
	turn          int // of the pair that sends next, where they are spaced evenly
	underWay      int // acks and deliveries that are to come
	drained       func()

	ack, delivery, handshake *report.Recorder

	sent, acked, delivered, counted, pulled, unsent atomic.Int64
}

// Connect connects the share, and returns when all of it is there.
func (w *DirectWorker) Connect(share DirectShare, _ *struct{}) error {
	if w.load != nil {
		return errors.New("connected already")
	}
	w.share = share
	connections := 2*share.Pairs + share.Idle
	var err error
	if w.load, err = startLoad(w.ctx, &w.target, share.Loops, connections, share.Heartbeat); err != nil {
		return err
	}
	w.handshake = report.NewHistogram("handshake")
	w.ack, w.delivery = report.NewHistogram(Ack), report.NewHistogram(Delivery)
	w.started = newCountdown(share.Pairs + share.Idle)
	w.loops = make([]*directLoop, share.Loops)
	w.load.each(func(i int, p *client.Pool) {
		l := &directLoop{
			worker: w, pool: p, random: rand.New(rand.NewPCG(uint64(share.FirstPair), uint64(i))),
			ack: w.ack.Recorder(), delivery: w.delivery.Recorder(), handshake: w.handshake.Recorder(),
		}
		l.timer = p.Loop().NewTimer(l.arrivals)
		l.connect(i)
		w.loops[i] = l
	})
	return w.load.wait(w.started)
}

// connect begins to connect the ith loop's part of the share.
func (l *directLoop) connect(i int) {
	share := &l.worker.share
	first, n := split(share.Pairs, share.Loops, i)
	firstIdle, idle := split(share.Idle, share.Loops, i)
	var devices []*client.Device
	for k := range n {
		p := l.newPair(share.FirstPair + first + k)
		devices = append(devices, p.sender, p.receiver)
	}
	for k := range idle {
		devices = append(devices, l.pool.Add(userName(idleUsers+share.FirstIdle+firstIdle+k), deviceName, bystander{l}))
	}
	pace(l.pool.Loop(), share.PerSecond/float64(share.Loops), len(devices), func(k int) { devices[k].Connect() })
}

// idleUsers is the number of the first user who is only there, past all pairs.
const idleUsers = 1_000_000

func (l *directLoop) newPair(n int) *pair {
	share := &l.worker.share
	from, to := userName(2*n), userName(2*n+1)
	p := &pair{loop: l, due: make([]time.Duration, share.Window)}
	for i := range p.due {
		p.due[i] = isAcked
	}
	p.draft = client.NewDraft(protocol.DirectID(from, to), from, share.RunID, share.Size)
	p.sender = l.pool.Add(from, deviceName, sending{p})
	p.receiver = l.pool.Add(to, deviceName, receiving{p})
	p.inbox = client.NewInbox(p.receiver, share.Size, p.deliver)
	l.pairs = append(l.pairs, p)
	return p
}

// bystander is a session that only costs.
type bystander struct{ loop *directLoop }

func (b bystander) OnConnected(d *client.Device) {
	b.loop.accepted(d)
	b.loop.ready()
}

func (b bystander) OnFrame(_ *client.Device, f protocol.Frame) error {
	return client.Expect(f, protocol.TypePong)
}

func (b bystander) OnClosed(d *client.Device, err error) { b.loop.lost(d, err) }

func (l *directLoop) accepted(d *client.Device) { l.handshake.Record(d.Now() - d.Dialled()) }

func (l *directLoop) ready() { l.worker.started.done() }

func (l *directLoop) lost(d *client.Device, err error) { l.worker.load.lost(d, err) }

// Begin begins to send.
func (w *DirectWorker) Begin(step DirectStep, _ *struct{}) error {
	w.load.each(func(i int, _ *client.Pool) { w.loops[i].begin(step) })
	return w.load.failure()
}

func (l *directLoop) begin(step DirectStep) {
	now := l.pool.Loop().Now()
	l.from = now + step.Warmup
	l.until = l.from + step.For
	l.counted.Store(0)
	l.unsent.Store(0)
	l.sending, l.open, l.even = len(l.pairs) > 0, step.Rate > 0, step.Even
	switch {
	case !l.sending:
	case l.open:
		mine := step.Rate * float64(len(l.pairs)) / float64(l.worker.share.Pairs)
		l.gap = time.Duration(float64(time.Second) / mine)
		l.next = now
		l.arrivals()
	default:
		for _, p := range l.pairs {
			p.fill(now)
		}
	}
}

// arrivals sends what is meant to have left by now. The pairs' arrivals are
// drawn as one process: a Poisson process whose events go to one of n at random
// is n Poisson processes of an nth of the rate, and takes one timer.
func (l *directLoop) arrivals() {
	now := l.pool.Loop().Now()
	for l.sending && l.next <= now && l.next < l.until {
		if l.even {
			l.turn = (l.turn + 1) % len(l.pairs)
			l.pairs[l.turn].arrive(now, l.next)
			l.next += l.gap
		} else {
			l.pairs[l.random.IntN(len(l.pairs))].arrive(now, l.next)
			l.next += time.Duration(l.random.ExpFloat64() * float64(l.gap))
		}
	}
	if l.sending && l.next < l.until {
		l.timer.Set(l.next)
	}
}

func (l *directLoop) measures(due time.Duration) bool { return due >= l.from && due < l.until }

func (l *directLoop) onAck(now, due time.Duration) {
	l.underWay--
	l.acked.Add(1)
	if l.measures(due) {
		l.ack.Record(now - due)
	}
}

func (l *directLoop) onDelivery(now time.Duration, got client.Delivery) {
	l.underWay--
	l.delivered.Add(1)
	if got.Pulled {
		l.pulled.Add(1)
	}
	if l.measures(now) {
		l.counted.Add(1)
	}
	if l.measures(got.Sent) {
		l.delivery.Record(now - got.Sent)
	}
}

// Sample tells what was seen.
func (w *DirectWorker) Sample(_ struct{}, s *Sample) error {
	if w.load == nil {
		return errors.New("not connected")
	}
	if err := s.failed(w.load.failure()); err != nil || s.Violations != nil {
		return err
	}
	s.Refused = w.load.refused()
	for _, l := range w.loops {
		s.Sent += l.sent.Load()
		s.Acked += l.acked.Load()
		s.Delivered += l.delivered.Load()
		s.Counted += l.counted.Load()
		s.Pulled += l.pulled.Load()
		s.Unsent += l.unsent.Load()
	}
	return errors.Join(drain(w.ack, &s.Ack), drain(w.delivery, &s.Delivery), drain(w.handshake, &s.Handshake))
}

// drainTimeout is how long the last messages of a step may take.
const drainTimeout = 2 * time.Minute

// End stops sending and returns when all that was sent was acked and delivered.
func (w *DirectWorker) End(_ struct{}, s *Sample) error {
	all := newCountdown(len(w.loops))
	w.load.each(func(i int, _ *client.Pool) { w.loops[i].end(all.done) })
	patience := time.AfterFunc(drainTimeout, func() { w.load.each(func(i int, _ *client.Pool) { w.loops[i].missing() }) })
	defer patience.Stop()
	if err := s.failed(w.load.wait(all)); err != nil || s.Violations != nil {
		return err
	}
	return w.Sample(struct{}{}, s)
}

func (l *directLoop) end(drained func()) {
	if l.open {
		l.arrivals() // what has been due since the timer last fired
	}
	now := l.pool.Loop().Now()
	l.sending = false
	l.timer.Stop()
	for _, p := range l.pairs {
		// What found no room until now counts as if it left and arrived now,
		// which is sooner than it would have.
		for _, due := range p.backlog {
			if l.measures(due) {
				l.ack.Record(now - due)
				l.delivery.Record(now - due)
				l.unsent.Add(1)
			}
		}
		p.backlog = nil
	}
	l.drained = drained
	l.checkDrained()
}

func (l *directLoop) checkDrained() {
	if l.drained != nil && l.underWay == 0 {
		l.drained()
		l.drained = nil
	}
}

// missing fails the run for the first pair that waits for something.
func (l *directLoop) missing() {
	for _, p := range l.pairs {
		if p.acked != p.sent || p.delivered != p.sent {
			l.worker.load.fail(broken("%s: of %d messages, all of the first %d were acked and %d delivered, %v after the last was sent",
				p.sender.User, p.sent, p.acked, p.delivered, drainTimeout))
			return
		}
	}
}

func (w *DirectWorker) close() {
	if w.load != nil {
		w.load.close()
	}
}
