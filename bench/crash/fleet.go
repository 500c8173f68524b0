package crash

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/godwit-im/godwit/bench/journal"
	"github.com/godwit-im/godwit/bench/node"
	"github.com/godwit-im/godwit/protocol"
	godwit "github.com/godwit-im/godwit/sdk-go"
)

const (
	// A writer sends a burst of up to maxBurst messages, window of them
	// unacked, then rests for up to maxRest.
	window   = 8
	maxBurst = 32
	maxRest  = 150 * time.Millisecond
	maxBody  = 2 << 10 // bytes
	// A client lives for minLife to maxLife before it is stopped and started.
	minLife = 3 * time.Second
	maxLife = 15 * time.Second
)

// backoff suits a server that is gone for a fraction of a second.
var backoff = godwit.Backoff{Min: 10 * time.Millisecond, Max: 100 * time.Millisecond}

// fleet is all clients of a run.
type fleet struct {
	cfg     Config
	addr    string
	tokens  map[string]string // by user
	clients []*client
	writing atomic.Bool  // until finish
	writers atomic.Int64 // that may send yet
	failed  chan error   // the first defect that a client sees itself
	lives   sync.WaitGroup
	stop    context.CancelFunc // ends all lives

	sent, acked, received atomic.Int64 // for the progress
}

func (f *fleet) String() string {
	return fmt.Sprintf("%d sent, %d acked, %d received", f.sent.Load(), f.acked.Load(), f.received.Load())
}

// fail reports a defect; the first one counts.
func (f *fleet) fail(err error) {
	select {
	case f.failed <- err:
	default:
	}
}

// newFleet prepares a client for each user, two for some, and lets everybody
// talk to everybody. The server must be up, to have made the key.
func newFleet(ctx context.Context, cfg Config, server node.Config) (*fleet, error) {
	f := &fleet{cfg: cfg, addr: server.Addr, tokens: map[string]string{}, failed: make(chan error, 1)}
	f.writing.Store(true)
	for i := range users {
		user := fmt.Sprintf("user%d", i)
		token, err := node.Token(ctx, cfg.Binary, server.Dir, user)
		if err != nil {
			return nil, err
		}
		f.tokens[user] = token
		if err := f.add(user, "phone", i); err != nil {
			return nil, err
		}
		if i%2 == 0 {
			if err := f.add(user, "tablet", users+i); err != nil {
				return nil, err
			}
		}
	}
	return f, nil
}

// add prepares a client. Every other one has several messages of a conversation
// under way at a time.
func (f *fleet) add(user, device string, n int) error {
	w, err := journal.Create(f.path(user, device)+".jsonl", user, device)
	if err != nil {
		return err
	}
	c := &client{
		fleet: f, user: user, device: device, journal: w,
		rng:      rand.New(rand.NewPCG(f.cfg.Seed, uint64(n)+1)),
		pipeline: 1 + n%2*(window-1),
		seqs:     map[string]uint64{},
	}
	for i := range users {
		peer := fmt.Sprintf("user%d", i)
		if peer == user {
			continue
		}
		conversation := protocol.DirectID(user, peer)
		c.conversations = append(c.conversations, conversation)
		c.write(journal.Entry{Op: journal.OpOpen, Conversation: conversation})
	}
	f.clients = append(f.clients, c)
	return nil
}

func (f *fleet) path(user, device string) string {
	return filepath.Join(f.cfg.Dir, user+"-"+device)
}

func (f *fleet) start(ctx context.Context) {
	ctx, f.stop = context.WithCancel(ctx)
	for _, c := range f.clients {
		f.lives.Go(func() {
			for ctx.Err() == nil {
				if err := c.live(ctx); err != nil {
					f.fail(fmt.Errorf("%s: %w", c.name(), err))
					return
				}
			}
		})
	}
}

// finish lets everybody catch up, has an auditor of each user read it all
// again, and ends the fleet.
func (f *fleet) finish(ctx context.Context) error {
	f.writing.Store(false)
	ctx, cancel := context.WithTimeout(ctx, settleTimeout)
	defer cancel()
	err := f.settle(ctx, f.clients)
	f.stop()
	f.lives.Wait()
	if err == nil {
		err = f.audit(ctx)
	}
	for _, c := range f.clients {
		err = errors.Join(err, c.journal.Close())
	}
	select {
	case defect := <-f.failed:
		err = errors.Join(defect, err)
	default:
	}
	return err
}

// settle waits until nobody writes, every outbox is empty, and each of clients
// was handed all that the server has; in this order, because each can undo what
// comes after it.
func (f *fleet) settle(ctx context.Context, clients []*client) error {
	if err := f.await(ctx, "writers to stop", func() bool { return f.writers.Load() == 0 }); err != nil {
		return err
	}
	for _, c := range clients {
		if err := f.await(ctx, c.name()+" to send its outbox", c.isEmpty); err != nil {
			return err
		}
	}
	for _, c := range clients {
		if err := f.await(ctx, c.name()+" to catch up", func() bool { return c.isUpToDate(ctx) }); err != nil {
			return err
		}
	}
	return nil
}

func (f *fleet) await(ctx context.Context, what string, done func() bool) error {
	for !done() {
		select {
		case <-ctx.Done():
			return fmt.Errorf("gave up waiting for %s: %w", what, ctx.Err())
		case err := <-f.failed:
			return err
		case <-time.After(20 * time.Millisecond):
		}
	}
	return nil
}

// audit reads every conversation as a device that was never there before.
func (f *fleet) audit(ctx context.Context) error {
	first := len(f.clients)
	for i := range users {
		if err := f.add(fmt.Sprintf("user%d", i), "auditor", 2*users+i); err != nil {
			return err
		}
	}
	auditors := f.clients[first:]
	living, stop := context.WithCancel(ctx)
	var lives sync.WaitGroup
	for _, c := range auditors {
		lives.Go(func() {
			if err := c.live(living); err != nil {
				f.fail(fmt.Errorf("%s: %w", c.name(), err))
			}
		})
	}
	err := f.settle(ctx, auditors)
	stop()
	lives.Wait()
	return err
}

func (f *fleet) journals() ([]*journal.Journal, error) {
	var all []*journal.Journal
	for _, c := range f.clients {
		j, err := journal.Load(f.path(c.user, c.device) + ".jsonl")
		if err != nil {
			return nil, err
		}
		all = append(all, j)
	}
	return all, nil
}

// client is one device through its lives.
type client struct {
	fleet         *fleet
	user, device  string
	pipeline      int // godwit.Options.Pipeline
	conversations []string
	journal       *journal.Writer
	rng           *rand.Rand // live's

	mu   sync.Mutex        // guards all below
	seqs map[string]uint64 // the last seq that was handed, by conversation
	sdk  *godwit.Client    // nil between lives
}

func (c *client) write(e journal.Entry) {
	if err := c.journal.Add(e); err != nil {
		c.fleet.fail(err)
	}
}

// live is one life: from opening the store to closing it.
func (c *client) live(ctx context.Context) (err error) {
	ctx, cancel := context.WithTimeout(ctx, minLife+time.Duration(c.rng.Int64N(int64(maxLife-minLife))))
	defer cancel()
	store, err := godwit.OpenFileStore(c.fleet.path(c.user, c.device) + ".db")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	defect := func(what string) { c.fleet.fail(fmt.Errorf("%s: %s", c.name(), what)) }
	sdk, err := godwit.Dial(ctx, godwit.Options{
		Addr:     c.fleet.addr,
		Token:    func(context.Context) (string, error) { return c.fleet.tokens[c.user], nil },
		Device:   c.device,
		Store:    store,
		Pipeline: c.pipeline,
		Backoff:  backoff,
		Handler: godwit.Handler{
			OnMessage: c.receive,
			OnGap: func(conversation string, from, to uint64) {
				defect(fmt.Sprintf("gap %d to %d in %s", from, to, conversation))
			},
			OnReset: func(conversation string) { defect("reset of " + conversation) },
		},
	})
	if err != nil {
		if ctx.Err() != nil {
			return nil // the life was over before the server was there
		}
		return err
	}
	c.set(sdk)
	defer c.set(nil)

	var acks, writers sync.WaitGroup
	for _, o := range sdk.Outbox() { // of an earlier life
		acks.Go(func() { c.awaitAck(o) })
	}
	for _, conversation := range c.conversations {
		rng := rand.New(rand.NewPCG(c.rng.Uint64(), 0))
		writers.Go(func() { c.writeTo(ctx, sdk, conversation, rng, &acks) })
	}
	select {
	case <-ctx.Done():
	case <-sdk.Done():
		err = fmt.Errorf("the client ended by itself: %w", sdk.Err())
	}
	cancel()
	writers.Wait()
	err = errors.Join(err, sdk.Close())
	acks.Wait()
	return err
}

func (c *client) name() string { return c.user + "/" + c.device }

// current is the client of the present life, or nil.
func (c *client) current() *godwit.Client {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.sdk
}

func (c *client) set(sdk *godwit.Client) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sdk = sdk
}

// receive is the client's OnMessage.
func (c *client) receive(m godwit.Message) {
	c.write(journal.Entry{
		Op: journal.OpReceive, Conversation: m.Conversation, Sender: m.Sender, ClientID: m.ClientID,
		Body: journal.Sum(m.Body), Seq: m.Seq, ID: m.ID, TimeMs: m.Time.UnixMilli(),
	})
	c.fleet.received.Add(1)
	c.mu.Lock()
	c.seqs[m.Conversation] = m.Seq
	sdk := c.sdk
	c.mu.Unlock()
	if sdk != nil && m.Seq%16 == 0 {
		if err := sdk.MarkRead(m.Conversation, m.Seq); err != nil && !errors.Is(err, godwit.ErrClosed) {
			c.fleet.fail(err)
		}
	}
}

// writeTo sends bursts until ctx ends or the fleet stops writing. One
// goroutine writes to a conversation, so the journal has the order of sending.
func (c *client) writeTo(ctx context.Context, sdk *godwit.Client, conversation string, rng *rand.Rand, acks *sync.WaitGroup) {
	// Counted before it looks whether to write, so that settle misses nobody.
	c.fleet.writers.Add(1)
	defer c.fleet.writers.Add(-1)
	slots := make(chan struct{}, window)
	for c.fleet.writing.Load() {
		for range 1 + rng.IntN(maxBurst) {
			select {
			case slots <- struct{}{}:
			case <-ctx.Done():
				return
			}
			body := make([]byte, 1+rng.IntN(maxBody))
			for i := range body {
				body[i] = byte(rng.Uint32())
			}
			// With ctx a message could be accepted without a word about it.
			o, err := sdk.Send(context.WithoutCancel(ctx), conversation, godwit.Draft{Kind: godwit.KindCustom, ContentType: "application/octet-stream", Body: body})
			if err != nil {
				c.fleet.fail(fmt.Errorf("send: %w", err))
				return
			}
			c.write(journal.Entry{Op: journal.OpSend, Conversation: conversation, ClientID: o.ClientID(), Body: journal.Sum(body)})
			c.fleet.sent.Add(1)
			acks.Go(func() {
				c.awaitAck(o)
				<-slots
			})
		}
		select {
		case <-time.After(time.Duration(rng.Int64N(int64(maxRest)))):
		case <-ctx.Done():
			return
		}
	}
}

// awaitAck journals the ack of o, unless the client is closed before it comes.
func (c *client) awaitAck(o *godwit.Outgoing) {
	ack, err := o.Sent(context.Background())
	switch {
	case errors.Is(err, godwit.ErrClosed):
	case err != nil:
		c.fleet.fail(fmt.Errorf("ack: %w", err))
	default:
		c.write(journal.Entry{
			Op: journal.OpAck, Conversation: o.Conversation(), ClientID: o.ClientID(),
			Seq: ack.Seq, ID: ack.ID, TimeMs: ack.Time.UnixMilli(),
		})
		c.fleet.acked.Add(1)
	}
}

func (c *client) isEmpty() bool {
	sdk := c.current()
	return sdk != nil && len(sdk.Outbox()) == 0
}

func (c *client) isUpToDate(ctx context.Context) bool {
	sdk := c.current()
	if sdk == nil {
		return false
	}
	conversations, err := sdk.FetchConversations(ctx)
	if err != nil {
		return false // the client's life has just ended
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, conv := range conversations {
		if c.seqs[conv.ID] < conv.HeadSeq {
			return false
		}
	}
	return true
}
