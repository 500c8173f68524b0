package delivery

import (
	"hash/maphash"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/godwit-im/godwit/session"
)

// small is the size up to which an audience is told on the spot, by the writer:
// about 10 µs of its time. Larger ones are the stage's.
const small = 64

// audiences knows the online sessions of the members of every group. It holds
// nothing for who is offline, and nothing for a group of which nobody is online.
//
// A session has a listener from attach to detach, and a seat in the audience of
// each of its user's groups. The seats come from load, which reads the groups
// from the store, and from the effects of memberships that change. The two meet
// in any order, and end right because
//
//   - a change that was delivered before attach was committed before the read
//     began, and so is in it;
//   - a change that is delivered while the groups are read is kept in
//     listener.changed, and the read doesn't overrule it;
//   - a change that is delivered later is applied to what the read has left.
//
// Locks: a crowd's may be held while a hall's is taken, never the other way
// round; a lane's comes last.
type audiences struct {
	seed   maphash.Seed
	loops  int
	groups atomic.Int64 // audiences
	seats  atomic.Int64
	crowds [audienceShards]crowd // by user
	halls  [audienceShards]hall  // by conversation
}

const audienceShards = 64

type crowd struct {
	mu    sync.Mutex           // guards users and all listeners in it
	users map[string]*listener // the newest of each user's, chained by sibling
	_     [48]byte             // a cache line of its own
}

type hall struct {
	mu        sync.Mutex // guards audiences and all that is in them
	audiences map[string]*audience
	_         [48]byte
}

// listener is a session that may have seats.
type listener struct {
	session *session.Session
	loop    int32
	loading bool // its groups are being read, or will be
	gone    bool // detached; it gets no more seats
	sibling *listener
	seats   *seat // chained by next
	// changed holds the conversations that effects have given to the user, or
	// taken, while loading. nil = none.
	changed map[string]bool
}

// seat is a session's place in an audience. Its crowd guards next, its hall at;
// the rest never changes.
type seat struct {
	session  *session.Session
	audience *audience
	next     *seat // of the session
	// from is the first index of the partition's log whose messages the session
	// is told. What comes before is the business of the SYNC that follows a load:
	// it may be older than the membership, and not for the user to see.
	from uint64
	loop int32
	at   int32 // the index in its part
}

// audience is the seats of a conversation.
type audience struct {
	conversation string
	size         int
	// parts holds the seats: all in one, and once there were more than small, by
	// loop.
	parts []part
	// streams are by loop what the stage is to tell the audience; nil before it
	// grew large. The lanes guard what is in them.
	streams []*stream
	busy    atomic.Int32 // how many streams have something to tell
}

// part is a set of seats, in no order. One that is lent is never written to: a
// change makes a copy first.
type part struct {
	seats []*seat
	lent  bool
}

func newAudiences(loops int) *audiences {
	a := &audiences{seed: maphash.MakeSeed(), loops: loops}
	for i := range audienceShards {
		a.crowds[i].users = make(map[string]*listener)
		a.halls[i].audiences = make(map[string]*audience)
	}
	return a
}

func (a *audiences) crowd(user string) *crowd {
	return &a.crowds[maphash.String(a.seed, user)%audienceShards]
}

func (a *audiences) hall(conversation string) *hall {
	return &a.halls[maphash.String(a.seed, conversation)%audienceShards]
}

// attach makes a listener for s, whose connection belongs to loop. It is loading
// until load.
func (a *audiences) attach(s *session.Session, loop int) *listener {
	l := &listener{session: s, loop: int32(loop), loading: true}
	c := a.crowd(s.User)
	c.mu.Lock()
	defer c.mu.Unlock()
	l.sibling = c.users[s.User]
	c.users[s.User] = l
	return l
}

// load gives l its seats in groups, which were read after attach. from is asked
// for the first index that each one is told.
func (a *audiences) load(l *listener, groups []string, from func(conversation string) uint64) {
	c := a.crowd(l.session.User)
	c.mu.Lock()
	defer c.mu.Unlock()
	if l.gone {
		return
	}
	for _, conversation := range groups {
		if _, overruled := l.changed[conversation]; !overruled {
			a.sit(l, conversation, from(conversation))
		}
	}
	l.loading, l.changed = false, nil
}

// detach takes s's listener and all of its seats away, in the time that its own
// seats take. Another session of the same device keeps what it has.
func (a *audiences) detach(s *session.Session) {
	c := a.crowd(s.User)
	c.mu.Lock()
	defer c.mu.Unlock()
	l := c.remove(s)
	if l == nil {
		return
	}
	l.gone = true
	for x := l.seats; x != nil; x = x.next {
		a.stand(x)
	}
	l.seats, l.changed = nil, nil
}

// remove takes s's listener out of its user's chain. The caller holds mu.
func (c *crowd) remove(s *session.Session) *listener {
	var before *listener
	l := c.users[s.User]
	for ; l != nil && l.session != s; l = l.sibling {
		before = l
	}
	switch {
	case l == nil:
		return nil
	case before != nil:
		before.sibling = l.sibling
	case l.sibling != nil:
		c.users[s.User] = l.sibling
	default:
		delete(c.users, s.User)
	}
	l.sibling = nil
	return l
}

// join gives all of user's listeners a seat, because an effect says so.
func (a *audiences) join(conversation, user string) {
	c := a.crowd(user)
	c.mu.Lock()
	defer c.mu.Unlock()
	for l := c.users[user]; l != nil; l = l.sibling {
		l.note(conversation, true)
		if find(l, conversation) == nil {
			a.sit(l, conversation, 0)
		}
	}
}

// leave takes the seats of all of user's listeners, because an effect says so.
func (a *audiences) leave(conversation, user string) {
	c := a.crowd(user)
	c.mu.Lock()
	defer c.mu.Unlock()
	for l := c.users[user]; l != nil; l = l.sibling {
		l.note(conversation, false)
		if place := find(l, conversation); place != nil {
			x := *place
			*place = x.next
			a.stand(x)
		}
	}
}

// note keeps what an effect has said for the load that is under way.
func (l *listener) note(conversation string, member bool) {
	if !l.loading {
		return
	}
	if l.changed == nil {
		l.changed = make(map[string]bool)
	}
	l.changed[conversation] = member
}

// dissolve takes the seats of everybody. A session whose load has read the group
// before keeps a seat in an audience that is told nothing any more.
func (a *audiences) dissolve(conversation string) {
	h := a.hall(conversation)
	h.mu.Lock()
	seats := h.audiences[conversation].appendSeats(nil)
	h.mu.Unlock()
	for _, s := range seats {
		a.leave(conversation, s.session.User)
	}
}

// find returns the link to l's seat in conversation, nil where it has none. The
// caller holds the crowd's lock.
func find(l *listener, conversation string) **seat {
	for at := &l.seats; *at != nil; at = &(*at).next {
		if (*at).audience.conversation == conversation {
			return at
		}
	}
	return nil
}

// sit gives l a seat, of which it has none in conversation. The caller holds the
// crowd's lock.
func (a *audiences) sit(l *listener, conversation string, from uint64) {
	h := a.hall(conversation)
	h.mu.Lock()
	defer h.mu.Unlock()
	au := h.audiences[conversation]
	if au == nil {
		au = &audience{conversation: conversation, parts: make([]part, 1)}
		h.audiences[conversation] = au
		a.groups.Add(1)
	}
	a.seats.Add(1)
	l.seats = &seat{session: l.session, audience: au, next: l.seats, from: from, loop: l.loop}
	au.add(l.seats, a.loops)
}

// stand takes a seat out of its audience. The caller holds the crowd's lock.
func (a *audiences) stand(s *seat) {
	h := a.hall(s.audience.conversation)
	h.mu.Lock()
	defer h.mu.Unlock()
	s.audience.remove(s)
	a.seats.Add(-1)
	a.forget(h, s.audience)
}

// sweep forgets an audience if nobody is left in it and it has been told
// everything.
func (a *audiences) sweep(au *audience) {
	h := a.hall(au.conversation)
	h.mu.Lock()
	defer h.mu.Unlock()
	a.forget(h, au)
}

// forget is sweep for a caller who holds h's lock. An audience with something yet to
// be told stays: the next one of its conversation would overtake it.
func (a *audiences) forget(h *hall, au *audience) {
	if au.size == 0 && au.busy.Load() == 0 && h.audiences[au.conversation] == au {
		delete(h.audiences, au.conversation)
		a.groups.Add(-1)
	}
}

func (au *audience) add(s *seat, loops int) {
	if len(au.parts) == 1 && loops > 1 && au.size >= small {
		au.split(loops)
	}
	au.size++
	au.part(s).add(s)
}

// split orders the seats by loop.
func (au *audience) split(loops int) {
	seats := au.parts[0].seats
	au.parts = make([]part, loops)
	for _, s := range seats {
		au.part(s).add(s)
	}
}

func (au *audience) part(s *seat) *part {
	if len(au.parts) == 1 {
		return &au.parts[0]
	}
	return &au.parts[s.loop]
}

func (au *audience) remove(s *seat) {
	au.size--
	au.part(s).remove(s)
}

func (p *part) add(s *seat) {
	p.own()
	s.at = int32(len(p.seats))
	p.seats = append(p.seats, s)
}

func (p *part) remove(s *seat) {
	p.own()
	last := len(p.seats) - 1
	moved := p.seats[last]
	p.seats[s.at], moved.at = moved, s.at
	p.seats[last] = nil
	p.seats = p.seats[:last]
}

// own makes the seats p's own to change. The copy has some room, for sessions
// come in storms.
func (p *part) own() {
	if p.lent {
		p.seats = append(make([]*seat, 0, len(p.seats)+len(p.seats)/8+1), p.seats...)
		p.lent = false
	}
}

// lend returns the seats as they are now, for good.
func (p *part) lend() []*seat {
	p.lent = true
	return p.seats
}

// appendSeats appends all seats to dst. au may be nil.
func (au *audience) appendSeats(dst []*seat) []*seat {
	if au == nil {
		return dst
	}
	dst = slices.Grow(dst, au.size)
	for _, p := range au.parts {
		dst = append(dst, p.seats...)
	}
	return dst
}
