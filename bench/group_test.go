package bench

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/godwit-im/godwit/bench/client"
	"github.com/godwit-im/godwit/protocol"
	"github.com/godwit-im/godwit/protocol/pb"
)

// TestGroup has a group larger than one GROUP request can fill, on two loops, in
// bursts beside bare gnet and at a rate.
func TestGroup(t *testing.T) {
	cfg := GroupConfig{Members: 230, Bursts: []int{1, 3}, Rounds: 1, For: time.Second, Loops: 2}
	cfg.Target = start(t, "--rules="+cfg.ServerRules())
	r, err := Group(t.Context(), cfg)
	checkReport(t, r, err, "group, bursts of 3: until every member has them")
	for _, name := range []string{
		"deliveries, bursts of 1", "deliveries, bursts of 3", "direct message beside it, p99, bursts of 1",
		"store: records per message, 230 members", "store: committed per message, 230 members", "store: log per message, 230 members",
	} {
		if figure(t, r, name) <= 0 {
			t.Errorf("%s is not positive", name)
		}
	}
	// The message and its client id, and less than one row for the sender.
	if n := figure(t, r, "store: records per message, 230 members"); n < 2 || n > 5 {
		t.Errorf("%v records per message", n)
	}
	for _, l := range r.Latencies {
		if l.Count == 0 || l.P50 <= 0 {
			t.Errorf("%+v", l)
		}
	}

	cfg.Rate, cfg.Members, cfg.Loops = 50, 20, 0
	r, err = Group(t.Context(), cfg)
	checkReport(t, r, err, "group, 50/s: "+Delivery)
	// All that was due in a second is delivered, however long it takes.
	if got, want := figure(t, r, "deliveries, 50/s"), 50.0*19; got < want*0.8 {
		t.Errorf("%.0f deliveries/s, want about %.0f", got, want)
	}
}

// TestGroupStrict has a server whose rules do not let so many be added.
func TestGroupStrict(t *testing.T) {
	cfg := GroupConfig{Target: start(t, "--rules=members=10"), Members: 20}
	if _, err := Group(t.Context(), cfg); err == nil || !strings.Contains(err.Error(), "TOO_MANY_MEMBERS") {
		t.Errorf("the error is %v", err)
	}
}

func TestGroupConfig(t *testing.T) {
	for _, cfg := range []GroupConfig{
		{Members: 1}, {Members: 20_000}, {Senders: -1}, {Members: 4, Senders: 3, Loops: 2}, {Size: 3}, {Bursts: []int{0}}, {Bursts: []int{1000}}, {Rate: -1},
	} {
		if _, err := Group(t.Context(), cfg); err == nil {
			t.Errorf("%+v was taken", cfg)
		}
	}
}

// TestGroupMissing has a member that is not told of a message: the run must say
// who misses what.
func TestGroupMissing(t *testing.T) {
	cfg := GroupConfig{Target: Target{Addr: "127.0.0.1:1"}, Members: 2}
	if err := cfg.withDefaults(); err != nil {
		t.Fatal(err)
	}
	g := &groupRun{cfg: &cfg, group: "g:a:b", loops: make([]*groupLoop, 1)}
	var err error
	if g.load, err = startLoad(t.Context(), &cfg.Target, 1, 2, time.Minute); err != nil {
		t.Fatal(err)
	}
	defer g.close()
	g.load.each(func(i int, pool *client.Pool) {
		l := &groupLoop{run: g, load: g.load, pool: pool, log: client.NewLog(g.group, 1, cfg.Size)}
		for n := range 2 {
			m := l.newMember(n)
			m.conv, m.synced = m.inbox.AddGroup(l.log, 1), true
			l.members = append(l.members, m)
		}
		g.loops[i] = l
	})
	order := g.await(1) // an ack, and a delivery
	g.each(func(l *groupLoop) {
		sender, other := l.members[0], l.members[1]
		sender.sends = map[uint32]time.Duration{}
		sender.draft = client.NewDraft(g.group, sender.device.User, "run-0000", cfg.Size)
		if err := sender.inbox.Sent(sender.conv, 1); err != nil {
			t.Error(err)
		}
		l.done()
		body := sender.draft.Append(nil, 1, 0, 5)
		message := &pb.Message{Conversation: g.group, Seq: 1, Sender: sender.device.User, Kind: pb.Kind_KIND_TEXT, Body: body[len(body)-cfg.Size:]}
		missing := l.missing()
		var broken *client.Violation
		if !errors.As(missing, &broken) || !strings.Contains(missing.Error(), other.device.User) {
			t.Errorf("one misses a message: %v", missing)
		}
		select {
		case <-order.zero:
			t.Error("the order is over and a member has nothing")
		default:
		}
		f, _, err := protocol.Parse(protocol.AppendProto(nil, protocol.TypeMessage, 0, message), protocol.MaxBody)
		if err == nil {
			err = other.OnFrame(other.device, f)
		}
		if err != nil || l.missing() != nil {
			t.Errorf("it has come: %v, %v", err, l.missing())
		}
	})
	select {
	case <-order.zero:
	default:
		t.Error("the order is not over when all have the message")
	}
}
