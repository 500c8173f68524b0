package bench

import (
	"time"

	"github.com/godwit-im/godwit/bench/client"
	"github.com/godwit-im/godwit/protocol"
)

// talker sends a message to each of its friends and goes: a client.Handler.
type talker struct {
	run  *syncRun
	acks int // that are due
	gone *countdown
}

// talk has the first user, who is away no more, send a message in each
// conversation: enough to move every partition's index on.
func (s *syncRun) talk() error {
	t := &talker{run: s, gone: newCountdown(1)}
	s.load.each(func(i int, pool *client.Pool) {
		if i == 0 {
			pool.Add(s.cfg.Plan.User(0), deviceName, t).Connect()
		}
	})
	return s.load.wait(t.gone)
}

// OnConnected implements client.Handler.
func (t *talker) OnConnected(d *client.Device) {
	t.acks = t.run.cfg.Plan.Conversations
	run := client.RunID(time.Now())
	for j := range t.acks {
		draft := client.NewDraft(protocol.DirectID(d.User, t.run.cfg.Plan.Friend(0, j)), d.User, run, t.run.cfg.Plan.Size)
		d.Wrote(draft.Append(d.Buffer(), d.NextRequest(), 0, d.Now()), d.Now())
	}
}

// OnFrame implements client.Handler.
func (t *talker) OnFrame(d *client.Device, f protocol.Frame) error {
	if err := client.Expect(f, protocol.TypeSent); err != nil {
		return err
	}
	if t.acks--; t.acks == 0 {
		d.Close()
	}
	return nil
}

// OnClosed implements client.Handler.
func (t *talker) OnClosed(_ *client.Device, err error) {
	if err != nil {
		t.run.load.fail(err)
		return
	}
	t.gone.done()
}
