package msgstore

import (
	"bytes"
	"errors"

	"github.com/cockroachdb/pebble/v2"

	"github.com/godwit-im/godwit/protocol"
)

// Message returns the encoding of a message, and whether it is kept. The
// result is the caller's.
func (s *Store) Message(conversation string, seq uint64) ([]byte, bool, error) {
	h, exists, err := s.Head(conversation)
	if err != nil || !exists || seq < h.MinSeq || seq > h.Seq {
		return nil, false, err
	}
	wire, found, err := s.message(conversation, seq)
	if err != nil || found {
		return wire, found, err
	}
	minSeq, err := s.minSeq(conversation)
	if err == nil && seq >= minSeq {
		err = missing(conversation, seq)
	}
	return nil, false, err
}

// message reads a message as Pebble shows it, durable or not, but for a version
// that a commit in progress is about to replace.
func (s *Store) message(conversation string, seq uint64) (wire []byte, found bool, err error) {
	key := appendMessageKey(nil, s.PartitionOf(conversation), conversation, seq)
	found, err = s.get(key, func(value []byte) error {
		if len(value) < stampSize {
			return errBadMessage
		}
		wire = bytes.Clone(s.durableWire(key, value))
		return nil
	})
	return wire, found, err
}

// RangeResult is a page of a conversation.
type RangeResult struct {
	// Encoded is the dst that Range was given, with the messages appended.
	Encoded []byte
	// N is the number of messages, First and Last their seqs.
	N           int
	First, Last uint64
	// More: the wanted range goes on beyond these messages.
	More bool
	// Head and Min are the conversation's newest and its oldest kept seq.
	Head, Min uint64
}

// Range reads messages of a conversation: forward from seq from (0 = the
// oldest kept) or backward from seq from (0 = the newest), until seq until,
// inclusive (0 = no bound), at most limit of them and at most maxBytes of
// encoding, but always one if there is one. In both directions the messages
// are appended to dst in seq order, as the field messages of pb.Pulled, byte
// for byte as they were stored. A conversation that doesn't exist has no
// messages. A message that is missing is an error, never a shorter page.
func (s *Store) Range(conversation string, from, until uint64, backward bool, limit, maxBytes int, dst []byte) (RangeResult, error) {
	res := RangeResult{Encoded: dst}
	h, exists, err := s.Head(conversation)
	if err != nil || !exists {
		return res, err
	}
	lo, hi := from, until
	if backward {
		lo, hi = until, from
	}
	if hi == 0 || hi > h.Seq {
		hi = h.Seq
	}
	for minSeq := h.MinSeq; ; {
		res = RangeResult{Encoded: dst, Head: h.Seq, Min: minSeq}
		hole, err := s.page(conversation, max(lo, minSeq), hi, backward, limit, maxBytes, &res)
		if err != nil || hole == 0 {
			return res, err
		}
		// A message wasn't there. That is fine if retention removed it after
		// the head was read, and the page is read again without it.
		now, err := s.minSeq(conversation)
		if err == nil && hole >= now {
			err = missing(conversation, hole)
		}
		if err != nil {
			return RangeResult{Encoded: dst}, err
		}
		minSeq = now
	}
}

// page appends the messages of [lo, hi], all of them durable, to res, or as
// many from its beginning or end as limit and maxBytes allow. hole is the seq
// of a message that isn't there, 0 if all are.
func (s *Store) page(conversation string, lo, hi uint64, backward bool, limit, maxBytes int, res *RangeResult) (hole uint64, err error) {
	if lo > hi {
		return 0, nil
	}
	if wanted := hi - lo + 1; wanted > uint64(max(0, limit)) {
		res.More = true
		if limit <= 0 {
			return 0, nil
		}
		if backward {
			lo = hi - uint64(limit) + 1
		} else {
			hi = lo + uint64(limit) - 1
		}
	}
	p := s.PartitionOf(conversation)
	it, err := s.db.NewIter(&pebble.IterOptions{
		LowerBound: appendMessageKey(nil, p, conversation, lo),
		UpperBound: appendMessageKey(nil, p, conversation, hi+1),
	})
	if err != nil {
		return 0, readError(err)
	}
	defer func() { err = errors.Join(err, closeIter(it)) }()
	if backward {
		return s.readBackward(it, conversation, lo, hi, maxBytes, res)
	}
	return s.readForward(it, conversation, lo, hi, maxBytes, res)
}

func (s *Store) readForward(it *pebble.Iterator, conversation string, lo, hi uint64, maxBytes int, res *RangeResult) (hole uint64, err error) {
	budget := maxBytes
	seq := lo
	for it.First(); it.Valid(); it.Next() {
		if keySeq(it.Key(), conversation) != seq {
			return seq, nil
		}
		if full, err := s.add(res, it, &budget); err != nil || full {
			return 0, err
		}
		res.First, res.Last = lo, seq
		seq++
	}
	if it.Error() == nil && seq <= hi {
		return seq, nil
	}
	return 0, nil
}

func (s *Store) readBackward(it *pebble.Iterator, conversation string, lo, hi uint64, maxBytes int, res *RangeResult) (hole uint64, err error) {
	budget := maxBytes
	ends := []int{len(res.Encoded)}
	seq := hi
	for it.Last(); it.Valid(); it.Prev() {
		if keySeq(it.Key(), conversation) != seq {
			return seq, nil
		}
		full, err := s.add(res, it, &budget)
		if err != nil {
			return 0, err
		}
		if full {
			lo = seq + 1
			break
		}
		ends = append(ends, len(res.Encoded))
		res.First, res.Last = seq, hi
		seq--
	}
	if it.Error() == nil && seq >= lo {
		return seq, nil
	}
	res.Encoded = reverse(res.Encoded, ends)
	return 0, nil
}

// add appends the message that it is at to res, unless it is over the budget,
// which the first message may be.
func (s *Store) add(res *RangeResult, it *pebble.Iterator, budget *int) (full bool, err error) {
	value, err := it.ValueAndErr()
	if err != nil {
		return false, readError(err)
	}
	if len(value) < stampSize {
		return false, errBadMessage
	}
	wire := s.durableWire(it.Key(), value)
	*budget -= protocol.SizeStored(len(wire))
	if *budget < 0 && res.N > 0 {
		res.More = true
		return true, nil
	}
	res.Encoded = protocol.AppendStored(res.Encoded, wire)
	res.N++
	return false, nil
}

// reverse puts the pieces of b that end at ends[1:], the first beginning at
// ends[0], into the opposite order.
func reverse(b []byte, ends []int) []byte {
	n := len(b)
	for i := len(ends) - 1; i > 0; i-- {
		b = append(b, b[ends[i-1]:ends[i]]...)
	}
	copy(b[ends[0]:], b[n:])
	return b[:n]
}
