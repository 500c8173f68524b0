package godwit

import (
	"fmt"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/godwit-im/godwit/protocol"
	"github.com/godwit-im/godwit/protocol/pb"
)

// Presence is whether a user is there.
type Presence struct {
	User      string
	Platforms []string  // of the user's sessions; none = offline
	LastSeen  time.Time // when the last one ended; zero if it is not known, or not for this user to know
}

// Online reports whether the user has a session.
func (p *Presence) Online() bool { return len(p.Platforms) > 0 }

// subscription is what Subscribe was called with last.
type subscription struct {
	body *pb.Subscribe
	// presences are as the server told them, in this session or, until it has
	// told anew, in the one before.
	presences map[string]Presence
	current   bool
	queued    map[string]bool // to be told to the handler
}

// Subscribe has the server tell of the presence of users, protocol.MaxSubscribe
// at most, and of all contacts if it is asked to. What was subscribed to before
// is replaced, so nothing ends it. It lasts as long as the client: each new
// session subscribes again. The Call has how they stand now; Handler.OnPresence
// is told when that changes.
func (c *Client) Subscribe(users []string, contacts bool) *Call[[]Presence] {
	for _, user := range users {
		if err := protocol.CheckID("user", user); err != nil {
			return failed[[]Presence](c, fmt.Errorf("godwit: subscribe: %w", err))
		}
	}
	body := &pb.Subscribe{Users: slices.Clone(users), Contacts: contacts}
	learn := func(a *account, answer proto.Message) {
		a.subscription.body = body
		a.subscribed(answer.(*pb.Subscribed))
	}
	return start(c, protocol.TypeSubscribe, body, learn, func(m proto.Message) []Presence {
		var presences []Presence
		for _, p := range m.(*pb.Subscribed).Presences {
			presences = append(presences, presenceFromWire(p))
		}
		return presences
	})
}

// Presence returns how a user stands who was subscribed to, and whether that is
// known: it is not without a connection. It asks nobody.
func (c *Client) Presence(user string) (presence Presence, known bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := &c.account.subscription
	presence, known = s.presences[user]
	presence.Platforms = slices.Clone(presence.Platforms)
	return presence, known && s.current
}

func presenceFromWire(p *pb.Presence) Presence {
	return Presence{User: p.User, Platforms: slices.Clone(p.Platforms), LastSeen: timeOf(p.LastSeenMs)}
}

// resubscribe has a new session subscribe to what the one before did.
func (a *account) resubscribe() {
	s := &a.subscription
	s.current = false
	if s.body == nil {
		return
	}
	body := s.body
	again := &call{
		kind: protocol.TypeSubscribe, body: body, done: make(chan struct{}), once: true,
		learn: func(a *account, answer proto.Message) {
			if a.subscription.body == body { // else the application has replaced it meanwhile
				a.subscribed(answer.(*pb.Subscribed))
			}
		},
	}
	a.calls = slices.Insert(a.calls, 0, again) // before what the application has asked for since
}

// subscribed takes how all who were subscribed to stand.
func (a *account) subscribed(m *pb.Subscribed) {
	s := &a.subscription
	old := s.presences
	s.presences, s.current = make(map[string]Presence, len(m.Presences)), true
	for _, p := range m.Presences {
		if was, known := old[p.User]; known {
			s.presences[p.User] = was
			a.present(p)
		} else {
			s.presences[p.User] = presenceFromWire(p)
		}
	}
}

// present takes how a user stands now.
func (a *account) present(p *pb.Presence) {
	s := &a.subscription
	was, known := s.presences[p.User]
	if !known && !s.body.GetContacts() {
		return // it was pushed for an earlier subscription
	}
	is := presenceFromWire(p)
	s.presences[p.User] = is
	if known && slices.Equal(was.Platforms, is.Platforms) && was.LastSeen.Equal(is.LastSeen) || s.queued[p.User] {
		return
	}
	if s.queued == nil {
		s.queued = make(map[string]bool)
	}
	s.queued[p.User] = true
	a.enqueue(event{what: presenceEvent, user: p.User})
}
