package crash

import (
	"context"
	"net"

	"github.com/godwit-im/godwit/bench/journal"
	"github.com/godwit-im/godwit/protocol"
	"github.com/godwit-im/godwit/protocol/pb"
)

// tap is a client's connection, of which it journals the messages of groups as
// they come in. The client itself drops what it knows is not for its user; that
// they were sent to it at all is the server's fault all the same.
type tap struct {
	net.Conn
	client *client
	rest   []byte // the beginning of a frame; the reading goroutine's
}

// dial is the client's Dialer.
func (c *client) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	conn, err := new(net.Dialer).DialContext(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	return &tap{Conn: conn, client: c}, nil
}

// Read implements net.Conn.
func (t *tap) Read(p []byte) (int, error) {
	n, err := t.Conn.Read(p)
	t.rest = append(t.rest, p[:n]...)
	for {
		f, size, bad := protocol.Parse(t.rest, protocol.MaxBody)
		if bad == nil && size > 0 {
			bad = t.note(f)
		}
		if bad != nil {
			t.client.fleet.fail(bad)
		}
		if bad != nil || size == 0 {
			return n, err
		}
		t.rest = t.rest[size:]
	}
}

func (t *tap) note(f protocol.Frame) error {
	var messages []*pb.Message
	switch f.Type {
	case protocol.TypeMessage:
		m := &pb.Message{}
		if err := protocol.Decode(f, m); err != nil {
			return err
		}
		messages = append(messages, m)
	case protocol.TypePulled:
		m := &pb.Pulled{}
		if err := protocol.Decode(f, m); err != nil {
			return err
		}
		messages = m.Messages
	}
	for _, m := range messages {
		if protocol.KindOf(m.Conversation) == protocol.Group {
			t.client.write(journal.Entry{Op: journal.OpWire, Conversation: m.Conversation, Seq: m.Seq})
		}
	}
	return nil
}
