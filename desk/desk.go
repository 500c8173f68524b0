package desk

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/godwit-im/godwit/protocol"
	godwit "github.com/godwit-im/godwit/sdk-go"
	"github.com/godwit-im/godwit/session"
)

// Desk is a running desk.
type Desk struct {
	cfg      Config
	log      *slog.Logger
	verifier *session.Verifier
	client   *godwit.Client
	http     *http.Server
	addr     string
	admitted admission

	inbox  chan func(context.Context) // what callbacks have for the desk's goroutine
	visits chan *request
	cancel context.CancelFunc // ends the goroutine and its calls
	ending <-chan struct{}    // closed by cancel
	done   chan struct{}      // closed when all has ended
	err    error              // set before done is closed

	// What follows belongs to the desk's goroutine.
	open      map[string]*visit // by conversation
	byVisitor map[string]*visit
	online    map[string]bool // agents
}

// Open starts a desk, and returns when visitors can come: it has read where it
// stands. It goes on, whatever becomes of its connection, until Close, or until the
// server or the network ends it for good. ctx bounds the start alone.
func Open(ctx context.Context, cfg Config) (*Desk, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	verifier, err := session.NewVerifier(cfg.Auth)
	if err != nil {
		return nil, err
	}
	d := &Desk{
		cfg: cfg, log: cfg.Logger, verifier: verifier,
		admitted: admission{most: cfg.VisitsPerMinute, mostOfOne: cfg.VisitsPerAddress},
		inbox:    make(chan func(context.Context), 64), visits: make(chan *request), done: make(chan struct{}),
		open: make(map[string]*visit), byVisitor: make(map[string]*visit), online: make(map[string]bool),
	}
	if d.log == nil {
		d.log = slog.Default()
	}
	life, cancel := context.WithCancel(context.WithoutCancel(ctx))
	d.cancel, d.ending = cancel, life.Done()
	defer context.AfterFunc(ctx, cancel)() // until it has started
	if err := d.connect(ctx); err != nil {
		cancel()
		return nil, err
	}
	ln, err := d.begin(life)
	if err != nil {
		cancel()
		return nil, errors.Join(err, d.client.Close())
	}
	d.addr = ln.Addr().String()
	d.http = d.newHTTP()
	go d.run(life, ln)
	return d, nil
}

// connect dials, and returns when the client has caught up.
func (d *Desk) connect(ctx context.Context) (err error) {
	online := make(chan struct{}, 1)
	d.client, err = godwit.Dial(ctx, godwit.Options{
		Addr:   d.cfg.Server,
		Device: "desk-" + d.cfg.Name, Platform: "desk",
		Token:       func(context.Context) (string, error) { return d.sign(d.cfg.User, d.cfg.TokenTTL) },
		StartAtHead: true, // begin reads what is older
		Logger:      d.log,
		Handler: godwit.Handler{
			OnState: func(s godwit.State) {
				if s.Phase == godwit.Online {
					select {
					case online <- struct{}{}:
					default:
					}
				}
			},
			OnMessage: func(m godwit.Message) {
				if protocol.KindOf(m.Conversation) == protocol.Group {
					d.later(func(ctx context.Context) { d.received(ctx, &m) })
				}
			},
			OnPresence: func(p godwit.Presence) {
				d.later(func(context.Context) { d.online[p.User] = p.Online() })
			},
		},
	})
	if err != nil {
		return fmt.Errorf("desk: %w", err)
	}
	select {
	case <-online:
		return nil
	case <-d.client.Done():
		return fmt.Errorf("desk: %w", d.client.Err())
	case <-ctx.Done():
		return errors.Join(fmt.Errorf("desk: %w", ctx.Err()), d.client.Close())
	}
}

// later has the desk's goroutine do something. It waits where that has much to do,
// and with it all that the server tells.
func (d *Desk) later(do func(context.Context)) {
	select {
	case d.inbox <- do:
	case <-d.ending:
	}
}

// begin takes up what there is.
func (d *Desk) begin(ctx context.Context) (net.Listener, error) {
	// First who is online and what is open, since what was asked for meanwhile is
	// answered by it.
	if err := d.watchAgents(ctx); err != nil {
		return nil, fmt.Errorf("desk: %w", err)
	}
	for _, c := range d.client.Conversations() {
		if v, is := d.visitOf(&c); is {
			d.adopt(v)
		} else if d.owns(&c) || d.isStranger(&c) {
			d.leave(ctx, &c) // in the first case it was dissolved, and no more
		}
	}
	for _, v := range d.open {
		d.catchUp(ctx, v)
	}
	return new(net.ListenConfig).Listen(ctx, "tcp", d.cfg.Listen)
}

// run is the desk's goroutine.
func (d *Desk) run(ctx context.Context, ln net.Listener) {
	defer close(d.done)
	var serving sync.WaitGroup
	defer serving.Wait()
	failed := make(chan error, 1)
	serving.Go(func() { failed <- d.http.Serve(ln) })
	defer d.http.Close()      //nolint:errcheck // there is nobody to tell
	defer d.client.Close()    //nolint:errcheck // its store is in memory
	defer d.cancel()          // so that callbacks end
	timer := time.NewTimer(0) // there may be something to do at once
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-d.client.Done():
			d.err = d.client.Err()
			return
		case d.err = <-failed:
			return
		case do := <-d.inbox:
			do(ctx)
		case r := <-d.visits:
			r.answer <- d.visit(ctx, r)
		case <-timer.C:
		}
		timer.Reset(d.tend(ctx))
	}
}

// Addr is the address that the desk listens on.
func (d *Desk) Addr() string { return d.addr }

// Done is closed when the desk has ended, by Close or by itself.
func (d *Desk) Done() <-chan struct{} { return d.done }

// Err is why the desk ended by itself; nil while it has not, and after Close.
func (d *Desk) Err() error {
	select {
	case <-d.done:
		return d.err
	default:
		return nil
	}
}

// Close ends the desk and returns when it has ended. Visits stay as they are, for
// the next desk with this user and name.
func (d *Desk) Close() {
	d.cancel()
	<-d.done
}

func (d *Desk) sign(user string, ttl time.Duration) (string, error) {
	a := &d.cfg.Auth
	return session.Sign(a.Keys, "", a.Algorithm, a.Issuer, a.Audience, user, ttl, time.Now())
}

// wait waits for a call for as long as one may take.
func wait[T any](ctx context.Context, d *Desk, call *godwit.Call[T]) (T, error) {
	ctx, cancel := context.WithTimeout(ctx, d.cfg.CallTimeout)
	defer cancel()
	result, err := call.Wait(ctx)
	if err != nil {
		call.Cancel()
	}
	return result, err
}
