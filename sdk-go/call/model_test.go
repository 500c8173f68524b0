package call

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// follows are the states that may come after each.
var follows = map[State][]State{
	Inviting:  {Ringing, Active, Ended},
	Invited:   {Ringing, Accepting, Ended},
	Ringing:   {Active, Accepting, Ended},
	Accepting: {Active, Ended},
	Active:    {Ended},
}

// world is users who do as they like on a network that loses, repeats and
// reorders, and whose programs crash.
type world struct {
	*network
	states map[*Call]State
	sent   int
}

func newWorld(t *rapid.T) *world {
	w := &world{network: newNetwork(), states: make(map[*Call]State)}
	for _, name := range []string{"alice/phone", "alice/laptop", "bob/phone", "bob/tablet", "carol/phone"} {
		user, device, _ := strings.Cut(name, "/")
		d := w.device(user, device)
		d.calls.max = rapid.IntRange(1, 2).Draw(t, "max")
		w.watch(t, d)
	}
	return w
}

// watch checks what the callbacks of a device are told.
func (w *world) watch(t *rapid.T, d *device) {
	h := &d.calls.handler
	onCall, onPayload := h.OnCall, h.OnPayload
	h.OnCall = func(c *Call) {
		w.states[c] = Invited
		onCall(c)
	}
	h.OnState = func(c *Call, s Status) {
		if was := w.states[c]; !slices.Contains(follows[was], s.State) {
			t.Fatalf("%v: %v after %v", d, s.State, was)
		}
		if (s.State == Ended) != (s.Reason != None) {
			t.Fatalf("%v: %+v", d, s)
		}
		w.states[c] = s.State
	}
	h.OnPayload = func(c *Call, p []byte) {
		if w.states[c] != Active {
			t.Fatalf("%v: a payload in %v", d, w.states[c])
		}
		if all := d.payloads[c]; len(all) > 0 && number(all[len(all)-1]) >= number(string(p)) {
			t.Fatalf("%v: payload %s after %s", d, p, all[len(all)-1])
		}
		onPayload(c, p)
	}
}

func number(s string) int {
	n, err := strconv.Atoi(s)
	if err != nil {
		panic(err)
	}
	return n
}

func (w *world) pick(t *rapid.T) *device { return rapid.SampledFrom(w.devices).Draw(t, "device") }

// flight is one that is under way, if any is.
func (w *world) flight(t *rapid.T) int {
	if len(w.flying) == 0 {
		t.Skip("nothing is under way")
	}
	// Mostly the next one: else nothing would ever come about.
	return min(rapid.SampledFrom([]int{0, 0, 0, 0, 1, 2, 5}).Draw(t, "flight"), len(w.flying)-1)
}

// do has a user do something to one of the calls of a device.
func (w *world) do(action func(*Call) error) func(*rapid.T) {
	return func(t *rapid.T) {
		d := w.pick(t)
		all := slices.DeleteFunc(slices.Clone(d.all), func(c *Call) bool { return c.calls != d.calls })
		if len(all) == 0 {
			t.Skip("no calls")
		}
		_ = action(all[len(all)-1])
		d.calls.deliver()
	}
}

// Whatever is lost, repeated, reordered or restarted, a call only goes forward, and
// once all is well again every call is over or has two devices that agree.
func TestWhateverHappens(t *testing.T) {
	active := 0
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(t)
		if rapid.Bool().Draw(t, "talking") {
			w.talk(t)
		}
		t.Repeat(map[string]func(*rapid.T){
			"place": func(t *rapid.T) {
				d := w.pick(t)
				if c, err := d.calls.Place(rapid.SampledFrom([]string{"alice", "bob", "carol"}).Draw(t, "user"), nil); err == nil {
					d.all = append(d.all, c)
					w.states[c] = Inviting
				}
			},
			"ring":    w.do((*Call).Ring),
			"accept":  w.do(func(c *Call) error { return c.Accept(nil) }),
			"accept2": w.do(func(c *Call) error { return c.Accept(nil) }),
			"reject":  w.do((*Call).Reject),
			"busy":    w.do((*Call).Busy),
			"hang up": w.do((*Call).HangUp),
			"send": w.do(func(c *Call) error {
				w.sent++
				return c.Send(fmt.Append(nil, w.sent))
			}),
			"land":     func(t *rapid.T) { w.land(w.flight(t)) },
			"land2":    func(t *rapid.T) { w.land(w.flight(t)) },
			"land all": func(*rapid.T) { w.settle() },
			"lose": func(t *rapid.T) {
				if i := w.flight(t); w.flying[i].to != nil { // an answer comes, or says that none does
					w.flying = slices.Delete(w.flying, i, i+1)
				}
			},
			"repeat": func(t *rapid.T) {
				if i := w.flight(t); w.flying[i].to != nil {
					w.flying = append(w.flying, w.flying[i])
				}
			},
			"time": func(t *rapid.T) {
				w.clock.advance(time.Duration(rapid.IntRange(1, 30_000).Draw(t, "ms"))*time.Millisecond, func() {})
			},
			"restart": func(t *rapid.T) {
				if rapid.IntRange(0, 4).Draw(t, "often") > 0 {
					t.Skip("not this time")
				}
				d := w.pick(t)
				limit := d.calls.max
				d.start()
				d.calls.max = limit
				w.watch(t, d)
			},
			"": func(t *rapid.T) {
				for _, d := range w.devices {
					d.calls.deliver()
				}
			},
		})
		w.pass(10 * time.Minute)
		for _, d := range w.devices {
			for k, c := range d.calls.calls {
				switch s := c.status; s.State {
				case Ended:
				case Active:
					active++
					w.wantPair(t, d, k.id, c)
				default:
					t.Fatalf("%v: %v for ever", d, s.State)
				}
			}
		}
	})
	t.Logf("%d devices had a call in the end", active)
}

// talk has two devices be in a call already.
func (w *world) talk(t *rapid.T) {
	caller, callee := w.devices[0], w.devices[2]
	c, err := caller.calls.Place(callee.user, nil)
	must(t, err)
	caller.all = append(caller.all, c)
	w.states[c] = Inviting
	w.settle()
	must(t, callee.all[0].Accept(nil))
	w.settle()
}

// wantPair checks that the other device of an active call has it as well, and no
// other.
func (w *world) wantPair(t *rapid.T, d *device, id string, c *Call) {
	pairs := 0
	for _, other := range w.devices {
		if other == d {
			continue
		}
		for k, theirs := range other.calls.calls {
			if k.id != id || theirs.status.State != Active {
				continue
			}
			pairs++
			if other.user != c.user || other.name != c.status.Device || theirs.user != d.user || theirs.status.Device != d.name || theirs.outgoing == c.outgoing {
				t.Fatalf("%v has the call with %s/%s, and %v with %s/%s", d, c.user, c.status.Device, other, theirs.user, theirs.status.Device)
			}
		}
	}
	if pairs != 1 {
		t.Fatalf("%v has a call that %d others have", d, pairs)
	}
}
