package desk

import (
	"maps"
	"strconv"
	"strings"
	"time"

	"github.com/godwit-im/godwit/protocol"
	godwit "github.com/godwit-im/godwit/sdk-go"
)

// The attributes of a visit's group. Only the desk may write them, and all members
// can read them.
const (
	AttrDesk    = "desk"    // Config.Name
	AttrState   = "state"   // a State
	AttrVisitor = "visitor" // the user
	AttrAgent   = "agent"   // who serves the visit, or did so last; absent while nobody ever has or it waits
	AttrRating  = "rating"  // 1 to 5; absent until it is given
	AttrAt      = "at"      // the seq of the last message that the desk has acted upon
	AttrUntil   = "until"   // when the visit ends unless the token is renewed, in Unix milliseconds
	AttrClosed  = "closed"  // when it was closed, in Unix milliseconds; absent if it isn't
)

// State is where a visit stands.
type State string

// The states.
const (
	Waiting  State = "waiting"  // for an agent
	Assigned State = "assigned" // an agent is in it
	Closed   State = "closed"   // may be rated for a while; then the group is dissolved
)

// facts are what the attributes say.
type facts struct {
	state          State
	visitor, agent string
	rating         int
	at             uint64
	until, closed  time.Time
}

// visit is a visit whose group lives.
type visit struct {
	facts
	id     string    // of the conversation
	opened time.Time // the server's clock
	// seen is the seq of the newest message that was looked at. All before it were.
	seen uint64
	// retry is when to go on after something failed; zero = nothing did. Until then
	// messages are left alone: they are read again from facts.at.
	retry time.Time
}

// attributes is the form of f in the group.
func (f *facts) attributes() map[string][]byte {
	m := map[string][]byte{AttrState: []byte(f.state), AttrVisitor: []byte(f.visitor), AttrAgent: []byte(f.agent)}
	number := func(key string, n int64) {
		m[key] = nil
		if n != 0 {
			m[key] = strconv.AppendInt(nil, n, 10)
		}
	}
	number(AttrRating, int64(f.rating))
	number(AttrAt, int64(f.at))
	number(AttrUntil, millis(f.until))
	number(AttrClosed, millis(f.closed))
	return m
}

// change returns the attributes that turn f into to. One without a value goes.
func (f *facts) change(to *facts) map[string][]byte {
	was, is := f.attributes(), to.attributes()
	maps.DeleteFunc(is, func(key string, value []byte) bool { return string(was[key]) == string(value) })
	return is
}

// factsOf reads attributes. What is not understood, which only another version of
// the desk can have written, reads as nothing.
func factsOf(m map[string][]byte) facts {
	number := func(key string) int64 {
		n, err := strconv.ParseInt(string(m[key]), 10, 64)
		if err != nil {
			return 0
		}
		return n
	}
	f := facts{
		state: State(m[AttrState]), visitor: string(m[AttrVisitor]), agent: string(m[AttrAgent]),
		rating: int(number(AttrRating)), at: uint64(number(AttrAt)),
		until: timeOf(number(AttrUntil)), closed: timeOf(number(AttrClosed)),
	}
	return f
}

// visitOf is the visit in a group, if it is one of this desk and lives.
func (d *Desk) visitOf(c *godwit.Conversation) (v *visit, is bool) {
	if !d.owns(c) || c.Group.DissolvedSeq != 0 {
		return nil, false
	}
	v = &visit{facts: factsOf(c.Group.Attributes), id: c.ID, opened: c.Group.Created}
	v.seen = v.at
	return v, true
}

// owns reports whether a conversation is a visit of this desk, and the desk in it. A
// group that somebody else made is none, whatever its attributes say and whomever
// they gave it to.
func (d *Desk) owns(c *godwit.Conversation) bool {
	return d.made(c.ID) && c.Group != nil && c.Group.Owner == d.cfg.User &&
		c.Membership.Standing == godwit.StandingActive && string(c.Group.Attributes[AttrDesk]) == d.cfg.Name
}

// made reports whether the desk's user made a group: its id says so.
func (d *Desk) made(group string) bool {
	return strings.HasPrefix(group, protocol.GroupID(d.cfg.User, ""))
}

// visitorPrefix begins the ids of visitors.
const visitorPrefix = "visitor-"

func isVisitor(user string) bool { return strings.HasPrefix(user, visitorPrefix) }

// timeOf is a time in an attribute, where 0 is none.
func timeOf(ms int64) time.Time {
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms)
}

func millis(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}
