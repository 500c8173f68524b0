package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/godwit-im/godwit/protocol"
	"github.com/godwit-im/godwit/sdk-go"
)

// chatTarget is whom or what a chat is with, as the flags say.
type chatTarget struct {
	to        string
	newGroup  string // its name, instead of to
	with      []string
	broadcast bool
}

// check returns the group that is to be made, nil if none is.
func (c *chatTarget) check() (*godwit.NewGroup, error) {
	switch {
	case c.newGroup == "" && (c.broadcast || len(c.with) > 0):
		return nil, usagef("--with and --broadcast are for a --new-group")
	case c.newGroup == "":
		return nil, checkTarget("--to", c.to)
	case c.to != "":
		return nil, usagef("--to and --new-group exclude each other")
	}
	for _, user := range c.with {
		if err := protocol.CheckID("a user in --with", user); err != nil {
			return nil, usagef("%s", protocol.AsError(err).Text)
		}
	}
	group := &godwit.NewGroup{ClientID: strings.ToLower(rand.Text()[:10]), Name: c.newGroup, Users: c.with}
	if c.broadcast {
		group.Kind = godwit.GroupKindBroadcast
	}
	return group, nil
}

func newChat() *cobra.Command {
	var (
		f      clientFlags
		target chatTarget
		dir    string
	)
	cmd := &cobra.Command{
		Use:   "chat --user USER --to USER|GROUP",
		Short: "Chat with a user or in a group, a line a message",
		Long: `Chat with a user or in a group, a line a message. The last messages are shown
first, and what is shown is marked as read.

  ✓ sent   ✓✓ delivered   ◉ read   ✗ refused   @ mentions you

A message in a group is marked as sent; /readers tells who has read it. What
happens to a message later, an edit say, is told in a line of its own.

/help lists the commands, by which everything else is done: to answer, edit or
recall a message, to see and change who is in the group, one's contacts, the
list of conversations. A message that begins with a slash is written with two.

Messages that cannot be sent at the moment are kept, and sent when there is a
connection, by the next chat if need be. Without a terminal it reads and prints
plain lines and ends when all that it read is acknowledged.`,
		Example: `  godwit chat --user alice --to bob
  godwit chat --user alice --new-group friends --with bob,carol
  godwit chat --user bob --to g:alice:ab2cd3`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			group, err := target.check()
			if err != nil {
				return err
			}
			id, err := f.resolve()
			if err != nil {
				return err
			}
			to := target.to
			if id.user == to {
				return usagef("--user and --to are the same: a conversation has two users")
			}
			if group != nil {
				to = protocol.GroupID(id.user, group.ClientID)
			}
			state, err := openState(dir, id, f.device)
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, state.Close()) }()
			open := func() (view, func(), error) { return newView(cmd.InOrStdin(), cmd.OutOrStdout(), id.user) }
			return runChat(cmd.Context(), &f, id, newTalk(id.user, to), group, state, open)
		},
	}
	f.add(cmd)
	fs := cmd.Flags()
	fs.StringVar(&target.to, "to", "", "the `user` to chat with, or a group's id")
	fs.StringVar(&target.newGroup, "new-group", "", "make a group of this `name` and chat in it, instead of --to")
	fs.StringSliceVar(&target.with, "with", nil, "the first members of the --new-group: `user,user`...")
	fs.BoolVar(&target.broadcast, "broadcast", false, "make the --new-group one for announcements: only its owner and admins write, and nobody else sees who follows")
	fs.StringVar(&dir, "state", "", "`directory` for unsent messages and the device's id (default: $XDG_STATE_HOME/godwit)")
	return cmd
}

// maxChats is how many chats of one user can run on a machine at a time.
const maxChats = 8

// state is what a device must not forget, held by one process at a time.
type state struct {
	*godwit.FileStore
	device string
	lock   *os.File
}

// openState opens the state of a device in a directory of its own for each
// server and user. Where no device is given it is the first of this
// installation's that no other chat is using.
func openState(dir string, id identity, device string) (*state, error) {
	if dir == "" {
		var err error
		if dir, err = stateHome(); err != nil {
			return nil, err
		}
	}
	home := filepath.Join(dir, url.PathEscape(id.addr), url.PathEscape(id.user))
	if err := os.MkdirAll(home, 0o700); err != nil {
		return nil, err
	}
	if device != "" {
		if err := protocol.CheckID("--device", device); err != nil {
			return nil, usagef("%s", protocol.AsError(err).Text)
		}
		s, err := lockState(home, device)
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, fmt.Errorf("device %s of %s is in use by another chat", device, id.user)
		}
		return s, err
	}
	installation, err := installationID(dir)
	if err != nil {
		return nil, err
	}
	for n := range maxChats {
		s, err := lockState(home, fmt.Sprintf("chat-%s-%d", installation, n+1))
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			return s, err
		}
	}
	return nil, fmt.Errorf("%d chats of %s are running already", maxChats, id.user)
}

// lockState fails with EWOULDBLOCK where another process has the device.
func lockState(home, device string) (*state, error) {
	path := filepath.Join(home, device)
	lock, err := os.OpenFile(path+".lock", os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return nil, errors.Join(fmt.Errorf("locking %s: %w", lock.Name(), err), lock.Close())
	}
	store, err := godwit.OpenFileStore(path + ".db")
	if err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	return &state{store, device, lock}, nil
}

func (s *state) Close() error { return errors.Join(s.FileStore.Close(), s.lock.Close()) }

// installationID tells this machine's devices from those of the user's other
// machines. It is drawn once and kept.
func installationID(dir string) (string, error) {
	path := filepath.Join(dir, "installation")
	drawn := strings.ToLower(rand.Text()[:8])
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err == nil {
		_, err = f.WriteString(drawn + "\n")
		return drawn, errors.Join(err, f.Close())
	}
	if !errors.Is(err, fs.ErrExist) {
		return "", err
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	kept := strings.TrimSpace(string(text))
	if err := protocol.CheckID("the id in "+path, kept); err != nil {
		return "", errors.New(protocol.AsError(err).Text)
	}
	return kept, nil
}

// runChat runs until the user, the input or the client ends it. group is to be
// made first, unless it is nil. The view is opened late: until then Ctrl-C is a
// signal, and ends whatever takes long.
func runChat(ctx context.Context, f *clientFlags, id identity, t *talk, group *godwit.NewGroup, state *state, open func() (view, func(), error)) (err error) {
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	t.calls = t.newCalls()
	client, err := f.dial(ctx, id, godwit.Options{
		Device: state.device, Store: state, StartAtHead: true,
		Handler: godwit.Handler{
			OnMessage: t.onMessage, OnMessageChanged: t.onChanged, OnReceipt: t.onReceipt,
			OnPresence: t.onPresence, OnSignal: t.onSignal, OnState: t.onState, OnGap: t.onGap, OnReset: t.onReset,
		},
	})
	if err != nil {
		t.endCalls()
		return err
	}
	defer func() {
		t.endCalls()
		err = errors.Join(err, client.Close())
	}()
	t.calls.Attach(client)
	if group != nil {
		if err := makeGroup(ctx, client, *group, f.timeout); err != nil {
			return err
		}
	}
	past, err := t.fetch(ctx, client)
	if err != nil {
		return err
	}
	v, restore, err := open()
	if err != nil {
		return err
	}
	defer restore()
	t.begin(ctx, client, v, past)
	defer t.end()

	lines := make(chan input)
	quit := make(chan struct{})
	defer close(quit)
	go readLines(v, lines, quit)
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-client.Done():
			return client.Err()
		case in := <-lines:
			if errors.Is(in.err, io.EOF) {
				return t.flush(ctx, f.timeout)
			}
			if in.err != nil {
				return in.err
			}
			if in.text == "/quit" {
				return nil
			}
			if err := t.do(ctx, in); err != nil {
				return err
			}
		}
	}
}

func makeGroup(ctx context.Context, client *godwit.Client, group godwit.NewGroup, limit time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	_, err := answer(ctx, client.CreateGroup(group))
	if err != nil {
		return fmt.Errorf("making the group: %w", err)
	}
	return nil
}

// input is a line that was typed and the row that it stands in.
type input struct {
	text string
	row  int
	err  error
	// unshown: what it sends may not come back as a message of its own: an event,
	// or whatever an earlier chat left in the outbox.
	unshown bool
}

// readLines hands on what the view reads until that fails. It outlives the
// chat in its last read, which nothing can interrupt; the process ends then.
func readLines(v view, lines chan<- input, quit <-chan struct{}) {
	for {
		text, row, err := v.ReadLine()
		select {
		case lines <- input{text: text, row: row, err: err}:
		case <-quit:
			return
		}
		if err != nil {
			return
		}
	}
}
