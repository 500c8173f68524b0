package delivery

import (
	"testing"

	"github.com/godwit-im/godwit/protocol"
	"github.com/godwit-im/godwit/protocol/pb"
	"github.com/godwit-im/godwit/session"
)

// What is prepared is answered by others, unless it fails, and waits its turn as
// a read does.
func TestPrepare(t *testing.T) {
	n := newNode(t, func(c *nodeConfig) { c.session.MaxInFlight = 1 })
	ann := n.connect("ann", "d")
	f := ann.read(func(s *session.Session, request uint32, inFlight int) error {
		return n.Prepare(s, request, inFlight, func() error { return errBadCursor })
	})
	wantError(t, f, pb.Code_CODE_BAD_CURSOR)
	f = ann.read(func(s *session.Session, request uint32, inFlight int) error {
		return n.Prepare(s, request, inFlight, func() error {
			s.End(inFlight)
			s.Reply(protocol.AppendProto(nil, protocol.TypeSynced, request, &pb.Synced{}))
			return nil
		})
	})
	if len(ann.wire.take()) != 0 || f.Request != ann.request {
		t.Errorf("answered with %s", show(f))
	}
	ann.synced(nil, 0) // the window has its room back, and no more
}
