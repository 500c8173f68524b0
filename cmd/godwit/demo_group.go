package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/godwit-im/godwit/protocol"
	"github.com/godwit-im/godwit/sdk-go"
)

// The demo's second part: a group of three, of whom one has two devices and one
// is away while things happen.

// device is one device's view of the group: what it was told, by seq, with all
// changes applied.
type device struct {
	name   string
	client *godwit.Client

	mu    sync.Mutex // guards what follows
	view  map[uint64]godwit.Message
	seen  uint64        // the highest seq of a message or event
	moved chan struct{} // closed and replaced when seen rises
}

func (d *demo) device(ctx context.Context, server *child, user, name string) (*device, error) {
	keys, err := loadDevKeys(d.dir)
	if err != nil {
		return nil, err
	}
	v := &device{name: name, view: make(map[uint64]godwit.Message), moved: make(chan struct{})}
	v.client, err = godwit.Dial(ctx, godwit.Options{
		Addr:    server.Listen,
		Token:   func(context.Context) (string, error) { return keys.sign(server.instance, user, time.Hour) },
		Device:  name,
		Handler: godwit.Handler{OnMessage: v.message, OnMessageChanged: v.changed},
	})
	if err != nil {
		return nil, err
	}
	return v, nil
}

func (v *device) message(m godwit.Message) {
	if !isGroup(m.Conversation) {
		return
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.view[m.Seq] = m
	v.rise(m.Seq)
}

func (v *device) changed(c godwit.MessageChange) {
	if !isGroup(c.Conversation) {
		return
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if m, ok := v.view[c.Seq]; ok && m.Apply(c) {
		v.view[c.Seq] = m
	}
	v.rise(c.Event.Seq)
}

// isGroup leaves out what the first part of the demo was about.
func isGroup(conversation string) bool { return protocol.KindOf(conversation) == protocol.Group }

func (v *device) rise(seq uint64) {
	if seq > v.seen {
		v.seen = seq
		close(v.moved)
		v.moved = make(chan struct{})
	}
}

// await waits until v was told of everything up to seq.
func (v *device) await(ctx context.Context, seq uint64) error {
	for {
		v.mu.Lock()
		seen, moved := v.seen, v.moved
		v.mu.Unlock()
		if seen >= seq {
			return nil
		}
		select {
		case <-moved:
		case <-v.client.Done():
			return v.client.Err()
		case <-ctx.Done():
			return fmt.Errorf("waiting for %s to see seq %d; it has %d: %w", v.name, seq, seen, ctx.Err())
		}
	}
}

// lines are the view as somebody would read it.
func (v *device) lines() (lines []string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, seq := range slices.Sorted(maps.Keys(v.view)) {
		m := v.view[seq]
		text := fmt.Sprintf("%s: %s", m.Sender, m.Text())
		switch {
		case m.State == godwit.MessageRecalled:
			text = fmt.Sprintf("%s: (recalled by %s)", m.Sender, m.RecalledBy)
		case m.Notice != nil:
			text = fmt.Sprintf("(%s made the group with %s)", m.Notice.Actor, strings.Join(m.Notice.Users, ", "))
		}
		if !m.Edited.IsZero() {
			text += " (edited)"
		}
		for _, r := range m.Reactions {
			text += fmt.Sprintf(" [%s %d]", r.Key, r.Count)
		}
		lines = append(lines, fmt.Sprintf("%d %s", seq, text))
	}
	return lines
}

// talk has the group talk, and compares what its devices see in the end.
func (d *demo) talk(ctx context.Context, server *child) (err error) {
	say(d.out, "\nA group of three, one with two devices, one away for a while:\n\n")
	var phone, laptop, bob, carol *device
	for _, dial := range []struct {
		to         **device
		user, name string
	}{{&phone, "alice", "phone"}, {&laptop, "alice", "laptop"}, {&bob, "bob", "bobs-phone"}} {
		if *dial.to, err = d.device(ctx, server, dial.user, dial.name); err != nil {
			return err
		}
		defer func(v *device) { err = errors.Join(err, v.client.Close()) }(*dial.to)
	}
	made, err := phone.client.CreateGroup(godwit.NewGroup{Name: "Island trip", Users: []string{"bob", "carol"}}).Wait(ctx)
	if err != nil {
		return err
	}
	group := made.Group.Conversation
	d.say("alice", "makes the group %q with bob and carol; carol is not there", made.Group.Name)

	last, err := converse(ctx, group, phone, laptop, bob)
	if err != nil {
		return err
	}
	d.say("talk", "alice writes from both devices, bob answers and reacts, alice edits and recalls")
	for _, v := range []*device{laptop, bob} {
		if err := v.await(ctx, last); err != nil {
			return err
		}
	}
	if carol, err = d.device(ctx, server, "carol", "carols-phone"); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, carol.client.Close()) }()
	d.say("carol", "comes with a new device")
	all := []*device{phone, laptop, bob, carol}
	for _, v := range all {
		if err := v.await(ctx, last); err != nil {
			return err
		}
	}
	want := strings.Join(phone.lines(), "\n")
	for _, v := range all[1:] {
		if got := strings.Join(v.lines(), "\n"); got != want {
			return fmt.Errorf("%s sees\n%s\nbut %s sees\n%s", phone.name, want, v.name, got)
		}
	}
	d.say("checked", "all four devices show the same:")
	for line := range strings.Lines(want) {
		say(d.out, "           %s\n", strings.TrimRight(line, "\n"))
	}
	return nil
}

// converse has people write, and returns the seq of the last thing that happened.
func converse(ctx context.Context, group string, phone, laptop, bob *device) (last uint64, err error) {
	do := func(send func() (*godwit.Outgoing, error)) (uint64, error) {
		out, err := send()
		if err != nil {
			return 0, err
		}
		ack, err := out.Sent(ctx)
		last = max(last, ack.Seq)
		return ack.Seq, err
	}
	text := func(v *device, text string, options ...godwit.SendOption) (uint64, error) {
		return do(func() (*godwit.Outgoing, error) { return v.client.SendText(ctx, group, text, options...) })
	}
	first, err := text(phone, "The ferry leaves at nine")
	if err != nil {
		return 0, err
	}
	second, err := text(laptop, "and tickets are 200 a head")
	if err != nil {
		return 0, err
	}
	for _, step := range []func() (*godwit.Outgoing, error){
		func() (*godwit.Outgoing, error) {
			return bob.client.SendText(ctx, group, "I'm in", godwit.Reply(first))
		},
		func() (*godwit.Outgoing, error) { return bob.client.React(ctx, group, first, "⛴") },
		func() (*godwit.Outgoing, error) {
			return laptop.client.EditText(ctx, group, first, "The ferry leaves at ten")
		},
		func() (*godwit.Outgoing, error) { return phone.client.Recall(ctx, group, second) },
	} {
		if _, err := do(step); err != nil {
			return 0, err
		}
	}
	return last, nil
}
