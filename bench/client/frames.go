package client

import (
	"errors"
	"io"
	"syscall"
	"time"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/godwit-im/godwit/protocol"
	"github.com/godwit-im/godwit/protocol/pb"
)

// Expect turns a frame of another type into an error: the server's own, a
// *protocol.Error, where it is an ERROR, else a *Violation.
func Expect(f protocol.Frame, want protocol.Type) error {
	if f.Type == want {
		return nil
	}
	if f.Type == protocol.TypeError {
		var e pb.Error
		if err := protocol.Decode(f, &e); err != nil {
			return err
		}
		return &protocol.Error{Code: e.Code, Text: e.Text, RetryAfter: time.Duration(e.RetryAfterMs) * time.Millisecond}
	}
	return violation("the server sent %s where %s was due", f.Type, want)
}

// lost reports whether err is the end of a connection rather than a failure to
// make one.
func lost(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

// Message is the part of a MESSAGE that a load looks at. The slices alias the
// frame.
type Message struct {
	Conversation, Sender, Body []byte
	Seq                        uint64
	Kind                       pb.Kind
	State                      pb.MessageState
	// Target is what an event changes; Changed and Edited are the seqs of the
	// events that have changed this message.
	Target, Changed, Edited uint64

	wire []byte // all of it
}

// Fields are scanned by hand: a generated decoder would allocate for each.

// Parse decodes the body of a MESSAGE.
func (m *Message) Parse(b []byte) error {
	*m = Message{wire: b}
	for len(b) > 0 {
		num, typ, n := protowire.ConsumeTag(b)
		if n < 0 {
			return malformed(protocol.TypeMessage)
		}
		b = b[n:]
		switch {
		case num == 1 && typ == protowire.BytesType:
			m.Conversation, n = protowire.ConsumeBytes(b)
		case num == 2 && typ == protowire.VarintType:
			m.Seq, n = protowire.ConsumeVarint(b)
		case num == 4 && typ == protowire.BytesType:
			m.Sender, n = protowire.ConsumeBytes(b)
		case num == 7 && typ == protowire.VarintType:
			var v uint64
			v, n = protowire.ConsumeVarint(b)
			m.Kind = pb.Kind(v)
		case num == 9 && typ == protowire.BytesType:
			m.Body, n = protowire.ConsumeBytes(b)
		case num == 17 && typ == protowire.VarintType:
			m.Target, n = protowire.ConsumeVarint(b)
		case num == 19 && typ == protowire.VarintType:
			var v uint64
			v, n = protowire.ConsumeVarint(b)
			m.State = pb.MessageState(v)
		case num == 20 && typ == protowire.VarintType:
			m.Changed, n = protowire.ConsumeVarint(b)
		case num == 25 && typ == protowire.VarintType:
			m.Edited, n = protowire.ConsumeVarint(b)
		default:
			n = protowire.ConsumeFieldValue(num, typ, b)
		}
		if n < 0 {
			return malformed(protocol.TypeMessage)
		}
		b = b[n:]
	}
	return nil
}

// Sent is the part of a SENT that a load looks at.
type Sent struct {
	Seq       uint64
	Duplicate bool
}

// Parse decodes the body of a SENT.
func (s *Sent) Parse(b []byte) error {
	*s = Sent{}
	for len(b) > 0 {
		num, typ, n := protowire.ConsumeTag(b)
		if n < 0 {
			return malformed(protocol.TypeSent)
		}
		b = b[n:]
		switch {
		case num == 1 && typ == protowire.VarintType:
			s.Seq, n = protowire.ConsumeVarint(b)
		case num == 4 && typ == protowire.VarintType:
			var v uint64
			v, n = protowire.ConsumeVarint(b)
			s.Duplicate = v != 0
		default:
			n = protowire.ConsumeFieldValue(num, typ, b)
		}
		if n < 0 {
			return malformed(protocol.TypeSent)
		}
		b = b[n:]
	}
	return nil
}

// Pulled is a PULLED, its messages still encoded.
type Pulled struct {
	More bool
	Head uint64
	rest []byte
}

// Parse decodes all but the messages, which Next goes through.
func (p *Pulled) Parse(b []byte) error {
	*p = Pulled{rest: b}
	for len(b) > 0 {
		num, typ, n := protowire.ConsumeTag(b)
		if n < 0 {
			return malformed(protocol.TypePulled)
		}
		b = b[n:]
		var v uint64
		switch {
		case num == 2 && typ == protowire.VarintType:
			v, n = protowire.ConsumeVarint(b)
			p.More = v != 0
		case num == 3 && typ == protowire.VarintType:
			p.Head, n = protowire.ConsumeVarint(b)
		default:
			n = protowire.ConsumeFieldValue(num, typ, b)
		}
		if n < 0 {
			return malformed(protocol.TypePulled)
		}
		b = b[n:]
	}
	return nil
}

// Next decodes the next message into m; false = there is none.
func (p *Pulled) Next(m *Message) (bool, error) {
	for len(p.rest) > 0 {
		num, typ, n := protowire.ConsumeTag(p.rest) // Parse has been through all of it
		value := p.rest[n:]
		if num == 1 && typ == protowire.BytesType {
			wire, size := protowire.ConsumeBytes(value)
			p.rest = value[size:]
			return true, m.Parse(wire)
		}
		p.rest = value[protowire.ConsumeFieldValue(num, typ, value):]
	}
	return false, nil
}

func malformed(t protocol.Type) error { return violation("the body of a %s is malformed", t) }
