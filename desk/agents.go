package desk

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/godwit-im/godwit/protocol"
)

// greeting is the first message to an agent. A server shows a user's presence to
// those with whom there has been a message, unless the user chose otherwise.
const greeting = "You are an agent of the desk %s: visitors who come while you are online are assigned to you."

// watchAgents has the server tell which agents are online.
func (d *Desk) watchAgents(ctx context.Context) error {
	for _, agent := range d.cfg.Agents {
		direct, _ := d.client.Conversation(protocol.DirectID(d.cfg.User, agent))
		if direct.HeadSeq > 0 {
			continue
		}
		if err := d.greet(ctx, agent); err != nil {
			// They may be contacts, or the agent shows it to everybody.
			d.log.Warn("an agent can't be written to; their presence may not be seen", "agent", agent, "err", err)
		}
	}
	presences, err := wait(ctx, d, d.client.Subscribe(d.cfg.Agents, false))
	for _, p := range presences {
		d.online[p.User] = p.Online()
	}
	return err
}

func (d *Desk) greet(ctx context.Context, agent string) error {
	ctx, cancel := context.WithTimeout(ctx, d.cfg.CallTimeout)
	defer cancel()
	message, err := d.client.SendText(ctx, agent, fmt.Sprintf(greeting, d.cfg.Name))
	if err != nil {
		return err
	}
	_, err = message.Sent(ctx)
	return err
}

// tell writes to an agent.
func (d *Desk) tell(ctx context.Context, agent, format string, args ...any) {
	if _, err := d.client.SendText(ctx, agent, fmt.Sprintf(format, args...)); err != nil {
		d.log.Warn("an agent is not told", "agent", agent, "err", err)
	}
}

// pick returns the agent for one more visit: of those who are online, but for one,
// the one who serves the fewest, the first of them in Config.Agents. "" = none.
func (d *Desk) pick(but string) (agent string) {
	load := make(map[string]int)
	for _, v := range d.open {
		if v.state == Assigned {
			load[v.agent]++
		}
	}
	for _, a := range d.cfg.Agents {
		if d.online[a] && a != but && (agent == "" || load[a] < load[agent]) {
			agent = a
		}
	}
	return agent
}

// assignWaiting gives those who wait an agent, who waits longest first.
func (d *Desk) assignWaiting(ctx context.Context) {
	var waiting []*visit
	for _, v := range d.open {
		if v.state == Waiting && v.retry.IsZero() {
			waiting = append(waiting, v)
		}
	}
	slices.SortFunc(waiting, func(x, y *visit) int { return cmp.Or(x.opened.Compare(y.opened), cmp.Compare(x.id, y.id)) })
	for _, v := range waiting {
		agent := d.pick("")
		if agent == "" {
			return
		}
		d.note(v, d.assign(ctx, v, agent, v.at))
	}
}

// assign makes agent the one who serves v, because of the message at seq.
func (d *Desk) assign(ctx context.Context, v *visit, agent string, at uint64) error {
	return d.change(ctx, v, func(f *facts) { f.state, f.agent, f.at = Assigned, agent, at })
}
