package main

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"strings"
	"testing"

	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/godwit-im/godwit/protocol"
	"github.com/godwit-im/godwit/protocol/pb"
)

// byBytes gives a parser its input growing byte by byte: it must wait for the
// whole, and then take it.
func byBytes(t *testing.T, whole []byte, parse func(b []byte) (int, error)) {
	t.Helper()
	for i := range whole {
		if n, err := parse(whole[:i:i]); n != 0 || err != nil {
			t.Fatalf("%d of %d bytes: parse = %d, %v, want 0 and no error", i, len(whole), n, err)
		}
	}
	if n, err := parse(append(bytes.Clone(whole), "more"...)); n != len(whole) || err != nil {
		t.Fatalf("parse = %d, %v, want %d and no error", n, err, len(whole))
	}
}

// Packets as the examples of the standard have them, or by its rules.
func TestMQTTEncoding(t *testing.T) {
	for _, c := range []struct {
		name string
		got  []byte
		want string
	}{
		{"CONNECT", appendMQTTConnect(nil, "ab"), "100e00044d515454040000000002" + "6162"},
		{"SUBSCRIBE", appendMQTTSubscribe(nil, "a/b"), "8208" + "0001" + "0003612f62" + "01"},
		{"PUBLISH", appendMQTTPublish(nil, "a/b", 10, []byte("hi")), "3209" + "0003612f62" + "000a" + "6869"},
		{"PUBACK", appendMQTTPuback(nil, 0x1234), "40021234"},
		{"length of 321 bytes", appendMQTTHead(nil, mqttPublish, 321), "30c102"},
	} {
		if got := hex.EncodeToString(c.got); got != c.want {
			t.Errorf("%s is %s, want %s", c.name, got, c.want)
		}
	}
}

// mochi-mqtt's codec reads what ours has written.
func TestMQTTPublishIsRead(t *testing.T) {
	for _, size := range []int{0, 1, 100, 127, 128, 256, 20_000} {
		body := bytes.Repeat([]byte{'x'}, size)
		raw := appendMQTTPublish(nil, "im/bob", 513, body)
		byBytes(t, raw, func(b []byte) (int, error) {
			p, n, err := parseMQTT(b)
			if n == 0 || err != nil {
				return n, err
			}
			id, got, err := parseMQTTPublish(p)
			if id != 513 || !bytes.Equal(got, body) {
				t.Errorf("%d bytes: id %d and %d bytes came back", size, id, len(got))
			}
			theirs := packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Publish, Qos: 1, Remaining: len(p.body)}}
			if err := theirs.PublishDecode(p.body); err != nil || theirs.TopicName != "im/bob" || theirs.PacketID != 513 || !bytes.Equal(theirs.Payload, body) {
				t.Errorf("%d bytes: they read %v, %v", size, theirs, err)
			}
			return n, err
		})
	}
}

func TestMQTTRefusesNonsense(t *testing.T) {
	if _, _, err := parseMQTT([]byte{0x30, 0xff, 0xff, 0xff, 0xff, 0x01}); err == nil {
		t.Error("a length of five bytes passes")
	}
	for _, body := range []string{"", "\x00", "\x00\x05ab", "\x00\x01a\x00"} {
		if _, _, err := parseMQTTPublish(mqttPacket{head: mqttPublish | mqttQoS1, body: []byte(body)}); err == nil {
			t.Errorf("PUBLISH %q passes", body)
		}
	}
}

func TestPacketIDs(t *testing.T) {
	for _, n := range []uint64{0, 1, mqttIDs - 1, mqttIDs, mqttIDs + 1, 10*mqttIDs + 7} {
		id := packetID(n)
		if id == 0 {
			t.Errorf("message %d has identifier 0", n)
		}
		for _, later := range []uint64{0, 1, 300} {
			if got, ok := numberOf(id, n+later+1); !ok || got != n {
				t.Errorf("with %d published identifier %d is of message %d, %v; want %d", n+later+1, id, got, ok, n)
			}
		}
	}
	for _, c := range []struct {
		id        uint16
		published uint64
	}{{0, 5}, {1, 0}, {7, 6}} {
		if n, ok := numberOf(c.id, c.published); ok {
			t.Errorf("with %d published identifier %d is of message %d", c.published, c.id, n)
		}
	}
}

func TestNATSParse(t *testing.T) {
	for _, c := range []struct{ wire, want string }{
		{"PING\r\n", "PING"},
		{"INFO {\"a\":1}\r\n", "INFO"},
		{"-ERR 'no'\r\n", "-ERR text='no'"},
		{"MSG im.x 2 3\r\nabc\r\n", "MSG im.x 2 abc"},
		{"MSG im.x 2 $JS.ACK.1 5\r\na\r\nbc\r\n", "MSG im.x 2 $JS.ACK.1 a\r\nbc"},
		{"MSG im.x 1 0\r\n\r\n", "MSG im.x 1 "},
	} {
		byBytes(t, []byte(c.wire), func(b []byte) (int, error) {
			op, n, err := parseNATS(b)
			if n == 0 || err != nil {
				return n, err
			}
			got := op.name
			switch {
			case op.text != nil:
				got += " text=" + string(op.text)
			case op.name == "MSG" && op.reply != nil:
				got = fmt.Sprintf("MSG %s %s %s %s", op.subject, op.sid, op.reply, op.payload)
			case op.name == "MSG":
				got = fmt.Sprintf("MSG %s %s %s", op.subject, op.sid, op.payload)
			}
			if got != c.want {
				t.Errorf("%q is %q, want %q", c.wire, got, c.want)
			}
			return n, err
		})
	}
	for _, wire := range []string{"HELLO\r\n", "MSG x 1\r\n", "MSG x 1 -1\r\n", "MSG x 1 r 2 3 4\r\n", "MSG x 1 2\r\nabcd\r\n"} {
		if _, _, err := parseNATS([]byte(wire)); err == nil {
			t.Errorf("%q passes", wire)
		}
	}
}

func TestNATSPub(t *testing.T) {
	if got, want := string(appendNATSPub(nil, "im.S1.bob", []byte("_INBOX.a.7"), []byte("hello"))), "PUB im.S1.bob _INBOX.a.7 5\r\nhello\r\n"; got != want {
		t.Errorf("PUB is %q, want %q", got, want)
	}
	if got, want := string(appendNATSAck(nil, []byte("$JS.ACK.1"))), "PUB $JS.ACK.1 4\r\n+ACK\r\n"; got != want {
		t.Errorf("the acknowledgement is %q, want %q", got, want)
	}
}

func TestGodwitParseMessage(t *testing.T) {
	body := []byte(strings.Repeat("b", bodySize))
	raw := protocol.AppendMessage(nil, &pb.Message{
		Conversation: "d.a.b", Seq: 300, Id: 1 << 60, Sender: "a", ClientId: "x", TimeMs: 1 << 40,
		Kind: pb.Kind_KIND_CUSTOM, ContentType: "t", Body: body, Count: 5, SenderCount: 5,
	})
	seq, got, err := parseMessage(raw)
	if seq != 300 || !bytes.Equal(got, body) || err != nil {
		t.Errorf("parseMessage = %d, %q, %v", seq, got, err)
	}
	if _, _, err := parseMessage(raw[:len(raw)-1]); err == nil {
		t.Error("half a message passes")
	}
}
