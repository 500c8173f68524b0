package msgstore

import (
	"bytes"

	"github.com/cockroachdb/pebble/v2"
)

// View reads for one request with one iterator, as of the moment of its first
// read: all that was applied by then is in it. It belongs to one goroutine and
// keeps what it reads on disk and in memory until it is closed, so it must wait
// for nothing but the disk.
//
// What the view shows and isn't durable yet, and what it doesn't have because it
// is newer, it leaves to the Store. It doesn't fill the cache of heads: what it
// finds may be older than what was evicted from there. So those who come back by
// the thousand don't push out the heads of those who write.
type View struct {
	s            *Store
	it           *pebble.Iterator // nil before the first read
	lower, upper []byte
}

// View returns a view, which the caller closes. That costs nothing as long as
// nothing is read.
func (s *Store) View() *View { return &View{s: s} }

// Close ends the view.
func (v *View) Close() error {
	if v.it == nil {
		return nil
	}
	return closeIter(v.it)
}

// bound makes the iterator go over [v.lower, v.upper).
func (v *View) bound() (err error) {
	if v.it == nil {
		if v.it, err = v.s.db.NewIter(nil); err != nil {
			return readError(err)
		}
	}
	v.it.SetBounds(v.lower, v.upper)
	return nil
}

// get returns the value of key v.lower, durable or not, which is valid until the
// next read; nil if there is none.
func (v *View) get() ([]byte, error) {
	v.upper = append(append(v.upper[:0], v.lower...), 0)
	if err := v.bound(); err != nil {
		return nil, err
	}
	if !v.it.First() {
		return nil, v.failed()
	}
	value, err := v.it.ValueAndErr()
	if err != nil {
		return nil, readError(err)
	}
	return value, nil
}

// failed is the error because of which the iterator isn't valid, if there is one.
func (v *View) failed() error {
	if err := v.it.Error(); err != nil {
		return readError(err)
	}
	return nil
}

// Newest returns the head of a conversation, as Store.Head does, but with a
// MinSeq of 0 where that would have to be looked for: see Complete.
func (v *View) Newest(conversation string) (Head, bool, error) {
	if h, ok := v.s.heads.peek(conversation); ok {
		return h, true, nil
	}
	p := v.s.PartitionOf(conversation)
	v.lower, v.upper = appendMessageBounds(v.lower[:0], v.upper[:0], p, conversation)
	if err := v.bound(); err != nil {
		return Head{}, false, err
	}
	h, err := newestMessage(v.it, conversation, v.s.parts[p].synced.Load())
	if err == nil {
		err = v.failed()
	}
	if err != nil || h.Seq > 0 {
		return h, h.Seq > 0, err
	}
	return v.s.Head(conversation) // only its row can tell
}

// Complete returns h, which Newest has returned, with what only the
// conversation's row tells: MinSeq, Mentioned, Gone, Blocked and Left.
func (v *View) Complete(conversation string, h Head) (Head, error) {
	if h.MinSeq > 0 {
		return h, nil
	}
	p := v.s.PartitionOf(conversation)
	v.lower = appendConversationKey(v.lower[:0], p, conversation)
	value, err := v.get()
	if err != nil {
		return h, err
	}
	row, err := decodeConversationRow(value) // an error if there is none
	if err != nil {
		return h, err
	}
	h.MinSeq, h.Mentioned, h.Gone, h.Blocked, h.Left = row.minSeq, row.mentioned, row.gone, row.blocked, row.left
	if row.stamp > v.s.parts[p].synced.Load() {
		now, _, err := v.s.Head(conversation)
		if err != nil {
			return h, err
		}
		h.MinSeq, h.Mentioned, h.Gone, h.Blocked, h.Left = now.MinSeq, now.Mentioned, now.Gone, now.Blocked, now.Left
	}
	h.MinSeq = min(h.MinSeq, h.Seq+1)
	return h, nil
}

// Message is Store.Message, but may return a message that was removed since.
func (v *View) Message(conversation string, seq uint64) ([]byte, bool, error) {
	p := v.s.PartitionOf(conversation)
	v.lower = appendMessageKey(v.lower[:0], p, conversation, seq)
	value, err := v.get()
	switch {
	case err != nil:
		return nil, false, err
	case value == nil:
		return v.s.Message(conversation, seq)
	case len(value) < stampSize:
		return nil, false, errBadMessage
	case stampOf(value) > v.s.parts[p].synced.Load():
		return v.s.Message(conversation, seq)
	}
	return bytes.Clone(v.s.durableWire(v.lower, value)), true, nil
}

// Member is Store.Member, as of the view or later.
func (v *View) Member(user, conversation string) (Member, bool, error) {
	p := v.s.PartitionOf(conversation)
	v.lower = appendMemberKey(v.lower[:0], p, user, conversation)
	value, err := v.get()
	if err != nil || value == nil {
		return Member{}, false, err
	}
	m, err := decodeMember(value)
	if err == nil && m.Stamp > v.s.parts[p].synced.Load() {
		return v.s.Member(user, conversation)
	}
	return m, err == nil, err
}

// Members calls f for each of a user's memberships in the partitions that in
// picks (nil = all), partition by partition and in the order of the
// conversations, until f returns an error, which it returns. f must not use the
// view.
func (v *View) Members(user string, in func(p int) bool, f func(conversation string, m Member) error) error {
	for p := range v.s.parts {
		if in != nil && !in(p) {
			continue
		}
		v.lower = appendMemberPrefix(v.lower[:0], p, user)
		v.upper = successor(append(v.upper[:0], v.lower...))
		if err := v.bound(); err != nil {
			return err
		}
		for v.it.First(); v.it.Valid(); v.it.Next() {
			if err := v.visitMember(user, string(v.it.Key()[len(v.lower):]), f); err != nil {
				return err
			}
		}
		if err := v.failed(); err != nil {
			return err
		}
	}
	return nil
}

// visitMember calls f with the durable version, if there is one, of the row
// that the iterator is at.
func (v *View) visitMember(user, conversation string, f func(string, Member) error) error {
	value, err := v.it.ValueAndErr()
	if err != nil {
		return readError(err)
	}
	m, err := decodeMember(value)
	if err != nil {
		return err
	}
	if m.Stamp > v.s.parts[v.s.PartitionOf(conversation)].synced.Load() {
		var found bool
		if m, found, err = v.s.Member(user, conversation); err != nil || !found {
			return err
		}
	}
	return f(conversation, m)
}
