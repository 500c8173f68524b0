package msgstore

import (
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// What Open may refuse, to be tested for with errors.Is; the errors say more.
var (
	// ErrLocked: another process, or another Store of this one, has the
	// directory.
	ErrLocked = errors.New("msgstore: the store is in use")
	// ErrNotAStore: the directory holds something else.
	ErrNotAStore = errors.New("msgstore: not a store")
	// ErrFormat: the store was written in a format that this version doesn't
	// know.
	ErrFormat = errors.New("msgstore: unknown format")
	// ErrPartitions: the store has another number of partitions.
	ErrPartitions = errors.New("msgstore: wrong number of partitions")
	// ErrClockBehind: the clock is behind the newest message id by more than
	// can be made up for.
	ErrClockBehind = errors.New("msgstore: the clock is behind")
)

// ErrCorrupt marks what should be in the store and isn't, or can't be decoded.
var ErrCorrupt = errors.New("msgstore: corrupt")

// Store is an open store.
type Store struct {
	opts    Options // with defaults
	disk    vfs.FS
	db      *pebble.DB
	lock    *pebble.Lock
	epoch   uint64
	hashKey hashKey
	idHash  func([]byte) uint64 // hashKey's
	ids     *idSource
	heads   *cache[Head]
	groups  *cache[groupAt]  // by conversation
	joined  *cache[[]string] // by user: what Groups returns
	parts   []partition
	txs     sync.Pool // of *Tx

	inflight inflight
	choosers choosers
	flushes  flushes
	events   events
	counters struct{ commits, bytes, records, syncs atomic.Uint64 }

	full     atomic.Bool
	free     atomic.Uint64 // bytes; 0 = not known
	unsynced atomic.Bool   // Interval: something was committed since the last sync

	closing chan struct{}
	running sync.WaitGroup
}

// partition is the state of one partition. Its writer moves both indexes at
// the end of a commit, in this order: changes, then synced, then the heads in
// the cache, then applied.
type partition struct {
	changes changes
	// synced is the index up to which records are durable. Readers go by it.
	synced atomic.Uint64
	// applied is what Applied returns. Whoever reads it before a conversation
	// will find every head up to it: in the cache, or by synced on disk.
	applied atomic.Uint64
	// The writer's: the highest message id that was committed, and the client
	// message ids that were committed last.
	maxID  uint64
	recent recentIDs
}

// closeFlush is how long Close waits for the memtables to become files. On a
// full disk that takes forever.
const closeFlush = 10 * time.Second

// Close syncs what is committed and closes the store. It flushes the memtables
// first, so that the next Open has no log to replay, unless that takes more than
// 10 s. No other method may be running or called afterwards, and no Tx be in
// progress.
func (s *Store) Close() error {
	close(s.closing)
	s.running.Wait()
	if done, err := s.db.AsyncFlush(); err != nil {
		s.opts.Logger.Warn("the store is closed without a flush", "err", err)
	} else {
		select {
		case <-done:
		case <-time.After(closeFlush):
			s.opts.Logger.Warn("the store is closed without a flush", "after", closeFlush)
		}
	}
	err := s.db.Close()
	if err == nil && s.opts.Durability == Interval {
		err = s.keepEpoch() // all is synced now
	}
	return errors.Join(err, s.lock.Close())
}

// Epoch is drawn at random when a store is created, when a copy of it is opened
// for the first time, and after a crash with Durability Interval. A client that knows another epoch must not
// rely on the cursors that it has.
func (s *Store) Epoch() uint64 { return s.epoch }

// Partitions is the number of partitions.
func (s *Store) Partitions() int { return len(s.parts) }

// PartitionOf is the partition of a conversation.
func (s *Store) PartitionOf(conversation string) int {
	return slotOf(conversation) * len(s.parts) / slots
}

// Applied is partition p's applied index: what was changed at or below it is
// durable, and every read that begins after Applied has returned sees it.
func (s *Store) Applied(p int) uint64 { return s.parts[p].applied.Load() }

// Settled is Applied for who has read already: nothing that reads have shown by
// now is past it. Reads see a commit some steps before Applied tells of it, and
// Settled waits for those steps; they touch memory only.
func (s *Store) Settled(p int) uint64 {
	for seen := s.parts[p].synced.Load(); ; runtime.Gosched() {
		if applied := s.parts[p].applied.Load(); applied >= seen {
			return applied
		}
	}
}

// NextID returns a new message id, above all that were committed. It never
// waits for the disk. It takes a mutex, which is held for up to a millisecond
// when more than 4096 ids are taken within one.
func (s *Store) NextID() uint64 { return s.ids.next() }

// Stats is a snapshot of the store's counters. Totals count from Open.
type Stats struct {
	// Commits, the size of their batches in bytes, the records in those, and the
	// syncs that commits or the background waited for.
	Commits, CommittedBytes, CommittedRecords, Syncs uint64
	// LoggedBytes went to the write-ahead log, FlushedBytes from memtables to
	// files, CompactedBytes from files to files: together all that was written.
	LoggedBytes, FlushedBytes, CompactedBytes uint64
	// HeadHits and HeadMisses count the lookups in the cache of heads,
	// BlockHits and BlockMisses those in the block cache.
	HeadHits, HeadMisses   uint64
	BlockHits, BlockMisses int64
	// Stalls counts the times that Pebble held writes back, StallTime is their
	// total time, and Stalled whether it does so now.
	Stalls    uint64
	StallTime time.Duration
	Stalled   bool
	// DiskBytes is the size of the store's files and FreeBytes what is left on
	// the file system, 0 where that isn't known.
	DiskBytes, FreeBytes uint64
	// MemTableBytes is the memory of all memtables, CompactionDebt how many
	// bytes there are to compact, ReadAmp how many files a cold read may have
	// to look into.
	MemTableBytes, CompactionDebt uint64
	ReadAmp                       int
	// Corruptions counts reads of damaged blocks.
	Corruptions uint64
}

// Stats returns the counters. It takes some microseconds and Pebble's mutex:
// right for a scrape, not for every request.
func (s *Store) Stats() Stats {
	m := s.db.Metrics()
	total := m.Total()
	stalledAt := s.events.stalledAt.Load()
	st := Stats{
		Commits:          s.counters.commits.Load(),
		CommittedBytes:   s.counters.bytes.Load(),
		CommittedRecords: s.counters.records.Load(),
		Syncs:            s.counters.syncs.Load(),
		LoggedBytes:      m.WAL.BytesWritten,
		FlushedBytes:     m.Levels[0].TableBytesFlushed,
		CompactedBytes:   total.TableBytesCompacted,
		HeadHits:         s.heads.hits.Load(),
		HeadMisses:       s.heads.misses.Load(),
		BlockHits:        m.BlockCache.Hits,
		BlockMisses:      m.BlockCache.Misses,
		Stalls:           s.events.stalls.Load(),
		StallTime:        time.Duration(s.events.stallTime.Load()),
		Stalled:          stalledAt != 0,
		DiskBytes:        m.DiskSpaceUsage(),
		FreeBytes:        s.free.Load(),
		MemTableBytes:    m.MemTable.Size,
		CompactionDebt:   m.Compact.EstimatedDebt,
		ReadAmp:          m.ReadAmp(),
		Corruptions:      s.events.corruptions.Load(),
	}
	if st.Stalled {
		st.StallTime += time.Since(time.Unix(0, stalledAt))
	}
	return st
}

// get calls f with the value of key, which is valid until f returns, and
// reports whether there is one.
func (s *Store) get(key []byte, f func(value []byte) error) (bool, error) {
	value, closer, err := s.db.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, readError(err)
	}
	err = f(value)
	return true, errors.Join(err, closer.Close())
}

// readError marks an error of Pebble's as ErrCorrupt where it is one.
func readError(err error) error {
	if pebble.IsCorruptionError(err) {
		return fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	return fmt.Errorf("msgstore: read: %w", err)
}

// scan calls f for each key in [lower, upper) until it returns false or an
// error. Key and value are valid until f returns. The view is that of the
// moment when scan was called.
func (s *Store) scan(lower, upper []byte, f func(key, value []byte) (bool, error)) (err error) {
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: lower, UpperBound: upper})
	if err != nil {
		return readError(err)
	}
	defer func() { err = errors.Join(err, closeIter(it)) }()
	for it.First(); it.Valid(); it.Next() {
		value, err := it.ValueAndErr()
		if err != nil {
			return readError(err)
		}
		if more, err := f(it.Key(), value); err != nil || !more {
			return err
		}
	}
	return nil
}

// closeIter closes an iterator; the error is what ended the iteration early.
func closeIter(it *pebble.Iterator) error {
	if err := it.Close(); err != nil {
		return readError(err)
	}
	return nil
}
