package godwit

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"go.etcd.io/bbolt"
	"pgregory.net/rapid"
)

// TestFileStoreIsAMemoryStore saves the same random batches to both, and
// compares what they load, across reopenings of the file.
func TestFileStoreIsAMemoryStore(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	rapid.Check(t, func(t *rapid.T) {
		path := filepath.Join(dir, "store")
		os.Remove(path)
		file, err := OpenFileStore(path)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { file.Close() }()
		memory := NewMemoryStore()
		for range rapid.IntRange(1, 3).Draw(t, "batches") {
			b := drawBatch(t)
			if err := errors.Join(file.Save(b), memory.Save(b)); err != nil {
				t.Fatal(err)
			}
			if rapid.Bool().Draw(t, "reopen") {
				file.Close()
				if file, err = OpenFileStore(path); err != nil {
					t.Fatal(err)
				}
			}
			sameSnapshot(t, file, memory)
		}
	})
}

func drawBatch(t *rapid.T) *Batch {
	b := new(Batch)
	if rapid.Bool().Draw(t, "user?") {
		b.User = rapid.SampledFrom([]string{"alice", "bob"}).Draw(t, "user")
	}
	if rapid.Bool().Draw(t, "cursor?") {
		b.Cursor = &Cursor{Epoch: rapid.Uint64().Draw(t, "epoch"), Sync: rapid.SliceOfN(rapid.Byte(), 1, 20).Draw(t, "cursor")}
	}
	for range rapid.IntRange(0, 3).Draw(t, "positions") {
		p := Position{Conversation: rapid.StringMatching(`d:[a-c]:[d-f]`).Draw(t, "conversation")}
		for _, field := range positionFields(&p) {
			*field = rapid.Uint64().Draw(t, "field")
		}
		b.Positions = append(b.Positions, p)
	}
	for range rapid.IntRange(0, 3).Draw(t, "put") {
		b.Put = append(b.Put, Entry{
			Order: rapid.Uint64Range(0, 300).Draw(t, "order"), ClientID: rapid.StringN(1, 10, 64).Draw(t, "client id"),
			Conversation: "d:a:b",
			Draft: Draft{
				Kind: KindCustom, ContentType: rapid.String().Draw(t, "type"),
				Body:  rapid.SliceOfN(rapid.Byte(), 1, 100).Draw(t, "body"),
				Reply: rapid.Uint64().Draw(t, "reply"), MentionAll: rapid.Bool().Draw(t, "all"),
				Mentions: rapid.SliceOfN(rapid.String(), 0, 3).Draw(t, "mentions"),
				Flags:    Flags(rapid.Uint32().Draw(t, "flags")),
				TTL:      time.Duration(rapid.Int64Range(0, 1e9).Draw(t, "ttl")) * time.Millisecond,
				Target:   rapid.Uint64().Draw(t, "target"), Remove: rapid.Bool().Draw(t, "remove"),
			},
			Time: time.Unix(0, rapid.Int64().Draw(t, "time")),
		})
	}
	b.Remove = rapid.SliceOf(rapid.Uint64Range(0, 300)).Draw(t, "remove")
	return b
}

func sameSnapshot(t *rapid.T, x, y Store) {
	a, err := x.Load()
	if err != nil {
		t.Fatal(err)
	}
	b, err := y.Load()
	if err != nil {
		t.Fatal(err)
	}
	byName := func(p, q Position) int { return strings.Compare(p.Conversation, q.Conversation) }
	slices.SortFunc(a.Positions, byName)
	slices.SortFunc(b.Positions, byName)
	if a.User != b.User || a.Cursor.Epoch != b.Cursor.Epoch || string(a.Cursor.Sync) != string(b.Cursor.Sync) ||
		!slices.Equal(a.Positions, b.Positions) {
		t.Fatalf("got %+v, want %+v", a, b)
	}
	same := slices.EqualFunc(a.Outbox, b.Outbox, func(p, q Entry) bool {
		equal := p.Time.Equal(q.Time) && slices.Equal(p.Mentions, q.Mentions)
		p.Time, q.Time, p.Mentions, q.Mentions = time.Time{}, time.Time{}, nil, nil
		return equal && reflect.DeepEqual(p, q)
	})
	if !same {
		t.Fatalf("got outbox %+v, want %+v", a.Outbox, b.Outbox)
	}
}

func TestFileStoreIsPrivateAndLocked(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "store")
	store, err := OpenFileStore(path)
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if _, err := OpenFileStore(path); !errors.Is(err, ErrStore) || !strings.Contains(err.Error(), "in use") {
		t.Errorf("a second opening: %v", err)
	}
}

func TestFileStoreRefusesWhatItCannotRead(t *testing.T) {
	put := func(bucket, key []byte, value string) func(*bbolt.Tx) error {
		return func(tx *bbolt.Tx) error { return tx.Bucket(bucket).Put(key, []byte(value)) }
	}
	for name, damage := range map[string]func(*bbolt.Tx) error{
		"newer format":   put(metaBucket, formatKey, "\x00\x02"),
		"short cursor":   put(metaBucket, cursorKey, "x"),
		"short position": put(positionBucket, []byte("d:a:b"), "x"),
		"short entry":    put(outboxBucket, orderKey(1), "x"),
		"bad entry":      put(outboxBucket, orderKey(1), "12345678\xff"),
		"bad order":      put(outboxBucket, []byte("x"), "12345678"),
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "store")
			store, err := OpenFileStore(path)
			if err != nil {
				t.Fatal(err)
			}
			if err := store.db.Update(damage); err != nil {
				t.Fatal(err)
			}
			store.Close()
			store, err = OpenFileStore(path)
			if err == nil {
				_, err = store.Load()
				store.Close()
			}
			if err == nil {
				t.Error("it was read")
			}
		})
	}
	t.Run("not a store", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "store")
		if err := os.WriteFile(path, []byte(strings.Repeat("no store ", 1000)), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := OpenFileStore(path); !errors.Is(err, ErrStore) {
			t.Errorf("got %v", err)
		}
	})
}
