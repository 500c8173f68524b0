package delivery

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"testing"

	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"github.com/godwit-im/godwit/chat"
	"github.com/godwit-im/godwit/protocol"
	"github.com/godwit-im/godwit/protocol/pb"
)

// known is what a client, or the model, knows of one of ann's conversations.
type known struct {
	head, unread            uint64
	read, delivered         uint64
	peersRead, peersDeliver uint64

	muted    bool   // by the user's settings
	deleted  uint64 // by the user: bit n is seq n
	standing pb.Standing
	version  uint64 // of the group
}

// view is a client's picture of its conversations, made of what it was sent.
type view map[string]known

// agrees reports whether two views show the same. What a group is called is for
// its members: others know what they knew.
func (v view) agrees(w view) bool {
	return maps.EqualFunc(v, w, func(a, b known) bool {
		if a.standing != pb.Standing_STANDING_ACTIVE {
			a.version = b.version
		}
		return a == b
	})
}

// synced takes in the page of a SYNC. A push may have been faster: nothing goes
// back.
func (v view) synced(m *pb.Synced) {
	for _, c := range m.Conversations {
		k := v[c.Conversation]
		if c.HeadSeq >= k.head && c.ReadSeq >= k.read {
			k.unread = c.Unread
		}
		k.head = max(k.head, c.HeadSeq)
		k.read, k.delivered = max(k.read, c.ReadSeq), max(k.delivered, c.DeliveredSeq)
		k.peersRead, k.peersDeliver = max(k.peersRead, c.PeerReadSeq), max(k.peersDeliver, c.PeerDeliveredSeq)
		k.muted, k.standing = c.Membership.GetSettings().GetMuted(), c.Membership.GetStanding()
		k.version = max(k.version, c.Group.GetVersion())
		for _, seq := range c.Deleted {
			k.deleted |= 1 << (seq % 64)
		}
		v[c.Conversation] = k
	}
}

// pushed takes in what was pushed to user.
func (v view) pushed(t testing.TB, user string, frames []protocol.Frame) {
	for _, f := range frames {
		switch f.Type {
		case protocol.TypeMessage:
			m := &pb.Message{}
			decode(t, f, protocol.TypeMessage, m)
			k := v[m.Conversation]
			switch group := protocol.KindOf(m.Conversation) == protocol.Group; {
			case m.Kind == pb.Kind_KIND_NOTICE:
				notice := &pb.Notice{}
				if err := proto.Unmarshal(m.Body, notice); err != nil {
					t.Fatal(err)
				}
				k.version = max(k.version, notice.Group.GetVersion())
			case group && m.Sender == user:
				k.read, k.delivered, k.unread = m.Seq, m.Seq, 0
			case m.Seq > k.head && m.Sender != user:
				k.unread++
			}
			k.head = max(k.head, m.Seq)
			v[m.Conversation] = k
		case protocol.TypeState:
			m := &pb.State{}
			decode(t, f, protocol.TypeState, m)
			v.synced(&pb.Synced{Conversations: []*pb.ConversationState{m.State}})
		case protocol.TypeReceipt:
			m := &pb.Receipt{}
			decode(t, f, protocol.TypeReceipt, m)
			k := v[m.Conversation]
			if m.User == user {
				k.unread = m.Unread
				k.read, k.delivered = max(k.read, m.ReadSeq), max(k.delivered, m.DeliveredSeq)
			} else {
				k.peersRead, k.peersDeliver = max(k.peersRead, m.ReadSeq), max(k.peersDeliver, m.DeliveredSeq)
			}
			v[m.Conversation] = k
		default:
			t.Fatalf("unexpected %s", show(f))
		}
	}
}

// TestSyncModel drives a server and a model of ann's conversations with the same
// messages, marks and trims, while a client of hers syncs page by page.
//
// A SYNC with nothing going on between its pages must report what changed since
// the last one, once, newest first, and nothing else. With things going on,
// what one SYNC and the next report must add up to the truth; and to a client
// that also listens to its pushes the truth must be known at once.
func TestSyncModel(t *testing.T) {
	n := newNode(t)
	run := 0
	rapid.Check(t, func(rt *rapid.T) {
		run++
		m := newSyncModel(t, n, fmt.Sprintf("ann%d", run))
		defer m.close()
		rt.Repeat(map[string]func(*rapid.T){
			"send":   m.send,
			"set":    m.set,
			"delete": m.erase,
			"group":  m.group,
			"mark":   m.mark,
			"trim":   m.trim,
			"page":   m.page,
			"pull":   m.pull,
			"come":   m.come,
			"go":     m.goAway,
			"":       func(rt *rapid.T) { m.check(rt) },
		})
		m.finish(rt)
	})
}

// syncModel is the model, and the two clients that are compared with it.
type syncModel struct {
	t    *testing.T
	node *node
	user string

	truth    view
	messages map[string][]string // by conversation: who wrote each
	minSeq   map[string]uint64
	groups   map[string]*modelGroup
	dirty    map[string]bool // changed since the cursor from which the SYNC under way began
	next     map[string]bool // changed since the SYNC under way began
	disturb  bool            // something happened between its pages
	vague    bool            // dirty may hold what the SYNC before has told

	author    *client // another device of the user, with which it acts
	polling   *client // only syncs
	polled    view
	cursor    []byte
	reported  []string // by the SYNC under way
	times     []int64
	inSync    bool
	listening *client // synced once, then listens
	heard     view

	// A client that comes and goes: it syncs by pages, listens, and misses what
	// is pushed while it is away.
	guest       *client // nil while it is away
	guestSeen   view
	guestCursor []byte // of the last complete SYNC
	guestPage   []byte // of the SYNC under way
	guestKnows  bool   // its SYNC is complete
}

func newSyncModel(t *testing.T, n *node, user string) *syncModel {
	m := &syncModel{
		t: t, node: n, user: user,
		truth: view{}, messages: map[string][]string{}, minSeq: map[string]uint64{}, groups: map[string]*modelGroup{},
		dirty: map[string]bool{}, next: map[string]bool{},
		author: n.connect(user, "author"), polling: n.connect(user, "polling"), polled: view{},
		listening: n.attach(user, "listening", 0), heard: view{}, guestSeen: view{},
	}
	m.heard.synced(m.listening.synced(nil, 0))
	return m
}

func (m *syncModel) close() {
	m.author.disconnect()
	m.polling.disconnect()
	m.listening.detach()
	if m.guest != nil {
		m.guest.detach()
	}
}

// come has the guest connect, or ask for the next page of its SYNC.
func (m *syncModel) come(rt *rapid.T) {
	if m.guest == nil {
		m.guest, m.guestKnows = m.node.attach(m.user, "guest", 0), false
		m.guestPage = m.guestCursor
	}
	if m.guestKnows {
		return
	}
	page := m.guest.synced(m.guestPage, rapid.Uint32Range(1, 3).Draw(rt, "limit"))
	m.guestSeen.synced(page)
	m.guestPage = page.Cursor
	if !page.More {
		m.guestKnows, m.guestCursor = true, page.Cursor
	}
}

func (m *syncModel) goAway(*rapid.T) {
	if m.guest != nil {
		m.guest.detach()
		m.guest = nil
	}
}

func (m *syncModel) peer(rt *rapid.T) (peer, conversation string) {
	peer = fmt.Sprintf("peer%d", rapid.IntRange(0, 7).Draw(rt, "peer"))
	return peer, protocol.DirectID(m.user, peer)
}

// act has user submit a command and tells the model that the conversation has
// changed.
func (m *syncModel) act(user, conversation string, c chat.Command) {
	c.Conversation, c.User = conversation, user
	p := &chat.Proposal{Command: c}
	if user == m.user { // the author's device is the origin and gets no push
		if err := m.author.Begin(inFlight); err != nil {
			m.t.Fatal(err)
		}
		p.Origin, p.InFlight = m.author.Session, inFlight
	}
	if err := m.node.log.Submit(p); err != nil {
		m.t.Fatal(err)
	}
	m.node.submitted++
	m.node.settle()
}

func (m *syncModel) changed(conversation string) {
	if m.inSync {
		m.next[conversation] = true
		m.disturb = true
	} else {
		m.dirty[conversation] = true
	}
}

func (m *syncModel) send(rt *rapid.T) {
	peer, conversation := m.peer(rt)
	from := rapid.SampledFrom([]string{m.user, peer}).Draw(rt, "from")
	m.messages[conversation] = append(m.messages[conversation], from)
	seq := uint64(len(m.messages[conversation]))
	m.act(from, conversation, chat.Command{
		Op: chat.OpSend, ClientID: fmt.Sprint(seq), Kind: pb.Kind_KIND_TEXT, Body: []byte("x"),
	})
	k := m.truth[conversation]
	k.head = seq
	m.truth[conversation] = k
	m.count(conversation)
	m.changed(conversation)
}

func (m *syncModel) mark(rt *rapid.T) {
	peer, conversation := m.peer(rt)
	k, exists := m.truth[conversation]
	if !exists {
		return
	}
	user := rapid.SampledFrom([]string{m.user, peer}).Draw(rt, "user")
	read := rapid.Uint64Range(0, k.head).Draw(rt, "read")
	delivered := rapid.Uint64Range(0, k.head).Draw(rt, "delivered")
	m.act(user, conversation, chat.Command{Op: chat.OpMark, ReadSeq: read, DeliveredSeq: delivered})
	before := k
	if user == m.user {
		k.read = max(k.read, read)
		k.delivered = max(k.delivered, delivered, k.read)
	} else {
		k.peersRead = max(k.peersRead, read)
		k.peersDeliver = max(k.peersDeliver, delivered, k.peersRead)
	}
	if k != before {
		m.truth[conversation] = k
		m.count(conversation)
		m.changed(conversation)
	}
}

func (m *syncModel) trim(rt *rapid.T) {
	_, conversation := m.peer(rt)
	k, exists := m.truth[conversation]
	if !exists || rapid.IntRange(0, 3).Draw(rt, "rarely") > 0 {
		return
	}
	below := rapid.Uint64Range(1, k.head+1).Draw(rt, "below")
	m.act("", conversation, chat.Command{Op: chat.OpTrim, Below: below})
	m.minSeq[conversation] = max(m.minSeq[conversation], below)
	m.count(conversation)
	// Neither news nor a change to SYNC. What a client counted itself is now
	// more than the truth; the server's count comes with the next change.
	for _, v := range []view{m.heard, m.polled, m.guestSeen} {
		if k, ok := v[conversation]; ok {
			k.unread = min(k.unread, m.truth[conversation].unread)
			v[conversation] = k
		}
	}
}

// count counts the unread messages one by one.
func (m *syncModel) count(conversation string) {
	k := m.truth[conversation]
	k.unread = 0
	for i, from := range m.messages[conversation] {
		if seq := uint64(i + 1); seq > k.read && seq >= m.minSeq[conversation] && from != m.user {
			k.unread++
		}
	}
	m.truth[conversation] = k
}

// page has the polling client ask for its next page.
func (m *syncModel) page(rt *rapid.T) {
	if !m.inSync {
		m.inSync, m.disturb = true, false
		m.reported, m.times = nil, nil
		m.next = map[string]bool{}
	}
	limit := rapid.Uint32Range(1, 4).Draw(rt, "limit")
	page := m.polling.synced(m.cursor, limit)
	if len(page.Conversations) > int(limit) || page.Reset_ {
		rt.Fatalf("limit %d: %v", limit, page)
	}
	for _, c := range page.Conversations {
		if !m.disturb && !m.dirty[c.Conversation] {
			rt.Fatalf("%s did not change and was reported", c.Conversation)
		}
		if slices.Contains(m.reported, c.Conversation) && !m.next[c.Conversation] {
			rt.Fatalf("%s was reported twice", c.Conversation)
		}
		m.reported = append(m.reported, c.Conversation)
		group := m.groups[c.Conversation]
		if group != nil {
			group.checkState(rt, c)
			if group.standing != pb.Standing_STANDING_ACTIVE {
				continue // its time goes on without the user
			}
		}
		head, _, err := m.node.store.Head(c.Conversation)
		if err != nil {
			rt.Fatal(err)
		}
		m.times = append(m.times, head.TimeMs)
		if group == nil && (c.Last != nil) != (head.MinSeq <= head.Seq) || group == nil && c.Last != nil && c.Last.Seq != c.HeadSeq {
			rt.Fatalf("%s: head %d, min %d, the preview is %v", c.Conversation, head.Seq, head.MinSeq, c.Last)
		}
	}
	m.polled.synced(page)
	m.cursor = page.Cursor
	if page.More {
		if len(page.Conversations) == 0 {
			rt.Fatal("an empty page with more to come")
		}
		return
	}
	if !m.disturb && !m.vague {
		if want := slices.Sorted(maps.Keys(m.dirty)); !slices.Equal(slices.Sorted(slices.Values(m.reported)), want) {
			rt.Fatalf("reported %v, changed are %v", m.reported, want)
		}
		if !slices.IsSortedFunc(m.times, func(a, b int64) int { return cmp.Compare(b, a) }) {
			rt.Fatalf("not newest first: %v", m.times)
		}
	}
	// Whatever happened meanwhile, this SYNC has told or the next one will.
	m.dirty, m.vague, m.inSync = m.next, m.disturb, false
	m.next = map[string]bool{}
}

// pull compares a PULL of any range with what was written.
func (m *syncModel) pull(rt *rapid.T) {
	_, conversation := m.peer(rt)
	req := &pb.Pull{
		Conversation: conversation,
		From:         rapid.Uint64Range(0, 12).Draw(rt, "from"),
		Until:        rapid.Uint64Range(0, 12).Draw(rt, "until"),
		Backward:     rapid.Bool().Draw(rt, "backward"),
		Limit:        rapid.Uint32Range(1, 5).Draw(rt, "limit"),
	}
	if group := m.anyGroup(rt); group != nil && rapid.Bool().Draw(rt, "of a group") {
		req.Conversation = group.id
		conversation = group.id
	}
	f := m.polling.pull(req)
	first, head := m.bounds(conversation)
	switch {
	case head == 0:
		wantError(m.t, f, pb.Code_CODE_NOT_A_MEMBER)
		return
	case req.From > head+1:
		wantError(m.t, f, pb.Code_CODE_SEQ_OUT_OF_RANGE)
		return
	case req.From > 0 && req.Until > 0 && req.Backward != (req.Until < req.From) && req.Until != req.From:
		wantError(m.t, f, pb.Code_CODE_BAD_ARGUMENT)
		return
	}
	from, until := req.From, req.Until
	if req.Backward {
		from, until = req.Until, req.From
	}
	if until == 0 {
		until = head
	}
	var want []uint64
	for seq := max(from, first); seq <= min(until, head); seq++ {
		want = append(want, seq)
	}
	writers := m.messages[conversation]
	if group := m.groups[conversation]; group != nil {
		writers = group.messages
	}
	more := len(want) > int(req.Limit)
	if more && req.Backward {
		want = want[len(want)-int(req.Limit):]
	} else if more {
		want = want[:req.Limit]
	}
	page := &pb.Pulled{}
	decode(m.t, f, protocol.TypePulled, page)
	var got []uint64
	for _, message := range page.Messages {
		got = append(got, message.Seq)
		deleted := m.truth[conversation].deleted&(1<<(message.Seq%64)) != 0
		if deleted != (message.State == pb.MessageState_MESSAGE_STATE_DELETED) || deleted == (len(message.Body) > 0) {
			rt.Fatalf("deleted: %t, and came as %v", deleted, message)
		}
		if from := writers[message.Seq-1]; message.Sender != from || message.Conversation != conversation {
			rt.Fatalf("seq %d in %s by %s came as %v", message.Seq, conversation, from, message)
		}
	}
	if !slices.Equal(got, want) || page.More != more || page.HeadSeq != head || page.MinSeq != first {
		rt.Fatalf("PULL %v of %d to %d:\n%s\nwant %v, more=%v", req, first, head, show(f), want, more)
	}
}

// check compares the listening client with the truth: always.
func (m *syncModel) check(rt *rapid.T) {
	m.heard.pushed(m.t, m.user, m.listening.wire.take())
	m.polling.wire.take()
	m.author.wire.take()
	if !m.heard.agrees(m.truth) {
		rt.Fatalf("by SYNC and pushes:\n%v\nthe truth:\n%v", m.heard, m.truth)
	}
	if m.guest != nil {
		m.guestSeen.pushed(m.t, m.user, m.guest.wire.take())
		if m.guestKnows && !m.guestSeen.agrees(m.truth) {
			rt.Fatalf("by SYNC in pages and pushes:\n%v\nthe truth:\n%v", m.guestSeen, m.truth)
		}
	}
}

// finish completes the SYNC under way and one more, after which the polling
// client must have the truth, too.
func (m *syncModel) finish(rt *rapid.T) {
	for m.inSync {
		m.page(rt)
	}
	for m.page(rt); m.inSync; {
		m.page(rt)
	}
	if !m.polled.agrees(m.truth) {
		rt.Fatalf("by SYNC alone:\n%v\nthe truth:\n%v", m.polled, m.truth)
	}
}
