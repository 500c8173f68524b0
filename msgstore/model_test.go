package msgstore

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"google.golang.org/protobuf/encoding/protowire"
	"pgregory.net/rapid"

	"github.com/godwit-im/godwit/protocol"
	"github.com/godwit-im/godwit/protocol/pb"
)

// model is what a store should hold.
type model struct {
	conversations map[string]*modelConversation
	rows          modelRows
	applied       []uint64
}

type modelConversation struct {
	created  uint64
	messages []modelMessage // all that ever were, from seq 1
	min      uint64
	members  map[string]Member
	// Of Head.
	mentioned, gone, left uint64
	blocked               bool
}

type modelMessage struct {
	m     *pb.Message
	wire  []byte
	stamp uint64
}

func newModel(partitions int) *model {
	return &model{conversations: make(map[string]*modelConversation), rows: make(modelRows), applied: make([]uint64, partitions)}
}

func (m *model) clone() *model {
	c := &model{conversations: make(map[string]*modelConversation), rows: maps.Clone(m.rows), applied: slices.Clone(m.applied)}
	for id, conv := range m.conversations {
		cc := *conv
		cc.messages = slices.Clone(conv.messages)
		cc.members = maps.Clone(conv.members)
		c.conversations[id] = &cc
	}
	return c
}

func (c *modelConversation) head() Head {
	h := Head{MinSeq: c.min, Stamp: c.created, Mentioned: c.mentioned, Gone: c.gone, Blocked: c.blocked, Left: c.left}
	if n := len(c.messages); n > 0 {
		last := c.messages[n-1]
		h = Head{
			Seq: last.m.Seq, ID: last.m.Id, TimeMs: last.m.TimeMs, Count: last.m.Count, Sender: last.m.Sender,
			SenderCount: last.m.SenderCount, MinSeq: c.min, Stamp: last.stamp,
			Shown: cmp.Or(last.m.ShownSeq, last.m.Seq), Mentioned: c.mentioned, Gone: c.gone, Blocked: c.blocked, Left: c.left,
		}
	}
	return h
}

// find returns the seq of the kept message with a client message id.
func (c *modelConversation) find(sender, client string) uint64 {
	for _, msg := range c.messages[c.min-1:] {
		if msg.m.Sender == sender && msg.m.ClientId == client {
			return msg.m.Seq
		}
	}
	return 0
}

// encoded is what Range should return for [lo, hi].
func (c *modelConversation) encoded(lo, hi uint64) []byte {
	var b []byte
	for seq := lo; seq <= hi; seq++ {
		b = protowire.AppendBytes(protowire.AppendTag(b, 1, protowire.BytesType), c.messages[seq-1].wire)
	}
	return b
}

// machine drives a store and the model of it with the same commands.
type machine struct {
	opts  Options
	disk  *vfs.MemFS
	s     *Store
	hash  func([]byte) uint64 // of client message ids; nil = the store's
	slots int                 // of changes; 0 = the store's number

	committed, pending *model // pending is committed and the changes of tx
	tx                 *Tx    // nil = none in progress
	now                int64
}

var modelUsers = []string{"a", "b", "c", "bb"}

func (m *machine) open(t *rapid.T) {
	m.opts.FS = m.disk
	s, err := Open(m.opts)
	if err != nil {
		t.Fatal(err)
	}
	if m.hash != nil {
		s.idHash = m.hash
	}
	if m.slots > 0 {
		for p := range s.parts {
			s.parts[p].changes.newest = s.parts[p].changes.newest[:m.slots]
		}
	}
	m.s = s
}

func (m *machine) begin() {
	if m.tx == nil {
		m.tx = m.s.Begin()
		m.pending = m.committed.clone()
	}
}

func (m *machine) next(conversation string) uint64 {
	p := m.s.PartitionOf(conversation)
	m.pending.applied[p]++
	return m.pending.applied[p]
}

func drawPair(t *rapid.T) (from, to, conversation string) {
	from = rapid.SampledFrom(modelUsers).Draw(t, "from")
	to = rapid.SampledFrom(modelUsers).Filter(func(u string) bool { return u != from }).Draw(t, "to")
	return from, to, protocol.DirectID(from, to)
}

func drawConversation(t *rapid.T) string {
	_, _, id := drawPair(t)
	if rapid.Bool().Draw(t, "group") {
		id = rapid.SampledFrom(modelGroups).Draw(t, "conversation")
	}
	return id
}

func (m *machine) Send(t *rapid.T) {
	from, to, id := drawPair(t)
	client := fmt.Sprintf("client%d", rapid.IntRange(1, 30).Draw(t, "client"))
	m.begin()
	c := m.pending.conversations[id]
	if c != nil {
		seq, found, err := m.tx.FindByClientID(id, from, client)
		want := c.find(from, client)
		if err != nil || found != (want > 0) || seq != want {
			t.Fatalf("FindByClientID(%s, %s, %s) = %d, %v, %v; want %d", id, from, client, seq, found, err, want)
		}
		if found {
			wire, err := m.tx.Message(id, seq)
			if err != nil || string(wire) != string(c.messages[seq-1].wire) {
				t.Fatalf("Message(%s, %d) = %x, %v", id, seq, wire, err)
			}
			return
		}
	}
	index := m.next(id)
	if c == nil {
		if err := m.tx.Create(index, id, from, to); err != nil {
			t.Fatal(err)
		}
		c = &modelConversation{created: index, min: 1, members: map[string]Member{
			from: {Joined: index, Stamp: index}, to: {Joined: index, Stamp: index},
		}}
		m.pending.conversations[id] = c
	}
	head, exists, err := m.tx.Head(id)
	if err != nil || !exists || head != c.head() {
		t.Fatalf("Head(%s) = %+v, %v, %v; want %+v", id, head, exists, err, c.head())
	}
	m.now += int64(rapid.IntRange(0, 10).Draw(t, "pause"))
	msg := &pb.Message{
		Conversation: id, Seq: head.Seq + 1, Id: m.s.NextID(), Sender: from, ClientId: client, TimeMs: m.now,
		Body: rapid.SliceOfN(rapid.Byte(), 0, 300).Draw(t, "body"), Count: head.Count + 1, SenderCount: head.Count - head.Others(from) + 1,
	}
	wire := encode(msg)
	if rapid.Bool().Draw(t, "unknown field") {
		wire = protowire.AppendString(protowire.AppendTag(wire, 1000, protowire.BytesType), "from the future")
		wire = protowire.AppendFixed32(protowire.AppendTag(wire, 1001, protowire.Fixed32Type), 7)
	}
	if err := m.tx.Append(index, msg, wire); err != nil {
		t.Fatal(err)
	}
	c.messages = append(c.messages, modelMessage{msg, wire, index})
}

func (m *machine) Mark(t *rapid.T) {
	user, _, id := drawPair(t)
	m.begin()
	row, found, err := m.tx.Member(user, id)
	c := m.pending.conversations[id]
	if err != nil || found != (c != nil) || found && !sameMember(row, c.members[user]) {
		t.Fatalf("Member(%s, %s) = %+v, %v, %v", user, id, row, found, err)
	}
	if !found {
		return
	}
	index := m.next(id)
	row.ReadSeq = rapid.Uint64Range(0, c.head().Seq).Draw(t, "read")
	row.DeliveredSeq = c.head().Seq
	row.ReadOthers = row.ReadSeq / 2
	if err := m.tx.PutMember(index, user, id, row); err != nil {
		t.Fatal(err)
	}
	c.members[user] = put(c.members[user], row, index)
}

// put is row as it is found when it was put at index in the place of was.
func put(was, row Member, index uint64) Member {
	row.Stamp, row.Joined, row.Moved = index, was.Joined, was.Moved
	if row.ReadSeq != was.ReadSeq || row.DeliveredSeq != was.DeliveredSeq {
		row.Moved = index
	}
	if row.ReadSeq == 0 && row.DeliveredSeq == 0 {
		row.Moved = 0
	}
	return row
}

func (m *machine) Trim(t *rapid.T) {
	id := drawConversation(t)
	m.begin()
	c := m.pending.conversations[id]
	if c == nil {
		return
	}
	below := rapid.Uint64Range(0, c.head().Seq+2).Draw(t, "below")
	index := m.next(id)
	n, err := m.tx.Trim(index, id, below)
	if err != nil {
		t.Fatal(err)
	}
	min := max(c.min, min(below, c.head().Seq+1))
	if n != int(min-c.min) {
		t.Fatalf("Trim(%s, %d) = %d; want %d", id, below, n, min-c.min)
	}
	c.min = min
	m.pending.trimRows(id, min)
}

// Rows runs some commands about rows.
func (m *machine) Rows(t *rapid.T) {
	m.begin()
	r := &rowCommands{
		tx: m.tx, m: m.pending, next: m.next, id: m.s.NextID, now: m.now,
		rnd: rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "rows"), 0)),
	}
	for range rapid.IntRange(1, 8).Draw(t, "rows commands") {
		if err := r.run(); err != nil {
			t.Fatal(err)
		}
	}
}

func (m *machine) Nothing(t *rapid.T) {
	_, _, id := drawPair(t)
	m.begin()
	m.tx.SetApplied(m.s.PartitionOf(id), m.next(id))
}

func (m *machine) Commit(t *rapid.T) {
	m.begin()
	if err := m.tx.Commit(); err != nil {
		t.Fatal(err)
	}
	m.committed, m.pending, m.tx = m.pending, nil, nil
}

func (m *machine) Discard(*rapid.T) {
	m.begin()
	m.tx.Discard()
	m.pending, m.tx = nil, nil
}

func (m *machine) Flush(t *rapid.T) {
	if err := m.s.db.Flush(); err != nil {
		t.Fatal(err)
	}
}

// Forget has the store flush and forget the client message ids that are in
// files then.
func (m *machine) Forget(t *rapid.T) {
	if err := m.s.flush(); err != nil {
		t.Fatal(err)
	}
}

func (m *machine) Compact(t *rapid.T) {
	if err := m.s.db.Compact(t.Context(), []byte{0}, []byte{0xff, 0xff, 0xff}, true); err != nil {
		t.Fatal(err)
	}
}

// Reopen closes the store, or cuts the power.
func (m *machine) Reopen(t *rapid.T) {
	if m.tx != nil {
		m.Discard(t)
	}
	disk := m.disk
	if rapid.Bool().Draw(t, "power cut") {
		disk = crash(m.disk, rapid.IntRange(0, 100).Draw(t, "unsynced percent"), 1)
	}
	if err := m.s.Close(); err != nil {
		t.Fatal(err)
	}
	m.disk = disk
	m.open(t)
}

// Read reads a part of a conversation.
func (m *machine) Read(t *rapid.T) {
	id := drawConversation(t)
	c := m.committed.conversations[id]
	var (
		from     = rapid.Uint64Range(0, 40).Draw(t, "from")
		until    = rapid.Uint64Range(0, 40).Draw(t, "until")
		backward = rapid.Bool().Draw(t, "backward")
		limit    = rapid.IntRange(0, 40).Draw(t, "limit")
		maxBytes = rapid.IntRange(0, 4000).Draw(t, "max bytes")
	)
	got, err := m.s.Range(id, from, until, backward, limit, maxBytes, []byte("dst"))
	if err != nil {
		t.Fatal(err)
	}
	want := RangeResult{Encoded: []byte("dst")}
	if c != nil {
		want = c.page(from, until, backward, limit, maxBytes)
	}
	if string(got.Encoded) != string(want.Encoded) {
		t.Fatalf("Range returned %x; want %x", got.Encoded, want.Encoded)
	}
	got.Encoded, want.Encoded = nil, nil
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Fatalf("Range returned %+v; want %+v", got, want)
	}
}

// page is Range, done the slow way.
func (c *modelConversation) page(from, until uint64, backward bool, limit, maxBytes int) RangeResult {
	head := c.head().Seq
	res := RangeResult{Head: head, Min: c.min}
	var wanted []uint64
	for seq := c.min; seq <= head; seq++ {
		if backward && (from == 0 || seq <= from) && seq >= until || !backward && seq >= from && (until == 0 || seq <= until) {
			wanted = append(wanted, seq)
		}
	}
	if backward {
		slices.Reverse(wanted)
	}
	var got []uint64
	for size := 0; len(got) < len(wanted) && len(got) < limit; {
		seq := wanted[len(got)]
		if size += len(c.encoded(seq, seq)); size > maxBytes && len(got) > 0 {
			break
		}
		got = append(got, seq)
	}
	res.N = len(got)
	res.More = len(got) < len(wanted)
	slices.Sort(got)
	res.Encoded = []byte("dst")
	if len(got) > 0 {
		res.First, res.Last = got[0], got[len(got)-1]
		res.Encoded = append(res.Encoded, c.encoded(res.First, res.Last)...)
	}
	return res
}

func (m *machine) At(t *rapid.T) {
	_, _, id := drawPair(t)
	at := rapid.Int64Range(0, m.now+2).Draw(t, "time")
	got, err := m.s.SeqAtTime(id, at)
	want := uint64(0)
	if c := m.committed.conversations[id]; c != nil {
		want = c.head().Seq + 1
		for seq := c.head().Seq; seq >= c.min; seq-- {
			if c.messages[seq-1].m.TimeMs >= at {
				want = seq
			}
		}
	}
	if err != nil || got != want {
		t.Fatalf("SeqAtTime(%s, %d) = %d, %v; want %d", id, at, got, err, want)
	}
}

// Check compares everything that can be read with the committed model.
func (m *machine) Check(t *rapid.T) {
	if m.tx != nil && rapid.IntRange(0, 3).Draw(t, "check") > 0 {
		return // nothing was committed
	}
	if err := m.committed.compare(m.s); err != nil {
		t.Fatal(err)
	}
}

// compare returns an error if s doesn't hold what the model does.
func (m *model) compare(s *Store) error {
	for p, index := range m.applied {
		if got := s.Applied(p); got != index {
			return fmt.Errorf("partition %d is at %d; want %d", p, got, index)
		}
	}
	for id, c := range m.conversations {
		if err := c.compare(s, id); err != nil {
			return fmt.Errorf("conversation %s: %w", id, err)
		}
	}
	if err := m.compareClientIDs(s); err != nil {
		return err
	}
	if err := m.compareRows(s); err != nil {
		return err
	}
	return m.compareLists(s)
}

// compareClientIDs compares all client message ids that the store knows.
func (m *model) compareClientIDs(s *Store) error {
	want := make(map[string]uint64)
	for id, c := range m.conversations {
		for _, msg := range c.messages[c.min-1:] {
			if msg.m.ClientId == "" {
				continue
			}
			hash, _ := s.hashClientID(nil, id, msg.m.Sender, msg.m.ClientId)
			want[string(appendClientIDKey(nil, s.PartitionOf(id), hash, msg.stamp))] = msg.m.Seq
		}
	}
	got := make(map[string]uint64)
	err := s.scan(nil, nil, func(key, value []byte) (bool, error) {
		if key[2] != tableClientID {
			return true, nil
		}
		d := decoder{b: value}
		got[string(key)] = d.uvarint()
		return true, d.done("client message id")
	})
	if err != nil || !maps.Equal(got, want) {
		return fmt.Errorf("%d client message ids, %w; want %d", len(got), err, len(want))
	}
	return nil
}

func (c *modelConversation) compare(s *Store, id string) error {
	h, exists, err := s.Head(id)
	if err != nil || !exists || h != c.head() {
		return fmt.Errorf("head %+v, %v, %v; want %+v", h, exists, err, c.head())
	}
	r, err := s.Range(id, 0, 0, false, 1<<30, 1<<30, nil)
	if err != nil || r.N != int(h.Seq+1-c.min) || string(r.Encoded) != string(c.encoded(c.min, h.Seq)) {
		return fmt.Errorf("%d messages, %v; want %d to %d", r.N, err, c.min, h.Seq)
	}
	// A few by themselves: a look-up costs far more than its share of a scan.
	for range 5 {
		seq := rand.Uint64N(h.Seq + 2)
		wire, found, err := s.Message(id, seq)
		want := seq >= c.min && seq <= h.Seq
		if err != nil || found != want || found && string(wire) != string(c.messages[seq-1].wire) {
			return fmt.Errorf("message %d: %x, %v, %w", seq, wire, found, err)
		}
	}
	if err := c.compareView(s, id); err != nil {
		return err
	}
	newest := c.head().Stamp
	for _, row := range c.members {
		if protocol.KindOf(id) != protocol.Group {
			newest = max(newest, row.Stamp)
		}
	}
	since := rand.Uint64N(newest)
	if !s.ChangedSince(s.PartitionOf(id), id, since) || !s.ChangedSince(s.PartitionOf(id), id, newest-1) {
		return fmt.Errorf("unchanged since %d or %d; it changed at %d", since, newest-1, newest)
	}
	for user, want := range c.members {
		if protocol.KindOf(id) == protocol.Group {
			newest = want.Stamp
			since = rand.Uint64N(newest)
		}
		if !s.ChangedSince(s.PartitionOf(id), user, since) {
			return fmt.Errorf("unchanged for %s since %d; it changed at %d", user, since, newest)
		}
		if got, found, err := s.Member(user, id); err != nil || !found || !sameMember(got, want) {
			return fmt.Errorf("member %s: %+v, %v, %w; want %+v", user, got, found, err, want)
		}
	}
	return nil
}

// compareView compares what a view returns, whether or not the cache has the
// head.
func (c *modelConversation) compareView(s *Store, id string) (err error) {
	v := s.View()
	heads := s.heads
	defer func() {
		s.heads = heads
		err = errors.Join(err, v.Close())
	}()
	for range 2 {
		h, exists, err := v.Newest(id)
		if err == nil {
			h, err = v.Complete(id, h)
		}
		if err != nil || !exists || h != c.head() {
			return fmt.Errorf("newest %+v, %v, %w; want %+v", h, exists, err, c.head())
		}
		wire, found, err := v.Message(id, h.Seq)
		if err != nil || found != (h.Seq >= c.min && h.Seq > 0) || found && string(wire) != string(c.messages[h.Seq-1].wire) {
			return fmt.Errorf("message %d in a view: %x, %v, %w", h.Seq, wire, found, err)
		}
		for user, want := range c.members {
			if got, found, err := v.Member(user, id); err != nil || !found || !sameMember(got, want) {
				return fmt.Errorf("member %s in a view: %+v, %v, %w; want %+v", user, got, found, err, want)
			}
		}
		s.heads = newHeadCache(s.opts.HeadCache)
	}
	return nil
}

// compareLists compares what the iterations return.
func (m *model) compareLists(s *Store) error {
	got := make(map[string]uint64)
	for p := range m.applied {
		err := s.Conversations(p, func(id string, minSeq uint64) error {
			got[id] = minSeq
			if s.PartitionOf(id) != p {
				return fmt.Errorf("%s is in partition %d", id, p)
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	want := make(map[string]uint64)
	memberships := make(map[string]map[string]Member)
	for id, c := range m.conversations {
		want[id] = c.min
		for user, row := range c.members {
			if memberships[user] == nil {
				memberships[user] = make(map[string]Member)
			}
			memberships[user][id] = row
		}
	}
	if !maps.Equal(got, want) {
		return fmt.Errorf("conversations %v; want %v", got, want)
	}
	for _, user := range modelUsers {
		rows := make(map[string]Member)
		err := s.Members(user, nil, func(id string, row Member) error {
			rows[id] = row
			return nil
		})
		if err != nil || !maps.EqualFunc(rows, memberships[user], sameMember) {
			return fmt.Errorf("memberships of %s: %v, %w; want %v", user, rows, err, memberships[user])
		}
	}
	return nil
}

// TestModel runs random commands, commits, restarts and power cuts.
func TestModel(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		m := &machine{disk: vfs.NewCrashableMem(), committed: newModel(4)}
		m.opts = memOptions(t, nil)
		m.opts.HeadCache = rapid.SampledFrom([]int{1, 3, 64}).Draw(rt, "head cache")
		if rapid.Bool().Draw(rt, "poor hash") {
			m.hash = func(b []byte) uint64 { return uint64(len(b)%2) << 63 }
		}
		m.slots = rapid.SampledFrom([]int{0, 1, 3}).Draw(rt, "slots")
		m.open(rt)
		defer func() {
			if m.tx != nil {
				m.tx.Discard()
			}
			closeStore(t, m.s)
		}()
		rt.Repeat(map[string]func(*rapid.T){
			"send": m.Send, "send more": m.Send, "mark": m.Mark, "trim": m.Trim, "nothing": m.Nothing,
			"commit": m.Commit, "discard": m.Discard, "flush": m.Flush, "forget": m.Forget, "compact": m.Compact, "reopen": m.Reopen,
			"rows": m.Rows, "more rows": m.Rows, "read": m.Read, "at": m.At, "": m.Check,
		})
	})
}
