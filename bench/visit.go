package bench

import (
	"bytes"
	"fmt"
	"os"
	"sync/atomic"
	"time"

	"github.com/godwit-im/godwit/bench/client"
	"github.com/godwit-im/godwit/bench/report"
	"github.com/godwit-im/godwit/protocol"
	"github.com/godwit-im/godwit/protocol/pb"
)

// news is what a SYNC must tell a user of.
type news int

const (
	nothing    news = iota // there is no SYNC
	everything             // all conversations, as they were at first
	quietSync              // there is a SYNC, and nothing new
	missed                 // the conversations with missed messages
	known                  // those, but there is no SYNC: the user pulls at once
)

// pass is visits of some users, one each: so many at a time, the next one
// coming when one has gone.
type pass struct {
	of   *syncRun
	name string
	news news

	synced, pulled  *report.Histogram // from the dial
	messages, bytes atomic.Int64      // pulled
	visits          atomic.Int64      // that have ended
	all             *countdown

	// Of all runs together: cpu is the server's processor time, 0 where its
	// process is not known, and loadCPU this process's.
	took, cpu, loadCPU time.Duration
}

func (s *syncRun) pass(name string, news news) *pass {
	return &pass{
		of: s, name: name, news: news,
		synced: report.NewHistogram(name + ": login → synced"), pulled: report.NewHistogram(name + ": login → all pulled"),
	}
}

// perLogin is the server's processor time for each of n logins, in µs.
func (p *pass) perLogin(n float64) float64 { return p.cpu.Seconds() * 1e6 / n }

func (p *pass) logins(n float64) []report.Figure {
	return []report.Figure{
		report.Higher(p.name+": logins", "/s", n/p.took.Seconds()),
		report.Lower(p.name+": server CPU per login", "µs", p.perLogin(n)),
	}
}

// passLoop is a loop's share of a pass, and belongs to the loop.
type passLoop struct {
	pass           *pass
	coming         []*visitor
	synced, pulled *report.Recorder
}

// run has each of the users, by loop, come and go.
func (p *pass) run(users [][]*visitor) error {
	n := 0
	for _, u := range users {
		n += len(u)
	}
	p.all = newCountdown(n)
	began := time.Now()
	tick := func() {
		p.synced.Tick(time.Since(p.of.start))
		p.pulled.Tick(time.Since(p.of.start))
	}
	stop := every(time.Second, func() {
		tick()
		// The progress is not worth a failure.
		_, _ = fmt.Fprintf(p.of.cfg.Progress, "%s: %d of %d users were here, %d messages pulled\n", p.name, p.visits.Load(), n, p.messages.Load())
	})
	defer stop()
	before, err := p.of.processorTime()
	if err != nil {
		return err
	}
	p.of.load.each(func(i int, _ *client.Pool) {
		l := &passLoop{pass: p, coming: users[i], synced: p.synced.Recorder(), pulled: p.pulled.Recorder()}
		_, atOnce := split(p.of.cfg.Concurrency, len(users), i)
		for range max(1, atOnce) {
			l.next()
		}
	})
	if err := p.of.load.wait(p.all); err != nil {
		return fmt.Errorf("%s: %w", p.name, err)
	}
	p.took += time.Since(began)
	after, err := p.of.processorTime()
	p.cpu += after.server - before.server
	p.loadCPU += after.load - before.load
	tick()
	return err
}

// processorTime is what the server and this process have used so far.
func (s *syncRun) processorTime() (t struct{ server, load time.Duration }, err error) {
	load, err := report.ReadProcess(os.Getpid())
	t.load = load.CPU
	if err != nil || s.target.PID == 0 {
		return t, err
	}
	server, err := report.ReadProcess(s.target.PID)
	t.server = server.CPU
	return t, err
}

func (l *passLoop) next() {
	if len(l.coming) == 0 {
		return
	}
	v := l.coming[0]
	l.coming = l.coming[1:]
	v.loop = l
	v.device.Connect()
}

// visitor is a user's device; a client.Handler.
type visitor struct {
	run    *syncRun
	n      int // the user's number
	device *client.Device
	loop   *passLoop

	due     map[string]string      // friends by the conversations that SYNC has yet to tell of
	inbox   *client.Inbox          // of the conversations with missed messages
	pulling []*client.Conversation // in it
}

// OnConnected implements client.Handler.
func (v *visitor) OnConnected(d *client.Device) {
	p := v.loop.pass
	v.expect(p.news)
	switch p.news {
	case nothing:
		d.Close()
	case known:
		for _, friend := range v.due {
			v.follow(friend)
		}
		v.pull()
	case everything, quietSync, missed:
		v.sync(v.run.cursors[v.n])
	}
}

// expect notes what there is to be told of.
func (v *visitor) expect(n news) {
	plan := &v.run.cfg.Plan
	v.due, v.inbox, v.pulling = nil, nil, nil
	switch n {
	case everything:
		v.due = make(map[string]string, plan.Conversations)
		for j := range plan.Conversations {
			v.add(plan.Friend(v.n, j))
		}
	case missed, known:
		v.due = make(map[string]string, plan.Behind)
		for k := range plan.Behind {
			v.add(plan.Friend(v.n, plan.BehindAt(v.n, k)))
		}
		v.inbox = client.NewInbox(v.device, plan.Size, func(*client.Conversation, client.Delivery) {})
	case nothing, quietSync:
	}
}

func (v *visitor) add(friend string) { v.due[protocol.DirectID(v.device.User, friend)] = friend }

func (v *visitor) sync(cursor []byte) {
	v.device.Request(protocol.TypeSync, &pb.Sync{Cursor: cursor})
}

// OnFrame implements client.Handler.
func (v *visitor) OnFrame(_ *client.Device, f protocol.Frame) error {
	if v.inbox != nil && f.Type != protocol.TypeSynced {
		return v.pulled(f)
	}
	if err := client.Expect(f, protocol.TypeSynced); err != nil {
		return err
	}
	var page pb.Synced
	if err := protocol.Decode(f, &page); err != nil {
		return err
	}
	if page.Reset_ {
		return v.broken("the cursor is void")
	}
	for _, c := range page.Conversations {
		if err := v.told(c); err != nil {
			return err
		}
	}
	if page.More {
		v.sync(page.Cursor)
		return nil
	}
	if len(v.due) > 0 {
		return v.broken("SYNC is silent about %d conversations with news", len(v.due))
	}
	if v.inbox == nil {
		v.run.cursors[v.n] = bytes.Clone(page.Cursor)
	}
	v.loop.synced.Record(v.device.Now() - v.device.Dialled())
	if v.inbox == nil {
		v.device.Close()
		return nil
	}
	v.pull()
	return nil
}

// follow has messages of a friend be due, from the first that is missed on.
func (v *visitor) follow(friend string) {
	v.pulling = append(v.pulling, v.inbox.Add(friend, uint64(v.run.cfg.Plan.Old)+1))
}

func (v *visitor) pull() {
	for _, c := range v.pulling {
		v.inbox.Pull(c)
	}
}

// told checks what SYNC says of a conversation.
func (v *visitor) told(c *pb.ConversationState) error {
	plan := &v.run.cfg.Plan
	friend, due := v.due[c.Conversation]
	if !due {
		return v.broken("SYNC tells of %s, where there is nothing new, or twice", c.Conversation)
	}
	delete(v.due, c.Conversation)
	head := plan.Old
	if v.inbox != nil {
		head += plan.Missed
		v.follow(friend)
	}
	if unread := plan.Unread(v.inbox != nil); c.HeadSeq != uint64(head) || c.MinSeq != 1 || c.Unread != unread || c.Last.GetSeq() != uint64(head) {
		return v.broken("%s: SYNC says head %d (preview %d), first %d, unread %d; want %d, 1, %d",
			c.Conversation, c.HeadSeq, c.Last.GetSeq(), c.MinSeq, c.Unread, head, unread)
	}
	return nil
}

// pulled takes an answer to a PULL, which the inbox checks.
func (v *visitor) pulled(f protocol.Frame) error {
	before := v.inbox.Pulled
	if taken, err := v.inbox.OnFrame(f); err != nil || !taken {
		if err == nil {
			err = v.broken("an unexpected %s", f.Type)
		}
		return err
	}
	p := v.loop.pass
	p.messages.Add(v.inbox.Pulled - before)
	p.bytes.Add(int64(protocol.HeaderSize + len(f.Body)))
	if v.inbox.IsPulling() {
		return nil
	}
	plan := &v.run.cfg.Plan
	for _, c := range v.pulling {
		if last := uint64(plan.Old + plan.Missed); c.Next != last+1 {
			return v.broken("%s: the last message is %d, and was pulled only up to %d", c.ID, last, c.Next-1)
		}
	}
	v.loop.pulled.Record(v.device.Now() - v.device.Dialled())
	v.device.Close()
	return nil
}

func (v *visitor) broken(format string, args ...any) error {
	return &client.Violation{Text: v.device.User + ": " + fmt.Sprintf(format, args...)}
}

// OnClosed implements client.Handler.
func (v *visitor) OnClosed(d *client.Device, err error) {
	if err != nil {
		v.run.load.fail(fmt.Errorf("%s: %w", d.User, err))
		return
	}
	v.due, v.inbox, v.pulling = nil, nil, nil
	l := v.loop
	l.pass.visits.Add(1)
	l.next()
	l.pass.all.done()
}
