package delivery

import (
	"slices"

	"github.com/godwit-im/godwit/protocol"
	"github.com/godwit-im/godwit/protocol/pb"
	"github.com/godwit-im/godwit/session"
)

// news is something to tell an audience.
type news struct {
	conversation string
	origin       *session.Session // is not told; nil = everybody is
	index        uint64           // of the command, in its partition's log
	seq          uint64           // of the last of the messages; 0 = it is a receipt
	messages     int
	frames       []byte
	// user, of a receipt, is whose cursors they are: their own sessions aren't told,
	// for they are told more, by an effect of their own.
	user string
}

// receipts is how many receipts n is.
func (n *news) receipts() int {
	if n.seq == 0 {
		return 1
	}
	return 0
}

// tell tells one session, if it is to be told.
func (n *news) tell(s *seat) bool {
	switch {
	case s.session == n.origin || n.index < s.from || s.session.User == n.user:
		return false
	case n.seq > 0:
		s.session.PushMessage(n.conversation, n.seq, n.frames)
	default:
		s.session.PushReceipt(n.conversation, n.frames)
	}
	return true
}

// stream is what the sessions of one loop in one audience are to be told, in
// order.
type stream struct {
	audience *audience
	waiting  []told // those in the burst are at the front
	bytes    int    // charged for waiting
	missed   *missed
	burst    burst // the lane's run owns it; nothing in it = none is begun
}

// told is one of the news with those who are to be told.
type told struct {
	*news
	seats   []*seat
	charged int
}

// missed is what there was no room for. The sessions are told that they missed
// it, when they have been told all else.
type missed struct {
	seats   []*seat // those of the newest
	index   uint64
	seq     uint64 // the highest; 0 = no message
	receipt bool
}

// burst is what is told together: news that follow one another and are for the
// same seats.
type burst struct {
	all   []told
	whole news // all of it at once; origin is not set
	// origins are those of all: they are told one by one.
	origins []*session.Session
	seats   []*seat
	next    int // the seats before it have been told
}

func (s *stream) busy() bool { return len(s.waiting) > 0 || s.missed != nil }

// add takes n on, or notes that it is missed, and returns what it has charged.
// The seats are charged where they are not those of the news before.
func (s *stream) add(n *news, seats []*seat, room int) (charged int) {
	charged = newsOverhead + len(n.frames)
	if k := len(s.waiting); k == 0 || !sameSeats(s.waiting[k-1].seats, seats) {
		charged += 8 * len(seats)
	}
	if s.missed == nil && (len(s.waiting) == 0 || s.bytes+charged <= maxStream && charged <= room) {
		s.waiting = append(s.waiting, told{n, seats, charged})
		s.bytes += charged
		return charged
	}
	if s.missed == nil {
		s.missed = &missed{}
	}
	s.missed.note(n, seats)
	return 0
}

func (m *missed) note(n *news, seats []*seat) {
	m.seats, m.index = seats, n.index
	if n.seq > 0 {
		m.seq = max(m.seq, n.seq)
	} else {
		m.receipt = true
	}
}

func sameSeats(a, b []*seat) bool {
	return len(a) == len(b) && (len(a) == 0 || &a[0] == &b[0])
}

// begin begins the burst that is next. The caller holds the lane's lock.
func (s *stream) begin() {
	if len(s.waiting) == 0 {
		s.waiting, s.missed = s.missed.told(s.audience.conversation), nil
	}
	first := s.waiting[0]
	k, size := 1, len(first.frames)
	for first.seq > 0 && k < len(s.waiting) {
		n := s.waiting[k]
		if n.seq == 0 || !sameSeats(n.seats, first.seats) || size+len(n.frames) > maxJoined {
			break
		}
		size += len(n.frames)
		k++
	}
	s.burst.begin(s.waiting[:k:k], size)
}

// end lets go of what was told and returns what it was charged. The caller holds
// the lane's lock.
func (s *stream) end() (charged int) {
	k := len(s.burst.all)
	for i := range k {
		charged += s.waiting[i].charged
	}
	s.bytes -= charged
	clear(s.waiting[:k])
	s.waiting = s.waiting[k:]
	s.burst = burst{}
	return charged
}

// told is the news that something was missed: a HEADS for the messages, and one
// for the receipts.
func (m *missed) told(conversation string) (list []told) {
	seqs := make([]uint64, 0, 2)
	if m.seq > 0 {
		seqs = append(seqs, m.seq)
	}
	if m.receipt {
		seqs = append(seqs, 0)
	}
	for _, seq := range seqs {
		heads := &pb.Heads{Heads: []*pb.Head{{Conversation: conversation, Seq: seq}}}
		n := &news{conversation: conversation, index: m.index, seq: seq}
		n.frames = protocol.AppendProto(nil, protocol.TypeHeads, 0, heads)
		list = append(list, told{news: n, seats: m.seats})
	}
	return list
}

// begin makes b tell all of list, which has frames of so many bytes.
func (b *burst) begin(list []told, size int) {
	*b = burst{all: list, whole: *list[0].news, seats: list[0].seats}
	b.whole.origin = nil
	if len(list) > 1 {
		b.whole.messages, b.whole.frames = 0, make([]byte, 0, size)
	}
	for _, n := range list {
		if n.origin != nil && !slices.Contains(b.origins, n.origin) {
			b.origins = append(b.origins, n.origin)
		}
		if len(list) > 1 {
			b.whole.seq = n.seq
			b.whole.messages += n.messages
			b.whole.frames = append(b.whole.frames, n.frames...)
		}
	}
}

// piece tells the next of the seats, and counts.
func (b *burst) piece(stats *counters) {
	var messages, receipts int
	n := min(maxPiece, max(1, pieceBytes/len(b.whole.frames)), len(b.seats)-b.next)
	for _, s := range b.seats[b.next : b.next+n] {
		// whole's index is that of the first.
		if b.whole.index >= s.from && !slices.Contains(b.origins, s.session) {
			if b.whole.tell(s) {
				messages += b.whole.messages
				receipts += b.whole.receipts()
			}
			continue
		}
		for _, each := range b.all {
			if each.tell(s) {
				messages += each.messages
				receipts += each.receipts()
			}
		}
	}
	b.next += n
	stats.messages.Add(uint64(messages))
	stats.receipts.Add(uint64(receipts))
}
