package delivery

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"slices"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/godwit-im/godwit/chat"
	"github.com/godwit-im/godwit/msgstore"
	"github.com/godwit-im/godwit/protocol"
	"github.com/godwit-im/godwit/protocol/pb"
)

// changed is a conversation that changed for a user since a cursor.
type changed struct {
	conversation string
	head         msgstore.Head // its MinSeq is 0 until it goes into a page
	mine         msgstore.Member
	peers        msgstore.Member // Stamp is 0 until it is read
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
		if c := cmp.Compare(b.head.TimeMs, a.head.TimeMs); c != 0 {
			return c
		}
	}
	return cmp.Compare(a.conversation, b.conversation)
}

// sync answers with a page of the user's conversations that changed since the
// cursor. applied are the applied indexes from before the call, that is, before
// all of its reads.
func (d *Delivery) sync(applied []uint64, user string, request uint32, req *pb.Sync) (_ []byte, err error) {
	from, reset, err := resume(req.Cursor, d.store.Epoch(), applied)
	if err != nil {
		return nil, err
	}
	base, at := from.base, position{watermark: applied}
	if from.page != nil {
		at = *from.page
	}
	view := d.store.View()
	defer func() { err = errors.Join(err, view.Close()) }()
	draft := d.drafts.Get().(*[]byte)
	defer d.drafts.Put(draft)
	p := d.newPage(*draft, req.Limit)
	next := &cursor{epoch: d.store.Epoch()}
	for {
		list, err := d.changedSince(view, user, base, &at)
		if err != nil {
			return nil, err
		}
		n, err := d.fill(p, view, user, list)
		if err != nil {
			return nil, err
		}
		if n < len(list) {
			if n > 0 {
				at.timeMs, at.conversation = list[n-1].head.TimeMs, list[n-1].conversation
			}
			next.base, next.page = base, &at
			break
		}
		if from.page == nil || at.walk == catchUp {
			next.base = at.watermark
			break
		}
		base, at = at.watermark, position{watermark: applied, walk: catchUp}
	}
	*draft = appendProto(p.frame, &pb.Synced{
		Cursor: next.append(nil),
		More:   next.page != nil,
		Reset_: reset,
		Epoch:  d.store.Epoch(),
	})
	return bytes.Clone(finish(*draft, protocol.TypeSynced, request)), nil
}

// applied returns the present applied indexes.
func (d *Delivery) applied() []uint64 {
	indexes := make([]uint64, d.store.Partitions())
	for p := range indexes {
		indexes[p] = d.store.Applied(p)
	}
	return indexes
}

// changedSince returns the conversations of user that changed past base and
// come after at, in the order of its walk.
func (d *Delivery) changedSince(view *msgstore.View, user string, base []uint64, at *position) ([]changed, error) {
	var list []changed
	in := func(p int) bool {
		// Where nothing in the partition had changed when the SYNC began, nothing
		// is left for it to tell. What a page of the first walk missed since may
		// be newer than any watermark, though.
		return (at.watermark[p] > base[p] || at.walk == catchUp) && d.store.ChangedSince(p, user, base[p])
	}
	err := view.Members(user, in, func(conversation string, row msgstore.Member) error {
		if p := d.store.PartitionOf(conversation); d.store.ChangedSince(p, conversation, base[p]) {
			list = append(list, changed{conversation: conversation, mine: row})
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	last := changed{conversation: at.conversation, head: msgstore.Head{TimeMs: at.timeMs}}
	kept := list[:0]
	for _, c := range list {
		var exists bool
		if c.head, exists, err = view.Newest(c.conversation); err != nil {
			return nil, err
		}
		if !exists || at.conversation != "" && at.walk.compare(c, last) <= 0 {
			continue
		}
		if since := base[d.store.PartitionOf(c.conversation)]; c.head.Stamp <= since && c.mine.Stamp <= since {
			if err := c.readPeers(view, user); err != nil {
				return nil, err
			}
			if c.peers.Stamp <= since {
				continue
			}
		}
		kept = append(kept, c)
	}
	slices.SortFunc(kept, at.walk.compare)
	return kept, nil
}

// page is a SYNCED that is being filled.
type page struct {
	frame []byte // with room for the header in front
	state []byte // a draft of what is appended next
	limit int    // how many more conversations it may take
	most  int    // how many bytes it could take at the beginning
	room  int    // and can now
}

func (d *Delivery) newPage(draft []byte, wanted uint32) *page {
	most := d.cfg.MaxFrame - syncedTail - maxCursor(d.store.Partitions())
	return &page{
		frame: draft[:protocol.HeaderSize],
		limit: limit(wanted, d.cfg.SyncLimit, d.cfg.MaxSync),
		most:  most,
		room:  most,
	}
}

// fill puts as much of list into p as there is room for, one at the least if p
// is empty, and returns how many that were.
func (d *Delivery) fill(p *page, view *msgstore.View, user string, list []changed) (n int, err error) {
	for n < len(list) && p.limit > 0 {
		state, err := d.appendState(p.state[:0], view, user, &list[n], p.most)
		if err != nil {
			return 0, err
		}
		// Synced.conversations is field 1, as Pulled.messages is.
		size := protocol.SizeStored(len(state))
		p.state = state
		if size > p.room {
			break
		}
		p.frame = protocol.AppendStored(p.frame, state)
		p.room -= size
		p.limit--
		n++
	}
	return n, nil
}

// syncedTail bounds the encoding of Synced's fields but conversations and the
// bytes of the cursor.
const syncedTail = 4 + 2 + 2 + 9

// appendState appends the encoding of c's pb.ConversationState to dst. The
// preview, copied as it is stored, is left out where the state would not fit
// into an answer of its own, of most bytes, or the message is not kept any more.
func (d *Delivery) appendState(dst []byte, view *msgstore.View, user string, c *changed, most int) ([]byte, error) {
	if err := c.readPeers(view, user); err != nil {
		return nil, err
	}
	var err error
	if c.head, err = view.Complete(c.conversation, c.head); err != nil {
		return nil, err
	}
	unread, err := d.unread(user, c)
	if err != nil {
		return nil, err
	}
	dst = appendProto(dst, &pb.ConversationState{
		Conversation:     c.conversation,
		HeadSeq:          c.head.Seq,
		MinSeq:           c.head.MinSeq,
		Unread:           unread,
		ReadSeq:          c.mine.ReadSeq,
		DeliveredSeq:     c.mine.DeliveredSeq,
		PeerReadSeq:      c.peers.ReadSeq,
		PeerDeliveredSeq: c.peers.DeliveredSeq,
	})
	if c.head.MinSeq > c.head.Seq {
		return dst, nil
	}
	last, kept, err := view.Message(c.conversation, c.head.Seq)
	if err != nil {
		return nil, err
	}
	if kept && protocol.SizeStored(len(dst)+protocol.SizeStored(len(last))) <= most {
		dst = protowire.AppendTag(dst, stateLast, protowire.BytesType)
		dst = protowire.AppendBytes(dst, last)
	}
	return dst, nil
}

// stateLast is the number of ConversationState.last.
const stateLast = 9

// errNotKept: a message is no longer there that was there by the head.
var errNotKept = errors.New("delivery: message not kept")

// unread is the user's unread count in c. Where retention was at work on c
// between two reads, it reads again where c begins.
func (d *Delivery) unread(user string, c *changed) (uint64, error) {
	for {
		n, err := chat.Unread(d.message, d.store.GoneBetween, c.head, c.mine, c.conversation, user)
		if !errors.Is(err, errNotKept) {
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
		err = errNotKept
	}
	return wire, err
}

func appendProto(dst []byte, m proto.Message) []byte {
	dst, err := proto.MarshalOptions{}.MarshalAppend(dst, m)
	if err != nil {
		panic("delivery: " + err.Error()) // ids are ASCII: they were checked on the way in
	}
	return dst
}

// finish fills in the header of a frame that was begun with HeaderSize bytes of
// room for it.
func finish(frame []byte, t protocol.Type, request uint32) []byte {
	protocol.AppendHeader(frame[:0], t, request, len(frame)-protocol.HeaderSize)
	return frame
}
