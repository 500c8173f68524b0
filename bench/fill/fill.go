package fill

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"runtime"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/godwit-im/godwit/bench/client"
	"github.com/godwit-im/godwit/chat"
	"github.com/godwit-im/godwit/msgstore"
	"github.com/godwit-im/godwit/protocol"
	"github.com/godwit-im/godwit/protocol/pb"
)

// Config says where to write.
type Config struct {
	// Dir is the store's directory, which is made where it is missing. No server
	// may run on it.
	Dir string
	// Progress gets a line a second; may be nil.
	Progress io.Writer
}

// Result is what was written.
type Result struct {
	Messages int // those that were there already included
	Took     time.Duration
}

// Old writes the old messages. What is there already stays: an interrupted call
// may be repeated.
func Old(ctx context.Context, cfg Config, plan Plan) (Result, error) {
	perUser := plan.Conversations
	return write(ctx, cfg, plan, part{
		what: "old messages", conversations: plan.Users * perUser, each: plan.Old,
		at: func(n int) (user, friend string) {
			return plan.User(n / perUser), plan.Friend(n/perUser, n%perUser)
		},
		message: func(user, friend string, n int) (sender, clientID string, count int) {
			sender = friend
			if n%2 == 1 {
				sender = user
			}
			return sender, fmt.Sprintf("old-%d", n), n / 2
		},
	})
}

// Missed writes the messages that are missed, to the same store, as Old does.
// Each sender's count begins at 0 again.
func Missed(ctx context.Context, cfg Config, plan Plan) (Result, error) {
	return write(ctx, cfg, plan, part{
		what: "missed messages", conversations: plan.Away * plan.Behind, each: plan.Missed,
		at: func(n int) (user, friend string) {
			i := n / plan.Behind
			return plan.User(i), plan.Friend(i, plan.BehindAt(i, n%plan.Behind))
		},
		message: func(_, friend string, n int) (sender, clientID string, count int) {
			return friend, fmt.Sprintf("missed-%d", n), n
		},
	})
}

// part is messages to write: as many in each of some conversations.
type part struct {
	what                string
	conversations, each int
	at                  func(conversation int) (user, friend string)
	message             func(user, friend string, n int) (sender, clientID string, count int)
}

// crowd is how many conversations take turns: as many as the cache of heads
// holds. More would have the disk asked where each of them ends.
const crowd = 1 << 16

// batch is the number of messages in a transaction.
const batch = 4096

func write(ctx context.Context, cfg Config, plan Plan, part part) (r Result, err error) {
	if err := plan.Validate(); err != nil {
		return r, err
	}
	opts := msgstore.DefaultOptions()
	opts.Dir = cfg.Dir
	opts.Durability = msgstore.Interval // closing it syncs
	opts.HeadCache = 2 * crowd          // its shards are not all as full
	opts.Logger = slog.New(slog.DiscardHandler)
	store, err := msgstore.Open(opts)
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, store.Close()) }()

	began := time.Now()
	var written atomic.Int64
	total := part.conversations * part.each
	stop := progress(cfg.Progress, part.what, total, &written)
	defer stop()
	for first := 0; first < part.conversations; first += crowd {
		if err := writeCrowd(ctx, store, plan, part, first, &written); err != nil {
			return r, err
		}
	}
	return Result{Messages: int(written.Load()), Took: time.Since(began)}, nil
}

// writeCrowd writes to the conversations from first on that take turns. The
// partitions are divided among goroutines, as among a server's writers.
func writeCrowd(ctx context.Context, store *msgstore.Store, plan Plan, part part, first int, written *atomic.Int64) error {
	writers := make([]*writer, min(runtime.GOMAXPROCS(0), store.Partitions()))
	rules := chat.DefaultRules()
	for i := range writers {
		writers[i] = &writer{store: store, rules: &rules, size: plan.Size, index: make([]uint64, store.Partitions())}
		for p := range writers[i].index {
			writers[i].index[p] = store.Applied(p)
		}
	}
	for n := first; n < min(first+crowd, part.conversations); n++ {
		user, friend := part.at(n)
		c := conversation{id: protocol.DirectID(user, friend), user: user, friend: friend}
		c.partition = store.PartitionOf(c.id)
		w := writers[c.partition%len(writers)]
		w.conversations = append(w.conversations, c)
	}
	group, ctx := errgroup.WithContext(ctx)
	for _, w := range writers {
		group.Go(func() error { return w.write(ctx, part, written) })
	}
	return group.Wait()
}

type conversation struct {
	id, user, friend string
	partition        int
}

// writer writes to the conversations of its partitions. It belongs to one
// goroutine.
type writer struct {
	store         *msgstore.Store
	rules         *chat.Rules
	size          int
	conversations []conversation
	index         []uint64 // by partition: the last that was used

	tx      *msgstore.Tx // nil = none is open
	inTx    int          // messages
	body    []byte
	effects []chat.Effect
}

func (w *writer) write(ctx context.Context, part part, written *atomic.Int64) error {
	defer func() {
		if w.tx != nil {
			w.tx.Discard()
		}
	}()
	for n := range part.each {
		for i := range w.conversations {
			c := &w.conversations[i]
			sender, clientID, count := part.message(c.user, c.friend, n)
			if err := w.add(c, sender, clientID, count); err != nil {
				return err
			}
			if w.inTx == batch {
				if err := w.commit(written); err != nil {
					return err
				}
				if ctx.Err() != nil {
					return context.Cause(ctx)
				}
			}
		}
	}
	return w.commit(written)
}

func (w *writer) add(c *conversation, sender, clientID string, count int) error {
	if w.tx == nil {
		w.tx = w.store.Begin()
	}
	w.body = client.AppendBody(w.body[:0], sender, uint32(count), 0, w.size)
	w.index[c.partition]++
	result, effects, err := chat.Apply(w.tx, w.index[c.partition], &chat.Command{
		Op: chat.OpSend, Conversation: c.id, User: sender, ClientID: clientID,
		TimeMs: time.Now().UnixMilli(), MessageID: w.store.NextID(), Kind: pb.Kind_KIND_TEXT, Body: w.body,
		Rules: w.rules,
	}, w.effects[:0])
	w.effects = effects
	switch {
	case err != nil:
		return err
	case result.Err != nil:
		return fmt.Errorf("fill: %s: %w", c.id, result.Err)
	case result.Duplicate:
		w.tx.SetApplied(c.partition, w.index[c.partition]) // it changed nothing
	}
	w.inTx++
	return nil
}

func (w *writer) commit(written *atomic.Int64) error {
	if w.tx == nil {
		return nil
	}
	if w.store.Full() {
		return errors.New("fill: the disk is nearly full")
	}
	tx, n := w.tx, w.inTx
	w.tx, w.inTx = nil, 0
	if err := tx.Commit(); err != nil {
		return err
	}
	written.Add(int64(n))
	return nil
}

// progress writes a line a second until stop is called, which waits for it.
func progress(out io.Writer, what string, total int, written *atomic.Int64) (stop func()) {
	if out == nil {
		return func() {}
	}
	quit, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		ticker := time.NewTicker(time.Second)
		defer ticker.Stop()
		last := int64(0)
		for {
			select {
			case <-quit:
				return
			case <-ticker.C:
			}
			now := written.Load()
			// Who can't be told of the progress needs no telling that he can't.
			_, _ = fmt.Fprintf(out, "%d of %d %s written, %d/s\n", now, total, what, now-last)
			last = now
		}
	}()
	return func() {
		close(quit)
		<-ended
	}
}
