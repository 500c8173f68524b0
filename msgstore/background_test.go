package msgstore

import (
	"errors"
	"sync/atomic"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

func TestFreeSpace(t *testing.T) {
	t.Parallel()
	var free atomic.Uint64
	var broken atomic.Bool
	free.Store(500)
	opts := memOptions(t, vfs.NewMem())
	opts.MinFree = 1000
	opts.FreeSpace = func(dir string) (uint64, error) {
		if dir != opts.Dir {
			t.Errorf("asked about %q", dir)
		}
		if broken.Load() {
			return 0, errors.New("no idea")
		}
		return free.Load(), nil
	}
	s := open(t, opts)
	defer closeStore(t, s)
	if !s.Full() || s.Stats().FreeBytes != 500 {
		t.Errorf("full %v, %d bytes free, right after opening", s.Full(), s.Stats().FreeBytes)
	}
	// What was accepted before is still written, and reads go on.
	id := fill(t, s, 3)
	if h, _, err := s.Head(id); err != nil || h.Seq != 3 {
		t.Errorf("head %+v, %v", h, err)
	}
	free.Store(1000)
	s.checkSpace()
	// Another look of the watch may be on its way with what was true before.
	eventually(t, "there is room", func() bool { return !s.Full() })
	free.Store(999)
	eventually(t, "the watch finds the disk full by itself", s.Full)
	broken.Store(true)
	s.checkSpace()
	if !s.Full() || s.Stats().FreeBytes != 999 {
		t.Error("an error changed what was known")
	}
}

func TestFreeSpaceOfTheMachine(t *testing.T) {
	opts := memOptions(t, nil)
	opts.Dir = t.TempDir()
	opts.MinFree = 1
	s := open(t, opts)
	if s.Full() || s.Stats().FreeBytes == 0 {
		t.Errorf("full %v, %d bytes free", s.Full(), s.Stats().FreeBytes)
	}
	closeStore(t, s)
	opts.MinFree = 1 << 62
	s = open(t, opts)
	defer closeStore(t, s)
	if !s.Full() {
		t.Error("there seem to be four exabytes free")
	}
}

func TestStats(t *testing.T) {
	s := openMem(t)
	id := fill(t, s, 10)
	for range 3 {
		if _, _, err := s.Head(id); err != nil {
			t.Fatal(err)
		}
	}
	st := s.Stats()
	if st.Commits != 1 || st.Syncs != 1 || st.CommittedBytes < 500 || st.HeadHits != 3 || st.HeadMisses != 1 {
		t.Errorf("%+v", st)
	}
	if st.Stalled || st.DiskBytes == 0 || st.MemTableBytes == 0 || st.Corruptions != 0 {
		t.Errorf("%+v", st)
	}
	if st.LoggedBytes < st.CommittedBytes || st.CompactedBytes != 0 {
		t.Errorf("written: %+v", st)
	}
	flushed := st.FlushedBytes
	check(t, s.db.Flush())
	if st = s.Stats(); st.FlushedBytes < flushed+500 {
		t.Errorf("after a flush: %+v", st)
	}
	check(t, s.db.Compact(t.Context(), []byte{0}, []byte{0xff, 0xff, 0xff}, false))
	if st = s.Stats(); st.CompactedBytes < 500 {
		t.Errorf("after a compaction: %+v", st)
	}
	listener := s.events.listener()
	listener.WriteStallBegin(pebble.WriteStallBeginInfo{Reason: "test"})
	if st := s.Stats(); !st.Stalled || st.Stalls != 1 || st.StallTime <= 0 {
		t.Errorf("in a stall: %+v", st)
	}
	listener.WriteStallEnd()
	if st := s.Stats(); st.Stalled || st.Stalls != 1 || st.StallTime <= 0 {
		t.Errorf("after it: %+v", st)
	}
}
