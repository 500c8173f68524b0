package delivery

import (
	"errors"
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

// What a session has asked for and was not begun when it ended is not carried out,
// nor read for nobody: whoever goes leaves no work behind.
func TestNothingIsDoneForWhoHasGone(t *testing.T) {
	n := newNode(t, func(c *nodeConfig) { c.delivery.Workers = 1 })
	ann, other := n.connect("ann", "phone"), n.connect("ann", "desk")
	release := n.hold(other)
	defer release()
	for range 3 {
		if err := ann.Begin(inFlight); err != nil {
			t.Fatal(err)
		}
	}
	done := func() error {
		t.Error("a request of a session that has ended was carried out")
		return errBadCursor
	}
	err := errors.Join(
		n.Prepare(ann.Session, 1, inFlight, done),
		n.Do(ann.Session, 2, inFlight, func() ([]byte, error) { return nil, done() }, nil),
		n.Sync(ann.Session, 3, &pb.Sync{}, inFlight),
	)
	if err != nil {
		t.Fatal(err)
	}
	if found, err := n.sessions.EndDevice(other.Session, "phone"); !found || err != nil {
		t.Fatal(found, err)
	}
	release()
	eventually(t, func() bool { return n.turns.depth() == 0 })
	other.synced(nil, 0) // on the only worker, when the last of the others is done
	if syncs := n.stats.syncs.Load(); syncs != 1 {
		t.Errorf("%d SYNCs were read, 1 for somebody", syncs)
	}
	if frames := ann.wire.take(); len(frames) != 0 {
		t.Errorf("it was answered: %v", frames)
	}
}
