package presence

import (
	"container/heap"
	"slices"
	"time"

	"github.com/godwit-im/godwit/protocol"
	"github.com/godwit-im/godwit/protocol/pb"
)

// piece is how many users, or subscriptions, are looked at while the lock is held:
// event loops wait for it.
const piece = 256

// news is what there is to tell about a user: how they stand, and who does not
// know it yet.
type news struct {
	user      string
	platforms []string
	seenMs    int64
	version   uint64
	subs      []*sub
}

// step does all that is due by now and returns when there is more to do; zero:
// never. It reads the store. It is called by one goroutine only, so the versions of
// a user reach each session in order.
func (p *Presence) step(now time.Time) time.Time {
	for p.takeApart() {
	}
	for {
		told, seen, more := p.collect(now)
		for i := range told {
			p.tell(&told[i], now)
		}
		for _, u := range seen {
			p.storeSeen(u, now)
		}
		if !more {
			break
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.due) == 0 {
		return time.Time{}
	}
	return p.due[0].at
}

// takeApart removes a piece of the subscriptions of sessions that have ended, and
// reports whether there are more.
func (p *Presence) takeApart() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for range piece {
		if len(p.ended) == 0 {
			p.ended = nil
			return false
		}
		w := p.ended[len(p.ended)-1]
		last := len(w.subs) - 1
		if last < 0 {
			p.ended[len(p.ended)-1] = nil
			p.ended = p.ended[:len(p.ended)-1]
			continue
		}
		s := w.subs[last]
		w.subs[last] = nil
		w.subs = w.subs[:last]
		p.unsubscribe(s)
	}
	return true
}

// unsubscribe takes a sub off its user, and forgets a user about whom there is
// nothing to do any more. The caller holds mu.
func (p *Presence) unsubscribe(s *sub) {
	u := s.user
	last := len(u.subs) - 1
	u.subs[s.index] = u.subs[last]
	u.subs[s.index].index = s.index
	u.subs[last] = nil
	u.subs = u.subs[:last]
	p.subscriptions--
	if last == 0 && u.index < 0 {
		delete(p.users, u.id)
	}
}

// collect looks at a piece of the users who are due. It returns what is to be told
// and whose last seen is to be stored, and whether more are due.
func (p *Presence) collect(now time.Time) (told []news, seen []*user, more bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for range piece {
		if len(p.due) == 0 || p.due[0].at.After(now) {
			return told, seen, false
		}
		u := heap.Pop(&p.due).(*user)
		platforms := p.platforms(u.id)
		if len(platforms) == 0 && len(u.platforms) > 0 {
			p.went(u, now) // Changed is yet to say so
		}
		if len(platforms) == 0 && !u.gone.IsZero() {
			if end := u.gone.Add(p.cfg.Delay); now.Before(end) {
				p.schedule(u, end)
				continue
			}
		}
		p.update(u, platforms, now)
		if len(platforms) == 0 && u.owed {
			// It stays a while after it was stored, for those who read before it is.
			u.owed = false
			seen = append(seen, u)
			p.schedule(u, now.Add(p.cfg.Delay))
		}
		if n := u.untold(); len(n.subs) > 0 {
			told = append(told, n)
		}
		if len(u.subs) == 0 && u.index < 0 {
			delete(p.users, u.id)
		}
	}
	return told, seen, true
}

// update makes a new version of u where they stand differently. The caller holds mu.
func (p *Presence) update(u *user, platforms []string, now time.Time) {
	seenMs := u.goneMs
	if len(platforms) > 0 {
		seenMs = 0
	}
	if seenMs == u.seenMs && slices.Equal(platforms, u.platforms) {
		return
	}
	u.platforms, u.seenMs, u.told = platforms, seenMs, now
	u.version++
}

// untold is the news about u for those who don't have it. The caller holds mu.
func (u *user) untold() news {
	n := news{user: u.id, platforms: u.platforms, seenMs: u.seenMs, version: u.version}
	for _, s := range u.subs {
		if s.watch.active && !s.watch.over && s.told != u.version {
			n.subs = append(n.subs, s)
		}
	}
	return n
}

// tell pushes news to those who may have it. To others the user becomes, or stays,
// somebody of whom nothing is known. Whoever can't be told, or of whom the store
// doesn't say whether they may, is tried again.
func (p *Presence) tell(n *news, now time.Time) {
	reached := make([]bool, len(n.subs)) // who knows now
	may := make([]bool, len(n.subs))     // and has been shown something
	defer p.settle(n, reached, may, now)
	audience, err := p.audience(n.user)
	if err != nil {
		p.failed(n.user, err)
		return
	}
	open := presenceFrame(n.user, n.platforms, n.seenMs)
	var hidden []byte
	for i, s := range n.subs {
		if may[i], err = p.sees(audience, s.watch.session.User, n.user); err != nil {
			p.failed(n.user, err)
			continue
		}
		frame := open
		if !may[i] {
			if !s.shown {
				reached[i] = true
				continue
			}
			if hidden == nil {
				hidden = presenceFrame(n.user, nil, 0)
			}
			frame = hidden
		}
		if reached[i] = s.watch.session.Offer(frame); reached[i] {
			p.stats.told.Add(1)
		} else {
			p.stats.missed.Add(1)
		}
	}
}

// settle notes what tell has done. Who could not be told is tried again.
func (p *Presence) settle(n *news, reached, may []bool, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i, s := range n.subs {
		switch {
		case s.watch.over: // its user may be another object by now
		case reached[i]:
			s.told, s.shown = n.version, may[i]
		default:
			p.schedule(s.user, now.Add(p.cfg.Retry))
		}
	}
}

// storeSeen has it stored when u was seen last. What is lost here, in a server that
// stops say, is worth no more trouble; a log that is busy is tried again.
func (p *Presence) storeSeen(u *user, now time.Time) {
	p.mu.Lock()
	ms := u.goneMs
	p.mu.Unlock()
	if err := p.submitSeen(u.id, ms, now); protocol.CodeOf(err) != pb.Code_CODE_BUSY {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.users[u.id] == u && !u.gone.IsZero() {
		u.owed = true
		p.schedule(u, now.Add(p.cfg.Retry))
	}
}

func (p *Presence) failed(user string, err error) {
	p.stats.failed.Add(1)
	p.cfg.Logger.Error("a read for presence has failed", "user", user, "err", err)
}
