package bench

import (
	"testing"

	"github.com/godwit-im/godwit/msgstore"
)

// trimTo removes the messages of a conversation below seq.
func trimTo(t *testing.T, dir, conversation string, seq uint64) {
	t.Helper()
	opts := msgstore.DefaultOptions()
	opts.Dir = dir
	store, err := msgstore.Open(opts)
	if err != nil {
		t.Fatal(err)
	}
	tx := store.Begin()
	if _, err := tx.Trim(store.Applied(store.PartitionOf(conversation))+1, conversation, seq); err != nil {
		t.Fatal(err)
	}
	if err := tx.Commit(); err != nil {
		t.Fatal(err)
	}
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
}
