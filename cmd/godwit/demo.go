package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/godwit-im/godwit/bench/node"
	"github.com/godwit-im/godwit/sdk-go"
)

func newDemo(program string) *cobra.Command {
	d := demo{program: program}
	keep := false
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Prove it: kill a server halfway through 1,000 messages and lose none",
		Long: `Start a server process on a fresh temporary directory and connect two users to
it. One goes offline and is sent 1,000 messages, while the server is killed with
SIGKILL halfway and started again. Then the user comes back, and every message
must be there: once, in order, at the seq and with the id of its ack.

Then three users talk in a group, one of them with two devices and one away for
a while: they write, answer, react, edit and recall, and all four devices must
show the same.

The exit code is 1 if it is not so.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if d.messages < minMessages {
				return usagef("--messages is %d, want at least %d", d.messages, minMessages)
			}
			dir, err := os.MkdirTemp("", "godwit-demo-")
			if err != nil {
				return err
			}
			d.dir, d.out, d.live = dir, cmd.OutOrStdout(), isTerminal(cmd.OutOrStdout())
			ctx, stop := signal.NotifyContext(cmd.Context(), syscall.SIGINT, syscall.SIGTERM)
			defer stop()
			ctx, cancel := context.WithTimeout(ctx, demoTimeout)
			defer cancel()
			if err := d.run(ctx); err != nil {
				return fmt.Errorf("%w\nThe server's data and its log are in %s", err, dir)
			}
			if keep {
				d.say("kept", "%s", dir)
				return nil
			}
			return os.RemoveAll(dir)
		},
	}
	cmd.Flags().IntVar(&d.messages, "messages", 1000, "how many messages to send")
	cmd.Flags().BoolVar(&keep, "keep", false, "keep the directory")
	return cmd
}

// demoTimeout is far beyond what the demo takes, so that it never hangs.
const demoTimeout = 3 * time.Minute

// receiptTimeout is far beyond what a receipt takes.
const receiptTimeout = time.Minute

// minMessages leaves enough to send after the kill: see window.
const minMessages = 20

// window is how many messages may wait for their ack until the server is
// killed: many, so that some are lost with it, but few enough for half of all
// to be acknowledged before the last is sent.
func (d *demo) window() int { return min(100, d.messages/4) }

type demo struct {
	program  string
	messages int
	dir      string

	mu      sync.Mutex // guards what follows
	out     io.Writer
	live    bool // out can show a counter
	counter bool // out shows one
}

func (d *demo) say(what, format string, args ...any) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.counter {
		say(d.out, "\r\x1b[K")
		d.counter = false
	}
	say(d.out, "  %-8s %s\n", what, fmt.Sprintf(format, args...))
}

// count shows progress where it can be overwritten.
func (d *demo) count(n int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.live && n%10 == 0 {
		say(d.out, "\r  %-8s %d of %d", "", n, d.messages)
		d.counter = true
	}
}

func (d *demo) run(ctx context.Context) (err error) {
	start := time.Now()
	say(d.out, "\n%d messages to a user who is away, and a server that is killed halfway:\n\n", d.messages)
	addr, err := node.FreeAddr()
	if err != nil {
		return err
	}
	server, err := startChild(ctx, d.program, d.dir, addr)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, server.kill()) }()
	d.say("server", "process %d listens on %s, data in %s", server.PID, server.Listen, d.dir)

	alice, err := d.connect(ctx, server, "alice", false)
	if err != nil {
		return err
	}
	defer alice.leave()
	bob, err := d.connect(ctx, server, "bob", true)
	if err != nil {
		return err
	}
	defer bob.leave()
	if err := d.hello(ctx, alice, bob); err != nil {
		return err
	}
	if err := bob.close(); err != nil {
		return err
	}
	d.say("bob", "goes offline")

	sent, err := d.sendAll(ctx, alice, &server)
	if err != nil {
		return err
	}
	received, err := d.comeBack(ctx, server, sent[len(sent)-1].out)
	if err != nil {
		return err
	}
	if err := verify(sent, received); err != nil {
		return err
	}
	d.say("checked", "all %d arrived once, in order, with the seq and id of their acks", d.messages)
	if err := d.talk(ctx, server); err != nil {
		return err
	}
	say(d.out, "\nAll is well, after %.1f s.\n\n", time.Since(start).Seconds())
	return nil
}

// hello sends one message while both are connected.
func (d *demo) hello(ctx context.Context, alice, bob *person) error {
	start := time.Now()
	out, err := alice.client.SendText(ctx, bob.name, "hello")
	if err != nil {
		return err
	}
	if _, err := out.Sent(ctx); err != nil {
		return err
	}
	acked := time.Since(start)
	select {
	case <-bob.arrived:
	case <-bob.client.Done():
		return bob.client.Err()
	case <-ctx.Done():
		return fmt.Errorf("waiting for bob to be greeted: %w", ctx.Err())
	}
	d.say("hello", "from alice to bob, both online: on disk and acknowledged in %v", acked.Round(10*time.Microsecond))
	return nil
}

// outgoing is a message that was sent, and its ack.
type outgoing struct {
	text string
	out  *godwit.Outgoing
	ack  godwit.Ack
}

// sendAll sends the messages, and kills and restarts the server once half of
// them are acknowledged. *server becomes the new one.
func (d *demo) sendAll(ctx context.Context, alice *person, server **child) ([]outgoing, error) {
	sent := make([]outgoing, d.messages)
	var acked atomic.Int64
	half := make(chan struct{})
	failed := make(chan error, 1)
	slots := make(chan struct{}, d.window())
	var waiting sync.WaitGroup

	d.say("alice", "sends %d messages to bob", d.messages)
	killed := false
	for i := range sent {
		// Up to the kill a message needs a free slot. After it they all go to
		// the outbox at once: there is nobody to wait for.
		if !killed {
			select {
			case slots <- struct{}{}:
			case <-half:
				if err := (*server).kill(); err != nil {
					return nil, err
				}
				killed = true
				n := int(acked.Load())
				d.say("SIGKILL", "the server is dead: %d acknowledged, %d waiting for it, %d not sent yet", n, i-n, d.messages-i)
			case err := <-failed:
				return nil, err
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		}
		m := &sent[i]
		m.text = fmt.Sprintf("message %d", i+1)
		var err error
		if m.out, err = alice.client.SendText(ctx, "bob", m.text); err != nil {
			return nil, err
		}
		waiting.Go(func() {
			ack, err := m.out.Sent(ctx)
			if err != nil {
				select {
				case failed <- err:
				default:
				}
				return
			}
			m.ack = ack
			n := int(acked.Add(1))
			d.count(n)
			if n == (d.messages+1)/2 {
				close(half)
			}
			select {
			case <-slots:
			default:
			}
		})
	}
	if !killed {
		return nil, errors.New("everything was sent before the server could be killed")
	}
	again, err := startChild(ctx, d.program, d.dir, (*server).Listen)
	if err != nil {
		return nil, err
	}
	*server = again
	d.say("server", "process %d runs on what the dead one left", (*server).PID)
	waiting.Wait()
	select {
	case err := <-failed:
		return nil, err
	default:
	}
	d.say("alice", "was reconnected and has all %d acknowledged, seq %d to %d", d.messages, sent[0].ack.Seq, sent[d.messages-1].ack.Seq)
	return sent, nil
}

// comeBack connects bob again and returns what he receives, once alice knows
// that last was delivered.
func (d *demo) comeBack(ctx context.Context, server *child, last *godwit.Outgoing) ([]godwit.Message, error) {
	start := time.Now()
	bob, err := d.connect(ctx, server, "bob", true)
	if err != nil {
		return nil, err
	}
	defer bob.leave()
	if err := bob.caughtUp(ctx, d.count); err != nil {
		return nil, err
	}
	took := time.Since(start)
	// A loss shows here too, as messages that nobody has.
	limited, cancel := context.WithTimeout(ctx, receiptTimeout)
	defer cancel()
	told := last.Delivered(limited)
	if err := bob.close(); err != nil {
		return nil, err
	}
	d.say("bob", "comes back and receives %d messages in %v", len(bob.received), took.Round(time.Millisecond))
	if told == nil {
		d.say("alice", "sees all of them delivered")
	} else if len(bob.received) == d.messages {
		return nil, fmt.Errorf("alice was not told that the last message was delivered: %w", told)
	}
	return bob.received, nil
}

// verify checks the received messages against the acks.
func verify(sent []outgoing, received []godwit.Message) error {
	var errs []error
	if len(received) != len(sent) {
		errs = append(errs, fmt.Errorf("%d messages arrived, %d were sent", len(received), len(sent)))
	}
	for i := range min(len(sent), len(received)) {
		want, got := sent[i], received[i]
		if got.Text() != want.text || got.Seq != want.ack.Seq || got.ID != want.ack.ID {
			errs = append(errs, fmt.Errorf("message %d: arrived as %q with seq %d and id %d, was sent as %q and acknowledged with seq %d and id %d",
				i+1, got.Text(), got.Seq, got.ID, want.text, want.ack.Seq, want.ack.ID))
		}
		if i > 0 && got.Seq != received[i-1].Seq+1 {
			errs = append(errs, fmt.Errorf("seq %d follows seq %d", got.Seq, received[i-1].Seq))
		}
	}
	if len(errs) > 5 {
		errs = append(errs[:5], fmt.Errorf("and %d more", len(errs)-5))
	}
	return errors.Join(errs...)
}

// person is a user with a client. received belongs to the client's callbacks
// until close has returned.
type person struct {
	name     string
	client   *godwit.Client
	store    *godwit.FileStore // nil if it is in memory
	received []godwit.Message
	arrived  chan int // how many were received
	online   chan struct{}
	once     sync.Once
	closed   sync.Once
}

// connect makes a client. Its store is a file where the client must go on from
// an earlier one. Else it is in memory: then no sync of the client's own disk
// keeps it from having many messages on their way.
func (d *demo) connect(ctx context.Context, server *child, name string, inFile bool) (*person, error) {
	keys, err := loadDevKeys(d.dir)
	if err != nil {
		return nil, err
	}
	p := &person{name: name, arrived: make(chan int, d.messages+1), online: make(chan struct{})}
	store := godwit.Store(godwit.NewMemoryStore())
	if inFile {
		if p.store, err = godwit.OpenFileStore(filepath.Join(d.dir, name+".db")); err != nil {
			return nil, err
		}
		store = p.store
	}
	p.client, err = godwit.Dial(ctx, godwit.Options{
		Addr:   server.Listen,
		Token:  func(context.Context) (string, error) { return keys.sign(server.instance, name, time.Hour) },
		Device: "demo", Store: store,
		// The server is back at once, and the show should go on.
		Backoff:     godwit.Backoff{Min: 50 * time.Millisecond, Max: time.Second},
		OutboxLimit: d.messages,
		Handler: godwit.Handler{
			OnMessage: func(m godwit.Message) {
				if m.Sender == name {
					return
				}
				p.received = append(p.received, m)
				select {
				case p.arrived <- len(p.received):
				default: // more than was sent: verify will say so
				}
			},
			OnState: func(s godwit.State) {
				if s.Phase == godwit.Online {
					p.once.Do(func() { close(p.online) })
				}
			},
		},
	})
	if err != nil {
		return nil, errors.Join(err, p.closeStore())
	}
	return p, nil
}

// caughtUp waits until all that the server had when p connected was handed on,
// be it as much as there should be or not.
func (p *person) caughtUp(ctx context.Context, progress func(int)) error {
	for {
		select {
		case n := <-p.arrived:
			progress(n)
		case <-p.online:
			return nil
		case <-p.client.Done():
			return p.client.Err()
		case <-ctx.Done():
			return fmt.Errorf("waiting for %s to catch up: %w", p.name, ctx.Err())
		}
	}
}

// close ends the client and its store; only the first call does.
func (p *person) close() (err error) {
	p.closed.Do(func() { err = errors.Join(p.client.Close(), p.closeStore()) })
	return err
}

// leave is close for a demo that has failed already.
func (p *person) leave() { _ = p.close() }

func (p *person) closeStore() error {
	if p.store == nil {
		return nil
	}
	return p.store.Close()
}
