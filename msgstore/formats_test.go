package msgstore

import (
	"encoding/binary"
	"errors"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"google.golang.org/protobuf/proto"

	"github.com/godwit-im/godwit/protocol/pb"
)

// earlier makes a store as a program that knew an earlier format left it: the one
// that TestFormat wrote then, which is in a file of testdata.
func earlier(t *testing.T, opts Options, file string) {
	t.Helper()
	db, err := pebble.Open(opts.Dir, &pebble.Options{
		FS: opts.FS, Comparer: comparer, FormatMajorVersion: pebble.FormatNewest, Logger: pebbleLogger{&events{logger: opts.Logger}},
	})
	check(t, err)
	text, err := os.ReadFile("testdata/" + file)
	check(t, err)
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	for i := 0; i < len(lines); i += 2 {
		key, err := strconv.Unquote(lines[i])
		check(t, err)
		value, err := strconv.Unquote(strings.TrimSpace(lines[i+1]))
		check(t, err)
		check(t, db.Set([]byte(key), []byte(value), pebble.Sync))
	}
	check(t, db.Close())
}

// A store of format 2 is opened with all that is in it, goes on, and is one of
// the present format from then on: a program that doesn't know that refuses it.
func TestFormat2IsOpened(t *testing.T) {
	opts := memOptions(t, vfs.NewMem())
	opts.Partitions = 1
	earlier(t, opts, "format2.txt")
	s := open(t, opts)
	if got, want := s.Epoch(), binary.BigEndian.Uint64([]byte("_EPOCH__")); got != want {
		t.Errorf("the epoch became %x", got)
	}
	checkVersion(t, s)
	closeStore(t, s)
	s = open(t, opts)
	defer closeStore(t, s)
	if h, _, err := s.Head("d:alice:bob"); err != nil || h.Seq != 2 || h.MinSeq != 2 || h.Shown != 2 || h.Mentioned != 0 || h.Gone != 0 || h.Blocked {
		t.Errorf("head %+v, %v", h, err)
	}
	// Of this one nothing is kept but its row.
	if h, _, err := s.Head("d:alice:dave"); err != nil || h.Seq != 1 || h.MinSeq != 2 || h.Shown != 1 || h.Sender != "alice" {
		t.Errorf("head of what was trimmed: %+v, %v", h, err)
	}
	if m, found, err := s.Member("alice", "d:alice:bob"); err != nil || !found || m != (Member{ReadSeq: 2, DeliveredSeq: 2, ReadOthers: 1, Joined: 1, Stamp: 5, Moved: 5}) {
		t.Errorf("member %+v, %v, %v", m, found, err)
	}

	w := newWriter(s)
	tx := w.begin()
	// The store's key is what it was, so its client message ids are known.
	s.idHash = hashKey{1, 2}.hash // as in TestFormat
	if seq, found, err := tx.FindByClientID("d:alice:bob", "bob", "second"); err != nil || !found || seq != 2 {
		t.Errorf("client message id: %d, %v, %v", seq, found, err)
	}
	wire, err := tx.Message("d:alice:bob", 2)
	check(t, err)
	m := new(pb.Message)
	check(t, proto.Unmarshal(wire, m))
	m.State, m.Body, m.ChangedSeq = pb.MessageState_MESSAGE_STATE_RECALLED, nil, 3
	check(t, errors.Join(
		tx.Rewrite(w.next(m.Conversation), m, encode(m)),
		tx.PutGone(w.next(m.Conversation), m.Conversation, 2, Gone{Sender: "bob", Counted: true}),
		tx.PutMember(w.next(m.Conversation), "alice", m.Conversation, Member{Membership: &pb.Membership{Blocked: true}}),
		tx.PutBlocked(w.next(m.Conversation), m.Conversation, true),
	))
	check(t, w.commit())
	if h, _, err := s.Head("d:alice:bob"); err != nil || h.Seq != 2 || h.Gone != 2 || !h.Blocked || h.Stamp != 2 {
		t.Errorf("head %+v, %v after a change", h, err)
	}
	if m, _, err := s.Member("alice", "d:alice:bob"); err != nil || !m.Membership.GetBlocked() || m.Joined != 1 {
		t.Errorf("member %+v, %v after a change", m, err)
	}
}

// checkVersion: a program that doesn't know the present format refuses the store.
func checkVersion(t *testing.T, s *Store) {
	t.Helper()
	value, err := s.value(identityKey())
	check(t, err)
	if got := binary.BigEndian.Uint32(value); got != formatVersion {
		t.Errorf("the format is still %d", got)
	}
}

// A store of format 3 has what it had: contacts, which are found by other rows now,
// and the followers of broadcasts: until one comes or goes, as many as the group's
// data say.
func TestFormat3IsOpened(t *testing.T) {
	opts := memOptions(t, vfs.NewMem())
	opts.Partitions = 1
	earlier(t, opts, "format3.txt")
	s := open(t, opts)
	checkVersion(t, s)
	if g, stamp, _, err := s.GroupAt("g:ann:1"); err != nil || g.GetName() != "new" || stamp != 0x20 {
		t.Errorf("the group is %v of %d, %v", g, stamp, err)
	}
	const news = "g:ann:news"
	g, stamp, _, err := s.GroupAt(news)
	if err != nil || g.GetMembers() != 300 || stamp != 0x2e {
		t.Fatalf("the broadcast is %v of %d, %v", g, stamp, err)
	}
	g = proto.Clone(g).(*pb.Group)
	g.Members++
	w := newWriter(s)
	check(t, errors.Join(w.begin().PutFollowers(w.next(news), g), w.commit()))
	contacts := func(want ...string) {
		t.Helper()
		var got []string
		_, err := s.Contacts("ann", "", 10, func(peer string, m *pb.Membership) error {
			got = append(got, peer+" "+m.Remark)
			return nil
		})
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("contacts %q, %v; want %q", got, err, want)
		}
	}
	contacts("bob new")
	closeStore(t, s)
	s = open(t, opts)
	defer closeStore(t, s)
	w = newWriter(s)
	id := "d:ann:bob"
	check(t, errors.Join(w.begin().PutMember(w.next(id), "ann", id, Member{Membership: &pb.Membership{ContactMs: 1}}), w.commit()))
	contacts() // what was made by Open goes as all do
	if g, stamp, _, err := s.GroupAt(news); err != nil || g.GetMembers() != 301 || stamp != 0x2e {
		t.Errorf("with one more, the broadcast is %v of %d, %v", g, stamp, err)
	}
}
