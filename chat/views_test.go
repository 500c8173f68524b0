package chat

import (
	"slices"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"github.com/godwit-im/godwit/msgstore"
	"github.com/godwit-im/godwit/protocol"
	"github.com/godwit-im/godwit/protocol/pb"
)

// TestViewsAgree has clients follow docs/PROTOCOL.md through random messages and
// events, on- and offline: in the end each has every message as the server has
// it.
func TestViewsAgree(t *testing.T) {
	rules := DefaultRules()
	rapid.Check(t, func(t *rapid.T) {
		s := &viewed{T: t, nowMs: 1}
		var err error
		if s.store, err = msgstore.Open(storeOptions(vfs.NewMem())); err != nil {
			t.Fatal(err)
		}
		defer s.store.Close()
		clients := []*view{{online: true}, {}, {}}
		for i := range rapid.IntRange(1, 60).Draw(t, "commands") {
			s.nowMs += rapid.Int64Range(0, 50).Draw(t, "pause")
			c := drawCommand(t)
			if c.Conversation = viewedConversation; c.User == "cid" {
				c.User = "bob"
			}
			c.ClientID = string(rune('a' + i%26))
			c.MessageID, c.Rules, c.TimeMs = uint64(1000+i), &rules, s.nowMs
			effects := s.apply(&c)
			if rapid.IntRange(0, 9).Draw(t, "sweep") == 0 {
				s.sweep()
			}
			for _, v := range clients {
				if rapid.IntRange(0, 5).Draw(t, "turn") == 0 {
					v.online = !v.online
					if v.online {
						v.pull(s)
						continue
					}
				}
				for _, e := range effects {
					if v.online && e.Kind == EffectMessage {
						v.take(s, decode(t, e.Frame[protocol.HeaderSize:]))
					}
				}
			}
		}
		s.nowMs += rapid.Int64Range(0, 1000).Draw(t, "end")
		for i, v := range clients {
			v.pull(s)
			v.compare(s, i)
		}
	})
}

const viewedConversation = "d:ann:bob"

// viewed is the server.
type viewed struct {
	*rapid.T
	store *msgstore.Store
	nowMs int64
}

func (s *viewed) apply(c *Command) []Effect {
	p := s.store.PartitionOf(c.Conversation)
	index := s.store.Applied(p) + 1
	tx := s.store.Begin()
	_, effects, err := Apply(tx, index, c, nil)
	if err != nil {
		s.Fatal(err)
	}
	tx.SetApplied(p, index)
	if err := tx.Commit(); err != nil {
		s.Fatal(err)
	}
	return effects
}

func (s *viewed) sweep() {
	var due []Command
	err := s.store.Expired(s.store.PartitionOf(viewedConversation), s.nowMs, 100, func(conversation string, seq uint64, expiresMs int64) error {
		due = append(due, Command{Op: OpExpire, Conversation: conversation, Seq: seq, ExpiresMs: expiresMs, TimeMs: s.nowMs})
		return nil
	})
	if err != nil {
		s.Fatal(err)
	}
	for i := range due {
		s.apply(&due[i])
	}
}

// read is a message as PULL serves it.
func (s *viewed) read(seq uint64) *pb.Message {
	wire, found, err := s.store.Message(viewedConversation, seq)
	if err != nil || !found {
		s.Fatalf("message %d: %v, %v", seq, found, err)
	}
	if Expired(wire, s.nowMs) {
		if wire, err = Tombstone(wire, pb.MessageState_MESSAGE_STATE_EXPIRED); err != nil {
			s.Fatal(err)
		}
	}
	return decode(s, wire)
}

// view is what a client has.
type view struct {
	online   bool
	position uint64
	messages map[uint64]*pb.Message
}

func (v *view) pull(s *viewed) {
	head, _, err := s.store.Head(viewedConversation)
	if err != nil {
		s.Fatal(err)
	}
	for seq := max(v.position+1, head.MinSeq); seq <= head.Seq; seq++ {
		v.add(s.read(seq))
	}
}

func (v *view) take(s *viewed, m *pb.Message) {
	switch {
	case m.Seq == v.position+1:
		v.add(m)
	case m.Seq > v.position:
		v.pull(s)
	}
}

func (v *view) add(m *pb.Message) {
	if v.messages == nil {
		v.messages = map[uint64]*pb.Message{}
	}
	v.messages[m.Seq], v.position = m, m.Seq
	if target := v.messages[m.Target]; isEvent(m.Kind) && target != nil && m.Seq > target.ChangedSeq {
		target.ChangedSeq = m.Seq
		v.change(target, m)
	}
}

func (v *view) change(target, event *pb.Message) {
	if event.State != pb.MessageState_MESSAGE_STATE_NORMAL {
		return
	}
	switch event.Kind {
	case pb.Kind_KIND_EDIT:
		target.ContentType, target.Body = event.ContentType, event.Body
		target.Mentions, target.MentionAll = event.Mentions, event.MentionAll
		target.EditedMs, target.EditedSeq = event.TimeMs, event.Seq
	case pb.Kind_KIND_RECALL:
		target.State, target.RecalledBy = pb.MessageState_MESSAGE_STATE_RECALLED, event.Sender
	case pb.Kind_KIND_REACTION:
		i := slices.IndexFunc(target.Reactions, func(r *pb.Reaction) bool { return r.Key == string(event.Body) })
		switch {
		case event.Remove && target.Reactions[i].Count == 1:
			target.Reactions = slices.Delete(target.Reactions, i, i+1)
		case event.Remove:
			target.Reactions[i].Count--
			target.Reactions[i].Users = slices.DeleteFunc(target.Reactions[i].Users, func(u string) bool { return u == event.Sender })
		case i < 0:
			target.Reactions = append(target.Reactions, &pb.Reaction{Key: string(event.Body), Count: 1, Users: []string{event.Sender}})
		default:
			target.Reactions[i].Count++
			target.Reactions[i].Users = append(target.Reactions[i].Users, event.Sender)
			slices.Sort(target.Reactions[i].Users)
		}
	}
}

// compare holds what the client shows to what the server serves.
func (v *view) compare(s *viewed, client int) {
	head, _, err := s.store.Head(viewedConversation)
	if err != nil {
		s.Fatal(err)
	}
	for seq := head.MinSeq; seq <= head.Seq && seq > 0; seq++ {
		want, got := s.read(seq), v.messages[seq]
		if got == nil {
			s.Fatalf("client %d has no message %d", client, seq)
		}
		if isEvent(want.Kind) {
			continue
		}
		if got.State == 0 && isOver(got.ExpiresMs, s.nowMs) { // by the client's own clock
			got.State = pb.MessageState_MESSAGE_STATE_EXPIRED
		}
		if got.State != 0 {
			empty(got, got.State)
			got.EditedMs, got.EditedSeq, want.EditedMs, want.EditedSeq = 0, 0, 0, 0
		}
		if !proto.Equal(got, want) {
			s.Fatalf("client %d has\n%v\nand the server\n%v", client, got, want)
		}
	}
}
