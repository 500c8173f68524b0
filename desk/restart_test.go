package desk_test

import (
	"context"
	"net/http"
	"strconv"
	"testing"
	"time"

	"github.com/godwit-im/godwit/desk"
	"github.com/godwit-im/godwit/protocol/pb"
	godwit "github.com/godwit-im/godwit/sdk-go"
	"github.com/godwit-im/godwit/server"
)

// asDesk is a client of the desk's own user, with which a test leaves behind what a
// desk that was ended at the wrong moment would.
func (p *place) asDesk() *user {
	p.t.Helper()
	return p.login(p.cfg.User, p.token(p.cfg.User))
}

// A desk that starts again goes on where the one before was, and does what was asked
// for in between.
func TestRestart(t *testing.T) {
	p := newPlace(t, nil, "ann", "ben")
	ann, ben := p.agents["ann"], p.agents["ben"]
	handed, one := p.visit()
	rated, two := p.visit()
	plain, three := p.visit()
	handed.served(one, "ann")
	rated.served(two, "ben")
	plain.served(three, "ann")

	p.close()
	ann.say(one, "I'll ask a colleague")
	ann.command(one, `{"hand_over":""}`)
	handed.say(one, "thanks")
	rated.command(two, `{"close":true,"rating":3}`)
	p.open()

	handed.served(one, "ben")
	ben.got(one, handed.User(), "thanks")
	ann.in(one, godwit.StandingRemoved)
	rated.ended(two)
	rated.is(two, desk.AttrRating, "3")
	plain.served(three, "ann")
	// Loads are known: one each.
	next, four := p.visit()
	next.served(four, "ann")
	next, five := p.visit()
	next.served(five, "ben")
}

// Those who wait go on waiting.
func TestRestartWithQueue(t *testing.T) {
	p := newPlace(t, nil)
	visitor, visit := p.visit()
	p.close()
	p.open()
	visitor.is(visit, desk.AttrState, string(desk.Waiting))
	p.close()
	ann := p.login("ann", p.token("ann"))
	p.open()
	visitor.served(visit, "ann")
	ann.in(visit, godwit.StandingActive)
}

// What a desk had done by half is done to the end: the attributes name another agent
// than is in it, and a group is dissolved that the desk is still in.
func TestRestartHalfway(t *testing.T) {
	p := newPlace(t, nil, "ann", "cyd")
	visitor, visit := p.visit()
	visitor.served(visit, "ann")
	ending, other := p.visit()
	ending.served(other, "cyd")
	p.close()

	us := p.asDesk()
	if _, err := us.ChangeGroup(visit, godwit.GroupChange{Attributes: map[string][]byte{desk.AttrAgent: []byte("cyd")}}).Wait(p.context()); err != nil {
		t.Fatal(err)
	}
	if _, err := us.DissolveGroup(other).Wait(p.context()); err != nil {
		t.Fatal(err)
	}
	p.open()
	p.agents["ann"].in(visit, godwit.StandingRemoved)
	p.agents["cyd"].in(visit, godwit.StandingActive)
	us.in(other, godwit.StandingLeft)

	// A group that was made although the desk had given up on it is taken up.
	made, err := us.CreateGroup(godwit.NewGroup{Users: []string{"visitor-x"}, History: godwit.HistoryAll, Attributes: map[string][]byte{
		desk.AttrDesk: []byte(p.cfg.Name), desk.AttrState: []byte(desk.Waiting), desk.AttrVisitor: []byte("visitor-x"),
		desk.AttrUntil: strconv.AppendInt(nil, time.Now().Add(time.Hour).UnixMilli(), 10),
	}}).Wait(p.context())
	if err != nil {
		t.Fatal(err)
	}
	us.served(made.Group.Conversation, "ann")
}

// There is one desk of a name: a second one takes over, and the first one ends.
func TestSecondDesk(t *testing.T) {
	p := newPlace(t, nil, "ann")
	visitor, visit := p.visit()
	first := p.desk
	p.open()
	select {
	case <-first.Done():
	case <-p.context().Done():
		t.Fatal("there are two desks")
	}
	if err := first.Err(); godwit.CodeOf(err) != pb.Code_CODE_REPLACED {
		t.Errorf("the first desk ended: %v", err)
	}
	first.Close()
	p.agents["ann"].command(visit, `{"close":true}`)
	visitor.is(visit, desk.AttrState, string(desk.Closed))
}

// A long talk is not read again by every desk that starts.
func TestRestartAfterLongTalk(t *testing.T) {
	p := newPlace(t, nil, "ann")
	visitor, visit := p.visit()
	visitor.served(visit, "ann")
	p.close()
	var last *godwit.Outgoing
	for range 450 {
		o, err := visitor.SendText(p.context(), visit, "and another thing")
		if err != nil {
			t.Fatal(err)
		}
		last = o
	}
	ack, err := last.Sent(p.context())
	if err != nil {
		t.Fatal(err)
	}
	p.open()
	visitor.is(visit, desk.AttrAt, strconv.FormatUint(ack.Seq, 10))
	visitor.served(visit, "ann")
}

// What the server refuses for now is tried again.
func TestRetry(t *testing.T) {
	p := newPlace(t, func(s *server.Config, c *desk.Config) {
		s.Chat.Rules.MaxGroups = 1
		c.Retry = 10 * time.Millisecond
	})
	bob := p.login("bob", p.token("bob"))
	full, err := bob.CreateGroup(godwit.NewGroup{Users: []string{"ann"}}).Wait(p.context())
	if err != nil {
		t.Fatal(err)
	}
	visitor, visit := p.visit()
	ann := p.login("ann", p.token("ann"))
	visitor.served(visit, "ann") // so it shall be, but ann is in as many groups as she may be in
	if _, err := bob.DissolveGroup(full.Group.Conversation).Wait(p.context()); err != nil {
		t.Fatal(err)
	}
	ann.in(visit, godwit.StandingActive)
}

// The server goes and comes back: the desk goes on, and meanwhile it says so.
func TestServerRestart(t *testing.T) {
	p := newPlace(t, func(s *server.Config, c *desk.Config) {
		s.Drain.ReconnectAfter = 10 * time.Millisecond
		c.CallTimeout = 2 * time.Second // enough for any call, and soon over without a server
	}, "ann", "ben")
	visitor, visit := p.visit()
	visitor.served(visit, "ann")
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := p.srv.Shutdown(ctx); err != nil {
		t.Fatal(err)
	}
	if status, header, _ := p.post(""); status != http.StatusServiceUnavailable || header.Get("Retry-After") == "" {
		t.Errorf("status %d, %v", status, header)
	}
	p.restartServer()
	p.agents["ann"].command(visit, `{"close":true}`)
	visitor.is(visit, desk.AttrState, string(desk.Closed))
	// Agents come back when they do, and the desk is told.
	visitor.say(visit, "are you back?")
	visitor.until("an agent", visit, func(c godwit.Conversation) bool {
		return string(c.Group.Attributes[desk.AttrState]) == string(desk.Assigned) && c.Group.Members == 3
	})
}
