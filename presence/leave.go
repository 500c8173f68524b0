package presence

import (
	"context"
	"time"

	"github.com/godwit-im/godwit/chat"
	"github.com/godwit-im/godwit/protocol"
	"github.com/godwit-im/godwit/protocol/pb"
	"github.com/godwit-im/godwit/session"
)

// Leave stores when everybody was seen last who would be noted later: those who
// have just gone, and those who are online, for the server is about to end. Without
// it they would count as gone since the time before. It returns when that is with
// the log, or ctx has ended. It does not run on an event loop.
func (p *Presence) Leave(ctx context.Context) {
	now := p.cfg.Now()
	seen := make(map[string]int64)
	p.mu.Lock()
	for id, u := range p.users {
		if u.owed {
			seen[id] = u.goneMs
		}
	}
	p.mu.Unlock()
	p.sessions.Each(func(s *session.Session) bool {
		seen[s.User] = now.UnixMilli()
		return true
	})
	pause := time.NewTimer(0)
	defer pause.Stop()
	for id, ms := range seen {
		for {
			err := p.submitSeen(id, ms, now)
			if err == nil {
				break
			}
			if protocol.CodeOf(err) != pb.Code_CODE_BUSY {
				return // the log takes nothing more
			}
			pause.Reset(busyPause)
			select {
			case <-ctx.Done():
				return
			case <-pause.C:
			}
		}
	}
}

// busyPause is what a full queue of the log needs to have room again.
const busyPause = 5 * time.Millisecond

// submitSeen has the log store when a user was seen last.
func (p *Presence) submitSeen(id string, ms int64, now time.Time) error {
	err := p.log.Submit(&chat.Proposal{Command: chat.Command{
		Op: chat.OpSeen, Conversation: protocol.SystemID(id), User: id, SeenMs: ms,
	}, Accepted: now})
	if err == nil {
		p.stats.seen.Add(1)
	}
	return err
}
