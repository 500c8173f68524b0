package fakeserver

import (
	"slices"

	"github.com/godwit-im/godwit/protocol"
	"github.com/godwit-im/godwit/protocol/pb"
)

// presence is how user stands at the moment.
func (s *Server) presence(user string) *pb.Presence {
	p := &pb.Presence{User: user}
	for key, c := range s.sessions {
		if key.user == user {
			p.Platforms = append(p.Platforms, c.platform)
		}
	}
	slices.Sort(p.Platforms)
	if len(p.Platforms) == 0 {
		p.LastSeenMs = s.seen[user]
	}
	return p
}

func (c *conn) subscribe(m *pb.Subscribe) *pb.Subscribed {
	users := slices.Clone(m.Users)
	if m.Contacts {
		for _, contact := range c.s.contactList(c.user, new(pb.Contacts)).Contacts {
			if contact.State == pb.ContactState_CONTACT_STATE_CONTACT {
				users = append(users, contact.User)
			}
		}
	}
	slices.Sort(users)
	c.subscribed = slices.Compact(users)
	answer := new(pb.Subscribed)
	for _, user := range c.subscribed {
		answer.Presences = append(answer.Presences, c.s.presence(user))
	}
	return answer
}

// gone notes that a session is no more; came, that there is one.
func (s *Server) gone(c *conn) {
	key := device{c.user, c.device}
	if s.sessions[key] != c {
		return
	}
	delete(s.sessions, key)
	s.seen[c.user] = s.now().UnixMilli()
	s.came(c.user)
}

// came tells the subscribers of user.
func (s *Server) came(user string) {
	p := s.presence(user)
	for _, session := range s.sessions {
		if slices.Contains(session.subscribed, user) {
			s.push(session, protocol.TypePresence, p)
		}
	}
}

func (c *conn) signal(m *pb.Signal) (*pb.Signalled, *protocol.Error) {
	conversation, err := c.s.conversation(m.Conversation, c.user, true)
	if err != nil {
		return nil, err
	}
	from := &pb.SignalFrom{
		Conversation: m.Conversation, Sender: c.user, Device: c.device, Type: m.Type, Body: m.Body,
		TimeMs: c.s.now().UnixMilli(),
	}
	answer := new(pb.Signalled)
	members := conversation.active()
	for _, session := range c.s.sessions {
		if session == c || !slices.Contains(members, session.user) ||
			m.User != "" && m.User != session.user || m.Device != "" && m.Device != session.device {
			continue
		}
		answer.Reached = answer.Reached || session.user != c.user
		c.s.push(session, protocol.TypeSignalFrom, from)
	}
	return answer, nil
}

func (c *conn) devices() *pb.DeviceList {
	list := new(pb.DeviceList)
	for key, session := range c.s.sessions {
		if key.user == c.user {
			list.Devices = append(list.Devices, &pb.Device{
				Device: key.device, Platform: session.platform, Client: session.client,
				ConnectedMs: session.connectedMs, Self: session == c,
			})
		}
	}
	slices.SortFunc(list.Devices, func(x, y *pb.Device) int {
		if x.Device < y.Device {
			return -1
		}
		return 1
	})
	return list
}

func (c *conn) end(m *pb.End) *pb.Ended {
	other := c.s.sessions[device{c.user, m.Device}]
	if other == nil {
		return new(pb.Ended)
	}
	other.closeFor(&pb.Error{
		Code: pb.Code_CODE_DEVICE_ENDED, Text: "ended by another device",
		ByDevice: c.device, ByPlatform: c.platform,
	})
	return &pb.Ended{Found: true}
}
