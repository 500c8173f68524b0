package chat

import (
	"fmt"
	"sync/atomic"

	"github.com/godwit-im/godwit/msgstore"
	"github.com/godwit-im/godwit/protocol"
)

// writer applies and commits the commands of its partitions. Everything in it
// belongs to its goroutine, but for bell and committing.
type writer struct {
	log  *Embedded
	bell chan struct{} // has room for one ring
	// committing is when the batch under way began, in Unix nanoseconds; 0
	// while there is none. Written by the writer, read by Stats.
	committing atomic.Int64
	queues     []source
	next       int // the queue to begin the next batch with

	// The batch. The slices are used again for the next one.
	proposals []*Proposal
	outcomes  []Outcome
	effects   []Effect
	ends      []int // where each outcome's effects end
	settled   []ownResult
	took      []taken
}

// taken is how many of a batch's proposals came from a queue.
type taken struct {
	queue *queue
	n     int
}

// source is one of a writer's queues, with the index of the last command that
// came out of it.
type source struct {
	queue *queue
	index uint64
}

// ownResult is a result for the log itself.
type ownResult struct {
	to     func(Result)
	result Result
}

// run writes batches until the queues are closed and empty, or the log fails.
func (w *writer) run() {
	for !w.log.failed.Load() {
		n, err := w.writeBatch()
		switch {
		case err != nil:
			w.log.fail(err)
			return
		case n > 0:
		case w.ended():
			return
		default:
			<-w.bell
		}
	}
}

// ended reports whether there will never be anything more to do.
func (w *writer) ended() bool {
	for i := range w.queues {
		if !w.queues[i].queue.ended() {
			return false
		}
	}
	return true
}

// writeBatch takes what there is, up to the limits of a batch, applies, commits
// and delivers it. It returns how many commands that were.
func (w *writer) writeBatch() (int, error) {
	var (
		cfg      = &w.log.cfg
		began    = cfg.Now()
		tx       *msgstore.Tx
		commands int
		bytes    int
	)
	// Whoever filled the last batch comes last in this one: a flood in one
	// partition costs the others a batch, not their turn.
	for i := range w.queues {
		s := &w.queues[(w.next+i)%len(w.queues)]
		var size int
		w.proposals, size = s.queue.take(w.proposals[:0], cfg.BatchCommands-commands, cfg.BatchBytes-bytes)
		if len(w.proposals) == 0 {
			continue
		}
		if tx == nil {
			tx = w.log.store.Begin()
		}
		if err := w.apply(tx, s, began.UnixMilli()); err != nil {
			tx.Discard()
			return 0, err
		}
		w.took = append(w.took, taken{s.queue, len(w.proposals)})
		commands += len(w.proposals)
		bytes += size
		if commands >= cfg.BatchCommands || bytes >= cfg.BatchBytes {
			w.next = (w.next + i + 1) % len(w.queues)
			break
		}
	}
	if commands == 0 {
		return 0, nil
	}
	w.committing.Store(began.UnixNano())
	err := w.settle(tx)
	w.committing.Store(0)
	if err != nil {
		return 0, err
	}
	w.log.stats.batches.Add(1)
	w.log.stats.commands.Add(uint64(commands))
	if cfg.ObserveBatch != nil {
		cfg.ObserveBatch(commands, cfg.Now().Sub(began))
	}
	return commands, nil
}

// apply applies w.proposals, which came from s.
func (w *writer) apply(tx *msgstore.Tx, s *source, nowMs int64) error {
	for _, p := range w.proposals {
		s.index++
		p.Command.TimeMs = nowMs
		p.Command.Rules = &w.log.cfg.Rules
		if err := w.lookAtPeer(&p.Command); err != nil {
			return fmt.Errorf("partition %d: %w", s.queue.partition, err)
		}
		if p.Command.Op.appends() {
			p.Command.MessageID = w.log.store.NextID()
		}
		var (
			result Result
			err    error
		)
		from := len(w.effects)
		result, w.effects, err = w.log.steps.apply(tx, s.index, &p.Command, w.effects)
		if err != nil {
			return fmt.Errorf("partition %d: %w", s.queue.partition, err)
		}
		if p.settled != nil {
			w.settled = append(w.settled, ownResult{p.settled, result})
			if len(w.effects) == from {
				continue
			}
		}
		switch {
		case result.Err != nil || p.Command.Op != OpSend:
		case result.Duplicate:
			w.log.stats.duplicates.Add(1)
		default:
			w.log.stats.messages.Add(1)
		}
		w.outcomes = append(w.outcomes, Outcome{Proposal: p, Index: s.index, Result: result})
		w.ends = append(w.ends, len(w.effects))
	}
	tx.SetApplied(s.queue.partition, s.index)
	return nil
}

// lookAtPeer finds out whom the user takes messages from whom a SEND is for. What
// they have chosen in a batch that is not committed yet does not count.
func (w *writer) lookAtPeer(cmd *Command) (err error) {
	if cmd.Op != OpSend {
		return nil
	}
	if peer, direct := protocol.Peer(cmd.Conversation, cmd.User); direct {
		cmd.Takes, err = w.log.store.Takes(peer)
	}
	return err
}

// settle commits tx and tells everybody, and leaves the writer's slices empty.
func (w *writer) settle(tx *msgstore.Tx) error {
	from := 0
	for i, end := range w.ends {
		w.outcomes[i].Effects = w.effects[from:end:end]
		from = end
	}
	if err := w.log.steps.settle(tx, w.log.sink, w.outcomes); err != nil {
		return err
	}
	w.log.relay.take(w.effects)
	for _, own := range w.settled {
		own.to(own.result)
	}
	for _, t := range w.took {
		t.queue.done(t.n)
	}
	// Let go of the frames and proposals: the next batch may be a small one.
	clear(w.proposals[:cap(w.proposals)])
	clear(w.outcomes)
	clear(w.effects)
	clear(w.settled)
	clear(w.took)
	w.proposals, w.outcomes, w.effects = w.proposals[:0], w.outcomes[:0], w.effects[:0]
	w.ends, w.settled, w.took = w.ends[:0], w.settled[:0], w.took[:0]
	return nil
}

// fail stops the log for good. Only the first failure is reported.
func (e *Embedded) fail(err error) {
	if e.failed.Swap(true) {
		return
	}
	e.err = fmt.Errorf("chat: the command log has failed: %w", err)
	close(e.failing)
	for _, w := range e.writers {
		select {
		case w.bell <- struct{}{}:
		default:
		}
	}
	e.cfg.Fatal(e.err)
}
