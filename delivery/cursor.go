package delivery

import (
	"encoding/binary"

	"github.com/godwit-im/godwit/protocol"
)

// cursor is a SYNC's position, as it travels in Sync.cursor and Synced.cursor.
// To a client it is opaque.
//
//	version      1 byte, cursorVersion
//	epoch        8 bytes, big-endian
//	base         one uvarint for each partition
//	           – the end, for a cursor to begin a SYNC with –
//	watermark    one uvarint for each partition, what it is past base
//	walk         1 byte
//	time         8 bytes, big-endian, two's complement
//	conversation the rest
//
// It isn't signed: it can only choose which of their own conversations a user
// is told about.
type cursor struct {
	epoch uint64
	// base: changes at or below these indexes are known to the client.
	base []uint64
	// page is where the next page of a SYNC under way begins; nil in a cursor
	// that begins one.
	page *position
}

// position is the end of a page.
type position struct {
	// watermark holds the applied indexes from before the walk's first page was
	// read: what changed past base and up to it, the walk reports.
	watermark []uint64
	walk      walk
	// timeMs and conversation are the last one's that was reported: see changed.
	timeMs       int64
	conversation string
}

// walk is an order in which a SYNC reports conversations.
type walk byte

const (
	// newestFirst is the walk of every SYNC, for that is what a client shows.
	newestFirst walk = 0
	// catchUp follows where the first walk took several pages and something
	// changed meanwhile. A new message takes its conversation to the top, out
	// of the pages that are left; its push says nothing about the rest of the
	// conversation's state. So everything that changed past the first walk's
	// watermark is reported, by id, an order in which nothing moves.
	catchUp walk = 1
)

const cursorVersion = 1

func (c *cursor) append(dst []byte) []byte {
	dst = append(dst, cursorVersion)
	dst = binary.BigEndian.AppendUint64(dst, c.epoch)
	for _, index := range c.base {
		dst = binary.AppendUvarint(dst, index)
	}
	if c.page == nil {
		return dst
	}
	for p, index := range c.page.watermark {
		dst = binary.AppendUvarint(dst, index-c.base[p])
	}
	dst = append(dst, byte(c.page.walk))
	dst = binary.BigEndian.AppendUint64(dst, uint64(c.page.timeMs))
	return append(dst, c.page.conversation...)
}

// fresh reports whether the walk has yet to report anything.
func (p *position) fresh() bool { return p.walk == catchUp && p.conversation == "" }

// maxCursor bounds what append appends, in bytes.
func maxCursor(partitions int) int {
	return 1 + 8 + 2*partitions*binary.MaxVarintLen64 + 1 + 8 + protocol.MaxConversationID
}

// parseCursor reads a cursor for a store of so many partitions. The error is
// BAD_CURSOR.
func parseCursor(b []byte, partitions int) (*cursor, error) {
	if len(b) < 1+8 || b[0] != cursorVersion {
		return nil, errBadCursor
	}
	c := &cursor{epoch: binary.BigEndian.Uint64(b[1:])}
	b = b[9:]
	var ok bool
	if c.base, b, ok = parseIndexes(b, partitions); !ok {
		return nil, errBadCursor
	}
	if len(b) == 0 {
		return c, nil
	}
	c.page = &position{}
	if c.page.watermark, b, ok = parseIndexes(b, partitions); !ok || len(b) < 1+8 {
		return nil, errBadCursor
	}
	for p, base := range c.base {
		if c.page.watermark[p] += base; c.page.watermark[p] < base {
			return nil, errBadCursor
		}
	}
	c.page.walk = walk(b[0])
	c.page.timeMs = int64(binary.BigEndian.Uint64(b[1:]))
	c.page.conversation = string(b[9:])
	if err := protocol.CheckConversation(c.page.conversation); err != nil && !c.page.fresh() || c.page.walk > catchUp {
		return nil, errBadCursor
	}
	return c, nil
}

func parseIndexes(b []byte, n int) (indexes []uint64, rest []byte, ok bool) {
	indexes = make([]uint64, n)
	for i := range indexes {
		v, size := binary.Uvarint(b)
		if size <= 0 {
			return nil, nil, false
		}
		indexes[i], b = v, b[size:]
	}
	return indexes, b, true
}

// resume returns the cursor that a SYNC with the client's cursor b goes on from,
// in a store of this epoch with these applied indexes. reset: b is a cursor, but
// says nothing about this store, and the SYNC begins at the beginning.
func resume(b []byte, epoch uint64, applied []uint64) (c *cursor, reset bool, err error) {
	fresh := &cursor{epoch: epoch, base: make([]uint64, len(applied))}
	if len(b) == 0 {
		return fresh, false, nil
	}
	// The epoch first: another store may have another number of partitions.
	if len(b) >= 1+8 && b[0] == cursorVersion && binary.BigEndian.Uint64(b[1:]) != epoch {
		return fresh, true, nil
	}
	c, err = parseCursor(b, len(applied))
	if err != nil {
		return nil, false, err
	}
	known := c.base
	if c.page != nil {
		known = c.page.watermark
	}
	for p := range applied {
		// An index from the future is that of a change that the store has lost,
		// as durability "interval" may; it will be given again, to another.
		if known[p] > applied[p] {
			return fresh, true, nil
		}
	}
	return c, false, nil
}
