package crash

import (
	"context"
	"net"
	"sync"

	"github.com/godwit-im/godwit/bench/journal"
	"github.com/godwit-im/godwit/protocol"
	"github.com/godwit-im/godwit/protocol/pb"
)

// tap is a client's connection. It journals the messages of groups as they come
// in: the client itself drops what it knows is not for its user; that they were sent
// to it at all is the server's fault all the same. And it journals each request for
// a change of the user's own rows, as often as it is made, and its answer.
type tap struct {
	net.Conn
	client  *client
	in, out []byte // the beginning of a frame; the reading and the writing goroutine's

	mu    sync.Mutex // guards asked
	asked map[uint32]journal.Entry
}

// dial is the client's Dialer.
func (c *client) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	conn, err := new(net.Dialer).DialContext(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	return &tap{Conn: conn, client: c, asked: map[uint32]journal.Entry{}}, nil
}

// Read implements net.Conn.
func (t *tap) Read(p []byte) (int, error) {
	n, err := t.Conn.Read(p)
	t.in = t.frames(append(t.in, p[:n]...), t.received)
	return n, err
}

// Write implements net.Conn.
func (t *tap) Write(p []byte) (int, error) {
	t.out = t.frames(append(t.out, p...), t.sending)
	return t.Conn.Write(p)
}

// frames gives each frame in data to note, and returns what is left.
func (t *tap) frames(data []byte, note func(protocol.Frame) error) []byte {
	for {
		f, size, bad := protocol.Parse(data, protocol.MaxBody)
		if bad == nil && size > 0 {
			bad = note(f)
		}
		if bad != nil {
			t.client.fleet.fail(bad)
		}
		if bad != nil || size == 0 {
			return data
		}
		data = data[size:]
	}
}

// sending journals the request that f is for a change of rows.
func (t *tap) sending(f protocol.Frame) error {
	e, err := setOf(t.client.user, f)
	if err != nil || e.Row == "" {
		return err
	}
	t.mu.Lock()
	t.asked[f.Request] = e
	t.mu.Unlock()
	if e.Row != journal.RowRead { // to say what one has read changes what it is later
		e.Op = journal.OpSet
		t.client.write(e)
	}
	return nil
}

func (t *tap) received(f protocol.Frame) error {
	t.mu.Lock()
	asked, is := t.asked[f.Request]
	delete(t.asked, f.Request)
	t.mu.Unlock()
	if is && f.Request != 0 && f.Type != protocol.TypeError {
		answers, err := isSet(asked, f)
		for _, e := range answers {
			t.client.write(e)
		}
		return err
	}
	var messages []*pb.Message
	switch f.Type {
	case protocol.TypeReceipt:
		m := &pb.Receipt{}
		if err := protocol.Decode(f, m); err != nil {
			return err
		}
		for _, e := range cursors(m.Conversation, m.User, m.ReadSeq, m.DeliveredSeq) {
			t.client.write(e)
		}
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
