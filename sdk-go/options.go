package godwit

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"

	"github.com/godwit-im/godwit/protocol"
)

// Options is what Dial needs to know. Addr, Token and Device are required.
type Options struct {
	// Addr is the server's address, "host:port".
	Addr string

	// Token returns a signed token; its subject is the user. It is called
	// before every connection attempt and before the token in use expires,
	// never twice at a time. Its context ends with the attempt. An error is a
	// failed attempt like any other: it is tried again after a backoff.
	Token func(ctx context.Context) (string, error)

	// Device names this installation of the app, Platform what it runs on.
	// Both are ids (protocol.CheckID). A second connection with the same user
	// and device replaces the first, so two programs of one user need two
	// devices. Platform is runtime.GOOS if empty.
	Device   string
	Platform string

	// Store keeps what must outlive the process. nil is a NewMemoryStore: a
	// program that starts again begins anew.
	Store Store

	// StartAtHead makes a client whose Store is empty begin with the messages
	// that arrive from now on; History reads the older ones. Otherwise it is
	// handed every conversation from its beginning.
	StartAtHead bool

	// Handler is called with what arrives.
	Handler Handler

	// Heartbeat is the interval to propose to the server, which bounds it.
	// 0 leaves it to the server.
	Heartbeat time.Duration

	// Backoff bounds the waits between connection attempts. The zero value is
	// DefaultBackoff.
	Backoff Backoff

	// OutboxLimit is how many messages may wait for their ack at a time; Send
	// fails with ErrOutboxFull past it. 0 is DefaultOutboxLimit.
	OutboxLimit int

	// Pipeline is how many messages of one conversation may be on their way at
	// a time. With 1, which 0 stands for, each is sent when the one before it
	// was answered, and their order holds whatever happens. More of them make
	// long links fast; the order then holds across disconnects too, but where
	// a server refuses one message for the moment, being overloaded, it may
	// accept the one behind it first. Other conversations do not wait.
	Pipeline int

	// Logger receives what an operator may want to know, never tokens or
	// bodies. nil discards it.
	Logger *slog.Logger

	// Dialer opens the connection; nil is a net.Dialer with no options. TCP
	// keepalive is not relied upon.
	Dialer func(ctx context.Context, network, addr string) (net.Conn, error)
}

// DefaultOutboxLimit is the number of messages that the outbox holds unless
// Options say otherwise.
const DefaultOutboxLimit = 10_000

// Handler holds the application's callbacks; a nil one is not called.
//
// All of a client's callbacks run on one goroutine, one at a time, in the
// order in which things happened. From a callback it is fine to call every
// method of the Client but Close, to be run as "go c.Close()" there. A
// callback should not wait for an Outgoing of its own: the wait ends, but no
// other callback runs meanwhile. A callback that takes its time delays only
// the callbacks after it, neither acks nor heartbeats: what arrives in the
// meantime is kept up to a bound and pulled again past it.
//
// They may run before Dial has returned, and none runs after Close has.
type Handler struct {
	// OnMessage receives every message of every conversation of the user once
	// and in seq order within the conversation, those that the user sent from
	// this or another device, and the server's notices, included. What it refers
	// to belongs to the callee.
	OnMessage func(Message)

	// OnMessageChanged receives what happens to messages later, in order with
	// OnMessage. An edit, a recall and a reaction are messages of the log
	// themselves, so MessageChange.Event has the seq that OnMessage leaves out.
	// They are given also where the message came with them in it already:
	// Message.Apply tells.
	OnMessageChanged func(MessageChange)

	// OnConversation tells that an entry of Client.Conversations, or the system
	// conversation, is another one: its preview, counts, settings, group or the
	// user's membership. Changes that come faster than they are told are told as
	// one, with how the conversation stands by then.
	OnConversation func(Conversation)

	// OnGroupChanged tells that a group's own data changed, or who is in it; in the latter
	// case Client.Members has the list.
	OnGroupChanged func(Group)

	// OnContact tells that another user is now something else to this one: see
	// Client.Contacts. The request of one comes as a notice, too.
	OnContact func(Contact)

	// OnPresence tells that a user who was subscribed to came or went.
	OnPresence func(Presence)

	// OnSignal receives a signal. Signals come at once or not at all.
	OnSignal func(Signal)

	// OnReceipt tells that a member's cursors moved forward: the peer has read
	// more of the user's messages, or a member of a small group has, or the user has
	// on another device.
	OnReceipt func(Receipt)

	// OnState tells how the connection fares.
	OnState func(State)

	// OnGap tells that the messages from seq from to seq to, inclusive, are not to
	// be had: the server's retention removed them before this client could receive
	// them, or the user was no member of the group. OnMessage goes on after them.
	OnGap func(conversation string, from, to uint64)

	// OnReset tells that the server was restored to an older state and that
	// this conversation has since gone another way. What OnMessage was given
	// of it is void; OnMessage begins again with the oldest message there is.
	OnReset func(conversation string)
}

// validate fills in the defaults and returns what is wrong with o.
func (o *Options) validate() error {
	switch {
	case o.Addr == "":
		return errors.New("godwit: Options.Addr is empty")
	case o.Token == nil:
		return errors.New("godwit: Options.Token is nil")
	case o.Heartbeat < 0:
		return errors.New("godwit: Options.Heartbeat is negative")
	case o.Pipeline < 0:
		return errors.New("godwit: Options.Pipeline is negative")
	case o.OutboxLimit < 0:
		return errors.New("godwit: Options.OutboxLimit is negative")
	}
	if o.Platform == "" {
		o.Platform = defaultPlatform
	}
	if err := protocol.CheckID("device", o.Device); err != nil {
		return fmt.Errorf("godwit: Options.Device: %w", err)
	}
	if err := protocol.CheckID("platform", o.Platform); err != nil {
		return fmt.Errorf("godwit: Options.Platform: %w", err)
	}
	if o.Backoff == (Backoff{}) {
		o.Backoff = DefaultBackoff
	}
	if o.Backoff.Min <= 0 || o.Backoff.Max < o.Backoff.Min {
		return fmt.Errorf("godwit: Options.Backoff: need 0 < Min ≤ Max, got %v and %v", o.Backoff.Min, o.Backoff.Max)
	}
	if o.OutboxLimit == 0 {
		o.OutboxLimit = DefaultOutboxLimit
	}
	o.Pipeline = max(o.Pipeline, 1)
	if o.Store == nil {
		o.Store = NewMemoryStore()
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Dialer == nil {
		o.Dialer = new(net.Dialer).DialContext
	}
	return nil
}
