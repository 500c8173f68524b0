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

// A client lives for minLife to maxLife before it is stopped and started.
const (
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
// talk to everybody, and in the groups. The server must be up, to have made the
// key.
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
		if err := f.add(user, phone, i); err != nil {
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
		recent:   map[string]*recent{},
	}
	if device == auditor {
		c.write(journal.Entry{Op: journal.OpQuiet})
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
	for _, g := range append(groups(), news()) {
		c.conversations = append(c.conversations, g.id)
		c.write(journal.Entry{Op: journal.OpOpen, Conversation: g.id, History: g.history})
	}
	for _, conversation := range c.conversations {
		c.recent[conversation] = &recent{}
	}
	c.write(journal.Entry{Op: journal.OpOpen, Conversation: protocol.SystemID(user)})
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
// again, and ends the fleet. restart ends the server in good order, so that there
// is no notice left that is yet to come, and starts it again.
func (f *fleet) finish(ctx context.Context, restart func(context.Context) error) error {
	f.writing.Store(false)
	ctx, cancel := context.WithTimeout(ctx, settleTimeout)
	defer cancel()
	err := f.quieten(ctx, f.clients)
	if err == nil {
		err = restart(ctx)
	}
	if err == nil {
		err = f.settle(ctx, f.clients)
	}
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

// quieten waits until nobody writes and every outbox is empty; in this order,
// because the one can undo the other.
func (f *fleet) quieten(ctx context.Context, clients []*client) error {
	if err := f.await(ctx, "writers to stop", func() bool { return f.writers.Load() == 0 }); err != nil {
		return err
	}
	for _, c := range clients {
		if err := f.await(ctx, c.name()+" to send its outbox", c.isEmpty); err != nil {
			return err
		}
	}
	return nil
}

// settle waits until each of clients, which are quiet, was handed all that the
// server has.
func (f *fleet) settle(ctx context.Context, clients []*client) error {
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

// Every user has a phone; the auditor is the device that comes last.
const (
	phone   = "phone"
	auditor = "auditor"
)

// audit reads every conversation as a device that was never there before.
func (f *fleet) audit(ctx context.Context) error {
	first := len(f.clients)
	for i := range users {
		if err := f.add(fmt.Sprintf("user%d", i), auditor, 2*users+i); err != nil {
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
	for _, c := range auditors {
		if err == nil {
			err = c.writeRows(ctx)
		}
	}
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
