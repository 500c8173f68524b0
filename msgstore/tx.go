package msgstore

import (
	"bytes"
	"fmt"

	"github.com/cockroachdb/pebble/v2"

	"github.com/godwit-im/godwit/protocol"
	"github.com/godwit-im/godwit/protocol/pb"
)

// Tx collects the changes of one commit. It belongs to its writer's goroutine.
// Its reads see its own changes, and everything that its writer committed
// before. An error means that the disk fails or that the caller broke a rule;
// after one, Commit fails too.
//
// The strings of messages, ids and wires that a Tx is given must not change
// until it ends.
type Tx struct {
	s     *Store
	batch *pebble.Batch // empty until seal, but for what Trim removes
	err   error         // the first one

	conversations map[string]*txConversation
	appended      []*txConversation // that have messages
	rewritten     []*txConversation // whose rows will be in the batch
	members       map[memberID]*txMember
	changed       []*txMember        // whose rows will be
	rows          []*txRow           // that are changed, in the order of their keys
	groups        map[string]groupAt // whose data are
	parts         []txPartition      // by partition
	touched       []int              // the partitions that have an index
	key           []byte             // scratch

	ids      []ownID        // the client message ids of what was appended
	idByHash map[uint64]int // in ids, the last one of a hash
	lastHash hashed
	files    *pebble.Iterator // see newFileIter; nil until it is needed
	flushed  uint64           // flushes.ended before files was opened

	spare []*txConversation // to be used again
}

// txConversation is a conversation that a Tx read or changed.
type txConversation struct {
	id        string
	partition int
	prior     priorHead // when the Tx began
	head      Head
	exists    bool
	changed   bool
	row       conversationRow
	rewritten bool        // row is set, and will be in the batch
	messages  []txMessage // that were appended, from prior.head.Seq+1
}

type txMessage struct {
	stamp     uint64
	wire      []byte
	rewritten bool
}

type txMember struct {
	id      memberID
	prior   priorMember // when the Tx began
	now     Member
	exists  bool
	changed bool
}

type txPartition struct {
	index, maxID uint64
	appended     uint64 // the index of the last message
}

func newTx(s *Store) *Tx {
	return &Tx{
		s:             s,
		conversations: make(map[string]*txConversation),
		members:       make(map[memberID]*txMember),
		groups:        make(map[string]groupAt),
		idByHash:      make(map[uint64]int),
		parts:         make([]txPartition, len(s.parts)),
	}
}

// Begin begins a transaction. It ends with Commit or Discard.
func (s *Store) Begin() *Tx {
	tx := s.txs.Get().(*Tx)
	tx.batch = s.db.NewBatch(pebble.WithMaxRetainedSizeBytes(4 << 20))
	return tx
}

// Discard drops the changes. The Tx is done.
func (tx *Tx) Discard() {
	_ = tx.batch.Close() // only gives its memory back
	tx.batch, tx.err = nil, nil
	if tx.files != nil {
		_ = tx.files.Close() // its error was that of a look-up
		tx.files = nil
	}
	for _, c := range tx.conversations {
		clear(c.messages)
		*c = txConversation{messages: c.messages[:0]}
		if len(tx.spare) < maxSpare && cap(c.messages) <= maxSpareMessages {
			tx.spare = append(tx.spare, c)
		}
	}
	clear(tx.conversations)
	clear(tx.members)
	clear(tx.idByHash)
	tx.appended = emptied(tx.appended)
	tx.rewritten = emptied(tx.rewritten)
	tx.changed = emptied(tx.changed)
	tx.rows = emptied(tx.rows)
	clear(tx.groups)
	tx.ids = emptied(tx.ids)
	tx.lastHash = hashed{}
	for _, p := range tx.touched {
		tx.parts[p] = txPartition{}
	}
	tx.touched = tx.touched[:0]
	tx.s.txs.Put(tx)
}

// What a Tx keeps for the next one is 2 MiB at most.
const (
	maxSpare         = 4096
	maxSpareMessages = 8
)

// emptied lets go of what the elements of s refer to.
func emptied[T any](s []T) []T {
	clear(s)
	return s[:0]
}

// fail keeps the first error for Commit.
func (tx *Tx) fail(err error) error {
	if tx.err == nil {
		tx.err = err
	}
	return err
}

// failed is fail for an error that may be nil.
func (tx *Tx) failed(err error) error {
	if err != nil {
		return tx.fail(err)
	}
	return nil
}

// SetApplied moves a partition's applied index, for commands that change
// nothing. Every change does so by itself.
func (tx *Tx) SetApplied(p int, index uint64) {
	_ = tx.touch(p, index) // Commit returns it
}

func (tx *Tx) touch(p int, index uint64) error {
	if applied := tx.s.parts[p].applied.Load(); index <= applied {
		return tx.fail(fmt.Errorf("msgstore: partition %d: index %d was applied before; it is at %d", p, index, applied))
	}
	part := &tx.parts[p]
	if part.index == 0 {
		tx.touched = append(tx.touched, p)
	}
	part.index = max(part.index, index)
	return nil
}

func (tx *Tx) conversation(conversation string) (*txConversation, error) {
	if c, ok := tx.conversations[conversation]; ok {
		return c, nil
	}
	h, exists, err := tx.s.Head(conversation)
	if err != nil {
		return nil, tx.fail(err)
	}
	c := &txConversation{}
	if n := len(tx.spare); n > 0 {
		c, tx.spare = tx.spare[n-1], tx.spare[:n-1]
	}
	c.id, c.partition = conversation, tx.s.PartitionOf(conversation)
	c.prior, c.head, c.exists = priorHead{h, exists}, h, exists
	tx.conversations[conversation] = c
	return c, nil
}

// existing is conversation, for what can only be done to one that exists.
func (tx *Tx) existing(what, conversation string) (*txConversation, error) {
	c, err := tx.conversation(conversation)
	if err == nil && !c.exists {
		err = tx.fail(fmt.Errorf("msgstore: %s: there is no conversation %q", what, conversation))
	}
	return c, err
}

// ownMessage returns a message that the Tx appended, nil for others.
func (c *txConversation) ownMessage(seq uint64) *txMessage {
	if seq <= c.prior.head.Seq {
		return nil
	}
	return &c.messages[seq-c.prior.head.Seq-1]
}

// Head returns a conversation's head, and whether the conversation exists.
func (tx *Tx) Head(conversation string) (Head, bool, error) {
	c, err := tx.conversation(conversation)
	if err != nil {
		return Head{}, false, err
	}
	return c.head, c.exists, nil
}

// Create makes a conversation, which must not exist, with these members.
func (tx *Tx) Create(index uint64, conversation string, users ...string) error {
	c, err := tx.conversation(conversation)
	if err != nil {
		return err
	}
	if c.exists {
		return tx.fail(fmt.Errorf("msgstore: create: conversation %q exists", conversation))
	}
	if err := tx.touch(c.partition, index); err != nil {
		return err
	}
	c.head = Head{MinSeq: 1, Stamp: index}
	c.exists, c.changed = true, true
	tx.putConversation(c, conversationRow{stamp: index, created: index, minSeq: 1})
	for _, user := range users {
		if err := tx.PutMember(index, user, conversation, Member{}); err != nil {
			return err
		}
	}
	return nil
}

func (tx *Tx) putConversation(c *txConversation, row conversationRow) {
	if c.row = row; !c.rewritten {
		c.rewritten = true
		tx.rewritten = append(tx.rewritten, c)
	}
}

// Message returns the encoding of a message that is kept, as Append was given
// it. The result is the caller's.
func (tx *Tx) Message(conversation string, seq uint64) ([]byte, error) {
	c, err := tx.existing("message", conversation)
	if err != nil {
		return nil, err
	}
	if seq < c.head.MinSeq || seq > c.head.Seq {
		return nil, tx.fail(fmt.Errorf("msgstore: message: %q has seqs %d to %d, not %d", conversation, c.head.MinSeq, c.head.Seq, seq))
	}
	if own := c.ownMessage(seq); own != nil {
		return bytes.Clone(own.wire), nil
	}
	if len(tx.rows) > 0 {
		if i, ok := tx.findRow(appendMessageKey(nil, c.partition, conversation, seq)); ok {
			return bytes.Clone(tx.rows[i].now[stampSize:]), nil
		}
	}
	wire, found, err := tx.s.message(conversation, seq)
	if err == nil && !found {
		err = missing(conversation, seq)
	}
	if err != nil {
		return nil, tx.fail(err)
	}
	return wire, nil
}

// Append appends a message. m.Seq must be the head's plus one, and wire m's
// encoding, which is stored as it is. An index appends one message at most.
func (tx *Tx) Append(index uint64, m *pb.Message, wire []byte) error {
	c, err := tx.existing("append", m.Conversation)
	if err != nil {
		return err
	}
	if m.Seq != c.head.Seq+1 {
		return tx.fail(fmt.Errorf("msgstore: append: seq %d after %d in %q", m.Seq, c.head.Seq, m.Conversation))
	}
	if err := tx.touch(c.partition, index); err != nil {
		return err
	}
	part := &tx.parts[c.partition]
	if index <= part.appended {
		return tx.fail(fmt.Errorf("msgstore: append: index %d in partition %d, after the message at %d", index, c.partition, part.appended))
	}
	part.appended = index
	part.maxID = max(part.maxID, m.Id)
	if m.ClientId != "" { // the server's own messages have none
		hash := tx.hash(m.Conversation, m.Sender, m.ClientId)
		prev, ok := tx.idByHash[hash]
		if !ok {
			prev = -1
		}
		tx.idByHash[hash] = len(tx.ids)
		tx.ids = append(tx.ids, ownID{hash, index, m.Seq, c, prev})
	}
	if len(c.messages) == 0 {
		tx.appended = append(tx.appended, c)
	}
	c.messages = append(c.messages, txMessage{stamp: index, wire: wire})
	c.changed = true
	c.head = Head{
		Seq: m.Seq, ID: m.Id, TimeMs: m.TimeMs, Count: m.Count, Sender: m.Sender, SenderCount: m.SenderCount,
		MinSeq: c.head.MinSeq, Stamp: index,
		Shown: m.Seq, Mentioned: c.head.Mentioned, Gone: c.head.Gone, Blocked: c.head.Blocked, Left: c.head.Left,
	}
	if m.ShownSeq != 0 {
		c.head.Shown = m.ShownSeq
	}
	return nil
}

func (tx *Tx) member(user, conversation string) (*txMember, error) {
	id := memberID{user, conversation}
	if r, ok := tx.members[id]; ok {
		return r, nil
	}
	m, exists, err := tx.s.member(id)
	if err != nil {
		return nil, tx.fail(err)
	}
	r := &txMember{id: id, prior: priorMember{m, exists}, now: m, exists: exists}
	tx.members[id] = r
	return r, nil
}

// Member returns a user's membership, and whether there is one.
func (tx *Tx) Member(user, conversation string) (Member, bool, error) {
	r, err := tx.member(user, conversation)
	if err != nil {
		return Member{}, false, err
	}
	return r.now, r.exists, nil
}

// PutMember changes a user's membership, or makes it. m.Joined, m.Stamp and m.Moved
// are set by the store: Joined is the index at which the row was made or, in a group,
// at which the user became a member last.
func (tx *Tx) PutMember(index uint64, user, conversation string, m Member) error {
	r, err := tx.member(user, conversation)
	if err != nil {
		return err
	}
	if err := tx.touch(tx.s.PartitionOf(conversation), index); err != nil {
		return err
	}
	was := r.now
	m.Stamp, m.Joined, m.Moved = index, was.Joined, was.Moved
	switch {
	case !m.hasCursors():
		m.Moved = 0
	case m.ReadSeq != was.ReadSeq || m.DeliveredSeq != was.DeliveredSeq:
		m.Moved = index
	}
	wasClass, isClass := memberClass(conversation, was), memberClass(conversation, m)
	if !r.exists || isClass == classActive && wasClass != classActive {
		m.Joined = index
	}
	r.now, r.exists = m, true
	if !r.changed {
		r.changed = true
		tx.changed = append(tx.changed, r)
	}
	switch {
	case wasClass != isClass:
		return tx.moveMember(index, user, conversation, wasClass, isClass)
	case protocol.KindOf(conversation) == protocol.Direct:
		return tx.putContact(index, user, conversation, was.Membership, m.Membership)
	case protocol.KindOf(conversation) == protocol.System:
		return tx.putChoice(index, user, conversation, chose(conversation, was), chose(conversation, m))
	}
	return nil
}
