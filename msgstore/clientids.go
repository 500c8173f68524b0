package msgstore

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"slices"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2"
	"github.com/dchest/siphash"
)

// A client message id is found by a row with a hash of it in its key and the seq
// of its message in its value (tableClientID). The hash finds candidates, and the message says
// whether it is the one: two ids are never taken for the same by their hash.
// It is SipHash-2-4 with a key that is drawn when the store is created, so that
// nobody can choose ids that meet (Aumasson and Bernstein, "SipHash: a fast
// short-input PRF", 2012).
//
// Nearly every id that is looked for is new. To find that out in the memtables
// takes a walk down the skip list of each; the files have filters. So a writer
// remembers the hashes of the rows that may not be in a file yet, in
// recentIDs, and looks for all others in the files alone. What this rests on:
//
//	A row that was committed is in its partition's recentIDs, or in a file
//	that every iterator sees that is opened after flushes.ended was read.

// hashKey is the key of the hash, as siphash.Hash takes it.
type hashKey [2]uint64

func (k hashKey) hash(b []byte) uint64 { return siphash.Hash(k[0], k[1], b) }

// hashClientID hashes what names a message. buf is scratch, which it returns.
func (s *Store) hashClientID(buf []byte, conversation, sender, clientID string) (uint64, []byte) {
	buf = append(append(buf[:0], conversation...), 0)
	buf = append(append(buf, sender...), 0)
	buf = append(buf, clientID...)
	return s.idHash(buf), buf
}

// recentIDs is a set of hashes, divided by the flush that takes their rows to
// a file. It belongs to the writer of its partition.
type recentIDs struct {
	generations []idGeneration // oldest first
}

type idGeneration struct {
	flush  uint64 // the rows are in files when flushes.ended is past it
	hashes map[uint64]struct{}
}

// add adds the hash of a row that has been committed, before which flush was
// read from flushes.next.
func (r *recentIDs) add(flush uint64, hash uint64) {
	n := len(r.generations)
	if n == 0 || r.generations[n-1].flush != flush {
		size := 0
		if n > 0 {
			size = len(r.generations[n-1].hashes)
		}
		r.generations = append(r.generations, idGeneration{flush, make(map[uint64]struct{}, size)})
		n++
	}
	r.generations[n-1].hashes[hash] = struct{}{}
}

// has reports whether a row with this hash may be in no file. The flushes below
// ended are over.
func (r *recentIDs) has(ended uint64, hash uint64) bool {
	for len(r.generations) > 0 && r.generations[0].flush < ended {
		r.generations[0] = idGeneration{}
		r.generations = r.generations[1:]
	}
	for i := range r.generations {
		if _, ok := r.generations[i].hashes[hash]; ok {
			return true
		}
	}
	return false
}

// flushes counts the flushes that the store asks Pebble for. Pebble's own, of
// a memtable that is full, don't count: who has forgotten which rows they took
// asks the memtables in vain, and no more.
type flushes struct {
	// next is the number of the flush that will be asked for next. A row that
	// was committed before next was read is in a file when that flush ends.
	next atomic.Uint64
	// ended: the flushes below it have ended.
	ended atomic.Uint64
	// filled estimates the bytes in memtables since the last one.
	filled atomic.Int64
	wanted chan struct{} // has room for one
}

// rowOverhead is about what a row takes in a memtable beside its key and value:
// a node of the skip list.
const rowOverhead = 50

// wrote notes a committed batch. A flush is asked for a little before Pebble
// would begin one itself, so that there are no more of them, and recentIDs hold
// no more than memtables do: some 30 bytes a message, which takes 200 at the
// least there.
func (s *Store) wrote(batchSize, rows int) {
	if s.flushes.filled.Add(int64(batchSize+rows*rowOverhead)) < s.opts.MemTableBytes/8*7 {
		return
	}
	select {
	case s.flushes.wanted <- struct{}{}:
	default: // asked for, or under way
	}
}

func (s *Store) flushWhenWanted() {
	for {
		select {
		case <-s.closing:
			return
		case <-s.flushes.wanted:
			if err := s.flush(); err != nil {
				s.opts.Logger.Error("flush", "err", err)
			}
		}
	}
}

// flush has Pebble flush what is committed and waits until that is done or the
// store is closing.
func (s *Store) flush() error {
	f := &s.flushes
	f.filled.Store(0)
	n := f.next.Add(1) // first, so that no row comes after the flush and counts on it
	done, err := s.db.AsyncFlush()
	if err != nil {
		return err // the next one covers these rows, too
	}
	select {
	case <-done:
		f.ended.Store(n)
	case <-s.closing:
	}
	return nil
}

// ownID is a client message id that a Tx appends.
type ownID struct {
	hash, stamp, seq uint64
	c                *txConversation
	prev             int // in Tx.ids, of the same hash; -1 = none
}

// FindByClientID returns the seq of the message that sender sent with this
// client message id, while that message is kept.
func (tx *Tx) FindByClientID(conversation, sender, id string) (seq uint64, found bool, err error) {
	c, err := tx.conversation(conversation)
	if err != nil {
		return 0, false, err
	}
	if c.head.MinSeq > c.head.Seq || !c.exists {
		return 0, false, nil // no message, no id
	}
	hash := tx.hash(conversation, sender, id)
	own, ok := tx.idByHash[hash]
	for ; ok && own >= 0; own = tx.ids[own].prev {
		if o := &tx.ids[own]; o.c == c && o.seq >= c.head.MinSeq {
			if same, err := isMessage(c.ownMessage(o.seq).wire, sender, id); err != nil || same {
				return o.seq, same, tx.failed(err)
			}
		}
	}
	seq, err = tx.committedID(c, hash, sender, id)
	return seq, seq > 0, tx.failed(err)
}

// hash is hashClientID, which is asked twice for each message, once to look
// and once to append.
func (tx *Tx) hash(conversation, sender, id string) uint64 {
	l := &tx.lastHash
	if l.id != id || l.sender != sender || l.conversation != conversation {
		*l = hashed{conversation: conversation, sender: sender, id: id}
		l.hash, tx.key = tx.s.hashClientID(tx.key, conversation, sender, id)
	}
	return l.hash
}

type hashed struct {
	conversation, sender, id string
	hash                     uint64
}

// committedID returns the seq of the committed message with that client message
// id, 0 if there is none.
func (tx *Tx) committedID(c *txConversation, hash uint64, sender, id string) (seq uint64, err error) {
	if tx.files == nil {
		tx.flushed = tx.s.flushes.ended.Load() // before the iterator is opened
		if tx.files, err = tx.s.newFileIter(); err != nil {
			return 0, err
		}
	}
	tx.key = appendClientIDPrefix(tx.key[:0], c.partition, hash)
	it := tx.files
	if tx.s.parts[c.partition].recent.has(tx.flushed, hash) {
		if it, err = tx.s.db.NewIter(nil); err != nil {
			return 0, readError(err)
		}
		defer func() { err = errors.Join(err, closeIter(it)) }()
	}
	return tx.s.findID(it, tx.key, c, sender, id)
}

// newFileIter returns an iterator over what is in files, for SeekPrefixGE on
// client message ids. The filters of the last level hold nine tenths of them,
// and are what makes it cheap that nearly all ids are new.
func (s *Store) newFileIter() (*pebble.Iterator, error) {
	it, err := s.db.NewIter(&pebble.IterOptions{OnlyReadGuaranteedDurable: true, UseL6Filters: true})
	if err != nil {
		return nil, readError(err)
	}
	return it, nil
}

// findID looks at the rows that begin with prefix, a partition's and hash's,
// for the one of a message of c.
func (s *Store) findID(it *pebble.Iterator, prefix []byte, c *txConversation, sender, id string) (uint64, error) {
	for it.SeekPrefixGE(prefix); it.Valid(); it.Next() {
		seq, err := clientIDSeq(it)
		if err != nil {
			return 0, err
		}
		if seq < c.head.MinSeq || seq > c.prior.head.Seq {
			continue // another conversation's, or of a message that retention has removed
		}
		wire, found, err := s.message(c.id, seq)
		if err == nil && !found {
			err = missing(c.id, seq)
		}
		if err != nil {
			return 0, err
		}
		if same, err := isMessage(wire, sender, id); err != nil || same {
			return seq, err
		}
	}
	if err := it.Error(); err != nil {
		return 0, readError(err)
	}
	return 0, nil
}

// isMessage reports whether wire is the message that sender sent with that
// client message id.
func isMessage(wire []byte, sender, id string) (bool, error) {
	m, err := decodeMessage(wire)
	return string(m.sender) == sender && string(m.clientID) == id, err
}

// sealIDs writes the rows of the appended client message ids, in the order of
// their keys: a memtable finds the place of a key near that of the one before.
func (tx *Tx) sealIDs() {
	slices.SortFunc(tx.ids, func(a, b ownID) int {
		return cmp.Or(cmp.Compare(a.c.partition, b.c.partition), cmp.Compare(a.hash, b.hash), cmp.Compare(a.stamp, b.stamp))
	})
	for i := range tx.ids {
		o := &tx.ids[i]
		if o.seq >= o.c.head.MinSeq {
			tx.key = appendClientIDKey(tx.key[:0], o.c.partition, o.hash, o.stamp)
			var seq [binary.MaxVarintLen64]byte
			_ = tx.batch.Set(tx.key, seq[:binary.PutUvarint(seq[:], o.seq)], nil)
		}
	}
}

// keepIDs remembers the rows that sealIDs wrote, after the commit.
func (tx *Tx) keepIDs() {
	flush := tx.s.flushes.next.Load()
	for i := range tx.ids {
		tx.s.parts[tx.ids[i].c.partition].recent.add(flush, tx.ids[i].hash)
	}
}

// The key of a client message id is the table, its hash (u64) and the message's
// stamp, in as few bytes as it takes, all big-endian. No two messages of a
// partition have one stamp, so no two ids have one key.

// clientIDPrefix is the length of the key without the stamp: what filters know.
const clientIDPrefix = 3 + 8

func appendClientIDPrefix(dst []byte, p int, hash uint64) []byte {
	return binary.BigEndian.AppendUint64(appendTable(dst, p, tableClientID), hash)
}

func appendClientIDKey(dst []byte, p int, hash, stamp uint64) []byte {
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], stamp)
	return append(appendClientIDPrefix(dst, p, hash), bytes.TrimLeft(b[:], "\x00")...)
}

// clientIDSeq is the seq in the row that it is at.
func clientIDSeq(it *pebble.Iterator) (uint64, error) {
	value, err := it.ValueAndErr()
	if err != nil {
		return 0, readError(err)
	}
	d := decoder{b: value}
	seq := d.uvarint()
	return seq, d.done("client message id")
}

// comparer is bytewise, as Pebble's own is, and so it has its name: a store of
// another version can be opened as far as its identity. Its Split makes one
// prefix of the rows of a hash, so that a filter can tell that there is none.
// All other keys are whole prefixes.
var comparer = func() *pebble.Comparer {
	c := *pebble.DefaultComparer
	c.Split = func(key []byte) int {
		if len(key) > clientIDPrefix && key[2] == tableClientID {
			return clientIDPrefix
		}
		return len(key)
	}
	c.ImmediateSuccessor = func(dst, prefix []byte) []byte {
		if len(prefix) == clientIDPrefix && prefix[2] == tableClientID {
			// The next hash, or the next table.
			dst = append(dst, prefix...)
			for i := len(dst) - 1; ; i-- {
				if dst[i]++; dst[i] != 0 {
					return dst
				}
			}
		}
		return append(append(dst, prefix...), 0)
	}
	return &c
}()
