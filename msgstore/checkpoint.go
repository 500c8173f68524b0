package msgstore

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// Checkpoint makes a copy of the store in dir, which must not exist, while the
// store goes on. It holds everything that was committed when Checkpoint was
// called. Opening the copy begins a new epoch. Files that don't change any more
// are hard links where dir is on the same file system. A copy that was cut
// short by a crash is called dir.incomplete.
func (s *Store) Checkpoint(dir string) error {
	disk := s.disk
	dir = disk.PathJoin(dir) // without a slash at its end
	if _, err := disk.Stat(dir); err == nil {
		return fmt.Errorf("msgstore: checkpoint: %s: %w", dir, fs.ErrExist)
	}
	partial := dir + ".incomplete"
	if err := s.db.Checkpoint(partial, pebble.WithFlushedWAL()); err != nil {
		return fmt.Errorf("msgstore: checkpoint: %w", err)
	}
	err := createEmpty(disk, disk.PathJoin(partial, newEpochFile))
	if err == nil {
		err = syncDir(disk, partial)
	}
	if err == nil {
		err = disk.Rename(partial, dir)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("msgstore: checkpoint: %w", err), disk.RemoveAll(partial))
	}
	return syncDir(disk, disk.PathDir(dir))
}

func createEmpty(disk vfs.FS, name string) error {
	f, err := disk.Create(name, vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// StateHash is SHA-256 over every key and value of partition p, in key order,
// each after its length (u32, big-endian), but for the client message ids: what
// they say is in the messages, and each store hashes them in its own way.
// Stores that applied the same log have the same hash, whatever their files
// look like. Call it while nothing is being committed.
func (s *Store) StateHash(p int) ([32]byte, error) {
	h := sha256.New()
	var size [4]byte
	write := func(b []byte) {
		binary.BigEndian.PutUint32(size[:], uint32(len(b)))
		h.Write(size[:])
		h.Write(b)
	}
	lower := binary.BigEndian.AppendUint16(nil, uint16(p))
	upper := binary.BigEndian.AppendUint16(nil, uint16(p+1))
	err := s.scan(lower, upper, func(key, value []byte) (bool, error) {
		if key[2] != tableClientID {
			write(key)
			write(value)
		}
		return true, nil
	})
	return [32]byte(h.Sum(nil)), err
}
