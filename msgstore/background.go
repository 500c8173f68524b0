package msgstore

import (
	"errors"
	"fmt"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// spaceInterval is the time between two looks at the free space.
const spaceInterval = time.Second

// start starts the goroutines that Close ends.
func (s *Store) start() {
	s.checkSpace()
	s.every(spaceInterval, s.checkSpace)
	s.running.Go(s.flushWhenWanted)
	if s.opts.Durability == Interval {
		s.every(s.opts.SyncInterval, s.sync)
	}
}

func (s *Store) every(d time.Duration, f func()) {
	s.running.Go(func() {
		ticker := time.NewTicker(d)
		defer ticker.Stop()
		for {
			select {
			case <-s.closing:
				return
			case <-ticker.C:
				f()
			}
		}
	})
}

// sync syncs what was committed since it was called last.
func (s *Store) sync() {
	if !s.unsynced.Swap(false) {
		return
	}
	begin := time.Now()
	// An empty log record is Pebble's way to sync the write-ahead log. If it
	// fails, Pebble calls Fatalf.
	if err := s.db.LogData(nil, pebble.Sync); err != nil {
		s.events.fatal(fmt.Errorf("sync: %w", err))
	}
	s.counters.syncs.Add(1)
	s.opts.ObserveSync(time.Since(begin))
}

// Full reports that the free space was below Options.MinFree when it was last
// looked at, a second ago at the most. Appending is not refused: whoever takes
// messages in asks first, so that what was taken in can still be written.
func (s *Store) Full() bool { return s.full.Load() }

func (s *Store) checkSpace() {
	measure := s.opts.FreeSpace
	if measure == nil {
		measure = func(dir string) (uint64, error) {
			usage, err := s.disk.GetDiskUsage(dir)
			return usage.AvailBytes, err
		}
	}
	free, err := measure(s.opts.Dir)
	if errors.Is(err, vfs.ErrUnsupported) {
		return // a file system in memory
	}
	if err != nil {
		s.opts.Logger.Error("free space is not known", "err", err)
		return
	}
	s.free.Store(free)
	full := free < s.opts.MinFree
	if s.full.Swap(full) == full {
		return
	}
	if full {
		s.opts.Logger.Error("the disk is nearly full; messages are refused", "free_bytes", free, "min_free_bytes", s.opts.MinFree)
	} else {
		s.opts.Logger.Info("the disk has room again; messages are taken", "free_bytes", free)
	}
}
