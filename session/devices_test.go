package session

import (
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/godwit-im/godwit/protocol"
	"github.com/godwit-im/godwit/protocol/pb"
)

// connectAs is connect with a platform.
func (p *place) connectAs(t testing.TB, user, device, platform string) (*Session, *wire) {
	t.Helper()
	req := p.request(t, user, device)
	req.Platform = platform
	w := &wire{}
	s, err := p.Connect(w, 1, req)
	if err != nil {
		t.Fatalf("Connect: %v", err)
	}
	w.take()
	return s, w
}

// wantBy fails unless the wire was closed with the code, by that device.
func wantBy(t testing.TB, w *wire, code protocol.Code, device, platform string) {
	t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	var e *protocol.Error
	if !errors.As(w.why, &e) || e.Code != code || e.ByDevice != device || e.ByPlatform != platform {
		t.Errorf("closed with %+v, want %s by %s on %s", e, code.Name(), device, platform)
	}
}

func TestLoginPolicies(t *testing.T) {
	for _, c := range []struct {
		policy LoginPolicy
		stay   []string // of phone and pad on ios and desk on linux, when a second phone on ios comes
	}{
		{LoginAll, []string{"phone2", "desk", "pad", "phone"}},
		{LoginPlatform, []string{"phone2", "desk"}},
		{LoginOne, []string{"phone2"}},
	} {
		t.Run(fmt.Sprint(c.policy), func(t *testing.T) {
			p := newPlace(t, func(cfg *Config) { cfg.LoginPolicy = c.policy })
			wires := map[string]*wire{}
			var last *Session
			for _, d := range [][2]string{{"phone", "ios"}, {"pad", "ios"}, {"desk", "linux"}, {"phone2", "ios"}} {
				last, wires[d[0]] = p.connectAs(t, "alice", d[0], d[1])
			}
			_, bystander := p.connectAs(t, "bob", "phone", "ios")
			var left []string
			for _, d := range p.Devices(last) {
				left = append(left, d.GetDevice())
				if wires[d.GetDevice()].isClosed() {
					t.Errorf("%s is listed and closed", d.GetDevice())
				}
				if d.GetSelf() != (d.GetDevice() == "phone2") {
					t.Errorf("%v", d)
				}
			}
			if fmt.Sprint(left) != fmt.Sprint(c.stay) || p.Len() != len(c.stay)+1 || bystander.isClosed() {
				t.Errorf("%v stay, %d in all, want %v", left, p.Len(), c.stay)
			}
			switch c.policy {
			case LoginPlatform:
				wantBy(t, wires["phone"], pb.Code_CODE_REPLACED, "pad", "ios")
				wantBy(t, wires["pad"], pb.Code_CODE_REPLACED, "phone2", "ios")
			case LoginOne:
				wantBy(t, wires["pad"], pb.Code_CODE_REPLACED, "desk", "linux")
				wantBy(t, wires["desk"], pb.Code_CODE_REPLACED, "phone2", "ios")
			}
		})
	}
}

// One that makes room for itself is not refused for the number of devices.
func TestLoginPolicyAndLimit(t *testing.T) {
	p := newPlace(t, func(cfg *Config) { cfg.LoginPolicy, cfg.MaxDevices = LoginPlatform, 2 })
	p.connectAs(t, "alice", "phone", "ios")
	p.connectAs(t, "alice", "desk", "linux")
	p.connectAs(t, "alice", "pad", "ios")
	req := p.request(t, "alice", "watch")
	req.Platform = "watchos"
	_, err := p.Connect(&wire{}, 1, req)
	wantCode(t, err, pb.Code_CODE_TOO_MANY_DEVICES)
	if err := (&Config{MaxDevices: 1, LoginPolicy: LoginOne + 1}).Validate(); err == nil {
		t.Error("an unknown policy is valid")
	}
}

func TestTheReplacedLearnByWhom(t *testing.T) {
	p := newPlace(t)
	_, w := p.connectAs(t, "alice", "phone", "ios")
	p.connectAs(t, "alice", "phone", "android")
	wantBy(t, w, pb.Code_CODE_REPLACED, "phone", "android")
}

func TestEndDevice(t *testing.T) {
	p := newPlace(t)
	phone, _ := p.connectAs(t, "alice", "phone", "ios")
	desk, w := p.connectAs(t, "alice", "desk", "linux")
	_, other := p.connectAs(t, "bob", "desk", "linux")
	if found, err := p.EndDevice(phone, "desk"); !found || err != nil {
		t.Fatalf("%v, %v", found, err)
	}
	wantBy(t, w, pb.Code_CODE_DEVICE_ENDED, "phone", "ios")
	wantCode(t, desk.Begin(0), pb.Code_CODE_DEVICE_ENDED)
	if list := p.Devices(phone); len(list) != 1 || !list[0].GetSelf() || other.isClosed() || p.Len() != 2 {
		t.Errorf("left are %v; %d sessions", list, p.Len())
	}
	// It comes back, and its old connection's late close changes nothing.
	back, w := p.connectAs(t, "alice", "desk", "linux")
	p.Close(desk)
	if list := p.Devices(back); len(list) != 2 || w.isClosed() {
		t.Errorf("there are %v", list)
	}
	if found, err := p.EndDevice(phone, "watch"); found || err != nil {
		t.Errorf("%v, %v", found, err)
	}
	_, err := p.EndDevice(phone, "phone")
	wantCode(t, err, pb.Code_CODE_BAD_ARGUMENT)
	_, err = p.EndDevice(phone, "no id")
	wantCode(t, err, pb.Code_CODE_BAD_ID)
	if n := p.Stats().DevicesEnded.Load(); n != 1 {
		t.Errorf("%d ended", n)
	}
}

// Devices of a user log in, end each other and close late, all at once, under
// each policy. In the end those that are registered are those whose wires are
// open, as many as the policy lets stay, and each of the others was told once.
// A mutant of registry.take that lets a replaced session end its successor
// leaves nobody, under LoginOne, and fails here.
func TestDevicesRace(t *testing.T) {
	rounds := 1000
	if testing.Short() {
		rounds = 100
	}
	for _, policy := range []LoginPolicy{LoginAll, LoginPlatform, LoginOne} {
		t.Run(fmt.Sprint(policy), func(t *testing.T) {
			p := newPlace(t, func(cfg *Config) { cfg.LoginPolicy = policy })
			requests := make([]*pb.Connect, 6)
			for i := range requests {
				requests[i] = p.request(t, "alice", fmt.Sprintf("device%d", i/2))
				requests[i].Platform = fmt.Sprintf("platform%d", i%2)
			}
			for range rounds {
				var wg sync.WaitGroup
				start := make(chan struct{})
				wires := make([]*wire, len(requests))
				sessions := make([]*Session, len(requests))
				for i, req := range requests {
					w := &wire{}
					wires[i] = w
					wg.Go(func() {
						<-start
						s, err := p.Connect(w, 1, req)
						if err != nil {
							t.Errorf("Connect: %v", err)
							return
						}
						sessions[i] = s
						if _, err := p.EndDevice(s, fmt.Sprintf("device%d", (i/2+1)%3)); err != nil {
							t.Errorf("EndDevice: %v", err)
						}
						if w.isClosed() {
							p.Close(s)
						}
					})
				}
				close(start)
				wg.Wait()
				open := 0
				for i, w := range wires {
					registered := false
					for _, s := range p.Sessions(nil, "alice") {
						registered = registered || s == sessions[i]
					}
					if registered == w.isClosed() || w.closed > 1 {
						t.Fatalf("connection %d: registered %v, closed %d times with %v", i, registered, w.closed, w.why)
					}
					if !w.isClosed() {
						open++
					}
				}
				if most := map[LoginPolicy]int{LoginAll: 3, LoginPlatform: 2, LoginOne: 1}[policy]; open < 1 || open > most || p.Len() != open {
					t.Fatalf("%d of %d sessions are open, %d registered", open, len(wires), p.Len())
				}
				for _, s := range sessions {
					p.Close(s)
				}
			}
		})
	}
}
