package chat

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/godwit-im/godwit/msgstore"
	"github.com/godwit-im/godwit/protocol"
	"github.com/godwit-im/godwit/protocol/pb"
)

// busyRetry is the least time that a refused submitter is asked to stay away. A
// full queue is a matter of tens of milliseconds; the rest spreads the return.
const busyRetry = 200 * time.Millisecond

var (
	errBusy        = protocol.Errorf(pb.Code_CODE_BUSY, "the server is busy")
	errStorageFull = protocol.Errorf(pb.Code_CODE_STORAGE_FULL, "the server's disk is nearly full; nothing can be stored for now")
	errDraining    = protocol.Errorf(pb.Code_CODE_DRAINING, "the server is shutting down")
	errFailed      = protocol.Errorf(pb.Code_CODE_INTERNAL, "the message log has failed")
)

// Embedded is the Log of a single node. Each partition has a queue and belongs
// to one writer; a writer applies what its queues hold onto one transaction,
// commits it and hands the outcomes to the Sink, over and over. Batches form by
// themselves, out of what comes in during the commit before.
//
// A conversation that nobody has touched lately is parked at first, while a
// warmer reads what Apply will need, so that one slow read does not hold up the
// writer and everybody behind it. What comes in for a parked conversation waits
// behind what is parked already.
type Embedded struct {
	cfg   Config
	store *msgstore.Store
	sink  Sink

	queues  []*queue // by partition
	writers []*writer
	cold    *coldList
	relay   *relay
	failed  atomic.Bool
	failing chan struct{} // closed once failed is set
	stats   counters

	stopSweeps context.CancelFunc
	sweeps     sync.WaitGroup
	closing    sync.Once
	drained    chan struct{} // closed when Close has let everything end
	err        error         // why the log failed; written before drained is closed

	steps steps
}

// steps are the stages of a batch. Tests put broken ones in, to prove that they
// would notice.
type steps struct {
	warm   func(*Command)
	apply  func(*msgstore.Tx, uint64, *Command, []Effect) (Result, []Effect, error)
	settle func(*msgstore.Tx, Sink, []Outcome) error
	expiry time.Duration // from the end of one sweep for expired messages to the next
}

func defaultSteps(store *msgstore.Store) steps {
	return steps{
		warm:   func(c *Command) { warm(store, c) },
		apply:  Apply,
		settle: commitThenDeliver,
		expiry: expiryInterval,
	}
}

// warm reads what applying c will read.
func warm(store *msgstore.Store, c *Command) {
	store.Warm(c.Conversation, c.User, c.ClientID)
	// An error is for the writer to meet.
	switch {
	case c.Op == OpMark:
		_, _, _ = store.Member(c.User, c.Conversation)
	case c.Op == OpSend && c.Target != 0:
		_, _, _ = store.Message(c.Conversation, c.Target)
	case c.Op == OpExpire:
		_, _, _ = store.Message(c.Conversation, c.Seq)
	case c.Op == OpContact:
		_, _, _ = store.Member(c.Contact.User, c.Conversation)
	}
}

// commitThenDeliver is the order that everything rests on: nobody learns of
// anything that a power cut could still take back.
func commitThenDeliver(tx *msgstore.Tx, sink Sink, outcomes []Outcome) error {
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("commit: %w", err)
	}
	sink.Deliver(outcomes)
	return nil
}

// NewEmbedded starts a log on store, which must stay open until Close has
// returned nil. Outcomes go to sink.
func NewEmbedded(cfg Config, store *msgstore.Store, sink Sink) (*Embedded, error) {
	return newEmbedded(cfg, store, sink, defaultSteps(store))
}

func newEmbedded(cfg Config, store *msgstore.Store, sink Sink, steps steps) (*Embedded, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	cfg = cfg.withDefaults(store.Partitions())
	e := &Embedded{
		cfg: cfg, store: store, sink: sink, steps: steps,
		cold:    newColdList(),
		failing: make(chan struct{}),
		drained: make(chan struct{}),
	}
	e.relay = newRelay(e)
	e.queues = make([]*queue, store.Partitions())
	e.writers = make([]*writer, cfg.Writers)
	for i := range e.writers {
		e.writers[i] = &writer{log: e, bell: make(chan struct{}, 1)}
	}
	for p := range e.queues {
		w := e.writers[p%len(e.writers)]
		e.queues[p] = newQueue(p, cfg.QueueCommands, cfg.QueueBytes, e.cold, w.bell)
		w.queues = append(w.queues, source{queue: e.queues[p], index: store.Applied(p)})
	}
	e.start()
	return e, nil
}

func (e *Embedded) start() {
	var writers, warmers, relay sync.WaitGroup
	for _, w := range e.writers {
		writers.Go(w.run)
	}
	for range e.cfg.Warmers {
		warmers.Go(func() { e.cold.serve(e.steps.warm) })
	}
	ctx, cancel := context.WithCancel(context.Background())
	e.stopSweeps = cancel
	if e.cfg.Retention.enabled() {
		e.sweeps.Go(func() { e.retain(ctx) })
	}
	relay.Go(e.relay.run)
	e.relay.ring()
	e.sweeps.Go(func() { e.expire(ctx) })
	go func() {
		writers.Wait()
		e.cold.close()
		warmers.Wait()
		relay.Wait()
		e.sweeps.Wait()
		close(e.drained)
	}()
}

// Submit implements Log.
func (e *Embedded) Submit(p *Proposal) error {
	if e.failed.Load() {
		return errFailed
	}
	if p.Command.Op.adds() && e.store.Full() {
		e.stats.full.Add(1)
		return errStorageFull.After(busyRetry)
	}
	err := e.queues[e.store.PartitionOf(p.Command.Conversation)].accept(p)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, errBusy):
		e.stats.busy.Add(1)
		return errBusy.After(busyRetry)
	}
	return err
}

// Close takes nothing more on, lets everything that was accepted be applied,
// committed and delivered, follow-ups included, and ends the log's goroutines.
// It returns ctx's error
// when that takes too long (a store that hangs; the goroutines are then still
// there, and so must the store be), and the reason if the log has failed.
func (e *Embedded) Close(ctx context.Context) error {
	e.closing.Do(func() {
		e.stopSweeps()
		for _, q := range e.queues {
			q.close()
		}
		go e.finish()
	})
	select {
	case <-e.drained:
	case <-ctx.Done():
		select {
		case <-e.drained: // it had ended before
		default:
			return ctx.Err()
		}
	}
	return e.err
}

// finish ends a log whose queues are closed. First what was accepted is settled,
// then the follow-ups of that, which have none of their own; then nothing can
// come in any more.
func (e *Embedded) finish() {
	defer close(e.relay.stop)
	for _, q := range e.queues {
		select {
		case <-q.settled:
		case <-e.failing:
			return
		}
	}
	e.relay.finish()
	select {
	case <-e.relay.idle:
	case <-e.failing:
		return
	}
	for _, q := range e.queues {
		q.end()
	}
}
