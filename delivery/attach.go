package delivery

import "github.com/godwit-im/godwit/session"

// memberships is what is read of the store when a session comes.
type memberships interface {
	// Groups returns the groups that a user is a member of.
	Groups(user string) ([]string, error)
	PartitionOf(conversation string) int
	// Settled is an applied index of a partition that covers what Groups has shown.
	Settled(partition int) uint64
}

// Attach has s told what happens in its user's groups, until Detach. The groups
// are read on a worker, before all reads that the session asks for later: call it
// before the session's next frame is handled, when s is registered. loop is that
// of its connection.
func (d *Delivery) Attach(s *session.Session, loop int) {
	l := d.present.attach(s, loop)
	// Only a Delivery that is closing refuses it, and tells nobody anything more.
	_ = d.turns.add(s, job{unasked: true, read: func() ([]byte, error) { return nil, d.load(l) }})
}

// Detach ends what Attach began, when the connection of s has closed. A session
// that was never attached is none of its business, nor is the successor of s.
func (d *Delivery) Detach(s *session.Session) { d.present.detach(s) }

// load gives l the seats that its user's memberships entitle to, to be told what
// is committed after the read. What was before may be older than a membership.
// The session's first SYNC, which reads later, finds what is the user's of it.
func (d *Delivery) load(l *listener) error {
	groups, err := d.members.Groups(l.session.User)
	if err == nil && len(groups) > d.cfg.Rules.MaxGroups {
		groups, err = d.living(groups)
	}
	if err != nil {
		return err
	}
	d.present.load(l, groups, func(conversation string) uint64 {
		return d.members.Settled(d.members.PartitionOf(conversation)) + 1
	})
	return nil
}

// living returns those of groups that were not dissolved. A user is in no more of
// them than the rules allow, but in any number of others, in which nothing happens
// any more: there must be no seats in those.
func (d *Delivery) living(groups []string) (living []string, err error) {
	for _, conversation := range groups {
		g, found, err := d.store.Group(conversation)
		if err != nil {
			return nil, err
		}
		if found && g.DissolvedSeq == 0 {
			living = append(living, conversation)
		}
	}
	return living, nil
}
