package client

import (
	"bytes"
	"time"

	"github.com/godwit-im/godwit/protocol/pb"
)

// Log is what the inboxes of a loop have seen of a group. It is one for all of
// them, since a seq must be the same message for everybody: the first inbox that
// gets one checks what it says, the others that theirs is the same.
//
// Those who write in the group send what Draft makes, each from count 0 on and
// in order, and events that change such messages.
type Log struct {
	ID   string
	size int // of bodies, in bytes

	authors map[string]*author
	entries []entry // from seq first on
	first   uint64
	copies  [keptCopies]messageCopy // by seq
}

// entry is a message of a Log.
type entry struct {
	author *author // nil = the server
	count  uint32  // of a text
	kind   pb.Kind // unspecified = its sender alone was told of it yet, by an ack
	sent   time.Duration
}

// messageCopy is a message as it was pushed.
type messageCopy struct {
	seq  uint64
	wire []byte
}

// keptCopies is how many of the newest messages a Log knows byte by byte: more
// than are under way in a group at a time.
const keptCopies = 128

// editBit makes the count of what an edited message says of the count of what it
// said before.
const editBit = 1 << 31

// NewLog returns the log of a group in which messages are due from seq next on,
// with bodies of size bytes.
func NewLog(id string, next uint64, size int) *Log {
	return &Log{ID: id, size: size, authors: map[string]*author{}, first: next}
}

// EditedBody is the body of an EDIT of sender's text with this count.
func EditedBody(sender string, count uint32, now time.Duration, size int) []byte {
	return AppendBody(nil, sender, count|editBit, now, size)
}

// at is the entry at a seq; nil = nobody has it yet.
func (l *Log) at(seq uint64) *entry {
	if seq < l.first || seq >= l.first+uint64(len(l.entries)) {
		return nil
	}
	return &l.entries[seq-l.first]
}

// isCopy reports whether wire is the message at seq as another inbox got it.
func (l *Log) isCopy(seq uint64, wire []byte) bool {
	c := &l.copies[seq%keptCopies]
	return c.seq == seq && bytes.Equal(c.wire, wire)
}

// keep notes a pushed message that was checked.
func (l *Log) keep(seq uint64, wire []byte) {
	c := &l.copies[seq%keptCopies]
	c.seq, c.wire = seq, append(c.wire[:0], wire...)
}

// acked notes that there is a message at seq, whose content its sender's inbox
// is not sent. All before it are known.
func (l *Log) acked(seq uint64) {
	if l.at(seq) == nil {
		l.entries = append(l.entries, entry{})
	}
}

// check compares m with what was seen of its seq, or takes it for what is due
// there. All before it are known.
func (l *Log) check(m *Message) (*entry, error) {
	e := l.at(m.Seq)
	if e == nil {
		l.entries = append(l.entries, entry{})
		e = l.at(m.Seq)
	}
	if e.kind == pb.Kind_KIND_UNSPECIFIED {
		if err := l.begin(e, m); err != nil {
			return nil, err
		}
	}
	switch {
	case e.kind != m.Kind || e.author != l.authors[string(m.Sender)]:
		return nil, violation("%s: seq %d is a %s by %q, and was something else for another member", l.ID, m.Seq, m.Kind, m.Sender)
	case e.kind == pb.Kind_KIND_TEXT:
		return e, l.checkText(e, m)
	case e.kind == pb.Kind_KIND_EDIT:
		return e, l.checkEdit(e, m)
	}
	return e, nil
}

// begin fills the entry of a message that nobody has seen yet.
func (l *Log) begin(e *entry, m *Message) error {
	e.kind = m.Kind
	if m.Kind == pb.Kind_KIND_NOTICE {
		if len(m.Sender) > 0 {
			return violation("%s: seq %d is a notice by %q", l.ID, m.Seq, m.Sender)
		}
		return nil
	}
	a := l.authors[string(m.Sender)]
	if a == nil {
		if len(m.Sender) == 0 {
			return violation("%s: seq %d is a %s by nobody", l.ID, m.Seq, m.Kind)
		}
		a = &author{user: string(m.Sender)}
		a.seed = seed(a.user)
		l.authors[string(m.Sender)] = a
	}
	e.author = a
	if m.Kind == pb.Kind_KIND_TEXT {
		e.count = a.due
		a.due++
	}
	return nil
}

// checkText checks what a text says: what was sent, or edited, unless it was
// recalled.
func (l *Log) checkText(e *entry, m *Message) error {
	switch {
	case m.State == pb.MessageState_MESSAGE_STATE_RECALLED:
		if len(m.Body) > 0 || m.Changed <= m.Seq {
			return violation("%s: seq %d was recalled and has %d bytes, changed by seq %d", l.ID, m.Seq, len(m.Body), m.Changed)
		}
		return nil
	case m.State != pb.MessageState_MESSAGE_STATE_NORMAL:
		return violation("%s: seq %d is in the state %s", l.ID, m.Seq, m.State)
	}
	count := e.count
	if m.Edited != 0 {
		count |= editBit
	}
	sent, ok := readBody(m.Body, e.author.seed, count, l.size)
	if !ok {
		return violation("%s: seq %d does not have the body of message %d", l.ID, m.Seq, count)
	}
	if m.Edited == 0 {
		e.sent = sent
	}
	return nil
}

// checkEdit checks what an EDIT says, which loses its body with its target, or
// to a later one.
func (l *Log) checkEdit(e *entry, m *Message) error {
	target := l.at(m.Target)
	if m.Target >= m.Seq {
		return violation("%s: seq %d edits seq %d", l.ID, m.Seq, m.Target)
	}
	if target == nil || target.kind == pb.Kind_KIND_UNSPECIFIED || m.State != pb.MessageState_MESSAGE_STATE_NORMAL {
		return nil // of before the log, or known to its sender alone
	}
	if _, ok := readBody(m.Body, target.author.seed, target.count|editBit, l.size); !ok || target.author != e.author {
		return violation("%s: seq %d does not have the body of an edit of seq %d", l.ID, m.Seq, m.Target)
	}
	return nil
}
