package chat

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/godwit-im/godwit/msgstore"
	"github.com/godwit-im/godwit/protocol"
	"github.com/godwit-im/godwit/protocol/pb"
)

// crashPair is a crashModel of a direct conversation and what it is to its two users:
// messages that mention one of them and messages with a time to live, settings, read
// cursors, what they deleted and cleared, and whether they are contacts.
type crashPair struct {
	crashLog
	users    [2]string
	messages []pairMessage // by seq, from 1
	sides    [2]pairSide
	// befriended is the head at the last step of befriend. There is one for each
	// message at most: so where the pair is the same after two commands, the same
	// notices are owed.
	befriended uint64
}

type pairMessage struct {
	sender   int
	mentions bool // the other one
	ttl      bool
}

// pairSide is one user's side.
type pairSide struct {
	read, cleared uint64
	deleted       []uint64
	draft         string
	pinned        bool
	contact       pb.ContactState
	blocked       bool
	remark        string
}

// pairTTL is longer than any test.
const pairTTL = time.Hour

// newPairModel makes the model of the nth conversation of a user.
func newPairModel(owner string, n int) crashModel {
	p := &crashPair{users: [2]string{owner, fmt.Sprintf("p%d", n)}}
	p.id = protocol.DirectID(p.users[0], p.users[1])
	return p
}

// next implements crashModel.
func (p *crashPair) next(random *rand.Rand) *Proposal {
	me := random.IntN(2)
	mine, theirs := &p.sides[me], &p.sides[1-me]
	head := uint64(len(p.messages))
	if head == 0 {
		return p.send(me, pairMessage{})
	}
	switch n := random.IntN(14); {
	case n < 5 && !theirs.blocked:
		return p.send(me, pairMessage{mentions: random.IntN(2) == 0, ttl: random.IntN(3) == 0})
	case n == 5:
		mine.draft, mine.pinned = fmt.Sprint("draft ", len(p.steps)), random.IntN(2) == 0
		return p.step(me, Command{Op: OpSettings, Settings: &pb.SetSettings{Draft: new(mine.draft), Pinned: new(mine.pinned)}})
	case n == 6:
		seq := 1 + random.Uint64N(head)
		mine.read = max(mine.read, seq)
		return p.step(me, Command{Op: OpMark, ReadSeq: seq})
	case n == 7:
		seq := 1 + random.Uint64N(head)
		if at, has := slices.BinarySearch(mine.deleted, seq); !has && seq > mine.cleared {
			mine.deleted = slices.Insert(slices.Clone(mine.deleted), at, seq)
		}
		return p.step(me, Command{Op: OpDelete, Delete: &pb.Delete{Seqs: []uint64{seq}}})
	case n == 8 && random.IntN(3) == 0:
		seq := 1 + random.Uint64N(head)
		mine.cleared = max(mine.cleared, seq)
		mine.read = max(mine.read, mine.cleared)
		mine.deleted = slices.DeleteFunc(slices.Clone(mine.deleted), func(seq uint64) bool { return seq <= mine.cleared })
		return p.step(me, Command{Op: OpDelete, Delete: &pb.Delete{ClearSeq: seq}})
	case n > 10 && p.befriended < head:
		p.befriended = head
		return p.befriend(random, me)
	case n != 10:
		mine.remark = fmt.Sprint("remark ", len(p.steps))
		return p.act(me, pb.ContactAction_CONTACT_ACTION_REMARK, mine.remark)
	}
	mine.blocked = !mine.blocked
	if mine.blocked {
		return p.act(me, pb.ContactAction_CONTACT_ACTION_BLOCK, "")
	}
	return p.act(me, pb.ContactAction_CONTACT_ACTION_UNBLOCK, "")
}

// befriend takes the two users' being contacts a step further, or back.
func (p *crashPair) befriend(random *rand.Rand, me int) *Proposal {
	mine, theirs := &p.sides[me], &p.sides[1-me]
	become := func(m, t pb.ContactState) { mine.contact, theirs.contact = m, t }
	told := func(n pb.NoticeType) (notices []noticeFor) {
		if !theirs.blocked {
			notices = []noticeFor{{user: p.users[1-me], notice: n}}
		}
		return notices
	}
	switch {
	case mine.contact == pb.ContactState_CONTACT_STATE_NONE && !theirs.blocked:
		become(pb.ContactState_CONTACT_STATE_REQUESTED, pb.ContactState_CONTACT_STATE_PENDING)
		return p.act(me, pb.ContactAction_CONTACT_ACTION_REQUEST, "", told(pb.NoticeType_NOTICE_TYPE_CONTACT_REQUESTED)...)
	case mine.contact == pb.ContactState_CONTACT_STATE_PENDING && random.IntN(3) > 0:
		become(pb.ContactState_CONTACT_STATE_CONTACT, pb.ContactState_CONTACT_STATE_CONTACT)
		return p.act(me, pb.ContactAction_CONTACT_ACTION_ACCEPT, "", told(pb.NoticeType_NOTICE_TYPE_CONTACT_ACCEPTED)...)
	case mine.contact == pb.ContactState_CONTACT_STATE_PENDING:
		become(pb.ContactState_CONTACT_STATE_NONE, pb.ContactState_CONTACT_STATE_NONE)
		return p.act(me, pb.ContactAction_CONTACT_ACTION_REFUSE, "", told(pb.NoticeType_NOTICE_TYPE_CONTACT_REFUSED)...)
	}
	become(pb.ContactState_CONTACT_STATE_NONE, pb.ContactState_CONTACT_STATE_NONE)
	return p.act(me, pb.ContactAction_CONTACT_ACTION_REMOVE, "")
}

func (p *crashPair) act(me int, action pb.ContactAction, text string, notices ...noticeFor) *Proposal {
	contact := &pb.ContactRequest{User: p.users[1-me], Action: action, Text: text}
	return p.step(me, Command{Op: OpContact, Contact: contact}, notices...)
}

func (p *crashPair) send(me int, m pairMessage) *Proposal {
	m.sender = me
	p.messages = append(p.messages, m)
	c := Command{Op: OpSend, ClientID: fmt.Sprint(len(p.steps)), Kind: pb.Kind_KIND_TEXT, Body: []byte("hello")}
	if m.mentions {
		c.Mentions = []string{p.users[1-me]}
	}
	if m.ttl {
		c.TTLMs = pairTTL.Milliseconds()
	}
	proposal := p.step(me, c)
	p.steps[len(p.steps)-1].message = p.users[me] + " " + c.ClientID
	return proposal
}

func (p *crashPair) step(me int, c Command, notices ...noticeFor) *Proposal {
	c.User = p.users[me]
	view := fmt.Sprint(len(p.messages))
	for side := range p.sides {
		view += fmt.Sprintf(" %+v, mentioned at %d", p.sides[side], p.mentioned(side))
	}
	return p.add(view, "", notices, c)
}

// mentioned is the first unread mention of a user.
func (p *crashPair) mentioned(side int) uint64 {
	for i, m := range p.messages[p.sides[side].read:] {
		if m.mentions && m.sender != side {
			return p.sides[side].read + uint64(i) + 1
		}
	}
	return 0
}

// viewIn implements crashModel.
func (p *crashPair) viewIn(store *msgstore.Store) (string, error) {
	head, found, err := store.Head(p.id)
	if err != nil || !found {
		return "", err
	}
	view := fmt.Sprint(head.Seq)
	for _, user := range p.users {
		row, _, err := store.Member(user, p.id)
		if err != nil {
			return "", err
		}
		deleted, err := store.DeletedSince(user, p.id, 0)
		if err != nil {
			return "", err
		}
		mentioned, err := store.FirstMention(user, p.id, row.ReadSeq, msgstore.Moment{Stamp: head.Stamp})
		if err != nil {
			return "", err
		}
		m := row.Membership
		view += fmt.Sprintf(" %+v, mentioned at %d", pairSide{
			read: row.ReadSeq, cleared: m.GetClearedSeq(), deleted: deleted,
			draft: m.GetSettings().GetDraft(), pinned: m.GetSettings().GetPinnedMs() != 0,
			contact: m.GetContact(), blocked: m.GetBlocked(), remark: m.GetRemark(),
		}, mentioned)
	}
	return view, nil
}

// lasting is how many of the first messages have a time to live.
func (p *crashPair) lasting(messages uint64) (n int) {
	for _, m := range p.messages[:messages] {
		if m.ttl {
			n++
		}
	}
	return n
}
