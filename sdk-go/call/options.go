package call

import "time"

// Handler holds the application's callbacks; a nil one is not called. They run on
// one goroutine of Calls, one at a time, in the order in which things happened,
// and may call everything but Calls.Close.
type Handler struct {
	// OnCall tells of a call that comes in, in the state Invited. Say Ring or Busy
	// soon. If it is nil, invitations are ignored, as on a device that can't take
	// calls.
	OnCall func(*Call)

	// OnState tells that a call has come to another state. The answer of the callee
	// is in Call.Answer when it is Active.
	OnState func(*Call, Status)

	// OnPayload receives what the other device gave to Send, each once and in
	// order. The payload belongs to the callee.
	OnPayload func(*Call, []byte)
}

// Times are how long things take. Those that are 0 have their default.
type Times struct {
	Ring    time.Duration // how long a caller waits for somebody to answer
	Invite  time.Duration // between two invitations
	Silence time.Duration // without an invitation, after which a callee's device stops to ring
	Accept  time.Duration // between two acceptances, and before a payload that did not get through is sent again
	Confirm time.Duration // how long an acceptance waits to be confirmed
	Busy    time.Duration // from the first device that is busy on, how long to wait for one that rings
	Alive   time.Duration // between two signs of life in an active call
	// Lost is how long the other device may be unheard of in an active call. Only
	// the time counts in which this device's own signs of life were taken by the
	// server. Where media flows past the server it is the better judge: set
	// Lost to a long time, and HangUp when the media has failed.
	Lost time.Duration
}

// DefaultTimes are those of docs/CALLS.md.
func DefaultTimes() Times {
	return Times{
		Ring: 45 * time.Second, Invite: 5 * time.Second, Silence: 20 * time.Second,
		Accept: 2 * time.Second, Confirm: 15 * time.Second, Busy: 2 * time.Second,
		Alive: 10 * time.Second, Lost: time.Minute,
	}
}

// Clock is what Calls measures time with.
type Clock interface {
	Now() time.Time
	// AfterFunc calls f on a goroutine of its own after d, and never before it has
	// returned itself. stop is as that of a time.Timer.
	AfterFunc(d time.Duration, f func()) (stop func() bool)
}

type systemClock struct{}

func (systemClock) Now() time.Time { return time.Now() }

func (systemClock) AfterFunc(d time.Duration, f func()) func() bool { return time.AfterFunc(d, f).Stop }

// Options is what New needs to know.
type Options struct {
	Handler Handler
	Times   Times
	Max     int   // how many calls may go on at a time on this device; past it others find it busy. 0 is 1
	Clock   Clock // nil is the system's
}
