package msgstore

import (
	"encoding/binary"
	"errors"
	"slices"
)

// errTooMany is returned by a Tx that would have to read more than maxLooks rows to
// say what is unread: any number of messages may be gone past a read cursor, and
// nobody else's command may wait for all of them to be read.
var errTooMany = errors.New("msgstore: too many rows")

// TooMany reports whether a Tx did not say what is unread since that takes too long.
// The Tx goes on.
func TooMany(err error) bool { return errors.Is(err, errTooMany) }

// maxLooks takes a fraction of a millisecond.
const maxLooks = 1024

// Whom messages mention, and which of them are gone: what unread counts and first
// mentions are made of, besides heads and memberships. Rows of both stay as long
// as their messages are kept.

// PutMentions notes that a message by sender, which it wasn't said of before,
// mentions users, or everybody: who else there is, that is.
func (tx *Tx) PutMentions(index uint64, conversation string, seq uint64, sender string, users []string, all bool) error {
	return tx.changeConversation("mentions", index, conversation, func(c *txConversation, row *conversationRow) error {
		row.mentioned = max(row.mentioned, seq)
		c.head.Mentioned = row.mentioned
		for _, user := range users {
			tx.addRow(index, appendMentionKey(nil, c.partition, c.id, user, seq), nil)
		}
		if all {
			tx.addRow(index, appendMentionKey(nil, c.partition, c.id, "", seq), []byte(sender))
		}
		return nil
	})
}

// DropMentions takes PutMentions back.
func (tx *Tx) DropMentions(index uint64, conversation string, seq uint64, users []string, all bool) error {
	c, err := tx.existing("mentions", conversation)
	if err != nil {
		return err
	}
	if err := tx.touch(c.partition, index); err != nil {
		return err
	}
	for _, user := range mentioned(users, all) {
		if err := tx.dropRow(appendMentionKey(nil, c.partition, c.id, user, seq)); err != nil {
			return err
		}
	}
	return nil
}

func mentioned(users []string, all bool) []string {
	if all {
		return append(slices.Clip(users), "")
	}
	return users
}

// Moment is what a user's count is of: it tells, of messages that are gone, which
// were by then.
type Moment struct {
	Stamp  uint64 // the stamp of the newest message; see Head.Stamp
	TimeMs int64  // in Unix milliseconds
}

// FirstMention returns the first seq past after of a message by others that
// mentions the user, or all, and was not gone at a moment; 0 if there is none.
func (s *Store) FirstMention(user, conversation string, after uint64, at Moment) (uint64, error) {
	return firstMention(s.rowsIn, s.row, s.PartitionOf(conversation), user, conversation, after, at)
}

// FirstMention is Store.FirstMention as the Tx leaves it, or an error of TooMany.
func (tx *Tx) FirstMention(user, conversation string, after uint64, at Moment) (uint64, error) {
	get := func(key []byte) ([]byte, uint64, error) {
		value, err := tx.row(key)
		if err != nil || value == nil {
			return nil, 0, err
		}
		return value[stampSize:], stampOf(value), nil
	}
	return firstMention(tx.fewRows(), get, tx.s.PartitionOf(conversation), user, conversation, after, at)
}

func firstMention(
	rowsIn rowsFunc, row func(key []byte) (value []byte, stamp uint64, err error),
	p int, user, conversation string, after uint64, at Moment,
) (first uint64, err error) {
	for _, name := range []string{user, ""} {
		lower := appendMentionKey(nil, p, conversation, name, after+1)
		upper := successor(slices.Clone(lower[:len(lower)-8]))
		err := rowsIn(lower, upper, func(key, value []byte, _ uint64) (bool, error) {
			seq := lastUint64(key)
			if first != 0 && seq >= first {
				return false, nil
			}
			if name == "" && string(value) == user { // who calls on all does not mean themselves
				return true, nil
			}
			value, stamp, err := row(appendSeqKey(nil, p, tableGone, conversation, seq))
			if err != nil {
				return false, err
			}
			if value != nil {
				g, err := decodeGone(value, stamp)
				if err != nil || g.isGone(at) {
					return true, err
				}
			}
			first = seq
			return false, nil
		})
		if err != nil {
			return 0, err
		}
	}
	return first, nil
}

// Gone is a message that is gone, or will be at a time.
type Gone struct {
	Sender  string
	Counted bool // it counts as unread until then
	// ExpiresMs is when its time to live is over, in Unix milliseconds; 0 = never.
	ExpiresMs int64
	// Recalled: a message that is written in the same transaction has made a
	// tombstone of it.
	Recalled bool
	stamp    uint64 // of the row
}

// isGone reports whether that was so at a moment. It goes by the time and not by
// whether anybody has swept up what is over, so that a count depends on nothing
// but its moment.
func (g Gone) isGone(at Moment) bool {
	return g.ExpiresMs != 0 && g.ExpiresMs <= at.TimeMs || g.Recalled && g.stamp <= at.Stamp ||
		g.ExpiresMs == 0 && !g.Recalled // a row of before times and events were kept
}

const (
	goneCounted = 1 << iota
	goneTimed
	goneRecalled
)

func (g Gone) append(dst []byte) []byte {
	flags := byte(0)
	if g.Counted {
		flags |= goneCounted
	}
	if g.ExpiresMs > 0 {
		flags |= goneTimed
	}
	if g.Recalled {
		flags |= goneRecalled
	}
	dst = append(dst, flags)
	if g.ExpiresMs > 0 {
		dst = binary.AppendUvarint(dst, uint64(g.ExpiresMs))
	}
	return append(dst, g.Sender...)
}

func decodeGone(value []byte, stamp uint64) (Gone, error) {
	if len(value) == 0 {
		return Gone{}, errBadRow
	}
	flags, value := value[0], value[1:]
	g := Gone{Counted: flags&goneCounted != 0, Recalled: flags&goneRecalled != 0, stamp: stamp}
	if flags&goneTimed != 0 {
		ms, n := binary.Uvarint(value)
		if n <= 0 {
			return Gone{}, errBadRow
		}
		g.ExpiresMs, value = int64(ms), value[n:]
	}
	g.Sender = string(value)
	return g, nil
}

// PutGone notes that a message has become a tombstone, or is to at a time, in
// place of what was noted of it before.
func (tx *Tx) PutGone(index uint64, conversation string, seq uint64, g Gone) error {
	return tx.changeConversation("gone", index, conversation, func(c *txConversation, row *conversationRow) error {
		row.gone = max(row.gone, seq)
		c.head.Gone = row.gone
		return tx.putRow(index, appendSeqKey(nil, c.partition, tableGone, c.id, seq), g.append(nil))
	})
}

// GoneBetween returns how many messages in (after, upto] counted as unread, were
// gone at a moment, and were not sent by except. Those that retention has removed
// are not among them. It reads all that PutGone noted in between.
func (s *Store) GoneBetween(conversation, except string, after, upto uint64, at Moment) (uint64, error) {
	return countGone(s.rowsIn, s.PartitionOf(conversation), conversation, except, after, upto, at)
}

// GoneBetween is Store.GoneBetween as the Tx leaves it, or an error of TooMany.
func (tx *Tx) GoneBetween(conversation, except string, after, upto uint64, at Moment) (uint64, error) {
	c, err := tx.existing("gone", conversation)
	if err != nil {
		return 0, err
	}
	return countGone(tx.fewRows(), c.partition, conversation, except, max(after, c.head.MinSeq-1), upto, at)
}

// fewRows is rowsIn for maxLooks rows in all.
func (tx *Tx) fewRows() rowsFunc {
	looks := 0
	return func(lower, upper []byte, f rowFunc) error {
		err := tx.rowsIn(lower, upper, func(key, value []byte, stamp uint64) (bool, error) {
			if looks++; looks > maxLooks {
				return false, nil
			}
			return f(key, value, stamp)
		})
		if err == nil && looks > maxLooks {
			err = errTooMany
		}
		return err
	}
}

func countGone(rowsIn rowsFunc, p int, conversation, except string, after, upto uint64, at Moment) (n uint64, err error) {
	if upto <= after {
		return 0, nil
	}
	lower, upper := appendSeqKey(nil, p, tableGone, conversation, after+1), appendSeqKey(nil, p, tableGone, conversation, upto+1)
	err = rowsIn(lower, upper, func(_, value []byte, stamp uint64) (bool, error) {
		g, err := decodeGone(value, stamp)
		if err == nil && g.Counted && g.Sender != except && g.isGone(at) {
			n++
		}
		return true, err
	})
	return n, err
}
