package msgstore

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"github.com/godwit-im/godwit/protocol/pb"
)

// The bytes on disk are a promise to every store that exists. If this fails,
// either the change was an accident, or formatVersion has to change with it.
func TestFormat(t *testing.T) {
	opts := memOptions(t, vfs.NewMem())
	opts.Partitions = 1
	s := open(t, opts)
	defer closeStore(t, s)
	s.idHash = hashKey{1, 2}.hash
	w := newWriter(s)
	w.id = func() uint64 { return uint64(w.now) << idTimeShift }
	for _, step := range []struct{ from, to, client string }{
		{"alice", "bob", "first"}, {"bob", "alice", "second"}, {"alice", "carol", "only"}, {"alice", "dave", "gone"},
	} {
		_, err := w.send(step.from, step.to, step.client, "hello")
		check(t, err)
	}
	check(t, w.tx.PutMember(w.next("d:alice:bob"), "alice", "d:alice:bob", Member{ReadSeq: 2, DeliveredSeq: 2, ReadOthers: 1}))
	_, err := w.tx.Trim(w.next("d:alice:bob"), "d:alice:bob", 2)
	check(t, err)
	_, err = w.tx.Trim(w.next("d:alice:dave"), "d:alice:dave", 2)
	check(t, errors.Join(err, w.commit()))
	// A row of each kind, and a message that is rewritten.
	fillGroup(t, w)
	check(t, w.commit())
	changeGroup(t, w)
	check(t, w.commit())

	var got strings.Builder
	check(t, s.scan(nil, nil, func(key, value []byte) (bool, error) {
		if key[2] == tableStore {
			copy(value[6:], "_EPOCH__")
			copy(value[14:], "____HASH_KEY____")
		}
		fmt.Fprintf(&got, "%q\n\t%q\n", key, value)
		return true, nil
	}))
	seen := make(map[byte]bool)
	check(t, s.scan(nil, nil, func(key, _ []byte) (bool, error) {
		seen[key[2]] = true
		return true, nil
	}))
	if len(seen) != 19 {
		t.Errorf("%d tables are in it; there are 19", len(seen))
	}
	want, err := os.ReadFile("testdata/format.txt")
	check(t, err)
	if got.String() != string(want) {
		t.Errorf("the store holds\n%s", &got)
	}
}

func TestRowsComeBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := Member{
			ReadSeq: rapid.Uint64().Draw(t, "read"), DeliveredSeq: rapid.Uint64().Draw(t, "delivered"), ReadOthers: rapid.Uint64().Draw(t, "others"),
			Joined: rapid.Uint64().Draw(t, "joined"), Stamp: rapid.Uint64().Draw(t, "stamp"),
		}
		if m.ReadSeq > 0 || m.DeliveredSeq > 0 {
			m.Moved = rapid.OneOf(rapid.Just(m.Stamp), rapid.Uint64()).Draw(t, "moved")
		}
		if got, err := decodeMember(appendMember(nil, m)); err != nil || got != m {
			t.Fatalf("%+v became %+v, %v", m, got, err)
		}
		with := m
		with.Membership = &pb.Membership{Role: pb.Role_ROLE_ADMIN, Nick: rapid.String().Draw(t, "nick"), FromSeq: rapid.Uint64().Draw(t, "from")}
		if got, err := decodeMember(appendMember(nil, with)); err != nil || !proto.Equal(got.Membership, with.Membership) || got.ReadOthers != m.ReadOthers || got.Moved != m.Moved {
			t.Fatalf("%+v became %+v, %v", with, got, err)
		}
		c := conversationRow{stamp: m.Stamp, created: m.Joined, minSeq: m.ReadSeq}
		if rapid.Bool().Draw(t, "trimmed") {
			c.last = Head{
				Seq: rapid.Uint64Min(1).Draw(t, "seq"), ID: m.DeliveredSeq, TimeMs: rapid.Int64().Draw(t, "time"), Count: m.ReadOthers,
				Sender: rapid.String().Draw(t, "sender"), SenderCount: 3, Stamp: 4,
			}
			c.last.Shown = rapid.Uint64Range(1, c.last.Seq).Draw(t, "shown")
		}
		if rapid.Bool().Draw(t, "with events") {
			c.mentioned, c.gone = rapid.Uint64().Draw(t, "mentioned"), rapid.Uint64().Draw(t, "gone")
			c.blocked, c.left = rapid.Bool().Draw(t, "blocked"), rapid.Uint64().Draw(t, "left")
		}
		b := appendConversationRow(nil, c)
		if got, err := decodeConversationRow(b); err != nil || got != c {
			t.Fatalf("%+v became %+v, %v", c, got, err)
		}
		// Cut short or with something behind, it is corrupt, or, cut where one may
		// end, a shorter row.
		cut := rapid.IntRange(0, len(b)-1).Draw(t, "cut")
		if got, err := decodeConversationRow(b[:cut]); !errors.Is(err, ErrCorrupt) && !bytes.Equal(appendConversationRow(nil, got), b[:cut]) &&
			got != (conversationRow{stamp: c.stamp, created: c.created, minSeq: c.minSeq}) {
			t.Fatalf("%x became %+v, %v", b[:cut], got, err)
		}
		if got, err := decodeMember(append(appendMember(nil, m), 0)); !errors.Is(err, ErrCorrupt) {
			t.Fatalf("with a byte behind it: %+v, %v", got, err)
		}
	})
}

// FuzzDecodeMessage compares decodeMessage with what protobuf makes of the same
// bytes.
func FuzzDecodeMessage(f *testing.F) {
	m := &pb.Message{
		Conversation: "d:a:b", Seq: 1 << 40, Id: 1 << 62, Sender: "a", ClientId: "c", TimeMs: -5, Kind: pb.Kind_KIND_CUSTOM,
		ContentType: "image/png", Body: []byte{0, 1, 2}, Count: 9, SenderCount: 4,
	}
	f.Add(encode(m))
	f.Add(append(encode(m), encode(&pb.Message{Seq: 7, Sender: "z"})...)) // the last one counts
	f.Add(protowire.AppendString(protowire.AppendTag(nil, 2, protowire.BytesType), "not a seq"))
	f.Add(protowire.AppendVarint(protowire.AppendTag(nil, 4, protowire.VarintType), 7))
	f.Add(append(protowire.AppendTag(nil, 99, protowire.StartGroupType), protowire.AppendTag(nil, 99, protowire.EndGroupType)...))
	f.Add([]byte{0x12})
	f.Add([]byte{0x10, 0xff})
	f.Add([]byte{0})
	f.Fuzz(func(t *testing.T, wire []byte) {
		got, err := decodeMessage(wire)
		var want pb.Message
		if proto.Unmarshal(wire, &want) != nil {
			return // it may be more lenient: what is stored was encoded by us
		}
		if err != nil {
			t.Fatalf("%x: %v", wire, err)
		}
		head := Head{Seq: want.Seq, ID: want.Id, TimeMs: want.TimeMs, Count: want.Count, SenderCount: want.SenderCount, Shown: want.ShownSeq}
		if head.Shown == 0 {
			head.Shown = head.Seq
		}
		if !reflect.DeepEqual(got.head, head) || string(got.sender) != want.Sender || string(got.clientID) != want.ClientId {
			t.Fatalf("%x: got %+v; want %v", wire, got, &want)
		}
	})
}
