package msgstore

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

func TestReopen(t *testing.T) {
	opts := memOptions(t, vfs.NewMem())
	s := open(t, opts)
	conversation := fill(t, s, 10)
	epoch, applied := s.Epoch(), s.Applied(s.PartitionOf(conversation))
	closeStore(t, s)
	if epoch == 0 || applied != 10 {
		t.Fatalf("epoch %d, applied %d", epoch, applied)
	}

	s = open(t, opts)
	defer closeStore(t, s)
	if got := s.Epoch(); got != epoch {
		t.Errorf("the epoch changed from %d to %d", epoch, got)
	}
	if got := s.Applied(s.PartitionOf(conversation)); got != applied {
		t.Errorf("the applied index changed from %d to %d", applied, got)
	}
	h, exists, err := s.Head(conversation)
	check(t, err)
	if !exists || h.Seq != 10 || h.MinSeq != 1 || h.Sender != "alice" || h.Count != 10 || h.SenderCount != 10 || h.Stamp != 10 {
		t.Errorf("head %+v, %v", h, exists)
	}
	for p := range s.Partitions() {
		if p != s.PartitionOf(conversation) && s.Applied(p) != 0 {
			t.Errorf("partition %d is at %d, nothing was written to it", p, s.Applied(p))
		}
	}
}

func TestOpenRefuses(t *testing.T) {
	check := func(name string, want error, text string, prepare func(t *testing.T, disk vfs.FS, opts *Options)) {
		t.Run(name, func(t *testing.T) {
			disk := vfs.NewMem()
			opts := memOptions(t, disk)
			prepare(t, disk, &opts)
			s, err := Open(opts)
			if err == nil {
				closeStore(t, s)
			}
			if err == nil || want != nil && !errors.Is(err, want) || !strings.Contains(err.Error(), text) {
				t.Fatalf("got %v; want it to be %q and to say %q", err, want, text)
			}
		})
	}
	create := func(t *testing.T, opts Options) {
		t.Helper()
		closeStore(t, open(t, opts))
	}

	check("other partitions", ErrPartitions, "created with 4, which is for good; 8 was asked for", func(t *testing.T, _ vfs.FS, opts *Options) {
		create(t, *opts)
		opts.Partitions = 8
	})
	check("newer format", ErrFormat, "has version 5, this program knows version 4", func(t *testing.T, disk vfs.FS, opts *Options) {
		s := open(t, *opts)
		value := binary.BigEndian.AppendUint32(nil, formatVersion+1)
		if err := s.db.Set(identityKey(), append(value, "whatever"...), pebble.Sync); err != nil {
			t.Fatal(err)
		}
		closeStore(t, s)
	})
	check("older format", ErrFormat, "has version 1, this program knows version 4", func(t *testing.T, _ vfs.FS, opts *Options) {
		s := open(t, *opts)
		if err := s.db.Set(identityKey(), append(binary.BigEndian.AppendUint32(nil, readableFormat-1), "whatever"...), pebble.Sync); err != nil {
			t.Fatal(err)
		}
		closeStore(t, s)
	})
	check("newer pebble", ErrFormat, "unknown format major version 999", func(t *testing.T, disk vfs.FS, opts *Options) {
		create(t, *opts)
		files, err := disk.List(opts.Dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			if strings.HasPrefix(f, "marker.format-version.") {
				if err := disk.Rename(disk.PathJoin(opts.Dir, f), disk.PathJoin(opts.Dir, "marker.format-version.999999.999")); err != nil {
					t.Fatal(err)
				}
			}
		}
	})
	check("other files", ErrNotAStore, `holds other files, such as "holiday.jpg"`, func(t *testing.T, disk vfs.FS, opts *Options) {
		if err := disk.MkdirAll(opts.Dir, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := createEmpty(disk, disk.PathJoin(opts.Dir, "holiday.jpg")); err != nil {
			t.Fatal(err)
		}
	})
	check("another program's database", ErrNotAStore, "Pebble database of another program", func(t *testing.T, disk vfs.FS, opts *Options) {
		db, err := pebble.Open(opts.Dir, &pebble.Options{FS: disk, Logger: pebbleLogger{&events{logger: opts.Logger}}})
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(db.Set([]byte("k"), []byte("v"), pebble.Sync), db.Close()); err != nil {
			t.Fatal(err)
		}
	})
	check("a store that is open", ErrLocked, "locked by another process", func(t *testing.T, _ vfs.FS, opts *Options) {
		s := open(t, *opts)
		t.Cleanup(func() { closeStore(t, s) })
	})
	check("no directory", nil, "store directory", func(_ *testing.T, _ vfs.FS, opts *Options) { opts.Dir = "" })
	check("odd partitions", nil, "12 is not a power of two", func(_ *testing.T, _ vfs.FS, opts *Options) { opts.Partitions = 12 })
	check("a node too many", nil, "1024 is not from 0 to 1023", func(_ *testing.T, _ vfs.FS, opts *Options) { opts.Node = 1024 })
}

// A refused Open must not have touched the directory.
func TestOpenLeavesOthersAlone(t *testing.T) {
	dir := t.TempDir()
	check(t, os.WriteFile(filepath.Join(dir, "letter.txt"), []byte("dear"), 0o600))
	opts := memOptions(t, vfs.Default)
	opts.Dir = dir
	if _, err := Open(opts); !errors.Is(err, ErrNotAStore) {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(dir)
	check(t, err)
	if len(entries) != 1 {
		t.Fatalf("there is more in the directory now: %v", entries)
	}
}

// The lock holds between processes: another one, this test's own program, has
// the store, until it is gone.
func TestLockedByAnotherProcess(t *testing.T) {
	dir := os.Getenv("MSGSTORE_TEST_HOLD")
	opts := memOptions(t, nil)
	if dir != "" {
		opts.Dir = dir
		s := open(t, opts)
		fmt.Println("holding")
		_, _ = bufio.NewReader(os.Stdin).ReadString('\n')
		closeStore(t, s)
		return
	}

	opts.Dir = filepath.Join(t.TempDir(), "a", "b")
	other := exec.Command(os.Args[0], "-test.run=^TestLockedByAnotherProcess$")
	other.Env = append(os.Environ(), "MSGSTORE_TEST_HOLD="+opts.Dir)
	in, err := other.StdinPipe()
	check(t, err)
	out, err := other.StdoutPipe()
	check(t, err)
	check(t, other.Start())
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "holding\n" {
		t.Fatalf("the other process says %q, %v", line, err)
	}
	if _, err := Open(opts); !errors.Is(err, ErrLocked) {
		t.Errorf("opened while another process has it: %v", err)
	}
	check(t, in.Close())
	check(t, other.Wait())
	closeStore(t, open(t, opts))
}

func TestOpenWithoutPermission(t *testing.T) {
	opts := memOptions(t, noLockFS{vfs.NewMem()})
	_, err := Open(opts)
	if !errors.Is(err, fs.ErrPermission) || errors.Is(err, ErrLocked) {
		t.Fatalf("got %v", err)
	}
}

// A crash while a store is being made must not leave something that can
// neither be opened nor made again.
func TestCrashWhileCreating(t *testing.T) {
	crashes := 0
	// All or nothing of what wasn't synced: Pebble counts on the directory
	// entries that it makes appearing in order.
	for _, percent := range []int{0, 100} {
		disk := vfs.NewCrashableMem()
		var (
			mu     sync.Mutex // guards clones
			clones []*vfs.MemFS
		)
		opts := memOptions(t, beforeWrites(disk, func() {
			mu.Lock()
			defer mu.Unlock()
			clones = append(clones, crash(disk, percent, uint64(len(clones))))
		}))
		closeStore(t, open(t, opts))
		crashes += len(clones)
		for i, clone := range clones {
			opts := memOptions(t, clone)
			s, err := Open(opts)
			if err != nil {
				t.Fatalf("crash %d with %d%%: %v", i, percent, err)
			}
			fill(t, s, 1)
			closeStore(t, s)
		}
	}
	if crashes < 30 {
		t.Fatalf("only %d crashes", crashes)
	}
}

func TestPartitions(t *testing.T) {
	opts := memOptions(t, vfs.NewMem())
	opts.Partitions = 16
	s := open(t, opts)
	defer closeStore(t, s)
	count := make([]int, 16)
	for i := range 16000 {
		count[s.PartitionOf(fmt.Sprintf("d:user%d:user%d", i, i+1))]++
	}
	for p, n := range count {
		if n < 850 || n > 1150 { // 1000, and five standard deviations of it
			t.Errorf("partition %d has %d of 16000 conversations", p, n)
		}
	}
	// Which partition a conversation is in can't change any more.
	for conversation, slot := range map[string]int{"": 0xfc1, "d:alice:bob": 0x40c, "d:user1:user2": 0xbbc} {
		if got := slotOf(conversation); got != slot {
			t.Errorf("the slot of %q is %#x, was %#x", conversation, got, slot)
		}
	}
}

// An orderly end leaves nothing in the log, so the next start has nothing to
// replay.
func TestCloseFlushes(t *testing.T) {
	disk := vfs.NewMem()
	opts := memOptions(t, disk)
	s := open(t, opts)
	id := fill(t, s, 100)
	closeStore(t, s)
	files, err := disk.List(opts.Dir)
	check(t, err)
	for _, f := range files {
		if strings.HasSuffix(f, ".log") {
			check(t, disk.Remove(disk.PathJoin(opts.Dir, f)))
		}
	}
	s = open(t, opts)
	defer closeStore(t, s)
	if h, _, err := s.Head(id); err != nil || h.Seq != 100 {
		t.Errorf("without the log the head is %+v, %v", h, err)
	}
}
