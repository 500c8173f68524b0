package e2e

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"strings"
	"sync"
	"time"

	godwit "github.com/godwit-im/godwit/sdk-go"
)

// patience is how long a test waits for what must happen.
const patience = 2 * time.Minute

// device is an application on a user's device. What it was handed it keeps while
// it is offline.
type device struct {
	user, name string
	options    godwit.Options
	client     *godwit.Client // nil = offline

	mu      sync.Mutex // guards what follows
	conn    net.Conn
	dials   int // how many connections there were
	views   map[string]map[uint64]godwit.Message
	fault   string        // what OnMessage must not be given
	log     []string      // the last that the client said
	changed chan struct{} // closed, and made anew, with each callback
}

func newDevice(user, name, addr string, token string, wrap func(net.Conn) net.Conn) *device {
	d := &device{user: user, name: name, views: make(map[string]map[uint64]godwit.Message), changed: make(chan struct{})}
	note := func(f func()) {
		d.mu.Lock()
		defer d.mu.Unlock()
		f()
		close(d.changed)
		d.changed = make(chan struct{})
	}
	d.options = godwit.Options{
		Addr: addr, Device: name, Platform: "test", Store: godwit.NewMemoryStore(),
		Logger:  slog.New(slog.NewTextHandler(writerFunc(d.logged), &slog.HandlerOptions{Level: slog.LevelInfo})),
		Token:   func(context.Context) (string, error) { return token, nil },
		Backoff: godwit.Backoff{Min: time.Millisecond, Max: 20 * time.Millisecond},
		Dialer: func(ctx context.Context, network, addr string) (net.Conn, error) {
			conn, err := new(net.Dialer).DialContext(ctx, network, addr)
			if err != nil {
				return nil, err
			}
			if wrap != nil {
				conn = wrap(conn)
			}
			note(func() { d.conn, d.dials = conn, d.dials+1 })
			return conn, nil
		},
		Handler: godwit.Handler{
			OnMessage:        func(m godwit.Message) { note(func() { d.receive(m) }) },
			OnMessageChanged: func(c godwit.MessageChange) { note(func() { d.change(c) }) },
			OnConversation:   func(godwit.Conversation) { note(func() {}) },
			OnReceipt:        func(godwit.Receipt) { note(func() {}) },
			OnState:          func(godwit.State) { note(func() {}) },
			OnReset:          func(c string) { note(func() { d.fault = "reset of " + c }) },
		},
	}
	return d
}

type writerFunc func(line []byte) (int, error)

func (w writerFunc) Write(line []byte) (int, error) { return w(line) }

func (d *device) logged(line []byte) (int, error) {
	const most = 40
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.log) == most {
		d.log = d.log[1:]
	}
	d.log = append(d.log, string(line))
	return len(line), nil
}

// said is the last that the client said: for failures that can't be repeated.
func (d *device) said() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return fmt.Sprintf("%s said:\n%s", d, strings.Join(d.log, ""))
}

func (d *device) String() string { return d.user + "/" + d.name }

func (d *device) receive(m godwit.Message) {
	view := d.views[m.Conversation]
	if view == nil {
		view = make(map[uint64]godwit.Message)
		d.views[m.Conversation] = view
	}
	if _, twice := view[m.Seq]; twice {
		d.fault = fmt.Sprintf("message %d of %s was handed twice", m.Seq, m.Conversation)
	}
	view[m.Seq] = m
}

func (d *device) change(c godwit.MessageChange) {
	view := d.views[c.Conversation]
	if c.Type != godwit.ChangeCleared {
		if m, has := view[c.Seq]; has {
			m.Apply(c)
			view[c.Seq] = m
		}
		return
	}
	for seq, m := range view {
		m.Apply(c)
		view[seq] = m
	}
}

func (d *device) view(conversation string) map[uint64]godwit.Message {
	d.mu.Lock()
	defer d.mu.Unlock()
	return maps.Clone(d.views[conversation])
}

// dialed is how many connections the device has had. A request that went out on
// one that ended may have been done although it had no answer; it is then sent
// again on the next, and answered by what there is to do by then.
func (d *device) dialed() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.dials
}

// next is closed with the next callback.
func (d *device) next() <-chan struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.changed
}

// cut ends the connection under the client, which will make another.
func (d *device) cut() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.conn.Close()
}

// dial goes online and waits until the device has caught up.
func (d *device) dial(ctx context.Context) (err error) {
	if d.client, err = godwit.Dial(ctx, d.options); err != nil {
		return fmt.Errorf("%s: %w", d, err)
	}
	return d.online(ctx)
}

func (d *device) online(ctx context.Context) error {
	for {
		next := d.next()
		if d.client.State().Phase == godwit.Online {
			return nil
		}
		select {
		case <-d.client.Done():
			return fmt.Errorf("%s has ended: %w", d, d.client.Err())
		case <-next:
		case <-ctx.Done():
			return fmt.Errorf("%s is not online: %w", d, ctx.Err())
		}
	}
}

func (d *device) close() error {
	if d.client == nil {
		return nil
	}
	err := d.client.Close()
	d.client = nil
	return err
}
