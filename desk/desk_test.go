package desk_test

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/godwit-im/godwit/desk"
	godwit "github.com/godwit-im/godwit/sdk-go"
	"github.com/godwit-im/godwit/server"
)

// A visit from beginning to end: text both ways, a rating, the end.
func TestVisit(t *testing.T) {
	p := newPlace(t, nil, "ann")
	ann := p.agents["ann"]
	visitor, visit := p.visit()
	visitor.served(visit, "ann")
	visitor.say(visit, "hello?")
	ann.got(visit, visitor.User(), "hello?")
	ann.say(visit, "what can I do for you?")
	visitor.got(visit, "ann", "what can I do for you?")

	visitor.command(visit, `{"rating":4}`)
	ann.is(visit, desk.AttrRating, "4")
	ann.command(visit, `{"close":true}`)
	ann.in(visit, godwit.StandingRemoved)
	// The visitor may have something to add.
	visitor.is(visit, desk.AttrState, string(desk.Closed))
	visitor.command(visit, `{"close":true}`)
	visitor.ended(visit)
	if c, _ := visitor.Conversation(visit); string(c.Group.Attributes[desk.AttrAgent]) != "ann" {
		t.Errorf("who served it is forgotten: %q", c.Group.Attributes)
	}
}

// Each visit goes to the agent who is online and serves the fewest; with the same
// load, to the first. Those who are not online get none.
func TestLeastLoad(t *testing.T) {
	p := newPlace(t, func(_ *server.Config, c *desk.Config) {
		c.Agents = []string{"ann", "ben", "off", "cyd"}
	}, "cyd", "ben", "ann")
	type visit struct {
		visitor *user
		id      string
	}
	var visits []visit
	come := func(agent string) {
		t.Helper()
		visitor, id := p.visit()
		visitor.served(id, agent)
		visits = append(visits, visit{visitor, id})
	}
	for _, agent := range []string{"ann", "ben", "cyd", "ann", "ben"} {
		come(agent)
	}
	come("cyd") // two each
	for _, i := range []int{1, 4} {
		v := visits[i]
		v.visitor.command(v.id, `{"close":true}`)
		v.visitor.is(v.id, desk.AttrState, string(desk.Closed))
	}
	for _, agent := range []string{"ben", "ben", "ann"} {
		come(agent)
	}
}

// Nobody is online: visitors wait, and are assigned in the order in which they came
// as soon as somebody is.
func TestQueue(t *testing.T) {
	p := newPlace(t, nil)
	first, one := p.visit()
	second, two := p.visit()
	first.is(one, desk.AttrState, string(desk.Waiting))
	second.is(two, desk.AttrState, string(desk.Waiting))
	first.say(one, "anybody?")
	ben := p.login("ben", p.token("ben"))
	first.served(one, "ben")
	second.served(two, "ben")
	ben.got(one, first.User(), "anybody?") // from before
	if x, y := ben.in(one, godwit.StandingActive), ben.in(two, godwit.StandingActive); y.Membership.Joined.Before(x.Membership.Joined) {
		t.Errorf("the first one was assigned at %v, the second at %v", x.Membership.Joined, y.Membership.Joined)
	}
}

// A visit is handed over to somebody, and to whoever has the least to do. The new
// agent sees all of it; the former one keeps what there was and gets nothing more.
func TestHandOver(t *testing.T) {
	p := newPlace(t, nil, "ann", "ben", "cyd")
	ann, ben, cyd := p.agents["ann"], p.agents["ben"], p.agents["cyd"]
	visitor, visit := p.visit()
	visitor.served(visit, "ann")
	visitor.say(visit, "my pipe leaks")
	ann.got(visit, visitor.User(), "my pipe leaks")
	ann.command(visit, `{"hand_over":"cyd"}`)
	visitor.served(visit, "cyd")
	left := ann.in(visit, godwit.StandingRemoved)
	cyd.got(visit, visitor.User(), "my pipe leaks")
	after := visitor.say(visit, "still")
	cyd.got(visit, visitor.User(), "still")
	if until := left.Membership.UntilSeq; until == 0 || until >= after {
		t.Errorf("ann may read up to %d, and %d was written later", until, after)
	}
	members, err := cyd.Members(p.context(), visit)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range members {
		if m.User == "ann" {
			t.Error("ann is a member")
		}
	}

	// Ann has another visit by now, so ben has the least to do.
	busy, other := p.visit()
	busy.served(other, "ann")
	cyd.command(visit, `{"hand_over":""}`)
	visitor.served(visit, "ben")
	ben.got(visit, visitor.User(), "my pipe leaks")
	cyd.in(visit, godwit.StandingRemoved)

	// An agent who leaves hands over.
	if _, err := ben.LeaveGroup(visit).Wait(p.context()); err != nil {
		t.Fatal(err)
	}
	visitor.until("another agent", visit, func(c godwit.Conversation) bool {
		a := c.Group.Attributes
		return string(a[desk.AttrState]) == string(desk.Assigned) && c.Group.Members == 3 && string(a[desk.AttrAgent]) != ""
	})
}

// What an agent can't do is answered, and not done later either.
func TestRefusedCommands(t *testing.T) {
	p := newPlace(t, nil, "ann")
	ann := p.agents["ann"]
	visitor, visit := p.visit()
	visitor.served(visit, "ann")
	direct := "d:ann:" + p.cfg.User
	for _, tc := range []struct{ body, why string }{
		{`{"hand_over":"ben"}`, "ben is not online"},
		{`{"hand_over":"ann"}`, "it is yours already"},
		{`{"hand_over":""}`, "nobody else is online"},
		{`{"hand_over":"zoe"}`, "zoe is no agent of this desk"},
		{`{}`, "there is nothing to do in it"},
		{`hand over!`, `a command is JSON, like {"hand_over":""} or {"close":true}`},
		{`{"close":` + strings.Repeat(" ", 1<<10) + `true}`, "a command has at most 1024 bytes"},
	} {
		seq := ann.command(visit, tc.body)
		ann.got(direct, p.cfg.User, fmt.Sprintf("Your command in %s is not carried out: %s.", visit, tc.why))
		ann.is(visit, desk.AttrAt, strconv.FormatUint(seq, 10))
	}

	// Another desk, when ben is online, does not hand over what was refused.
	p.close()
	p.login("ben", p.token("ben"))
	p.open()
	seq := ann.command(visit, `{}`)
	ann.is(visit, desk.AttrAt, strconv.FormatUint(seq, 10))
	visitor.served(visit, "ann")
}

// After it is closed a visit can be rated for a while, once.
func TestRating(t *testing.T) {
	p := newPlace(t, nil, "ann")
	visitor, visit := p.visit()
	visitor.served(visit, "ann")
	p.agents["ann"].command(visit, `{"close":true}`)
	visitor.is(visit, desk.AttrState, string(desk.Closed))
	visitor.command(visit, `{"rating":6}`)
	visitor.command(visit, `{"rating":-1}`)
	visitor.command(visit, `{"rating":5}`)
	visitor.ended(visit)
	visitor.is(visit, desk.AttrRating, "5")

	// All at once.
	visitor, visit = p.visit()
	visitor.command(visit, `{"close":true,"rating":1}`)
	visitor.ended(visit)
	visitor.is(visit, desk.AttrRating, "1")

	// Only the first rating counts.
	visitor, visit = p.visit()
	visitor.command(visit, `{"rating":2}`)
	visitor.command(visit, `{"rating":3}`)
	visitor.command(visit, `{"close":true}`)
	visitor.ended(visit)
	visitor.is(visit, desk.AttrRating, "2")
}

// Whoever is not heard of any more does not keep a visit open, nor an agent busy.
func TestEnds(t *testing.T) {
	p := newPlace(t, func(_ *server.Config, c *desk.Config) { c.RateWindow = 50 * time.Millisecond }, "ann")
	visitor, visit := p.visit()
	visitor.served(visit, "ann")
	p.agents["ann"].command(visit, `{"close":true}`)
	visitor.ended(visit) // not rated in time

	visitor, visit = p.visit()
	visitor.served(visit, "ann")
	if _, err := visitor.LeaveGroup(visit).Wait(p.context()); err != nil {
		t.Fatal(err)
	}
	p.agents["ann"].in(visit, godwit.StandingRemoved)
	p.agents["ann"].is(visit, desk.AttrState, string(desk.Closed))
}

func TestTokenRunsOut(t *testing.T) {
	p := newPlace(t, func(s *server.Config, c *desk.Config) {
		c.TokenTTL = time.Second
		c.Auth.Leeway = 0
	}, "ann")
	_, _, v := p.post("")
	ann := p.agents["ann"]
	ann.in(v.Conversation, godwit.StandingRemoved) // so she was a member
	ann.is(v.Conversation, desk.AttrState, string(desk.Closed))
}

// A visitor who comes back with their token is the same one: in the visit that is
// open, or in a new one where it is closed. One who writes after the agent closed it
// opens it again; one who closed it does not.
func TestComingBack(t *testing.T) {
	p := newPlace(t, nil, "ann")
	status, _, first := p.post("")
	if status != http.StatusCreated {
		t.Fatalf("status %d", status)
	}
	status, _, again := p.post(first.Token)
	if status != http.StatusOK || again.User != first.User || again.Conversation != first.Conversation || again.State != desk.Assigned {
		t.Errorf("status %d, %+v, first %+v", status, again, first)
	}
	visitor := p.login(again.User, again.Token)
	visitor.served(again.Conversation, "ann")
	ann := p.agents["ann"]
	closeIt := func() {
		ann.in(again.Conversation, godwit.StandingActive)
		ann.command(again.Conversation, `{"close":true}`)
		visitor.is(again.Conversation, desk.AttrState, string(desk.Closed))
	}
	closeIt()
	visitor.say(again.Conversation, "one more thing")
	visitor.served(again.Conversation, "ann")
	closeIt()
	status, _, second := p.post(again.Token)
	if status != http.StatusCreated || second.User != first.User || second.Conversation == first.Conversation {
		t.Errorf("status %d, %+v, first %+v", status, second, first)
	}
	visitor.ended(first.Conversation)
	visitor.served(second.Conversation, "ann")

	for _, bad := range []string{"x", p.token("ann"), second.Token + "x"} {
		if status, _, v := p.post(bad); status != http.StatusUnauthorized || v.Token != "" {
			t.Errorf("status %d: %+v", status, v)
		}
	}
}
