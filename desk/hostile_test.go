package desk_test

import (
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/godwit-im/godwit/desk"
	"github.com/godwit-im/godwit/protocol/pb"
	godwit "github.com/godwit-im/godwit/sdk-go"
	"github.com/godwit-im/godwit/server"
)

// Visitors can't do what agents may, and what they get wrong changes nothing.
func TestVisitorCommands(t *testing.T) {
	p := newPlace(t, nil, "ann", "ben")
	visitor, visit := p.visit()
	visitor.served(visit, "ann")
	for _, body := range []string{
		`{"hand_over":"ben"}`, `{"hand_over":""}`, `{"rating":0}`, `{"rating":1e9}`, `{"rating":"5"}`, `{"close":1}`,
		`{"close":true`, `[]`, `null`, ``, "\xff\xfe", `{"close":true,"x":"` + strings.Repeat("x", 2<<10) + `"}`, strings.Repeat(`{"a":`, 200),
	} {
		visitor.command(visit, body)
	}
	other, err := visitor.SendCustom(p.context(), visit, "application/json", []byte(`{"close":true}`))
	visitor.sent(other, err)
	// The desk has looked at all of it when it does this.
	visitor.command(visit, `{"rating":2}`)
	visitor.is(visit, desk.AttrRating, "2")
	visitor.served(visit, "ann")
	if c, _ := visitor.Conversation(visit); c.Group.Members != 3 {
		t.Errorf("%d members", c.Group.Members)
	}

	// And what visitors may not do is the server's to refuse.
	for what, call := range map[string]*godwit.Call[godwit.GroupResult]{
		"change":   visitor.ChangeGroup(visit, godwit.GroupChange{Attributes: map[string][]byte{desk.AttrAgent: []byte("ben")}}),
		"add":      visitor.AddMembers(visit, "ben"),
		"remove":   visitor.RemoveMembers(visit, "ann"),
		"dissolve": visitor.DissolveGroup(visit),
	} {
		if _, err := call.Wait(p.context()); godwit.CodeOf(err) != pb.Code_CODE_NOT_ALLOWED {
			t.Errorf("%s: %v", what, err)
		}
	}
	// One visitor has nothing to do with the visit of another.
	stranger, _ := p.visit()
	sent, err := stranger.SendText(p.context(), visit, "hi")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := sent.Sent(p.context()); godwit.CodeOf(err) != pb.Code_CODE_NOT_A_MEMBER {
		t.Errorf("a stranger writes: %v", err)
	}
}

// Nobody gets an agent by a group that looks like a visit, nor fills the list of the
// desk's groups: it leaves what others put it into.
func TestForgedVisits(t *testing.T) {
	p := newPlace(t, nil, "ann")
	mallory := p.login("mallory", p.token("mallory"))
	forge := func() (given, added string) {
		attributes := map[string][]byte{
			desk.AttrDesk: []byte(p.cfg.Name), desk.AttrState: []byte(desk.Waiting), desk.AttrVisitor: []byte("mallory"),
			desk.AttrUntil: strconv.AppendInt(nil, time.Now().Add(time.Hour).UnixMilli(), 10),
		}
		make := func() string {
			made, err := mallory.CreateGroup(godwit.NewGroup{Users: []string{p.cfg.User}, Attributes: attributes}).Wait(p.context())
			if err != nil {
				t.Fatal(err)
			}
			return made.Group.Conversation
		}
		given, added = make(), make()
		// The desk may have left before.
		if _, err := mallory.TransferGroup(given, p.cfg.User).Wait(p.context()); err != nil && godwit.CodeOf(err) != pb.Code_CODE_NOT_A_MEMBER {
			t.Fatal(err)
		}
		return given, added
	}
	alone := func(c godwit.Conversation) bool { return c.Group.Members == 1 || c.Group.DissolvedSeq != 0 }
	check := func(given, added string) {
		t.Helper()
		for _, group := range []string{given, added} {
			if c := mallory.until("the desk leave", group, alone); string(c.Group.Attributes[desk.AttrState]) != string(desk.Waiting) {
				t.Errorf("the desk took %s for a visit: %q", group, c.Group.Attributes)
			}
		}
	}
	check(forge())
	p.close()
	given, added := forge()
	p.open()
	check(given, added)
	if c, _ := mallory.Conversation(given); c.Group.DissolvedSeq == 0 {
		t.Error("the desk is the owner, and the group lives")
	}
}

// Whoever closes a visit has ended it, and can't have the desk open and close it all
// the time.
func TestVisitorCloses(t *testing.T) {
	p := newPlace(t, nil, "ann")
	visitor, visit := p.visit()
	visitor.served(visit, "ann")
	p.close()
	visitor.command(visit, `{"close":true}`)
	late := visitor.say(visit, "no, wait")
	p.open()
	visitor.ended(visit)
	c, _ := visitor.Conversation(visit)
	if at := string(c.Group.Attributes[desk.AttrAt]); at != strconv.FormatUint(late-1, 10) {
		t.Errorf("the desk acted upon %s, the visit was closed at %d", at, late-1)
	}
}

func TestTooManyVisits(t *testing.T) {
	p := newPlace(t, func(_ *server.Config, c *desk.Config) { c.VisitsPerAddress, c.MaxOpen = 1000, 3 }, "ann")
	for range 3 {
		p.visit()
	}
	if status, header, v := p.post(""); status != http.StatusServiceUnavailable || header.Get("Retry-After") == "" || v.Token != "" {
		t.Errorf("a visit too many: status %d, %v, %+v", status, header, v)
	}
}

func TestTooFast(t *testing.T) {
	for name, edit := range map[string]func(c *desk.Config){
		"all":     func(c *desk.Config) { c.VisitsPerMinute, c.VisitsPerAddress = 2, 0 },
		"address": func(c *desk.Config) { c.VisitsPerMinute, c.VisitsPerAddress = 1000, 2 },
	} {
		t.Run(name, func(t *testing.T) {
			p := newPlace(t, func(_ *server.Config, c *desk.Config) { edit(c) })
			refused := 0
			for range 5 { // at most two minutes are touched, so at least one is refused
				status, header, v := p.post("not a token")
				switch status {
				case http.StatusUnauthorized:
				case http.StatusTooManyRequests:
					refused++
					if header.Get("Retry-After") == "" || v.Token != "" {
						t.Errorf("%v, %+v", header, v)
					}
				default:
					t.Errorf("status %d", status)
				}
			}
			if refused == 0 {
				t.Error("no visit was refused")
			}
		})
	}
}

// The listener serves one thing, and neither headers nor connections without bound.
func TestListener(t *testing.T) {
	p := newPlace(t, nil)
	url := "http://" + p.desk.Addr()
	for _, tc := range []struct {
		method, path, header string
		want                 int
	}{
		{http.MethodGet, "/visit", "", http.StatusMethodNotAllowed},
		{http.MethodPost, "/", "", http.StatusNotFound},
		{http.MethodPost, "/visit", strings.Repeat("x", 20<<10), http.StatusRequestHeaderFieldsTooLarge},
	} {
		req, err := http.NewRequestWithContext(p.context(), tc.method, url+tc.path, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", tc.header)
		resp, err := p.http.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != tc.want {
			t.Errorf("%s %s: status %d, want %d", tc.method, tc.path, resp.StatusCode, tc.want)
		}
	}
	p.http.CloseIdleConnections()

	// Those that were answered stay open for half a minute, and count.
	const most, more = 256, 20
	answered, began := 0, time.Now()
	for range most + more {
		nc, err := new(net.Dialer).DialContext(p.context(), "tcp", p.desk.Addr())
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		// Both fail on one that is closed at once.
		_, _ = nc.Write([]byte("GET / HTTP/1.1\r\nHost: desk\r\n\r\n"))
		if n, _ := nc.Read(make([]byte, 1)); n > 0 {
			answered++
		}
	}
	if took := time.Since(began); answered > most && took < 20*time.Second || answered == 0 {
		t.Errorf("%d connections at a time were answered, want no more than %d; that took %v", answered, most, took)
	}
}
