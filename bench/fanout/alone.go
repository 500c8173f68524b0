package fanout

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Bare is the bare server with its receiver, for who measures a whole server
// beside it. Its methods belong to one goroutine.
type Bare struct {
	side     side
	sessions int
	cancel   context.CancelFunc
}

// StartBare starts both processes, which end with ctx or Close, and returns when
// all sessions are connected. Of cfg it takes Sessions, Size and Loops.
func StartBare(ctx context.Context, cfg Config) (*Bare, error) {
	cfg.Bursts = []int{1}
	if err := cfg.withDefaults(); err != nil {
		return nil, err
	}
	b := &Bare{side: side{name: roleBare}, sessions: cfg.Sessions}
	ctx, b.cancel = context.WithCancel(ctx)
	if err := b.side.start(ctx, cfg); err != nil {
		b.cancel()
		return nil, fmt.Errorf("fanout: %w", errors.Join(err, b.side.end()))
	}
	return b, nil
}

// Push has a burst of so many messages pushed to every session, and returns how
// long it took until the last session had the last of them. A burst must stay
// within what the sockets' buffers hold: 128 KiB.
func (b *Bare) Push(ctx context.Context, messages int) (time.Duration, error) {
	took, err := b.side.round(ctx, messages, b.sessions*messages)
	if err != nil {
		return 0, fmt.Errorf("fanout: bare: %w", err)
	}
	return took, nil
}

// CPU is the processor time that the server has used.
func (b *Bare) CPU() (time.Duration, error) { return b.side.cpu() }

// Close ends both processes.
func (b *Bare) Close() error {
	defer b.cancel()
	return b.side.end()
}
