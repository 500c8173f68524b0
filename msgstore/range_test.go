package msgstore

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/godwit-im/godwit/protocol"
)

func TestRange(t *testing.T) {
	s := openMem(t)
	id := fill(t, s, 100)
	w := newWriter(s)
	_, err := w.begin().Trim(w.next(id), id, 11)
	check(t, err)
	check(t, w.commit())
	one := protocol.SizeStored(len(encode(pulled(t, mustRange(t, s, id, 50, 50, false, 1, 0))[0])))

	for _, c := range []struct {
		name            string
		from, until     uint64
		backward        bool
		limit, maxBytes int
		first, last     uint64 // 0 = none
		more            bool
	}{
		{"all", 0, 0, false, 1000, 1 << 20, 11, 100, false},
		{"all backward", 0, 0, true, 1000, 1 << 20, 11, 100, false},
		{"from what was removed", 5, 0, false, 10, 1 << 20, 11, 20, true},
		{"back to what was removed", 15, 5, true, 10, 1 << 20, 11, 15, false},
		{"the newest", 0, 0, true, 10, 1 << 20, 91, 100, true},
		{"one", 42, 42, false, 10, 1 << 20, 42, 42, false},
		{"one backward", 42, 42, true, 10, 1 << 20, 42, 42, false},
		{"the end of the range is no more", 90, 99, false, 10, 1 << 20, 90, 99, false},
		{"the limit is more", 90, 99, false, 9, 1 << 20, 90, 98, true},
		{"backward the limit is more", 99, 90, true, 9, 1 << 20, 91, 99, true},
		{"past the head", 101, 0, false, 10, 1 << 20, 0, 0, false},
		{"from past the head", 1000, 98, true, 10, 1 << 20, 98, 100, false},
		{"only what was removed", 1, 10, false, 10, 1 << 20, 0, 0, false},
		{"the wrong way round", 50, 40, false, 10, 1 << 20, 0, 0, false},
		{"no limit is nothing", 50, 0, false, 0, 1 << 20, 0, 0, true},
		{"three by size", 50, 0, false, 100, 3*one + 1, 50, 52, true},
		{"three by size, exactly", 50, 52, false, 100, 3 * one, 50, 52, false},
		{"three by size backward", 52, 0, true, 100, 3*one + 1, 50, 52, true},
		{"one is always allowed", 50, 0, false, 100, 1, 50, 50, true},
		{"one is always allowed backward", 50, 0, true, 100, 1, 50, 50, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, err := s.Range(id, c.from, c.until, c.backward, c.limit, c.maxBytes, nil)
			check(t, err)
			pulled(t, r)
			if r.First != c.first || r.Last != c.last || r.More != c.more || r.Head != 100 || r.Min != 11 {
				t.Errorf("%d to %d, more %v, head %d, min %d", r.First, r.Last, r.More, r.Head, r.Min)
			}
		})
	}

	r, err := s.Range("d:nobody:noone", 0, 0, false, 10, 1<<20, []byte("kept"))
	if err != nil || r.N != 0 || r.More || r.Head != 0 || string(r.Encoded) != "kept" {
		t.Errorf("a conversation that isn't there: %+v, %v", r, err)
	}
}

func mustRange(t *testing.T, s *Store, id string, from, until uint64, backward bool, limit, maxBytes int) RangeResult {
	t.Helper()
	r, err := s.Range(id, from, until, backward, limit, max(maxBytes, 1<<20), nil)
	check(t, err)
	return r
}

// A message that is missing is an error wherever it is missed: nothing that
// reads may take it for the end, or for retention.
func TestMissingMessageIsAnError(t *testing.T) {
	for _, hole := range []uint64{1, 50, 100} {
		t.Run(fmt.Sprint(hole), func(t *testing.T) {
			s := openMem(t)
			id := fill(t, s, 100)
			check(t, s.db.Delete(appendMessageKey(nil, s.PartitionOf(id), id, hole), pebble.Sync))
			for _, backward := range []bool{false, true} {
				if r, err := s.Range(id, 0, 0, backward, 1000, 1<<20, nil); !errors.Is(err, ErrCorrupt) || r.N != 0 {
					t.Errorf("backward %v: %d messages, %v", backward, r.N, err)
				}
			}
			if _, _, err := s.Message(id, hole); !errors.Is(err, ErrCorrupt) {
				t.Errorf("message: %v", err)
			}
			if hole == 50 { // where the search begins
				if _, err := s.SeqAtTime(id, 1); !errors.Is(err, ErrCorrupt) {
					t.Errorf("seq at time: %v", err)
				}
			}
			tx := s.Begin()
			if _, err := tx.Message(id, hole); !errors.Is(err, ErrCorrupt) {
				t.Errorf("message in a Tx: %v", err)
			}
			if _, err := tx.Trim(101, id, 101); !errors.Is(err, ErrCorrupt) {
				t.Errorf("trim: %v", err)
			}
			tx.Discard()
			// Pages without the hole can still be read.
			from, until := hole+1, uint64(0)
			if hole == 100 {
				from, until = 1, 99
			}
			if r, err := s.Range(id, from, until, false, 1000, 1<<20, nil); err != nil || r.N == 0 {
				t.Errorf("beside the hole: %d messages, %v", r.N, err)
			}
		})
	}
}

// The same for values that are damaged.
func TestBadValues(t *testing.T) {
	s := openMem(t)
	id := fill(t, s, 10)
	p := s.PartitionOf(id)
	set := func(key []byte, value string) {
		t.Helper()
		check(t, s.db.Set(key, []byte(value), pebble.Sync))
		s.heads = newHeadCache(8)
	}
	expect := func(what string, err error) {
		t.Helper()
		if !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: %v", what, err)
		}
	}
	set(appendMemberKey(nil, p, "alice", id), "bad")
	_, _, err := s.Member("alice", id)
	expect("member", err)
	expect("members", s.Members("alice", nil, func(string, Member) error { return nil }))
	hash, _ := s.hashClientID(nil, id, "alice", "c1")
	set(appendClientIDPrefix(nil, p, hash), "") // no seq
	tx := s.Begin()
	_, _, err = tx.FindByClientID(id, "alice", "c1")
	expect("client id", err)
	tx.Discard()

	set(appendMessageKey(nil, p, id, 5), "bad")
	_, _, err = s.Message(id, 5)
	expect("message", err)
	_, err = s.Range(id, 0, 0, false, 10, 1<<20, nil)
	expect("range", err)
	for _, value := range []string{"bad", "12345678\xff", "12345678\x08", "12345678\x10\x07", "12345678\x0a\x40x"} {
		set(appendMessageKey(nil, p, id, 10), "\x00\x00\x00\x00\x00\x00\x00\x01"+value[min(len(value), 8):])
		_, _, err = s.Head(id)
		expect(fmt.Sprintf("head from %q", value), err)
	}
	set(appendConversationKey(nil, p, id), strings.Repeat("x", 9))
	_, _, err = s.Head(id)
	expect("head", err)
	expect("conversations", s.Conversations(p, func(string, uint64) error { return nil }))
	set(appendTable(nil, p, tableApplied), "short")
	s.disk = vfs.Default
	expect("open", s.load())
}

// Damage on disk is found by its checksum. It must be an error to whoever reads
// it, not the end of the process, and other conversations must go on.
func TestDamagedFile(t *testing.T) {
	disk := vfs.NewMem()
	opts := memOptions(t, disk)
	opts.FS = disk
	s := open(t, opts)
	w := newWriter(s)
	for i := range 2000 {
		_, err := w.send("alice", "bob", fmt.Sprint(i), strings.Repeat(fmt.Sprint(i), 20))
		check(t, err)
	}
	check(t, w.commit())
	check(t, s.db.Flush())
	id := protocol.DirectID("alice", "bob")
	closeStore(t, s)

	files, err := disk.List(opts.Dir)
	check(t, err)
	flipped := false
	for _, f := range files {
		if !strings.HasSuffix(f, ".sst") {
			continue
		}
		name := disk.PathJoin(opts.Dir, f)
		info, err := disk.Stat(name)
		check(t, err)
		if info.Size() < 50<<10 {
			continue
		}
		file, err := disk.OpenReadWrite(name, vfs.WriteCategoryUnspecified)
		check(t, err)
		// The messages are behind the client message ids: three quarters in.
		at := info.Size() * 3 / 4
		b := make([]byte, 1)
		_, err = file.ReadAt(b, at)
		check(t, err)
		_, err = file.WriteAt([]byte{b[0] ^ 1}, at)
		check(t, err)
		check(t, file.Close())
		flipped = true
	}
	if !flipped {
		t.Fatal("found no file to damage")
	}

	s = open(t, opts)
	defer closeStore(t, s)
	found := 0
	for from := uint64(1); from <= 2000; from += 100 {
		if r, err := s.Range(id, from, from+99, false, 100, 1<<20, nil); errors.Is(err, ErrCorrupt) {
			found++
		} else if err != nil || r.N != 100 {
			t.Errorf("from %d: %d messages, %v", from, r.N, err)
		}
	}
	if found == 0 || found > 3 {
		t.Errorf("the damage was found in %d of 20 pages", found)
	}
	if s.Stats().Corruptions == 0 {
		t.Error("it wasn't counted")
	}
	fresh := newWriter(s)
	_, err = fresh.send("carol", "dave", "c1", "life goes on")
	check(t, err)
	check(t, fresh.commit())
}
