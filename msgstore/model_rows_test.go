package msgstore

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"

	"github.com/godwit-im/godwit/protocol"
	"github.com/godwit-im/godwit/protocol/pb"
)

// What the model knows of rows: each under what names it, in one map.
type modelRow struct {
	table              byte
	conversation, user string
	key                string // of a reaction; where a follow-up goes
	seq                uint64 // or index
	n                  int
	ms                 int64
}

type modelRows map[modelRow]rowFacts

type rowFacts struct {
	stamp uint64
	text  string
	gone  Gone // of tableGone
}

const modelBroadcast = "g:c:7"

var (
	modelGroups    = []string{"g:a:1", "g:bb:1", modelBroadcast}
	modelReactions = []string{"+1", "\U0001f600"}
)

// rowCommands runs commands about rows against a Tx and the model of it.
type rowCommands struct {
	tx   *Tx
	m    *model
	next func(conversation string) uint64
	id   func() uint64
	now  int64
	rnd  *rand.Rand
}

func (r *rowCommands) user() string { return modelUsers[r.rnd.IntN(len(modelUsers))] }

func (r *rowCommands) put(index uint64, k modelRow, text string) {
	r.m.rows[k] = rowFacts{stamp: index, text: text}
}

func (r *rowCommands) drop(k modelRow) { delete(r.m.rows, k) }

// run runs one, about a group, which it may have to make, or another conversation
// that there is.
func (r *rowCommands) run() error {
	id := modelGroups[r.rnd.IntN(len(modelGroups))]
	if r.rnd.IntN(3) == 0 {
		all := slices.Sorted(maps.Keys(r.m.conversations))
		id = append(all, id)[r.rnd.IntN(len(all)+1)]
	}
	c := r.m.conversations[id]
	if c == nil {
		index := r.next(id)
		r.m.conversations[id] = &modelConversation{created: index, min: 1, members: make(map[string]Member)}
		return r.tx.Create(index, id)
	}
	switch op := r.rnd.IntN(15); {
	case op < 4 || len(c.messages) < int(c.min):
		return r.send(id, c)
	case op < 9:
		return r.change(id, c, op)
	case op == 9:
		return r.member(id, c)
	case op == 10 && strings.HasPrefix(id, "g:"):
		return r.group(id)
	case op < 12:
		return r.followUp(id)
	case op == 12:
		user, ms, index := r.user(), r.rnd.Int64N(1000), r.next(id)
		r.put(index, modelRow{table: tableSeen, conversation: id, user: user}, fmt.Sprint(ms))
		// The key names no conversation, so others of the partition share the row.
		for k := range r.m.rows {
			if k.table == tableSeen && k.user == user && k.conversation != id && r.tx.s.PartitionOf(k.conversation) == r.tx.s.PartitionOf(id) {
				r.put(index, k, fmt.Sprint(ms))
			}
		}
		return r.tx.PutSeen(index, id, user, ms)
	case op == 13:
		c.left = uint64(len(c.messages))
		return r.tx.PutLeft(r.next(id), id)
	default:
		return r.delete(id, c)
	}
}

// group changes a group's data or, in that which is a broadcast, perhaps no more
// than the number of its followers.
func (r *rowCommands) group(id string) error {
	g := &pb.Group{Conversation: id, Name: fmt.Sprint(r.rnd.IntN(1000))}
	data, followers := modelRow{table: tableGroup, conversation: id}, modelRow{table: tableFollowers, conversation: id}
	index := r.next(id)
	if id != modelBroadcast {
		r.put(index, data, g.Name)
		return r.tx.PutGroup(index, g)
	}
	g.Kind, g.Members = pb.GroupKind_GROUP_KIND_BROADCAST, r.rnd.Uint32()
	r.put(index, followers, fmt.Sprint(g.Members))
	now, exists, err := r.tx.Group(id)
	if err != nil || !exists || r.rnd.IntN(2) == 0 {
		r.put(index, data, g.Name)
		return errors.Join(err, r.tx.PutGroup(index, g))
	}
	g.Name = now.Name
	return r.tx.PutFollowers(index, g)
}

func (r *rowCommands) send(id string, c *modelConversation) error {
	index := r.next(id)
	h := c.head()
	sender := r.user()
	if direct, ok := strings.CutPrefix(id, "d:"); ok {
		sender, _, _ = strings.Cut(direct, ":")
	}
	msg := &pb.Message{
		Conversation: id, Seq: h.Seq + 1, Id: r.id(), Sender: sender, TimeMs: max(r.now, h.TimeMs), Count: h.Count, SenderCount: h.SenderCount,
		Mentions: modelUsers[:r.rnd.IntN(3)], MentionAll: r.rnd.IntN(5) == 0,
	}
	if h.Sender != sender {
		msg.SenderCount = h.Count - h.SenderCount
	}
	if r.rnd.IntN(3) > 0 {
		msg.ClientId = fmt.Sprint("row", index)
	}
	if h.Seq > 0 && r.rnd.IntN(3) == 0 {
		msg.ShownSeq = h.Shown
	}
	wire := encode(msg)
	c.messages = append(c.messages, modelMessage{m: msg, wire: wire, stamp: index})
	if err := r.tx.Append(index, msg, wire); err != nil {
		return err
	}
	if len(msg.Mentions) > 0 || msg.MentionAll {
		c.mentioned = msg.Seq
		for _, user := range mentioned(msg.Mentions, msg.MentionAll) {
			r.put(index, modelRow{table: tableMention, conversation: id, user: user, seq: msg.Seq}, msg.Sender)
		}
		if err := r.tx.PutMentions(index, id, msg.Seq, msg.Sender, msg.Mentions, msg.MentionAll); err != nil {
			return err
		}
	}
	if r.rnd.IntN(3) > 0 {
		return nil
	}
	// To have an expiry, a message says so.
	msg = proto.Clone(msg).(*pb.Message)
	msg.ExpiresMs = 1 + r.rnd.Int64N(1000)
	r.put(index, modelRow{table: tableExpiry, conversation: id, seq: msg.Seq, ms: msg.ExpiresMs}, "")
	if err := r.tx.PutExpiry(index, id, msg.Seq, msg.ExpiresMs); err != nil {
		return err
	}
	if err := r.putGone(index, id, c, msg.Seq, Gone{Sender: sender, Counted: r.rnd.IntN(2) == 0, ExpiresMs: msg.ExpiresMs}); err != nil {
		return err
	}
	return r.rewrite(index, id, c, msg)
}

func (r *rowCommands) putGone(index uint64, id string, c *modelConversation, seq uint64, g Gone) error {
	c.gone = max(c.gone, seq)
	r.m.rows[modelRow{table: tableGone, conversation: id, seq: seq}] = rowFacts{stamp: index, gone: g}
	return r.tx.PutGone(index, id, seq, g)
}

func (r *rowCommands) rewrite(index uint64, id string, c *modelConversation, msg *pb.Message) error {
	wire := encode(msg)
	old := &c.messages[msg.Seq-1]
	old.m, old.wire = msg, wire
	return r.tx.Rewrite(index, msg, wire)
}

// change changes a message: a reaction, or its end.
func (r *rowCommands) change(id string, c *modelConversation, op int) error {
	seq := c.min + r.rnd.Uint64N(uint64(len(c.messages))-c.min+1)
	if r.rnd.IntN(2) == 0 {
		seq = uint64(len(c.messages))
	}
	got, err := r.tx.Message(id, seq)
	if err != nil || !bytes.Equal(got, c.messages[seq-1].wire) {
		return fmt.Errorf("message %d of %s: %x, %w; want %x", seq, id, got, err, c.messages[seq-1].wire)
	}
	msg := proto.Clone(c.messages[seq-1].m).(*pb.Message)
	index := r.next(id)
	msg.ChangedSeq = uint64(len(c.messages))
	if err := r.keep(index, id, c, seq); err != nil {
		return err
	}
	if op < 7 {
		return r.react(index, id, c, msg)
	}
	if msg.State != pb.MessageState_MESSAGE_STATE_NORMAL {
		msg.RecalledBy = r.user()
		return r.rewrite(index, id, c, msg)
	}
	gone := Gone{Sender: msg.Sender, Counted: r.rnd.IntN(2) == 0, ExpiresMs: msg.ExpiresMs, Recalled: r.rnd.IntN(2) == 0}
	for _, user := range mentioned(msg.Mentions, msg.MentionAll) {
		r.drop(modelRow{table: tableMention, conversation: id, user: user, seq: seq})
	}
	r.drop(modelRow{table: tableExpiry, conversation: id, seq: seq, ms: msg.ExpiresMs})
	maps.DeleteFunc(r.m.rows, func(k modelRow, _ rowFacts) bool {
		return (k.table == tableReaction || k.table == tableReplaced) && k.conversation == id && k.seq == seq
	})
	for _, err := range []error{
		r.putGone(index, id, c, seq, gone),
		r.tx.DropMentions(index, id, seq, msg.Mentions, msg.MentionAll),
		r.tx.DropExpiry(index, id, seq, msg.ExpiresMs),
		r.tx.DropReactions(index, id, seq),
		r.tx.DropReplaced(index, id, seq),
	} {
		if err != nil {
			return err
		}
	}
	msg.State, msg.Mentions, msg.MentionAll = pb.MessageState_MESSAGE_STATE_RECALLED, nil, false
	if err := r.rewrite(index, id, c, msg); err != nil {
		return err
	}
	except, after, upto := r.user(), r.rnd.Uint64N(seq+2), r.rnd.Uint64N(seq+5)
	at := Moment{Stamp: c.messages[len(c.messages)-1].stamp, TimeMs: r.rnd.Int64N(1100)}
	if r.rnd.IntN(2) == 0 {
		at.Stamp = index
	}
	n, err := r.tx.GoneBetween(id, except, after, upto, at)
	if want := r.m.gone(id, except, after, upto, at); err != nil || n != want {
		return fmt.Errorf("in the Tx %d of %s in (%d, %d] are gone, %w; want %d", n, id, after, upto, err, want)
	}
	first, err := r.tx.FirstMention(except, id, after, at)
	if want := r.m.firstMention(except, id, after, at); err != nil || first != want {
		return fmt.Errorf("in the Tx the first mention of %s in %s past %d is %d, %w; want %d", except, id, after, first, err, want)
	}
	return nil
}

// keep keeps a version of a message, as an event at the head would, unless it is
// kept already, or nobody has left since the message was there.
func (r *rowCommands) keep(index uint64, id string, c *modelConversation, seq uint64) error {
	part := []Part{Content, Reactions}[r.rnd.IntN(2)]
	k := modelRow{table: tableReplaced, conversation: id, key: string(part), seq: seq, n: len(c.messages)}
	if _, kept := r.m.rows[k]; kept || c.left < seq {
		return nil
	}
	was := fmt.Sprint("was ", r.rnd.IntN(1000))
	r.put(index, k, was)
	return r.tx.PutReplaced(index, id, seq, part, uint64(k.n), []byte(was))
}

func (r *rowCommands) react(index uint64, id string, c *modelConversation, msg *pb.Message) error {
	k := modelRow{table: tableReaction, conversation: id, user: r.user(), key: modelReactions[r.rnd.IntN(2)], seq: msg.Seq}
	_, want := r.m.rows[k]
	has, err := r.tx.Reacted(id, msg.Seq, k.key, k.user)
	if err != nil || has != want {
		return fmt.Errorf("%+v: %v, %w; want %v", k, has, err, want)
	}
	if r.drop(k); !has {
		r.put(index, k, "")
	}
	if err := r.tx.PutReaction(index, id, msg.Seq, k.key, k.user, !has); err != nil {
		return err
	}
	first, err := r.tx.FirstReactors(id, msg.Seq, k.key, 2)
	all := r.m.reactors(id, msg.Seq, k.key)
	if err != nil || !slices.Equal(first, all[:min(2, len(all))]) {
		return fmt.Errorf("%+v: the first are %v, %w; want those of %v", k, first, err, all)
	}
	return r.rewrite(index, id, c, msg)
}

func (r *rowCommands) member(id string, c *modelConversation) error {
	user := r.user()
	if rest, ok := strings.CutPrefix(id, "d:"); ok {
		a, b, _ := strings.Cut(rest, ":")
		user = []string{a, b}[r.rnd.IntN(2)]
	}
	row, exists, err := r.tx.Member(user, id)
	want, wanted := c.members[user]
	if err != nil || exists != wanted || exists && !sameMember(row, want) {
		return fmt.Errorf("member %s of %s: %+v, %v, %w; want %+v, %v", user, id, row, exists, err, want, wanted)
	}
	index := r.next(id)
	row.Membership = &pb.Membership{Nick: "n"}
	if protocol.KindOf(id) == protocol.Group {
		row.Membership.Standing = pb.Standing(r.rnd.IntN(6))
	} else {
		row.Membership.Contact = pb.ContactState(r.rnd.IntN(4))
		row.Membership.Remark = []string{"", "", "r"}[r.rnd.IntN(3)]
		row.Membership.ContactMs = int64(r.rnd.IntN(3))
		row.Membership.Blocked = r.rnd.IntN(4) == 0
		if c.blocked != row.Membership.Blocked {
			c.blocked = row.Membership.Blocked
			if err := r.tx.PutBlocked(index, id, c.blocked); err != nil {
				return err
			}
		}
	}
	if err := r.tx.PutMember(index, user, id, row); err != nil {
		return err
	}
	if row = put(want, row, index); !exists || memberClass(id, want) != classActive && memberClass(id, row) == classActive {
		row.Joined = index
	}
	c.members[user] = row
	return nil
}

func (r *rowCommands) followUp(id string) error {
	index := r.next(id)
	var kept []modelRow
	for k := range r.m.rows {
		if k.table == tableFollowUp && k.conversation == id {
			kept = append(kept, k)
		}
	}
	if len(kept) > 0 && r.rnd.IntN(2) == 0 {
		k := slices.MinFunc(kept, func(a, b modelRow) int { return cmp.Compare(a.seq, b.seq) })
		r.drop(k)
		return r.tx.DropFollowUp(index, id, k.seq, k.n)
	}
	to := protocol.SystemID(r.user())
	n := r.rnd.IntN(256)
	r.put(index, modelRow{table: tableFollowUp, conversation: id, key: to, seq: index, n: n}, "notice")
	return r.tx.PutFollowUp(index, id, n, to, []byte("notice"))
}

func (r *rowCommands) delete(id string, c *modelConversation) error {
	index, user := r.next(id), r.user()
	if r.rnd.IntN(4) == 0 {
		upto := r.rnd.Uint64N(uint64(len(c.messages)) + 1)
		maps.DeleteFunc(r.m.rows, func(k modelRow, _ rowFacts) bool {
			return k.table == tableDeleted && k.user == user && k.conversation == id && k.seq <= upto
		})
		return r.tx.DropDeleted(index, user, id, upto)
	}
	seqs := []uint64{1 + r.rnd.Uint64N(uint64(len(c.messages))), 1 + r.rnd.Uint64N(300)}
	for _, seq := range seqs {
		k := modelRow{table: tableDeleted, conversation: id, user: user, seq: seq}
		_, want := r.m.rows[k]
		if got, err := r.tx.IsDeleted(user, id, seq); err != nil || got != want {
			return fmt.Errorf("%+v: %v, %w; want %v", k, got, err, want)
		}
	}
	for _, seq := range seqs { // they may be the same
		k := modelRow{table: tableDeleted, conversation: id, user: user, seq: seq}
		if _, noted := r.m.rows[k]; !noted {
			r.put(index, k, "")
		}
	}
	total, err := r.tx.PutDeleted(index, user, id, seqs)
	if want := len(r.m.deleted(user, id, 0)); err != nil || total != want {
		return fmt.Errorf("%s has deleted %d of %s, %w; want %d", user, total, id, err, want)
	}
	return nil
}

func sameMember(a, b Member) bool {
	same := proto.Equal(a.Membership, b.Membership)
	a.Membership, b.Membership = nil, nil
	return same && a == b
}

// What the store should answer, found the slow way.

func (m *model) gone(id, except string, after, upto uint64, at Moment) (n uint64) {
	for k, v := range m.rows {
		if k.table == tableGone && k.conversation == id && k.seq > after && k.seq <= upto &&
			v.gone.Counted && v.gone.Sender != except && v.isGone(at) {
			n++
		}
	}
	return n
}

// isGone says of a row of tableGone whether its message was gone at a moment.
func (r rowFacts) isGone(at Moment) bool {
	expired := r.gone.ExpiresMs > 0 && at.TimeMs >= r.gone.ExpiresMs
	if r.gone.Recalled {
		return expired || at.Stamp >= r.stamp
	}
	return expired || r.gone.ExpiresMs == 0
}

func (m *model) reactors(id string, seq uint64, key string) (users []string) {
	for k := range m.rows {
		if k.table == tableReaction && k.conversation == id && k.seq == seq && k.key == key {
			users = append(users, k.user)
		}
	}
	slices.Sort(users)
	return users
}

func (m *model) deleted(user, id string, since uint64) (seqs []uint64) {
	for k, v := range m.rows {
		if k.table == tableDeleted && k.conversation == id && k.user == user && v.stamp > since {
			seqs = append(seqs, k.seq)
		}
	}
	slices.Sort(seqs)
	return seqs
}

func (m *model) firstMention(user, id string, after uint64, at Moment) (first uint64) {
	for k, v := range m.rows {
		calls := k.user == user || k.user == "" && v.text != user
		gone, noted := m.rows[modelRow{table: tableGone, conversation: id, seq: k.seq}]
		if k.table == tableMention && k.conversation == id && calls && k.seq > after && (first == 0 || k.seq < first) &&
			(!noted || !gone.isGone(at)) {
			first = k.seq
		}
	}
	return first
}

func (m *model) replaced(id string, seq uint64, part Part, after uint64) (was []byte) {
	first := 0
	for k, v := range m.rows {
		if k.table == tableReplaced && k.conversation == id && k.seq == seq && k.key == string(part) &&
			uint64(k.n) > after && (first == 0 || k.n < first) {
			first, was = k.n, []byte(v.text)
		}
	}
	return was
}

// trimRows forgets what the messages below min had beside them.
func (m *model) trimRows(id string, min uint64) {
	maps.DeleteFunc(m.rows, func(k modelRow, _ rowFacts) bool {
		switch k.table {
		case tableMention, tableGone, tableReaction, tableExpiry, tableReplaced:
			return k.conversation == id && k.seq < min
		}
		return false
	})
}
