package msgstore

import (
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"google.golang.org/protobuf/proto"

	"github.com/godwit-im/godwit/protocol"
	"github.com/godwit-im/godwit/protocol/pb"
)

// patience is how long a test waits for what must come. It is never waited out by
// a test that passes.
const patience = 2 * time.Minute

// memOptions are for a small store on fs whose Fatal fails the test.
func memOptions(t testing.TB, fs vfs.FS) Options {
	opts := DefaultOptions()
	opts.Dir = "store"
	opts.FS = fs
	opts.Partitions = 4
	opts.CacheBytes = 1 << 20
	opts.MemTableBytes = 256 << 10
	opts.HeadCache = 64
	opts.Logger = slog.New(slog.DiscardHandler)
	opts.Fatal = func(err error) { panic(fmt.Sprintf("%s: fatal: %v", t.Name(), err)) }
	return opts
}

func open(t testing.TB, opts Options) *Store {
	t.Helper()
	s, err := Open(opts)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// openMem opens a small store in memory that is closed with the test.
func openMem(t testing.TB) *Store {
	t.Helper()
	s := open(t, memOptions(t, vfs.NewMem()))
	t.Cleanup(func() { closeStore(t, s) })
	return s
}

func closeStore(t testing.TB, s *Store) {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// writer gives every change of a transaction an index, one after the other in
// each partition, as the command log does.
type writer struct {
	s     *Store
	tx    *Tx
	index []uint64
	id    func() uint64
	now   int64
}

func newWriter(s *Store) *writer {
	w := &writer{s: s, index: make([]uint64, s.Partitions()), id: s.NextID, now: 1000}
	for p := range w.index {
		w.index[p] = s.Applied(p)
	}
	return w
}

func (w *writer) begin() *Tx {
	if w.tx == nil {
		w.tx = w.s.Begin()
	}
	return w.tx
}

func (w *writer) next(conversation string) uint64 {
	p := w.s.PartitionOf(conversation)
	w.index[p]++
	return w.index[p]
}

func (w *writer) commit() error {
	tx := w.begin()
	w.tx = nil
	return tx.Commit()
}

// send appends a message to the direct conversation of two users, which it
// makes first if need be, and returns it.
func (w *writer) send(from, to, client, body string) (*pb.Message, error) {
	tx := w.begin()
	conversation := protocol.DirectID(from, to)
	index := w.next(conversation)
	head, exists, err := tx.Head(conversation)
	if err != nil {
		return nil, err
	}
	if !exists {
		if err := tx.Create(index, conversation, from, to); err != nil {
			return nil, err
		}
	}
	w.now++
	m := &pb.Message{
		Conversation: conversation, Seq: head.Seq + 1, Id: w.id(), Sender: from, ClientId: client, TimeMs: w.now,
		Kind: pb.Kind_KIND_TEXT, Body: []byte(body), Count: head.Count + 1, SenderCount: head.Count - head.Others(from) + 1,
	}
	return m, tx.Append(index, m, encode(m))
}

func encode(m *pb.Message) []byte {
	wire, err := proto.Marshal(m)
	if err != nil {
		panic(err)
	}
	return wire
}

// fill commits n messages from alice to bob and returns their conversation.
func fill(t testing.TB, s *Store, n int) string {
	t.Helper()
	w := newWriter(s)
	for i := range n {
		_, err := w.send("alice", "bob", fmt.Sprintf("c%d", i+1), fmt.Sprintf("message %d", i+1))
		check(t, err)
	}
	check(t, w.commit())
	return protocol.DirectID("alice", "bob")
}

// pulled decodes what Range returned.
func pulled(t testing.TB, r RangeResult) []*pb.Message {
	t.Helper()
	var p pb.Pulled
	check(t, proto.Unmarshal(r.Encoded, &p))
	if len(p.Messages) != r.N {
		t.Fatalf("%d messages encoded, N is %d", len(p.Messages), r.N)
	}
	for i, m := range p.Messages {
		if m.Seq != r.First+uint64(i) {
			t.Fatalf("message %d of the page has seq %d, the first has %d", i, m.Seq, r.First)
		}
	}
	if r.N > 0 && p.Messages[r.N-1].Seq != r.Last {
		t.Fatalf("the last of the page has seq %d, Last is %d", p.Messages[r.N-1].Seq, r.Last)
	}
	return p.Messages
}

// eventually waits for what no event announces.
func eventually(t testing.TB, what string, f func() bool) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for !f() {
		if time.Now().After(deadline) {
			t.Fatalf("waited %v for: %s", patience, what)
		}
		<-time.After(time.Millisecond)
	}
}
