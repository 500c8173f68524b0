package main

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/godwit-im/godwit/bench/fleet"
)

// The control packets of MQTT 3.1.1 that are needed here (section 2.2), with
// their flags.
const (
	mqttConnect   = 0x10
	mqttConnack   = 0x20
	mqttPublish   = 0x30
	mqttPuback    = 0x40
	mqttSubscribe = 0x82
	mqttSuback    = 0x90
	mqttPingreq   = 0xc0
	mqttPingresp  = 0xd0

	mqttQoS1 = 0x02 // in the flags of PUBLISH
	mqttQoS  = 0x06
	mqttDup  = 0x08
)

// mqttIDs is how many packet identifiers there are: 1 to 65,535.
const mqttIDs = 1<<16 - 1

// mqttPacket is a control packet; body aliases what it was parsed from.
type mqttPacket struct {
	head byte
	body []byte
}

// parseMQTT returns the packet at the start of b and its length, 0 where b
// holds only a part of it.
func parseMQTT(b []byte) (p mqttPacket, n int, err error) {
	size, shift := 0, 0
	for i := 1; i < len(b); i++ {
		size |= int(b[i]&0x7f) << shift
		if b[i] < 0x80 {
			n = i + 1 + size
			if n > len(b) {
				return mqttPacket{}, 0, nil
			}
			return mqttPacket{head: b[0], body: b[i+1 : n]}, n, nil
		}
		if shift += 7; shift > 21 {
			return mqttPacket{}, 0, errors.New("mqtt: a remaining length of more than four bytes")
		}
	}
	return mqttPacket{}, 0, nil
}

// appendMQTTHead appends a fixed header for a body of size bytes.
func appendMQTTHead(dst []byte, head byte, size int) []byte {
	dst = append(dst, head)
	for size >= 0x80 {
		dst = append(dst, byte(size)|0x80)
		size >>= 7
	}
	return append(dst, byte(size))
}

func appendMQTTString(dst []byte, s string) []byte {
	return append(binary.BigEndian.AppendUint16(dst, uint16(len(s))), s...)
}

// appendMQTTConnect asks for a session that the server keeps (clean session 0)
// and for no keep-alive.
func appendMQTTConnect(dst []byte, clientID string) []byte {
	dst = appendMQTTHead(dst, mqttConnect, 10+2+len(clientID))
	dst = appendMQTTString(dst, "MQTT")
	dst = append(dst, 4, 0, 0, 0) // level, flags, keep-alive
	return appendMQTTString(dst, clientID)
}

// appendMQTTSubscribe subscribes to one topic with QoS 1, as packet 1.
func appendMQTTSubscribe(dst []byte, topic string) []byte {
	dst = appendMQTTHead(dst, mqttSubscribe, 2+2+len(topic)+1)
	dst = append(dst, 0, 1)
	return append(appendMQTTString(dst, topic), 1)
}

func appendMQTTPublish(dst []byte, topic string, id uint16, body []byte) []byte {
	dst = appendMQTTHead(dst, mqttPublish|mqttQoS1, 2+len(topic)+2+len(body))
	dst = appendMQTTString(dst, topic)
	dst = binary.BigEndian.AppendUint16(dst, id)
	return append(dst, body...)
}

func appendMQTTPuback(dst []byte, id uint16) []byte {
	return append(dst, mqttPuback, 2, byte(id>>8), byte(id))
}

// parseMQTTPublish returns a PUBLISH's packet identifier, 0 with QoS 0, and its
// message.
func parseMQTTPublish(p mqttPacket) (id uint16, body []byte, err error) {
	errShort := errors.New("mqtt: a PUBLISH that is too short")
	if len(p.body) < 2 {
		return 0, nil, errShort
	}
	rest := p.body[2:]
	topic := int(binary.BigEndian.Uint16(p.body))
	if len(rest) < topic {
		return 0, nil, errShort
	}
	rest = rest[topic:]
	if p.head&mqttQoS == 0 {
		return 0, rest, nil
	}
	if len(rest) < 2 {
		return 0, nil, errShort
	}
	return binary.BigEndian.Uint16(rest), rest[2:], nil
}

// mqttClient is a session of MQTT 3.1.1 that publishes and receives with QoS 1.
// A user receives on a topic of its own.
type mqttClient struct {
	link
	owner     owner
	conn      *fleet.Conn
	published uint64
}

func newMQTTClient(l link, o owner) (client, error) { return &mqttClient{link: l, owner: o}, nil }

func mqttTopic(user string) string { return "im/" + user }

func (c *mqttClient) OnOpen(conn *fleet.Conn) {
	c.conn = conn
	conn.Wrote(appendMQTTConnect(conn.Buffer(), c.user))
}

func (c *mqttClient) OnClose(_ *fleet.Conn, err error) { c.owner.failed(closed(err)) }

func (c *mqttClient) OnData(conn *fleet.Conn, b []byte) (taken int) {
	for conn.IsOpen() {
		p, n, err := parseMQTT(b[taken:])
		if err == nil && n > 0 {
			err = c.handle(p)
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

func (c *mqttClient) handle(p mqttPacket) error {
	switch kind := p.head & 0xf0; kind {
	case mqttConnack:
		if len(p.body) != 2 || p.body[1] != 0 {
			return fmt.Errorf("mqtt: CONNECT of %s was refused: % x", c.user, p.body)
		}
		if c.receives {
			c.conn.Wrote(appendMQTTSubscribe(c.conn.Buffer(), mqttTopic(c.user)))
			return nil
		}
		c.owner.opened(c)
	case mqttSuback:
		if len(p.body) != 3 || p.body[2] != 1 {
			return fmt.Errorf("mqtt: SUBSCRIBE of %s was refused: % x", c.user, p.body)
		}
		c.owner.opened(c)
	case mqttPuback:
		if len(p.body) < 2 {
			return errors.New("mqtt: a PUBACK that is too short")
		}
		n, ok := numberOf(binary.BigEndian.Uint16(p.body), c.published)
		if !ok {
			return errors.New("mqtt: a PUBACK of what was not published")
		}
		c.owner.acked(n)
	case mqttPublish:
		id, body, err := parseMQTTPublish(p)
		if err != nil {
			return err
		}
		if id == 0 {
			return errors.New("mqtt: a message came with QoS 0")
		}
		c.owner.delivered(body)
		c.conn.Wrote(appendMQTTPuback(c.conn.Buffer(), id))
	case mqttPingresp:
		c.owner.ponged()
	default:
		return fmt.Errorf("mqtt: a packet of type %#x came unexpectedly", kind)
	}
	return nil
}

func (c *mqttClient) Publish(n uint64, body []byte) {
	c.published = n + 1
	c.conn.Wrote(appendMQTTPublish(c.conn.Buffer(), mqttTopic(c.to), packetID(n), body))
}

func (c *mqttClient) Ping() { c.conn.Write([]byte{mqttPingreq, 0}) }

// packetID is the identifier of message n: they are used in turn.
func packetID(n uint64) uint16 { return uint16(n%mqttIDs) + 1 }

// numberOf is packetID's inverse: the newest of the published messages that had
// the identifier.
func numberOf(id uint16, published uint64) (n uint64, ok bool) {
	if id == 0 || published == 0 {
		return 0, false
	}
	last := published - 1
	back := (last%mqttIDs + mqttIDs - uint64(id-1)) % mqttIDs
	return last - back, back <= last
}
