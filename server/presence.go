package server

import (
	"time"

	"github.com/godwit-im/godwit/presence"
	"github.com/godwit-im/godwit/protocol"
	"github.com/godwit-im/godwit/protocol/pb"
	"github.com/godwit-im/godwit/session"
)

// What is about presence reads the store, so delivery's workers do it, in the
// order of the session's requests. f's body is gone by then; its request id and
// what was decoded stay.

func (g *gateway) onWho(s *session.Session, f protocol.Frame) error {
	var req pb.Who
	return read(s, f, &req, func(n int) error {
		return g.delivery.Do(s, f.Request, n, func() ([]byte, error) { return g.presence.Who(s, f.Request, &req) }, nil)
	})
}

func (g *gateway) onSubscribe(s *session.Session, f protocol.Frame) error {
	var req pb.Subscribe
	return read(s, f, &req, func(n int) error {
		var then func()
		return g.delivery.Do(s, f.Request, n, func() (frame []byte, err error) {
			frame, then, err = g.presence.Subscribe(s, f.Request, &req)
			return frame, err
		}, func() { then() })
	})
}

// onSignal passes a signal on. Those that are refused for their number, or for what
// is wrong with them by themselves, take no worker's time.
func (g *gateway) onSignal(s *session.Session, f protocol.Frame, now time.Time) error {
	if err := s.AdmitSignal(g.sessions.Nanos(now)); err != nil {
		return err
	}
	var req pb.Signal
	return read(s, f, &req, func(n int) error {
		if err := presence.CheckSignal(&req); err != nil {
			return err
		}
		return g.delivery.Do(s, f.Request, n, func() ([]byte, error) { return g.presence.Signal(s, f.Request, &req) }, nil)
	})
}
