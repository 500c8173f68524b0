package desk

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"log/slog"
	"maps"
	"math"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	godwit "github.com/godwit-im/godwit/sdk-go"
)

// The bounds of the listener: connections at a time, and the header of a request in
// bytes, in which a token fits.
const (
	maxConnections = 256
	maxHeader      = 8 << 10
)

// Visit is the answer to POST /visit.
type Visit struct {
	User         string `json:"user"`
	Token        string `json:"token"`
	ExpiresMs    int64  `json:"expires_ms"` // Unix milliseconds
	Server       string `json:"server"`     // where the token is good
	Conversation string `json:"conversation"`
	State        State  `json:"state"`
}

// request is a POST /visit on its way to the desk's goroutine.
type request struct {
	ctx    context.Context // ended: nobody waits for the answer
	user   string          // whom the request's token names; "" = there was none
	answer chan outcome    // has room for the answer
}

type outcome struct {
	visit Visit
	again bool // the visit was open before
	err   error
}

var errFull = errors.New("the desk has as many visits as it can have")

// newHTTP makes the server of visits.
func (d *Desk) newHTTP() *http.Server {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /visit", d.onVisit)
	var connections atomic.Int64
	return &http.Server{
		Handler:           mux,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second,
		WriteTimeout:      d.patience() + 10*time.Second,
		IdleTimeout:       30 * time.Second,
		MaxHeaderBytes:    maxHeader,
		ErrorLog:          slog.NewLogLogger(d.log.Handler(), slog.LevelDebug),
		ConnState: func(c net.Conn, state http.ConnState) {
			switch state {
			case http.StateNew:
				if connections.Add(1) > maxConnections {
					_ = c.Close() // its end comes as StateClosed
				}
			case http.StateClosed, http.StateHijacked:
				connections.Add(-1)
			}
		},
	}
}

// patience is how long a visitor waits for the answer: behind another's call, then
// for their own.
func (d *Desk) patience() time.Duration { return 2 * d.cfg.CallTimeout }

// onVisit gives a visitor a token and a conversation. Who brings the token of an
// earlier visit is the same visitor, and comes back to the visit while it is open.
func (d *Desk) onVisit(w http.ResponseWriter, r *http.Request) {
	address, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		address = r.RemoteAddr
	}
	if after := d.admitted.take(address, time.Now()); after > 0 {
		refuse(w, http.StatusTooManyRequests, after, "too many visits")
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), d.patience())
	defer cancel()
	req := &request{ctx: ctx, answer: make(chan outcome, 1)}
	if bearer := r.Header.Get("Authorization"); bearer != "" {
		claims, err := d.verifier.Verify(strings.TrimPrefix(bearer, "Bearer "))
		if err != nil || !isVisitor(claims.User) {
			refuse(w, http.StatusUnauthorized, 0, "this is no visitor's token, or not any more; visit without one")
			return
		}
		req.user = claims.User
	}
	select {
	case d.visits <- req:
	case <-ctx.Done():
		refuse(w, http.StatusServiceUnavailable, d.cfg.Retry, "the desk is busy")
		return
	case <-d.ending:
		refuse(w, http.StatusServiceUnavailable, d.cfg.Retry, "the desk is closing")
		return
	}
	select {
	case o := <-req.answer:
		switch {
		case errors.Is(o.err, errFull):
			refuse(w, http.StatusServiceUnavailable, time.Minute, o.err.Error())
		case o.err != nil:
			d.log.Warn("no visit was opened", "err", o.err)
			refuse(w, http.StatusServiceUnavailable, d.cfg.Retry, "the desk can't open a visit for now")
		case o.again:
			answer(w, http.StatusOK, o.visit)
		default:
			answer(w, http.StatusCreated, o.visit)
		}
	case <-ctx.Done():
		refuse(w, http.StatusServiceUnavailable, d.cfg.Retry, "the desk is busy")
	case <-d.done:
		refuse(w, http.StatusServiceUnavailable, d.cfg.Retry, "the desk is closing")
	}
}

// refuse answers with an error. after > 0 is when to try again.
func refuse(w http.ResponseWriter, status int, after time.Duration, text string) {
	if after > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(int(math.Ceil(after.Seconds()))))
	}
	answer(w, status, struct {
		Error string `json:"error"`
	}{text})
}

func answer(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // whoever asked may be gone
}

// visit opens a visit, or finds the one that is open.
func (d *Desk) visit(ctx context.Context, r *request) outcome {
	if err := r.ctx.Err(); err != nil {
		return outcome{err: err}
	}
	user := r.user
	if user == "" {
		user = visitorPrefix + strings.ToLower(rand.Text())
	}
	v := d.byVisitor[user]
	if v != nil && v.state == Closed {
		if err := d.dissolve(ctx, v); err != nil {
			return outcome{err: err}
		}
		v = nil
	}
	token, err := d.sign(user, d.cfg.TokenTTL)
	if err != nil {
		return outcome{err: err}
	}
	until, again := time.Now().Add(d.cfg.TokenTTL), v != nil
	if again {
		err = d.change(ctx, v, func(f *facts) { f.until = until })
	} else {
		v, err = d.openVisit(ctx, user, until)
	}
	if err != nil {
		return outcome{err: err}
	}
	server := d.cfg.PublicServer
	if server == "" {
		server = d.cfg.Server
	}
	return outcome{again: again, visit: Visit{
		User: user, Token: token, ExpiresMs: until.UnixMilli(), Server: server, Conversation: v.id, State: v.state,
	}}
}

// openVisit makes the group of a visit, with the agent in it if there is one.
func (d *Desk) openVisit(ctx context.Context, user string, until time.Time) (*visit, error) {
	if len(d.open) >= d.cfg.MaxOpen {
		return nil, errFull
	}
	f := facts{state: Waiting, visitor: user, until: until}
	users := []string{user}
	if agent := d.pick(""); agent != "" {
		f.state, f.agent = Assigned, agent
		users = append(users, agent)
	}
	attributes := f.attributes()
	attributes[AttrDesk] = []byte(d.cfg.Name)
	maps.DeleteFunc(attributes, func(_ string, value []byte) bool { return len(value) == 0 })
	result, err := wait(ctx, d, d.client.CreateGroup(godwit.NewGroup{
		Name: d.cfg.Name, Attributes: attributes, History: godwit.HistoryAll, Users: users,
	}))
	if err != nil {
		return nil, err
	}
	v := &visit{facts: factsOf(attributes), id: result.Group.Conversation, opened: result.Group.Created}
	d.adopt(v)
	if result.Group.Members != len(users)+1 {
		err := errors.New("the server asks users before they become members of a group (ask-first), and visitors can't be asked")
		return nil, errors.Join(err, d.dissolve(ctx, v))
	}
	return v, nil
}

// admission counts the visits of the present minute, of each address too. Those
// that are refused are not counted, so there are never more addresses than visits.
type admission struct {
	most, mostOfOne int

	mu        sync.Mutex // guards what follows
	minute    time.Time
	visits    int
	byAddress map[string]int
}

// take counts one, and returns 0, unless there are too many: then when to try again.
func (a *admission) take(address string, now time.Time) time.Duration {
	a.mu.Lock()
	defer a.mu.Unlock()
	if minute := now.Truncate(time.Minute); !minute.Equal(a.minute) {
		a.minute, a.visits, a.byAddress = minute, 0, make(map[string]int)
	}
	if a.visits >= a.most || a.mostOfOne > 0 && a.byAddress[address] >= a.mostOfOne {
		return a.minute.Add(time.Minute).Sub(now)
	}
	a.visits++
	a.byAddress[address]++
	return 0
}
