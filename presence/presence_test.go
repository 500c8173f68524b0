package presence

import (
	"fmt"
	"testing"
	"time"

	"github.com/godwit-im/godwit/protocol"
	"github.com/godwit-im/godwit/protocol/pb"
)

func TestComingAndGoing(t *testing.T) {
	pl := newPlace(t)
	pl.talk("ann", "bob")
	ann := pl.connect("ann", "phone", "ios")
	pl.want("SUBSCRIBED", ann.subscribe(false, "bob", "ann", "bob"), "bob")

	phone := pl.connect("bob", "phone", "ios")
	pl.pass(0)
	pl.want("bob comes", ann.news(), "bob ios")
	pl.connect("bob", "phone2", "ios") // no other platform: no news
	pl.pass(time.Minute)
	pl.want("another one of a platform", ann.news())
	desk := pl.connect("bob", "desk", "linux")
	pl.pass(0)
	pl.want("bob's desk", ann.news(), "bob ios,linux")
	desk.leave()
	pl.pass(2999 * time.Millisecond)
	pl.want("bob's desk has just gone", ann.news())
	pl.pass(time.Millisecond)
	pl.want("bob's desk has gone", ann.news(), "bob ios")

	phone.leave()
	pl.pass(time.Minute)
	pl.want("one of two", ann.news())
	pl.sessions.Sessions(nil, "bob")[0].Close(nil)
	for _, s := range pl.sessions.Sessions(nil, "bob") {
		(&client{Session: s, pl: pl}).leave()
	}
	pl.pass(2999 * time.Millisecond)
	pl.want("bob has just gone", ann.news())
	pl.pass(time.Millisecond)
	pl.want("bob has gone", ann.news(), "bob -3s")

	// Another one who asks learns the same.
	pl.pass(time.Minute)
	pl.want("SUBSCRIBED later", pl.connect("ann", "tablet", "android").subscribe(false, "bob"), "bob -1m3s")
	ann.leave()
	pl.connect("bob", "phone", "ios")
	pl.pass(time.Minute)
	pl.want("to who has left", ann.news())
}

// A connection that breaks and is made again is no news, however often, and a
// client that can't keep one is no more than one piece of news in Interval.
func TestFlapping(t *testing.T) {
	pl := newPlace(t)
	pl.talk("ann", "bob")
	ann := pl.connect("ann", "phone", "ios")
	bob := pl.connect("bob", "phone", "ios")
	ann.subscribe(false, "bob")
	for range 100 {
		bob.leave()
		pl.pass(2 * time.Second)
		bob = pl.connect("bob", "phone", "ios")
		pl.pass(500 * time.Millisecond)
	}
	pl.want("within the delay", ann.news())

	// With a new platform each time, which is told at once by itself.
	for i := range 100 {
		bob = pl.connect("bob", "phone", fmt.Sprint("p", i))
		pl.pass(100 * time.Millisecond)
	}
	if n := len(ann.news()); n < 9 || n > 11 {
		t.Errorf("%d news in 10 s", n)
	}
	pl.pass(time.Minute)
	ann.news()
	bob.leave()
	pl.pass(3 * time.Second)
	pl.want("in the end", ann.news(), "bob -3s")
}

// When a user was seen last outlives the server, and somebody who is back within
// the delay was not away.
func TestLastSeen(t *testing.T) {
	pl := newPlace(t)
	pl.connect("bob", "phone", "ios").leave()
	pl.pass(2 * time.Second)
	back := pl.connect("bob", "phone", "ios")
	pl.pass(time.Minute)
	if n := pl.Stats().Seen; n != 0 {
		t.Fatalf("stored %d times", n)
	}
	gone := pl.clock.Now().UnixMilli()
	back.leave()
	pl.pass(time.Minute)
	pl.show("bob", pb.Audience_AUDIENCE_EVERYBODY) // the commands of one conversation are in order: what was stored is there
	if ms, err := pl.store.Seen(protocol.SystemID("bob"), "bob"); ms != gone || err != nil {
		t.Errorf("seen at %d (%v), want %d", ms, err, gone)
	}
	if st := pl.Stats(); st.Seen != 1 || st.Users != 0 {
		t.Errorf("stored %d times, %d users are kept", st.Seen, st.Users)
	}
	pl.want("SUBSCRIBED", pl.connect("ann", "phone", "ios").subscribe(false, "bob"), "bob -1m0s")
}

func TestSubscriptionsAreReplaced(t *testing.T) {
	pl := newPlace(t, func(c *Config) { c.Rules.MaxSubscriptions = 2 })
	ann := pl.connect("ann", "phone", "ios")
	for _, user := range []string{"bob", "cid", "dan"} {
		pl.talk("ann", user)
	}
	ann.subscribe(false, "bob", "cid")
	_, _, err := pl.Subscribe(ann.Session, 1, &pb.Subscribe{Users: []string{"bob", "cid", "dan"}})
	wantCode(t, err, pb.Code_CODE_TOO_MANY_SUBSCRIPTIONS)
	_, _, err = pl.Subscribe(ann.Session, 1, &pb.Subscribe{Users: []string{"no id"}})
	wantCode(t, err, pb.Code_CODE_BAD_ID)
	_, _, err = pl.Subscribe(ann.Session, 1, &pb.Subscribe{Users: make([]string, protocol.MaxSubscribe+1)})
	wantCode(t, err, pb.Code_CODE_BAD_ARGUMENT)
	pl.connect("bob", "phone", "ios")
	pl.pass(0)
	pl.want("after what was refused", ann.news(), "bob ios")

	pl.want("SUBSCRIBED", ann.subscribe(false, "cid", "dan"), "cid", "dan")
	pl.connect("bob", "desk", "linux")
	pl.connect("dan", "desk", "linux")
	pl.pass(time.Minute)
	pl.want("then", ann.news(), "dan linux")
	if st := pl.Stats(); st.Subscriptions != 2 || st.Users != 2 || st.Watching != 1 {
		t.Errorf("%+v", st)
	}
	ann.subscribe(false)
	pl.pass(time.Minute)
	if st := pl.Stats(); st.Subscriptions != 0 || st.Users != 0 {
		t.Errorf("%+v", st)
	}
}

func TestContactsAreSubscribedTo(t *testing.T) {
	pl := newPlace(t)
	pl.befriend("ann", "bob")
	pl.contact("ann", "cid", pb.ContactAction_CONTACT_ACTION_REQUEST)
	pl.contact("dan", "ann", pb.ContactAction_CONTACT_ACTION_REQUEST)
	pl.connect("bob", "phone", "ios")
	pl.connect("cid", "phone", "ios")
	pl.connect("dan", "phone", "ios")
	ann := pl.connect("ann", "phone", "ios")
	pl.want("contacts", ann.subscribe(true), "bob ios")
	pl.want("contacts and others", ann.subscribe(true, "bob", "cid", "dan"), "bob ios", "cid", "dan")
}

// Who may see whom: SUBSCRIBED, PRESENCE and WHO say the same.
func TestPrivacy(t *testing.T) {
	const stranger, talked, asked, friend, blocked = "stranger", "talked", "asked", "friend", "blocked"
	viewers := []string{stranger, talked, asked, friend, blocked}
	pl := newPlace(t)
	pl.talk(talked, "bob")
	pl.contact(asked, "bob", pb.ContactAction_CONTACT_ACTION_REQUEST)
	pl.befriend(friend, "bob")
	pl.befriend(blocked, "bob")
	pl.talk(blocked, "bob")
	pl.contact("bob", blocked, pb.ContactAction_CONTACT_ACTION_BLOCK)
	for _, c := range []struct {
		audience pb.Audience
		may      map[string]bool
	}{
		{pb.Audience_AUDIENCE_UNSPECIFIED, map[string]bool{talked: true, friend: true}},
		{pb.Audience_AUDIENCE_NOBODY, nil},
		{pb.Audience_AUDIENCE_CONTACTS, map[string]bool{friend: true}},
		{pb.Audience_AUDIENCE_EVERYBODY, map[string]bool{stranger: true, talked: true, asked: true, friend: true}},
	} {
		pl.show("bob", c.audience)
		clients := map[string]*client{}
		for _, viewer := range viewers {
			clients[viewer] = pl.connect(viewer, "phone", "ios")
			clients[viewer].subscribe(false, "bob")
		}
		bob := pl.connect("bob", "phone", "ios")
		pl.pass(0)
		for _, viewer := range viewers {
			what := fmt.Sprintf("%v, %s", c.audience, viewer)
			shown := []string{"bob ios"}
			if !c.may[viewer] {
				shown = []string{"bob"}
				pl.want(what+" is pushed", clients[viewer].news())
			} else {
				pl.want(what+" is pushed", clients[viewer].news(), "bob ios")
			}
			pl.want(what+" subscribes", clients[viewer].subscribe(false, "bob"), shown...)
			frame, err := pl.Who(clients[viewer].Session, 1, &pb.Who{Users: []string{"bob", viewer, "nobody"}})
			if err != nil {
				t.Fatal(err)
			}
			var present pb.Present
			pl.decode(frame, protocol.TypePresent, 1, &present)
			if got := len(present.Online) == 1; got != c.may[viewer] || len(present.Online) > 1 {
				t.Errorf("%s: WHO says %v", what, present.Online)
			}
		}
		bob.leave()
		pl.pass(time.Minute)
		for _, viewer := range viewers {
			if c.may[viewer] {
				pl.want(viewer+" sees bob go", clients[viewer].news(), "bob -1m0s")
				pl.want(viewer+" looks later", clients[viewer].subscribe(false, "bob"), "bob -1m0s")
			} else {
				pl.want(viewer+" sees bob go", clients[viewer].news())
				pl.want(viewer+" looks later", clients[viewer].subscribe(false, "bob"), "bob")
			}
			clients[viewer].leave()
		}
	}
}

// Whoever is not to know any more is told nothing but, with the next news, that
// nothing is known.
func TestPrivacyChangesAtOnce(t *testing.T) {
	pl := newPlace(t)
	pl.talk("ann", "bob")
	ann := pl.connect("ann", "phone", "ios")
	pl.connect("bob", "phone", "ios")
	pl.want("SUBSCRIBED", ann.subscribe(false, "bob"), "bob ios")
	pl.contact("bob", "ann", pb.ContactAction_CONTACT_ACTION_BLOCK)
	pl.connect("bob", "desk", "linux")
	pl.pass(0)
	pl.want("when blocked", ann.news(), "bob")
	pl.connect("bob", "watch", "watchos")
	pl.pass(time.Minute)
	pl.want("then", ann.news())
	pl.contact("bob", "ann", pb.ContactAction_CONTACT_ACTION_UNBLOCK)
	pl.connect("bob", "car", "android")
	pl.pass(time.Minute)
	pl.want("when unblocked", ann.news(), "bob android,ios,linux,watchos")
}

// A session that is too slow to be told is told later how things stand then.
func TestSlowWatchers(t *testing.T) {
	pl := newPlace(t)
	pl.talk("ann", "bob")
	ann, quick := pl.connect("ann", "phone", "ios"), pl.connect("ann", "desk", "linux")
	ann.subscribe(false, "bob")
	quick.subscribe(false, "bob")
	ann.wire.setFull(true)
	bob := pl.connect("bob", "phone", "ios")
	pl.pass(10 * time.Second)
	pl.want("the quick", quick.news(), "bob ios")
	bob.leave()
	bob = pl.connect("bob", "desk", "linux")
	pl.pass(10 * time.Second)
	pl.want("the quick", quick.news(), "bob linux")
	pl.want("the slow", ann.news())
	ann.wire.setFull(false)
	pl.pass(time.Second)
	pl.want("the slow", ann.news(), "bob linux")
	pl.want("the quick", quick.news())
	bob.leave()
	pl.pass(10 * time.Second)
	pl.want("the slow", ann.news(), "bob -10s")
	pl.pass(time.Hour)
	if !pl.next.IsZero() {
		t.Error("there is still something to do")
	}
}

// What comes up while a SUBSCRIBE is answered is told once the answer is queued, and
// not before.
func TestNewsWhileSubscribing(t *testing.T) {
	pl := newPlace(t)
	pl.talk("ann", "bob")
	ann := pl.connect("ann", "phone", "ios")
	frame, then, err := pl.Subscribe(ann.Session, 7, &pb.Subscribe{Users: []string{"bob"}})
	if err != nil {
		t.Fatal(err)
	}
	m := &pb.Subscribed{}
	pl.decode(frame, protocol.TypeSubscribed, 7, m)
	pl.connect("bob", "phone", "ios")
	pl.pass(time.Minute)
	pl.want("before the answer", ann.news())
	then()
	pl.pass(time.Minute)
	pl.want("after it", ann.news(), "bob ios")
	if len(m.Presences) != 1 || pl.stand(m.Presences[0]) != "bob" {
		t.Errorf("SUBSCRIBED %v", m)
	}
}

// What does not fit SUBSCRIBED follows as PRESENCE.
func TestSubscribedIsCut(t *testing.T) {
	pl := newPlace(t, func(c *Config) { c.MaxFrame = protocol.PreAuthMaxFrame })
	ann := pl.connect("ann", "phone", "ios")
	const count = 450
	var users []string
	all := map[string]bool{}
	for i := range count {
		user := fmt.Sprintf("user%060d", i)
		users = append(users, user)
		pl.talk("ann", user)
		pl.connect(user, "phone", "ios")
		all[user+" ios"] = true
	}
	first := ann.subscribe(false, users...)
	if len(first) < 100 || len(first) == count {
		t.Fatalf("SUBSCRIBED has %d users", len(first))
	}
	pl.pass(time.Second)
	for _, stand := range append(first, ann.news()...) {
		if !all[stand] {
			t.Errorf("%q is wrong, or is told twice", stand)
		}
		delete(all, stand)
	}
	if len(all) > 0 {
		t.Errorf("%d were not told", len(all))
	}
}
