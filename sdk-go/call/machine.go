package call

import (
	"errors"
	"slices"
	"time"

	"github.com/godwit-im/godwit/protocol/pb"
	godwit "github.com/godwit-im/godwit/sdk-go"
)

// The types of the signals.
const (
	kindInvite    = "call.invite"
	kindRing      = "call.ring"
	kindBusy      = "call.busy"
	kindAccept    = "call.accept"
	kindConfirm   = "call.confirm"
	kindReject    = "call.reject"
	kindCandidate = "call.candidate"
	kindAlive     = "call.alive"
	kindHangup    = "call.hangup"
)

// take is what a signal of another device does to a call, by the table of
// docs/CALLS.md: what is not in it does nothing. own: the device is this user's.
func (c *Call) take(own bool, device, kind string, m *pb.CallSignal) {
	switch {
	case own:
		c.takeOwn(kind)
	case c.outgoing && c.status.State == Ended:
		// The device may be any of the callee's: one that answers late, one that
		// still rings.
		switch kind {
		case kindRing, kindAccept, kindCandidate, kindAlive:
			c.calls.answer(c, kindHangup, device, c.reason)
		}
	case c.unanswered():
		c.takeAnswer(device, kind, m)
	case device != c.status.Device:
		if c.outgoing && (kind == kindAccept || kind == kindRing) {
			c.calls.answer(c, kindHangup, device, pb.CallReason_CALL_REASON_ELSEWHERE)
		}
	case c.status.State == Ended:
		switch kind {
		case kindInvite:
			if c.endedBy != "" {
				c.calls.answer(c, c.endedBy, device, c.reason)
			}
		case kindConfirm, kindCandidate, kindAlive:
			c.calls.answer(c, kindHangup, device, c.reason)
		}
	case c.status.State == Active:
		c.takeActive(kind, m)
	default:
		c.takeInvited(kind, m)
	}
}

// takeOwn is for the callee's other devices: one of them was faster.
func (c *Call) takeOwn(kind string) {
	if !c.rings() {
		return // in Accepting the caller decides who was first
	}
	switch kind {
	case kindAccept, kindHangup: // a hang-up follows an acceptance
		c.end(AnsweredElsewhere)
	case kindReject:
		c.end(RejectedElsewhere)
	}
}

// takeAnswer is for the caller whom nobody has answered.
func (c *Call) takeAnswer(device, kind string, m *pb.CallSignal) {
	times := &c.calls.times
	switch kind {
	case kindRing:
		c.busyAt = time.Time{}
		if c.status.State == Inviting {
			c.become(Ringing)
		}
	case kindBusy:
		if c.busyAt.IsZero() {
			// A device that rings says so after each invitation, so it has been
			// heard again by then.
			c.busyAt = c.calls.now.Add(times.Busy)
			if c.status.State == Ringing {
				c.busyAt = c.busyAt.Add(times.Invite)
			}
		}
	case kindAccept:
		c.answer = firstPayload(m)
		c.activate(device)
		c.toDevice(kindConfirm, device)
		c.flush()
	case kindReject:
		c.end(Rejected)
	case kindHangup:
		c.end(reasonOf(m.Reason))
	}
}

// takeInvited is for the callee, from the caller's device, up to Active.
func (c *Call) takeInvited(kind string, m *pb.CallSignal) {
	accepting := c.status.State == Accepting
	switch kind {
	case kindInvite:
		switch {
		case accepting:
			c.accept()
			return
		case c.status.State == Ringing:
			c.toDevice(kindRing, c.status.Device)
		}
		c.invitedAgain()
	case kindConfirm, kindCandidate, kindAlive:
		if accepting {
			c.activate(c.status.Device)
			c.takeActive(kind, m)
			c.flush()
		}
	case kindHangup:
		c.end(reasonOf(m.Reason))
	}
}

// takeActive is for both, from the other device.
func (c *Call) takeActive(kind string, m *pb.CallSignal) {
	c.unheard = 0
	switch kind {
	case kindAccept:
		if c.outgoing {
			c.toDevice(kindConfirm, c.status.Device)
		}
	case kindCandidate:
		c.takePayloads(m)
	case kindHangup:
		c.end(reasonOf(m.Reason))
	}
}

// takePayloads hands over those that were not before.
func (c *Call) takePayloads(m *pb.CallSignal) {
	for i, p := range m.Payloads {
		number := m.First + uint64(i)
		if number < c.heard {
			continue
		}
		c.heard = number + 1
		c.calls.hand(c, p)
	}
}

// invitedAgain notes that the caller is there.
func (c *Call) invitedAgain() {
	t := &c.calls.times
	c.giveUpAt = c.calls.now.Add(t.Silence)
	if last := c.began.Add(t.Ring + t.Silence); last.Before(c.giveUpAt) {
		c.giveUpAt = last
	}
}

// deadlines are the times at which the call has something to do.
func (c *Call) deadlines() [3]time.Time { return [...]time.Time{c.busyAt, c.giveUpAt, c.repeatAt} }

// due does the most important of what is due, and reports whether there was any.
func (c *Call) due() bool {
	is := func(at time.Time) bool { return !at.IsZero() && !c.calls.now.Before(at) }
	switch {
	case is(c.busyAt):
		c.endWith(kindHangup, Busy)
	case is(c.giveUpAt):
		c.giveUp()
	case is(c.repeatAt):
		c.repeat()
	default:
		return false
	}
	return true
}

// repeat sends again what the state is about.
func (c *Call) repeat() {
	switch c.status.State {
	case Accepting:
		c.accept()
	case Active:
		c.repeatAt = c.calls.now.Add(c.calls.times.Alive)
		c.toDevice(kindAlive, c.status.Device)
		c.flush()
	default:
		c.invite()
	}
}

// giveUp ends a state that has lasted too long.
func (c *Call) giveUp() {
	t := &c.calls.times
	switch {
	case c.outgoing:
		c.endWith(kindHangup, TimedOut)
	case c.status.State == Accepting:
		c.endWith(kindHangup, Lost)
	case c.calls.now.Before(c.began.Add(t.Ring + t.Silence)):
		// It may have been this device that was away. Where the caller still is
		// there its next invitation makes a call of its own.
		c.end(Lost)
		c.calls.forget(c)
	default:
		c.end(TimedOut)
	}
}

// settled takes what became of a signal that was sent.
func (c *Call) settled(kind string, err error) {
	if c.status.State == Ended {
		return
	}
	flew := 0
	if kind == kindCandidate {
		flew, c.flying = c.flying, 0
	}
	code := godwit.CodeOf(err)
	switch {
	case errors.Is(err, godwit.ErrClosed):
		c.status.Err = err
		c.end(Lost)
	case code != 0 && !code.Retryable():
		c.status.Err = err
		c.endWith(kindHangup, Refused)
	case err != nil:
		// There is no connection, or too much was sent of late. What is repeated
		// is repeated in its time; payloads wait for less than that.
		if soon := c.calls.now.Add(c.calls.times.Accept); kind == kindCandidate && soon.Before(c.repeatAt) {
			c.repeatAt = soon
		}
	case kind == kindAlive:
		if c.unheard++; time.Duration(c.unheard)*c.calls.times.Alive >= c.calls.times.Lost {
			c.endWith(kindHangup, Lost)
		}
	case kind == kindCandidate:
		for _, p := range c.pending[:flew] {
			c.waiting -= len(p)
		}
		c.pending = slices.Delete(c.pending, 0, flew)
		c.sent += uint64(flew)
		c.flush()
	}
}

func firstPayload(m *pb.CallSignal) []byte {
	if len(m.Payloads) == 0 {
		return nil
	}
	return m.Payloads[0]
}
