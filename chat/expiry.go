package chat

import (
	"context"
	"time"

	"github.com/godwit-im/godwit/msgstore"
	"github.com/godwit-im/godwit/protocol/pb"
)

// expiryInterval is from the end of one sweep for expired messages to the next.
// It bounds for how long an expired message stays on disk. To readers, and to what
// is unread, it is a tombstone at once.
const expiryInterval = time.Second

// expiryBatch is how many expired messages a sweep takes from a partition at a
// time, and expiryBatches how often: 4,096 of a partition in a second, so that
// messages have the rest of the log.
const (
	expiryBatch   = 256
	expiryBatches = 16
)

// expire turns messages into tombstones as their times come, until ctx ends.
func (e *Embedded) expire(ctx context.Context) {
	timer := time.NewTimer(e.steps.expiry)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		_, err := e.sweepExpired(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			// A busy log above all. The next sweep begins with what this one left.
			e.cfg.Logger.Warn("a sweep for expired messages was cut short", "err", err)
		}
		timer.Reset(e.steps.expiry)
	}
}

// sweepExpired submits an OpExpire for every message whose time is over, waits
// for them, and returns how many there were.
func (e *Embedded) sweepExpired(ctx context.Context) (n int, err error) {
	nowMs := e.cfg.Now().UnixMilli()
	for p := range e.queues {
		for range expiryBatches {
			due, err := e.expired(p, nowMs)
			if err != nil {
				return n, err
			}
			done, err := e.await(ctx, due)
			n += done
			if err != nil {
				return n, err
			}
			if len(due) < expiryBatch {
				break
			}
		}
	}
	return n, nil
}

// expired returns the commands for the first messages of partition p whose time
// is over at nowMs.
func (e *Embedded) expired(p int, nowMs int64) (due []Command, err error) {
	err = e.store.Expired(p, nowMs, expiryBatch, func(conversation string, seq uint64, expiresMs int64) error {
		due = append(due, Command{Op: OpExpire, Conversation: conversation, Seq: seq, ExpiresMs: expiresMs})
		return nil
	})
	return due, err
}

// await puts the log's own commands through it and waits until they are applied
// and durable. It returns how many are.
func (e *Embedded) await(ctx context.Context, commands []Command) (n int, err error) {
	settled := make(chan struct{}, len(commands)) // never blocks the writer
	submitted := 0
	for i := range commands {
		err = e.Submit(&Proposal{Command: commands[i], settled: func(Result) { settled <- struct{}{} }})
		if err != nil {
			break
		}
		submitted++
	}
	for n < submitted {
		select {
		case <-settled:
			n++
		case <-ctx.Done():
			return n, ctx.Err()
		}
	}
	return n, err
}

// applyExpire makes a message whose time to live is over a tombstone, unless it
// is one, and forgets when that was due. No event tells of it: who has the
// message knows when it expires.
func applyExpire(tx *msgstore.Tx, index uint64, cmd *Command) (Result, error) {
	head, exists, err := tx.Head(cmd.Conversation)
	switch {
	case err != nil:
		return Result{}, err
	case cmd.TimeMs < cmd.ExpiresMs: // by a clock that was set back meanwhile
		return Result{}, nil
	case !exists, cmd.Seq < head.MinSeq || cmd.Seq > head.Seq:
		return Result{}, tx.DropExpiry(index, cmd.Conversation, cmd.Seq, cmd.ExpiresMs)
	}
	m, err := readMessage(tx.Message, cmd.Conversation, cmd.Seq)
	if err != nil {
		return Result{}, err
	}
	if m.State != pb.MessageState_MESSAGE_STATE_NORMAL || m.ExpiresMs != cmd.ExpiresMs {
		return Result{}, tx.DropExpiry(index, cmd.Conversation, cmd.Seq, cmd.ExpiresMs)
	}
	return Result{}, bury(tx, index, m, pb.MessageState_MESSAGE_STATE_EXPIRED)
}
