package godwit

import (
	"runtime"
	"time"
)

const defaultPlatform = runtime.GOOS

// Ack is the server's word that a message is stored durably.
type Ack struct {
	Seq  uint64 // of an event that changed nothing, that of the newest one that did; 0 if none
	ID   uint64
	Time time.Time // the server's clock
}

// Receipt tells how far a member of a conversation has come. Cursors never go
// back, except with Handler.OnReset.
type Receipt struct {
	Conversation string
	User         string // whose cursors these are: the peer's, or the user's own
	ReadSeq      uint64 // everything up to here was read
	DeliveredSeq uint64 // everything up to here reached a device
	Unread       uint64 // messages left to read; of the user's own receipts only
}

// Phase is where a client stands with its connection.
type Phase int

// The phases. From Closed none follows.
const (
	// Connecting: an attempt to connect is under way.
	Connecting Phase = iota
	// Syncing: the session is up and messages flow, and what was missed while
	// there was none is being fetched.
	Syncing
	// Online: everything that the server had when this session began has been
	// handed to OnMessage.
	Online
	// Waiting: there is no connection; the next attempt comes after RetryIn.
	Waiting
	// Closed: the client is done, by Close or for a final error.
	Closed
)

var phaseNames = [...]string{"connecting", "syncing", "online", "waiting", "closed"}

// String is the phase's name in lower case.
func (p Phase) String() string {
	if p < 0 || int(p) >= len(phaseNames) {
		return "unknown"
	}
	return phaseNames[p]
}

// State is a client's phase with its circumstances.
type State struct {
	Phase Phase
	// Err is, in Waiting, why the last attempt or connection ended and, in
	// Closed, the final error; nil after Close.
	Err error
	// RetryIn is, in Waiting, how long until the next attempt, measured from
	// the beginning of the phase.
	RetryIn time.Duration
}

// Status is how far a message that was sent has come.
type Status int

// The statuses in their order. A message may skip some: one that is read was
// delivered. From Failed and Read none follows.
const (
	StatusQueued    Status = iota // in the outbox
	StatusSent                    // stored by the server; it has a seq
	StatusDelivered               // on a device of the peer
	StatusRead                    // read by the peer
	StatusFailed                  // refused for good; see Outgoing.Sent
)

var statusNames = [...]string{"queued", "sent", "delivered", "read", "failed"}

// String is the status's name in lower case.
func (s Status) String() string {
	if s < 0 || int(s) >= len(statusNames) {
		return "unknown"
	}
	return statusNames[s]
}
