package presence

import (
	"container/heap"
	"slices"
	"sync"
	"time"

	"github.com/godwit-im/godwit/chat"
	"github.com/godwit-im/godwit/msgstore"
	"github.com/godwit-im/godwit/protocol"
	"github.com/godwit-im/godwit/protocol/pb"
	"github.com/godwit-im/godwit/session"
)

// Presence knows who watches whom and tells them. All of its methods may be called
// from any goroutine; those that read the store, which say so, must not be called
// on an event loop.
type Presence struct {
	cfg      Config
	store    *msgstore.Store
	sessions *session.Manager
	log      chat.Log
	stats    counters

	bell chan struct{} // has room for one ring: there may be something to do
	stop chan struct{} // closed by Close
	done chan struct{} // closed when the goroutine has ended

	mu            sync.Mutex // guards what follows, and what is in it
	users         map[string]*user
	due           agenda // those of users who are to be looked at
	watches       map[*session.Session]*watch
	ended         []*watch // to be taken apart
	subscriptions int
}

// user is somebody who is watched, or who has just gone.
type user struct {
	id   string
	subs []*sub

	// How the user stood when that was told last; 0 platforms = offline. Who goes
	// by it compares versions, which rise with every change.
	platforms []string // in order; never changed
	seenMs    int64
	version   uint64
	told      time.Time // when this version came to be

	gone   time.Time // when the last session ended; zero while there is one, or before we knew
	goneMs int64
	owed   bool // that is not stored yet

	at    time.Time // when to look at the user
	index int       // in Presence.due; -1 = not there
}

// watch is the subscriptions of a session.
type watch struct {
	session *session.Session
	subs    []*sub
	// active is set once SUBSCRIBED is on its way. Nothing is told before that, and
	// all that it would have been after.
	active bool
	over   bool // the session has ended, or has another watch
}

// sub is a session's subscription to a user.
type sub struct {
	watch *watch
	user  *user
	index int // in user.subs
	// told is the version that the session knows of, shown whether it was shown
	// anything of it: nothing means offline, and last seen nobody knows when.
	told  uint64
	shown bool
}

// New starts a Presence. The session manager must tell its Changed, and sessions,
// store and log must outlive Close.
func New(cfg Config, store *msgstore.Store, sessions *session.Manager, log chat.Log) (*Presence, error) {
	p, err := assemble(cfg, store, sessions, log)
	if err == nil {
		go p.run()
	}
	return p, err
}

func assemble(cfg Config, store *msgstore.Store, sessions *session.Manager, log chat.Log) (*Presence, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	return &Presence{
		cfg: cfg.withDefaults(), store: store, sessions: sessions, log: log,
		bell: make(chan struct{}, 1), stop: make(chan struct{}), done: make(chan struct{}),
		users: make(map[string]*user), watches: make(map[*session.Session]*watch),
	}, nil
}

// Close ends the telling. Who has just gone is seen last as was stored before.
func (p *Presence) Close() {
	close(p.stop)
	<-p.done
}

// Changed notes that a user's sessions have changed. It does not block for longer
// than a look at them.
func (p *Presence) Changed(id string) {
	now := p.cfg.Now()
	p.mu.Lock()
	defer p.mu.Unlock()
	u := p.users[id]
	if p.sessions.Online(id) {
		if u != nil {
			p.came(u, now)
		}
		return
	}
	if u == nil {
		u = p.addUser(id)
	}
	p.went(u, now)
}

// went notes when u's last session ended, unless it has. The caller holds mu.
func (p *Presence) went(u *user, now time.Time) {
	if u.gone.IsZero() {
		u.gone, u.goneMs, u.owed = now, now.UnixMilli(), true
		p.schedule(u, now.Add(p.cfg.Delay))
	}
}

// came schedules the news of a user who is online. The caller holds mu.
func (p *Presence) came(u *user, now time.Time) {
	u.gone, u.owed = time.Time{}, false
	if len(u.subs) == 0 {
		p.schedule(u, now)
		return
	}
	platforms := p.platforms(u.id)
	for _, platform := range platforms {
		if _, known := slices.BinarySearch(u.platforms, platform); !known {
			p.schedule(u, now)
			return
		}
	}
	if len(platforms) != len(u.platforms) {
		p.schedule(u, now.Add(p.cfg.Delay)) // one of several has gone
	}
}

// platforms are those of the user's sessions, in order. nil = offline.
func (p *Presence) platforms(id string) (list []string) {
	for _, s := range p.sessions.Sessions(nil, id) {
		list = append(list, s.Platform)
	}
	slices.Sort(list)
	return slices.Compact(list)
}

// Forget drops the subscriptions of a session whose connection has closed. Those of
// its successor stay.
func (p *Presence) Forget(s *session.Session) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if w := p.watches[s]; w != nil {
		delete(p.watches, s)
		p.end(w)
	}
}

// end has a watch taken apart, which takes the time that its subscriptions take.
// The caller holds mu.
func (p *Presence) end(w *watch) {
	w.over = true
	p.ended = append(p.ended, w)
	p.ring()
}

func (p *Presence) ring() {
	select {
	case p.bell <- struct{}{}:
	default:
	}
}

// addUser makes a user who isn't there. The caller holds mu.
func (p *Presence) addUser(id string) *user {
	u := &user{id: id, version: 1, index: -1}
	p.users[id] = u
	return u
}

// schedule has u looked at no later than at, and not sooner than Interval allows.
// The caller holds mu.
func (p *Presence) schedule(u *user, at time.Time) {
	if earliest := u.told.Add(p.cfg.Interval); at.Before(earliest) {
		at = earliest
	}
	if u.index >= 0 && !at.Before(u.at) {
		return
	}
	u.at = at
	if u.index < 0 {
		heap.Push(&p.due, u)
	} else {
		heap.Fix(&p.due, u.index)
	}
	if u.index == 0 {
		p.ring()
	}
}

// agenda is a heap of users by when they are to be looked at.
type agenda []*user

func (a agenda) Len() int           { return len(a) }
func (a agenda) Less(i, j int) bool { return a[i].at.Before(a[j].at) }
func (a agenda) Swap(i, j int) {
	a[i], a[j] = a[j], a[i]
	a[i].index, a[j].index = i, j
}

func (a *agenda) Push(x any) {
	u := x.(*user)
	u.index = len(*a)
	*a = append(*a, u)
}

func (a *agenda) Pop() any {
	last := len(*a) - 1
	u := (*a)[last]
	(*a)[last] = nil
	*a = (*a)[:last]
	u.index = -1
	return u
}

// run looks at users when they are due, until Close.
func (p *Presence) run() {
	defer close(p.done)
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-p.stop:
			return
		case <-p.bell:
		case <-timer.C:
		}
		if next := p.step(p.cfg.Now()); !next.IsZero() {
			timer.Reset(max(next.Sub(p.cfg.Now()), time.Millisecond))
		}
	}
}

// presenceFrame is the PRESENCE of a user who stands so.
func presenceFrame(id string, platforms []string, seenMs int64) []byte {
	return protocol.AppendProto(nil, protocol.TypePresence, 0, &pb.Presence{User: id, Platforms: platforms, LastSeenMs: seenMs})
}
