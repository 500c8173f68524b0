package bench

import (
	"fmt"
	"time"

	"github.com/godwit-im/godwit/bench/client"
	"github.com/godwit-im/godwit/protocol"
	"github.com/godwit-im/godwit/protocol/pb"
)

// founder makes a group and goes: a client.Handler. It belongs to a loop.
type founder struct {
	device *client.Device
	load   *load
	create *pb.CreateGroup
	users  []string // yet to be added
	batch  int      // of these, in the request that is unanswered
	group  string   // "" = not made yet
	head   uint64
	gone   *countdown
}

// found makes the group: its owner is the first member.
func (g *groupRun) found(run string) error {
	f := &founder{load: g.load, gone: newCountdown(1), create: &pb.CreateGroup{
		ClientId: run, Kind: pb.GroupKind_GROUP_KIND_GROUP, Name: "bench",
	}}
	for n := 1; n < g.cfg.Members; n++ {
		f.users = append(f.users, userName(groupUsers+n))
	}
	if err := f.run(userName(groupUsers)); err != nil {
		return err
	}
	g.group, g.head = f.group, f.head
	return nil
}

// run has owner make the group.
func (f *founder) run(owner string) error {
	f.load.each(func(i int, pool *client.Pool) {
		if i == 0 {
			f.device = pool.Add(owner, deviceName, f)
			f.device.Connect()
		}
	})
	return f.load.wait(f.gone)
}

// OnConnected implements client.Handler.
func (f *founder) OnConnected(*client.Device) { f.ask() }

// ask asks for what is to be done next, and closes if nothing is.
func (f *founder) ask() {
	switch {
	case f.group == "":
		f.device.Request(protocol.TypeGroup, &pb.GroupRequest{Action: &pb.GroupRequest_Create{Create: f.create}})
	case len(f.users) > 0:
		f.batch = min(len(f.users), protocol.MaxUsers)
		add := &pb.Users{Users: f.users[:f.batch]}
		f.device.Request(protocol.TypeGroup, &pb.GroupRequest{Conversation: f.group, Action: &pb.GroupRequest_Add{Add: add}})
	default:
		f.device.Close()
	}
}

// OnFrame implements client.Handler.
func (f *founder) OnFrame(_ *client.Device, frame protocol.Frame) error {
	if frame.Type != protocol.TypeGrouped && frame.Type != protocol.TypeError {
		return nil // the founder's own notices
	}
	if err := client.Expect(frame, protocol.TypeGrouped); err != nil {
		if e := protocol.AsError(err); e.Code.Retryable() && e.RetryAfter < time.Second {
			loop := f.device.Pool().Loop()
			loop.NewTimer(f.ask).Set(loop.Now() + max(e.RetryAfter, leastAgain))
			return nil
		}
		return fmt.Errorf("making a group (the server's rules may be too strict): %w", err)
	}
	var grouped pb.Grouped
	if err := protocol.Decode(frame, &grouped); err != nil {
		return err
	}
	f.group, f.head = grouped.Conversation, grouped.Seq
	f.users = f.users[f.batch:]
	f.ask()
	return nil
}

// OnClosed implements client.Handler.
func (f *founder) OnClosed(_ *client.Device, err error) {
	if err != nil {
		f.load.fail(err)
		return
	}
	f.gone.done()
}
