package client

import (
	"fmt"
	"time"

	"github.com/godwit-im/godwit/bench/fleet"
	"github.com/godwit-im/godwit/protocol"
	"github.com/godwit-im/godwit/protocol/pb"
)

// Inbox is what a device has of its conversations. It checks what comes and
// pulls what is missing. It belongs to one device, over all its connections.
type Inbox struct {
	device *Device
	size   int
	// delivered is told of every message by others that is new, and not of
	// notices and events.
	delivered func(*Conversation, Delivery)
	all       map[string]*Conversation
	group     *Conversation            // that the last message of a group was of
	pulls     map[uint32]*Conversation // by the PULL that is unanswered

	// Pulled counts the messages by others that came by PULL, not by push.
	Pulled int64
}

// Delivery is a message that has come.
type Delivery struct {
	Seq    uint64
	Sent   time.Duration // the clock of its stamp
	Pulled bool          // by PULL, not by push
}

// Conversation is a conversation in an Inbox.
type Conversation struct {
	ID   string
	Peer string // of a direct one
	// Next is the seq that is due.
	Next uint64

	followed func(*Conversation) // until the beginning is known
	from     [2]author           // by whether it is the device's own user
	seen     uint64              // the newest seq that is known of
	asked    uint64              // seen at the time of the PULL that is unanswered
	pulledTo uint64              // the last seq that came by PULL
	pulling  bool
	again    *fleet.Timer // for a PULL that was refused for now; nil = never was

	log *Log // a group's; nil in a direct conversation
	// own are seqs past Next of messages in the group that the device has sent:
	// their acks have overtaken pushes.
	own map[uint64]struct{}
}

// author is one who writes, and the count of the next message.
type author struct {
	user string
	seed uint64
	due  uint32
}

// NewInbox returns an empty inbox for bodies of size bytes, as Draft makes
// them. delivered is told of every message by others, once.
func NewInbox(d *Device, size int, delivered func(*Conversation, Delivery)) *Inbox {
	return &Inbox{device: d, size: size, delivered: delivered, all: map[string]*Conversation{}, pulls: map[uint32]*Conversation{}}
}

// Add adds the conversation with peer, of which messages are due from seq next
// on, each side's count at 0.
func (in *Inbox) Add(peer string, next uint64) *Conversation {
	c := &Conversation{ID: protocol.DirectID(in.device.User, peer), Peer: peer, Next: next}
	c.from[0].seed, c.from[1].seed = seed(peer), seed(in.device.User)
	in.all[c.ID] = c
	return c
}

// AddGroup adds a group, of which messages are due from seq next on, not before
// the log's first. The other inboxes of the loop have the same log.
func (in *Inbox) AddGroup(log *Log, next uint64) *Conversation {
	c := &Conversation{ID: log.ID, Next: next, log: log}
	in.all[c.ID] = c
	return c
}

// Follow is Add where an earlier run may have left messages: it asks the
// server for the newest seq first, and calls followed when it has the answer.
// Nobody may write before that. The device must be connected.
func (in *Inbox) Follow(peer string, followed func(*Conversation)) {
	c := in.Add(peer, 0)
	c.followed = followed
	in.ask(c, &pb.Pull{Conversation: c.ID, Backward: true, Limit: 1})
}

// Conversation returns the conversation with this id; nil = there is none.
func (in *Inbox) Conversation(id string) *Conversation { return in.all[id] }

// OnFrame takes a frame that is the inbox's: pushes, and the answers to its
// own PULLs. Others are not taken and cause no error.
func (in *Inbox) OnFrame(f protocol.Frame) (taken bool, err error) {
	switch f.Type {
	case protocol.TypeMessage:
		if c := in.group; c != nil && c.log.isCopy(c.Next, f.Body) {
			in.took(c, c.log.at(c.Next), false)
			return true, nil
		}
		var m Message
		if err := m.Parse(f.Body); err != nil {
			return true, err
		}
		c, known := in.all[string(m.Conversation)]
		if !known || c.followed != nil {
			return true, violation("%s: a message of %s came, which it did not expect", in.device.User, m.Conversation)
		}
		return true, in.pushed(c, &m)
	case protocol.TypeReceipt, protocol.TypeState:
		return true, nil
	case protocol.TypeHeads:
		return true, in.heads(f)
	case protocol.TypePulled, protocol.TypeError:
		c, asked := in.pulls[f.Request]
		if !asked {
			return false, nil
		}
		delete(in.pulls, f.Request)
		c.pulling = false
		if f.Type == protocol.TypeError {
			return true, in.refused(c, Expect(f, protocol.TypePulled))
		}
		return true, in.pulled(c, f.Body)
	}
	return false, nil
}

// Sent takes the seq of a message that the device itself has sent and the
// server has acked.
func (in *Inbox) Sent(c *Conversation, seq uint64) error {
	switch {
	case c.log != nil && seq >= c.Next:
		if c.own == nil {
			c.own = map[uint64]struct{}{}
		}
		c.own[seq] = struct{}{}
		in.passOwn(c)
	case seq > c.Next:
		in.missing(c, seq)
	case seq == c.Next:
		c.Next++
		c.from[1].due++
	case seq > c.pulledTo:
		return violation("%s: an ack has seq %d where %d was due", c.ID, seq, c.Next)
	}
	return nil
}

// Forget is for a connection that is lost: nothing that was asked on it will be
// answered.
func (in *Inbox) Forget() {
	clear(in.pulls)
	for _, c := range in.all {
		c.pulling = false
		if c.again != nil {
			c.again.Stop()
		}
	}
}

// Pull asks for what follows the last message of a conversation: the device
// has been away.
func (in *Inbox) Pull(c *Conversation) {
	if c.pulling {
		return
	}
	in.ask(c, &pb.Pull{Conversation: c.ID, From: c.Next})
}

// Head takes the newest seq that the server says a conversation has, in a
// SYNCED say, and pulls what is missing up to it.
func (in *Inbox) Head(c *Conversation, seq uint64) {
	if seq >= c.Next {
		in.missing(c, seq)
	}
}

// IsPulling reports whether an answer to a PULL is due, or a PULL that the
// server refused for now is to be repeated.
func (in *Inbox) IsPulling() bool {
	for _, c := range in.all {
		if c.pulling {
			return true
		}
	}
	return false
}

func (in *Inbox) ask(c *Conversation, p *pb.Pull) {
	c.pulling, c.asked = true, c.seen
	in.pulls[in.device.Request(protocol.TypePull, p)] = c
}

// missing is told of a seq that is past the one that is due.
func (in *Inbox) missing(c *Conversation, seq uint64) {
	c.seen = max(c.seen, seq)
	in.Pull(c)
}

func (in *Inbox) pushed(c *Conversation, m *Message) error {
	switch {
	case m.Seq > c.Next:
		in.missing(c, m.Seq)
		return nil
	case m.Seq <= c.pulledTo:
		return nil // pulled before its push was read
	}
	return in.accept(c, m, false)
}

func (in *Inbox) heads(f protocol.Frame) error {
	var heads pb.Heads
	if err := protocol.Decode(f, &heads); err != nil {
		return err
	}
	if len(heads.Heads) == 0 { // too many to name
		for _, c := range in.all {
			in.Pull(c)
		}
	}
	for _, h := range heads.Heads {
		c, known := in.all[h.Conversation]
		if !known {
			return violation("%s: a head of %s came, which it did not expect", in.device.User, h.Conversation)
		}
		in.Head(c, h.Seq)
	}
	return nil
}

func (in *Inbox) pulled(c *Conversation, body []byte) error {
	var page Pulled
	if err := page.Parse(body); err != nil {
		return err
	}
	if c.followed != nil {
		in.begin(c, page.Head)
		return nil
	}
	for {
		var m Message
		some, err := page.Next(&m)
		switch {
		case err != nil:
			return err
		case !some:
			return in.pulledAll(c, page.More)
		case string(m.Conversation) != c.ID:
			return violation("%s: a message of %s was pulled", c.ID, m.Conversation)
		case m.Seq < c.Next:
			continue // pushed while the PULL was on its way
		}
		if err := in.accept(c, &m, true); err != nil {
			return err
		}
		c.pulledTo = m.Seq
	}
}

// pulledAll is told that all of a page was read.
func (in *Inbox) pulledAll(c *Conversation, more bool) error {
	switch {
	case more:
		in.Pull(c)
	case c.asked >= c.Next: // a push or a head had told of it
		return violation("%s: seq %d is missing: it was announced and not pulled", c.ID, c.Next)
	case c.seen >= c.Next: // pushed meanwhile, and dropped since it was past a hole
		in.Pull(c)
	}
	return nil
}

// begin has the messages after head be those that are due.
func (in *Inbox) begin(c *Conversation, head uint64) {
	c.Next = head + 1
	followed := c.followed
	c.followed = nil
	followed(c)
}

// refused is told that a PULL failed.
func (in *Inbox) refused(c *Conversation, err error) error {
	code := protocol.CodeOf(err)
	switch {
	case c.followed != nil && code == pb.Code_CODE_NOT_A_MEMBER: // there is none yet
		in.begin(c, 0)
		return nil
	case c.followed == nil && code.Retryable():
		c.pulling = true
		if c.again == nil {
			c.again = in.device.pool.loop.NewTimer(func() {
				c.pulling = false
				if in.device.connected {
					in.Pull(c)
				}
			})
		}
		c.again.Set(in.device.Now() + max(protocol.AsError(err).RetryAfter, leastRetry))
		return nil
	}
	return fmt.Errorf("%s: PULL: %w", c.ID, err)
}

// accept checks a message that is not known yet.
func (in *Inbox) accept(c *Conversation, m *Message, pulled bool) error {
	if c.log != nil {
		return in.acceptInGroup(c, m, pulled)
	}
	own := 0
	switch string(m.Sender) {
	case c.Peer:
	case in.device.User:
		own = 1
	default:
		return violation("%s: seq %d is by %q", c.ID, m.Seq, m.Sender)
	}
	if m.Seq != c.Next {
		return violation("%s: seq %d came where %d was due", c.ID, m.Seq, c.Next)
	}
	a := &c.from[own]
	sent, ok := readBody(m.Body, a.seed, a.due, in.size)
	if !ok {
		return violation("%s: seq %d does not have the body of message %d", c.ID, m.Seq, a.due)
	}
	c.Next++
	a.due++
	if own == 0 {
		if pulled {
			in.Pulled++
		}
		in.delivered(c, Delivery{Seq: m.Seq, Sent: sent, Pulled: pulled})
	}
	return nil
}

func (in *Inbox) acceptInGroup(c *Conversation, m *Message, pulled bool) error {
	if m.Seq != c.Next {
		return violation("%s: seq %d came where %d was due", c.ID, m.Seq, c.Next)
	}
	e, err := c.log.check(m)
	if err != nil {
		return err
	}
	if !pulled {
		c.log.keep(m.Seq, m.wire)
	}
	in.group = c
	in.took(c, e, pulled)
	return nil
}

// took takes the message that is due in a group: it is e.
func (in *Inbox) took(c *Conversation, e *entry, pulled bool) {
	got := Delivery{Seq: c.Next, Sent: e.sent, Pulled: pulled}
	by, kind := "", e.kind
	if e.author != nil {
		by = e.author.user
	}
	delete(c.own, c.Next)
	c.Next++
	in.passOwn(c)
	if by == in.device.User || kind != pb.Kind_KIND_TEXT {
		return
	}
	if pulled {
		in.Pulled++
	}
	in.delivered(c, got)
}

// passOwn goes past the device's own messages in a group.
func (in *Inbox) passOwn(c *Conversation) {
	for len(c.own) > 0 {
		if _, own := c.own[c.Next]; !own {
			return
		}
		delete(c.own, c.Next)
		c.log.acked(c.Next)
		c.Next++
	}
}
