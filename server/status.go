package server

import (
	"errors"
	"fmt"
	"time"

	"github.com/godwit-im/godwit/server/admin"
)

// stuckAfter is how long one batch of the command log may take before the node
// calls itself not ready: a full or failing disk makes a commit hang rather
// than fail.
const stuckAfter = 5 * time.Second

// source is what the admin listener shows of this node.
func (s *Server) source() admin.Source {
	return admin.Source{
		Version:  s.cfg.Version,
		Ready:    s.ready,
		Backup:   s.Backup,
		Net:      s.net.Stats(),
		Session:  s.sessions.Stats(),
		Sessions: func() (sessions, users int) { return s.sessions.Len(), s.sessions.Users() },
		Chat:     s.log.Stats,
		Delivery: s.delivery.Stats,
		Presence: s.presence.Stats,
		Store:    s.store.Stats,
	}
}

// ready says why new clients should go elsewhere, or nil.
func (s *Server) ready() error {
	if s.gateway.draining.Load() {
		return errors.New("draining")
	}
	if s.store.Full() {
		return errors.New("low disk: messages are refused")
	}
	if age := s.log.Stats().Committing; age > stuckAfter {
		return fmt.Errorf("stalled store: a commit has been under way for %v", age.Round(time.Second))
	}
	return nil
}
