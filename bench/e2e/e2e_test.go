// Package e2e holds tests of the whole: a real server process, real clients,
// and between them a network that misbehaves or a reader that does not read.
package e2e

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/godwit-im/godwit/bench/journal"
	"github.com/godwit-im/godwit/bench/node"
	godwit "github.com/godwit-im/godwit/sdk-go"
)

func TestMain(m *testing.M) {
	// toxiproxy leaves goroutines behind where it has cut a connection.
	toxics := goleak.IgnoreAnyFunction("github.com/Shopify/toxiproxy/v2/toxics.(*ToxicStub).Run")
	links := goleak.IgnoreAnyFunction("github.com/Shopify/toxiproxy/v2.(*ToxicLink).read")
	// gnet's pool of workers lives for a while after its last task.
	workers := goleak.IgnoreAnyFunction("github.com/panjf2000/ants/v2.(*goWorker).run.func1")
	goleak.VerifyTestMain(m, goleak.IgnoreCurrent(), toxics, links, workers, goleak.Cleanup(func(code int) {
		if binary.dir != "" {
			os.RemoveAll(binary.dir)
		}
		os.Exit(code)
	}))
}

// binary is the server, built by the first test that needs it.
var binary struct {
	sync.Once
	dir string
	err error
}

// server is a running server process of a test.
type server struct {
	node.Config
	*node.Node
}

// startServer starts one that ends with the test.
func startServer(t *testing.T, args ...string) *server {
	t.Helper()
	return start(t, node.Config{Args: args})
}

// start starts the server that cfg describes, in a directory of its own.
func start(t *testing.T, cfg node.Config) *server {
	t.Helper()
	binary.Do(func() {
		if binary.dir, binary.err = os.MkdirTemp("", "godwit-e2e-"); binary.err == nil {
			binary.err = node.Build{Race: raceEnabled}.To(context.Background(), filepath.Join(binary.dir, "godwit"))
		}
	})
	if binary.err != nil {
		t.Fatal(binary.err)
	}
	addr, err := node.FreeAddr()
	if err != nil {
		t.Fatal(err)
	}
	cfg.Binary, cfg.Dir, cfg.Addr, cfg.Log = filepath.Join(binary.dir, "godwit"), t.TempDir(), addr, t.Output()
	s := &server{Config: cfg}
	if s.Node, err = node.Start(s.Config); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := s.Stop(ctx); err != nil {
			t.Errorf("the server ended badly: %v", err)
		}
	})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := s.Ready(ctx); err != nil {
		t.Fatal(err)
	}
	return s
}

// sign makes a token for user; it suits bench.Target.
func (s *server) sign(user string) (string, error) {
	return node.Token(context.Background(), s.Binary, s.Dir, user)
}

// token is a source of one token for user.
func (s *server) token(t *testing.T, user string) func(context.Context) (string, error) {
	t.Helper()
	token, err := s.sign(user)
	if err != nil {
		t.Fatal(err)
	}
	return func(context.Context) (string, error) { return token, nil }
}

// party is a client that journals what it sends and is handed.
type party struct {
	t            *testing.T
	conversation string
	*godwit.Client

	mu       sync.Mutex // guards all below
	journal  journal.Journal
	received int           // messages handed, its own included
	changed  chan struct{} // closed and replaced with every message
}

// join connects a party as o says, until the test ends.
func join(t *testing.T, user, conversation string, o godwit.Options) *party {
	t.Helper()
	p := &party{
		t: t, conversation: conversation,
		journal: journal.Journal{User: user, Device: o.Device, Entries: []journal.Entry{{Op: journal.OpOpen, Conversation: conversation}}},
		changed: make(chan struct{}),
	}
	o.Handler = godwit.Handler{
		OnMessage: p.receive,
		OnGap: func(conversation string, from, to uint64) {
			t.Errorf("%s: gap %d to %d in %s", user, from, to, conversation)
		},
		OnReset: func(conversation string) { t.Errorf("%s: reset of %s", user, conversation) },
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	client, err := godwit.Dial(ctx, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := client.Close(); err != nil {
			t.Errorf("%s: close: %v", user, err)
		}
	})
	p.Client = client
	return p
}

func (p *party) receive(m godwit.Message) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.journal.Entries = append(p.journal.Entries, journal.Entry{
		Op: journal.OpReceive, Conversation: m.Conversation, Sender: m.Sender, ClientID: m.ClientID,
		Body: journal.Sum(m.Body), Seq: m.Seq, ID: m.ID, TimeMs: m.Time.UnixMilli(),
	})
	p.received++
	close(p.changed)
	p.changed = make(chan struct{})
}

func (p *party) add(e journal.Entry) {
	p.mu.Lock()
	defer p.mu.Unlock()
	e.Conversation = p.conversation
	p.journal.Entries = append(p.journal.Entries, e)
}

// send sends n messages of the given size, at most window of them unacked, and
// returns when all are acked. It may be called again, one call at a time.
func (p *party) send(ctx context.Context, n, size, window int) error {
	unacked := make(chan *godwit.Outgoing, window)
	acked := make(chan error, 1)
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go func() {
		err := p.awaitAcks(ctx, unacked)
		cancel(err)
		acked <- err
	}()
	err := func() error {
		defer close(unacked)
		for i := range n {
			body := make([]byte, size)
			copy(body, fmt.Sprintf("%s %d ", p.journal.User, i))
			o, err := p.Send(ctx, p.conversation, godwit.Draft{Kind: godwit.KindCustom, ContentType: "application/octet-stream", Body: body})
			if err != nil {
				return err
			}
			p.add(journal.Entry{Op: journal.OpSend, ClientID: o.ClientID(), Body: journal.Sum(body)})
			select {
			case unacked <- o:
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}
		return nil
	}()
	if ackErr := <-acked; ackErr != nil {
		return ackErr
	}
	return err
}

func (p *party) awaitAcks(ctx context.Context, unacked <-chan *godwit.Outgoing) error {
	for o := range unacked {
		ack, err := o.Sent(ctx)
		if err != nil {
			return err
		}
		p.add(journal.Entry{Op: journal.OpAck, ClientID: o.ClientID(), Seq: ack.Seq, ID: ack.ID, TimeMs: ack.Time.UnixMilli()})
	}
	return nil
}

// await waits until n messages were handed to p.
func (p *party) await(ctx context.Context, n int) error {
	for {
		p.mu.Lock()
		received, changed := p.received, p.changed
		p.mu.Unlock()
		if received >= n {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("%s was handed %d of %d messages: %w", p.journal.User, received, n, ctx.Err())
		}
	}
}

// judge has the checker look at what the parties wrote down.
func judge(t *testing.T, parties ...*party) {
	t.Helper()
	var journals []*journal.Journal
	for _, p := range parties {
		p.mu.Lock()
		j := p.journal
		p.mu.Unlock()
		journals = append(journals, &j)
	}
	report := journal.Check(journals)
	if err := report.Err(); err != nil {
		t.Error(err)
	}
	t.Log(report)
}
