package client

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"hash/fnv"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/godwit-im/godwit/protocol"
	"github.com/godwit-im/godwit/protocol/pb"
)

const (
	countDigits = 8
	clockDigits = 16
	// StampSize is how many bytes at the start of a body are the sender's count
	// and clock, in hexadecimal since a body is text. What follows them is
	// determined by the sender and the count.
	StampSize = countDigits + clockDigits
)

// RunID names a run of the load in its client message ids, so that none is used
// twice in a conversation: the time in milliseconds, 8 bytes.
func RunID(now time.Time) string { return strconv.FormatInt(now.UnixMilli(), 36) }

// Draft is a SEND with blanks: request id, count and time. It is filled in by
// copying, the cheapest there is.
type Draft struct {
	frame  []byte
	idAt   int // where the client message id has its count
	bodyAt int
	seed   uint64
}

// NewDraft makes one for messages of sender with bodies of size bytes, at least
// StampSize. runID begins the client message ids; count completes them.
func NewDraft(conversation, sender, runID string, size int) *Draft {
	id := runID + strings.Repeat("0", countDigits)
	frame := protocol.AppendProto(nil, protocol.TypeSend, 0, &pb.Send{
		Conversation: conversation, ClientId: id, Kind: pb.Kind_KIND_TEXT, Body: make([]byte, size),
	})
	return &Draft{
		frame:  frame,
		idAt:   bytes.Index(frame, []byte(id)) + len(runID),
		bodyAt: len(frame) - size, // the last field
		seed:   seed(sender),
	}
}

// Append appends the SEND of the message with this count, whose body says that
// it was sent at now.
func (d *Draft) Append(dst []byte, request uint32, count uint32, now time.Duration) []byte {
	start := len(dst)
	dst = append(dst, d.frame...)
	frame := dst[start:]
	binary.BigEndian.PutUint32(frame[4:], request)
	body := frame[d.bodyAt:]
	writeBody(body, d.seed, count, now)
	copy(frame[d.idAt:d.idAt+countDigits], body)
	return dst
}

// AppendBody appends the body alone, of size bytes: for what puts messages into
// a store by another way than a SEND.
func AppendBody(dst []byte, sender string, count uint32, now time.Duration, size int) []byte {
	start := len(dst)
	dst = slices.Grow(dst, size)[:start+size]
	writeBody(dst[start:], seed(sender), count, now)
	return dst
}

func writeBody(body []byte, seed uint64, count uint32, now time.Duration) {
	var stamp [StampSize / 2]byte
	binary.BigEndian.PutUint32(stamp[:], count)
	binary.BigEndian.PutUint64(stamp[countDigits/2:], uint64(now))
	hex.Encode(body, stamp[:])
	for rest := body[StampSize:]; len(rest) > 0; {
		rest = rest[copy(rest, passage(seed, count)):]
	}
}

// readBody checks a body against what Draft makes for a seed and a count, and
// returns the time in it.
func readBody(body []byte, seed uint64, count uint32, size int) (sent time.Duration, ok bool) {
	var stamp [StampSize / 2]byte
	if len(body) != size || size < StampSize {
		return 0, false
	}
	if _, err := hex.Decode(stamp[:], body[:StampSize]); err != nil || binary.BigEndian.Uint32(stamp[:]) != count {
		return 0, false
	}
	for rest := body[StampSize:]; len(rest) > 0; {
		want := passage(seed, count)
		want = want[:min(len(want), len(rest))]
		if !bytes.Equal(rest[:len(want)], want) {
			return 0, false
		}
		rest = rest[len(want):]
	}
	return time.Duration(binary.BigEndian.Uint64(stamp[countDigits/2:])), true
}

// seed has every sender say something else.
func seed(sender string) uint64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(sender)) // a hash takes everything
	return h.Sum64()
}

// passage is what the message with this count says, from its beginning.
func passage(seed uint64, count uint32) []byte {
	all := text()
	at := (seed + uint64(count)*0x9e3779b97f4a7c15) >> 32 % uint64(len(all)/2)
	return all[at:]
}

// text is what all messages are cut from, the same in every process. Its words
// are made up and are as unevenly frequent as those of a language (Zipf's law),
// so that a store that compresses finds in it what it would find in real
// messages, more or less; zeros would flatter it.
var text = sync.OnceValue(func() []byte {
	const size, vocabulary = 1 << 20, 4000
	r := rand.New(rand.NewPCG(1, 2))
	words := make([]string, vocabulary)
	for i := range words {
		word := make([]byte, 2+r.IntN(8))
		for j := range word {
			word[j] = "eeeetttaaaooiinnsshhrrdlucmfwygpbvk"[r.IntN(35)]
		}
		words[i] = string(word)
	}
	rank := rand.NewZipf(r, 1.1, 2, vocabulary-1)
	b := make([]byte, 0, size+16)
	for len(b) < size {
		b = append(append(b, words[rank.Uint64()]...), ' ')
	}
	return b[:size]
})
