package crash

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/godwit-im/godwit/bench/journal"
	godwit "github.com/godwit-im/godwit/sdk-go"
)

// client is one device through its lives.
type client struct {
	fleet         *fleet
	user, device  string
	pipeline      int // godwit.Options.Pipeline
	conversations []string
	journal       *journal.Writer
	rng           *rand.Rand // live's
	// givenUp is how many lives may have left a CONNECT behind that the server has
	// yet to find, and takes for the device's newest: each may replace a later life
	// once, which then ends early. Live's, too.
	givenUp int

	mu     sync.Mutex         // guards all below
	seqs   map[string]uint64  // the last seq that was handed, or skipped, by conversation
	recent map[string]*recent // by conversation
	sdk    *godwit.Client     // nil between lives
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
	c.write(journal.Entry{Op: journal.OpLive, At: time.Now().UnixMilli()})
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
		Dialer:   c.dial,
		Handler: godwit.Handler{
			OnMessage:        c.receive,
			OnMessageChanged: c.receiveEvent,
			OnGap:            c.skip,
			OnReset:          func(conversation string) { defect("reset of " + conversation) },
		},
	})
	if err != nil {
		if ctx.Err() != nil {
			c.givenUp++
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
		w := &writer{
			client: c, sdk: sdk, conversation: conversation, recent: c.recent[conversation],
			rng: rand.New(rand.NewPCG(c.rng.Uint64(), 0)), slots: make(chan struct{}, window),
		}
		writers.Go(func() { w.write(ctx, &acks) })
	}
	if c.device != auditor {
		rng := rand.New(rand.NewPCG(c.rng.Uint64(), 2))
		writers.Go(func() { c.arrange(ctx, sdk, rng) })
	}
	if c.device == phone {
		rng := rand.New(rand.NewPCG(c.rng.Uint64(), 3))
		writers.Go(func() { c.follow(ctx, sdk, rng) })
	}
	for _, g := range groups() {
		rng := rand.New(rand.NewPCG(c.rng.Uint64(), 1))
		writers.Go(func() { c.tend(ctx, sdk, g, rng) })
	}
	select {
	case <-ctx.Done():
		if phase := sdk.State().Phase; phase != godwit.Online && phase != godwit.Syncing {
			c.givenUp++
		}
	case <-sdk.Done():
		err = fmt.Errorf("the client ended by itself: %w", sdk.Err())
		var by *godwit.EndedError
		if errors.As(err, &by) && by.Device == c.device && c.givenUp > 0 {
			c.givenUp--
			err = nil
		}
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
	e := entryOf(&m)
	e.Version, e.Reactions = m.Version, reactionsOf(&m)
	c.handed(e)
	if n := m.Notice; n != nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.recent[m.Conversation].add(target{m.Seq, m.Sender})
}

// receiveEvent is the client's OnMessageChanged.
func (c *client) receiveEvent(change godwit.MessageChange) {
	lapse, lapses := lapses[change.Type]
	if lapses {
		c.write(journal.Entry{
			Op: journal.OpLapse, Conversation: change.Conversation, Seq: change.Seq,
			Lapse: lapse, At: time.Now().UnixMilli(),
		})
		if change.Type == godwit.ChangeCleared { // what is before is not handed any more
			c.mu.Lock()
			defer c.mu.Unlock()
			c.seqs[change.Conversation] = max(c.seqs[change.Conversation], change.Seq)
		}
		return
	}
	if change.Event.Seq == 0 {
		c.fleet.fail(fmt.Errorf("%s: seq %d in %s was %v by nobody", c.name(), change.Seq, change.Conversation, change.Type))
		return
	}
	c.handed(entryOf(&change.Event))
}

// skip is the client's OnGap.
func (c *client) skip(conversation string, from, to uint64) {
	c.write(journal.Entry{Op: journal.OpSkip, Conversation: conversation, Seq: from, To: to})
	c.mu.Lock()
	defer c.mu.Unlock()
	c.seqs[conversation] = to
}

// handed journals a message, and marks some as read, while there is somebody to be
// told.
func (c *client) handed(e journal.Entry) {
	c.write(e)
	c.fleet.received.Add(1)
	c.mu.Lock()
	c.seqs[e.Conversation] = e.Seq
	sdk := c.sdk
	c.mu.Unlock()
	every := uint64(16)
	if c.user == lazy {
		every = 512
	}
	if sdk != nil && e.Seq%every == 0 && c.device != auditor {
		if err := sdk.MarkRead(e.Conversation, e.Seq); err != nil && !errors.Is(err, godwit.ErrClosed) {
			c.fleet.fail(err)
		}
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
