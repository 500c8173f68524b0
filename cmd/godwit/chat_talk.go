package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/godwit-im/godwit/protocol"
	"github.com/godwit-im/godwit/sdk-go"
)

// screenful is how many messages of the history are shown at a time.
const screenful = 20

// view is where a talk is shown and typed. Only ReadLine may be called while
// another method runs.
type view interface {
	// ReadLine returns the next line typed and the number of the row that it
	// stands in: noRow where it is not on the screen.
	ReadLine() (text string, row int, err error)
	// Show adds an entry and returns its row's number.
	Show(e entry) (row int)
	// Mark changes the mark and the time of an entry shown before.
	Mark(row int, e entry)
	// Note adds a line that is no message.
	Note(text string)
}

// noRow is the number of no row.
const noRow = -1

// entry is a message as it is shown.
type entry struct {
	mark mark
	seq  uint64 // 0 until it is known
	time time.Time
	who  string
	text string
}

// mark says how far one of the user's own messages has come.
type mark int

const (
	markNone mark = iota // somebody else's message, or one not stored yet
	markSent
	markDelivered
	markRead
	markRefused
)

// talk is one conversation on the screen.
type talk struct {
	user, peer   string
	conversation string

	mu     sync.Mutex // guards what follows, and the view but for ReadLine
	client *godwit.Client
	view   view
	shown  bool     // between begin and end
	early  []func() // what the callbacks had to do before begin
	// first and last are the seqs of the oldest and the newest message shown.
	first, last uint64
	// waiting are the own messages without an ack, by client id; those that an
	// earlier chat left have no row.
	waiting map[string]input
	settled *sync.Cond // on mu: waiting has lost one
	// own are the messages of the user on the screen, by row.
	own             map[int]entry
	read, delivered uint64 // the peer's cursors
	day             string // of the last message shown
	offline         bool   // the user was told so
	anyRefused      bool
}

func newTalk(user, peer string) *talk {
	t := &talk{
		user: user, peer: peer, conversation: protocol.DirectID(user, peer),
		waiting: make(map[string]input), own: make(map[int]entry),
	}
	t.settled = sync.NewCond(&t.mu)
	return t
}

// past is what the server says of the conversation when the chat begins.
type past struct {
	known           bool // there is a conversation
	online          bool
	read, delivered uint64
	history         []godwit.Message
}

func (t *talk) fetch(ctx context.Context, c *godwit.Client) (past, error) {
	conversations, err := c.FetchConversations(ctx)
	if err != nil {
		return past{}, err
	}
	i := slices.IndexFunc(conversations, func(conv godwit.Conversation) bool { return conv.ID == t.conversation })
	if i < 0 {
		return past{}, nil
	}
	p := past{known: true, read: conversations[i].PeerReadSeq, delivered: conversations[i].PeerDeliveredSeq}
	if p.history, err = c.History(ctx, t.conversation, 0, screenful); err != nil {
		return past{}, err
	}
	online, err := c.Online(ctx, t.peer)
	p.online = len(online) > 0
	return p, err
}

// begin shows the past, then what the callbacks were given meanwhile.
func (t *talk) begin(ctx context.Context, c *godwit.Client, v view, p past) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.client, t.view, t.shown = c, v, true
	for _, out := range c.Outbox() {
		t.await(ctx, out, input{row: noRow})
	}
	presence := t.peer + " is not online"
	switch {
	case !p.known:
		presence = "no messages with " + t.peer + " yet"
	case p.online:
		presence = t.peer + " is online"
	}
	t.view.Note(presence + ". ✓ sent ✓✓ delivered ◉ read; /history /who /quit")
	t.advance(p.read, p.delivered)
	for _, m := range p.history {
		t.show(m)
	}
	for _, f := range t.early {
		f()
	}
	t.early = nil
}

// end keeps the callbacks from the view.
func (t *talk) end() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.shown = false
}

// onScreen runs f, now or when the talk begins, with t.mu held.
func (t *talk) onScreen(f func()) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.shown {
		f()
		return
	}
	t.early = append(t.early, f)
}

// onMessage and the other callbacks run on the client's callback goroutine.
func (t *talk) onMessage(m godwit.Message) {
	t.onScreen(func() {
		switch {
		case m.Conversation == t.conversation:
			t.show(m)
		case m.Sender == t.user:
			t.settle(m.ClientID)
		default:
			t.view.Note(harmless(m.Sender) + " wrote to you in another conversation")
		}
	})
}

func (t *talk) onReceipt(r godwit.Receipt) {
	t.onScreen(func() {
		if r.Conversation == t.conversation && r.User == t.peer {
			t.advance(r.ReadSeq, r.DeliveredSeq)
		}
	})
}

func (t *talk) onState(s godwit.State) {
	t.onScreen(func() {
		switch {
		case s.Phase == godwit.Waiting && !t.offline:
			t.offline = true
			t.view.Note(offlineText(s) + "; what you write is sent later")
		case s.Phase == godwit.Online && t.offline:
			t.offline = false
			t.view.Note("connected again")
		}
	})
}

func (t *talk) onGap(conversation string, from, to uint64) {
	t.onScreen(func() {
		if conversation == t.conversation {
			t.view.Note(fmt.Sprintf("messages %d to %d are not kept any more", from, to))
		}
	})
}

func (t *talk) onReset(conversation string) {
	t.onScreen(func() {
		if conversation == t.conversation {
			t.first, t.last, t.read, t.delivered = 0, 0, 0, 0
			clear(t.own)
			t.view.Note("the server was restored to an older state; what it has follows")
		}
	})
}

// show puts a message on the screen unless it is there, and marks it as read.
// t.mu must be held.
func (t *talk) show(m godwit.Message) {
	if m.Seq <= t.last {
		t.settle(m.ClientID)
		return
	}
	t.last = m.Seq
	if t.first == 0 {
		t.first = m.Seq
	}
	t.put(m)
	if m.Sender != t.user {
		// A failure means that the client is closed, which ends the chat.
		_ = t.client.MarkRead(t.conversation, m.Seq)
	}
}

// put adds a message's row, or completes the row in which it was typed. t.mu
// must be held.
func (t *talk) put(m godwit.Message) {
	e := entry{seq: m.Seq, time: m.Time, who: m.Sender, text: oneLine(m)}
	own := m.Sender == t.user
	if own {
		e.mark = t.markOf(m.Seq)
		if in, here := t.settle(m.ClientID); here && in.row != noRow {
			t.view.Mark(in.row, e)
			t.own[in.row] = e
			return
		}
	}
	if day := m.Time.Local().Format("Monday, 2 January 2006"); day != t.day {
		t.day = day
		t.view.Note(day)
	}
	row := t.view.Show(e)
	if own {
		t.own[row] = e
	}
}

func (t *talk) markOf(seq uint64) mark {
	switch {
	case seq <= t.read:
		return markRead
	case seq <= t.delivered:
		return markDelivered
	}
	return markSent
}

// advance moves the peer's cursors and the marks that depend on them. t.mu must
// be held.
func (t *talk) advance(read, delivered uint64) {
	t.read, t.delivered = max(t.read, read), max(t.delivered, delivered, read)
	for _, row := range slices.Sorted(maps.Keys(t.own)) {
		e := t.own[row]
		if now := t.markOf(e.seq); now > e.mark {
			e.mark = now
			t.view.Mark(row, e)
			t.own[row] = e
		}
		if e.mark == markRead {
			delete(t.own, row)
		}
	}
}
