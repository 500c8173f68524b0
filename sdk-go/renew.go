package godwit

import (
	"fmt"
	"time"
	"unicode/utf8"

	"github.com/godwit-im/godwit/protocol"
	"github.com/godwit-im/godwit/protocol/pb"
)

// renewal keeps the session's token fresh. The clocks of client and server
// need not agree: CONNECTED tells the server's time along with the expiry,
// and RENEWED is measured against the same.
type renewal struct {
	at       time.Time     // when to fetch a new token; zero while that is under way
	lifetime time.Duration // that the token in use had left when it was accepted
	skew     time.Duration // the server's clock minus this one
	token    string        // fetched, to be sent
	fetch    func()        // has a token fetched, without blocking, and brought to renewWith
}

// minRenewDelay keeps a token source that fails, or that gives tokens about to
// expire, from being called in a loop.
const minRenewDelay = time.Second

// expires schedules the renewal of a token that the server accepted, when a
// fifth of its time is left.
func (s *session) expires(expiresMs int64, now time.Time) {
	if expiresMs == 0 {
		return // it doesn't
	}
	r := &s.renew
	r.lifetime = time.UnixMilli(expiresMs).Sub(now.Add(r.skew))
	r.at = now.Add(max(r.lifetime/5*4, minRenewDelay))
}

// renewWith takes the fetched token, or the error of the token source or of
// the RENEW. After an error the source is asked again until the token in use
// has expired; then the server closes the connection, and the next attempt
// asks it.
func (s *session) renewWith(token string, err error, now time.Time) {
	if err != nil {
		s.account.log.Warn("no new token", "err", err)
		s.renew.at = now.Add(max(s.renew.lifetime/20, minRenewDelay))
		return
	}
	s.renew.token = token
	s.account.sessionBell.ring()
}

func (s *session) appendRenew(out []byte, now time.Time) []byte {
	if s.renew.token == "" {
		return out
	}
	body := &pb.Renew{Token: s.renew.token}
	s.renew.token = ""
	return s.request(out, request{kind: protocol.TypeRenew}, body, now)
}

// checkToken refuses what cannot be a token, before it is sent.
func checkToken(token string) error {
	if token == "" || len(token) > protocol.MaxToken || !utf8.ValidString(token) {
		return fmt.Errorf("the token source returned %d bytes that cannot be a token", len(token))
	}
	return nil
}
