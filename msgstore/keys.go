package msgstore

import (
	"encoding/binary"
	"math"
	"math/bits"
)

// slots is the number of hash slots that the partitions divide among them.
// Partition p of P has the slots [p*slots/P, (p+1)*slots/P), so that dividing
// a partition in two divides a range.
const slots = 4096

const (
	maxPartitions = 256
	maxNode       = 1<<10 - 1
)

// ownPartition is where the store keeps what it knows about itself.
const ownPartition = math.MaxUint16

// A key is the partition (u16, big-endian), the table, and what follows here.
// Ids hold no byte below 0x21, so 0x00 ends one and keeps the order.
const (
	tableApplied      = 'a' // (nothing)
	tableConversation = 'c' // conversation
	tableClientID     = 'd' // hash of a client message id (u64), stamp: see clientids.go
	tableMessage      = 'm' // conversation, length of the seq (1 to 8), seq (big-endian)
	tableMember       = 'u' // user 0x00 conversation
	tableStore        = 's' // (nothing), in ownPartition

	// Rows (rows.go).
	tableExpiry      = 'e' // time (u64) conversation 0x00 seq (u64)
	tableFollowers   = 'f' // conversation
	tableGroupMember = 'g' // conversation 0x00 class user
	tableGroup       = 'i' // conversation
	tableContact     = 'k' // user 0x00 the other user
	tableMention     = 'n' // conversation 0x00 user 0x00 seq (u64); no user: all
	tableFollowUp    = 'o' // index (u64) number (u8)
	tableSeen        = 'p' // user
	tableReaction    = 'r' // conversation 0x00 seq (u64) key 0x00 user
	tableGone        = 't' // conversation 0x00 seq (u64)
	tableReplaced    = 'v' // conversation 0x00 seq (u64) part (u8) seq of the event (u64)
	tableChoice      = 'w' // user
	tableDeleted     = 'x' // user 0x00 conversation 0x00 seq (u64)
)

// slotOf is FNV-1a of 64 bits, folded once as its authors advise for fewer
// bits: the low bits alone spread "d:user1:user2" badly (chi-square 42 times
// what is expected over the slots, against 1.0 folded).
func slotOf(conversation string) int {
	const offset, prime = 14695981039346656037, 1099511628211
	h := uint64(offset)
	for i := range len(conversation) {
		h = (h ^ uint64(conversation[i])) * prime
	}
	return int((h ^ h>>32) % slots)
}

func appendTable(dst []byte, p int, table byte) []byte {
	return append(binary.BigEndian.AppendUint16(dst, uint16(p)), table)
}

// keyPartition is the partition of a key.
func keyPartition(key []byte) int { return int(binary.BigEndian.Uint16(key)) }

func appendConversationKey(dst []byte, p int, conversation string) []byte {
	return append(appendTable(dst, p, tableConversation), conversation...)
}

// appendMessageKey writes the seq in as few bytes as it takes, behind their
// number, which keeps the order and ends the id as 0x00 would.
func appendMessageKey(dst []byte, p int, conversation string, seq uint64) []byte {
	n := seqSize(seq)
	dst = append(append(appendTable(dst, p, tableMessage), conversation...), byte(n))
	for i := n - 1; i >= 0; i-- {
		dst = append(dst, byte(seq>>(8*i)))
	}
	return dst
}

// messageKeySize is the length of that key.
func messageKeySize(conversation string, seq uint64) int {
	return 3 + len(conversation) + 1 + seqSize(seq)
}

func seqSize(seq uint64) int { return max(1, (bits.Len64(seq)+7)/8) }

// keySeq is the seq in the key of a message of conversation.
func keySeq(key []byte, conversation string) (seq uint64) {
	for _, b := range key[3+len(conversation)+1:] {
		seq = seq<<8 | uint64(b)
	}
	return seq
}

// appendMessageBounds appends the bounds of the keys of all messages of a
// conversation.
func appendMessageBounds(lower, upper []byte, p int, conversation string) (_, _ []byte) {
	lower = append(appendTable(lower, p, tableMessage), conversation...)
	upper = append(upper, lower...)
	return append(lower, 1), append(upper, 9)
}

// appendMemberPrefix is what the keys of all memberships of a user begin with.
func appendMemberPrefix(dst []byte, p int, user string) []byte {
	return append(append(appendTable(dst, p, tableMember), user...), 0)
}

func appendMemberKey(dst []byte, p int, user, conversation string) []byte {
	return append(appendMemberPrefix(dst, p, user), conversation...)
}

// successor turns prefix into the first key after all that begin with it. Its
// last byte is never 0xff here: it is a table's letter or 0x00.
func successor(prefix []byte) []byte {
	prefix[len(prefix)-1]++
	return prefix
}

// appendPart appends an id and the byte that ends it.
func appendPart(dst []byte, part string) []byte { return append(append(dst, part...), 0) }

func appendGroupKey(dst []byte, p int, conversation string) []byte {
	return append(appendTable(dst, p, tableGroup), conversation...)
}

func appendFollowersKey(dst []byte, p int, conversation string) []byte {
	return append(appendTable(dst, p, tableFollowers), conversation...)
}

// The classes of the rows of a group's members.
const (
	classActive    = 'a'
	classRequested = 'r'
)

func appendGroupMemberPrefix(dst []byte, p int, conversation string, class byte) []byte {
	return append(appendPart(appendTable(dst, p, tableGroupMember), conversation), class)
}

func appendMentionKey(dst []byte, p int, conversation, user string, seq uint64) []byte {
	return binary.BigEndian.AppendUint64(appendPart(appendPart(appendTable(dst, p, tableMention), conversation), user), seq)
}

// appendSeqKey is a key of tableGone or, with more behind it, of tableReaction or
// tableReplaced.
func appendSeqKey(dst []byte, p int, table byte, conversation string, seq uint64) []byte {
	return binary.BigEndian.AppendUint64(appendPart(appendTable(dst, p, table), conversation), seq)
}

func appendReactionKey(dst []byte, p int, conversation string, seq uint64, key, user string) []byte {
	return append(appendPart(appendSeqKey(dst, p, tableReaction, conversation, seq), key), user...)
}

func appendDeletedKey(dst []byte, p int, user, conversation string, seq uint64) []byte {
	return binary.BigEndian.AppendUint64(appendPart(appendPart(appendTable(dst, p, tableDeleted), user), conversation), seq)
}

func appendExpiryKey(dst []byte, p int, expiresMs int64, conversation string, seq uint64) []byte {
	dst = binary.BigEndian.AppendUint64(appendTable(dst, p, tableExpiry), uint64(max(0, expiresMs)))
	return binary.BigEndian.AppendUint64(appendPart(dst, conversation), seq)
}

func appendFollowUpKey(dst []byte, p int, index uint64, n int) []byte {
	return append(binary.BigEndian.AppendUint64(appendTable(dst, p, tableFollowUp), index), byte(n))
}

func appendSeenKey(dst []byte, p int, user string) []byte {
	return append(appendTable(dst, p, tableSeen), user...)
}

// appendContactPrefix is what the keys of all contacts of a user begin with.
func appendContactPrefix(dst []byte, p int, user string) []byte {
	return appendPart(appendTable(dst, p, tableContact), user)
}

func appendChoiceKey(dst []byte, p int, user string) []byte {
	return append(appendTable(dst, p, tableChoice), user...)
}

// lastUint64 is the number that a key ends with.
func lastUint64(key []byte) uint64 { return binary.BigEndian.Uint64(key[len(key)-8:]) }
