package delivery

import (
	"bytes"
	"errors"
	"slices"

	"google.golang.org/protobuf/proto"

	"github.com/godwit-im/godwit/msgstore"
	"github.com/godwit-im/godwit/protocol"
	"github.com/godwit-im/godwit/protocol/pb"
)

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
				at.timeMs, at.conversation = list[n-1].timeMs, list[n-1].conversation
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
	list, err := d.candidates(view, user, base, at)
	if err != nil {
		return nil, err
	}
	last := changed{conversation: at.conversation, timeMs: at.timeMs}
	kept := list[:0]
	for _, c := range list {
		news, err := d.look(view, user, &c)
		if err != nil {
			return nil, err
		}
		if news && (at.conversation == "" || at.walk.compare(c, last) > 0) {
			kept = append(kept, c)
		}
	}
	slices.SortFunc(kept, at.walk.compare)
	return kept, nil
}

// candidates returns the conversations of user that may have changed past base,
// with the user's row.
func (d *Delivery) candidates(view *msgstore.View, user string, base []uint64, at *position) (list []changed, err error) {
	// Before the view is: the row of a group that is in here is there, unless the
	// group is so new that it is the next SYNC's.
	groups, err := d.store.Groups(user)
	if err != nil {
		return nil, err
	}
	// Where nothing in a partition had changed when the SYNC began, nothing is left
	// for it to tell. What a page of the first walk missed since may be newer than
	// any watermark, though.
	news := func(p int, name string) bool {
		return (at.watermark[p] > base[p] || at.walk == catchUp) && d.store.ChangedSince(p, name, base[p])
	}
	scanned := make([]bool, len(base)) // whose rows have been looked at; that may change meanwhile
	in := func(p int) bool {
		scanned[p] = news(p, user)
		return scanned[p]
	}
	add := func(conversation string, row msgstore.Member) error {
		p := d.store.PartitionOf(conversation)
		// What goes on in a group is its members' business. Who isn't one any more
		// has news when their row changes.
		outside := protocol.KindOf(conversation) == protocol.Group && !active(row.Membership)
		if row.Stamp > base[p] || !outside && d.store.ChangedSince(p, conversation, base[p]) {
			c := changed{conversation: conversation, mine: row, since: base[p], known: base[p]}
			if at.walk == catchUp {
				// The walk before may have missed it, with what was new by then.
				c.known = 0
			}
			list = append(list, c)
		}
		return nil
	}
	if err := view.Members(user, in, add); err != nil {
		return nil, err
	}
	for _, g := range groups {
		if p := d.store.PartitionOf(g); scanned[p] || !news(p, g) {
			continue
		}
		row, found, err := view.Member(user, g)
		if err == nil && found {
			err = add(g, row)
		}
		if err != nil {
			return nil, err
		}
	}
	return list, nil
}

// look reads what tells whether c has changed, and when.
func (d *Delivery) look(view *msgstore.View, user string, c *changed) (news bool, err error) {
	kind := protocol.KindOf(c.conversation)
	if m := c.mine.Membership; kind == protocol.Group && !active(m) {
		// A constant, as the group goes on without the user.
		c.timeMs = m.GetJoinedMs()
		// To who knows nothing yet, an invitation that was refused is no news.
		nothing := m.GetStanding() == pb.Standing_STANDING_UNSPECIFIED && m.GetUntilSeq() == 0
		return !nothing || c.since > 0, nil
	}
	var exists bool
	if c.head, exists, err = view.Newest(c.conversation); err != nil || !exists {
		return false, err
	}
	c.timeMs = c.head.TimeMs
	switch {
	case c.head.Stamp > c.since || c.mine.Stamp > c.since:
		return true, nil
	case kind == protocol.Direct:
		// By the cursors alone: whatever else changes in a peer's row, such as that
		// they have blocked the user, must not be seen from here.
		err = c.readPeers(view, user)
		return c.peers.Moved > c.since, err
	case kind == protocol.Group:
		_, stamp, _, err := d.store.GroupAt(c.conversation)
		return stamp > c.since, err
	}
	return false, nil
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
