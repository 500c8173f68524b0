package msgstore

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// formatVersion is the version of the keys and values, Pebble's files aside.
const formatVersion = 4

// readableFormat is the oldest version that can be read. Version 2 has no rows but
// the first kinds, and nothing in memberships and conversation rows that is
// absent when it is zero. Version 3 has the followers of a broadcast in the
// group's data alone, no rows of contacts, which Open makes, and no choices.
const readableFormat = 2

// newEpochFile is a file in the store's directory that makes the next Open
// begin a new epoch, which removes it. A checkpoint has one. So has a store
// while it is open with Durability Interval: a crash then may take back seqs
// that clients have seen, and give them to other messages.
const newEpochFile = "NEW-EPOCH"

// Open opens the store in opts.Dir, and creates it where there is none.
func Open(opts Options) (*Store, error) {
	if err := opts.Validate(); err != nil {
		return nil, err
	}
	opts = opts.withDefaults()
	s := &Store{
		opts:   opts,
		heads:  newHeadCache(opts.HeadCache),
		groups: newCache[groupAt](groupsCached, nil),
		joined: newCache[[]string](joinedCached, nil),
		inflight: inflight{
			heads: make(map[string]priorHead), members: make(map[memberID]priorMember),
			rows: make([][]*txRow, opts.Partitions),
		},
		parts:   make([]partition, opts.Partitions),
		closing: make(chan struct{}),
	}
	s.events.logger = opts.Logger
	s.events.fatal = func(err error) {
		opts.Fatal(fmt.Errorf("msgstore: %w", err))
		panic("msgstore: Options.Fatal returned")
	}
	s.flushes.wanted = make(chan struct{}, 1)
	s.txs.New = func() any { return newTx(s) }
	if s.disk = opts.FS; s.disk == nil {
		s.disk = vfs.Default
	}
	if err := checkDir(s.disk, opts.Dir); err != nil {
		return nil, err
	}
	var err error
	if s.lock, err = lockDir(s.disk, opts.Dir); err != nil {
		return nil, err
	}
	if s.db, err = pebble.Open(opts.Dir, s.pebbleOptions()); err != nil {
		return nil, errors.Join(fmt.Errorf("msgstore: open %s: %w", opts.Dir, err), s.lock.Close())
	}
	err = s.load()
	if err == nil {
		// What was replayed from the log may be in a memtable, and the client
		// message ids in it are in no recentIDs.
		err = s.db.Flush()
	}
	if err == nil && opts.Durability == Interval {
		err = s.markUnsynced()
	}
	if err != nil {
		return nil, errors.Join(err, s.db.Close(), s.lock.Close())
	}
	s.start()
	return s, nil
}

// load reads what the store knows about itself.
func (s *Store) load() error {
	if err := s.loadIdentity(); err != nil {
		return err
	}
	s.idHash = s.hashKey.hash
	if err := errors.Join(s.renewEpoch(), s.loadChoosers()); err != nil {
		return err
	}
	newest := uint64(0)
	for p := range s.parts {
		var index, maxID uint64
		_, err := s.get(appendTable(nil, p, tableApplied), func(value []byte) (err error) {
			index, maxID, err = decodeApplied(value)
			return err
		})
		if err != nil {
			return err
		}
		part := &s.parts[p]
		part.synced.Store(index)
		part.applied.Store(index)
		part.maxID = maxID
		part.changes.init(len(s.parts), index)
		newest = max(newest, maxID)
	}
	var err error
	s.ids, err = newIDSource(s.opts.Node, s.opts.Now(), newest)
	return err
}

// loadIdentity reads and checks the store's identity, or gives it one when it
// is new.
func (s *Store) loadIdentity() error {
	var v uint32
	found, err := s.get(identityKey(), func(value []byte) error {
		if len(value) < 4 {
			return fmt.Errorf("%w: bad identity", ErrCorrupt)
		}
		if v = binary.BigEndian.Uint32(value); v < readableFormat || v > formatVersion {
			return fmt.Errorf("%w: %s has version %d, this program knows version %d", ErrFormat, s.opts.Dir, v, formatVersion)
		}
		if len(value) != 14+len(s.hashKey)*8 {
			return fmt.Errorf("%w: bad identity", ErrCorrupt)
		}
		if p := binary.BigEndian.Uint16(value[4:]); int(p) != len(s.parts) {
			return fmt.Errorf("%w: %s was created with %d, which is for good; %d was asked for", ErrPartitions, s.opts.Dir, p, len(s.parts))
		}
		s.epoch = binary.BigEndian.Uint64(value[6:])
		for i := range s.hashKey {
			s.hashKey[i] = binary.BigEndian.Uint64(value[14+8*i:])
		}
		return nil
	})
	if found && err == nil && v != formatVersion {
		if err := s.addContacts(); err != nil {
			return err
		}
		return s.putIdentity() // an earlier program must not open it any more
	}
	if found || err != nil {
		return err
	}
	err = s.scan(nil, nil, func(_, _ []byte) (bool, error) {
		return false, fmt.Errorf("%w: %s is a Pebble database of another program", ErrNotAStore, s.opts.Dir)
	})
	if err != nil {
		return err
	}
	for i := range s.hashKey {
		s.hashKey[i] = randomUint64()
	}
	return s.setEpoch()
}

// renewEpoch begins a new epoch if the directory asks for one. A crash on the
// way begins another one next time.
func (s *Store) renewEpoch() error {
	if _, err := s.disk.Stat(s.newEpochPath()); errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return fmt.Errorf("msgstore: %w", err)
	}
	if err := s.setEpoch(); err != nil {
		return err
	}
	return s.keepEpoch()
}

// markUnsynced has the next Open begin a new epoch, unless Close gets as far as
// keepEpoch.
func (s *Store) markUnsynced() error {
	if err := createEmpty(s.disk, s.newEpochPath()); err != nil {
		return fmt.Errorf("msgstore: %w", err)
	}
	return syncDir(s.disk, s.opts.Dir)
}

// keepEpoch takes the wish for a new epoch back.
func (s *Store) keepEpoch() error {
	if err := s.disk.Remove(s.newEpochPath()); err != nil {
		return fmt.Errorf("msgstore: %w", err)
	}
	return syncDir(s.disk, s.opts.Dir)
}

func (s *Store) newEpochPath() string { return s.disk.PathJoin(s.opts.Dir, newEpochFile) }

func (s *Store) setEpoch() error {
	s.epoch = max(1, randomUint64())
	return s.putIdentity()
}

func (s *Store) putIdentity() error {
	value := binary.BigEndian.AppendUint32(nil, formatVersion)
	value = binary.BigEndian.AppendUint16(value, uint16(len(s.parts)))
	value = binary.BigEndian.AppendUint64(value, s.epoch)
	for _, k := range s.hashKey {
		value = binary.BigEndian.AppendUint64(value, k)
	}
	return s.db.Set(identityKey(), value, pebble.Sync)
}

func randomUint64() uint64 {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails, as its documentation says
	return binary.BigEndian.Uint64(b[:])
}

func identityKey() []byte { return appendTable(nil, ownPartition, tableStore) }

// checkDir refuses a directory that holds files but no Pebble database, so
// that a mistyped path isn't filled with a store's files.
func checkDir(disk vfs.FS, name string) error {
	files, err := disk.List(name)
	if errors.Is(err, fs.ErrNotExist) || err == nil && len(files) == 0 {
		return nil
	}
	if err != nil {
		return fmt.Errorf("msgstore: %w", err)
	}
	if desc, err := pebble.Peek(name, disk); err != nil {
		return fmt.Errorf("%w: %w", ErrFormat, err)
	} else if desc.Exists {
		return nil
	}
	for _, f := range files {
		if !slices.ContainsFunc(bornFirst, func(prefix string) bool { return strings.HasPrefix(f, prefix) }) {
			return fmt.Errorf("%w: %s holds other files, such as %q; give it a directory of its own", ErrNotAStore, name, f)
		}
	}
	return nil
}

// bornFirst is what Pebble has made of a database before it counts as one: a
// crash then leaves these. And lost+found is in every fresh file system.
var bornFirst = []string{"LOCK", "marker.", "MANIFEST-", "OPTIONS-", "temporary.", "lost+found"}

func lockDir(disk vfs.FS, name string) (*pebble.Lock, error) {
	if err := makeDir(disk, name); err != nil {
		return nil, fmt.Errorf("msgstore: %w", err)
	}
	lock, err := pebble.LockDirectory(name, disk)
	var pathErr *fs.PathError
	switch {
	case errors.As(err, &pathErr): // the lock's file can't be made
		return nil, fmt.Errorf("msgstore: %w", err)
	case err != nil:
		return nil, fmt.Errorf("%w: %s is locked by another process: %w", ErrLocked, name, err)
	}
	return lock, nil
}

// makeDir makes a directory with its parents, and syncs the parents of those
// that it made.
func makeDir(disk vfs.FS, name string) error {
	var parents []string
	for d := name; ; d = disk.PathDir(d) {
		if _, err := disk.Stat(d); err == nil || d == disk.PathDir(d) {
			break
		}
		parents = append(parents, disk.PathDir(d))
	}
	if err := disk.MkdirAll(name, 0o700); err != nil {
		return err
	}
	for _, p := range parents {
		if err := syncDir(disk, p); err != nil {
			return err
		}
	}
	return nil
}

func syncDir(disk vfs.FS, name string) error {
	d, err := disk.OpenDir(name)
	if err != nil {
		return fmt.Errorf("msgstore: %w", err)
	}
	return errors.Join(d.Sync(), d.Close())
}
