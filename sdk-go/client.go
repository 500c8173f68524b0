package godwit

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"
)

// Client is a device of a user, connected to a server or about to be. Its
// methods are safe for concurrent use.
//
// Three goroutines live as long as the client: run calls the handler, connect
// writes to the connection, and save writes to the store. A fourth reads from
// the connection while there is one, and at times a fifth fetches a token.
type Client struct {
	opts Options
	log  *slog.Logger

	closing chan struct{} // closed to have the client end at once
	done    chan struct{} // closed when all goroutines have ended
	first   chan struct{} // closed at the first CONNECTED

	// lastFailure is why the last attempt or connection ended. It belongs to
	// connect, and to Dial after done.
	lastFailure error
	// livedBefore: the store was another client's before. It never changes.
	livedBefore bool

	mu        sync.Mutex // guards what follows, boxes, the session and handles
	account   account
	final     error         // why the client ended by itself
	closed    bool          // closing is closed
	connected bool          // first is closed
	maxBody   int           // from the last CONNECTED
	savedBell chan struct{} // closed, and made anew, after each save
}

// Dial connects to the server and returns once it has accepted the client. It
// tries again after failures that may pass, until ctx ends; ctx has no say
// after that. Handler.OnState is told about every attempt.
//
// The error wraps the last failure. A refusal by the server that is final (a
// bad token, say) is a *protocol.Error: see CodeOf.
func Dial(ctx context.Context, o Options) (*Client, error) {
	if err := o.validate(); err != nil {
		return nil, err
	}
	snap, err := o.Store.Load()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrStore, err)
	}
	c := &Client{
		opts:      o,
		log:       o.Logger,
		closing:   make(chan struct{}),
		done:      make(chan struct{}),
		first:     make(chan struct{}),
		savedBell: make(chan struct{}),
	}
	c.account.init(&o, snap)
	c.livedBefore = snap.User != ""
	for _, e := range snap.Outbox {
		c.account.lastOrder = max(c.account.lastOrder, e.Order)
		c.account.stored(c.outgoing(e))
	}
	go c.run()
	select {
	case <-c.first:
		return c, nil
	case <-c.done:
		return nil, fmt.Errorf("godwit: dial %s: %w", o.Addr, c.Err())
	case <-ctx.Done():
	}
	err = errors.Join(ctx.Err(), c.Close())
	if last := c.lastFailure; last != nil {
		err = fmt.Errorf("%w; last failure: %w", err, last)
	}
	return nil, fmt.Errorf("godwit: dial %s: %w", o.Addr, err)
}

// run is the handler's goroutine. It outlives the others.
func (c *Client) run() {
	ctx, disconnect := context.WithCancel(context.Background())
	lastSave := make(chan struct{})
	var connecting, saving sync.WaitGroup
	connecting.Go(func() { c.connect(ctx) })
	saving.Go(func() { c.save(lastSave) })

	c.handle()
	disconnect()
	connecting.Wait()
	close(lastSave)
	saving.Wait()

	c.mu.Lock()
	c.closed = true
	state := State{Phase: Closed, Err: c.final}
	c.account.state = state
	c.account.endCalls(c.closedErr())
	c.mu.Unlock()
	if c.opts.Handler.OnState != nil {
		c.opts.Handler.OnState(state)
	}
	close(c.done)
}

// Close ends the client and returns when all its goroutines have ended. If
// there is a connection, it first sends what is in the outbox and the marks
// that are owed, for two seconds at the most; what is left stays in the Store
// for the next client. What was handed to the application is saved. Close
// waits for the callback that is running, if one is, and for Options.Token,
// and must not be called from either. Calls after the first wait for the
// first.
//
// The error is ErrStore if the store failed; that the connection did is none.
func (c *Client) Close() error {
	c.mu.Lock()
	c.closeLocked()
	c.mu.Unlock()
	<-c.done
	if err := c.Err(); errors.Is(err, ErrStore) {
		return err
	}
	return nil
}

func (c *Client) closeLocked() {
	if !c.closed {
		c.closed = true
		close(c.closing)
	}
}

// fail ends the client for err, after the handler was given what has arrived.
func (c *Client) fail(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.final == nil && !c.closed {
		c.final = err
		c.account.handlerBell.ring()
	}
}

// failNow is fail without the handler being given anything more.
func (c *Client) failNow(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.final == nil {
		c.final = err
	}
	c.closeLocked()
}

// closedErr is the error of methods of a client that has ended or is about
// to. Client.mu is held.
func (c *Client) closedErr() error {
	switch {
	case c.final != nil:
		return fmt.Errorf("%w: %w", ErrClosed, c.final)
	case c.closed:
		return ErrClosed
	}
	return nil
}

// await waits for done, for the end of ctx or for that of the client.
func await[T any](ctx context.Context, c *Client, done <-chan T) error {
	select {
	case <-done:
		return nil
	default:
	}
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-c.done:
		c.mu.Lock()
		defer c.mu.Unlock()
		return c.closedErr()
	}
}

// Done is closed when the client has ended, by Close or by itself.
func (c *Client) Done() <-chan struct{} { return c.done }

// Err is why the client ended by itself; nil while it hasn't, and after Close.
func (c *Client) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.final
}

// User is the user that the token names.
func (c *Client) User() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.account.user
}

// State is the current state. Handler.OnState may be told of it later.
func (c *Client) State() State {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.account.state
}

func (c *Client) setState(s State) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.account.setState(s)
}

// connectedOnce tells Dial.
func (c *Client) connectedOnce() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.connected {
		c.connected = true
		close(c.first)
	}
}

// Outbox returns the messages that wait for their ack, in the order of their
// Sends; after a restart, those of the process before.
func (c *Client) Outbox() []*Outgoing {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.account.waiting()
}

// MarkRead tells the server, and by it the sender and the user's other
// devices, that everything up to seq was read. It does not wait: marks are
// coalesced, sent when there is a connection and kept by the Store, soon. A
// seq that is not ahead of the mark changes nothing; one past the newest
// message marks everything that was received. It also takes
// Settings.MarkedUnread away.
func (c *Client) MarkRead(conversation string, seq uint64) error {
	if err := checkConversation(conversation); err != nil {
		return fmt.Errorf("godwit: mark: %w", err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.closedErr(); err != nil {
		return err
	}
	c.account.wantRead(c.account.box(conversation), seq, time.Now())
	return nil
}

// newClientID returns an id that nobody else has: 130 random bits.
func newClientID() string { return rand.Text() }
