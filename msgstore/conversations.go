package msgstore

import (
	"errors"
	"fmt"
	"slices"

	"github.com/cockroachdb/pebble/v2"
)

// Head returns a conversation's head, and whether the conversation exists.
func (s *Store) Head(conversation string) (Head, bool, error) {
	h, lease, ok := s.heads.get(conversation)
	if ok {
		return h, true, nil
	}
	h, exists, err := s.findHead(conversation)
	if err != nil || !exists {
		s.heads.drop(conversation, lease)
		return Head{}, false, err
	}
	s.heads.fill(conversation, lease, h)
	return h, true, nil
}

// findHead reads a conversation's head from Pebble, as of a moment after it was
// called. Retention may remove the newest message between the look at the row
// and that at the messages, but then the row tells.
func (s *Store) findHead(id string) (Head, bool, error) {
	p := s.PartitionOf(id)
	part := &s.parts[p]
	for {
		synced := part.synced.Load()
		row, found, err := s.findConversation(p, id)
		if err != nil || !found {
			return Head{}, false, err
		}
		if row.stamp > synced {
			if prior, ok := s.inflight.head(id); ok {
				return prior.head, prior.exists, nil
			}
			if row.stamp > part.synced.Load() {
				return Head{}, false, fmt.Errorf("%w: the row of %q has stamp %d, past the applied index", ErrCorrupt, id, row.stamp)
			}
			continue // the commit has ended in between
		}
		newest, err := s.newestMessage(p, id, synced)
		if err != nil {
			return Head{}, false, err
		}
		if newest.Seq == 0 {
			again, _, err := s.findConversation(p, id)
			if err != nil {
				return Head{}, false, err
			}
			if again.stamp != row.stamp {
				continue
			}
		}
		return row.head(newest), true, nil
	}
}

// head completes the newest message that there is to the conversation's head.
func (row conversationRow) head(newest Head) Head {
	h := newest
	if h.Seq == 0 {
		h = row.last
	}
	if h.Seq == 0 {
		h.Stamp = row.created
	}
	h.MinSeq, h.Mentioned, h.Gone, h.Blocked, h.Left = row.minSeq, row.mentioned, row.gone, row.blocked, row.left
	return h
}

// newestMessage returns the newest message with a stamp up to synced, without
// MinSeq; Seq is 0 if there is none.
func (s *Store) newestMessage(p int, id string, synced uint64) (h Head, err error) {
	lower, upper := appendMessageBounds(nil, nil, p, id)
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: lower, UpperBound: upper})
	if err != nil {
		return Head{}, readError(err)
	}
	defer func() { err = errors.Join(err, closeIter(it)) }()
	return newestMessage(it, id, synced)
}

// newestMessage finds it with an iterator over the conversation's messages,
// whose error is left to the caller.
func newestMessage(it *pebble.Iterator, id string, synced uint64) (Head, error) {
	for it.Last(); it.Valid(); it.Prev() {
		value, err := it.ValueAndErr()
		if err != nil {
			return Head{}, readError(err)
		}
		if len(value) < stampSize {
			return Head{}, errBadMessage
		}
		if stampOf(value) > synced {
			continue
		}
		m, err := decodeMessage(value[stampSize:])
		if err == nil && m.head.Seq != keySeq(it.Key(), id) {
			err = errBadMessage
		}
		if err != nil {
			return Head{}, fmt.Errorf("message %d of %q: %w", keySeq(it.Key(), id), id, err)
		}
		m.head.Sender = string(m.sender)
		m.head.Stamp = stampOf(value)
		return m.head, nil
	}
	return Head{}, nil
}

// changeConversation changes the row of a conversation that exists.
func (tx *Tx) changeConversation(what string, index uint64, conversation string, change func(c *txConversation, row *conversationRow) error) error {
	c, err := tx.existing(what, conversation)
	if err != nil {
		return err
	}
	if err := tx.touch(c.partition, index); err != nil {
		return err
	}
	row := c.row
	if !c.rewritten {
		if row, _, err = tx.s.findConversation(c.partition, c.id); err != nil {
			return tx.fail(err)
		}
	}
	row.stamp = index
	if err := change(c, &row); err != nil {
		return err
	}
	tx.putConversation(c, row)
	c.changed = true
	return nil
}

// PutBlocked notes whether a member of a direct conversation has blocked the
// other one: most messages are spared the look at the members' rows.
func (tx *Tx) PutBlocked(index uint64, conversation string, blocked bool) error {
	return tx.changeConversation("blocked", index, conversation, func(c *txConversation, row *conversationRow) error {
		row.blocked, c.head.Blocked = blocked, blocked
		return nil
	})
}

// findConversation reads a conversation's row as Pebble shows it, durable or
// not.
func (s *Store) findConversation(p int, id string) (row conversationRow, found bool, err error) {
	found, err = s.get(appendConversationKey(nil, p, id), func(value []byte) (err error) {
		row, err = decodeConversationRow(value)
		return err
	})
	return row, found, err
}

// minSeq is the oldest seq that is kept, durably or not. Whoever misses a
// message looks here, for retention may have removed it meanwhile.
func (s *Store) minSeq(id string) (uint64, error) {
	row, found, err := s.findConversation(s.PartitionOf(id), id)
	if err == nil && !found {
		err = fmt.Errorf("%w: the row of %q is missing", ErrCorrupt, id)
	}
	return row.minSeq, err
}

// missing is the error for a message that ought to be there.
func missing(conversation string, seq uint64) error {
	return fmt.Errorf("%w: message %d of %q is missing", ErrCorrupt, seq, conversation)
}

// Conversations calls f for each conversation of partition p with the oldest
// seq that is kept, until f returns an error, which it returns. An iterator is
// open meanwhile: f must not wait for anything.
func (s *Store) Conversations(p int, f func(conversation string, minSeq uint64) error) error {
	synced := s.parts[p].synced.Load()
	lower := appendTable(nil, p, tableConversation)
	return s.scan(lower, successor(slices.Clone(lower)), func(key, value []byte) (bool, error) {
		row, err := decodeConversationRow(value)
		if err != nil || row.created > synced {
			return true, err
		}
		return true, f(string(key[len(lower):]), row.minSeq)
	})
}

// SeqAtTime returns the first kept seq whose time is t or later, in Unix
// milliseconds: the head's plus one when there is none, 0 when there is no
// such conversation. It reads about log2(n) of n messages.
func (s *Store) SeqAtTime(conversation string, t int64) (uint64, error) {
	h, exists, err := s.Head(conversation)
	if err != nil || !exists {
		return 0, err
	}
	if h.TimeMs < t {
		return h.Seq + 1, nil
	}
	lo, hi := h.MinSeq, h.Seq // the answer is in here: the head is late enough
	for lo < hi {
		mid := lo + (hi-lo)/2
		early, err := s.earlier(conversation, mid, t)
		if err != nil {
			return 0, err
		}
		if early {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	return lo, nil
}

// earlier reports whether a message's time is before t, or the message has
// been removed.
func (s *Store) earlier(id string, seq uint64, t int64) (bool, error) {
	early := true
	found, err := s.get(appendMessageKey(nil, s.PartitionOf(id), id, seq), func(value []byte) error {
		if len(value) < stampSize {
			return errBadMessage
		}
		m, err := decodeMessage(value[stampSize:])
		early = m.head.TimeMs < t
		return err
	})
	if err != nil || found {
		return early, err
	}
	minSeq, err := s.minSeq(id)
	if err == nil && seq >= minSeq {
		err = missing(id, seq)
	}
	return true, err
}

// Warm reads what applying a SEND will read, so that the writer finds it in
// memory. A conversation or client message id that isn't there is no error,
// and errors are left for the writer to meet.
func (s *Store) Warm(conversation, sender, clientID string) {
	_, _, _ = s.Head(conversation)
	_, _, _ = s.member(memberID{sender, conversation})
	if it, err := s.newFileIter(); err == nil {
		hash, _ := s.hashClientID(nil, conversation, sender, clientID)
		it.SeekPrefixGE(appendClientIDPrefix(nil, s.PartitionOf(conversation), hash))
		_ = it.Close()
	}
}
