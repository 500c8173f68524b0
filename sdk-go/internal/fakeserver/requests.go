package fakeserver

import (
	"errors"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/godwit-im/godwit/protocol"
	"github.com/godwit-im/godwit/protocol/pb"
)

// handle handles a frame and reports whether to go on.
func (c *conn) handle(f protocol.Frame) bool {
	s := c.s
	s.requests[f.Type]++
	if c.closing || c.hanging {
		return true
	}
	if c.silence != nil {
		c.silence.Reset(s.cfg.Heartbeat * 3 / 2)
	}
	if s.happens(s.faults.Cut) {
		c.cut()
		return false
	}
	if c.user == "" && f.Type != protocol.TypeConnect {
		s.violation("%v before CONNECT", f.Type)
		c.closeWith(protocol.Errorf(pb.Code_CODE_NOT_CONNECTED, "CONNECT first"))
		return true
	}
	switch f.Type {
	case protocol.TypePing:
		c.queue(protocol.AppendHeader(nil, protocol.TypePong, f.Request, 0))
		return true
	case protocol.TypePong:
		return true
	case protocol.TypeBye:
		s.Byes.Add(1)
		c.cut()
		return false
	}
	c.answers++
	if c.answers > s.cfg.MaxInFlight {
		s.violation("%d requests in flight, the limit is %d", c.answers, s.cfg.MaxInFlight)
	}
	if c.bytes += len(f.Body); c.bytes > s.cfg.MaxInFlightBytes {
		s.violation("%d bytes in flight, the limit is %d", c.bytes, s.cfg.MaxInFlightBytes)
	}
	if f.Request == 0 {
		s.violation("%v without a request id", f.Type)
	}
	if c.goingAway {
		c.answer(f, protocol.AppendError(nil, f.Request, protocol.Errorf(pb.Code_CODE_DRAINING, "going away")))
		return true
	}
	answer, t, err := c.respond(f)
	switch {
	case c.closing:
	case s.happens(s.faults.CutAnswer):
		c.cut()
		return false
	case err != nil && f.Type == protocol.TypeConnect:
		err.RetryAfter = s.faults.RefuseAfter
		c.queue(protocol.AppendError(nil, 0, err))
		c.closing = true
	case err != nil:
		c.answer(f, protocol.AppendError(nil, f.Request, err))
	default:
		c.answer(f, protocol.AppendProto(nil, t, f.Request, answer))
	}
	return true
}

// answer queues the answer to f.
func (c *conn) answer(f protocol.Frame, frame []byte) {
	o := outgoing{frame: frame, answer: true, size: len(f.Body)}
	if f.Type == protocol.TypeMark {
		m := new(pb.Mark)
		if proto.Unmarshal(f.Body, m) == nil {
			o.mark = m.Conversation
		}
	}
	c.put(o)
}

func (c *conn) respond(f protocol.Frame) (answer proto.Message, t protocol.Type, err *protocol.Error) {
	s := c.s
	unmarshal := func(m proto.Message) bool {
		if e := proto.Unmarshal(f.Body, m); e != nil {
			err = protocol.Errorf(pb.Code_CODE_MALFORMED_BODY, "malformed body")
		}
		return err == nil
	}
	switch f.Type {
	case protocol.TypeConnect:
		if m := new(pb.Connect); unmarshal(m) {
			answer, err = c.connect(m)
		}
		return answer, protocol.TypeConnected, err
	case protocol.TypeSend:
		if m := new(pb.Send); unmarshal(m) {
			answer, err = c.send(m)
		}
		return answer, protocol.TypeSent, err
	case protocol.TypeMark:
		if m := new(pb.Mark); unmarshal(m) {
			if c.marking[m.Conversation]++; c.marking[m.Conversation] > 1 {
				s.violation("%d MARKs of %s in flight", c.marking[m.Conversation], m.Conversation)
			}
			if err = s.refusal(); err == nil {
				answer, err = nilable(s.markAndPush(c.user, m, c))
			}
		}
		return answer, protocol.TypeMarked, err
	}
	if err = s.refusal(); err != nil {
		return nil, 0, err
	}
	s.sweep()
	if f.Type == protocol.TypeRenew {
		if m := new(pb.Renew); unmarshal(m) {
			answer, err = c.renew(m)
		}
		return answer, protocol.TypeRenewed, err
	}
	if m := f.Type.NewBody(); m != nil && f.Type.IsRequest() && unmarshal(m) {
		answer, err = c.ask(m)
		return answer, f.Type + 1, err
	}
	if err != nil {
		return nil, 0, err
	}
	s.violation("unknown type %v", f.Type)
	return nil, 0, protocol.Errorf(pb.Code_CODE_UNKNOWN_TYPE, "unknown type")
}

// ask answers what is neither a part of the connection nor a message.
func (c *conn) ask(m proto.Message) (proto.Message, *protocol.Error) {
	s := c.s
	switch m := m.(type) {
	case *pb.Pull:
		return nilable(s.pull(c.user, m))
	case *pb.Sync:
		return nilable(s.sync(c.user, m))
	case *pb.Who:
		return c.who(m), nil
	case *pb.Info:
		return nilable(s.informed(c.user, m))
	case *pb.GroupRequest:
		return nilable(s.grouped(c.user, m, c))
	case *pb.Members:
		return nilable(s.memberList(c.user, m))
	case *pb.Readers:
		return nilable(s.readerList(c.user, m))
	case *pb.Reactors:
		return nilable(s.reactorList(c.user, m))
	case *pb.SetSettings:
		return nilable(s.set(c.user, m, c))
	case *pb.Delete:
		return nilable(s.delete(c.user, m, c))
	case *pb.ContactRequest:
		return nilable(s.contacted(c.user, m, c))
	case *pb.Contacts:
		return s.contactList(c.user, m), nil
	case *pb.SetAccount:
		return s.accounted(c.user, m, c), nil
	case *pb.Subscribe:
		return c.subscribe(m), nil
	case *pb.Signal:
		return nilable(c.signal(m))
	case *pb.Devices:
		return c.devices(), nil
	case *pb.End:
		return c.end(m), nil
	}
	return nil, protocol.Errorf(pb.Code_CODE_UNKNOWN_TYPE, "%T is not a request", m)
}

// nilable keeps a nil *T from becoming a non-nil proto.Message.
func nilable[T interface {
	comparable
	proto.Message
}](m T, err *protocol.Error,
) (proto.Message, *protocol.Error) {
	var zero T
	if m == zero {
		return nil, err
	}
	return m, err
}

func (c *conn) connect(m *pb.Connect) (proto.Message, *protocol.Error) {
	s := c.s
	if c.user != "" {
		s.violation("a second CONNECT")
		return nil, protocol.Errorf(pb.Code_CODE_ALREADY_CONNECTED, "already connected")
	}
	user, err := s.cfg.Authenticate(m.Token)
	if err != nil {
		return nil, err
	}
	if s.happens(s.faults.RefuseConnect) {
		return nil, protocol.Errorf(pb.Code_CODE_TOO_MANY_CONNECTIONS, "refused on demand")
	}
	if e := errors.Join(protocol.CheckID("user", user), protocol.CheckID("device", m.Device), protocol.CheckID("platform", m.Platform)); e != nil {
		return nil, protocol.AsError(e)
	}
	c.user, c.device, c.platform, c.client = user, m.Device, m.Platform, m.Client
	c.connectedMs = s.now().UnixMilli()
	key := device{c.user, c.device}
	if old := s.sessions[key]; old != nil {
		old.closeFor(&pb.Error{
			Code: pb.Code_CODE_REPLACED, Text: "the device has connected again", ByDevice: m.Device, ByPlatform: m.Platform,
		})
	}
	s.sessions[key] = c
	s.generation++
	s.connects[user]++
	s.came(user)
	c.silence = time.AfterFunc(s.cfg.Heartbeat*3/2, func() { c.expire(pb.Code_CODE_HEARTBEAT_TIMEOUT) })
	c.expiry = time.AfterFunc(s.cfg.TokenLifetime, func() { c.expire(pb.Code_CODE_TOKEN_EXPIRED) })
	now := s.now()
	return &pb.Connected{
		Version: protocol.Version, User: user, Generation: s.generation,
		HeartbeatMs: uint32(s.cfg.Heartbeat.Milliseconds()),
		MaxFrame:    uint32(s.cfg.MaxFrame), MaxBody: uint32(s.cfg.MaxBody), MaxInFlight: uint32(s.cfg.MaxInFlight),
		MaxInFlightBytes: uint32(s.cfg.MaxInFlightBytes),
		Epoch:            s.epoch, ServerTimeMs: now.UnixMilli(), ExpiresMs: now.Add(s.cfg.TokenLifetime).UnixMilli(),
	}, nil
}

// expire ends the session by time.
func (c *conn) expire(code protocol.Code) {
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	if c.hanging {
		return
	}
	if code == pb.Code_CODE_HEARTBEAT_TIMEOUT {
		c.s.violation("%s was silent for 1.5 heartbeats", c.user)
	}
	c.closeWith(protocol.Errorf(code, "time is up"))
}

func (c *conn) renew(m *pb.Renew) (proto.Message, *protocol.Error) {
	user, err := c.s.cfg.Authenticate(m.Token)
	if err == nil && user != c.user {
		err = protocol.Errorf(pb.Code_CODE_TOKEN_CLAIMS, "another user's token")
	}
	if err != nil {
		return nil, err
	}
	c.expiry.Reset(c.s.cfg.TokenLifetime)
	return &pb.Renewed{ExpiresMs: c.s.now().Add(c.s.cfg.TokenLifetime).UnixMilli()}, nil
}

func (c *conn) send(m *pb.Send) (proto.Message, *protocol.Error) {
	s := c.s
	if err := s.refusal(); err != nil {
		return nil, err
	}
	sent, stored, err := s.append(c.user, m)
	if err != nil {
		return nil, err
	}
	if stored != nil {
		s.pushMessage(stored, c)
	}
	return sent, nil
}

func (c *conn) who(m *pb.Who) *pb.Present {
	present := new(pb.Present)
	for _, user := range m.Users {
		if c.s.conversations[protocol.DirectID(c.user, user)] == nil {
			continue
		}
		for key := range c.s.sessions {
			if key.user == user {
				present.Online = append(present.Online, user)
				break
			}
		}
	}
	return present
}
