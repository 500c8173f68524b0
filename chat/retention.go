package chat

import (
	"context"
	"time"
)

// trimWindow is how many trims a sweep has in the log at a time: enough to fill
// a commit, few enough to stay out of the way of messages.
const trimWindow = 64

// trim is a conversation with messages that are to go.
type trim struct {
	conversation string
	min, below   uint64 // the oldest seq that is kept, and that is to be
}

// retain sweeps the store over and over until ctx ends.
func (e *Embedded) retain(ctx context.Context) {
	timer := time.NewTimer(e.cfg.Retention.Interval)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		removed, err := e.sweep(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			// A busy log above all. The next sweep goes on where this one ended.
			e.cfg.Logger.Warn("retention was cut short", "removed", removed, "err", err)
		case removed > 0:
			e.cfg.Logger.Info("retention removed messages", "removed", removed)
		}
		timer.Reset(e.cfg.Retention.Interval)
	}
}

// sweep submits trims for everything that is too old or too many, and waits for
// them.
func (e *Embedded) sweep(ctx context.Context) (removed uint64, err error) {
	for p := range e.queues {
		trims, err := e.due(ctx, p)
		if err != nil {
			return removed, err
		}
		for len(trims) > 0 {
			n := min(len(trims), trimWindow)
			gone, left, err := e.trim(ctx, trims[:n])
			removed += gone
			e.stats.trimmed.Add(gone)
			if err != nil {
				return removed, err
			}
			trims = append(left, trims[n:]...)
		}
	}
	return removed, nil
}

// due finds the conversations of partition p that hold more than they may.
func (e *Embedded) due(ctx context.Context, p int) ([]trim, error) {
	var all []trim
	err := e.store.Conversations(p, func(conversation string, minSeq uint64) error {
		all = append(all, trim{conversation: conversation, min: minSeq})
		return ctx.Err()
	})
	if err != nil {
		return nil, err
	}
	due := all[:0]
	for _, t := range all {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if t.below, err = e.firstKept(t.conversation); err != nil {
			return nil, err
		}
		if t.below > t.min {
			due = append(due, t)
		}
	}
	return due, nil
}

// firstKept is the seq from which on a conversation's messages may stay.
func (e *Embedded) firstKept(conversation string) (uint64, error) {
	var below uint64
	if age := e.cfg.Retention.MaxAge; age > 0 {
		seq, err := e.store.SeqAtTime(conversation, e.cfg.Now().Add(-age).UnixMilli())
		if err != nil {
			return 0, err
		}
		below = seq
	}
	if count := e.cfg.Retention.MaxCount; count > 0 {
		head, _, err := e.store.Head(conversation)
		if err != nil {
			return 0, err
		}
		if head.Seq > count {
			below = max(below, head.Seq-count+1)
		}
	}
	return below, nil
}

// trim puts trims through the log and waits for their results. It returns those
// that need another round, because one command removes only so much.
func (e *Embedded) trim(ctx context.Context, trims []trim) (removed uint64, left []trim, err error) {
	type settled struct {
		trim
		removed int
	}
	results := make(chan settled, len(trims)) // never blocks the writer
	submitted := 0
	for _, t := range trims {
		err = e.Submit(&Proposal{
			Command: Command{Op: OpTrim, Conversation: t.conversation, Below: t.below},
			settled: func(r Result) { results <- settled{t, r.Removed} },
		})
		if err != nil {
			break
		}
		submitted++
	}
	for range submitted {
		select {
		case s := <-results:
			removed += uint64(s.removed)
			s.min += uint64(s.removed)
			if s.removed > 0 && s.min < s.below {
				left = append(left, s.trim)
			}
		case <-ctx.Done():
			return removed, left, ctx.Err()
		}
	}
	return removed, left, err
}
