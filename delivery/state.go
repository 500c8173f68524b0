package delivery

import (
	"cmp"
	"errors"
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/godwit-im/godwit/chat"
	"github.com/godwit-im/godwit/msgstore"
	"github.com/godwit-im/godwit/protocol"
	"github.com/godwit-im/godwit/protocol/pb"
)

// changed is a conversation of which a user is to know how it stands for them.
type changed struct {
	conversation string
	since        uint64 // it is news if it has changed past this log index; 0 = in any case
	known        uint64 // up to which they know what is told once only; 0 = nothing
	mine         msgstore.Member
	head         msgstore.Head // its MinSeq is 0 until it goes into a page
	// timeMs is the conversation's place in newestFirst: the head's time, or, in a
	// group of which the user is no member, that when they became one.
	timeMs int64
	peers  msgstore.Member // in a direct conversation; Stamp is 0 until it is read
}

// readPeers reads the peer's cursors, unless they are there.
func (c *changed) readPeers(view *msgstore.View, user string) (err error) {
	if c.peers.Stamp == 0 {
		peer, _ := protocol.Peer(c.conversation, user)
		c.peers, _, err = view.Member(peer, c.conversation)
	}
	return err
}

// compare orders a walk. In newestFirst nothing is met twice, because a
// conversation's time never decreases.
func (w walk) compare(a, b changed) int {
	if w == newestFirst {
		if c := cmp.Compare(b.timeMs, a.timeMs); c != 0 {
			return c
		}
	}
	return cmp.Compare(a.conversation, b.conversation)
}

// info answers with how a conversation stands for user.
func (d *Delivery) info(user string, request uint32, req *pb.Info) (_ []byte, err error) {
	if err := protocol.CheckConversation(req.Conversation); err != nil {
		return nil, err
	}
	if !maybeOwn(user, req.Conversation) {
		return nil, errNotAMember
	}
	view := d.store.View()
	defer func() { err = errors.Join(err, view.Close()) }()
	c := changed{conversation: req.Conversation}
	var found bool
	if c.mine, found, err = view.Member(user, c.conversation); err != nil {
		return nil, err
	}
	if !found {
		return nil, errNotAMember
	}
	if known, err := d.look(view, user, &c); err != nil || !known {
		return nil, cmp.Or(err, error(errNotAMember))
	}
	// Informed.state is field 1, as Pulled.messages is.
	state, err := d.appendState(nil, view, user, &c, d.cfg.MaxFrame)
	if err != nil {
		return nil, err
	}
	frame := protocol.AppendStored(make([]byte, protocol.HeaderSize, protocol.HeaderSize+protocol.SizeStored(len(state))), state)
	return finish(frame, protocol.TypeInformed, request), nil
}

// appendState appends the encoding of c's pb.ConversationState to dst. The
// preview, copied as it is stored, is left out where the state would not fit
// into an answer of its own, of most bytes, or the message is not kept any more,
// and so are the seqs of what was deleted.
func (d *Delivery) appendState(dst []byte, view *msgstore.View, user string, c *changed, most int) ([]byte, error) {
	if !inside(c.conversation, c.mine.Membership) {
		return appendProto(dst, &pb.ConversationState{Conversation: c.conversation, MinSeq: 1, Membership: c.mine.Membership}), nil
	}
	state, shown, err := d.state(view, user, c)
	if err != nil {
		return nil, err
	}
	begin := len(dst)
	if dst = appendProto(dst, state); protocol.SizeStored(len(dst)-begin) > most {
		state.Deleted = nil // PULL has them
		dst = appendProto(dst[:begin], state)
	}
	if shown == 0 {
		return dst, nil
	}
	last, kept, err := view.Message(c.conversation, shown)
	if err != nil || !kept {
		return dst, err
	}
	last, err = d.preview(user, c, shown, last)
	if errors.Is(err, chat.ErrNotKept) || errors.Is(err, errMoved) {
		return dst, nil
	}
	if err != nil {
		return nil, err
	}
	if protocol.SizeStored(len(dst)-begin+protocol.SizeStored(len(last))) <= most {
		dst = protowire.AppendTag(dst, stateLast, protowire.BytesType)
		dst = protowire.AppendBytes(dst, last)
	}
	return dst, nil
}

// stateLast is the number of ConversationState.last.
const stateLast = 9

// state returns how c stands for user, who may read something of it, without the
// preview, and the seq of the message that belongs there; 0 = there is none.
func (d *Delivery) state(view *msgstore.View, user string, c *changed) (state *pb.ConversationState, shown uint64, err error) {
	if c.head.Seq == 0 { // not looked at, or nothing there
		if c.head, _, err = view.Newest(c.conversation); err != nil {
			return nil, 0, err
		}
	}
	if c.head, err = view.Complete(c.conversation, c.head); err != nil {
		return nil, 0, err
	}
	state = &pb.ConversationState{Conversation: c.conversation}
	switch protocol.KindOf(c.conversation) {
	case protocol.Direct:
		if err := c.readPeers(view, user); err != nil {
			return nil, 0, err
		}
		state.PeerReadSeq, state.PeerDeliveredSeq = c.peers.ReadSeq, c.peers.DeliveredSeq
	case protocol.Group:
		g, stamp, _, err := d.store.GroupAt(c.conversation)
		if err != nil {
			return nil, 0, err
		}
		// The head and the group may be newer than the view that the row is of. Once
		// more, so that nobody sees what came after they were put out.
		if c.mine, _, err = d.store.Member(user, c.conversation); err != nil {
			return nil, 0, err
		}
		if active(c.mine.Membership) && max(stamp, c.mine.Joined) > c.known {
			state.Group = g
		}
	}
	state.CountedMs = d.cfg.Now().UnixMilli()
	if state.Unread, err = d.unread(user, c, state.CountedMs); err != nil {
		return nil, 0, err
	}
	if state.MentionSeq, err = chat.FirstMention(d.store.FirstMention, c.head, c.mine, c.conversation, user, state.CountedMs); err != nil {
		return nil, 0, err
	}
	m := c.mine.Membership
	first, last := chat.Bounds(c.head, m)
	state.HeadSeq, state.MinSeq = last, first
	state.ReadSeq, state.DeliveredSeq = c.mine.ReadSeq, c.mine.DeliveredSeq
	state.Membership = m
	if state.HeadId, shown, err = d.newest(view, c, last); err != nil {
		return nil, 0, err
	}
	if shown < first {
		shown = 0
	}
	// Those that retention has removed since, too: other devices may have them.
	if m.GetDeletedSeq() > 0 && c.mine.Stamp > c.known {
		if state.Deleted, err = d.store.DeletedSince(user, c.conversation, c.known); err != nil {
			return nil, 0, err
		}
	}
	return state, shown, nil
}

// newest returns the id of the message at last, which is the head or the last
// one that the user may read, and the seq of the newest one up to there that is
// to be shown.
func (d *Delivery) newest(view *msgstore.View, c *changed, last uint64) (id, shown uint64, err error) {
	if last == c.head.Seq {
		return c.head.ID, c.head.Shown, nil
	}
	wire, kept, err := view.Message(c.conversation, last)
	if err != nil || !kept {
		return 0, 0, err
	}
	m := &pb.Message{}
	if err := proto.Unmarshal(wire, m); err != nil {
		return 0, 0, fmt.Errorf("message %d of %q: %w", last, c.conversation, err)
	}
	return m.Id, cmp.Or(m.ShownSeq, m.Seq), nil
}

// preview returns a message as the user of c is to see it.
func (d *Delivery) preview(user string, c *changed, seq uint64, wire []byte) (_ []byte, err error) {
	x := extract{
		user: user, conversation: c.conversation,
		from: c.mine.Membership.GetFromSeq(), until: c.mine.Membership.GetUntilSeq(), nowMs: d.cfg.Now().UnixMilli(),
	}
	if err := d.settle(&x); err != nil {
		return nil, err
	}
	if c.mine.Membership.GetDeletedSeq() >= seq {
		if x.deleted, err = d.store.DeletedSince(user, c.conversation, 0); err != nil {
			return nil, err
		}
	}
	return d.shown(&x, seq, wire)
}

// unread is the user's unread count in c at nowMs. Where retention was at work on c
// between two reads, it reads again where c begins.
func (d *Delivery) unread(user string, c *changed, nowMs int64) (uint64, error) {
	for {
		n, err := chat.Unread(d.message, d.store.GoneBetween, c.head, c.mine, c.conversation, user, nowMs)
		if !errors.Is(err, chat.ErrNotKept) {
			return n, err
		}
		head, _, readErr := d.store.Head(c.conversation)
		if readErr != nil {
			return 0, readErr
		}
		if head.MinSeq == c.head.MinSeq {
			return 0, fmt.Errorf("%s at seq %d: %w", c.conversation, head.MinSeq, err)
		}
		c.head.MinSeq = head.MinSeq
	}
}

// message is a chat.ReadFunc.
func (d *Delivery) message(conversation string, seq uint64) ([]byte, error) {
	wire, kept, err := d.store.Message(conversation, seq)
	if err == nil && !kept {
		err = chat.ErrNotKept
	}
	return wire, err
}
