package session

import (
	"context"
	"log/slog"

	"github.com/godwit-im/godwit/protocol"
	"github.com/godwit-im/godwit/protocol/pb"
)

// LoginPolicy says which sessions of a user may be there at the same time. A
// new session replaces those that may not stay beside it. A device has one
// session whatever the policy.
type LoginPolicy uint8

// The policies. The zero value lets all devices be there together.
const (
	LoginAll      LoginPolicy = iota
	LoginPlatform             // one session for each platform
	LoginOne                  // one session in all
)

// excludes reports whether old may not stay beside s.
func (p LoginPolicy) excludes(old, s *Session) bool {
	switch p {
	case LoginPlatform:
		return old.Platform == s.Platform
	case LoginOne:
		return true
	}
	return false
}

// Devices are the sessions of s's user, the newest first.
func (m *Manager) Devices(s *Session) []*pb.Device {
	var list []*pb.Device
	for _, x := range m.registry.sessions(nil, s.User) {
		list = append(list, &pb.Device{
			Device: x.Device, Platform: x.Platform, Client: x.Client,
			ConnectedMs: x.connected, Self: x == s,
		})
	}
	return list
}

// EndDevice ends the session of another of s's user's devices with
// DEVICE_ENDED, and reports whether there was one. It is gone from Sessions and
// Devices when EndDevice returns; its connection closes after that, and its
// late close leaves alone a session with which the device has come back. A
// session that has been replaced itself ends none.
func (m *Manager) EndDevice(s *Session, device string) (found bool, err error) {
	if err := protocol.CheckID("device", device); err != nil {
		return false, err
	}
	if device == s.Device {
		return false, protocol.Errorf(pb.Code_CODE_BAD_ARGUMENT, "this is the session's own device; BYE ends it")
	}
	old := m.registry.take(s, device)
	if old == nil {
		return false, nil
	}
	m.stats.DevicesEnded.Add(1)
	m.cfg.Logger.LogAttrs(context.Background(), slog.LevelDebug, "session ended by another device", append(old.attrs(), slog.String("by", s.Device))...)
	old.Close(protocol.Errorf(pb.Code_CODE_DEVICE_ENDED, "another of the user's devices ended this session").By(s.Device, s.Platform))
	m.cfg.Changed(s.User)
	return true, nil
}
