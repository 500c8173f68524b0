package presence

import (
	"math"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/godwit-im/godwit/protocol"
	"github.com/godwit-im/godwit/protocol/pb"
	"github.com/godwit-im/godwit/session"
)

// errEnded answers nobody: the session's connection has closed.
var errEnded = protocol.Errorf(pb.Code_CODE_NOT_CONNECTED, "the session has ended")

// Who answers a WHO with PRESENT. It reads the store.
func (p *Presence) Who(s *session.Session, request uint32, req *pb.Who) ([]byte, error) {
	p.stats.whos.Add(1)
	if len(req.Users) > protocol.MaxWho {
		return nil, protocol.Errorf(pb.Code_CODE_BAD_ARGUMENT, "WHO for %d users, the limit is %d", len(req.Users), protocol.MaxWho)
	}
	var online []string
	for _, id := range req.Users {
		if err := protocol.CheckID("user", id); err != nil {
			return nil, err
		}
		if id == s.User || !p.sessions.Online(id) {
			continue
		}
		visible, err := p.visible(s.User, id)
		if err != nil {
			return nil, err
		}
		if visible {
			online = append(online, id)
		}
	}
	return protocol.AppendProto(nil, protocol.TypePresent, request, &pb.Present{Online: online}), nil
}

// Subscribe answers a SUBSCRIBE with SUBSCRIBED. It reads the store. The calls for
// one session must not overlap. The caller calls then, if it is not nil, once the
// answer is queued: PRESENCE follows it from there on. Until the answer is ready
// what was subscribed to before goes on, and after an error it stays.
func (p *Presence) Subscribe(s *session.Session, request uint32, req *pb.Subscribe) (frame []byte, then func(), err error) {
	p.stats.subscribes.Add(1)
	ids, err := p.wanted(s.User, req)
	if err != nil {
		return nil, nil, err
	}
	w := &watch{session: s, subs: make([]*sub, 0, len(ids))}
	for i := 0; i < len(ids); i += piece {
		p.subscribe(w, ids[i:min(i+piece, len(ids))])
	}
	visible := make([]bool, len(ids))
	seen := make([]int64, len(ids))
	for i, id := range ids {
		if visible[i], err = p.visible(s.User, id); err == nil && visible[i] && !p.sessions.Online(id) {
			seen[i], err = p.store.Seen(protocol.SystemID(id), id)
		}
		if err != nil {
			p.drop(w)
			return nil, nil, err
		}
	}
	answer := &pb.Subscribed{}
	size := 0
	for i := 0; i < len(ids); i += piece {
		end := min(i+piece, len(ids))
		answer.Presences = p.describe(answer.Presences, &size, w.subs[i:end], visible[i:end], seen[i:end])
	}
	if !p.replace(w) {
		return nil, nil, errEnded
	}
	return protocol.AppendProto(nil, protocol.TypeSubscribed, request, answer), func() { p.activate(w) }, nil
}

// wanted is whom a SUBSCRIBE of id's session is about: each user once, and never
// id.
func (p *Presence) wanted(id string, req *pb.Subscribe) ([]string, error) {
	if len(req.Users) > protocol.MaxSubscribe {
		return nil, protocol.Errorf(pb.Code_CODE_BAD_ARGUMENT, "SUBSCRIBE to %d users, the limit is %d", len(req.Users), protocol.MaxSubscribe)
	}
	var ids []string
	known := map[string]bool{id: true}
	add := func(other string) {
		if !known[other] {
			known[other] = true
			ids = append(ids, other)
		}
	}
	for _, other := range req.Users {
		if err := protocol.CheckID("user", other); err != nil {
			return nil, err
		}
		add(other)
	}
	if req.Contacts {
		_, err := p.store.Contacts(id, "", math.MaxInt, func(peer string, m *pb.Membership) error {
			if m.GetContact() == pb.ContactState_CONTACT_STATE_CONTACT {
				add(peer)
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	if most := p.cfg.Rules.MaxSubscriptions; len(ids) > most {
		return nil, protocol.Errorf(pb.Code_CODE_TOO_MANY_SUBSCRIPTIONS, "subscriptions to %d users, the limit is %d", len(ids), most)
	}
	return ids, nil
}

// subscribe gives w subscriptions, not active yet. From here on no change of these
// users is missed.
func (p *Presence) subscribe(w *watch, ids []string) {
	now := p.cfg.Now()
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, id := range ids {
		u := p.users[id]
		if u == nil {
			u = p.addUser(id)
		}
		if len(u.subs) == 0 {
			// Nobody looked until now.
			p.update(u, p.platforms(id), now)
			u.told = time.Time{}
		}
		s := &sub{watch: w, user: u, index: len(u.subs)}
		u.subs = append(u.subs, s)
		w.subs = append(w.subs, s)
		p.subscriptions++
	}
}

// describe appends how the users of subs stand to list, and notes that it is told.
// What would not fit the frame is left out, and follows as PRESENCE. size is what
// list takes in the frame so far.
func (p *Presence) describe(list []*pb.Presence, size *int, subs []*sub, visible []bool, seen []int64) []*pb.Presence {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i, s := range subs {
		m := &pb.Presence{User: s.user.id}
		if visible[i] {
			m.Platforms = s.user.platforms
			if len(m.Platforms) == 0 {
				m.LastSeenMs = max(s.user.goneMs, seen[i])
			}
		}
		n := *size + proto.Size(m) + fieldSize
		if n > p.cfg.MaxFrame {
			continue
		}
		*size = n
		s.told, s.shown = s.user.version, visible[i]
		list = append(list, m)
	}
	return list
}

// fieldSize bounds what Subscribed adds to one of its presences: a tag and a length.
const fieldSize = 1 + 3

// replace makes w the watch of its session, in the place of the one before. false:
// the session has ended, and w with it.
func (p *Presence) replace(w *watch) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if w.session.Ended() {
		p.end(w)
		return false
	}
	if old := p.watches[w.session]; old != nil {
		p.end(old)
	}
	p.watches[w.session] = w
	return true
}

// drop takes a watch apart that didn't come to be.
func (p *Presence) drop(w *watch) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.end(w)
}

// activate lets news pass to w, and has that told which came up since it was
// described.
func (p *Presence) activate(w *watch) {
	now := p.cfg.Now()
	p.mu.Lock()
	defer p.mu.Unlock()
	w.active = true
	if w.over {
		return
	}
	for _, s := range w.subs {
		if s.told != s.user.version {
			p.schedule(s.user, now)
		}
	}
}
