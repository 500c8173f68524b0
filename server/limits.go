package server

import (
	"sync"
	"time"

	"github.com/godwit-im/godwit/chat"
	"github.com/godwit-im/godwit/msgstore"
	"github.com/godwit-im/godwit/protocol"
	"github.com/godwit-im/godwit/protocol/pb"
)

// limits finds out who has reached one that only a look at all partitions tells.
// What it finds may be a little out of date: the limits are there to bound what a
// user costs, and one more than that does no harm.
type limits struct {
	store *msgstore.Store
	rules *chat.Rules
}

// fullOfGroups returns those of users who are in as many groups as they may be
// in. It may read the disk.
func (l *limits) fullOfGroups(users []string) (full []string, err error) {
	for _, user := range users {
		groups, err := l.store.Groups(user)
		if err != nil {
			return nil, err
		}
		if len(groups) < l.rules.MaxGroups {
			continue
		}
		// A group that was dissolved is still theirs to read. It doesn't count.
		living := 0
		for _, id := range groups {
			g, found, err := l.store.Group(id)
			if err != nil {
				return nil, err
			}
			if found && g.DissolvedSeq == 0 {
				living++
			}
		}
		if living >= l.rules.MaxGroups {
			full = append(full, user)
		}
	}
	return full, nil
}

// fullOfContacts returns those of users who have as many contacts, requests and
// blocked users as they may have. It may read the disk.
func (l *limits) fullOfContacts(users []string) (full []string, err error) {
	for _, user := range users {
		enough, err := l.store.HasContacts(user, l.rules.MaxContacts)
		if err != nil {
			return nil, err
		}
		if enough {
			full = append(full, user)
		}
	}
	return full, nil
}

// invites counts for each user how many others they asked in the present minute.
// Any goroutine.
type invites struct {
	most int

	mu     sync.Mutex // guards what follows
	minute time.Time
	counts map[string]int
}

// take counts n more of user's, unless they are too many: RATE_LIMITED, until
// the minute is over, or BAD_ARGUMENT for what no minute has room for.
func (i *invites) take(user string, n int, now time.Time) error {
	switch {
	case n == 0:
		return nil
	case n > i.most:
		return protocol.Errorf(pb.Code_CODE_BAD_ARGUMENT, "%d users, %d may be asked in a minute", n, i.most)
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	if minute := now.Truncate(time.Minute); minute.After(i.minute) { // another loop's clock may be a little behind
		i.minute, i.counts = minute, make(map[string]int)
	}
	if i.counts[user]+n > i.most {
		wait := i.minute.Add(time.Minute).Sub(now)
		return protocol.Errorf(pb.Code_CODE_RATE_LIMITED, "%d users may be asked in a minute", i.most).After(wait)
	}
	i.counts[user] += n
	return nil
}
