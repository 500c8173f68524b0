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
	"github.com/godwit-im/godwit/sdk-go/call"
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
	seq  uint64 // 0 until it is known, or where it is of no use
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
	markMention // somebody else's, and it mentions the user
)

// talk is one conversation on the screen.
type talk struct {
	user         string
	peer         string // empty in a group
	conversation string
	calls        *call.Calls

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
	// told is the seq up to which messages and events were handed to the callbacks.
	told uint64
	// forgotten is how often the user's own deletions were told.
	forgotten int
	settled   *sync.Cond // on mu: waiting has lost one, or the like
	// own are the messages of the user on the screen, by row: those that have not
	// come as far as they can.
	own map[int]entry
	// messages are those shown last, by seq, as they are now; lastOwn and lastOther
	// the seqs of the user's newest one and of everybody else's.
	messages           map[uint64]godwit.Message
	lastOwn, lastOther uint64

	read, delivered uint64 // the peer's cursors
	online          bool   // the peer is
	day             string // of the last message shown
	offline         bool   // the user was told so
	caughtUp        bool   // the client has been online
	anyRefused      bool
}

// newTalk is a talk with a user or in a group: to is what checkTarget accepts.
func newTalk(user, to string) *talk {
	t := &talk{
		user: user, conversation: conversationOf(user, to),
		waiting: make(map[string]input), own: make(map[int]entry), messages: make(map[uint64]godwit.Message),
	}
	t.peer, _ = protocol.Peer(t.conversation, user)
	t.settled = sync.NewCond(&t.mu)
	return t
}

// past is what the server says of the conversation when the chat begins.
type past struct {
	godwit.Conversation // zero if there is none
	peer                godwit.Presence
	history             []godwit.Message
}

func (t *talk) fetch(ctx context.Context, c *godwit.Client) (past, error) {
	conversations, err := c.FetchConversations(ctx)
	if err != nil {
		return past{}, err
	}
	var p past
	if i := slices.IndexFunc(conversations, func(conv godwit.Conversation) bool { return conv.ID == t.conversation }); i >= 0 {
		p.Conversation = conversations[i]
	}
	if p.HeadSeq > 0 {
		if p.history, err = c.History(ctx, t.conversation, 0, screenful); err != nil {
			return past{}, err
		}
	}
	if t.peer == "" {
		return p, nil
	}
	presences, err := answer(ctx, c.Subscribe([]string{t.peer}, false))
	if len(presences) > 0 {
		p.peer = presences[0]
	}
	return p, err
}

// begin shows the past, then what the callbacks were given meanwhile.
func (t *talk) begin(ctx context.Context, c *godwit.Client, v view, p past) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.client, t.view, t.shown = c, v, true
	for _, out := range c.Outbox() {
		t.await(ctx, out, input{row: noRow, unshown: true})
	}
	t.online = p.peer.Online()
	t.view.Note(t.greeting(p) + "; /help lists the commands")
	t.advance(p.PeerReadSeq, p.PeerDeliveredSeq)
	if len(p.history) > 0 {
		t.first = p.history[0].Seq
	}
	for _, m := range p.history {
		t.show(m)
	}
	for _, f := range t.early {
		f()
	}
	t.early = nil
}

// greeting says where the user is, and what the marks mean there.
func (t *talk) greeting(p past) string {
	const direct = ". ✓ sent ✓✓ delivered ◉ read"
	switch {
	case t.peer == "":
		return t.groupGreeting(p)
	case p.HeadSeq == 0:
		return "no messages with " + t.peer + " yet" + direct
	}
	return presenceText(t.peer, p.peer) + direct
}

func (t *talk) groupGreeting(p past) string {
	group := "the group " + groupName(p.Group, t.conversation)
	switch p.Membership.Standing {
	case godwit.StandingActive:
		if p.Group == nil || p.Group.DissolvedSeq > 0 {
			return group + " was dissolved"
		}
		return fmt.Sprintf("%s, members: %d, your role: %s. ✓ sent @ mentions you", group, p.Group.Members, roleText(p.Membership.Role))
	case godwit.StandingInvited:
		return fmt.Sprintf("%s invites you to %s. /join accepts, /leave refuses", p.Membership.InvitedBy, group)
	case godwit.StandingRequested:
		return "you have asked to join " + group
	case godwit.StandingLeft:
		return "you have left " + group + ". /join joins again or asks to"
	case godwit.StandingRemoved:
		return "you were removed from " + group
	}
	return "you are not in " + group + ". /join joins or asks to"
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
			t.elsewhere(m)
		}
	})
}

func (t *talk) onPresence(p godwit.Presence) {
	t.onScreen(func() {
		if p.User == t.peer && p.Online() != t.online {
			t.online = p.Online()
			t.view.Note(presenceText(t.peer, p))
		}
	})
}

func presenceText(user string, p godwit.Presence) string {
	switch {
	case p.Online():
		return user + " is online"
	case p.LastSeen.IsZero():
		return user + " is not online"
	}
	return user + " is not online, was last on " + p.LastSeen.Local().Format("2 January at 15:04")
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
		if s.Phase == godwit.Online && !t.caughtUp {
			t.caughtUp = true
			t.settled.Broadcast()
		}
	})
}

func (t *talk) onGap(conversation string, from, to uint64) {
	t.onScreen(func() {
		if conversation == t.conversation {
			t.view.Note(gapText(conversation, from, to))
		}
	})
}

func (t *talk) onReset(conversation string) {
	t.onScreen(func() {
		if conversation == t.conversation {
			t.first, t.last, t.read, t.delivered = 0, 0, 0, 0
			t.lastOwn, t.lastOther, t.told = 0, 0, 0
			clear(t.own)
			clear(t.messages)
			t.view.Note("the server was restored to an older state; what it has follows")
		}
	})
}

// show puts a message on the screen unless it is there, and marks it as read.
// t.mu must be held.
func (t *talk) show(m godwit.Message) {
	t.tell(m.Seq)
	if m.Seq <= t.last {
		t.settle(m.ClientID)
		return
	}
	t.last = m.Seq
	if t.first == 0 {
		t.first = m.Seq
		if t.peer != "" {
			// With a conversation the peer may let the user see whether they are
			// there. The answer comes to onPresence.
			t.client.Subscribe([]string{t.peer}, false)
		}
	}
	t.put(m)
	if m.Sender != t.user {
		// A failure means that the client is closed, which ends the chat.
		_ = t.client.MarkRead(t.conversation, m.Seq)
	}
}

// tell notes that what is at seq was told. t.mu must be held.
func (t *talk) tell(seq uint64) {
	if seq > t.told {
		t.told = seq
		t.settled.Broadcast()
	}
}

// put adds a message's row, or completes the row in which it was typed. Events
// have none: what they change comes with them in it. t.mu must be held.
func (t *talk) put(m godwit.Message) {
	in, here := t.settle(m.ClientID)
	if !m.IsShown() {
		return
	}
	t.keep(m)
	e := entry{seq: m.Seq, time: m.Time, who: m.Sender, text: oneLine(m)}
	own := m.Sender == t.user
	switch {
	case own:
		e.mark = t.markOf(m.Seq)
	case m.Mentioned(t.user):
		e.mark = markMention
	}
	if own && here && in.row != noRow {
		t.view.Mark(in.row, e)
		t.follow(in.row, e)
		return
	}
	if day := m.Time.Local().Format("Monday, 2 January 2006"); day != t.day {
		t.day = day
		t.view.Note(day)
	}
	if m.Kind == godwit.KindNotice {
		t.view.Note(e.text)
		return
	}
	row := t.view.Show(e)
	if own {
		t.follow(row, e)
	}
}

// follow has the mark of an own message move on. In a group it does not: who of
// it has read what is asked for. t.mu must be held.
func (t *talk) follow(row int, e entry) {
	if t.peer != "" {
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
