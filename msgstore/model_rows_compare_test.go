package msgstore

import (
	"bytes"
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"

	"google.golang.org/protobuf/proto"

	"github.com/godwit-im/godwit/protocol"
	"github.com/godwit-im/godwit/protocol/pb"
)

// compareRows compares what the store says of its rows.
func (m *model) compareRows(s *Store) error {
	if err := m.compareRowCounts(s); err != nil {
		return err
	}
	for id, c := range m.conversations {
		if err := m.compareBeside(s, id, c); err != nil {
			return fmt.Errorf("%s: %w", id, err)
		}
		if protocol.KindOf(id) == protocol.Group {
			if err := m.compareGroup(s, id, c); err != nil {
				return fmt.Errorf("%s: %w", id, err)
			}
		}
	}
	for _, user := range modelUsers {
		if err := m.compareUser(s, user); err != nil {
			return fmt.Errorf("%s: %w", user, err)
		}
	}
	return m.compareQueues(s)
}

// compareRowCounts: there is no row that nothing would find.
func (m *model) compareRowCounts(s *Store) error {
	want, got := make(map[byte]int), make(map[byte]int)
	type seen struct {
		p    int
		user string
	}
	once := make(map[seen]bool)
	for k := range m.rows {
		if k.table == tableSeen { // conversations of a partition share it
			if once[seen{s.PartitionOf(k.conversation), k.user}] {
				continue
			}
			once[seen{s.PartitionOf(k.conversation), k.user}] = true
		}
		want[k.table]++
	}
	for id, c := range m.conversations {
		for _, row := range c.members {
			if memberClass(id, row) != 0 {
				want[tableGroupMember]++
			}
			if protocol.KindOf(id) == protocol.Direct && isContact(row.Membership) {
				want[tableContact]++
			}
		}
	}
	err := s.scan(nil, nil, func(key, _ []byte) (bool, error) {
		got[key[2]]++
		return true, nil
	})
	for _, table := range []byte{
		tableContact, tableExpiry, tableFollowers, tableGroupMember, tableGroup, tableMention, tableFollowUp, tableSeen, tableReaction, tableGone, tableDeleted,
		tableReplaced,
	} {
		if err != nil || got[table] != want[table] {
			return fmt.Errorf("table %c has %d rows, %w; want %d", table, got[table], err, want[table])
		}
	}
	return nil
}

// compareBeside compares what is beside a conversation's messages.
func (m *model) compareBeside(s *Store, id string, c *modelConversation) error {
	head := uint64(len(c.messages))
	for _, user := range modelUsers {
		after, upto, since := rand.Uint64N(head+2), rand.Uint64N(head+3), rand.Uint64N(20)
		at := Moment{Stamp: rand.Uint64N(1000), TimeMs: rand.Int64N(1100)}
		if got, err := s.FirstMention(user, id, after, at); err != nil || got != m.firstMention(user, id, after, at) {
			return fmt.Errorf("the first mention of %s past %d is %d, %w; want %d", user, after, got, err, m.firstMention(user, id, after, at))
		}
		if got, err := s.GoneBetween(id, user, after, upto, at); err != nil || got != m.gone(id, user, after, upto, at) {
			return fmt.Errorf("%d are gone in (%d, %d] but for %s's, %w; want %d", got, after, upto, user, err, m.gone(id, user, after, upto, at))
		}
		if got, err := s.DeletedSince(user, id, since); err != nil || !slices.Equal(got, m.deleted(user, id, since)) {
			return fmt.Errorf("%s deleted %v since %d, %w; want %v", user, got, since, err, m.deleted(user, id, since))
		}
	}
	for seq := uint64(1); seq <= head; seq++ {
		part, after := []Part{Content, Reactions}[rand.IntN(2)], rand.Uint64N(head+2)
		if got, err := s.Replaced(id, seq, part, after); err != nil || !bytes.Equal(got, m.replaced(id, seq, part, after)) {
			return fmt.Errorf("%c of %d that was replaced past %d is %q, %w; want %q", part, seq, after, got, err, m.replaced(id, seq, part, after))
		}
	}
	for k := range m.rows {
		if k.table != tableReaction || k.conversation != id {
			continue
		}
		var got []string
		for more := true; more; {
			var page []string
			var err error
			after := ""
			if len(got) > 0 {
				after = got[len(got)-1]
			}
			if page, more, err = s.Reactors(id, k.seq, k.key, after, 2); err != nil {
				return err
			}
			got = append(got, page...)
		}
		if want := m.reactors(id, k.seq, k.key); !slices.Equal(got, want) {
			return fmt.Errorf("%v reacted to %d; want %v", got, k.seq, want)
		}
	}
	return nil
}

func (m *model) compareGroup(s *Store, id string, c *modelConversation) error {
	g, stamp, found, err := s.GroupAt(id)
	want, exists := m.rows[modelRow{table: tableGroup, conversation: id}]
	if err != nil || found != exists || g.GetName() != want.text || stamp != want.stamp {
		return fmt.Errorf("the group is %v of %d, %v, %w; want %v", g, stamp, found, err, want)
	}
	if followers, counted := m.rows[modelRow{table: tableFollowers, conversation: id}]; counted && fmt.Sprint(g.Members) != followers.text {
		return fmt.Errorf("the broadcast has %d followers; want %s", g.Members, followers.text)
	}
	for _, requests := range []bool{false, true} {
		class := byte(classActive)
		if requests {
			class = classRequested
		}
		var want, got []string
		for user, row := range c.members {
			if memberClass(id, row) == class {
				want = append(want, user)
			}
		}
		slices.Sort(want)
		for more := true; more; {
			after := ""
			if len(got) > 0 {
				after = got[len(got)-1]
			}
			more, err = s.GroupMembers(id, requests, after, 1+rand.IntN(3), func(user string, row Member) error {
				got = append(got, user)
				if !sameMember(row, c.members[user]) {
					return fmt.Errorf("%s is %+v; want %+v", user, row, c.members[user])
				}
				return nil
			})
			if err != nil {
				return err
			}
		}
		if !slices.Equal(got, want) {
			return fmt.Errorf("members (asking: %v) are %v; want %v", requests, got, want)
		}
	}
	return nil
}

// compareUser compares what a user has over all partitions.
func (m *model) compareUser(s *Store, user string) error {
	var groups, contacts []string
	for id, c := range m.conversations {
		row, ok := c.members[user]
		if !ok {
			continue
		}
		if memberClass(id, row) == classActive {
			groups = append(groups, id)
		}
		if protocol.KindOf(id) == protocol.Direct && isContact(row.Membership) {
			peer, _ := protocol.Peer(id, user)
			contacts = append(contacts, peer)
		}
	}
	slices.Sort(groups)
	slices.Sort(contacts)
	if got, err := s.Groups(user); err != nil || !slices.Equal(got, groups) {
		return fmt.Errorf("in the groups %v, %w; want %v", got, err, groups)
	}
	var got []string
	for more := true; more; {
		after := ""
		if len(got) > 0 {
			after = got[len(got)-1]
		}
		var err error
		more, err = s.Contacts(user, after, 1+rand.IntN(2), func(peer string, row *pb.Membership) error {
			got = append(got, peer)
			want := proto.Clone(m.conversations[protocol.DirectID(user, peer)].members[user].Membership).(*pb.Membership)
			if want.Nick = ""; !proto.Equal(row, want) { // which is nothing of a contact
				return fmt.Errorf("contact %s is %v; want %v", peer, row, want)
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	if !slices.Equal(got, contacts) {
		return fmt.Errorf("contacts %v; want %v", got, contacts)
	}
	for n := 1; n <= len(contacts)+2; n++ {
		if has, err := s.HasContacts(user, n); err != nil || has != (n <= len(contacts)) {
			return fmt.Errorf("has %d contacts or more: %v, %w; has %v", n, has, err, contacts)
		}
	}
	return nil
}

// isContact reports whether the user whose membership of a direct conversation m is
// has the other one among their contacts.
func isContact(m *pb.Membership) bool {
	return m.GetContact() != pb.ContactState_CONTACT_STATE_NONE || m.GetBlocked() || m.GetRemark() != ""
}

// compareQueues compares what partitions have to do, and when users were seen.
func (m *model) compareQueues(s *Store) error {
	for p := range m.applied {
		until, limit := rand.Int64N(1100), 1+rand.IntN(10)
		var due, followUps []modelRow
		for k, v := range m.rows {
			switch {
			case k.table == tableSeen:
				if ms, err := s.Seen(k.conversation, k.user); err != nil || fmt.Sprint(ms) != v.text {
					return fmt.Errorf("%s was seen at %d, %w; want %s", k.user, ms, err, v.text)
				}
			case s.PartitionOf(k.conversation) != p:
			case k.table == tableExpiry && k.ms <= until:
				due = append(due, k)
			case k.table == tableFollowUp:
				followUps = append(followUps, k)
			}
		}
		slices.SortFunc(due, func(a, b modelRow) int {
			return cmp.Or(cmp.Compare(a.ms, b.ms), cmp.Compare(a.conversation, b.conversation), cmp.Compare(a.seq, b.seq))
		})
		due = due[:min(limit, len(due))]
		var got []modelRow
		err := s.Expired(p, until, limit, func(id string, seq uint64, ms int64) error {
			got = append(got, modelRow{table: tableExpiry, conversation: id, seq: seq, ms: ms})
			return nil
		})
		if err != nil || !slices.Equal(got, due) {
			return fmt.Errorf("%v expired by %d, %w; want %v", got, until, err, due)
		}
		slices.SortFunc(followUps, func(a, b modelRow) int { return cmp.Or(cmp.Compare(a.seq, b.seq), cmp.Compare(a.n, b.n)) })
		got = nil
		err = s.FollowUps(p, func(source string, index uint64, n int, conversation string, notice []byte) error {
			got = append(got, modelRow{table: tableFollowUp, conversation: source, key: conversation, seq: index, n: n})
			if string(notice) != "notice" {
				return fmt.Errorf("the notice of %d is %q", index, notice)
			}
			return nil
		})
		if err != nil || !slices.Equal(got, followUps) {
			return fmt.Errorf("follow-ups %v, %w; want %v", got, err, followUps)
		}
	}
	return nil
}
