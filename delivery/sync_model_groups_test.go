package delivery

import (
	"fmt"
	"maps"
	"slices"

	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"github.com/godwit-im/godwit/chat"
	"github.com/godwit-im/godwit/protocol"
	"github.com/godwit-im/godwit/protocol/pb"
)

// modelGroup is the model's group. peer0 owns it, and the user comes and goes.
type modelGroup struct {
	id       string
	messages []string // who wrote each; "" is a notice
	nicks    []uint64 // the notices that are not to be shown
	version  uint64

	standing        pb.Standing // the user's; 0 = they never were in it
	from, until     uint64
	read, delivered uint64
}

const groupOwner = "peer0"

// bounds are the first and the last seq that the user may read; 0 and 0 where
// they may not.
func (g *modelGroup) bounds() (first, last uint64) {
	switch g.standing {
	case pb.Standing_STANDING_ACTIVE:
		return g.from, uint64(len(g.messages))
	case 0:
		return 0, 0
	}
	return g.from, g.until
}

// known is what the user is to know of the group.
func (g *modelGroup) known(user string, muted bool) known {
	_, last := g.bounds()
	k := known{head: last, read: g.read, delivered: g.delivered, standing: g.standing, version: g.version, muted: muted}
	for seq := g.read + 1; seq <= last; seq++ {
		if from := g.messages[seq-1]; from != "" && from != user {
			k.unread++
		}
	}
	return k
}

// checkState checks what a view doesn't take over.
func (g *modelGroup) checkState(rt *rapid.T, c *pb.ConversationState) {
	first, last := g.bounds()
	if c.MinSeq != first || c.HeadSeq != last {
		rt.Fatalf("%s is the user's from %d to %d: %v", g.id, first, last, c)
	}
	shown := last
	for slices.Contains(g.nicks, shown) {
		shown--
	}
	if shown < first {
		shown = 0
	}
	if c.Last.GetSeq() != shown || shown == last && c.HeadId != c.Last.GetId() || c.HeadId == 0 {
		rt.Fatalf("the preview is not that of %d: %v", shown, c)
	}
	if c.Group != nil && g.standing != pb.Standing_STANDING_ACTIVE {
		rt.Fatalf("whoever is not in the group was told of it: %v", c)
	}
}

// anyGroup picks a group; nil if there is none.
func (m *syncModel) anyGroup(rt *rapid.T) *modelGroup {
	if len(m.groups) == 0 {
		return nil
	}
	return m.groups[rapid.SampledFrom(slices.Sorted(maps.Keys(m.groups))).Draw(rt, "group")]
}

// bounds are the first and the last seq of a conversation that the user may
// read.
func (m *syncModel) bounds(conversation string) (first, last uint64) {
	if g := m.groups[conversation]; g != nil {
		return g.bounds()
	}
	return max(1, m.minSeq[conversation]), uint64(len(m.messages[conversation]))
}

// group does something with a group.
func (m *syncModel) group(rt *rapid.T) {
	g := m.anyGroup(rt)
	if g == nil || len(m.groups) < 4 && rapid.IntRange(0, 3).Draw(rt, "another") == 0 {
		m.create(rt)
		return
	}
	was, saw := g.standing, m.truth[g.id]
	if g.standing == pb.Standing_STANDING_ACTIVE {
		m.within(rt, g)
	} else {
		m.without(rt, g)
	}
	if g.standing != pb.Standing_STANDING_ACTIVE && was != pb.Standing_STANDING_ACTIVE {
		return // none of the user's business
	}
	is := g.known(m.user, saw.muted)
	if is.deleted = saw.deleted; is != saw {
		m.truth[g.id] = is
		m.changed(g.id)
	}
}

func (m *syncModel) create(rt *rapid.T) {
	clientID := fmt.Sprintf("%s-%d", m.user, len(m.groups))
	g := &modelGroup{id: protocol.GroupID(groupOwner, clientID), version: 1}
	m.groups[g.id] = g
	create := &pb.CreateGroup{ClientId: clientID, Name: "a"}
	if rapid.IntRange(0, 3).Draw(rt, "without the user") > 0 {
		create.Users = []string{m.user}
		g.standing, g.from = pb.Standing_STANDING_ACTIVE, 1
	}
	m.act(groupOwner, g.id, chat.Command{Op: chat.OpGroup, Group: &pb.GroupRequest{
		Conversation: g.id, Action: &pb.GroupRequest_Create{Create: create},
	}})
	g.messages = append(g.messages, "")
	if g.standing != 0 {
		m.truth[g.id] = g.known(m.user, false)
		m.changed(g.id)
	}
}

// write has somebody write into the group, "" a notice about the request.
func (m *syncModel) write(g *modelGroup, by string, req *pb.GroupRequest) {
	if req != nil {
		req.Conversation = g.id
		m.act(by, g.id, chat.Command{Op: chat.OpGroup, Group: req})
		g.messages = append(g.messages, "")
		return
	}
	g.messages = append(g.messages, by)
	m.act(by, g.id, chat.Command{
		Op: chat.OpSend, ClientID: fmt.Sprint(len(g.messages)), Kind: pb.Kind_KIND_TEXT, Body: []byte("x"),
	})
	if by == m.user {
		g.read, g.delivered = uint64(len(g.messages)), uint64(len(g.messages))
	}
}

// within is what happens in a group of which the user is a member.
func (m *syncModel) within(rt *rapid.T, g *modelGroup) {
	put := func(standing pb.Standing, by string, req *pb.GroupRequest) {
		m.write(g, by, req)
		g.standing, g.until = standing, uint64(len(g.messages))
	}
	switch rapid.IntRange(0, 7).Draw(rt, "what") {
	case 0:
		put(pb.Standing_STANDING_LEFT, m.user, &pb.GroupRequest{Action: &pb.GroupRequest_Leave{Leave: &pb.Nothing{}}})
	case 1:
		put(pb.Standing_STANDING_REMOVED, groupOwner, &pb.GroupRequest{Action: &pb.GroupRequest_Remove{Remove: &pb.Users{Users: []string{m.user}}}})
	case 2:
		g.version++
		m.rename(g)
	case 3:
		m.write(g, m.user, &pb.GroupRequest{Action: &pb.GroupRequest_Nick{Nick: fmt.Sprint(len(g.messages))}})
		g.nicks = append(g.nicks, uint64(len(g.messages)))
	case 4:
		read := rapid.Uint64Range(0, uint64(len(g.messages))).Draw(rt, "read")
		m.act(m.user, g.id, chat.Command{Op: chat.OpMark, ReadSeq: read})
		g.read, g.delivered = max(g.read, read), max(g.delivered, read)
	case 5:
		m.write(g, m.user, nil)
	default:
		m.write(g, groupOwner, nil)
	}
}

func (m *syncModel) rename(g *modelGroup) {
	m.write(g, groupOwner, &pb.GroupRequest{Action: &pb.GroupRequest_Change{
		Change: &pb.ChangeGroup{Name: proto.String(fmt.Sprint(g.version))},
	}})
}

// without is what happens in a group of which the user is no member.
func (m *syncModel) without(rt *rapid.T, g *modelGroup) {
	switch rapid.IntRange(0, 2).Draw(rt, "what") {
	case 0:
		m.write(g, groupOwner, &pb.GroupRequest{Action: &pb.GroupRequest_Add{Add: &pb.Users{Users: []string{m.user}}}})
		n := uint64(len(g.messages))
		g.standing, g.from, g.until = pb.Standing_STANDING_ACTIVE, n, 0
		g.read, g.delivered = n-1, n-1
	case 1:
		g.version++
		m.rename(g)
	default:
		m.write(g, groupOwner, nil)
	}
}

// set has the user change how a conversation is shown.
func (m *syncModel) set(rt *rapid.T) {
	if len(m.truth) == 0 {
		return
	}
	conversation := rapid.SampledFrom(slices.Sorted(maps.Keys(m.truth))).Draw(rt, "conversation")
	k := m.truth[conversation]
	k.muted = !k.muted
	m.act(m.user, conversation, chat.Command{
		Op: chat.OpSettings, Settings: &pb.SetSettings{Conversation: conversation, Muted: &k.muted},
	})
	m.truth[conversation] = k
	m.changed(conversation)
}

// erase has the user delete a message for themselves.
func (m *syncModel) erase(rt *rapid.T) {
	if len(m.truth) == 0 {
		return
	}
	conversation := rapid.SampledFrom(slices.Sorted(maps.Keys(m.truth))).Draw(rt, "conversation")
	first, last := m.bounds(conversation)
	if first > min(last, 63) {
		return
	}
	seq := rapid.Uint64Range(first, min(last, 63)).Draw(rt, "seq")
	m.act(m.user, conversation, chat.Command{
		Op: chat.OpDelete, Delete: &pb.Delete{Conversation: conversation, Seqs: []uint64{seq}},
	})
	if k := m.truth[conversation]; k.deleted&(1<<seq) == 0 {
		k.deleted |= 1 << seq
		m.truth[conversation] = k
		m.changed(conversation)
	}
}
