package godwit

import (
	"fmt"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/godwit-im/godwit/protocol"
	"github.com/godwit-im/godwit/protocol/pb"
)

// maxSignals is how many signals may wait for a slow handler. Past it they are
// dropped.
const maxSignals = 1024

// Signal is something for now only: typing, a call's signalling. It is stored
// nowhere.
type Signal struct {
	// Conversation is where it goes: a direct conversation, a group up to a size
	// that the server sets, or, to reach the user's own other devices,
	// Client.System.
	Conversation string
	Type         string // an id: "typing"
	Body         []byte // at most protocol.MaxSignal bytes

	// Of one that is sent: only this user's devices, and only this one of them;
	// empty for all. Of one that arrived: who sent it, from which device.
	User, Device string

	Time time.Time // of one that arrived, by the server's clock
}

// Signal sends a signal and tells whether a session of another user was there
// to be told, which the server says only between those who may see each other's
// presence. A signal is sent once and at once or not at all: without a connection
// the error is ErrNotConnected.
func (c *Client) Signal(s Signal) *Call[bool] {
	if err := checkConversation(s.Conversation); err != nil {
		return failed[bool](c, fmt.Errorf("godwit: signal: %w", err))
	}
	if err := protocol.CheckID("signal type", s.Type); err != nil {
		return failed[bool](c, fmt.Errorf("godwit: signal: %w", err))
	}
	body := &pb.Signal{
		Conversation: s.Conversation, User: s.User, Device: s.Device, Type: s.Type, Body: slices.Clone(s.Body),
	}
	return begin(c, &call{kind: protocol.TypeSignal, body: body, once: true}, func(m proto.Message) bool {
		return m.(*pb.Signalled).Reached
	})
}

// signalled takes a signal that arrived.
func (a *account) signalled(m *pb.SignalFrom) {
	if a.signals >= maxSignals {
		a.log.Warn("signal dropped: the handler is slow", "type", m.Type)
		return
	}
	a.signals++
	a.enqueue(event{what: signalEvent, signal: &Signal{
		Conversation: m.Conversation, Type: m.Type, Body: m.Body,
		User: m.Sender, Device: m.Device, Time: timeOf(m.TimeMs),
	}})
}
