package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/godwit-im/godwit/bench/fleet"
	"github.com/godwit-im/godwit/bench/node"
	"github.com/godwit-im/godwit/protocol"
	"github.com/godwit-im/godwit/protocol/pb"
	"github.com/godwit-im/godwit/session"
)

// startGodwit starts the binary with a durability. The limits on how many may
// connect, and how fast, are out of the way: the peers have none.
func startGodwit(binary, durability string) func(context.Context, string) (*server, error) {
	return func(ctx context.Context, dir string) (*server, error) {
		addr, err := node.FreeAddr()
		if err != nil {
			return nil, err
		}
		log, err := os.Create(filepath.Join(dir, "log"))
		if err != nil {
			return nil, err
		}
		defer log.Close()
		data := filepath.Join(dir, "data")
		n, err := node.Start(node.Config{Binary: binary, Dir: data, Addr: addr, Log: log, Args: []string{
			"--durability", durability, "--max-connections", "19000", "--accept-rate", "20000", "--log-level", "warn",
		}})
		if err != nil {
			return nil, err
		}
		if err := n.Ready(ctx); err != nil {
			_ = n.Kill() // the first error says what matters
			return nil, fmt.Errorf("%w\n%s", err, tail(log.Name()))
		}
		s := &server{process: n, addr: netip.MustParseAddrPort(addr)}
		keys, err := session.LoadKeySet(filepath.Join(data, "dev-keys.json"))
		if err != nil {
			return nil, errors.Join(err, s.Kill())
		}
		auth := session.DefaultAuthConfig()
		s.dialect = func(l link, o owner) (client, error) {
			token, err := session.Sign(keys, "", auth.Algorithm, auth.Issuer, auth.Audience, l.user, time.Hour, time.Now())
			return &godwitClient{link: l, owner: o, token: token, maxBody: protocol.PreAuthMaxFrame}, err
		}
		return s, nil
	}
}

// godwitClient is a session of Godwit's protocol. The server pushes to every
// session of a user, so there is nothing to subscribe to; and a push is not
// acknowledged, since the log and the receiver's cursor in it say what is new.
type godwitClient struct {
	link
	owner   owner
	conn    *fleet.Conn
	token   string
	maxBody int
	seq     uint64 // the last that came; each receiver has one conversation
	send    []byte // the fields of SEND that don't change
	body    []byte // of a SEND, reused
}

// heartbeat is more than any run here lasts, so no session has to ping.
const heartbeat = 10 * time.Minute

func (c *godwitClient) OnOpen(conn *fleet.Conn) {
	c.conn = conn
	if c.to != "" {
		c.send = appendField(nil, 1, protocol.DirectID(c.user, c.to))
		c.send = protowire.AppendVarint(protowire.AppendTag(c.send, 3, protowire.VarintType), uint64(pb.Kind_KIND_CUSTOM))
		c.send = appendField(c.send, 4, "application/octet-stream")
	}
	conn.Wrote(protocol.AppendProto(conn.Buffer(), protocol.TypeConnect, 1, &pb.Connect{
		MinVersion: protocol.Version, MaxVersion: protocol.Version,
		Token: c.token, Device: "peers", Platform: "peers", HeartbeatMs: uint32(heartbeat.Milliseconds()),
	}))
}

func appendField[T string | []byte](dst []byte, number protowire.Number, value T) []byte {
	dst = protowire.AppendTag(dst, number, protowire.BytesType)
	return append(protowire.AppendVarint(dst, uint64(len(value))), value...)
}

func (c *godwitClient) OnClose(_ *fleet.Conn, err error) { c.owner.failed(closed(err)) }

func (c *godwitClient) OnData(conn *fleet.Conn, b []byte) (taken int) {
	for conn.IsOpen() {
		f, n, err := protocol.Parse(b[taken:], c.maxBody)
		if err == nil && n > 0 {
			err = c.handle(f)
		}
		if err != nil {
			c.owner.failed(err)
			conn.Reset()
			break
		}
		if n == 0 {
			break
		}
		taken += n
	}
	return taken
}

func (c *godwitClient) handle(f protocol.Frame) error {
	switch f.Type {
	case protocol.TypeConnected:
		var accepted pb.Connected
		if err := protocol.Decode(f, &accepted); err != nil {
			return err
		}
		c.maxBody = int(accepted.MaxFrame)
		c.owner.opened(c)
	case protocol.TypeSent:
		c.owner.acked(uint64(f.Request) - 1)
	case protocol.TypeMessage:
		seq, body, err := parseMessage(f.Body)
		if err != nil {
			return err
		}
		if seq != c.seq+1 {
			return fmt.Errorf("godwit: seq %d came after %d", seq, c.seq)
		}
		c.seq = seq
		c.owner.delivered(body)
	case protocol.TypePong:
		c.owner.ponged()
	case protocol.TypeReceipt:
	case protocol.TypeError:
		var e pb.Error
		if err := protocol.Decode(f, &e); err != nil {
			return err
		}
		return &protocol.Error{Code: e.Code, Text: e.Text}
	default:
		return fmt.Errorf("godwit: %v came unexpectedly", f.Type)
	}
	return nil
}

// parseMessage returns the seq and the body of a pb.Message, decoding nothing
// else: the load must not cost more than the peers' does.
func parseMessage(b []byte) (seq uint64, body []byte, err error) {
	for len(b) > 0 {
		number, kind, n := protowire.ConsumeTag(b)
		if n < 0 {
			return 0, nil, protowire.ParseError(n)
		}
		b = b[n:]
		switch {
		case number == 2 && kind == protowire.VarintType:
			seq, n = protowire.ConsumeVarint(b)
		case number == 9 && kind == protowire.BytesType:
			body, n = protowire.ConsumeBytes(b)
		default:
			n = protowire.ConsumeFieldValue(number, kind, b)
		}
		if n < 0 {
			return 0, nil, protowire.ParseError(n)
		}
		b = b[n:]
	}
	return seq, body, nil
}

func (c *godwitClient) Publish(n uint64, body []byte) {
	var id [20]byte
	c.body = appendField(append(c.body[:0], c.send...), 2, strconv.AppendUint(id[:0], n, 36))
	c.body = appendField(c.body, 5, body)
	c.conn.Wrote(protocol.AppendFrame(c.conn.Buffer(), protocol.TypeSend, uint32(n)+1, c.body))
}

func (c *godwitClient) Ping() {
	c.conn.Wrote(protocol.AppendFrame(c.conn.Buffer(), protocol.TypePing, 0, nil))
}
