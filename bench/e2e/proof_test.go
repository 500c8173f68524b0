package e2e

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"pgregory.net/rapid"

	"github.com/godwit-im/godwit/protocol"
	"github.com/godwit-im/godwit/protocol/pb"
	godwit "github.com/godwit-im/godwit/sdk-go"
	inprocess "github.com/godwit-im/godwit/server"
	"github.com/godwit-im/godwit/session"
)

var sequences = flag.Int("sequences", 80, "how many random sequences of commands TestEveryDeviceSeesTheSame runs; -rapid.steps is their length")

// stillness is how long nothing must have happened on a device before what it
// shows is taken for its last word: in a search for bugs, where a machine that
// was busy must not be one, and where there is one for certain.
const (
	stillness       = 20 * time.Second
	mutantStillness = time.Second
)

// lanes is how many sequences run at a time, on the same server.
const lanes = 8

// memoryServer is a server in this process, with all that it has in memory.
type memoryServer struct {
	*inprocess.Server
	cfg  inprocess.Config
	keys *session.KeySet
	// sequence numbers the sequences: each has users of its own.
	sequence atomic.Uint64
	// failing is the lane, counted from 1, that has failed first; the others leave it
	// the machine.
	failing atomic.Int64
	first   string // what that was; rapid shows only what it can repeat
	// A mutant that is caught is one, and no failure.
	mutant bool
	caught atomic.Pointer[string]
}

func startMemoryServer(t *testing.T, edit func(*inprocess.Config)) *memoryServer {
	t.Helper()
	keys, err := session.GenerateKeySet(session.EdDSA)
	if err != nil {
		t.Fatal(err)
	}
	cfg := inprocess.DefaultConfig()
	cfg.Net.Addr, cfg.Admin.Addr = "127.0.0.1:0", "127.0.0.1:0"
	cfg.Store.Dir, cfg.Store.FS, cfg.Store.MinFree = "data", vfs.NewMem(), 0
	cfg.Store.CacheBytes, cfg.Store.MemTableBytes = 8<<20, 16<<20
	cfg.Auth.Keys = keys
	if edit != nil {
		edit(&cfg)
	}
	cfg.Logger = slog.New(slog.DiscardHandler)
	s := &memoryServer{cfg: cfg, keys: keys}
	if s.Server, err = inprocess.New(cfg); err != nil {
		t.Fatal(err)
	}
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("the server ended badly: %v", err)
		}
	})
	return s
}

func (s *memoryServer) token(t *rapid.T, user string) string {
	token, err := session.Sign(s.keys, "", session.EdDSA, s.cfg.Auth.Issuer, s.cfg.Auth.Audience, user, time.Hour, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// run is one sequence: commands of random users on random devices that go on-
// and offline, in the model and on the server.
type run struct {
	ctx     context.Context
	server  *memoryServer
	lane    int
	w       *world
	devices []*device
	groups  int
	bodies  int
	trace   strings.Builder
	// marks are the conversations in which a MARK may be on its way, by user.
	marks map[string]*owing
}

// TestEveryDeviceSeesTheSame is the proof of the whole: after any sequence of
// commands, by any users, on devices that were there or not, what each device
// knows is what the model says, and what was refused was refused for the reason
// that the model gives.
//
//	go test ./bench/e2e -run EveryDevice -sequences 10000 -timeout 0
func TestEveryDeviceSeesTheSame(t *testing.T) {
	setChecks(t, max(1, *sequences/lanes))
	s := startMemoryServer(t, nil)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the first failure was:\n%s", s.first)
		}
	})
	t.Run("lane", func(t *testing.T) {
		for lane := range lanes {
			t.Run(strconv.Itoa(lane), func(t *testing.T) {
				t.Parallel()
				rapid.Check(t, func(t *rapid.T) {
					if failing := s.failing.Load(); failing == 0 || failing == int64(lane+1) {
						play(t, s, lane, nil)
					}
				})
			})
		}
	})
}

func setChecks(t *testing.T, n int) {
	t.Helper()
	if err := flag.Set("rapid.checks", strconv.Itoa(n)); err != nil {
		t.Fatal(err)
	}
}

// play runs one sequence. wrap, if it is not nil, is put between the clients and
// their connections.
func play(t *rapid.T, s *memoryServer, lane int, wrap func(net.Conn) net.Conn) {
	ctx, cancel := context.WithTimeout(context.Background(), 3*patience)
	defer cancel()
	n := s.sequence.Add(1)
	var users []string
	for _, name := range []string{"ann", "bob", "cat", "dan"} {
		users = append(users, fmt.Sprint(name, n))
	}
	r := &run{ctx: ctx, server: s, lane: lane, w: newWorld(users), marks: make(map[string]*owing)}
	defer func() {
		var closing sync.WaitGroup
		for _, d := range r.devices {
			closing.Go(func() { _ = d.close() })
		}
		closing.Wait()
	}()
	for _, user := range users {
		token := s.token(t, user)
		for i := range rapid.IntRange(1, 2).Draw(t, "devices") {
			d := newDevice(user, strconv.Itoa(i+1), s.Addr(), token, wrap)
			r.devices = append(r.devices, d)
			if rapid.Bool().Draw(t, "online") {
				r.say(d, "comes online")
				r.must(t, d.dial(ctx))
			}
		}
	}
	if rapid.Bool().Draw(t, "group") {
		r.create(t)
	}
	t.Repeat(r.actions())
	r.settle(t)
}

func (r *run) say(d *device, format string, args ...any) {
	fmt.Fprintf(&r.trace, "\n%3d. %s: %s", r.w.now, d, fmt.Sprintf(format, args...))
}

func (r *run) add(format string, args ...any) { fmt.Fprintf(&r.trace, format, args...) }

// fail ends the run. What does so has a text of its own, whatever the names in
// it, for rapid makes a failure smaller only as long as it stays the same.
func (r *run) fail(t *rapid.T, what, format string, args ...any) {
	if r.server.mutant {
		what += ": " + fmt.Sprintf(format, args...)
		r.server.caught.CompareAndSwap(nil, &what)
		panic(errCaught)
	}
	text := fmt.Sprintf("%s\n\n%s\n", r.trace.String(), fmt.Sprintf(format, args...))
	for _, d := range r.devices {
		text += "\n" + d.said()
	}
	if r.server.failing.CompareAndSwap(0, int64(r.lane+1)) {
		r.server.first = text
	}
	t.Log(text)
	t.Fatal(what)
}

// must ends the run where the test itself can't go on.
func (r *run) must(t *rapid.T, err error) {
	if err != nil {
		r.fail(t, "a device failed", "%v", err)
	}
}

// answered compares the answer to a command with the model's.
func (r *run) answered(t *rapid.T, err error, want pb.Code) {
	got := godwit.CodeOf(err)
	if err != nil && got == ok {
		r.must(t, err)
	}
	if got != want {
		r.fail(t, "an answer is not the model's", "answered %v, want %v", got, want)
	}
	if got != ok {
		r.add(": %s", got.Name())
	}
}

func (r *run) atSeq(t *rapid.T, got, want uint64) {
	if got != want {
		r.fail(t, "a seq is not the model's", "seq %d, want %d", got, want)
	}
	r.add(": #%d", got)
}

// settle has all devices come online, compares them with the model, and does it
// again after a restart of each.
func (r *run) settle(t *rapid.T) {
	for _, d := range r.devices {
		if d.client == nil {
			r.say(d, "comes online")
			r.must(t, d.dial(r.ctx))
		}
	}
	r.expired(t)
	for _, d := range r.devices {
		r.agrees(t, d, true)
	}
	for _, d := range r.devices {
		r.must(t, d.close())
		r.must(t, d.dial(r.ctx))
	}
	for _, d := range r.devices {
		r.agrees(t, d, false)
		r.history(t, d)
	}
}

// history compares what the server hands out of each conversation, to a device that
// asks for all of it, with the model.
func (r *run) history(t *rapid.T, d *device) {
	for id, c := range r.w.conversations {
		row := c.mine(d.user)
		if row == nil {
			continue
		}
		got, err := d.client.HistoryAfter(r.ctx, id, 0, int(c.head()))
		r.must(t, err)
		if diff := c.differsInHistory(row, got); diff != "" {
			r.fail(t, "the server does not show what it should", "%s, %s: %s", d, id, diff)
		}
	}
}

// agrees waits until a device shows what the model says.
func (r *run) agrees(t *rapid.T, d *device, live bool) {
	stillness := stillness
	if r.server.mutant {
		stillness = mutantStillness
	}
	still := time.NewTimer(stillness)
	defer still.Stop()
	for {
		next := d.next()
		diff := r.w.differs(d, live)
		if diff == "" {
			diff = r.rosters(t, d, live)
		}
		if d.fault != "" {
			diff = d.fault
		}
		if diff == "" {
			return
		}
		select {
		case <-next:
			still.Reset(stillness)
		case <-still.C:
			what := "a device that was restarted does not show what it should"
			if live {
				what = "a device does not show what it should"
			}
			r.fail(t, what, "%s\n%s", diff, r.asked(d))
		}
	}
}

// asked is how the server has what a device does not show as it should: which of
// the two is wrong.
func (r *run) asked(d *device) string {
	all, err := d.client.FetchConversations(r.ctx)
	text := fmt.Sprintf("the server, asked by %s (%v):", d, err)
	for _, c := range all {
		text += fmt.Sprintf("\n%s: head %d, read %d, unread %d, mention %d, %+v", c.ID, c.HeadSeq, c.ReadSeq, c.Unread, c.MentionSeq, c.Settings)
	}
	return text
}

// rosters compares the members of the user's groups.
func (r *run) rosters(t *rapid.T, d *device, live bool) string {
	for _, id := range r.w.groups() {
		c := r.w.conversations[id]
		row := c.active(d.user)
		if row == nil || c.broadcast() && !admin(row) || live && c.unpushed() {
			continue
		}
		members, err := d.client.Members(r.ctx, id)
		r.must(t, err)
		var got []string
		for _, m := range members {
			got = append(got, memberLine(m))
		}
		if want := c.members(); !slices.Equal(got, want) {
			return fmt.Sprintf("%s: members of %s\n got %q\nwant %q", d, id, got, want)
		}
	}
	return ""
}

// some draws a device that is online; where none is, one comes.
func (r *run) some(t *rapid.T) *device {
	if !slices.ContainsFunc(r.devices, func(d *device) bool { return d.client != nil }) {
		r.online(t)
	}
	return r.pick(t, true)
}

// pick draws a device that is, or is not, online.
func (r *run) pick(t *rapid.T, online bool) *device {
	var some []int
	for i, d := range r.devices {
		if (d.client != nil) == online {
			some = append(some, i)
		}
	}
	if len(some) == 0 {
		t.SkipNow()
	}
	r.w.now++
	return r.devices[rapid.SampledFrom(some).Draw(t, "device")]
}

// conversation draws one, mostly one in which the user finds something.
func (r *run) conversation(t *rapid.T, user string) *conversation {
	all := r.w.groups()
	for _, peer := range r.w.users {
		if peer != user {
			all = append(all, r.w.direct(user, peer).id)
		}
	}
	return r.draw(t, all, func(c *conversation) bool { return c.head() > 0 && c.mine(user) != nil })
}

// aGroup draws one, mostly one that the user is in.
func (r *run) aGroup(t *rapid.T, user string) *conversation {
	return r.draw(t, r.w.groups(), func(c *conversation) bool { return c.active(user) != nil })
}

func (r *run) draw(t *rapid.T, ids []string, better func(c *conversation) bool) *conversation {
	if rapid.IntRange(0, 3).Draw(t, "better") > 0 {
		good := slices.DeleteFunc(slices.Clone(ids), func(id string) bool { return !better(r.w.conversations[id]) })
		if len(good) > 0 {
			ids = good
		}
	}
	return r.w.conversations[rapid.SampledFrom(ids).Draw(t, "conversation")]
}

// seq draws one of the conversation's or, at times, the one after its head.
func (c *conversation) seq(t *rapid.T) uint64 {
	if c.head() == 0 || rapid.IntRange(0, 9).Draw(t, "past the head") == 9 {
		return c.head() + 1
	}
	return rapid.Uint64Range(1, c.head()).Draw(t, "seq")
}

func (r *run) others(t *rapid.T) []string {
	return rapid.SliceOfNDistinct(rapid.SampledFrom(r.w.users), 1, 2, rapid.ID[string]).Draw(t, "users")
}

func (r *run) body() []byte {
	r.bodies++
	return fmt.Append(nil, "m", r.bodies)
}

// owing is a MARK that may be on its way.
type owing struct {
	seq     uint64
	devices []*device
}

// owed waits until the MARK that a user's device may owe has been done, where
// what comes next does not bear to be overtaken.
func (r *run) owed(t *rapid.T, d *device, c *conversation) {
	key := d.user + " " + c.id
	owing := r.marks[key]
	if owing == nil {
		return
	}
	delete(r.marks, key)
	for _, other := range owing.devices {
		if other.client == nil { // it was cut before it had sent it, and went
			r.say(other, "comes online for what it owes, and goes")
			r.must(t, other.dial(r.ctx))
			r.must(t, other.close())
		}
	}
	if d.client == nil { // then they all were, and have sent it
		return
	}
	for {
		all, err := d.client.FetchConversations(r.ctx)
		r.must(t, err)
		done := slices.ContainsFunc(all, func(got godwit.Conversation) bool {
			return got.ID == c.id && got.ReadSeq >= owing.seq && !got.Settings.MarkedUnread
		})
		if done {
			return
		}
		select {
		case <-time.After(5 * time.Millisecond):
		case <-r.ctx.Done():
			r.must(t, r.ctx.Err())
		}
	}
}

func groupID(user, clientID string) string { return protocol.GroupID(user, clientID) }
