package client

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/godwit-im/godwit/protocol"
	"github.com/godwit-im/godwit/protocol/pb"
)

const group = "g:alice:party"

// inGroup is a message of the group.
func inGroup(seq uint64, sender string, kind pb.Kind, body []byte, change ...func(*pb.Message)) *pb.Message {
	m := &pb.Message{Conversation: group, Seq: seq, Sender: sender, Kind: kind, Body: body}
	for _, f := range change {
		f(m)
	}
	return m
}

func textOf(seq uint64, sender string, count uint32, change ...func(*pb.Message)) *pb.Message {
	return inGroup(seq, sender, pb.Kind_KIND_TEXT, bodyOf(sender, count), change...)
}

// TestGroup feeds the inboxes of bob and carol, who share a log from seq 5 on,
// with what the server and a broken one could send. A step with a nil message is
// bob's own, acked.
func TestGroup(t *testing.T) {
	type step struct {
		to  int // 0 = bob, 1 = carol
		seq uint64
		m   *pb.Message
	}
	edited := func(m *pb.Message) {
		m.Body, m.ChangedSeq, m.EditedSeq = EditedBody(m.Sender, 0, 3, bodySize), 6, 6
	}
	recalled := func(m *pb.Message) {
		m.Body, m.ChangedSeq, m.State = nil, 6, pb.MessageState_MESSAGE_STATE_RECALLED
	}
	edit := func(seq uint64, sender string, body []byte) *pb.Message {
		return inGroup(seq, sender, pb.Kind_KIND_EDIT, body, func(m *pb.Message) { m.Target = 5 })
	}
	bob, carol := func(m *pb.Message) step { return step{0, 0, m} }, func(m *pb.Message) step { return step{1, 0, m} }
	own := func(seq uint64) step { return step{0, seq, nil} }
	first, second := textOf(5, "alice", 0), textOf(6, "alice", 1)
	notice := inGroup(5, "", pb.Kind_KIND_NOTICE, []byte{8, 4})
	for _, test := range []struct {
		name      string
		steps     []step
		delivered [2][]uint64
		err       string // of the last step; "" = all are fine
	}{
		{"the same for both", []step{bob(first), carol(first), bob(second), carol(second)}, [2][]uint64{{5, 6}, {5, 6}}, ""},
		{"one ahead", []step{bob(first), bob(second), carol(first), carol(second)}, [2][]uint64{{5, 6}, {5, 6}}, ""},
		{"a notice and an event are no deliveries", []step{bob(notice), bob(textOf(6, "alice", 0)), carol(notice)}, [2][]uint64{{6}, nil}, ""},
		{"an own message", []step{own(5), carol(textOf(5, "bob", 0)), bob(textOf(6, "alice", 0)), carol(textOf(6, "alice", 0))}, [2][]uint64{{6}, {5, 6}}, ""},
		{"an ack that overtakes", []step{own(6), bob(first), bob(textOf(7, "alice", 1)), carol(first), carol(textOf(6, "bob", 0))}, [2][]uint64{{5, 7}, {5, 6}}, ""},
		{"an edited text", []step{bob(first), bob(edit(6, "alice", EditedBody("alice", 0, 3, bodySize))), carol(textOf(5, "alice", 0, edited))}, [2][]uint64{{5}, {5}}, ""},
		{"a recalled text", []step{carol(textOf(5, "alice", 0, recalled)), bob(first)}, [2][]uint64{{5}, {5}}, ""},

		{"twice", []step{bob(first), bob(first)}, [2][]uint64{{5}, nil}, "seq 5 came where 6 was due"},
		{"an own message pushed too", []step{own(5), bob(textOf(5, "bob", 0))}, [2][]uint64{}, "seq 5 came where 6 was due"},
		{"another's is different", []step{bob(first), carol(textOf(5, "dave", 0))}, [2][]uint64{{5}, nil}, "something else for another"},
		{"another's body is different", []step{bob(first), carol(textOf(5, "alice", 1))}, [2][]uint64{{5}, nil}, "does not have the body of message 0"},
		{"a count left out", []step{bob(first), bob(textOf(6, "alice", 2))}, [2][]uint64{{5}, nil}, "does not have the body of message 1"},
		{"a text by nobody", []step{bob(textOf(5, "", 0))}, [2][]uint64{}, "by nobody"},
		{"a notice by somebody", []step{bob(inGroup(5, "eve", pb.Kind_KIND_NOTICE, nil))}, [2][]uint64{}, `a notice by "eve"`},
		{"an edit with another body", []step{bob(first), bob(edit(6, "alice", bodyOf("alice", 0)))}, [2][]uint64{{5}, nil}, "body of an edit of seq 5"},
		{"an edit by somebody else", []step{bob(first), bob(textOf(6, "eve", 0)), bob(edit(7, "eve", EditedBody("alice", 0, 3, bodySize)))}, [2][]uint64{{5, 6}, nil}, "body of an edit of seq 5"},
		{"edited and as before", []step{bob(textOf(5, "alice", 0, edited, func(m *pb.Message) { m.Body = bodyOf("alice", 0) }))}, [2][]uint64{}, "does not have the body"},
		{"recalled and with a body", []step{bob(textOf(5, "alice", 0, recalled, func(m *pb.Message) { m.Body = []byte("x") }))}, [2][]uint64{}, "was recalled and has 1 bytes"},
		{"expired", []step{bob(textOf(5, "alice", 0, func(m *pb.Message) { m.State = pb.MessageState_MESSAGE_STATE_EXPIRED }))}, [2][]uint64{}, "EXPIRED"},
	} {
		t.Run(test.name, func(t *testing.T) {
			var delivered [2][]uint64
			onBob(t, func(d *Device) {
				log := NewLog(group, 5, bodySize)
				var inboxes [2]*Inbox
				var convs [2]*Conversation
				for i, user := range []string{"bob", "carol"} {
					device := *d
					device.User = user
					inboxes[i] = NewInbox(&device, bodySize, func(_ *Conversation, got Delivery) { delivered[i] = append(delivered[i], got.Seq) })
					convs[i] = inboxes[i].AddGroup(log, 5)
				}
				for i, s := range test.steps {
					var err error
					if s.m == nil {
						err = inboxes[s.to].Sent(convs[s.to], s.seq)
					} else {
						_, err = inboxes[s.to].OnFrame(frame(t, protocol.TypeMessage, 0, s.m))
					}
					if last := i == len(test.steps)-1; last && test.err != "" {
						if err == nil || !strings.Contains(err.Error(), test.err) {
							t.Errorf("error %v, want one with %q", err, test.err)
						}
					} else if err != nil {
						t.Error(err)
					}
				}
			})
			for i := range delivered {
				if !slices.Equal(delivered[i], test.delivered[i]) {
					t.Errorf("delivered %d, want %d", delivered[i], test.delivered[i])
				}
			}
		})
	}
}

// TestGroupPull has a member pull what was left out, among it its own message.
func TestGroupPull(t *testing.T) {
	onBob(t, func(bob *Device) {
		var pulled []uint64
		inbox := NewInbox(bob, bodySize, func(_ *Conversation, got Delivery) {
			if !got.Pulled || got.Sent != time.Duration(len(pulled)) {
				t.Errorf("%+v", got)
			}
			pulled = append(pulled, got.Seq)
		})
		c := inbox.AddGroup(NewLog(group, 5, bodySize), 5)
		if err := inbox.Sent(c, 6); err != nil {
			t.Fatal(err)
		}
		if inbox.IsPulling() {
			t.Error("pulls what may yet be pushed")
		}
		page := &pb.Pulled{HeadSeq: 7, Messages: []*pb.Message{textOf(5, "alice", 0), textOf(6, "bob", 0), textOf(7, "alice", 1)}}
		for _, f := range []protocol.Frame{
			frame(t, protocol.TypeHeads, 0, &pb.Heads{Heads: []*pb.Head{{Conversation: group, Seq: 7}}}),
			frame(t, protocol.TypePulled, 1, page),
		} {
			if _, err := inbox.OnFrame(f); err != nil {
				t.Fatal(err)
			}
		}
		if c.Next != 8 || inbox.Pulled != 2 || len(c.own) != 0 {
			t.Errorf("next %d, %d pulled, own %v", c.Next, inbox.Pulled, c.own)
		}
	})
}
