package desk

import (
	"context"
	"slices"
	"time"

	"github.com/godwit-im/godwit/protocol/pb"
	godwit "github.com/godwit-im/godwit/sdk-go"
)

// page is how many messages are read at a time of what was missed.
const page = 200

func (d *Desk) adopt(v *visit) {
	d.open[v.id], d.byVisitor[v.visitor] = v, v
}

func (d *Desk) forget(v *visit) {
	delete(d.open, v.id)
	if d.byVisitor[v.visitor] == v {
		delete(d.byVisitor, v.visitor)
	}
}

// note notes whether what was done with v failed.
func (d *Desk) note(v *visit, err error) {
	switch {
	case err == nil:
		v.retry = time.Time{}
	case godwit.CodeOf(err) == pb.Code_CODE_NOT_A_MEMBER:
		d.log.Warn("a visit is gone", "conv", v.id, "err", err)
		d.forget(v)
	default:
		d.log.Warn("a visit is not as it should be; trying again", "conv", v.id, "err", err)
		v.retry = time.Now().Add(d.cfg.Retry)
	}
}

// tend does what is due, and returns when to look again at the latest.
func (d *Desk) tend(ctx context.Context) time.Duration {
	now := time.Now()
	for _, v := range d.open {
		if !v.retry.IsZero() && !v.retry.After(now) {
			d.catchUp(ctx, v)
		}
		if v.retry.IsZero() && !d.end(v).After(now) {
			d.note(v, d.dissolve(ctx, v))
		}
	}
	d.assignWaiting(ctx)

	next := now.Add(time.Hour)
	for _, v := range d.open {
		due := d.end(v)
		if !v.retry.IsZero() {
			due = v.retry
		}
		if due.Before(next) {
			next = due
		}
	}
	return max(time.Until(next), 0)
}

// end is when v ends by itself.
func (d *Desk) end(v *visit) time.Time {
	if v.state == Closed {
		return v.closed.Add(d.cfg.RateWindow)
	}
	return v.until.Add(d.cfg.Auth.Leeway)
}

// catchUp does what was left undone: it reads what was written since the message
// that was acted upon last, and makes the members follow.
func (d *Desk) catchUp(ctx context.Context, v *visit) {
	d.note(v, func() error {
		v.seen = v.at
		for {
			messages, err := d.after(ctx, v)
			if err != nil {
				return err
			}
			for i := range messages {
				if err := d.see(ctx, v, &messages[i]); err != nil || d.open[v.id] != v {
					return err
				}
			}
			switch {
			case len(messages) == page:
			case v.seen-v.at > page:
				// So that the next desk does not read them all.
				return d.change(ctx, v, func(f *facts) { f.at = v.seen })
			default:
				return d.settle(ctx, v)
			}
		}
	}())
}

// after reads the messages after the last one that was looked at.
func (d *Desk) after(ctx context.Context, v *visit) ([]godwit.Message, error) {
	ctx, cancel := context.WithTimeout(ctx, d.cfg.CallTimeout)
	defer cancel()
	return d.client.HistoryAfter(ctx, v.id, v.seen, page)
}

// received takes a message of a group from the server.
func (d *Desk) received(ctx context.Context, m *godwit.Message) {
	v := d.open[m.Conversation]
	if v == nil {
		d.found(ctx, m)
		return
	}
	if v.retry.IsZero() { // else it is read again then
		d.note(v, d.see(ctx, v, m))
	}
}

// found takes a message of a group that is no visit.
//
// If the desk made it, although it had given up on that, it is one from now on:
// nobody knows of it, so it ends with its token, but it is not forgotten. Groups that
// others put the desk into are left, for a user can be in so many only.
func (d *Desk) found(ctx context.Context, m *godwit.Message) {
	c, known := d.client.Conversation(m.Conversation)
	switch v, is := d.visitOf(&c); {
	case !known:
	case is && m.Notice != nil && m.Notice.Type == godwit.NoticeGroupCreated:
		d.adopt(v)
		d.catchUp(ctx, v)
	case d.isStranger(&c):
		d.leave(ctx, &c)
	}
}

// isStranger reports whether the desk is in a group that somebody else made.
func (d *Desk) isStranger(c *godwit.Conversation) bool {
	return c.Group != nil && c.Membership.Standing == godwit.StandingActive && !d.made(c.ID)
}

// see looks at a message of v, each in its turn.
func (d *Desk) see(ctx context.Context, v *visit, m *godwit.Message) error {
	if m.Seq <= v.seen {
		return nil
	}
	if err := d.act(ctx, v, m); err != nil {
		return err
	}
	v.seen = m.Seq
	return nil
}

// act does what a message asks for.
func (d *Desk) act(ctx context.Context, v *visit, m *godwit.Message) error {
	fromVisitor, fromAgent := m.Sender == v.visitor, m.Sender == v.agent && v.state == Assigned
	switch {
	case m.Notice != nil && m.Notice.Type == godwit.NoticeMemberLeft && m.Notice.Actor == v.visitor:
		return d.dissolve(ctx, v)
	case m.Notice != nil && m.Notice.Type == godwit.NoticeMemberLeft && m.Notice.Actor == v.agent && v.state == Assigned:
		return d.requeue(ctx, v, m.Seq)
	case m.Notice != nil || m.IsEvent():
		return nil
	case m.Kind == godwit.KindCustom && m.ContentType == ContentType:
		command, err := commandOf(m)
		switch {
		case fromVisitor && err == nil:
			return d.obeyVisitor(ctx, v, command, m.Seq)
		case fromAgent && err != nil:
			return d.refuse(ctx, v, m.Seq, err.Error())
		case fromAgent:
			return d.obeyAgent(ctx, v, command, m.Seq)
		}
	case fromVisitor && v.state == Closed:
		return d.requeue(ctx, v, m.Seq) // there is one more thing
	}
	return nil
}

// obeyVisitor does what a visitor may ask for. Each of it can be had once in a visit,
// so there is no command with which a visitor keeps the desk busy: one who closes the
// visit ends it, and opens another one by POST /visit, which is bounded.
func (d *Desk) obeyVisitor(ctx context.Context, v *visit, c Command, at uint64) error {
	rates := c.Rating >= 1 && c.Rating <= MaxRating && v.rating == 0
	if !rates && !c.Close {
		return nil
	}
	over := c.Close || v.state == Closed // and was only to be rated
	err := d.change(ctx, v, func(f *facts) {
		f.at = at
		if rates {
			f.rating = c.Rating
		}
		if c.Close && f.state != Closed {
			f.state, f.closed = Closed, time.Now()
		}
	})
	if err != nil || !over {
		return err
	}
	return d.dissolve(ctx, v)
}

func (d *Desk) obeyAgent(ctx context.Context, v *visit, c Command, at uint64) error {
	switch {
	case c.Close:
		return d.change(ctx, v, func(f *facts) { f.state, f.closed, f.at = Closed, time.Now(), at })
	case c.HandOver == nil:
		return d.refuse(ctx, v, at, "there is nothing to do in it")
	}
	to := *c.HandOver
	switch {
	case to == "":
		if to = d.pick(v.agent); to == "" {
			return d.refuse(ctx, v, at, "nobody else is online")
		}
	case to == v.agent:
		return d.refuse(ctx, v, at, "it is yours already")
	case !slices.Contains(d.cfg.Agents, to):
		return d.refuse(ctx, v, at, to+" is no agent of this desk")
	case !d.online[to]:
		return d.refuse(ctx, v, at, to+" is not online")
	}
	return d.assign(ctx, v, to, at)
}

// refuse tells the agent why a command is not carried out. That it was looked at is
// noted: a later desk, when other agents are online, must not carry it out.
func (d *Desk) refuse(ctx context.Context, v *visit, at uint64, why string) error {
	agent := v.agent
	err := d.change(ctx, v, func(f *facts) { f.at = at })
	if err == nil {
		d.tell(ctx, agent, "Your command in %s is not carried out: %s.", v.id, why)
	}
	return err
}

// requeue has v wait for an agent, because of the message at seq.
func (d *Desk) requeue(ctx context.Context, v *visit, at uint64) error {
	return d.change(ctx, v, func(f *facts) { f.state, f.agent, f.closed, f.at = Waiting, "", time.Time{}, at })
}

// change changes what the attributes say, all at once, and makes the members follow.
func (d *Desk) change(ctx context.Context, v *visit, change func(*facts)) error {
	to := v.facts
	change(&to)
	if changes := v.facts.change(&to); len(changes) > 0 {
		if _, err := wait(ctx, d, d.client.ChangeGroup(v.id, godwit.GroupChange{Attributes: changes})); err != nil {
			return err
		}
		v.facts = factsOf(to.attributes()) // as another desk would read it
	}
	return d.settle(ctx, v)
}

// settle makes the members of v those whom its attributes name: the visitor, and the
// agent while it is assigned. A visitor who has left is not added again.
func (d *Desk) settle(ctx context.Context, v *visit) error {
	ctx, cancel := context.WithTimeout(ctx, d.cfg.CallTimeout)
	defer cancel()
	members, err := d.client.Members(ctx, v.id)
	if err != nil {
		return err
	}
	missing := v.state == Assigned
	var others []string
	for _, m := range members {
		switch {
		case m.User == v.agent && v.state == Assigned:
			missing = false
		case m.User != v.visitor && m.User != d.cfg.User:
			others = append(others, m.User)
		}
	}
	if missing {
		if _, err := wait(ctx, d, d.client.AddMembers(v.id, v.agent)); err != nil {
			return err
		}
	}
	if len(others) > 0 {
		_, err = wait(ctx, d, d.client.RemoveMembers(v.id, others...))
	}
	return err
}

// dissolve ends v for good. What was written stays with those who were in it.
func (d *Desk) dissolve(ctx context.Context, v *visit) error {
	if v.state != Closed {
		if err := d.change(ctx, v, func(f *facts) { f.state, f.closed = Closed, time.Now() }); err != nil {
			return err
		}
	}
	if err := d.dissolveGroup(ctx, v.id); err != nil {
		return err
	}
	d.forget(v)
	d.leaveGroup(ctx, v.id)
	return nil
}

// leave gets the desk out of a group.
func (d *Desk) leave(ctx context.Context, c *godwit.Conversation) {
	if c.Group.Owner == d.cfg.User { // it may have been given to the desk, which can't leave before
		if err := d.dissolveGroup(ctx, c.ID); err != nil {
			d.log.Warn("a group is not dissolved", "conv", c.ID, "err", err)
			return
		}
	}
	d.leaveGroup(ctx, c.ID)
}

func (d *Desk) dissolveGroup(ctx context.Context, group string) error {
	_, err := wait(ctx, d, d.client.DissolveGroup(group))
	if godwit.CodeOf(err) == pb.Code_CODE_NOT_A_MEMBER {
		return nil // somebody has
	}
	return err
}

// leaveGroup takes a group off the desk's list. If that fails, the next desk will do
// it.
func (d *Desk) leaveGroup(ctx context.Context, group string) {
	if _, err := wait(ctx, d, d.client.LeaveGroup(group)); err != nil {
		d.log.Warn("a group is not left", "conv", group, "err", err)
	}
}
