package msgstore

import (
	"errors"
	"fmt"
	"log/slog"
	"math/bits"
	"os"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// Durability says when a commit returns.
type Durability int

const (
	// Sync is the default: a commit returns when its batch is synced to disk.
	Sync Durability = iota
	// Interval commits without waiting; the log is synced every SyncInterval
	// in the background. What was committed in the last SyncInterval, and in
	// the sync that was under way, is lost when the process is killed or the
	// machine fails, although it was acknowledged. The store stays consistent:
	// what is lost is always the newest.
	Interval
)

// String returns the name that ParseDurability understands.
func (d Durability) String() string {
	switch d {
	case Sync:
		return "sync"
	case Interval:
		return "interval"
	}
	return fmt.Sprintf("durability(%d)", int(d))
}

// ParseDurability returns the durability called "sync" or "interval".
func ParseDurability(s string) (Durability, error) {
	switch s {
	case "sync":
		return Sync, nil
	case "interval":
		return Interval, nil
	}
	return 0, fmt.Errorf(`durability %q: must be "sync" or "interval"`, s)
}

// Options configure a store. Begin with DefaultOptions.
type Options struct {
	// Dir holds the store and nothing else. It is made where it is missing.
	Dir string
	// FS is the file system. nil = the machine's own, with Pebble's watch for
	// slow disks.
	FS vfs.FS
	// Partitions is the number of partitions: a power of two up to 256. It is
	// fixed when the store is created; opening it with another is an error.
	Partitions int
	// Durability says when a commit returns.
	Durability Durability
	// SyncInterval is the time between two background syncs with Durability
	// Interval.
	SyncInterval time.Duration
	// Node is this server's number in message ids, 0 to 1023. No two servers
	// that write to one another's users may share one.
	Node int
	// CacheBytes bounds the cache of blocks of the files on disk.
	CacheBytes int64
	// MemTableBytes is the size of a memtable. Up to four exist while flushes
	// lag behind.
	MemTableBytes int64
	// HeadCache is how many conversations' heads are kept in memory, at about
	// 300 bytes each.
	HeadCache int
	// MinFree is the free space in bytes below which Full reports true. 0
	// turns the guard off.
	MinFree uint64
	// FreeSpace measures the free space, in bytes. nil = ask FS.
	FreeSpace func(dir string) (uint64, error)

	// Now is the wall clock. nil = time.Now.
	Now func() time.Time
	// Logger is where the store and Pebble log. nil = slog.Default().
	Logger *slog.Logger
	// Fatal is called when a sync fails, or anything else after which nothing
	// that was written can be relied upon. It must not return. nil = log the
	// error and exit with status 1.
	Fatal func(error)
	// ObserveSync is given the duration of every synced commit, from the
	// writer's goroutine, and of every background sync. nil = nobody asks.
	ObserveSync func(time.Duration)
}

// DefaultOptions returns the defaults; Dir is left to the caller.
func DefaultOptions() Options {
	return Options{
		Partitions:    16,
		Durability:    Sync,
		SyncInterval:  200 * time.Millisecond,
		CacheBytes:    256 << 20,
		MemTableBytes: 64 << 20,
		HeadCache:     1 << 16,
		MinFree:       1 << 30,
	}
}

// Validate returns an error that names the first option that is out of range.
func (o *Options) Validate() error {
	switch {
	case o.Dir == "":
		return errors.New("store directory: must be given")
	case o.Partitions < 1 || o.Partitions > maxPartitions || bits.OnesCount(uint(o.Partitions)) != 1:
		return fmt.Errorf("store partitions: %d is not a power of two from 1 to %d", o.Partitions, maxPartitions)
	case o.Durability != Sync && o.Durability != Interval:
		return fmt.Errorf("store durability: %d is unknown", int(o.Durability))
	case o.Durability == Interval && (o.SyncInterval < time.Millisecond || o.SyncInterval > time.Minute):
		return fmt.Errorf("store sync interval: %v is not from 1ms to 1m", o.SyncInterval)
	case o.Node < 0 || o.Node > maxNode:
		return fmt.Errorf("store node: %d is not from 0 to %d", o.Node, maxNode)
	case o.CacheBytes < 1<<20:
		return fmt.Errorf("store cache: %d bytes is less than 1 MiB", o.CacheBytes)
	case o.MemTableBytes < 256<<10 || o.MemTableBytes > 1<<30:
		return fmt.Errorf("store memtable: %d bytes is not from 256 KiB to 1 GiB", o.MemTableBytes)
	case o.HeadCache < 1:
		return fmt.Errorf("store head cache: %d entries is less than 1", o.HeadCache)
	}
	return nil
}

// withDefaults fills in the hooks that were left nil.
func (o Options) withDefaults() Options {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	if o.Fatal == nil {
		logger := o.Logger
		o.Fatal = func(err error) {
			logger.Error("the store cannot go on; ending the process", "err", err)
			os.Exit(1)
		}
	}
	if o.ObserveSync == nil {
		o.ObserveSync = func(time.Duration) {}
	}
	return o
}
