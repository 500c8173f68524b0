package e2e

import (
	"errors"
	"net"
	"testing"

	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"github.com/godwit-im/godwit/protocol"
	"github.com/godwit-im/godwit/protocol/pb"
	inprocess "github.com/godwit-im/godwit/server"
)

// errCaught ends a sequence in which a mutant was caught.
var errCaught = errors.New("caught")

// hand is a connection on which a mutant has its hand on what comes from the
// server.
type hand struct {
	net.Conn
	frames *protocol.Reader
	mutate func(m proto.Message, pushed bool) (keep bool)
	ready  []byte
}

func (h *hand) Read(p []byte) (int, error) {
	for len(h.ready) == 0 {
		f, err := h.frames.ReadFrame()
		if err != nil {
			return 0, err
		}
		m := f.Type.NewBody()
		if m == nil {
			h.ready = protocol.AppendFrame(nil, f.Type, f.Request, f.Body)
			continue
		}
		if err := proto.Unmarshal(f.Body, m); err != nil {
			return 0, err
		}
		if h.mutate(m, f.Request == 0) {
			h.ready = protocol.AppendProto(nil, f.Type, f.Request, m)
		}
	}
	n := copy(p, h.ready)
	h.ready = h.ready[n:]
	return n, nil
}

// states returns what a frame says of conversations.
func states(m proto.Message) []*pb.ConversationState {
	switch m := m.(type) {
	case *pb.Synced:
		return m.Conversations
	case *pb.State:
		return []*pb.ConversationState{m.State}
	case *pb.Informed:
		return []*pb.ConversationState{m.State}
	}
	return nil
}

func messages(m proto.Message) []*pb.Message {
	switch m := m.(type) {
	case *pb.Message:
		return []*pb.Message{m}
	case *pb.Pulled:
		return m.Messages
	}
	return nil
}

// inStates is a mutant of what is said of conversations.
func inStates(change func(s *pb.ConversationState)) func(proto.Message, bool) bool {
	return func(m proto.Message, _ bool) bool {
		for _, s := range states(m) {
			change(s)
		}
		return true
	}
}

// losing is a mutant that loses what is pushed, where lost says so.
func losing(lost func(m proto.Message) bool) func(proto.Message, bool) bool {
	return func(m proto.Message, pushed bool) bool { return !pushed || !lost(m) }
}

func kind(m proto.Message, k pb.Kind) bool {
	message, is := m.(*pb.Message)
	return is && message.Kind == k
}

// mutants are systems with a defect each: on the way from the server to the
// devices, or in the server's rules.
var mutants = map[string]struct {
	mutate func(m proto.Message, pushed bool) (keep bool)
	config func(*inprocess.Config)
}{
	"a STATE is lost":   {mutate: losing(func(m proto.Message) bool { _, is := m.(*pb.State); return is })},
	"a RECEIPT is lost": {mutate: losing(func(m proto.Message) bool { _, is := m.(*pb.Receipt); return is })},
	"an EDIT is lost":   {mutate: losing(func(m proto.Message) bool { return kind(m, pb.Kind_KIND_EDIT) })},
	"a RECALL is lost":  {mutate: losing(func(m proto.Message) bool { return kind(m, pb.Kind_KIND_RECALL) })},
	"a recalled message goes on counting": {mutate: inStates(func(s *pb.ConversationState) {
		if s.Last.GetState() == pb.MessageState_MESSAGE_STATE_RECALLED && s.ReadSeq < s.Last.Seq {
			s.Unread++
		}
	})},
	"an expired message goes on counting": {mutate: inStates(func(s *pb.ConversationState) {
		if s.Last.GetState() == pb.MessageState_MESSAGE_STATE_EXPIRED && s.ReadSeq < s.Last.Seq {
			s.Unread++
		}
	})},
	"a message does not say when it expires": {mutate: func(m proto.Message, _ bool) bool {
		for _, message := range messages(m) {
			message.ExpiresMs = 0
		}
		return true
	}},
	"a count does not say when it was made": {mutate: inStates(func(s *pb.ConversationState) { s.CountedMs = 0 })},
	"MARKED does not say what it has counted": {mutate: func(m proto.Message, _ bool) bool {
		if marked, is := m.(*pb.Marked); is {
			marked.HeadSeq = marked.ReadSeq
		}
		return true
	}},
	"SYNC does not say what was deleted": {mutate: inStates(func(s *pb.ConversationState) { s.Deleted = nil })},
	"no mention is found":                {mutate: inStates(func(s *pb.ConversationState) { s.MentionSeq = 0 })},
	"settings don't come along": {mutate: inStates(func(s *pb.ConversationState) {
		if s.Membership != nil {
			s.Membership.Settings = nil
		}
	})},
	"a user's nick is not told": {mutate: inStates(func(s *pb.ConversationState) {
		if s.Membership != nil {
			s.Membership.Nick = ""
		}
	})},
	"a clear is not told": {mutate: inStates(func(s *pb.ConversationState) {
		if s.Membership != nil {
			s.Membership.ClearedSeq, s.MinSeq = 0, 1
		}
	})},
	"the peer's cursor is one behind": {mutate: inStates(func(s *pb.ConversationState) { s.PeerReadSeq -= min(1, s.PeerReadSeq) })},
	"a message that is pulled has no reactions": {mutate: func(m proto.Message, _ bool) bool {
		for _, message := range messages(m) {
			message.Reactions = nil
		}
		return true
	}},
	"an edit comes without its body": {mutate: func(m proto.Message, _ bool) bool {
		for _, message := range messages(m) {
			if message.Kind == pb.Kind_KIND_EDIT {
				message.Body = nil
			}
		}
		return true
	}},
	"a member is left out": {mutate: func(m proto.Message, _ bool) bool {
		if list, is := m.(*pb.MemberList); is && len(list.Members) > 1 {
			list.Members = list.Members[1:]
		}
		return true
	}},
	"a blocked user is told":   {config: func(c *inprocess.Config) { c.Chat.Rules.TellBlocked = true }},
	"only contacts write":      {config: func(c *inprocess.Config) { c.Chat.Rules.ContactsOnly = true }},
	"users must be asked":      {config: func(c *inprocess.Config) { c.Chat.Rules.AskFirst = true }},
	"a group of more than two": {config: func(c *inprocess.Config) { c.Chat.Rules.MaxMembers = 2 }},
	"nobody may delete":        {config: func(c *inprocess.Config) { c.Chat.Rules.MaxDeleted = 0 }},
	"nobody may react":         {config: func(c *inprocess.Config) { c.Chat.Rules.MaxReactions = 0 }},
}

// TestTheModelCatches runs the sequences of TestEveryDeviceSeesTheSame with
// systems that have a defect, each of which must be found.
func TestTheModelCatches(t *testing.T) {
	setChecks(t, 1000)
	for name, mutant := range mutants {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := startMemoryServer(t, mutant.config)
			s.mutant = true
			var wrap func(net.Conn) net.Conn
			if mutant.mutate != nil {
				wrap = func(conn net.Conn) net.Conn {
					return &hand{Conn: conn, frames: protocol.NewReader(conn, protocol.MaxBody), mutate: mutant.mutate}
				}
			}
			rapid.Check(t, func(t *rapid.T) {
				if s.caught.Load() == nil {
					defer func() {
						if caught := recover(); caught != nil && caught != any(errCaught) {
							panic(caught)
						}
					}()
					play(t, s, 0, wrap)
				}
			})
			if s.caught.Load() == nil {
				t.Fatal("not caught")
			}
			t.Logf("caught after %d sequences: %s", s.sequence.Load(), *s.caught.Load())
		})
	}
}
