package ceiling

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"

	"github.com/cockroachdb/pebble/v2"

	"github.com/godwit-im/godwit/msgstore"
	"github.com/godwit-im/godwit/protocol"
	"github.com/godwit-im/godwit/protocol/pb"
)

// openPebble opens a database with the options of msgstore.
func openPebble(dir string) (*pebble.DB, error) {
	opts := msgstore.DefaultOptions()
	po := opts.Pebble()
	po.Logger = stern{}
	return pebble.Open(dir, po)
}

// stern is Pebble's logger. Fatalf is called when a sync failed and must not
// return.
type stern struct{}

func (stern) Infof(string, ...any) {}

func (stern) Errorf(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "pebble: "+format+"\n", args...)
}

func (stern) Fatalf(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "pebble: "+format+"\n", args...)
	os.Exit(1)
}

// writer makes the records of messages as msgstore has them: the message under
// its conversation and seq, and a small one under a hash of its client message
// id. It writes to conversations in turn.
type writer struct {
	size     int // of a body
	text     []byte
	random   *rand.Rand
	messages []*pb.Message // the last of each conversation

	n          uint64 // messages made
	ids        []idRow
	key, value []byte
}

// idRow is a client message id that is not in the batch yet.
type idRow struct {
	partition uint16
	hash      uint64
	stamp     uint64
	seq       uint64
}

// partitions is msgstore's default.
const partitions = 16

func newWriter(conversations, size int) *writer {
	w := &writer{size: size, random: rand.New(rand.NewPCG(1, 2)), messages: make([]*pb.Message, conversations)}
	w.text = text(w.random, 1<<20)
	for i := range w.messages {
		w.messages[i] = messageOf(i, sendOf(i, size), 0)
	}
	return w
}

// text is n bytes of words that compress about as text does, to less than half.
func text(random *rand.Rand, n int) []byte {
	words := make([][]byte, 1024)
	for i := range words {
		for range 2 + random.IntN(8) {
			words[i] = append(words[i], byte('a'+random.IntN(26)))
		}
		words[i] = append(words[i], ' ')
	}
	var b []byte
	for len(b) < n {
		b = append(b, words[random.IntN(len(words))]...)
	}
	return b[:n]
}

// add puts the next message into the batch.
func (w *writer) add(b *pebble.Batch) error {
	conversation := int(w.n % uint64(len(w.messages)))
	m := w.messages[conversation]
	m.Seq++
	m.Id, m.Count, m.SenderCount = m.Id+1, m.Seq, m.Seq
	at := w.random.IntN(len(w.text) - w.size)
	m.Body = w.text[at : at+w.size]
	w.n++

	w.value = protocol.AppendMessage(append(w.value[:0], make([]byte, 8)...), m)
	return w.put(b, conversation, m.Seq)
}

// put puts the message into the batch whose encoding is w.value[8:], behind
// room for its stamp.
func (w *writer) put(b *pebble.Batch, conversation int, seq uint64) error {
	binary.BigEndian.PutUint64(w.value, w.n)
	w.key = appendMessageKey(w.key[:0], conversation, seq)
	// What a good hash makes of a client message id is as good as random.
	w.ids = append(w.ids, idRow{uint16(conversation % partitions), w.random.Uint64(), w.n, seq})
	return b.Set(w.key, w.value, nil)
}

// seal ends the batch with the client message ids of its messages, in the order
// of their keys, as msgstore does.
func (w *writer) seal(b *pebble.Batch) error {
	slices.SortFunc(w.ids, func(a, b idRow) int {
		return cmp.Or(cmp.Compare(a.partition, b.partition), cmp.Compare(a.hash, b.hash))
	})
	for _, id := range w.ids {
		w.key = append(binary.BigEndian.AppendUint16(w.key[:0], id.partition), 'd')
		w.key = appendShort(binary.BigEndian.AppendUint64(w.key, id.hash), id.stamp)
		w.value = binary.AppendUvarint(w.value[:0], id.seq)
		if err := b.Set(w.key, w.value, nil); err != nil {
			return err
		}
	}
	w.ids = w.ids[:0]
	return nil
}

// appendMessageKey appends a message's key: docs/STORAGE.md.
func appendMessageKey(dst []byte, conversation int, seq uint64) []byte {
	dst = append(binary.BigEndian.AppendUint16(dst, uint16(conversation%partitions)), 'm')
	dst = strconv.AppendInt(append(dst, "d:bench-from-"...), int64(conversation), 10)
	dst = strconv.AppendInt(append(dst, ":bench-to-"...), int64(conversation), 10)
	size := len(dst)
	dst = appendShort(append(dst, 0), seq)
	dst[size] = byte(len(dst) - size - 1)
	return dst
}

// appendShort appends v, which is not 0, in as few bytes as it takes.
func appendShort(dst []byte, v uint64) []byte {
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], v)
	return append(dst, bytes.TrimLeft(b[:], "\x00")...)
}

// logConfig is a log that is there to be read.
type logConfig struct {
	Dir           string
	Conversations int
	Each          int // messages in each
	Size          int // of a body, in bytes
	Page          int // how many of the newest are read at a time
}

// build writes the log in an order in which it may have come about: a message
// for each conversation in turn. It ends compacted, as a log that has lain for
// a while.
func (c *logConfig) build(ctx context.Context) (err error) {
	db, err := openPebble(c.Dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	w := newWriter(c.Conversations, c.Size)
	for all := uint64(c.Conversations) * uint64(c.Each); w.n < all && ctx.Err() == nil; {
		b := db.NewBatch()
		for range min(4096, all-w.n) {
			if err := w.add(b); err != nil {
				return err
			}
		}
		if err := w.seal(b); err != nil {
			return err
		}
		if err := b.Commit(pebble.NoSync); err != nil {
			return err
		}
	}
	if err := db.Flush(); err != nil {
		return err
	}
	return errors.Join(ctx.Err(), db.Compact(ctx, []byte{0}, []byte{0xff}, true))
}
