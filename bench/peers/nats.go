package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"

	"github.com/godwit-im/godwit/bench/fleet"
)

// natsOp is one operation of the NATS client protocol that the server sent.
// What it holds aliases what it was parsed from.
type natsOp struct {
	name    string // INFO, MSG, PING, PONG, +OK or -ERR
	subject []byte // of a MSG, as the next three
	sid     []byte
	reply   []byte // nil where it wants none
	payload []byte
	text    []byte // of -ERR
}

// natsNames are the operations that a server sends to a client that declared
// no support of headers.
var natsNames = []string{"MSG", "PING", "PONG", "+OK", "-ERR", "INFO"}

// parseNATS returns the operation at the start of b and its length, 0 where b
// holds only a part of it.
func parseNATS(b []byte) (op natsOp, n int, err error) {
	end := bytes.Index(b, []byte("\r\n"))
	if end < 0 {
		return natsOp{}, 0, nil
	}
	verb, args, _ := bytes.Cut(b[:end], []byte(" "))
	n = end + 2
	for _, name := range natsNames {
		if string(verb) == name {
			op.name = name
		}
	}
	switch op.name {
	case "":
		return natsOp{}, 0, fmt.Errorf("nats: %q is not an operation that a server sends", verb)
	case "-ERR":
		op.text = args
		return op, n, nil
	case "MSG":
		return parseNATSMessage(b, n, args)
	}
	return op, n, nil
}

// parseNATSMessage goes on with MSG <subject> <sid> [reply] <size>, whose
// payload begins at n.
func parseNATSMessage(b []byte, n int, args []byte) (natsOp, int, error) {
	var fields [4][]byte
	count := 0
	for rest, more := args, true; more; count++ {
		if count == len(fields) {
			return natsOp{}, 0, fmt.Errorf("nats: MSG %q", args)
		}
		fields[count], rest, more = bytes.Cut(rest, []byte(" "))
	}
	if count < 3 {
		return natsOp{}, 0, fmt.Errorf("nats: MSG %q", args)
	}
	size, err := strconv.Atoi(string(fields[count-1]))
	if err != nil || size < 0 {
		return natsOp{}, 0, fmt.Errorf("nats: MSG %q", args)
	}
	if len(b) < n+size+2 {
		return natsOp{}, 0, nil
	}
	if string(b[n+size:n+size+2]) != "\r\n" {
		return natsOp{}, 0, errors.New("nats: a payload of another size than its MSG says")
	}
	op := natsOp{name: "MSG", subject: fields[0], sid: fields[1], payload: b[n : n+size]}
	if count == 4 {
		op.reply = fields[2]
	}
	return op, n + size + 2, nil
}

func appendNATSPub(dst []byte, subject string, reply, payload []byte) []byte {
	dst = append(dst, "PUB "...)
	dst = append(dst, subject...)
	dst = append(dst, ' ')
	dst = append(dst, reply...)
	dst = append(dst, ' ')
	dst = strconv.AppendInt(dst, int64(len(payload)), 10)
	dst = append(dst, "\r\n"...)
	dst = append(dst, payload...)
	return append(dst, "\r\n"...)
}

func appendNATSSub(dst []byte, subject, sid string) []byte {
	return append(append(append(append(append(dst, "SUB "...), subject...), ' '), sid...), "\r\n"...)
}

// natsConnect declares a client without headers: it gets none, and so no
// "no responders" status either.
const natsConnect = `CONNECT {"verbose":false,"pedantic":false,"headers":false,"lang":"go","version":"1"}` + "\r\n"

// Subscription ids: one for the acknowledgements of what is published and the
// answer to the API request, one for messages.
const (
	natsSidInbox   = "1"
	natsSidDeliver = "2"
)

// natsClient publishes to a JetStream stream, with an acknowledgement of each
// message, or receives from it through a durable push consumer with explicit
// acknowledgements. A user receives on a subject of its own.
type natsClient struct {
	link
	// place is the subject and the stream of a user.
	place func(user string) (subject, stream string)
	// consumersInFiles: what a receiver has acknowledged is kept in a file, not
	// in the server's memory.
	consumersInFiles bool

	owner  owner
	conn   *fleet.Conn
	inbox  string // ends in a dot; what follows it is the message's number
	ready  bool
	target string // the subject that it publishes to
	reply  []byte // an inbox and a number, reused
}

func (c *natsClient) OnOpen(conn *fleet.Conn) {
	c.conn = conn
	c.inbox = "_INBOX." + c.user + "."
	out := append(conn.Buffer(), natsConnect...)
	if c.to != "" {
		c.target, _ = c.place(c.to)
	}
	out = appendNATSSub(out, c.inbox+"*", natsSidInbox)
	if c.receives {
		out = appendNATSSub(out, "deliver."+c.user, natsSidDeliver)
		out = c.appendConsumer(out)
	}
	conn.Wrote(append(out, "PING\r\n"...))
}

// appendConsumer asks JetStream for the user's durable consumer.
func (c *natsClient) appendConsumer(dst []byte) []byte {
	subject, stream := c.place(c.user)
	request, err := json.Marshal(map[string]any{
		"stream_name": stream,
		"config": map[string]any{
			"durable_name":    c.user,
			"deliver_subject": "deliver." + c.user,
			"deliver_policy":  "all",
			"ack_policy":      "explicit",
			"replay_policy":   "instant",
			"filter_subject":  subject,
			"mem_storage":     !c.consumersInFiles,
		},
	})
	if err != nil {
		panic(err) // strings in maps
	}
	return appendNATSPub(dst, "$JS.API.CONSUMER.DURABLE.CREATE."+stream+"."+c.user, []byte(c.inbox+"consumer"), request)
}

func (c *natsClient) OnClose(_ *fleet.Conn, err error) { c.owner.failed(closed(err)) }

func (c *natsClient) OnData(conn *fleet.Conn, b []byte) (taken int) {
	for conn.IsOpen() {
		op, n, err := parseNATS(b[taken:])
		if err == nil && n > 0 {
			err = c.handle(op)
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

func (c *natsClient) handle(op natsOp) error {
	switch op.name {
	case "MSG":
		if string(op.sid) == natsSidDeliver {
			return c.deliver(op)
		}
		return c.answered(op)
	case "PING":
		c.conn.Write([]byte("PONG\r\n"))
	case "PONG":
		switch {
		case c.ready:
			c.owner.ponged()
		case !c.receives: // the answer to the PING of OnOpen: subscribed
			c.open()
		}
	case "-ERR":
		return fmt.Errorf("nats: %s", op.text)
	}
	return nil
}

func (c *natsClient) open() {
	c.ready = true
	c.owner.opened(c)
}

// deliver hands a message on and acknowledges it.
func (c *natsClient) deliver(op natsOp) error {
	if op.reply == nil {
		return errors.New("nats: a message came that wants no acknowledgement")
	}
	c.owner.delivered(op.payload)
	c.conn.Wrote(appendNATSAck(c.conn.Buffer(), op.reply))
	return nil
}

func appendNATSAck(dst, reply []byte) []byte {
	dst = append(dst, "PUB "...)
	dst = append(dst, reply...)
	return append(dst, " 4\r\n+ACK\r\n"...)
}

// errJetStream is how every failure that JetStream answers begins.
var errJetStream = []byte(`"error":{`)

// answered takes a PubAck, or the answer to the consumer request.
func (c *natsClient) answered(op natsOp) error {
	if bytes.Contains(op.payload, errJetStream) {
		return fmt.Errorf("nats: JetStream refuses: %s", op.payload)
	}
	if c.receives && !c.ready {
		c.open()
		return nil
	}
	number, _ := bytes.CutPrefix(op.subject, []byte(c.inbox))
	n, err := strconv.ParseUint(string(number), 10, 64)
	if err != nil {
		return fmt.Errorf("nats: a PubAck to %q", op.subject)
	}
	c.owner.acked(n)
	return nil
}

func (c *natsClient) Publish(n uint64, body []byte) {
	c.reply = strconv.AppendUint(append(c.reply[:0], c.inbox...), n, 10)
	c.conn.Wrote(appendNATSPub(c.conn.Buffer(), c.target, c.reply, body))
}

func (c *natsClient) Ping() { c.conn.Write([]byte("PING\r\n")) }
