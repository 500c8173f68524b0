package chat

import (
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/godwit-im/godwit/msgstore"
	"github.com/godwit-im/godwit/protocol/pb"
)

// The power-loss test of what a conversation is to its users, as crashPair has it.
// Like that of groups: after each failure every conversation must be what the first
// so many of its commands make it, those that were acked among them, all as of the
// same command; and each notice that those owe is there once. Then the time of all
// messages that have one to live is over, and they and no others become tombstones.

// TestOwnSurvivesPowerLoss is the proof.
func TestOwnSurvivesPowerLoss(t *testing.T) {
	var total groupTally
	for run := 0; run < max(1, crashPoints/crashesPerRun/8) || (!total.met() || total.expired == 0) && run < 50; run++ {
		violations, tally := modelPowerLoss(t, uint64(run), newPairModel, healthy)
		total.add(tally)
		if len(violations) > 0 {
			t.Fatalf("run %d: %d violations:\n%s", run, len(violations), strings.Join(violations[:min(10, len(violations))], "\n"))
		}
	}
	t.Logf("%+v", total)
	// Each stage must have been met, or this shows little.
	if !total.met() || total.expired == 0 {
		t.Errorf("the crashes left %+v", total)
	}
}

// TestOwnPowerLossNotices proves that the test above can fail: it has to notice
// that a part of what a command does is missing from its commit.
func TestOwnPowerLossNotices(t *testing.T) {
	membership := func(tx *msgstore.Tx, index uint64, c *Command, change func(m *pb.Membership)) error {
		row, _, err := tx.Member(c.User, c.Conversation)
		if err != nil || row.Membership == nil {
			return err
		}
		row.Membership = proto.Clone(row.Membership).(*pb.Membership)
		change(row.Membership)
		return tx.PutMember(index, c.User, c.Conversation, row)
	}
	for name, defect := range map[string]struct {
		after func(tx *msgstore.Tx, index uint64, c *Command, r Result) error
		text  string // what the violation must say
	}{
		"a draft is not kept": {func(tx *msgstore.Tx, index uint64, c *Command, _ Result) error {
			if c.Op != OpSettings {
				return nil
			}
			return membership(tx, index, c, func(m *pb.Membership) { m.Settings.Draft = "" })
		}, "no state after"},
		"a deletion is not kept": {func(tx *msgstore.Tx, index uint64, c *Command, _ Result) error {
			if len(c.Delete.GetSeqs()) == 0 {
				return nil
			}
			return tx.DropDeleted(index, c.User, c.Conversation, c.Delete.Seqs[0])
		}, "no state after"},
		"what was cleared is there again": {func(tx *msgstore.Tx, index uint64, c *Command, _ Result) error {
			if c.Delete.GetClearSeq() == 0 {
				return nil
			}
			return membership(tx, index, c, func(m *pb.Membership) { m.ClearedSeq = 0 })
		}, "no state after"},
		"a cursor goes back": {func(tx *msgstore.Tx, index uint64, c *Command, _ Result) error {
			row, _, err := tx.Member(c.User, c.Conversation)
			if err != nil || c.Op != OpMark {
				return err
			}
			row.ReadSeq = c.ReadSeq
			return tx.PutMember(index, c.User, c.Conversation, row)
		}, "no state after"},
		"a block is not kept": {func(tx *msgstore.Tx, index uint64, c *Command, _ Result) error {
			if c.Contact.GetAction() != pb.ContactAction_CONTACT_ACTION_BLOCK {
				return nil
			}
			return membership(tx, index, c, func(m *pb.Membership) { m.Blocked = false })
		}, "no state after"},
		"a mention is not noted": {func(tx *msgstore.Tx, index uint64, c *Command, r Result) error {
			if len(c.Mentions) == 0 {
				return nil
			}
			return tx.DropMentions(index, c.Conversation, r.Seq, c.Mentions, false)
		}, "no state after"},
		"outbox off": {func(tx *msgstore.Tx, index uint64, c *Command, _ Result) error {
			if c.Contact.GetAction() != pb.ContactAction_CONTACT_ACTION_ACCEPT {
				return nil
			}
			return tx.DropFollowUp(index, c.Conversation, index, 0)
		}, "notices, "},
		"an end is not noted": {func(tx *msgstore.Tx, index uint64, c *Command, r Result) error {
			if c.TTLMs == 0 {
				return nil
			}
			return tx.DropExpiry(index, c.Conversation, r.Seq, r.TimeMs+c.TTLMs)
		}, "were to expire"},
	} {
		t.Run(name, func(t *testing.T) {
			change := func(r *crashRig) {
				r.steps.apply = func(tx *msgstore.Tx, index uint64, c *Command, effects []Effect) (Result, []Effect, error) {
					result, effects, err := Apply(tx, index, c, effects)
					if err == nil && result.Err == nil {
						err = defect.after(tx, index, c, result)
					}
					return result, effects, err
				}
			}
			for run := range uint64(10) {
				violations, _ := modelPowerLoss(t, run, newPairModel, change)
				for _, v := range violations {
					if strings.Contains(v, defect.text) {
						return
					}
				}
			}
			t.Error("not noticed")
		})
	}
}

// expirePairs lets the time of all messages be over that have one to live, and
// returns how many of the pairs' messages have become tombstones, and how many
// should have.
func expirePairs(t *testing.T, store *msgstore.Store, models []crashModel) (expired, want int) {
	cfg := testConfig(t)
	cfg.Now = func() time.Time { return time.Now().Add(2 * pairTTL) }
	e, err := newEmbedded(cfg, store, newCollector(), defaultSteps(store))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := e.sweepExpired(t.Context()); err != nil {
		t.Error(err)
	}
	closeLog(t, e)
	for _, m := range models {
		p, is := m.(*crashPair)
		if !is {
			continue
		}
		head, _, err := store.Head(p.id)
		if err != nil {
			t.Fatal(err)
		}
		want += p.lasting(head.Seq)
		r, err := store.Range(p.id, 1, 0, false, 1<<30, 1<<30, nil)
		if err != nil {
			t.Fatal(err)
		}
		var page pb.Pulled
		if err := proto.Unmarshal(r.Encoded, &page); err != nil {
			t.Fatal(err)
		}
		for i, m := range page.Messages {
			switch is, should := m.State == pb.MessageState_MESSAGE_STATE_EXPIRED, p.messages[i].ttl; {
			case is && should:
				expired++
			case is != should:
				expired-- // so that the numbers differ
			}
		}
	}
	return expired, want
}
