package call

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/godwit-im/godwit/protocol"
	"github.com/godwit-im/godwit/protocol/pb"
	godwit "github.com/godwit-im/godwit/sdk-go"
)

// ErrBusy is returned by Place where as many calls go on as may, or one with that
// user.
var ErrBusy = errors.New("call: busy with another call")

// maxOver is how many calls that are over are remembered, for what comes late.
const maxOver = 64

// maxAnswers is how many devices are told within Times.Invite that they have no
// call with this one.
const maxAnswers = 10

// maxEvents is how many callbacks may wait for a slow one; past it payloads are
// dropped.
const maxEvents = 1024

// key tells calls apart: a user can't speak of a call with another.
type key struct{ user, id string }

// transport sends a signal at once or not at all, and calls done, once and on
// another goroutine, with what became of it.
type transport func(s godwit.Signal, done func(error))

// Calls is the calls of a device. Its methods are safe for concurrent use.
type Calls struct {
	handler Handler
	times   Times
	max     int
	clock   Clock

	quit    chan struct{} // closed to have run end
	done    chan struct{} // closed when it has
	bell    chan struct{} // has an element where events may be there
	waiting sync.WaitGroup
	cancel  context.CancelFunc // ends the waiting for answers
	ctx     context.Context

	mu     sync.Mutex // guards what follows, and the calls
	user   string     // empty before Attach
	send   transport
	calls  map[key]*Call // those that go on and those of over
	over   []*Call       // those that have ended, the oldest first
	now    time.Time     // while mu is held: when it was taken
	events []func(*Handler)

	answering time.Time // since when answers are counted
	answers   int

	wake   time.Time // when the timer fires; zero if it does not
	stop   func() bool
	closed bool
}

// New returns a Calls, which needs to be closed. It does nothing before Attach.
func New(o Options) *Calls {
	cs := newCalls(o)
	go cs.run()
	return cs
}

func newCalls(o Options) *Calls {
	cs := &Calls{
		handler: o.Handler, times: DefaultTimes(), max: max(o.Max, 1), clock: o.Clock,
		quit: make(chan struct{}), done: make(chan struct{}), bell: make(chan struct{}, 1),
		calls: make(map[key]*Call),
	}
	cs.ctx, cs.cancel = context.WithCancel(context.Background())
	if cs.clock == nil {
		cs.clock = systemClock{}
	}
	for _, t := range []struct{ to, from *time.Duration }{
		{&cs.times.Ring, &o.Times.Ring},
		{&cs.times.Invite, &o.Times.Invite},
		{&cs.times.Silence, &o.Times.Silence},
		{&cs.times.Accept, &o.Times.Accept},
		{&cs.times.Confirm, &o.Times.Confirm},
		{&cs.times.Busy, &o.Times.Busy},
		{&cs.times.Alive, &o.Times.Alive},
		{&cs.times.Lost, &o.Times.Lost},
	} {
		if *t.from > 0 {
			*t.to = *t.from
		}
	}
	return cs
}

// Attach gives the client whose signals Handle is given. It is called once.
func (cs *Calls) Attach(client *godwit.Client) {
	cs.attach(client.User(), func(s godwit.Signal, done func(error)) {
		sent := client.Signal(s)
		cs.waiting.Go(func() {
			_, err := sent.Wait(cs.ctx)
			done(err)
		})
	})
}

func (cs *Calls) attach(user string, send transport) {
	cs.lock()
	defer cs.unlock()
	cs.user, cs.send = user, send
}

// Place calls a user. The call is Inviting; where there is no connection at the
// moment it is until there is one. Place copies the offer.
func (cs *Calls) Place(user string, offer []byte) (*Call, error) {
	if err := protocol.CheckID("user", user); err != nil {
		return nil, fmt.Errorf("call: %w", err)
	}
	if len(offer) > MaxPayload {
		return nil, ErrTooLarge
	}
	cs.lock()
	defer cs.unlock()
	switch {
	case cs.closed:
		return nil, godwit.ErrClosed
	case cs.send == nil:
		return nil, godwit.ErrNotConnected
	case user == cs.user:
		return nil, fmt.Errorf("call: %w", protocol.Errorf(pb.Code_CODE_BAD_ARGUMENT, "nobody calls themselves"))
	case cs.ongoing() >= cs.max || cs.with(user) != nil:
		return nil, ErrBusy
	}
	c := cs.add(&Call{id: rand.Text(), user: user, outgoing: true, offer: slices.Clone(offer)})
	c.giveUpAt = cs.now.Add(cs.times.Ring)
	c.invite()
	return c, nil
}

// Ongoing are the calls that have not ended, the oldest first.
func (cs *Calls) Ongoing() []*Call {
	cs.lock()
	defer cs.unlock()
	var all []*Call
	for _, c := range cs.calls {
		if c.status.State != Ended {
			all = append(all, c)
		}
	}
	slices.SortFunc(all, func(a, b *Call) int { return a.began.Compare(b.began) })
	return all
}

// Handle takes a signal, and reports whether it was about a call. It does not
// wait, and is meant for the client's Handler.OnSignal. Signals that come before
// Attach are dropped.
func (cs *Calls) Handle(s godwit.Signal) bool {
	if !strings.HasPrefix(s.Type, "call.") {
		return false
	}
	m := new(pb.CallSignal)
	if err := proto.Unmarshal(s.Body, m); err != nil || protocol.CheckID("call", m.Call) != nil {
		return true
	}
	cs.lock()
	defer cs.unlock()
	peer, direct := protocol.Peer(s.Conversation, cs.user)
	if own := s.User == cs.user; direct && !cs.closed && (own || s.User == peer) {
		cs.take(peer, own, s.Device, s.Type, m)
	}
	return true
}

// take gives a signal to its call.
func (cs *Calls) take(user string, own bool, device, kind string, m *pb.CallSignal) {
	c := cs.calls[key{user, m.Call}]
	switch {
	case c != nil:
		c.take(own, device, kind, m)
	case own:
	case kind == kindInvite:
		cs.invited(user, device, m)
	case kind == kindRing, kind == kindConfirm, kind == kindCandidate, kind == kindAlive:
		// It is over, and this program, a new one perhaps, does not know it.
		cs.reply(user, device, kindHangup, m.Call)
	}
}

// invited takes the invitation to a call that is new.
func (cs *Calls) invited(user, device string, m *pb.CallSignal) {
	if cs.handler.OnCall == nil {
		return
	}
	mine := cs.with(user)
	mutual := mine != nil && mine.unanswered()
	if mutual {
		if mine.id < m.Call {
			return // the other side gives way
		}
		mine.endWith(kindHangup, Replaced)
	}
	if cs.ongoing() >= cs.max {
		cs.reply(user, device, kindBusy, m.Call)
		return
	}
	c := cs.add(&Call{
		id: m.Call, user: user, mutual: mutual, offer: firstPayload(m),
		status: Status{State: Invited, Device: device},
	})
	c.invitedAgain()
	cs.tell(func(h *Handler) { h.OnCall(c) })
}

// reply answers a device about a call that is none of these.
func (cs *Calls) reply(user, device, kind, id string) {
	c := &Call{calls: cs, id: id, user: user, status: Status{State: Ended}}
	cs.answer(c, kind, device, pb.CallReason_CALL_REASON_HANGUP)
}

// answer tells a device that it has no call with this one. It asks again where it
// matters, so this is bounded: nobody else uses up the signals that this device
// may send.
func (cs *Calls) answer(c *Call, kind, device string, reason pb.CallReason) {
	if cs.now.Sub(cs.answering) >= cs.times.Invite {
		cs.answering, cs.answers = cs.now, 0
	}
	if cs.answers < maxAnswers {
		cs.answers++
		cs.transmit(c, kind, device, &pb.CallSignal{Call: c.id, Reason: reason})
	}
}

// add makes a call one of these.
func (cs *Calls) add(c *Call) *Call {
	c.calls, c.began = cs, cs.now
	cs.calls[key{c.user, c.id}] = c
	return c
}

// ended remembers a call that has ended, for a while.
func (cs *Calls) ended(c *Call) {
	cs.over = append(cs.over, c)
	if len(cs.over) > maxOver {
		cs.forget(cs.over[0])
	}
}

// forget has a call that has ended be unknown.
func (cs *Calls) forget(c *Call) {
	delete(cs.calls, key{c.user, c.id})
	cs.over = slices.DeleteFunc(cs.over, func(o *Call) bool { return o == c })
}

// ongoing is how many calls have not ended.
func (cs *Calls) ongoing() int { return len(cs.calls) - len(cs.over) }

// with is the call with a user that has not ended, the one that may be replaced
// if there are several.
func (cs *Calls) with(user string) (found *Call) {
	for k, c := range cs.calls {
		if k.user == user && c.status.State != Ended && (found == nil || c.unanswered()) {
			found = c
		}
	}
	return found
}

// transmit sends a signal about a call to a device of the other user, or, with
// none, to all devices of both.
func (cs *Calls) transmit(c *Call, kind, device string, m *pb.CallSignal) {
	body, err := proto.Marshal(m)
	if err != nil {
		panic("call: a signal that can't be encoded: " + err.Error()) // ids are checked, and the rest is bytes
	}
	s := godwit.Signal{Conversation: protocol.DirectID(cs.user, c.user), Type: kind, Body: body}
	if device != "" {
		s.User, s.Device = c.user, device
	}
	cs.send(s, func(err error) {
		cs.lock()
		defer cs.unlock()
		c.settled(kind, err)
	})
}

// lock takes mu.
func (cs *Calls) lock() {
	cs.mu.Lock()
	cs.now = cs.clock.Now()
}

// unlock sets the timer to the next deadline and lets mu go.
func (cs *Calls) unlock() {
	defer cs.mu.Unlock()
	var next time.Time
	for _, c := range cs.calls {
		for _, at := range c.deadlines() {
			if !at.IsZero() && (next.IsZero() || at.Before(next)) {
				next = at
			}
		}
	}
	if next.Equal(cs.wake) {
		return
	}
	if cs.stop != nil {
		cs.stop()
	}
	cs.wake, cs.stop = next, nil
	if !next.IsZero() {
		cs.stop = cs.clock.AfterFunc(max(next.Sub(cs.now), 0), cs.tick)
	}
}

// tick does what is due.
func (cs *Calls) tick() {
	cs.lock()
	defer cs.unlock()
	if cs.stop != nil {
		cs.stop() // this is an earlier timer, which could not be stopped any more
	}
	cs.wake, cs.stop = time.Time{}, nil
	for _, c := range cs.calls {
		for c.due() {
		}
	}
}

// Close hangs up all calls, waits until the server has taken that, or ctx ends,
// and returns when the last callback has. It must not be called from a callback.
// Calls after the first wait for the first, too.
func (cs *Calls) Close(ctx context.Context) {
	cs.lock()
	first := !cs.closed
	cs.closed = true
	for _, c := range cs.calls {
		if c.status.State != Ended {
			c.quit()
		}
	}
	cs.unlock()
	if first {
		stop := context.AfterFunc(ctx, cs.cancel)
		cs.waiting.Wait()
		stop()
		cs.cancel()
		close(cs.quit)
	}
	<-cs.done
}
