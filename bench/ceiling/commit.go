package ceiling

import (
	"context"
	"errors"
	"os"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/godwit-im/godwit/bench/report"
)

// CommitConfig is the shape of a group commit.
type CommitConfig struct {
	// Dir is on the file system to be measured, such as the parent of the
	// server's data directory. The database is in a directory of its own in
	// it, which is removed.
	Dir   string
	Depth int // messages in a batch; default 64
	Size  int // body in bytes; default 256
	Timing
}

// CommitResult is what Pebble does.
type CommitResult struct {
	Depth int
	Rate  float64        // messages per second
	Batch report.Latency // of a synced commit, making the batch not included
	// WALBytes is what went into the write-ahead log per message.
	WALBytes float64
}

// commitConversations is how many conversations the messages are of.
const commitConversations = 512

// Commit measures one writer that puts Depth messages at a time into a batch
// and commits it with a sync: the records that msgstore writes for a message,
// on Pebble with msgstore's options.
func Commit(ctx context.Context, cfg CommitConfig) (r CommitResult, err error) {
	set(&cfg.Depth, 64)
	set(&cfg.Size, 256)
	if cfg.Dir == "" || cfg.Depth < 1 || cfg.Size < 1 {
		return r, errors.New("ceiling: want a directory, a depth and a body size")
	}
	if err := cfg.Timing.withDefaults(); err != nil {
		return r, err
	}
	dir, err := os.MkdirTemp(cfg.Dir, "ceiling-")
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	db, err := openPebble(dir)
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()

	w := newWriter(commitConversations, cfg.Size)
	if _, err := commits(ctx, db, w, cfg.Depth, cfg.Warmup); err != nil {
		return r, err
	}
	walBefore, before, began := db.Metrics().WAL.BytesWritten, w.n, time.Now()
	h, err := commits(ctx, db, w, cfg.Depth, cfg.For)
	if err != nil {
		return r, err
	}
	messages := float64(w.n - before)
	return CommitResult{
		Depth:    cfg.Depth,
		Rate:     messages / time.Since(began).Seconds(),
		Batch:    h.Latency(),
		WALBytes: float64(db.Metrics().WAL.BytesWritten-walBefore) / messages,
	}, nil
}

// commits commits batches for so long, at least one, and returns how long each
// took.
func commits(ctx context.Context, db *pebble.DB, w *writer, depth int, long time.Duration) (*report.Histogram, error) {
	h := report.NewHistogram("commit")
	recorder := h.Recorder()
	for began := time.Now(); ; {
		b := db.NewBatch()
		for range depth {
			if err := w.add(b); err != nil {
				return nil, err
			}
		}
		if err := w.seal(b); err != nil {
			return nil, err
		}
		from := time.Now()
		if err := b.Commit(pebble.Sync); err != nil {
			return nil, err
		}
		now := time.Now()
		recorder.Record(now.Sub(from))
		if err := b.Close(); err != nil {
			return nil, err
		}
		if err := context.Cause(ctx); err != nil {
			return nil, err
		}
		if now.Sub(began) >= long {
			return h, nil
		}
	}
}
