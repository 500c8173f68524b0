package bench

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"syscall"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/godwit-im/godwit/bench/client"
	"github.com/godwit-im/godwit/bench/fleet"
	"github.com/godwit-im/godwit/protocol"
	"github.com/godwit-im/godwit/protocol/pb"
)

// person is a user with a device who keeps what a good client keeps from one
// connection to the next: the cursor of SYNC, the position in each
// conversation, what was sent and not acked. It comes back as docs/PROTOCOL.md
// asks for: with SYNC in the first flight, and resends, and pulls.
//
// It belongs to a loop, and so do all whom it talks to.
type person struct {
	loop   *townLoop
	device *client.Device
	inbox  *client.Inbox
	chats  []*chat
	group  int // the scenario's

	cursor    []byte // SYNC's, to be kept; nil = never synced
	syncing   uint32 // the SYNC that is unanswered; 0 = none
	caughtUp  bool   // synced on this connection, and has all that SYNC told of
	connected time.Duration

	back *fleet.Timer
	// slack is the most that the first attempt to return waits; it doubles from
	// one to the next.
	slack  time.Duration
	losses int // in a row
	// tried is how often the device had dialled when the scenario last looked.
	tried int
	// mayLose is one whose connection the server may end without a word: it is
	// killed, or can't say it to somebody who does not read.
	mayLose bool
	// held is one who does not come back before the scenario says so.
	held bool

	ready []*chat          // have something to send, and nothing under way
	sends map[uint32]*chat // by the SEND that is unanswered
	asked map[uint32]func(f protocol.Frame) error
}

// maxSlack bounds the wait before a return, apart from what the server asks
// for: the cap of docs/PROTOCOL.md.
const maxSlack = 30 * time.Second

// newPerson adds the nth user to the loop, not connected.
func (l *townLoop) newPerson(n int) *person {
	p := &person{loop: l, slack: l.town.slack, mayLose: l.town.mayRestart, sends: map[uint32]*chat{}, asked: map[uint32]func(protocol.Frame) error{}}
	p.device = l.pool.Add(userName(n), deviceName, p)
	p.device.FirstFlight = func(*client.Device) { p.sync(p.cursor) }
	p.inbox = client.NewInbox(p.device, l.town.size, p.deliver)
	p.back = l.pool.Loop().NewTimer(p.device.Connect)
	l.people = append(l.people, p)
	return p
}

func (p *person) now() time.Duration { return p.device.Now() }

// isBack reports whether p is connected and has what it missed.
func (p *person) isBack() bool { return p.device.IsConnected() && p.caughtUp }

// comeBack connects after a wait that is drawn with full jitter, on top of
// least, which the server has asked for.
func (p *person) comeBack(least time.Duration) {
	most := min(p.slack<<min(p.losses, 16), max(maxSlack, p.slack))
	p.losses++
	p.back.Set(p.now() + least + rand.N(most+1))
}

// OnConnected implements client.Handler.
func (p *person) OnConnected(*client.Device) {
	p.connected = p.now()
	p.loop.connected.Add(1)
	p.loop.on.connected(p)
	p.flush()
}

// OnClosed implements client.Handler.
func (p *person) OnClosed(d *client.Device, err error) {
	was := p.connected != 0
	if was {
		if p.now()-p.connected >= p.loop.town.heartbeat {
			p.losses = 0
		}
		p.loop.connected.Add(-1)
	}
	if p.caughtUp {
		p.loop.caughtUp.Add(-1)
	}
	p.connected, p.caughtUp, p.syncing = 0, false, 0
	p.inbox.Forget()
	clear(p.asked)
	clear(p.sends)
	for _, c := range p.chats {
		c.underWay = false
		c.list()
	}
	var refusal *protocol.Error
	var least time.Duration
	switch {
	case err == nil: // the scenario's doing
	case errors.As(err, &refusal) && refusal.Code.Retryable():
		least = refusal.RetryAfter
	case isLoss(err) && (!was || p.mayLose):
	default:
		p.loop.town.load.fail(fmt.Errorf("%s: %w", d.User, err))
		return
	}
	p.loop.on.lost(p, err)
	if !p.held {
		p.comeBack(least)
	}
}

// isLoss reports whether err is what a server that dies, or is not there yet,
// does to its connections.
func isLoss(err error) bool {
	for _, loss := range []error{io.EOF, syscall.ECONNRESET, syscall.ECONNREFUSED, syscall.EPIPE, syscall.ETIMEDOUT} {
		if errors.Is(err, loss) {
			return true
		}
	}
	return false
}

// OnFrame implements client.Handler.
func (p *person) OnFrame(_ *client.Device, f protocol.Frame) error {
	if taken, err := p.inbox.OnFrame(f); taken || err != nil {
		if err == nil && f.Type == protocol.TypePulled {
			p.checkCaughtUp()
		}
		return err
	}
	switch f.Type {
	case protocol.TypePresence:
		p.loop.presences.Add(1)
		return nil
	case protocol.TypeSignalFrom:
		p.loop.signals.Add(1)
		return p.onSignal(f)
	}
	if f.Request == p.syncing && p.syncing != 0 {
		return p.onSynced(f)
	}
	if c, sent := p.sends[f.Request]; sent {
		delete(p.sends, f.Request)
		return c.answered(f)
	}
	if answered, asked := p.asked[f.Request]; asked {
		delete(p.asked, f.Request)
		return answered(f)
	}
	if err := client.Expect(f, protocol.TypePong); err != nil {
		return err // an ERROR that ends the connection
	}
	return broken("%s: a PONG to no PING came", p.device.User)
}

// onSignal takes a signal, which is somebody else's and of a conversation that p
// has.
func (p *person) onSignal(f protocol.Frame) error {
	var s pb.SignalFrom
	if err := protocol.Decode(f, &s); err != nil {
		return err
	}
	if p.inbox.Conversation(s.Conversation) == nil || s.Sender == p.device.User || s.Type != typingSignal {
		return broken("%s: a signal %q of %s in %s came", p.device.User, s.Type, s.Sender, s.Conversation)
	}
	return nil
}

// ask sends a request whose answer, or ERROR, is given to answered, unless the
// connection ends before. p must be connected.
func (p *person) ask(t protocol.Type, m proto.Message, answered func(f protocol.Frame) error) {
	p.asked[p.device.Request(t, m)] = answered
}

// sync asks for what changed.
func (p *person) sync(cursor []byte) {
	p.syncing = p.device.Request(protocol.TypeSync, &pb.Sync{Cursor: cursor})
}

func (p *person) onSynced(f protocol.Frame) error {
	p.syncing = 0
	if err := client.Expect(f, protocol.TypeSynced); err != nil {
		wait, err := p.again(err)
		if err == nil {
			p.later(wait, func() { p.sync(p.cursor) })
		}
		return err
	}
	var page pb.Synced
	if err := protocol.Decode(f, &page); err != nil {
		return err
	}
	first := p.cursor == nil
	if page.Reset_ && !first {
		return broken("%s: the server does not know its cursor any more", p.device.User)
	}
	for _, s := range page.Conversations {
		c := p.inbox.Conversation(s.Conversation)
		switch {
		case c == nil: // with somebody of an earlier run
		case first:
			c.Next = max(c.Next, s.HeadSeq+1) // nobody writes yet
		default:
			p.inbox.Head(c, s.HeadSeq)
		}
	}
	if page.More {
		p.sync(page.Cursor)
		return nil
	}
	p.cursor = page.Cursor
	p.checkCaughtUp()
	return nil
}

func (p *person) checkCaughtUp() {
	if p.caughtUp || p.syncing != 0 || p.inbox.IsPulling() || p.cursor == nil {
		return
	}
	p.caughtUp = true
	p.loop.caughtUp.Add(1)
	p.loop.on.caughtUp(p)
}

// again tells when to repeat a request that the server has refused for now; any
// other error is returned.
func (p *person) again(err error) (wait time.Duration, _ error) {
	var refusal *protocol.Error
	if !errors.As(err, &refusal) || !refusal.Code.Retryable() {
		return 0, err
	}
	p.loop.repeated.Add(1)
	least := max(refusal.RetryAfter, leastAgain)
	return least + rand.N(least), nil
}

// leastAgain is the least time before a request is repeated that the server
// refused for now.
const leastAgain = 10 * time.Millisecond

// later calls f after a time if the connection is still the same.
func (p *person) later(wait time.Duration, f func()) {
	conn := p.device.Conn()
	p.loop.pool.Loop().NewTimer(func() {
		if p.device.IsConnected() && p.device.Conn() == conn {
			f()
		}
	}).Set(p.now() + wait)
}

func (p *person) deliver(c *client.Conversation, got client.Delivery) {
	p.loop.delivered.Add(1)
	if got.Pulled {
		p.loop.pulled.Add(1)
	}
	p.loop.on.delivered(p, c, got)
}
