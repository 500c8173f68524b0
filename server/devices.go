package server

import (
	"github.com/godwit-im/godwit/protocol"
	"github.com/godwit-im/godwit/protocol/pb"
	"github.com/godwit-im/godwit/session"
)

// Both are answered on the event loop: what they look at is in memory, and a
// user's sessions are few. They pass through the window for what it says of a
// session that has ended: a late frame of a device that was thrown out changes
// nothing.

// onDevices lists the user's sessions.
func (g *gateway) onDevices(s *session.Session, f protocol.Frame) error {
	var req pb.Devices
	if err := protocol.Decode(f, &req); err != nil {
		return err
	}
	if err := s.Begin(len(f.Body)); err != nil {
		return err
	}
	defer s.End(len(f.Body))
	s.Reply(protocol.AppendProto(nil, protocol.TypeDeviceList, f.Request, &pb.DeviceList{Devices: g.sessions.Devices(s)}))
	return nil
}

// onEnd ends the session of another of the user's devices.
func (g *gateway) onEnd(s *session.Session, f protocol.Frame) error {
	var req pb.End
	if err := protocol.Decode(f, &req); err != nil {
		return err
	}
	if err := s.Begin(len(f.Body)); err != nil {
		return err
	}
	defer s.End(len(f.Body))
	found, err := g.sessions.EndDevice(s, req.Device)
	if err != nil {
		return err
	}
	s.Reply(protocol.AppendProto(nil, protocol.TypeEnded, f.Request, &pb.Ended{Found: found}))
	return nil
}
