package call

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"

	"github.com/godwit-im/godwit/protocol"
	"github.com/godwit-im/godwit/protocol/pb"
	godwit "github.com/godwit-im/godwit/sdk-go"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		// gnet's worker pool is a global that lives as long as the process.
		goleak.IgnoreAnyFunction("github.com/panjf2000/ants/v2.(*poolCommon).purgeStaleWorkers"),
		goleak.IgnoreAnyFunction("github.com/panjf2000/ants/v2.(*poolCommon).ticktock"),
		goleak.IgnoreAnyFunction("github.com/panjf2000/ants/v2.(*goWorker).run.func1"),
	)
}

// fakeClock goes when it is told to.
type fakeClock struct {
	mu     sync.Mutex // guards the rest
	now    time.Time
	timers []*fakeTimer
}

type fakeTimer struct {
	at time.Time
	f  func()
}

func newClock() *fakeClock { return &fakeClock{now: time.UnixMilli(1_790_000_000_000)} }

func (c *fakeClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *fakeClock) AfterFunc(d time.Duration, f func()) func() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	t := &fakeTimer{c.now.Add(d), f}
	c.timers = append(c.timers, t)
	return func() bool { return c.take(t) }
}

// take takes a timer away, and reports whether it was there.
func (c *fakeClock) take(t *fakeTimer) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	i := slices.Index(c.timers, t)
	if i >= 0 {
		c.timers = slices.Delete(c.timers, i, i+1)
	}
	return i >= 0
}

// next is the first timer up to a time, which it then is; nil if there is none.
func (c *fakeClock) next(end time.Time) (first *fakeTimer) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, t := range c.timers {
		if !t.at.After(end) && (first == nil || t.at.Before(first.at)) {
			first = t
		}
	}
	c.now = end
	if first != nil {
		c.now = first.at
	}
	return first
}

// advance lets time pass. step happens before each timer.
func (c *fakeClock) advance(d time.Duration, step func()) {
	end := c.Now().Add(d)
	for {
		step()
		t := c.next(end)
		if t == nil {
			return
		}
		if c.take(t) {
			t.f()
		}
	}
}

// network carries the signals of some devices, one at a time and when it is told
// to.
type network struct {
	clock   *fakeClock
	devices []*device
	flying  []flight
	sent    int // signals in all
}

// flight is a signal on its way to a device, or the answer to one.
type flight struct {
	to     *device
	signal godwit.Signal
	answer func()
}

// device is a device with its calls. What its callbacks are told is in told.
type device struct {
	net        *network
	user, name string
	calls      *Calls
	all        []*Call // in the order in which they were first heard of
	told       []string
	payloads   map[*Call][]string
	onCall     func(*Call)
	fail       error // what becomes of signals that are sent
}

func newNetwork() *network { return &network{clock: newClock()} }

func (n *network) device(user, name string) *device {
	d := &device{net: n, user: user, name: name, payloads: make(map[*Call][]string)}
	d.start()
	n.devices = append(n.devices, d)
	return d
}

// start has the device's program begin, in place of one that went without a word.
func (d *device) start() {
	d.calls = newCalls(Options{Clock: d.net.clock, Handler: Handler{
		OnCall: func(c *Call) {
			d.all = append(d.all, c)
			d.told = append(d.told, fmt.Sprintf("call from %s", c.User()))
			if d.onCall != nil {
				d.onCall(c)
			}
		},
		OnState: func(_ *Call, s Status) { d.told = append(d.told, statusText(s)) },
		OnPayload: func(c *Call, p []byte) {
			d.told = append(d.told, "payload "+string(p))
			d.payloads[c] = append(d.payloads[c], string(p))
		},
	}})
	mine := d.calls
	mine.attach(d.user, func(s godwit.Signal, done func(error)) {
		if d.calls == mine { // else the program that it was has ended
			d.send(s, done)
		}
	})
}

func statusText(s Status) string {
	if s.State == Ended {
		return "Ended: " + s.Reason.String()
	}
	return s.State.String()
}

func (d *device) String() string { return d.user + "/" + d.name }

// send is the device's transport.
func (d *device) send(s godwit.Signal, done func(error)) {
	d.net.sent++
	err := d.fail
	d.net.flying = append(d.net.flying, flight{answer: func() { done(err) }})
	if err != nil {
		return
	}
	from := s
	from.User, from.Device = d.user, d.name
	for _, to := range d.net.devices {
		peer, _ := protocol.Peer(s.Conversation, d.user)
		if to == d || s.User != "" && (to.user != s.User || to.name != s.Device) || to.user != d.user && to.user != peer {
			continue
		}
		d.net.flying = append(d.net.flying, flight{to: to, signal: from})
	}
}

// land has one of the flights arrive.
func (n *network) land(i int) {
	f := n.flying[i]
	n.flying = slices.Delete(n.flying, i, i+1)
	if f.to == nil {
		f.answer()
	} else {
		f.to.calls.Handle(f.signal)
		f.to.calls.deliver()
	}
}

// settle has all flights arrive, in order, and all callbacks run.
func (n *network) settle() {
	for {
		for _, d := range n.devices {
			d.calls.deliver()
		}
		if len(n.flying) == 0 {
			return
		}
		n.land(0)
	}
}

// pass lets time pass on a network that loses nothing.
func (n *network) pass(d time.Duration) {
	n.clock.advance(d, n.settle)
	n.settle()
}

func (d *device) place(t testing.TB, user, offer string) *Call {
	t.Helper()
	c, err := d.calls.Place(user, []byte(offer))
	if err != nil {
		t.Fatal(err)
	}
	d.all = append(d.all, c)
	return c
}

// one is the device's only call.
func (d *device) one(t testing.TB) *Call {
	t.Helper()
	if len(d.all) != 1 {
		t.Fatalf("%v has %d calls", d, len(d.all))
	}
	return d.all[0]
}

func must(t interface {
	Helper()
	Fatal(args ...any)
}, err error,
) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// wantStatus checks how a call stands, in the form "active" or "Ended: busy".
func wantStatus(t testing.TB, c *Call, want string) {
	t.Helper()
	if got := statusText(c.Status()); got != want {
		t.Errorf("the call is %s, want %s", got, want)
	}
}

// wantTold checks what the callbacks of a device were told since it was checked
// last.
func (d *device) wantTold(t testing.TB, want ...string) {
	t.Helper()
	d.calls.deliver()
	if !slices.Equal(d.told, want) {
		t.Errorf("%v was told %q, want %q", d, d.told, want)
	}
	d.told = nil
}

// bench is a device by itself: the test is everybody else, and sees what it sends.
type bench struct {
	*device
	t    testing.TB
	sent []godwit.Signal
	fail error // what becomes of what it sends
}

const thisUser, otherUser = "alice", "bob"

func newBench(t testing.TB) *bench {
	b := &bench{t: t, device: newNetwork().device(thisUser, "phone")}
	b.calls.send = func(s godwit.Signal, done func(error)) {
		b.sent = append(b.sent, s)
		err := b.fail
		b.net.flying = append(b.net.flying, flight{answer: func() { done(err) }})
	}
	return b
}

// hears has a signal come, of a device such as "bob/phone".
func (b *bench) hears(from, kind string, m *pb.CallSignal) {
	b.t.Helper()
	user, name, _ := strings.Cut(from, "/")
	body, err := proto.Marshal(m)
	must(b.t, err)
	if !b.calls.Handle(godwit.Signal{Conversation: protocol.DirectID(thisUser, otherUser), User: user, Device: name, Type: kind, Body: body}) {
		b.t.Fatalf("%s was not taken for a call's", kind)
	}
	b.net.settle()
}

// said returns what was sent since it was asked last, in the form "call.ring to
// bob/phone", or "call.hangup elsewhere" where it goes to all.
func (b *bench) said() (all []string) {
	b.t.Helper()
	b.net.settle()
	for _, s := range b.sent {
		all = append(all, b.signalText(s))
	}
	b.sent = nil
	return all
}

func (b *bench) signalText(s godwit.Signal) string {
	m := new(pb.CallSignal)
	must(b.t, proto.Unmarshal(s.Body, m))
	text := s.Type
	if m.Reason != 0 {
		text += " " + strings.ToLower(strings.TrimPrefix(m.Reason.String(), "CALL_REASON_"))
	}
	if s.User != "" {
		text += " to " + s.User + "/" + s.Device
	}
	return text
}

func (b *bench) wantSaid(want ...string) {
	b.t.Helper()
	if got := b.said(); !slices.Equal(got, want) {
		b.t.Errorf("it said %q, want %q", got, want)
	}
}

// pass lets time pass.
func (b *bench) pass(d time.Duration) {
	b.net.clock.advance(d, b.net.settle)
	b.net.settle()
}
