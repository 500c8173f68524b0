package desk_test

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/godwit-im/godwit/desk"
	godwit "github.com/godwit-im/godwit/sdk-go"
	"github.com/godwit-im/godwit/server"
	"github.com/godwit-im/godwit/session"
)

func TestMain(m *testing.M) {
	// gnet's worker pool is a global that lives as long as the process.
	goleak.VerifyTestMain(m,
		goleak.IgnoreAnyFunction("github.com/panjf2000/ants/v2.(*poolCommon).purgeStaleWorkers"),
		goleak.IgnoreAnyFunction("github.com/panjf2000/ants/v2.(*poolCommon).ticktock"),
		goleak.IgnoreAnyFunction("github.com/panjf2000/ants/v2.(*goWorker).run.func1"),
	)
}

// patience is how long a test waits for what must come. No test that passes waits
// it out.
const patience = 2 * time.Minute

func testLog() *slog.Logger {
	var w io.Writer = io.Discard
	if os.Getenv("GODWIT_TEST_LOG") != "" {
		w = os.Stderr
	}
	return slog.New(slog.NewTextHandler(w, nil))
}

// place is a server, and a desk that is its client.
type place struct {
	t    *testing.T
	srv  *server.Server
	conf server.Config
	cfg  desk.Config
	desk *desk.Desk
	http *http.Client
	// agents are those who were online before the desk, which therefore knows it.
	agents map[string]*user
}

// newPlace starts both, the desk with the agents ann, ben and cyd, of whom those
// named are online.
func newPlace(t *testing.T, edit func(*server.Config, *desk.Config), online ...string) *place {
	t.Helper()
	keys, err := session.GenerateKeySet(session.EdDSA)
	if err != nil {
		t.Fatal(err)
	}
	cfg := server.DefaultConfig()
	cfg.Net.Addr, cfg.Admin.Addr = "127.0.0.1:0", "127.0.0.1:0"
	cfg.Store.Dir, cfg.Store.MinFree = filepath.Join(t.TempDir(), "data"), 0
	cfg.Auth.Keys = keys
	cfg.Logger = testLog()
	p := &place{t: t, cfg: desk.DefaultConfig(), http: &http.Client{Transport: &http.Transport{}}, agents: make(map[string]*user)}
	p.cfg.Auth.Keys = keys
	p.cfg.Listen = "127.0.0.1:0"
	p.cfg.Agents = []string{"ann", "ben", "cyd"}
	p.cfg.VisitsPerAddress = 0
	p.cfg.Logger = testLog()
	if edit != nil {
		edit(&cfg, &p.cfg)
	}
	p.conf = cfg
	p.startServer()
	t.Cleanup(func() { _ = p.srv.Close() })
	p.cfg.Server = p.srv.Addr()
	t.Cleanup(func() {
		p.http.CloseIdleConnections()
		if p.desk != nil {
			p.close()
		}
	})
	for _, name := range online {
		p.agents[name] = p.login(name, p.token(name))
	}
	p.open()
	return p
}

func (p *place) startServer() {
	p.t.Helper()
	var err error
	if p.srv, err = server.New(p.conf); err != nil {
		p.t.Fatal(err)
	}
	if err := p.srv.Start(); err != nil {
		p.t.Fatal(err)
	}
}

// restartServer starts one in the place of one that has ended.
func (p *place) restartServer() {
	p.t.Helper()
	p.conf.Net.Addr = p.cfg.Server
	p.startServer()
}

func (p *place) context() context.Context {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	p.t.Cleanup(cancel)
	return ctx
}

func (p *place) open() {
	p.t.Helper()
	var err error
	if p.desk, err = desk.Open(p.context(), p.cfg); err != nil {
		p.t.Fatal(err)
	}
}

func (p *place) close() {
	p.desk.Close()
	if err := p.desk.Err(); err != nil {
		p.t.Errorf("the desk ended: %v", err)
	}
	p.desk = nil
}

func (p *place) token(user string) string {
	p.t.Helper()
	a := &p.cfg.Auth
	token, err := session.Sign(a.Keys, "", a.Algorithm, a.Issuer, a.Audience, user, time.Hour, time.Now())
	if err != nil {
		p.t.Fatal(err)
	}
	return token
}

// post is a POST /visit, with a token if it is not empty.
func (p *place) post(bearer string) (int, http.Header, desk.Visit) {
	p.t.Helper()
	req, err := http.NewRequestWithContext(p.context(), http.MethodPost, "http://"+p.desk.Addr()+"/visit", strings.NewReader(""))
	if err != nil {
		p.t.Fatal(err)
	}
	if bearer != "" {
		req.Header.Set("Authorization", "Bearer "+bearer)
	}
	resp, err := p.http.Do(req)
	if err != nil {
		p.t.Fatal(err)
	}
	defer resp.Body.Close()
	var v desk.Visit
	if err := json.NewDecoder(resp.Body).Decode(&v); err != nil {
		p.t.Fatal(err)
	}
	return resp.StatusCode, resp.Header, v
}

// user is somebody with one device, who remembers all that is in the groups.
type user struct {
	*godwit.Client
	p    *place
	name string

	mu      sync.Mutex // guards what follows
	all     map[string][]godwit.Message
	changed chan struct{} // closed, and made anew, with whatever the client tells
}

// login brings a user online, who has caught up when it returns.
func (p *place) login(name, token string) *user {
	p.t.Helper()
	u := &user{p: p, name: name, all: make(map[string][]godwit.Message), changed: make(chan struct{})}
	online := make(chan struct{}, 16)
	var err error
	u.Client, err = godwit.Dial(p.context(), godwit.Options{
		Addr: p.cfg.Server, Device: name, Logger: testLog(),
		Token: func(context.Context) (string, error) { return token, nil },
		Handler: godwit.Handler{
			OnState: func(s godwit.State) {
				if s.Phase == godwit.Online {
					online <- struct{}{}
				}
			},
			OnMessage: func(m godwit.Message) {
				u.note(func() { u.all[m.Conversation] = append(u.all[m.Conversation], m) })
			},
			OnConversation: func(godwit.Conversation) { u.note(func() {}) },
		},
	})
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() { _ = u.Close() })
	select {
	case <-online:
	case <-time.After(patience):
		p.t.Fatalf("%s never comes online", name)
	}
	return u
}

func (u *user) note(f func()) {
	u.mu.Lock()
	defer u.mu.Unlock()
	f()
	close(u.changed)
	u.changed = make(chan struct{})
}

// visit has a new visitor come.
func (p *place) visit() (*user, string) {
	p.t.Helper()
	status, _, v := p.post("")
	if status != http.StatusCreated {
		p.t.Fatalf("status %d: %+v", status, v)
	}
	return p.login(v.User, v.Token), v.Conversation
}

// until waits until what the user knows of a conversation is as wanted.
func (u *user) until(what, conversation string, is func(c godwit.Conversation) bool) godwit.Conversation {
	u.p.t.Helper()
	timeout := time.After(patience)
	for {
		u.mu.Lock()
		changed := u.changed
		u.mu.Unlock()
		c, known := u.Conversation(conversation)
		if known && c.Group != nil && is(c) {
			return c
		}
		select {
		case <-changed:
		case <-timeout:
			var attributes map[string][]byte
			if c.Group != nil {
				attributes = c.Group.Attributes
			}
			u.p.t.Fatalf("%s never sees %s: %q, %+v", u.name, what, attributes, c.Membership)
		}
	}
}

// is waits until an attribute has a value.
func (u *user) is(conversation, key, value string) {
	u.p.t.Helper()
	u.until(key+" = "+value, conversation, func(c godwit.Conversation) bool { return string(c.Group.Attributes[key]) == value })
}

// served waits until agent serves the visit.
func (u *user) served(conversation, agent string) {
	u.p.t.Helper()
	u.until("agent "+agent, conversation, func(c godwit.Conversation) bool {
		a := c.Group.Attributes
		return string(a[desk.AttrState]) == string(desk.Assigned) && string(a[desk.AttrAgent]) == agent
	})
}

// in waits until the user is, or is not any more, a member.
func (u *user) in(conversation string, standing godwit.Standing) godwit.Conversation {
	u.p.t.Helper()
	return u.until(standing.String(), conversation, func(c godwit.Conversation) bool { return c.Membership.Standing == standing })
}

// ended waits until the visit's group is dissolved.
func (u *user) ended(conversation string) {
	u.p.t.Helper()
	c := u.until("the end", conversation, func(c godwit.Conversation) bool { return c.Group.DissolvedSeq != 0 })
	if state := string(c.Group.Attributes[desk.AttrState]); state != string(desk.Closed) {
		u.p.t.Errorf("a visit that ended is %s", state)
	}
}

// got waits for a text from sender.
func (u *user) got(conversation, sender, text string) {
	u.p.t.Helper()
	timeout := time.After(patience)
	for {
		u.mu.Lock()
		changed, all := u.changed, u.all[conversation]
		u.mu.Unlock()
		for _, m := range all {
			if m.Sender == sender && m.Kind == godwit.KindText && m.Text() == text {
				return
			}
		}
		select {
		case <-changed:
		case <-timeout:
			u.p.t.Fatalf("%s never gets %q from %s", u.name, text, sender)
		}
	}
}

// say sends a text, and returns its seq.
func (u *user) say(conversation, text string) uint64 {
	u.p.t.Helper()
	return u.sent(u.SendText(u.p.context(), conversation, text))
}

// command sends the body of a command as it is.
func (u *user) command(conversation, body string) uint64 {
	u.p.t.Helper()
	return u.sent(u.SendCustom(u.p.context(), conversation, desk.ContentType, []byte(body)))
}

func (u *user) sent(o *godwit.Outgoing, err error) uint64 {
	u.p.t.Helper()
	if err != nil {
		u.p.t.Fatal(err)
	}
	ack, err := o.Sent(u.p.context())
	if err != nil {
		u.p.t.Fatal(err)
	}
	return ack.Seq
}
