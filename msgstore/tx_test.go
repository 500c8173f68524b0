package msgstore

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/godwit-im/godwit/protocol"
	"github.com/godwit-im/godwit/protocol/pb"
)

// A message costs two keys, whatever the batch. The batch adds one for each
// partition, and a conversation three in its life, for itself and its members.
func TestTwoKeysPerMessage(t *testing.T) {
	s := openMem(t)
	count := func(n int) int {
		w := newWriter(s)
		for i := range n {
			_, err := w.send("alice", "bob", fmt.Sprint(n, "-", i), "hello")
			check(t, err)
		}
		w.tx.seal()
		defer w.tx.Discard()
		return int(w.tx.batch.Count())
	}
	if got := count(1); got != 2+3+1 {
		t.Errorf("the first message is %d keys; want 6", got)
	}
	fill(t, s, 1)
	for _, n := range []int{1, 10, 1000} {
		if got := count(n); got != 2*n+1 {
			t.Errorf("%d messages are %d keys; want %d", n, got, 2*n+1)
		}
	}
	before := tables(t, s)
	w := newWriter(s)
	for i := range 100 {
		_, err := w.send("bob", "alice", fmt.Sprint("last-", i), "hello")
		check(t, err)
	}
	check(t, w.commit())
	for table, n := range tables(t, s) {
		want := before[table]
		if table == tableMessage || table == tableClientID {
			want += 100
		}
		if n != want {
			t.Errorf("table %c has %d keys after 100 messages; want %d", table, n, want)
		}
	}
}

// tables counts the keys of each table.
func tables(t *testing.T, s *Store) map[byte]int {
	t.Helper()
	n := make(map[byte]int)
	check(t, s.scan(nil, nil, func(key, _ []byte) (bool, error) {
		n[key[2]]++
		return true, nil
	}))
	return n
}

// What was stored comes back byte for byte, fields that nobody knows included,
// even if their order isn't the canonical one.
func TestBytesAreKept(t *testing.T) {
	s := openMem(t)
	w := newWriter(s)
	m, err := w.send("alice", "bob", "c1", "hello")
	check(t, err)
	m.Seq, m.ClientId = 2, "c2"
	wire := protowire.AppendString(protowire.AppendTag(nil, 900, protowire.BytesType), "a field of a later version")
	wire = protowire.AppendFixed64(protowire.AppendTag(wire, 901, protowire.Fixed64Type), 5)
	wire = append(protowire.AppendTag(wire, 902, protowire.StartGroupType), protowire.AppendTag(nil, 902, protowire.EndGroupType)...)
	wire = append(wire, encode(m)...)
	wire = protowire.AppendVarint(protowire.AppendTag(wire, 903, protowire.VarintType), 1<<60)
	check(t, w.tx.Append(w.next(m.Conversation), m, wire))
	own, err := w.tx.Message(m.Conversation, 2)
	check(t, err)
	check(t, w.commit())
	stored, found, err := s.Message(m.Conversation, 2)
	if err != nil || !found || !bytes.Equal(stored, wire) || !bytes.Equal(own, wire) {
		t.Fatalf("got %x, %v, %v and %x within the Tx; want %x", stored, found, err, own, wire)
	}
	r, err := s.Range(m.Conversation, 2, 2, false, 1, 1, nil)
	if want := protocol.AppendStored(nil, wire); err != nil || !bytes.Equal(r.Encoded, want) {
		t.Fatalf("got %x, %v; want %x", r.Encoded, err, want)
	}
	s.heads = newHeadCache(1)
	if h, _, err := s.Head(m.Conversation); err != nil || h.Seq != 2 || h.ID != m.Id || h.Sender != "alice" || h.TimeMs != m.TimeMs {
		t.Fatalf("head %+v, %v", h, err)
	}
}

// Appending and reading must keep to the rules; a Tx that broke one doesn't
// commit.
func TestTxRefuses(t *testing.T) {
	const id = "d:alice:bob"
	message := func(seq uint64) *pb.Message {
		return &pb.Message{Conversation: id, Seq: seq, Sender: "alice", ClientId: fmt.Sprint(seq)}
	}
	sent := func(w *writer, seq uint64) *pb.Message {
		wire, err := w.begin().Message(id, seq)
		check(t, err)
		m := new(pb.Message)
		check(t, proto.Unmarshal(wire, m))
		return m
	}
	for _, c := range []struct {
		name, text string
		do         func(w *writer) error
	}{
		{"append behind a hole", "seq 12 after 10", func(w *writer) error {
			return w.begin().Append(w.next(id), message(12), nil)
		}},
		{"append a second time", "seq 10 after 10", func(w *writer) error {
			return w.begin().Append(w.next(id), message(10), nil)
		}},
		{"append twice at an index", "index 11 in partition", func(w *writer) error {
			index := w.next(id)
			check(t, w.begin().Append(index, message(11), nil))
			return w.begin().Append(index, message(12), nil)
		}},
		{"append to nothing", `no conversation "d:alice:zoe"`, func(w *writer) error {
			return w.begin().Append(w.next(id), &pb.Message{Conversation: "d:alice:zoe", Seq: 1}, nil)
		}},
		{"create again", "exists", func(w *writer) error { return w.begin().Create(w.next(id), id, "alice", "bob") }},
		{"trim nothing", `no conversation "d:alice:zoe"`, func(w *writer) error {
			_, err := w.begin().Trim(w.next(id), "d:alice:zoe", 1)
			return err
		}},
		{"read past the head", "has seqs 1 to 10, not 11", func(w *writer) error {
			_, err := w.begin().Message(id, 11)
			return err
		}},
		{"rewrite what isn't there", "has seqs 1 to 10, not 11", func(w *writer) error {
			return w.begin().Rewrite(w.next(id), message(11), nil)
		}},
		{"rewrite another message's count", "can't become", func(w *writer) error {
			m := sent(w, 3)
			m.Count++
			return w.begin().Rewrite(w.next(id), m, encode(m))
		}},
		{"rewrite another message's client id", "can't become", func(w *writer) error {
			m := sent(w, 3)
			m.ClientId = "c4"
			return w.begin().Rewrite(w.next(id), m, encode(m))
		}},
		{"rewrite one's own message's time", "can't become", func(w *writer) error {
			m, err := w.send("alice", "bob", "c11", "own")
			check(t, err)
			m.TimeMs++
			return w.begin().Rewrite(w.next(id), m, encode(m))
		}},
		{"an index from before", "index 10 was applied before", func(w *writer) error {
			return w.begin().PutMember(10, "alice", id, Member{})
		}},
		{"an applied index from before", "index 9 was applied before", func(w *writer) error {
			w.begin().SetApplied(w.s.PartitionOf(id), 9)
			return w.tx.err
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := openMem(t)
			fill(t, s, 10)
			w := newWriter(s)
			if err := c.do(w); err == nil || !strings.Contains(err.Error(), c.text) {
				t.Errorf("got %v; want it to say %q", err, c.text)
			}
			if err := w.commit(); err == nil || !strings.Contains(err.Error(), c.text) {
				t.Errorf("the commit returned %v", err)
			}
			if h, _, err := s.Head(id); err != nil || h.Seq != 10 || s.Applied(s.PartitionOf(id)) != 10 {
				t.Errorf("head %+v, %v, applied %d", h, err, s.Applied(s.PartitionOf(id)))
			}
		})
	}
}

func TestJoinedStays(t *testing.T) {
	s := openMem(t)
	id := fill(t, s, 1)
	for range 3 {
		w := newWriter(s)
		check(t, w.begin().PutMember(w.next(id), "alice", id, Member{ReadSeq: 1, Joined: 77, Stamp: 77}))
		check(t, w.commit())
	}
	if m, found, err := s.Member("alice", id); err != nil || !found || m != (Member{ReadSeq: 1, Joined: 1, Stamp: 4, Moved: 2}) {
		t.Errorf("%+v, %v, %v", m, found, err)
	}
}

// Two users' names and two conversations' ids can't run into one another.
func TestKeysDoNotCollide(t *testing.T) {
	s := openMem(t)
	w := newWriter(s)
	for _, pair := range [][2]string{{"a", "b"}, {"a", "bb"}, {"aa", "b"}, {"a", "b.c"}, {"a.b", "c"}} {
		_, err := w.send(pair[0], pair[1], "c", strings.Join(pair[:], "+"))
		check(t, err)
		_, err = w.send(pair[1], pair[0], "c", strings.Join(pair[:], "-"))
		check(t, err)
	}
	check(t, w.commit())
	for user, want := range map[string]int{"a": 3, "aa": 1, "b": 2, "bb": 1, "a.b": 1, "c": 1, "": 0} {
		if got := memberships(t, s, user); strings.Count(got, ":") != 2*want {
			t.Errorf("%q is a member of %v; want %d", user, got, want)
		}
	}
	r, err := s.Range("d:a:b", 0, 0, false, 10, 1<<20, nil)
	check(t, err)
	if got := pulled(t, r); len(got) != 2 || string(got[0].Body) != "a+b" || string(got[1].Body) != "a-b" {
		t.Errorf("%v", got)
	}
}

// The state, and with it the hash, is that of the commands, however they were
// batched and whatever the files look like.
func TestStateHash(t *testing.T) {
	apply := func(batch int, compact bool, body string) (hashes [4][32]byte) {
		s := open(t, memOptions(t, vfs.NewMem()))
		defer closeStore(t, s)
		w := newWriter(s)
		w.id = func() uint64 { return uint64(w.now) }
		for i := range 300 {
			m, err := w.send("alice", []string{"bob", "carol", "dave"}[i%3], fmt.Sprint(i), body)
			check(t, err)
			if i%10 == 9 {
				check(t, w.tx.PutMember(w.next(m.Conversation), "alice", m.Conversation, Member{ReadSeq: m.Seq}))
				_, err := w.tx.Trim(w.next(m.Conversation), m.Conversation, m.Seq+uint64(i%2)) // all, or but one
				check(t, err)
			}
			if (i+1)%batch == 0 {
				check(t, w.commit())
				if compact {
					check(t, s.db.Flush())
				}
			}
		}
		check(t, w.commit())
		if compact {
			check(t, s.db.Compact(t.Context(), []byte{0}, []byte{0xff, 0xff}, false))
		}
		for p := range hashes {
			var err error
			hashes[p], err = s.StateHash(p)
			check(t, err)
		}
		return hashes
	}
	want := apply(1, false, "hello")
	for _, batch := range []int{7, 31, 300} {
		if got := apply(batch, batch == 31, "hello"); got != want {
			t.Errorf("in batches of %d the hashes are %x; want %x", batch, got, want)
		}
	}
	if got := apply(7, false, "hullo"); got == want {
		t.Error("other messages have the same hashes")
	}
}
