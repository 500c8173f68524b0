package delivery

import (
	"fmt"

	"google.golang.org/protobuf/proto"

	"github.com/godwit-im/godwit/protocol"
	"github.com/godwit-im/godwit/protocol/pb"
)

// show renders a frame for transcripts.
func show(f protocol.Frame) string {
	s := f.Type.String()
	if f.Request != 0 {
		s += fmt.Sprintf("#%d", f.Request)
	}
	must := func(m proto.Message) {
		if err := proto.Unmarshal(f.Body, m); err != nil {
			panic(err)
		}
	}
	switch f.Type {
	case protocol.TypeError:
		m := &pb.Error{}
		must(m)
		return s + fmt.Sprintf(" %s: %s", m.Code.Name(), m.Text)
	case protocol.TypeSent:
		m := &pb.Sent{}
		must(m)
		s += fmt.Sprintf(" seq=%d", m.Seq)
		if m.Duplicate {
			s += " duplicate"
		}
		return s
	case protocol.TypeMarked:
		m := &pb.Marked{}
		must(m)
		return s + fmt.Sprintf(" read=%d delivered=%d unread=%d", m.ReadSeq, m.DeliveredSeq, m.Unread)
	case protocol.TypeMessage:
		m := &pb.Message{}
		must(m)
		return s + " " + m.Conversation + " " + showMessage(m)
	case protocol.TypeReceipt:
		m := &pb.Receipt{}
		must(m)
		return s + fmt.Sprintf(" %s of %s: read=%d delivered=%d unread=%d", m.Conversation, m.User, m.ReadSeq, m.DeliveredSeq, m.Unread)
	case protocol.TypeHeads:
		m := &pb.Heads{}
		must(m)
		for _, h := range m.Heads {
			s += fmt.Sprintf(" %s:%d", h.Conversation, h.Seq)
		}
		return s
	case protocol.TypePresent:
		m := &pb.Present{}
		must(m)
		return s + fmt.Sprintf(" %v", m.Online)
	case protocol.TypePulled:
		m := &pb.Pulled{}
		must(m)
		s += fmt.Sprintf(" head=%d min=%d more=%v", m.HeadSeq, m.MinSeq, m.More)
		for _, message := range m.Messages {
			s += "\n  " + showMessage(message)
		}
		return s
	case protocol.TypeSynced:
		m := &pb.Synced{}
		must(m)
		s += fmt.Sprintf(" more=%v", m.More)
		if m.Reset_ {
			s += " reset"
		}
		for _, c := range m.Conversations {
			s += fmt.Sprintf("\n  %s head=%d min=%d unread=%d read=%d delivered=%d peer: read=%d delivered=%d last: %s", c.Conversation, c.HeadSeq, c.MinSeq,
				c.Unread, c.ReadSeq, c.DeliveredSeq, c.PeerReadSeq, c.PeerDeliveredSeq, showMessage(c.Last))
		}
		return s
	}
	return s
}

func showMessage(m *pb.Message) string {
	if m == nil {
		return "none"
	}
	return fmt.Sprintf("%d: %s %q", m.Seq, m.Sender, m.Body)
}
