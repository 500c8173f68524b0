package msgstore

import (
	"context"
	"fmt"
	"log/slog"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
)

func (s *Store) pebbleOptions() *pebble.Options {
	po := s.opts.Pebble()
	po.Lock = s.lock
	po.Logger = pebbleLogger{&s.events}
	po.EventListener = s.events.listener()
	return po
}

// Pebble returns the options that a store gives Pebble, but for its own lock,
// logger and listener: for those who measure what Pebble does with them alone.
// They are explained in docs/STORAGE.md.
func (o *Options) Pebble() *pebble.Options {
	po := &pebble.Options{
		FS:                          o.FS, // nil: Pebble adds its watch for slow disks
		Comparer:                    comparer,
		FormatMajorVersion:          pebble.FormatNewest,
		CacheSize:                   o.CacheBytes,
		MemTableSize:                uint64(o.MemTableBytes),
		MemTableStopWritesThreshold: 4,
		L0CompactionThreshold:       8,
		L0StopWritesThreshold:       1000,
		LBaseMaxBytes:               256 << 20,
		CompactionConcurrencyRange:  func() (int, int) { return 1, max(1, runtime.GOMAXPROCS(0)/2) },
		FlushDelayDeleteRange:       10 * time.Second,
	}
	for i := range po.Levels {
		po.Levels[i].BlockSize = 8 << 10
		po.Levels[i].IndexBlockSize = 256 << 10
		po.Levels[i].FilterPolicy = bloom.FilterPolicy(10)
	}
	po.ApplyCompressionSettings(func() pebble.DBCompressionSettings { return pebble.DBCompressionBalanced })
	return po
}

// events counts and logs what Pebble reports, from any of its goroutines.
type events struct {
	logger *slog.Logger
	fatal  func(error) // does not return

	stalls      atomic.Uint64
	stalledAt   atomic.Int64 // Unix nanoseconds, 0 = not stalled
	stallTime   atomic.Int64
	corruptions atomic.Uint64
}

func (ev *events) listener() *pebble.EventListener {
	return &pebble.EventListener{
		BackgroundError: func(err error) { ev.logger.Error("store background error", "err", err) },
		// A read that meets damaged data returns an error, and the other data
		// can still be read. Pebble's default would end the process.
		DataCorruption: func(info pebble.DataCorruptionInfo) {
			ev.corruptions.Add(1)
			ev.logger.Error("store data is corrupt", "path", info.Path, "err", info.Details)
		},
		DiskSlow: func(info pebble.DiskSlowInfo) {
			ev.logger.Warn("the disk is slow", "path", info.Path, "operation", info.OpType.String(), "since", info.Duration)
		},
		WriteStallBegin: func(info pebble.WriteStallBeginInfo) {
			ev.stalls.Add(1)
			ev.stalledAt.Store(time.Now().UnixNano())
			ev.logger.Warn("the store holds writes back", "reason", info.Reason)
		},
		WriteStallEnd: func() {
			d := time.Since(time.Unix(0, ev.stalledAt.Swap(0)))
			ev.stallTime.Add(int64(d))
			ev.logger.Info("the store takes writes again", "after", d)
		},
	}
}

// pebbleLogger passes on what Pebble logs. Pebble calls Fatalf when a sync
// failed, and relies on it not to return.
type pebbleLogger struct{ ev *events }

func (l pebbleLogger) Infof(format string, args ...any) {
	if l.ev.logger.Enabled(context.Background(), slog.LevelDebug) {
		l.ev.logger.Debug("pebble", "text", fmt.Sprintf(format, args...))
	}
}

func (l pebbleLogger) Errorf(format string, args ...any) {
	l.ev.logger.Error("pebble", "text", fmt.Sprintf(format, args...))
}

func (l pebbleLogger) Fatalf(format string, args ...any) {
	l.ev.fatal(fmt.Errorf(format, args...))
}
