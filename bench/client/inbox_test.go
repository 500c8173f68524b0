package client

import (
	"errors"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/godwit-im/godwit/bench/fleet"
	"github.com/godwit-im/godwit/protocol"
	"github.com/godwit-im/godwit/protocol/pb"
)

const bodySize = 64

// message is the nth of alice's, at a seq.
func message(seq uint64, count uint32, change ...func(*pb.Message)) *pb.Message {
	m := &pb.Message{Conversation: protocol.DirectID("alice", "bob"), Seq: seq, Sender: "alice", Body: bodyOf("alice", count)}
	for _, f := range change {
		f(m)
	}
	return m
}

func bodyOf(sender string, count uint32) []byte {
	b := NewDraft(protocol.DirectID("alice", "bob"), sender, "run-0000", bodySize).Append(nil, 7, count, time.Duration(count))
	return slices.Clone(b[len(b)-bodySize:])
}

func frame(t *testing.T, kind protocol.Type, request uint32, m proto.Message) protocol.Frame {
	t.Helper()
	f, _, err := protocol.Parse(protocol.AppendProto(nil, kind, request, m), protocol.MaxBody)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// TestInboxNotices feeds bob's inbox, which has the conversation with alice up
// to seq 7, with what a broken server could send.
func TestInboxNotices(t *testing.T) {
	pushed := func(ms ...*pb.Message) (fs []protocol.Frame) {
		for _, m := range ms {
			fs = append(fs, frame(t, protocol.TypeMessage, 0, m))
		}
		return fs
	}
	// The requests of the inbox are numbered from 1.
	answer := func(request uint32, more bool, ms ...*pb.Message) []protocol.Frame {
		return []protocol.Frame{frame(t, protocol.TypePulled, request, &pb.Pulled{Messages: ms, More: more, HeadSeq: 99})}
	}
	head := func(seq uint64) []protocol.Frame {
		return []protocol.Frame{frame(t, protocol.TypeHeads, 0, &pb.Heads{Heads: []*pb.Head{{Conversation: protocol.DirectID("alice", "bob"), Seq: seq}}})}
	}
	refused := func(code pb.Code) []protocol.Frame {
		return []protocol.Frame{frame(t, protocol.TypeError, 1, &pb.Error{Code: code})}
	}
	first, second, third := message(8, 0), message(9, 1), message(10, 2)
	for _, test := range []struct {
		name   string
		frames []protocol.Frame
		seqs   []uint64 // delivered
		err    string   // of the last frame; "" = all are fine
	}{
		{"in order", pushed(first, second, third), []uint64{8, 9, 10}, ""},
		{"a hole is pulled", slices.Concat(pushed(first, third), answer(1, false, second, third)), []uint64{8, 9, 10}, ""},
		{"a push that was pulled already", slices.Concat(pushed(first, third), answer(1, false, second, third), pushed(third)), []uint64{8, 9, 10}, ""},
		{"a push while it is pulled", slices.Concat(head(8), pushed(first), answer(1, false, first, second), pushed(third)), []uint64{8, 9, 10}, ""},
		{"a push past the hole while it is pulled", slices.Concat(pushed(second), pushed(third), answer(1, false, first, second), answer(2, false, third)), []uint64{8, 9, 10}, ""},
		{"two pages", slices.Concat(head(10), answer(1, true, first, second), answer(2, false, third)), []uint64{8, 9, 10}, ""},
		{"a PULL that was refused for now", slices.Concat(head(8), refused(pb.Code_CODE_BUSY), pushed(first)), []uint64{8}, ""},
		{"a head that is known", slices.Concat(pushed(first), head(8), pushed(second)), []uint64{8, 9}, ""},

		{"twice", pushed(first, first), []uint64{8}, "seq 8 came where 9 was due"},
		{"a push after it was pulled and read", slices.Concat(head(8), answer(1, false, first), pushed(second, second)), []uint64{8, 9}, "seq 9 came where 10 was due"},
		{"a hole in a page", slices.Concat(head(10), answer(1, false, first, third)), []uint64{8}, "seq 10 came where 9 was due"},
		{"a page without what was pushed", slices.Concat(pushed(second), answer(1, false)), nil, "seq 8 is missing"},
		{"a page that ends too soon", slices.Concat(head(9), answer(1, false, first)), []uint64{8}, "seq 9 is missing"},
		{"another message's body", pushed(first, message(9, 2)), []uint64{8}, "does not have the body of message 1"},
		{"a body cut short", pushed(message(8, 0, func(m *pb.Message) { m.Body = m.Body[:bodySize-1] })), nil, "does not have the body"},
		{"a byte of a body changed", pushed(message(8, 0, func(m *pb.Message) { m.Body[bodySize-1] ^= 1 })), nil, "does not have the body"},
		{"no body", pushed(message(8, 0, func(m *pb.Message) { m.Body = nil })), nil, "does not have the body"},
		{"by somebody else", pushed(message(8, 0, func(m *pb.Message) { m.Sender = "carol" })), nil, `is by "carol"`},
		{"of another conversation", pushed(message(8, 0, func(m *pb.Message) { m.Conversation = "d:a:b" })), nil, "did not expect"},
		{"of another conversation, pulled", slices.Concat(head(8), answer(1, false, message(8, 0, func(m *pb.Message) { m.Conversation = "d:a:b" }))), nil, "was pulled"},
		{"a head of another conversation", []protocol.Frame{frame(t, protocol.TypeHeads, 0, &pb.Heads{Heads: []*pb.Head{{Conversation: "d:a:b", Seq: 1}}})}, nil, "did not expect"},
		{"a PULL that failed", slices.Concat(head(8), refused(pb.Code_CODE_BAD_ARGUMENT)), nil, "BAD_ARGUMENT"},
		{"garbage", []protocol.Frame{{Type: protocol.TypeMessage, Body: []byte{0x12}}}, nil, "malformed"},
	} {
		t.Run(test.name, func(t *testing.T) {
			var seqs []uint64
			onBob(t, func(bob *Device) {
				inbox := NewInbox(bob, bodySize, func(_ *Conversation, d Delivery) {
					if d.Sent != time.Duration(len(seqs)) {
						t.Errorf("seq %d was sent at %v", d.Seq, d.Sent)
					}
					seqs = append(seqs, d.Seq)
				})
				inbox.Add("alice", 8)
				for i, f := range test.frames {
					taken, err := inbox.OnFrame(f)
					if last := i == len(test.frames)-1; last && test.err != "" {
						if err == nil || !strings.Contains(err.Error(), test.err) {
							t.Errorf("error %v, want one with %q", err, test.err)
						}
					} else if err != nil {
						t.Error(err)
					}
					if !taken {
						t.Errorf("frame %d, a %v, was not taken", i, f.Type)
					}
				}
			})
			if !slices.Equal(seqs, test.seqs) {
				t.Errorf("delivered %d, want %d", seqs, test.seqs)
			}
		})
	}
}

// TestInboxHead has bob's inbox told of a seq by other means than a frame of
// its own.
func TestInboxHead(t *testing.T) {
	onBob(t, func(bob *Device) {
		inbox := NewInbox(bob, bodySize, func(*Conversation, Delivery) {})
		c := inbox.Add("alice", 8)
		if inbox.Head(c, 7); inbox.IsPulling() {
			t.Error("pulls what it has")
		}
		if inbox.Head(c, 8); !inbox.IsPulling() {
			t.Error("does not pull what is missing")
		}
		refused := frame(t, protocol.TypeError, 1, &pb.Error{Code: pb.Code_CODE_BUSY, RetryAfterMs: 1e6})
		if _, err := inbox.OnFrame(refused); err != nil || !inbox.IsPulling() {
			t.Errorf("does not mean to pull again what was refused for now (%v)", err)
		}
		inbox.Forget()
		if inbox.IsPulling() {
			t.Error("still pulls when the connection is gone")
		}
		inbox.Head(c, 8)
		var broken *Violation
		if _, err := inbox.OnFrame(frame(t, protocol.TypePulled, 2, &pb.Pulled{})); !errors.As(err, &broken) {
			t.Errorf("the message is not there: %v", err)
		}
	})
}

// TestInboxOwn has alice's inbox see her own messages, as acks and in pages.
func TestInboxOwn(t *testing.T) {
	onBob(t, func(bob *Device) {
		inbox := NewInbox(bob, bodySize, func(*Conversation, Delivery) {})
		c := inbox.Add("alice", 8)
		mine := message(9, 0, func(m *pb.Message) { m.Sender, m.Body = "bob", bodyOf("bob", 0) })
		must := func(_ bool, err error) {
			t.Helper()
			if err != nil {
				t.Error(err)
			}
		}
		must(true, inbox.Sent(c, 9)) // before the push of 8
		must(inbox.OnFrame(frame(t, protocol.TypePulled, 1, &pb.Pulled{Messages: []*pb.Message{message(8, 0), mine}})))
		must(true, inbox.Sent(c, 10))
		must(inbox.OnFrame(frame(t, protocol.TypeMessage, 0, message(11, 1))))
		var broken *Violation
		if err := inbox.Sent(c, 11); !errors.As(err, &broken) {
			t.Errorf("an ack with the seq of another message: %v", err)
		}
	})
}

// onBob runs f on a loop with a device that is connected to something that
// never answers.
func onBob(t *testing.T, f func(*Device)) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	flock, err := fleet.New(1)
	if err != nil {
		t.Fatal(err)
	}
	defer flock.Close()
	flock.Each(func(l *fleet.Loop) {
		pool := NewPool(l, Server{
			Addr:      ln.Addr().(*net.TCPAddr).AddrPort(),
			Token:     func(string) (string, error) { return "token", nil },
			Sources:   Loopback(netip.MustParseAddr("127.0.0.1"), 1),
			Heartbeat: time.Hour,
		})
		bob := pool.Add("bob", "phone", nil)
		bob.Connect()
		bob.connected = true
		f(bob)
		bob.conn.Handler = ignore{}
	})
}

type ignore struct{}

func (ignore) OnOpen(*fleet.Conn)                 {}
func (ignore) OnData(_ *fleet.Conn, b []byte) int { return len(b) }
func (ignore) OnClose(*fleet.Conn, error)         {}
