package call

import (
	"errors"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/godwit-im/godwit/protocol"
	"github.com/godwit-im/godwit/protocol/pb"
)

// State is how far a call has come.
type State int

// The states. A call begins in Inviting with the caller and in Invited with the
// callee, never goes back, and ends in Ended.
const (
	Inviting  State = iota // the caller's: no device rings yet
	Invited                // the callee's: the caller has not been told that it rings
	Ringing                // the caller's, or the callee's: a device of the callee rings, or this one
	Accepting              // the callee's: accepted here, and the caller has not confirmed it yet
	Active                 // two devices have the call
	Ended                  // see Reason
)

var stateNames = [...]string{"inviting", "invited", "ringing", "accepting", "active", "ended"}

// String is the state's name in lower case.
func (s State) String() string {
	if s < 0 || int(s) >= len(stateNames) {
		return "unknown"
	}
	return stateNames[s]
}

// Reason is why a call ended.
type Reason int

// The reasons.
const (
	None              Reason = iota // it has not
	HungUp                          // one of the two ended it; before it was answered, the caller did
	TimedOut                        // nobody answered in time
	Rejected                        // the callee declined
	Busy                            // the callee's devices that could answer were in other calls
	AnsweredElsewhere               // another device of this user's has the call
	RejectedElsewhere               // this user declined on another device
	Replaced                        // the other user called at the same time, and that call goes on instead
	Lost                            // nothing was heard of the other device any more
	Refused                         // the server did not let it through: Status.Err
)

var reasonNames = [...]string{
	"none", "hung up", "timed out", "rejected", "busy", "answered elsewhere", "rejected elsewhere",
	"replaced", "lost", "refused",
}

// String is the reason in lower case.
func (r Reason) String() string {
	if r < 0 || int(r) >= len(reasonNames) {
		return "unknown"
	}
	return reasonNames[r]
}

// Status is how a call stands.
type Status struct {
	State  State
	Reason Reason // in Ended
	// Device is the other user's device that has the call: from the beginning in a
	// call that came in, from Active on in one that was placed.
	Device string
	// Err is the server's refusal, or that the client has ended.
	Err error
}

var (
	// ErrState is returned by what can't be done to a call in its state, or not by
	// this side of it.
	ErrState = errors.New("call: not in this state")

	// ErrTooLarge is returned for a payload that does not fit into a signal: see
	// MaxPayload.
	ErrTooLarge = errors.New("call: payload too large")

	// ErrTooMany is returned by Send while MaxPending bytes wait to be sent.
	ErrTooMany = errors.New("call: too many payloads are waiting")
)

const (
	// MaxPayload is the longest offer, answer or other payload, in bytes: what
	// protocol.MaxSignal leaves beside the call's id. Compress a description that
	// is longer, or send its candidates later.
	MaxPayload = protocol.MaxSignal - 128

	// MaxPending is how many bytes of payloads may wait to be sent.
	MaxPending = 8 * MaxPayload
)

// Call is one call. Its methods are safe for concurrent use, from callbacks too,
// and do not wait for the network.
type Call struct {
	calls *Calls

	// These never change.
	id       string
	user     string // the other one
	outgoing bool
	mutual   bool
	offer    []byte

	// Calls.mu guards the rest.
	status  Status
	answer  []byte // the callee's own, or what the caller was sent
	endedBy string // the signal with which it was ended here, empty if it was not; for an invitation that comes late
	reason  pb.CallReason

	began    time.Time
	repeatAt time.Time // the invitation, the acceptance or the sign of life is due; zero = nothing is
	giveUpAt time.Time // the state is over; zero = it is not by time
	busyAt   time.Time // nobody rings and somebody is busy; zero = nobody is

	unheard int      // signs of life that the server took since the other device was heard
	pending [][]byte // payloads to be sent, of which the first has the number sent
	waiting int      // their bytes
	sent    uint64
	flying  int    // how many of pending are on their way
	heard   uint64 // the number of the next payload to be handed over
}

// ID names the call, the same on all devices.
func (c *Call) ID() string { return c.id }

// User is the other user.
func (c *Call) User() string { return c.user }

// Outgoing reports whether the call was placed here.
func (c *Call) Outgoing() bool { return c.outgoing }

// Mutual reports that this user has called the other at the same time, and that
// this call is there instead: to be accepted at once, without asking.
func (c *Call) Mutual() bool { return c.mutual }

// Offer is what the caller gave to Place. It must not be changed.
func (c *Call) Offer() []byte { return c.offer }

// Answer is what the callee gave to Accept, nil before. It must not be changed.
func (c *Call) Answer() []byte {
	c.calls.mu.Lock()
	defer c.calls.mu.Unlock()
	return c.answer
}

// Status is how the call stands. Handler.OnState may be told of it later.
func (c *Call) Status() Status {
	c.calls.mu.Lock()
	defer c.calls.mu.Unlock()
	return c.status
}

// Ring tells the caller that this device rings.
func (c *Call) Ring() error {
	return c.do(func() error {
		if c.status.State != Invited {
			return ErrState
		}
		c.become(Ringing)
		c.toDevice(kindRing, c.status.Device)
		return nil
	})
}

// Accept takes the call on this device. It has it once the state is Active:
// another device of the user may be faster. Accept copies the answer.
func (c *Call) Accept(answer []byte) error {
	if len(answer) > MaxPayload {
		return ErrTooLarge
	}
	return c.do(func() error {
		if !c.rings() {
			return ErrState
		}
		c.answer = slices.Clone(answer)
		c.giveUpAt = c.calls.now.Add(c.calls.times.Confirm)
		c.become(Accepting)
		c.accept()
		return nil
	})
}

// Reject declines the call for the user, on all devices.
func (c *Call) Reject() error {
	return c.do(func() error {
		if !c.rings() {
			return ErrState
		}
		c.endWith(kindReject, Rejected)
		return nil
	})
}

// Busy declines the call for this device alone: others go on to ring.
func (c *Call) Busy() error {
	return c.do(func() error {
		if !c.rings() {
			return ErrState
		}
		c.endWith(kindBusy, Busy)
		return nil
	})
}

// HangUp ends the call, in any state. With the callee, before Accept, it is Reject.
func (c *Call) HangUp() error {
	return c.do(func() error {
		switch {
		case c.status.State == Ended:
			return ErrState
		case c.rings():
			c.endWith(kindReject, Rejected)
		default:
			c.endWith(kindHangup, HungUp)
		}
		return nil
	})
}

// Send sends a payload, a candidate say, to the other device, for its
// Handler.OnPayload. What is sent before the call is Active waits until then; of
// what is given soon after one another, as much as fits goes into one signal.
// It copies the payload.
func (c *Call) Send(payload []byte) error {
	if len(payload) > MaxPayload {
		return ErrTooLarge
	}
	return c.do(func() error {
		switch {
		case c.status.State == Ended || c.rings():
			return ErrState
		case c.waiting+len(payload) > MaxPending || len(c.pending) >= maxPayloads:
			return ErrTooMany
		}
		c.pending = append(c.pending, slices.Clone(payload))
		c.waiting += len(payload)
		c.flush()
		return nil
	})
}

// maxPayloads bounds Call.pending by number, too.
const maxPayloads = 1024

// do runs f with Calls.mu held.
func (c *Call) do(f func() error) error {
	c.calls.lock()
	defer c.calls.unlock()
	return f()
}

// rings reports whether the callee may still answer here.
func (c *Call) rings() bool {
	return !c.outgoing && (c.status.State == Invited || c.status.State == Ringing)
}

// unanswered reports whether the caller waits for somebody to answer.
func (c *Call) unanswered() bool {
	return c.outgoing && (c.status.State == Inviting || c.status.State == Ringing)
}

// become changes the state, which must be another one, and tells the application.
func (c *Call) become(s State) {
	c.status.State = s
	status := c.status
	c.calls.tell(func(h *Handler) {
		if h.OnState != nil {
			h.OnState(c, status)
		}
	})
}

// activate has the call be one with this device.
func (c *Call) activate(device string) {
	c.status.Device = device
	c.giveUpAt, c.busyAt = time.Time{}, time.Time{}
	c.repeatAt = c.calls.now.Add(c.calls.times.Alive)
	c.become(Active)
}

// end ends the call, without a word to anybody else.
func (c *Call) end(why Reason) {
	c.giveUpAt, c.busyAt, c.repeatAt = time.Time{}, time.Time{}, time.Time{}
	c.pending, c.waiting = nil, 0
	c.status.Reason = why
	c.become(Ended)
	c.calls.ended(c)
}

// endWith ends the call from here, and says so with a signal of this kind.
func (c *Call) endWith(kind string, why Reason) {
	c.endedBy, c.reason = kind, wireReason(why)
	if kind == kindBusy {
		c.toDevice(kind, c.status.Device)
	} else {
		c.toAll(kind)
	}
	c.end(why)
}

// quit ends the call because Calls is closed. Other devices of the user may go on
// to ring.
func (c *Call) quit() {
	if c.rings() {
		c.end(HungUp)
	} else {
		c.endWith(kindHangup, HungUp)
	}
}

// invite sends the invitation, now and again until there is an answer.
func (c *Call) invite() {
	c.toAll(kindInvite, c.offer)
	c.repeatAt = c.calls.now.Add(c.calls.times.Invite)
}

// accept sends the acceptance, now and again until it is confirmed.
func (c *Call) accept() {
	c.toAll(kindAccept, c.answer)
	c.repeatAt = c.calls.now.Add(c.calls.times.Accept)
}

// flush sends what is pending, one signal at a time. Meanwhile more of it
// gathers.
func (c *Call) flush() {
	if c.status.State != Active || c.flying > 0 || len(c.pending) == 0 {
		return
	}
	m := &pb.CallSignal{Call: c.id, First: c.sent}
	for _, p := range c.pending {
		if m.Payloads = append(m.Payloads, p); proto.Size(m) > protocol.MaxSignal {
			m.Payloads = m.Payloads[:len(m.Payloads)-1]
			break
		}
	}
	c.flying = len(m.Payloads)
	c.calls.transmit(c, kindCandidate, c.status.Device, m)
}

// toAll sends a signal to all devices of both users but this one.
func (c *Call) toAll(kind string, payloads ...[]byte) {
	c.calls.transmit(c, kind, "", &pb.CallSignal{Call: c.id, Payloads: payloads, Reason: c.reason})
}

// toDevice sends a signal to one device of the other user.
func (c *Call) toDevice(kind, device string) {
	c.calls.transmit(c, kind, device, &pb.CallSignal{Call: c.id, Reason: c.reason})
}

// wireReason is what a hang-up says of a reason.
func wireReason(why Reason) pb.CallReason {
	switch why {
	case TimedOut:
		return pb.CallReason_CALL_REASON_TIMEOUT
	case Replaced:
		return pb.CallReason_CALL_REASON_REPLACED
	case AnsweredElsewhere:
		return pb.CallReason_CALL_REASON_ELSEWHERE
	}
	return pb.CallReason_CALL_REASON_HANGUP
}

// reasonOf is wireReason for who hears it.
func reasonOf(r pb.CallReason) Reason {
	switch r {
	case pb.CallReason_CALL_REASON_TIMEOUT:
		return TimedOut
	case pb.CallReason_CALL_REASON_REPLACED:
		return Replaced
	case pb.CallReason_CALL_REASON_ELSEWHERE:
		return AnsweredElsewhere
	}
	return HungUp
}
