package godwit_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"testing"
	"time"

	"github.com/godwit-im/godwit/protocol"
	godwit "github.com/godwit-im/godwit/sdk-go"
	"github.com/godwit-im/godwit/sdk-go/internal/fakeserver"
)

// modelDevice is a device that goes on- and offline.
type modelDevice struct {
	*app
	client *godwit.Client // nil = offline
	online chan struct{}
}

// comeOnline dials, and waits until the device has caught up.
func (d *modelDevice) comeOnline() {
	d.t.Helper()
	d.online = make(chan struct{}, 16)
	online := d.online
	d.opts.Handler.OnState = func(s godwit.State) {
		if s.Phase == godwit.Online {
			select {
			case online <- struct{}{}:
			default:
			}
		}
	}
	d.client = d.dial()
	select {
	case <-online:
	case <-time.After(patience):
		d.t.Fatal("never online")
	}
}

func (d *modelDevice) goOffline() {
	if err := d.client.Close(); err != nil {
		d.t.Error(err)
	}
	d.client = nil
}

// seen is a conversation as far as two views of it must agree.
func seen(c godwit.Conversation) godwit.Conversation {
	c.DeliveredSeq, c.PeerDeliveredSeq = 0, 0 // still on their way
	if isGroup := protocol.KindOf(c.ID) == protocol.Group; isGroup && c.Membership.Standing != godwit.StandingActive {
		// As it was then, or as an invitation said. A message that was recalled
		// since is a tombstone on the server alone.
		c.Group, c.Last = nil, nil
	}
	return c
}

// difference is how the device's model differs from what the server says, empty
// if it does not.
func (d *modelDevice) difference(ctx context.Context) (string, error) {
	want, err := d.client.FetchConversations(ctx)
	if err != nil {
		return "", err
	}
	for _, w := range want {
		if got, _ := d.client.Conversation(w.ID); !reflect.DeepEqual(seen(got), seen(w)) {
			return fmt.Sprintf("%s: %s\n got %s\nwant %s", d.client.User(), w.ID, describe(seen(got)), describe(seen(w))), nil
		}
	}
	contacts, err := d.client.FetchContacts(ctx)
	if err != nil {
		return "", err
	}
	if got := d.client.Contacts(); !reflect.DeepEqual(got, contacts) {
		return fmt.Sprintf("%s: contacts %+v, want %+v", d.client.User(), got, contacts), nil
	}
	for _, w := range want {
		if w.Group == nil || w.Membership.Standing != godwit.StandingActive {
			continue
		}
		var fetched []godwit.Member
		for m, err := range d.client.FetchMembers(ctx, w.ID) {
			if err != nil {
				return "", err
			}
			fetched = append(fetched, m)
		}
		members, err := d.client.Members(ctx, w.ID)
		if err != nil {
			return "", err
		}
		if !reflect.DeepEqual(members, fetched) {
			return fmt.Sprintf("%s: members of %s %+v, want %+v", d.client.User(), w.ID, members, fetched), nil
		}
	}
	return "", nil
}

func describe(c godwit.Conversation) string {
	last, group, contact := c.Last, c.Group, c.Contact
	c.Last, c.Group, c.Contact = nil, nil, nil
	return fmt.Sprintf("%+v\n     last %+v\n     group %+v\n     contact %+v", c, last, group, contact)
}

// agree waits until the device's model is the server's.
func (d *modelDevice) agree() {
	d.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	last := ""
	for {
		changed := d.nextChange()
		difference, err := d.difference(ctx)
		if err == nil && difference == "" {
			return
		}
		if err == nil {
			last = difference
		}
		select {
		case <-changed:
		case <-time.After(100 * time.Millisecond): // a MARK may be on its way
		case <-ctx.Done():
		}
		if ctx.Err() != nil {
			d.t.Fatalf("it never agrees with the server: %v\n%s", err, last)
		}
	}
}

func (a *app) nextChange() <-chan struct{} {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.changed
}

// modelRun lets devices do random things.
type modelRun struct {
	t       *testing.T
	rng     *rand.Rand
	seed    uint64
	devices []*modelDevice
	groups  []string
}

func (r *modelRun) user() string { return []string{"alice", "bob", "carol"}[r.rng.IntN(3)] }

// refused reports whether err is a refusal, as random requests earn many.
func refused(err error) bool {
	var e *protocol.Error
	return errors.As(err, &e)
}

func (r *modelRun) step() {
	d := r.devices[r.rng.IntN(len(r.devices))]
	if d.client == nil {
		d.comeOnline()
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	c := d.client
	conv := direct(c.User(), "dave")
	if peer := r.user(); peer != c.User() && r.rng.IntN(3) == 0 {
		conv = direct(c.User(), peer)
	} else if len(r.groups) > 0 {
		conv = r.groups[r.rng.IntN(len(r.groups))]
	}
	state, _ := c.Conversation(conv)
	some := func() uint64 { return 1 + r.rng.Uint64N(max(state.HeadSeq, 1)) }
	err := error(nil)
	wait := func(o *godwit.Outgoing, e error) {
		if err = e; e == nil {
			_, err = o.Sent(ctx)
		}
	}
	n := r.rng.IntN(100)
	switch {
	case n < 30:
		var options []godwit.SendOption
		switch r.rng.IntN(8 - int(r.seed%2)) {
		case 0:
			options = append(options, godwit.Mention(r.user()))
		case 1:
			options = append(options, godwit.WithFlags(godwit.Uncounted))
		case 7: // in every other run: nobody is told of it before the next SYNC
			options = append(options, godwit.WithFlags(godwit.Unpushed))
		}
		wait(c.SendText(ctx, conv, fmt.Sprint("text ", r.rng.IntN(1000)), options...))
	case n < 36:
		var options []godwit.SendOption
		if r.rng.IntN(3) == 0 {
			options = append(options, godwit.Mention(r.user()))
		}
		wait(c.EditText(ctx, conv, some(), fmt.Sprint("edit ", r.rng.IntN(1000)), options...))
	case n < 42:
		wait(c.Recall(ctx, conv, some()))
	case n < 48:
		wait(c.React(ctx, conv, some(), "+1"))
	case n < 50:
		wait(c.Unreact(ctx, conv, some(), "+1"))
	case n < 60:
		err = c.MarkRead(conv, some())
	case n < 64:
		_, err = c.SetSettings(conv, r.settings()).Wait(ctx)
	case n < 67:
		_, err = c.Delete(conv, some()).Wait(ctx)
	case n < 69:
		_, err = c.Clear(conv, some()).Wait(ctx)
	case n < 76:
		err = r.contact(ctx, c)
	case n < 90:
		err = r.group(ctx, c, conv)
	default:
		d.goOffline()
	}
	if err != nil && !refused(err) {
		r.t.Fatalf("%s in %s, step %d: %v", c.User(), conv, n, err)
	}
}

func (r *modelRun) settings() godwit.SettingsChange {
	yes := r.rng.IntN(2) == 0
	switch r.rng.IntN(5) {
	case 0:
		return godwit.SettingsChange{Pinned: &yes}
	case 1:
		return godwit.SettingsChange{Archived: &yes, Muted: &yes}
	case 2:
		return godwit.SettingsChange{MarkedUnread: &yes}
	case 3:
		return godwit.SettingsChange{Hidden: &yes}
	}
	return godwit.SettingsChange{Draft: new(fmt.Sprint("draft ", r.rng.IntN(100)))}
}

func (r *modelRun) contact(ctx context.Context, c *godwit.Client) error {
	user := r.user()
	if user == c.User() {
		user = "dave"
	}
	call := []func(string) *godwit.Call[godwit.Contact]{
		func(u string) *godwit.Call[godwit.Contact] { return c.RequestContact(u, "hi") },
		c.AcceptContact, c.RefuseContact, c.RemoveContact, c.Unblock,
		func(u string) *godwit.Call[godwit.Contact] { return c.Remark(u, "friend") },
	}[r.rng.IntN(6)]
	_, err := call(user).Wait(ctx)
	return err
}

func (r *modelRun) group(ctx context.Context, c *godwit.Client, group string) error {
	if len(r.groups) < 2 || protocol.KindOf(group) != protocol.Group {
		result, err := c.CreateGroup(godwit.NewGroup{
			Name: "group", Users: []string{"dave"},
			Join:    []godwit.JoinPolicy{godwit.JoinByInvite, godwit.JoinByApproval, godwit.JoinOpen}[r.rng.IntN(3)],
			History: []godwit.HistoryPolicy{godwit.HistoryAll, godwit.HistoryFromJoin}[r.rng.IntN(2)],
		}).Wait(ctx)
		if err == nil {
			r.groups = append(r.groups, result.Group.Conversation)
		}
		return err
	}
	user := r.user()
	var call *godwit.Call[godwit.GroupResult]
	switch r.rng.IntN(12) {
	case 0, 1:
		call = c.AddMembers(group, user)
	case 2:
		call = c.InviteMembers(group, user)
	case 3, 4:
		call = c.JoinGroup(group, "please")
	case 5:
		call = c.RefuseInvitation(group)
	case 6:
		call = c.LeaveGroup(group)
	case 7:
		call = c.RemoveMembers(group, user)
	case 8:
		call = c.SetRole(group, []godwit.Role{godwit.RoleMember, godwit.RoleAdmin}[r.rng.IntN(2)], user)
	case 9:
		call = c.ChangeGroup(group, godwit.GroupChange{Name: new(fmt.Sprint("name ", r.rng.IntN(100)))})
	case 10:
		call = c.SetNick(group, fmt.Sprint("nick ", r.rng.IntN(100)))
	case 11:
		call = c.AdmitMembers(group, user)
	}
	_, err := call.Wait(ctx)
	return err
}

// TestModelIsTheServers has devices of three users do random things and go on-
// and offline, with pushes left out, and compares what each then knows with what
// the server says: while all are there, and after a restart of each.
func TestModelIsTheServers(t *testing.T) {
	t.Parallel()
	for seed := range uint64(16) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			runModel(t, seed, 150)
		})
	}
}

func runModel(t *testing.T, seed uint64, steps int) {
	s := startServer(t, fakeserver.Config{Seed: seed, PullLimit: 7, SyncLimit: 3})
	r := &modelRun{t: t, rng: rand.New(rand.NewPCG(seed, 0)), seed: seed}
	for _, name := range []string{"alice-1", "alice-2", "bob-1", "carol-1"} {
		d := &modelDevice{app: newApp(t, s, name[:len(name)-2])}
		d.opts.Device, d.opts.Store = name, godwit.NewMemoryStore()
		d.opts.Handler.OnConversation = func(godwit.Conversation) { d.record(func() {}) }
		d.opts.StartAtHead = r.rng.IntN(2) == 0
		r.devices = append(r.devices, d)
		d.comeOnline()
	}
	if seed%3 == 1 {
		s.SetFaults(fakeserver.Faults{Heads: 0.2, EmptyHeads: 0.1, Cut: 0.01})
	}
	for range steps {
		r.step()
	}
	s.SetFaults(fakeserver.Faults{})
	for _, d := range r.devices {
		if seed%2 == 0 && d.client != nil {
			d.goOffline()
		}
		if d.client == nil {
			d.comeOnline()
		}
	}
	for _, d := range r.devices {
		d.agree()
	}
	for _, d := range r.devices { // which sends the marks that are owed
		d.goOffline()
		d.comeOnline()
	}
	for _, d := range r.devices {
		d.agree()
		list := d.client.Conversations()
		d.goOffline()
		d.comeOnline()
		d.agree()
		again := d.client.Conversations()
		if len(again) != len(list) {
			t.Fatalf("%s has %d conversations after a restart, %d before", d.client.User(), len(again), len(list))
		}
		for i := range list {
			if !reflect.DeepEqual(seen(list[i]), seen(again[i])) {
				t.Errorf("%s: %s\nbefore a restart,\n%s\nafter it", d.client.User(), describe(list[i]), describe(again[i]))
			}
		}
	}
}
