package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
)

// comparison runs everything there is to run.
type comparison struct {
	options
	dir      string
	progress io.Writer
	result   *result
}

// compare measures the columns in turn, round for round, so that what changes
// on the machine meanwhile meets all of them. A column that fails is noted and
// the others go on; the error is that ctx has ended.
func (b *comparison) compare(ctx context.Context) error {
	for round := range b.rounds {
		for _, o := range b.result.Columns {
			err := o.withServer(ctx, b.dir, func(s *server) error { return b.loads(ctx, round, o, s) })
			if ctx.Err() != nil {
				return errors.New("interrupted")
			}
			if err != nil {
				b.note(o, fmt.Errorf("round %d: %w", round+1, err))
			}
		}
	}
	if len(b.sessions) > 0 {
		for _, o := range b.result.Columns {
			if !o.idle {
				continue
			}
			err := o.withServer(ctx, b.dir, func(s *server) (err error) {
				o.Idle, err = idle(ctx, s, b.sessions)
				return err
			})
			if ctx.Err() != nil {
				return errors.New("interrupted")
			}
			if err != nil {
				b.note(o, fmt.Errorf("idle sessions: %w", err))
			}
			for _, f := range o.Idle {
				b.say("%-18s %d idle sessions: %.2f KiB each", o.Name, f.Sessions, f.Bytes/1024)
			}
		}
	}
	b.result.conclude()
	return nil
}

// loads runs every shape on a fresh server.
func (b *comparison) loads(ctx context.Context, round int, o *outcome, s *server) error {
	for i, sh := range b.result.Shapes {
		m, err := direct(ctx, s, sh, b.measure/4, b.measure)
		if err != nil {
			return fmt.Errorf("%v: %w", sh, err)
		}
		o.Runs[i] = append(o.Runs[i], m)
		b.say("%-18s round %d of %d, %v: %.0f msgs/s, delivery p50 %s, p99 %s", o.Name, round+1, b.rounds, sh,
			m.PerSecond, milliseconds(m.Delivery.P50), milliseconds(m.Delivery.P99))
		if len(m.Violations) > 0 {
			b.note(o, fmt.Errorf("round %d, %v: %s", round+1, sh, strings.Join(m.Violations, "; ")))
		}
	}
	return nil
}

func (b *comparison) note(o *outcome, err error) {
	o.Errors = append(o.Errors, err.Error())
	b.say("%-18s FAILED: %v", o.Name, err)
}

func (b *comparison) say(format string, args ...any) {
	fmt.Fprintf(b.progress, format+"\n", args...)
}

// publish writes the result. It is an error if anything failed.
func (b *comparison) publish(stdout io.Writer) error {
	b.result.writeTable(stdout)
	for file, write := range map[string]func(io.Writer) error{
		b.json:     b.result.writeJSON,
		b.markdown: func(w io.Writer) error { b.result.writeMarkdown(w); return nil },
	} {
		if file == "" {
			continue
		}
		f, err := os.Create(file)
		if err != nil {
			return err
		}
		if err := errors.Join(write(f), f.Close()); err != nil {
			return err
		}
	}
	return b.result.err()
}
